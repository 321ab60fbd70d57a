//! Octets where none may be, and handshakes that end, or never do.
//!
//! In:    clients and hops that write before, inside and after a handshake what they should not.
//! Out:   sessions that end, within their deadline; nothing of one phase used in the next; a gatepost that serves on.
//! Never: waits for time to pass otherwise than by waiting to be hung up on.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::client::{Client, dial, hear_plain, starttls};
use super::{Trust, listener};
use crate::gate::{Gate, SINK, free_address};
use crate::scratch::{PATIENCE, wait_for};

fn session(trust: &Trust) -> ClientConnection {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    ClientConnection::new(Arc::new(trust.authority.client_config()), name).unwrap()
}

/// What a client writes next.
fn flight(session: &mut ClientConnection) -> Vec<u8> {
    let mut octets = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut octets).unwrap();
    }
    octets
}

/// Everything until it is hung up, or breaks.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut octets = Vec::new();
    // A reset is an end, too: octets of ours were not read.
    let _ = stream.read_to_end(&mut octets);
    octets
}

/// It serves, and whoever left is gone.
fn serves_on(gate: &Gate, trust: &Trust) {
    let mut client = Client::secure(dial(gate.listener), trust.authority.client_config(), "127.0.0.1");
    client.hear(220);
    client.ask("QUIT", 221);
    wait_for("all sessions to be over", PATIENCE, || {
        (gate.metric("gatepost_sessions_open", &[]) == 0.0).then_some(())
    });
    assert_eq!(gate.metric("gatepost_panics_total", &[]), 0.0);
}

#[test]
fn a_handshake_cut_or_spoilt_at_any_octet_ends_that_session_alone() {
    let trust = Trust::new();
    let gate = Gate::start_secured(&listener("implicit", &trust.server("front")), SINK, "");
    let hello = flight(&mut session(&trust));
    for at in 0..hello.len() {
        let mut cut = dial(gate.listener);
        cut.write_all(&hello[..at]).unwrap();
        cut.shutdown(Shutdown::Write).unwrap();
        assert!(!rest(&mut cut).starts_with(b"220"), "cut at {at}");
        let mut spoilt = dial(gate.listener);
        let mut octets = hello.clone();
        octets[at] ^= 0xff;
        spoilt.write_all(&octets).unwrap();
        spoilt.shutdown(Shutdown::Write).unwrap();
        assert!(!rest(&mut spoilt).starts_with(b"220"), "spoilt at {at}");
    }
    serves_on(&gate, &trust);
    assert!(gate.metric("gatepost_tls_failures_total", &["side=\"downstream\""]) >= 2.0 * hello.len() as f64);
}

#[test]
fn an_answer_spoilt_at_any_octet_ends_that_session_alone() {
    let trust = Trust::new();
    let gate = Gate::start_secured(&listener("implicit", &trust.server("front")), SINK, "");
    let mut at = 0;
    loop {
        let (mut stream, mut session) = (dial(gate.listener), session(&trust));
        stream.write_all(&flight(&mut session)).unwrap();
        while session.is_handshaking() {
            session.read_tls(&mut stream).unwrap();
            session.process_new_packets().unwrap();
        }
        let mut octets = flight(&mut session);
        if at == octets.len() {
            break;
        }
        octets[at] ^= 0xff;
        // Whoever spoils it may be hung up on in the midst of it.
        let _ = stream.write_all(&octets);
        let _ = stream.shutdown(Shutdown::Write);
        rest(&mut stream);
        at += 1;
    }
    serves_on(&gate, &trust);
}

#[test]
fn records_that_are_none_end_a_session_and_its_transaction() {
    let trust = Trust::new();
    let gate = Gate::start_secured(&listener("implicit", &trust.server("front")), SINK, "");
    for junk in [
        &b"QUIT\r\n"[..],
        b"\x17\x03\x03\x00\x04QUIT",
        b"\x17\x03\x03\xff\xff",
        b"\x15\x03\x03\x00\x02\x02\x28",
    ] {
        let stream = dial(gate.listener);
        let mut below = stream.try_clone().unwrap();
        let mut client = Client::secure(stream, trust.authority.client_config(), "127.0.0.1");
        client.hear(220);
        for command in ["EHLO client.example", "MAIL FROM:<smith@example.org>", "RCPT TO:<jones@example.net>"]
        {
            client.ask(command, 250);
        }
        client.ask("DATA", 354);
        client.say("Subject: cut\r\n\r\n");
        below.write_all(junk).unwrap();
        below.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.reply(), "");
    }
    serves_on(&gate, &trust);
    assert_eq!(gate.metric("gatepost_messages_total", &["outcome=\"accepted\""]), 0.0);
}

