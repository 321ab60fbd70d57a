//! What gatepost and systemd say to each other.
//!
//! In:    a datagram socket in systemd's place; listening sockets, handed over by its own `systemd-socket-activate` or
//!        in its way.
//! Out:   the trials: states are told, sockets are taken over, and no client is lost between two starts.
//! Never: needs a systemd that runs here.
//!
//! sd_notify(3), sd_listen_fds(3).

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::gate::{BINARY, SINK, configuration, free_address, plain, start};
use crate::support::peers::{Peer, found, trial};
use crate::support::raw::Raw;
use crate::support::scratch::{PATIENCE, Scratch, wait_for};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("systemd::states_are_told", [], states_are_told),
        trial("systemd::sockets_are_taken_over", [Peer::Systemd], sockets_are_taken_over),
        trial("systemd::waiting_clients_outlive_a_drain", [], waiting_clients_outlive_a_drain),
        trial("systemd::nobody_falls_between_two_workers", [], nobody_falls_between_two_workers),
        trial("systemd::a_socket_without_a_listener", [], a_socket_without_a_listener),
    ]
}

fn states_are_told() {
    let scratch = Scratch::new("notify");
    let place = scratch.path().join("notify");
    let systemd = UnixDatagram::bind(&place).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let listener = free_address();
    let mut command = plain();
    command.env("NOTIFY_SOCKET", &place).env("WATCHDOG_USEC", "4000000");
    let mut gatepost = start(scratch, command, &[listener], SINK);
    let ready = format!("READY=1\nSTATUS=accepting on {listener}\n");
    assert_eq!(told(&systemd, "READY=1"), ready);
    told(&systemd, "WATCHDOG=1");

    gatepost.signal(Signal::HUP);
    assert!(told(&systemd, "RELOADING=1").contains("\nMONOTONIC_USEC="));
    assert_eq!(told(&systemd, "READY=1"), ready);

    gatepost.scratch().write("proxy.yaml", "upstreams: { main: { hots: [] } }\n");
    gatepost.signal(Signal::HUP);
    told(&systemd, "RELOADING=1");
    let refused = told(&systemd, "READY=1");
    assert!(
        refused.contains("STATUS=reload: nothing changed: ")
            && refused.contains("proxy.yaml:1:22: upstreams.main.hots: unknown key"),
        "{refused}"
    );
    // Every worker still shows that it lives.
    told(&systemd, "WATCHDOG=1");

    let mut client = Raw::connect(gatepost.listener());
    client.ask("EHLO client.example", 250);
    gatepost.signal(Signal::TERM);
    assert_eq!(told(&systemd, "STOPPING=1"), "STOPPING=1\nSTATUS=finishing 1 sessions\n");
    client.hear(421);
    assert_eq!(gatepost.ended(), Some(0));
}

/// The next message that begins so; others are of no interest.
fn told(systemd: &UnixDatagram, begins: &str) -> String {
    let mut octets = [0; 4096];
    wait_for(begins, PATIENCE, || {
        let taken = systemd.recv(&mut octets).unwrap();
        Some(String::from_utf8_lossy(&octets[..taken]).into_owned()).filter(|said| said.starts_with(begins))
    })
}

/// By systemd's own tool: one listener is handed over and one is not, and every worker serves.
fn sockets_are_taken_over() {
    let (handed, own) = (free_address(), free_address());
    let mut command = Command::new(found("systemd-socket-activate"));
    command.args(["-l", &handed.to_string(), BINARY, "run"]).stdin(Stdio::null());
    // It starts gatepost for the first client.
    let first = thread::spawn(move || {
        wait_for("systemd-socket-activate to listen", PATIENCE, || {
            TcpStream::connect(handed).ok().map(|_| ())
        });
    });
    let mut gatepost =
        start(Scratch::new("activated"), command, &[handed, own], &format!("workers: 3\n{SINK}"));
    first.join().unwrap();
    for address in [handed, own] {
        let clients: Vec<Raw> = (0..7).map(|_| Raw::connect(address)).collect();
        clients.into_iter().for_each(Raw::quit);
    }
    // A reload keeps what was handed over.
    gatepost.signal(Signal::HUP);
    wait_for("the reload", PATIENCE, || {
        (gatepost.metric("gatepost_reloads_total", &["outcome=\"done\""]) == 1.0).then_some(())
    });
    let clients: Vec<Raw> = (0..7).map(|_| Raw::connect(handed)).collect();
    assert!(gatepost.metric("gatepost_sessions_opened_total", &[]) >= 21.0);
    gatepost.signal(Signal::TERM);
    for mut client in clients {
        client.hear(421);
    }
    assert_eq!(gatepost.ended(), Some(0));
}

