//! Limits, over sockets.
//!
//! In:    clients that are too many, lines too long, errors, messages and recipients beyond what is allowed.
//! Out:   the reply for each, and a dialog that goes on where it may.
//! Never: tests the arithmetic, which the units do.
//!
//! RFC 5321 4.5.3.1, RFC 1870.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Protocol, Socket, Type};

use super::gate::{Gate, SINK, first_reply};
use super::hop::Hop;
use crate::raw::Raw;
use crate::scratch::{PATIENCE, wait_for};

const MAIL: &str = "MAIL FROM:<a@example.org>";
const RCPT: &str = "RCPT TO:<b@example.net>";

#[test]
fn sessions() {
    let gate = Gate::start(SINK, "limits: { sessions: 2 }\n");
    let (first, second) = (gate.client(), gate.client());
    let reply = first_reply(gate.listener);
    assert!(reply.starts_with("421 4.3.2 "), "{reply}");
    assert!(gate.metric("gatepost_sessions_refused_total", &["reason=\"sessions\""]) >= 1.0);
    first.quit();
    wait_for("the place to be free", PATIENCE, || {
        first_reply(gate.listener).starts_with("220").then_some(())
    });
    second.quit();
}

#[test]
fn a_refused_client_that_did_not_wait_reads_why() {
    let gate = Gate::start(SINK, "limits: { sessions: 1 }\n");
    let only = gate.client();
    for _ in 0..20 {
        let mut client = TcpStream::connect_timeout(&gate.listener, PATIENCE).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"EHLO client.example\r\nMAIL FROM:<a@example.org>\r\n").unwrap();
        // An end, and no reset: that could have overtaken the reply.
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("421 4.3.2 ") && said.lines().count() == 1, "{said}");
    }
    only.quit();
}

#[test]
fn sessions_per_client() {
    let gate = Gate::start(SINK, "limits: { sessions_per_client: 1 }\n");
    let first = gate.client();
    let reply = first_reply(gate.listener);
    assert!(reply.starts_with("421 4.7.0 "), "{reply}");
    first.leave();
    wait_for("the place to be free", PATIENCE, || {
        first_reply(gate.listener).starts_with("220").then_some(())
    });
}

#[test]
fn other_clients_are_counted_apart() {
    let gate = Gate::start(SINK, "limits: { sessions_per_client: 1 }\n");
    let _first = gate.client();
    let from = |source: [u8; 4]| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect(&gate.listener.into()).unwrap();
        let mut reply = String::new();
        let mut reader = BufReader::new(TcpStream::from(socket));
        reader.read_line(&mut reply).unwrap();
        (reply, reader)
    };
    let (second, _open) = from([127, 0, 0, 2]);
    assert!(second.starts_with("220 "), "{second}");
    let (third, _) = from([127, 0, 0, 2]);
    assert!(third.starts_with("421 4.7.0 "), "{third}");
}

#[test]
fn exempt_clients_are_not_counted() {
    let gate = Gate::start(SINK, "limits: { sessions_per_client: 1, exempt: [127.0.0.0/8] }\n");
    let clients = [gate.client(), gate.client(), gate.client()];
    clients.into_iter().for_each(Raw::quit);
}

#[test]
fn new_sessions_messages_and_recipients_by_the_minute() {
    let more = "limits: { new_sessions_per_minute: 3, messages_per_minute: 2, recipients_per_minute: 3 }\n";
    let gate = Gate::start(SINK, more);
    let mut clients = [gate.client(), gate.client(), gate.client()];
    let reply = first_reply(gate.listener);
    assert!(reply.starts_with("421 4.7.0 Too many new sessions"), "{reply}");
    // The rates are one client's in all its sessions, on whichever worker they are.
    clients[0].ask(MAIL, 250);
    clients[1].ask(MAIL, 250);
    let reply = clients[2].ask(MAIL, 451);
    assert!(reply.starts_with("451 4.7.1 Too many messages"), "{reply}");
    for client in [0, 1, 0] {
        clients[client].ask(RCPT, 250);
    }
    let reply = clients[1].ask(RCPT, 451);
    assert!(reply.starts_with("451 4.7.1 Too many recipients"), "{reply}");
    for client in &mut clients[..2] {
        client.ask("DATA", 354);
        client.say("Whoever is accepted is delivered to.\r\n.\r\n");
        client.hear(250);
    }
    assert_eq!(gate.metric("gatepost_sessions_refused_total", &["reason=\"client_rate\""]), 1.0);
    for verb in ["verb=\"mail\"", "verb=\"rcpt\""] {
        assert_eq!(
            gate.metric("gatepost_commands_limited_total", &[verb, "bound=\"client\""]),
            1.0,
            "{verb}"
        );
    }
    clients.into_iter().for_each(Raw::quit);
}

