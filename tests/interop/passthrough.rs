//! TLS between a client and the hop, passed through: OpenSSL verifies Postfix's own certificate through gatepost.
//!
//! In:    `openssl s_client`, after STARTTLS and from the first octet; a hop played here for what OpenSSL would not do.
//! Out:   the trials: mail goes through that no rule sees, the octets and the fact are in the log and in metrics; much
//!        more than any buffer goes both ways at once, and each FIN after it.
//! Never: gives gatepost a certificate.
//!
//! RFC 3207, RFC 8314 3.3.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use libtest_mimic::Trial;

use crate::support::gatepost::Gatepost;
use crate::support::mta::Mta;
use crate::support::peers::{Peer, found, trial};
use crate::support::postfix::{Postfix, Spec};
use crate::support::raw::Raw;
use crate::support::scratch::{Finished, PATIENCE, Scratch, free_port, run, wait_for};

pub fn trials() -> Vec<Trial> {
    let needs = [Peer::OpenSsl, Peer::Postfix];
    vec![
        trial("passthrough::the_hops_own_certificate", needs, the_hops_own_certificate),
        trial("passthrough::from_the_first_octet", needs, from_the_first_octet),
        trial("passthrough::more_than_any_buffer", [], more_than_any_buffer),
    ]
}

/// A mail that OpenSSL says line by line as Postfix takes it; no rule may have seen its sender.
const MAIL: &str = "EHLO client.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<joe@server.example>\r\nDATA\r\n\
                    Subject: hello\r\n\r\nHello.\r\n.\r\nQUIT\r\n";