/// A socket that is held open here, as systemd would.
fn waiting_clients_outlive_a_drain() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let mut first = start(Scratch::new("first"), handed(&held), &[address], &format!("workers: 2\n{SINK}"));
    let mut client = Raw::connect(address);
    client.ask("EHLO client.example", 250);
    client.ask("MAIL FROM:<a@example.org>", 250);
    first.signal(Signal::TERM);
    wait_for("/readyz to say that it drains", PATIENCE, || {
        first.http("/readyz").starts_with("HTTP/1.1 503").then_some(())
    });
    let waiting = thread::spawn(move || Raw::connect(address).quit());
    client.ask("RSET", 250);
    client.hear(421);
    assert_eq!(first.ended(), Some(0));
    assert!(!waiting.is_finished(), "nobody has turned it away");
    let _second = start(Scratch::new("second"), handed(&held), &[address], SINK);
    waiting.join().unwrap();
}

/// Clients who come while gatepost ends: each is served, is told to come again, or waits for the next start.
fn nobody_falls_between_two_workers() {
    const CLIENTS: usize = 200;
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let more = format!("workers: 4\nlimits: {{ exempt: [127.0.0.0/8] }}\n{SINK}");
    let mut first = start(Scratch::new("ending"), handed(&held), &[address], &more);
    let (heard, replies) = mpsc::channel();
    for _ in 0..CLIENTS {
        let heard = heard.clone();
        thread::spawn(move || {
            let mut reply = String::new();
            let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let result = BufReader::new(stream).read_line(&mut reply).map(|_| reply);
            // The test may have failed already.
            let _ = heard.send(result);
        });
    }
    let mut all: Vec<String> = (0..20).map(|_| replies.recv_timeout(PATIENCE).unwrap().unwrap()).collect();
    first.signal(Signal::TERM);
    assert_eq!(first.ended(), Some(0));
    let _second = start(Scratch::new("next"), handed(&held), &[address], &more);
    all.extend((20..CLIENTS).map(|_| replies.recv_timeout(PATIENCE).unwrap().unwrap()));
    let unheard = all.iter().filter(|reply| !reply.starts_with("220 ") && !reply.starts_with("421 4.3.2 "));
    assert_eq!(unheard.collect::<Vec<_>>(), Vec::<&String>::new());
}

fn a_socket_without_a_listener() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, listener) = (held.local_addr().unwrap(), free_address());
    let scratch = Scratch::new("lonely");
    let config = configuration(&scratch, &[listener], free_address(), SINK);
    let mut command = handed(&held);
    command.arg("--config").arg(config).stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = command.output().unwrap();
    assert_eq!(said.status.code(), Some(2));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.contains(&format!("systemd listens on {address}, but no listener has that address")),
        "{said}"
    );
    assert!(said.contains(&format!("(there are: {listener})")), "{said}");
}

/// gatepost with this socket handed to it in systemd's way. The shell's number is gatepost's.
fn handed(socket: &TcpListener) -> Command {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "exec 3<&0 </dev/null; exec env LISTEN_PID=$$ LISTEN_FDS=1 \"$0\" \"$@\"",
        BINARY,
        "run",
    ]);
    command.stdin(OwnedFd::from(socket.try_clone().unwrap()));
    command
}