#[test]
fn the_clients_of_a_range_count_together_over_a_reload() {
    let range = |sessions| {
        format!(
            "limits: {{ exempt: [127.0.0.0/8], ranges: [{{ from: [127.0.0.0/8], sessions: {sessions} }}] }}\n"
        )
    };
    let gate = Gate::start(SINK, &range(2));
    let held = [gate.client(), gate.client()];
    let reply = first_reply(gate.listener);
    assert!(reply.starts_with("421 4.7.0 Too many sessions from your network"), "{reply}");
    gate.write(&[gate.listener], SINK, &range(3));
    gate.reload("done");
    let third = gate.client();
    assert!(first_reply(gate.listener).starts_with("421 4.7.0 "), "those from before the reload are counted");
    assert_eq!(gate.metric("gatepost_sessions_refused_total", &["reason=\"per_range\""]), 2.0);
    held.into_iter().chain([third]).for_each(Raw::quit);
}

#[test]
fn an_ipv6_client_is_counted_too() {
    let Ok(free) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        eprintln!("skipped: there is no ::1 here");
        return;
    };
    let listener = free.local_addr().unwrap();
    drop(free);
    let gate = Gate::start_at(listener, SINK, "limits: { sessions_per_client: 1 }\n");
    let first = gate.client();
    let reply = first_reply(listener);
    assert!(reply.starts_with("421 4.7.0 "), "{reply}");
    first.quit();
    // Its /64, or the address alone: both are exempted by the network.
    gate.write(&[listener], SINK, "limits: { sessions_per_client: 1, exempt: [\"::/64\"] }\n");
    gate.reload("done");
    let clients = [gate.client(), gate.client()];
    clients.into_iter().for_each(Raw::quit);
}

#[test]
fn a_command_line_too_long() {
    let gate = Gate::start(SINK, "limits: { command_line: 1024 }\n");
    let mut client = gate.client();
    let reply = client.ask(&format!("NOOP {}", "x".repeat(1020)), 500);
    assert!(reply.starts_with("500 5.5.2 "), "{reply}");
    let reply = client.ask(&"x".repeat(20_000), 500);
    assert!(reply.starts_with("500 5.5.2 "), "{reply}");
    client.ask(MAIL, 250);
    client.quit();
}

#[test]
fn the_last_error_closes() {
    let gate = Gate::start(SINK, "");
    let mut client = gate.client();
    for _ in 1..20 {
        client.ask("BOGUS", 500);
    }
    let reply = client.ask("BOGUS", 421);
    assert!(reply.starts_with("421 4.7.0 "), "{reply}");
    assert_eq!(client.reply(), "", "nothing follows");
}

#[test]
fn messages_too_large() {
    let gate = Gate::start(SINK, "limits: { message_size: 1000 }\n");
    let mut client = gate.client();
    let reply = client.ask(&format!("{MAIL} SIZE=1001"), 552);
    assert!(reply.starts_with("552 5.3.4 "), "{reply}");
    for command in [MAIL, RCPT] {
        client.ask(command, 250);
    }
    client.ask("DATA", 354);
    client.say(format!("{}\r\n.\r\n", "x\r\n".repeat(400)));
    let reply = client.hear(552);
    assert!(reply.starts_with("552 5.3.4 "), "{reply}");
    client.ask(&format!("{MAIL} SIZE=1000"), 250);
    client.ask(RCPT, 250);
    client.ask("DATA", 354);
    client.say(format!("{}.\r\n", "x\r\n".repeat(300)));
    client.hear(250);
    client.quit();
}

#[test]
fn recipients() {
    let gate = Gate::start(SINK, "limits: { recipients: 2 }\n");
    let mut client = gate.client();
    for command in [MAIL, RCPT, RCPT] {
        client.ask(command, 250);
    }
    let reply = client.ask(RCPT, 452);
    assert!(reply.starts_with("452 4.5.3 "), "{reply}");
    client.ask("DATA", 354);
    client.say("For two.\r\n.\r\n");
    client.hear(250);
    client.quit();
}

#[test]
fn dialogs_of_a_host() {
    let (one, two) = (Hop::start("one.example"), Hop::start("two.example"));
    let gate =
        Gate::start(&format!("{{ hosts: [\"{}\", \"{}\"], sessions: 1 }}", one.address, two.address), "");
    let first = gate.client();
    let second = gate.client();
    for hop in [&one, &two] {
        let host = format!("host=\"{}\"", hop.address);
        assert_eq!(gate.metric("gatepost_hop_dialogs_open", &[&host]), 1.0, "{host}");
    }
    // There is stress: a hop is asked for at the first command only.
    let mut third = Raw::connect(gate.listener);
    let reply = third.ask("EHLO client.example", 421);
    assert!(reply.starts_with("421 4.3.2 "), "{reply}");
    assert_eq!(gate.metric("gatepost_hop_failures_total", &[]), 0.0, "no failure of the hosts");
    second.quit();
    wait_for("the dialog to be free, and stress over", PATIENCE, || {
        first_reply(gate.listener).starts_with("220 two.example").then_some(())
    });
    first.quit();
}
