//! PROXY headers, from and to the running program.
//!
//! In:    peers on loopback addresses that are listed, or not; headers whole, split, torn, wrong, one behind another;
//!        a hop that writes down how its connections begin.
//! Out:   who gatepost takes for the client, what it closes, logs and counts; what a hop reads first.
//! Never: tests how headers are read and written, which the units do.
//!
//! HAProxy's specification of the PROXY protocol; the real programs are in `interop`.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use socket2::{Domain, Protocol, Socket, Type};

use super::gate::{Gate, SINK};
use super::hop::Hop;
use crate::scratch::{PATIENCE, wait_for};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.25 4711 25\r\n";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const HEADERS: &str = "gatepost_proxy_headers_total";

/// gatepost with headers from 127.0.0.2 to 127.0.0.3.
fn gate(upstream: &str, required: bool, more: &str) -> Gate {
    let keys = match required {
        true => ", proxy_protocol: { from: [127.0.0.2/31], required: true }",
        false => ", proxy_protocol: { from: [127.0.0.2/31] }",
    };
    Gate::start_with(keys, upstream, more)
}

/// A connection from there.
fn from(source: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A connection from the balancer.
fn balancer(gate: &Gate) -> TcpStream {
    from([127, 0, 0, 2], gate.listener)
}

/// What is heard to its end. (A reset is one.)
fn rest(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8(said).unwrap()
}

fn line(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let mut octet = [0];
    while said.last() != Some(&b'\n') && stream.read(&mut octet).unwrap() > 0 {
        said.push(octet[0]);
    }
    String::from_utf8(said).unwrap()
}

/// Sends a message to the sink on a connection that begins with a header.
fn send(mut stream: TcpStream) {
    assert!(line(&mut stream).starts_with("220 "));
    let said = "EHLO c.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n";
    stream.write_all(said.as_bytes()).unwrap();
    while !line(&mut stream).starts_with("354 ") {}
    stream.write_all(b"Subject: x\r\n\r\n.\r\nQUIT\r\n").unwrap();
    let said = rest(&mut stream);
    assert!(said.starts_with("250 ") && said.contains("\r\n221 "), "{said}");
}

fn counted(gate: &Gate, outcome: &str) {
    let label = format!("outcome=\"{outcome}\"");
    wait_for(&format!("{outcome} to be counted"), PATIENCE, || {
        (gate.metric(HEADERS, &[&label]) == 1.0).then_some(())
    });
}

#[test]
fn the_header_names_the_client() {
    let rule =
        "rules:\n  - { name: known, stages: mail, match: { client: 192.0.2.7 }, do: { accept: true } }\n";
    let gate = gate(SINK, false, rule);
    let mut stream = balancer(&gate);
    stream.write_all(V1).unwrap();
    send(stream);
    gate.logged(&["client=192.0.2.7:4711 "]);
    gate.logged(&["mail:known:accept"]);
    counted(&gate, "proxied");
}

#[test]
fn split_anywhere_and_with_octets_behind() {
    let gate = gate(SINK, false, "limits: { sessions_per_client: 100 }\n");
    for split in 1..V1.len() {
        let mut stream = balancer(&gate);
        stream.write_all(&V1[..split]).unwrap();
        // What is behind the header is the session's: a client that talks early.
        stream.write_all(&[&V1[split..], b"QUIT\r\n"].concat()).unwrap();
        let said = rest(&mut stream);
        assert!(said.starts_with("220 ") && said.contains("\r\n221 "), "{split}: {said}");
    }
}

#[test]
fn limits_count_the_client_and_not_the_balancer() {
    let gate = gate(SINK, false, "limits: { sessions_per_client: 1 }\n");
    let open = |client: &str| {
        let mut stream = balancer(&gate);
        write!(stream, "PROXY TCP4 {client} 192.0.2.25 1 25\r\n").unwrap();
        (line(&mut stream), stream)
    };
    // While a header is awaited nobody is a client.
    let waiting = [balancer(&gate), balancer(&gate)];
    let (first, _first) = open("192.0.2.7");
    let (second, _second) = open("192.0.2.8");
    assert!(first.starts_with("220 ") && second.starts_with("220 "), "{first}{second}");
    let (third, _) = open("192.0.2.7");
    assert!(third.starts_with("421 4.7.0 "), "{third}");
    drop(waiting);
}

#[test]
fn sessions_in_all_count_those_that_wait() {
    let gate = gate(SINK, false, "workers: 1\nlimits: { sessions: 1 }\n");
    let waiting = balancer(&gate);
    let mut second = balancer(&gate);
    assert!(line(&mut second).starts_with("421 4.3.2 "));
    drop(waiting);
}

#[test]
fn who_is_listed_must_send_one() {
    let gate = gate(SINK, false, "");
    for (octets, outcome, what) in [
        (&b"EHLO client.example\r\n"[..], "missing", "octets that are no PROXY header"),
        (b"PROXY TCP4 192.0.2.07 192.0.2.25 4711 25\r\n", "malformed", "a PROXY line that cannot be read"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", "too_long", "a PROXY header that is too long"),
    ] {
        let mut stream = balancer(&gate);
        stream.write_all(octets).unwrap();
        assert_eq!(rest(&mut stream), "", "{outcome}");
        counted(&gate, outcome);
        gate.logged(&[&format!("closed: {what} listener={} peer=127.0.0.2:", gate.listener)]);
    }
    for line in gate.output().lines().filter(|line| line.contains("closed: ")) {
        assert!(line.ends_with(" range=\"127.0.0.2/31\""), "{line}");
    }
}

#[test]
fn no_header_within_three_seconds() {
    let gate = gate(SINK, false, "");
    let mut stream = balancer(&gate);
    stream.write_all(&V1[..20]).unwrap();
    assert_eq!(rest(&mut stream), "");
    counted(&gate, "late");
    gate.logged(&["no PROXY header within 3 s"]);
}

#[test]
fn a_torn_one() {
    let gate = gate(SINK, false, "");
    let mut stream = balancer(&gate);
    stream.write_all(&V1[..20]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut stream), "");
    counted(&gate, "torn");
    gate.logged(&["a PROXY header without its end"]);
}

#[test]
fn health_checks_leave_no_trace_in_the_log() {
    let hop = Hop::start("hop.example");
    let gate = gate(&hop.upstream(), false, "");
    // A connection and its end.
    drop(balancer(&gate));
    counted(&gate, "left");
    // LOCAL, and a look at the greeting.
    let mut stream = balancer(&gate);
    stream.write_all(V2_LOCAL).unwrap();
    assert!(line(&mut stream).starts_with("220 hop.example"));
    stream.write_all(b"QUIT\r\n").unwrap();
    assert!(rest(&mut stream).starts_with("221 "));
    counted(&gate, "local");
    // Its family is not known, and its client no other than itself.
    let mut stream = balancer(&gate);
    stream.write_all(b"PROXY UNKNOWN\r\nQUIT\r\n").unwrap();
    assert!(line(&mut stream).starts_with("220 "));
    counted(&gate, "unknown");
    let log = gate.output();
    assert!(!log.contains("closed") && !log.contains("ERROR"), "{log}");
}

#[test]
fn a_second_header_closes() {
    let gate = gate(SINK, false, "");
    for second in [V1, V2_LOCAL] {
        let mut stream = balancer(&gate);
        stream.write_all(&[V1, second].concat()).unwrap();
        assert_eq!(rest(&mut stream), "", "in one piece");
        let mut stream = balancer(&gate);
        stream.write_all(V1).unwrap();
        assert!(line(&mut stream).starts_with("220 "));
        stream.write_all(second).unwrap();
        assert!(rest(&mut stream).starts_with("421 4.7.0 "), "behind the greeting");
    }
    wait_for("all four to be counted", PATIENCE, || {
        (gate.metric(HEADERS, &["outcome=\"second\""]) == 4.0).then_some(())
    });
    gate.logged(&["closed: a second PROXY header"]);
    gate.logged(&["closed: a PROXY header where none may be session="]);
}

#[test]
fn who_is_not_listed() {
    let open = gate(SINK, false, "");
    let mut stream = TcpStream::connect(open.listener).unwrap();
    assert!(line(&mut stream).starts_with("220 "), "is taken as it is");
    stream.write_all(V1).unwrap();
    assert!(rest(&mut stream).starts_with("421 4.7.0 "), "but has no say in who it is");
    counted(&open, "unlisted");
    open.logged(&["closed: a PROXY header where none may be session="]);
    open.logged(&[" range=\"none of 127.0.0.2/31\""]);

    let closed = gate(SINK, true, "");
    let mut stream = TcpStream::connect(closed.listener).unwrap();
    assert!(rest(&mut stream).starts_with("421 4.7.0 Not reached this way"));
    assert_eq!(closed.metric("gatepost_sessions_refused_total", &["reason=\"unlisted\""]), 1.0);
    closed.logged(&["refused: proxy_protocol.required"]);
}

#[test]
fn stopping_does_not_wait_for_a_header() {
    let mut gate = gate(SINK, false, "workers: 1\n");
    let mut stream = balancer(&gate);
    // Accepted in turn: when this one is served, the other one waits.
    let mut served = balancer(&gate);
    served.write_all(V1).unwrap();
    assert!(line(&mut served).starts_with("220 "));
    gate.signal(rustix::process::Signal::TERM);
    assert!(rest(&mut stream).starts_with("421 4.3.2 "));
    assert_eq!(gate.status(), Some(0));
}

/// A hop that tells how its connections begin, with the address each comes from, and then closes.
fn beginnings() -> (SocketAddr, Receiver<(SocketAddr, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (told, heard) = channel();
    thread::spawn(move || {
        while let Ok((mut stream, from)) = listener.accept() {
            let mut octets = [0; 512];
            // Nothing in time is nothing.
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let read = stream.read(&mut octets).unwrap_or(0);
            if told.send((from, octets[..read].to_vec())).is_err() {
                return;
            }
        }
    });
    (address, heard)
}

#[test]
fn a_host_hears_the_header_first_and_one_that_hangs_up_is_the_last() {
    let [(first, at_first), (second, at_second)] = [beginnings(), beginnings()];
    let pool = format!("{{ hosts: [\"{first}\", \"{second}\"], identity: proxy_v1, health: off }}");
    let gate = gate(&pool, false, "");
    let mut stream = balancer(&gate);
    stream.write_all(V1).unwrap();
    // It does not greet who it was told of: that is its word to this client, and no other is asked.
    assert!(rest(&mut stream).starts_with("421 4.7.0 "));
    assert_eq!(at_first.recv_timeout(PATIENCE).unwrap().1, V1);
    assert!(at_second.try_recv().is_err());
}

#[test]
fn where_a_client_connected_to_is_told() {
    let (hop, heard) = beginnings();
    let pool = format!("{{ hosts: [\"{hop}\"], identity: proxy_v1, health: off }}");
    let gate = gate(&pool, false, "");
    let mut stream = from([127, 0, 0, 9], gate.listener);
    let port = stream.local_addr().unwrap().port();
    assert!(rest(&mut stream).starts_with("421 4.7.0 "));
    let told = format!("PROXY TCP4 127.0.0.9 127.0.0.1 {port} {}\r\n", gate.listener.port());
    assert_eq!(String::from_utf8(heard.recv_timeout(PATIENCE).unwrap().1).unwrap(), told);
}

#[test]
fn probes_say_that_they_come_from_gatepost() {
    for (identity, expected) in [("proxy_v1", &b"PROXY UNKNOWN\r\n"[..]), ("proxy_v2", V2_LOCAL)] {
        let (hop, heard) = beginnings();
        let pool = format!("{{ hosts: [\"{hop}\"], identity: {identity}, health: {{ interval: 1s }} }}");
        let _gate = gate(&pool, false, "");
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap().1, expected);
    }
}

#[test]
fn the_address_itself() {
    let hop = TcpListener::bind("127.0.0.1:0").unwrap();
    hop.set_nonblocking(true).unwrap();
    let comes_from =
        || wait_for("somebody at the hop", PATIENCE, || Some(hop.accept().ok()?.1.ip().to_string()));
    let pool = |required| {
        let host = hop.local_addr().unwrap();
        format!(
            "{{ hosts: [\"{host}\"], identity: source_address, identity_required: {required}, health: off }}"
        )
    };
    let strict = gate(&pool(true), false, "");
    let mut stream = from([127, 0, 0, 9], strict.listener);
    if rustix::process::geteuid().is_root() {
        assert_eq!(comes_from(), "127.0.0.9");
    } else {
        assert!(rest(&mut stream).starts_with("421 4.7.1 "), "better put off than passed nameless");
        strict.logged(&[": source_address: not permitted: it takes CAP_NET_RAW or CAP_NET_ADMIN"]);
    }
    // A client of the other family cannot be seen there by anybody.
    let mut stream = balancer(&strict);
    stream.write_all(b"PROXY TCP6 2001:db8::7 2001:db8::25 4711 25\r\n").unwrap();
    assert!(rest(&mut stream).starts_with("421 4.7.1 "));
    strict.logged(&["2001:db8::7 is of another family than the host's, 127.0.0.1"]);
    let untold = "gatepost_hops_not_told_total";
    assert!(strict.metric(untold, &[]) >= 1.0);
    let failures = strict.metric("gatepost_hop_failures_total", &["reason=\"connect\""]);
    assert_eq!(failures, 0.0, "it is not the host's fault");

    let lax = gate(&pool(false), false, "");
    let mut stream = balancer(&lax);
    stream.write_all(b"PROXY TCP6 2001:db8::7 2001:db8::25 4711 25\r\n").unwrap();
    assert_eq!(comes_from(), "127.0.0.1");
    lax.logged(&["; it is not told who the client is"]);
    assert_eq!(lax.metric(untold, &[]), 1.0);
}