#[test]
fn commands_behind_starttls_are_never_used_wherever_they_are_cut() {
    let trust = Trust::new();
    let gate = Gate::start_secured(&listener("starttls", &trust.server("front")), SINK, "");
    let said = b"STARTTLS\r\nMAIL FROM:<mallory@example.org>\r\n";
    for at in 1..said.len() {
        let mut stream = dial(gate.listener);
        hear_plain(&mut stream);
        stream.write_all(b"EHLO client.example\r\n").unwrap();
        hear_plain(&mut stream);
        let (one, other) = said.split_at(at);
        stream.write_all(one).unwrap();
        // It may have been hung up already.
        let _ = stream.write_all(other);
        let _ = stream.shutdown(Shutdown::Write);
        let heard = rest(&mut stream);
        let heard = String::from_utf8_lossy(&heard);
        assert!(!heard.lines().any(|line| line.starts_with("250")), "cut at {at}: {heard}");
    }
    assert_eq!(gate.metric("gatepost_commands_total", &["verb=\"mail\""]), 0.0);
}

/// A hop that offers STARTTLS, answers it like this, and hears what comes then.
fn injecting(answer: &'static [u8], at: usize) -> (SocketAddr, thread::JoinHandle<Vec<u8>>) {
    let hop = TcpListener::bind(free_address()).unwrap();
    let address = hop.local_addr().unwrap();
    let heard = thread::spawn(move || {
        let (mut stream, _) = hop.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"220 hop.example\r\n").unwrap();
        hear_plain(&mut stream);
        stream.write_all(b"250-hop.example\r\n250 STARTTLS\r\n").unwrap();
        hear_plain(&mut stream);
        let (one, other) = answer.split_at(at);
        stream.write_all(one).unwrap();
        let _ = stream.write_all(other);
        rest(&mut stream)
    });
    (address, heard)
}

#[test]
fn replies_injected_before_a_hops_handshake_are_never_used_wherever_they_are_cut() {
    let answer = b"220 Go ahead\r\n250-hop.example\r\n250 AUTH PLAIN\r\n250 2.1.0 Ok\r\n";
    for at in (1..answer.len()).step_by(3) {
        let (address, heard) = injecting(answer, at);
        let upstream =
            format!("{{ hosts: [\"{address}\"], tls: {{ mode: required, verify: false }}, health: off }}");
        let gate = Gate::start(&upstream, "");
        let mut stream = dial(gate.listener);
        let mut said = hear_plain(&mut stream);
        for command in ["EHLO client.example\r\n", "MAIL FROM:<smith@example.org>\r\n"] {
            if stream.write_all(command.as_bytes()).is_ok() {
                said.push_str(&hear_plain(&mut stream));
            }
        }
        assert!(!said.contains("AUTH PLAIN") && !said.contains("2.1.0"), "cut at {at}: {said}");
        drop(stream);
        let heard = heard.join().unwrap();
        let plain = String::from_utf8_lossy(&heard);
        assert!(!plain.contains("EHLO") && !plain.contains("MAIL"), "cut at {at}: {plain}");
    }
}

#[test]
fn a_handshake_that_never_ends_ends_at_its_deadline() {
    let trust = Trust::new();
    let more = "timeouts: { tls: 1s }\n";
    let hello = flight(&mut session(&trust));
    for mode in ["implicit", "starttls"] {
        let gate = Gate::start_secured(&listener(mode, &trust.server("front")), SINK, more);
        let mut stream = if mode == "implicit" { dial(gate.listener) } else { starttls(gate.listener) };
        let since = Instant::now();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        for octet in &hello {
            // One after the other, until it is hung up.
            let gone = stream.write_all(&[*octet]).is_err() || matches!(stream.read(&mut [0; 16]), Ok(0));
            if gone {
                break;
            }
        }
        let took = since.elapsed();
        assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&took), "{mode}: {took:?}");
        wait_for("it to be counted", PATIENCE, || {
            (gate.metric("gatepost_tls_failures_total", &["timed_out"]) == 1.0).then_some(())
        });
    }
}