const RULES: &str = "rules: [ { name: never, stages: mail, do: { reply: \"550 5.7.1 Never\" } } ]\n";

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// gatepost with one listener that passes TLS through to a hop.
fn before(hop: SocketAddr, tls: &str, more: &str) -> Gatepost {
    let (listener, admin) = (at(free_port()), at(free_port()));
    let scratch = Scratch::new("passthrough");
    let config = format!(
        "hostname: gate.example\nadmin: {{ address: {admin} }}\n\
         listeners: [ {{ address: {listener}, upstream: main, tls: {tls} }} ]\n\
         upstreams: {{ main: {{ hosts: [\"{hop}\"], health: off }} }}\n{more}"
    );
    let path = scratch.write("proxy.yaml", config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.arg("run").arg("--config").arg(path);
    Gatepost::start_with(scratch, command, listener, admin)
}

/// Postfix, and a door of it that begins with TLS.
fn postfix() -> (Postfix, SocketAddr) {
    let smtps = at(free_port());
    let entry = format!("{smtps} inet n - n - - smtpd\n  -o smtpd_tls_wrappermode=yes\n");
    (Postfix::start(&Spec { tls: true, master_cf: entry, ..Spec::receiving("server.example") }), smtps)
}

fn s_client(door: SocketAddr, certificate: &Path, more: &[&str]) -> Finished {
    let scratch = Scratch::new("s_client");
    let mail = scratch.write("mail", MAIL);
    let mut command = Command::new(found("openssl"));
    command.args(["s_client", "-quiet", "-verify_return_error", "-verify_hostname", "mx.example"]);
    command.args(["-connect", &door.to_string()]).args(more).arg("-CAfile").arg(certificate);
    run(&scratch, &mut command, std::fs::File::open(mail).unwrap().into(), PATIENCE)
}

/// What must be true of gatepost behind a session that was passed through.
fn is_told(gatepost: &Gatepost) {
    gatepost.logged("passthrough: ");
    let log = gatepost.output();
    let record = log.lines().find(|line| line.contains("passthrough: ")).unwrap();
    let octets = |name: &str| -> f64 {
        let (_, rest) = record.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("{record}"));
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    assert!(record.contains("no rule or callout applied") && !log.contains("transaction"), "{log}");
    assert_eq!(gatepost.metric("gatepost_passthrough_sessions_total", &[]), 1.0);
    for (side, name) in [("downstream", "octets_in"), ("upstream", "octets_out")] {
        let counted = gatepost.metric("gatepost_passthrough_octets_total", &[side]);
        assert!(counted > 300.0 && counted == octets(name), "{side}: {counted}\n{record}");
    }
    assert_eq!(gatepost.metric("gatepost_messages_total", &[]), 0.0);
}

fn the_hops_own_certificate() {
    let (postfix, _) = postfix();
    let gatepost = before(postfix.address(), "passthrough", RULES);
    let said = s_client(gatepost.listener(), &postfix.certificate(), &["-starttls", "smtp"]);
    assert!(said.status.success() && said.stdout.contains("250 2.0.0 Ok: queued"), "{said:?}");
    postfix.settle(1);
    assert_eq!(postfix.take_stored().len(), 1);
    is_told(&gatepost);
    // Whoever does not begin TLS is served as ever.
    let mut client = Raw::connect(gatepost.listener());
    client.ask("EHLO client.example", 250);
    client.ask("MAIL FROM:<a@example.org>", 550);
    client.quit();
}

fn from_the_first_octet() {
    let (postfix, smtps) = postfix();
    let routed = format!(
        "  by-name: {{ hosts: [\"{smtps}\"], health: off }}\n\
         rules: [ {{ name: by-name, stages: connect, match: {{ tls: {{ server_name: mx.example }} }}, \
         do: {{ route: {{ upstream: by-name }} }} }} ]\n"
    );
    // The pool that it is not for.
    let nobody = at(free_port());
    let (listener, admin) = (at(free_port()), at(free_port()));
    let scratch = Scratch::new("passthrough");
    let config = format!(
        "hostname: gate.example\nadmin: {{ address: {admin} }}\n\
         listeners:\n  - {{ address: {listener}, upstream: main, tls: {{ mode: passthrough, implicit: true }} }}\n\
         upstreams:\n  main: {{ hosts: [\"{nobody}\"], health: off }}\n{routed}"
    );
    let path = scratch.write("proxy.yaml", config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.arg("run").arg("--config").arg(path);
    let gatepost = Gatepost::start_with(scratch, command, listener, admin);
    let said = s_client(listener, &postfix.certificate(), &["-servername", "mx.example"]);
    assert!(said.status.success() && said.stdout.contains("250 2.0.0 Ok: queued"), "{said:?}");
    postfix.settle(1);
    assert_eq!(postfix.take_stored().len(), 1);
    is_told(&gatepost);
    gatepost.logged("server_name=\"mx.example\"");
    let said = s_client(listener, &postfix.certificate(), &["-servername", "other.example"]);
    assert!(!said.status.success() && !said.stdout.contains("421"), "{said:?}");
}

/// Both sides say much at once, and each ends its own direction only.
fn more_than_any_buffer() {
    const MUCH: usize = 24 << 20;
    let hop = TcpListener::bind("127.0.0.1:0").unwrap();
    let gatepost = before(hop.local_addr().unwrap(), "passthrough", "");
    let served = thread::spawn(move || {
        let (mut stream, _) = hop.accept().unwrap();
        stream.write_all(b"220 hop.example\r\n").unwrap();
        hear(&mut stream, b"EHLO client.example\r\n");
        stream.write_all(b"250-hop.example\r\n250 STARTTLS\r\n").unwrap();
        hear(&mut stream, b"STARTTLS\r\n");
        stream.write_all(b"220 2.0.0 Go\r\n").unwrap();
        // TLS begins with the client.
        hear(&mut stream, b"\x16");
        exchange(&stream, MUCH, b'h')
    });
    let mut client = TcpStream::connect(gatepost.listener()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    hear(&mut client, b"220 hop.example\r\n");
    client.write_all(b"EHLO client.example\r\n").unwrap();
    hear(&mut client, b"250-hop.example\r\n250-STARTTLS\r\n");
    let mut rest = [0; 256];
    wait_for("the end of the EHLO reply", PATIENCE, || {
        let read = client.read(&mut rest).unwrap();
        rest[..read].ends_with(b"250 SIZE 52428800\r\n").then_some(())
    });
    client.write_all(b"STARTTLS\r\n").unwrap();
    hear(&mut client, b"220 2.0.0 Go\r\n");
    client.write_all(b"\x16").unwrap();
    let heard = exchange(&client, MUCH, b'c');
    let of_client = served.join().unwrap();
    assert!(heard.len() == MUCH && heard.iter().all(|octet| *octet == b'h'));
    assert!(of_client.len() == MUCH && of_client.iter().all(|octet| *octet == b'c'));
    wait_for("the end", PATIENCE, || {
        (gatepost.metric("gatepost_sessions_ended_total", &["reason=\"passed\""]) == 1.0).then_some(())
    });
    let passed = gatepost.metric("gatepost_passthrough_octets_total", &[]);
    assert_eq!(passed, (2 * MUCH + 1) as f64);
}

fn hear(stream: &mut TcpStream, expected: &[u8]) {
    let mut heard = vec![0; expected.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, expected, "{}", heard.escape_ascii());
}

/// Says much and then FIN, and hears the other side out meanwhile.
fn exchange(stream: &TcpStream, much: usize, octet: u8) -> Vec<u8> {
    let (mut to, mut from) = (stream, stream);
    thread::scope(|scope| {
        scope.spawn(move || {
            to.write_all(&vec![octet; much]).unwrap();
            to.shutdown(Shutdown::Write).unwrap();
        });
        let mut heard = Vec::new();
        from.read_to_end(&mut heard).unwrap();
        heard
    })
}
