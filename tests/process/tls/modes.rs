//! Who speaks TLS with whom: each mode of a listener before each mode of a pool.
//!
//! In:    a client, gatepost, and behind it another gatepost with the embedded sink.
//! Out:   mail, octet for octet; what the log and the metrics say of TLS.
//! Never: sends mail past the gate that is under test.

use std::fs;
use std::io::BufRead;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::client::{Client, dial, starttls};
use super::{Trust, listener};
use crate::certificates::{Old, old};
use crate::gate::{Gate, SINK};
use crate::scratch::{PATIENCE, free_port, run, wait_for};

/// Python's own client, with its own TLS.
const SMTPLIB: &str = r#"
import smtplib, ssl, sys
mode, host, port, roots, path = sys.argv[1:]
context = ssl.create_default_context(cafile=roots)
if mode == "implicit":
    client = smtplib.SMTP_SSL(host, int(port), context=context)
else:
    client = smtplib.SMTP(host, int(port))
    client.starttls(context=context)
client.sendmail("smith@example.org", ["jones@example.net"], open(path, "rb").read())
client.quit()
"#;

fn message(lines: usize) -> String {
    let line = "The quick brown fox jumps over the lazy dog, and over a line of seventy-six octets.\r\n";
    format!("Subject: test\r\n\r\n{}", line.repeat(lines))
}

/// The only message in the sink of this gate, without what the sink put in front.
fn delivered(gate: &Gate) -> Vec<String> {
    let new: PathBuf = gate.scratch().path().join("mail/new");
    let read = |entry: std::io::Result<fs::DirEntry>| fs::read_to_string(entry.unwrap().path()).unwrap();
    fs::read_dir(new).map(|files| files.map(read).collect()).unwrap_or_default()
}

#[test]
fn each_listener_before_each_pool() {
    let trust = Trust::new();
    let (front, back, roots) = (trust.server("front"), trust.server("back"), trust.roots());
    let path = trust.scratch.write("message", message(100));
    for (theirs, ours) in [
        ("off", "off".to_owned()),
        ("off", "opportunistic".to_owned()),
        ("starttls", "off".to_owned()),
        ("starttls", "opportunistic".to_owned()),
        ("starttls", format!("{{ mode: required, roots: \"{roots}\" }}")),
        ("implicit", format!("{{ mode: implicit, roots: \"{roots}\" }}")),
    ] {
        let hop = match theirs {
            "off" => Gate::start(SINK, ""),
            theirs => Gate::start_secured(&listener(theirs, &back), SINK, ""),
        };
        let upstream = format!("{{ hosts: [\"{}\"], tls: {ours}, health: off }}", hop.listener);
        for mode in ["starttls", "implicit"] {
            let gate = Gate::start_secured(&listener(mode, &front), &upstream, "");
            let (host, port) = (gate.listener.ip().to_string(), gate.listener.port().to_string());
            let mut client = Command::new("python3");
            client.args(["-c", SMTPLIB, mode, &host, &port, &roots]).arg(&path);
            let done = run(&trust.scratch, &mut client, Stdio::null(), PATIENCE);
            assert!(done.status.success(), "{mode} before {theirs}, {ours}: {}", done.stderr);
            let seen =
                |side: &str| gate.metric("gatepost_tls_handshakes_total", &[&format!("side=\"{side}\"")]);
            let secured = theirs != "off" && ours != "off";
            assert_eq!(
                (seen("downstream"), seen("upstream")),
                (1.0, f64::from(u8::from(secured))),
                "{mode}, {ours}"
            );
        }
        let mail = delivered(&hop);
        assert_eq!(mail.len(), 2, "{theirs}, {ours}");
        for mail in mail {
            assert!(
                mail.replace("\r\n", "\n").ends_with(&message(100).replace("\r\n", "\n")),
                "{theirs}, {ours}"
            );
        }
    }
}

#[test]
fn much_mail_through_tls_on_both_sides_from_a_client_that_then_half_closes() {
    let trust = Trust::new();
    let (front, back, roots) = (trust.server("front"), trust.server("back"), trust.roots());
    let hop = Gate::start_secured(&listener("starttls", &back), SINK, "");
    let tls = format!("{{ mode: required, roots: \"{roots}\" }}");
    let upstream = format!("{{ hosts: [\"{}\"], tls: {tls}, health: off }}", hop.listener);
    let gate = Gate::start_secured(&listener("implicit", &front), &upstream, "");
    let mut client = Client::secure(dial(gate.listener), trust.authority.client_config(), "127.0.0.1");
    client.hear(220);
    client.ask("EHLO client.example", 250);
    let content = message(20 << 20 >> 6);
    assert!(content.len() > 20 << 20);
    client.send(content.as_bytes());
    client.say("NOOP\r\n");
    client.end();
    client.hear(250);
    assert_eq!(client.reply(), "", "the end is an end");
    let mail = delivered(&hop);
    assert!(mail[0].replace("\r\n", "\n").ends_with(&content.replace("\r\n", "\n")));
}

#[test]
fn what_openssl_is_shown() {
    let trust = Trust::new();
    let (front, roots) = (trust.server("front"), trust.roots());
    let gate = Gate::start_secured(&listener("starttls", &front), SINK, "");
    for (version, expected) in [
        ("-tls1_3", Some("New, TLSv1.3")),
        ("-tls1_2", Some("New, TLSv1.2")),
        ("-tls1_1", None),
        ("-tls1", None),
    ] {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-starttls", "smtp", "-verify_return_error", "-CAfile", &roots, version]);
        // Old versions are not offered at this level otherwise.
        client.args(["-cipher", "ALL:@SECLEVEL=0", "-connect", &gate.listener.to_string()]);
        let done = run(&trust.scratch, &mut client, Stdio::null(), PATIENCE);
        match expected {
            Some(expected) => {
                assert!(done.stdout.contains(expected), "{version}: {}{}", done.stdout, done.stderr);
                assert!(done.stdout.contains("Verify return code: 0 (ok)"), "{}", done.stdout);
            }
            None => assert!(!done.status.success(), "{version}: {}", done.stdout),
        }
    }
    // They count as what they are.
    assert_eq!(gate.metric("gatepost_tls_handshakes_total", &["tls_version=\"1.2\""]), 1.0);
    assert!(gate.metric("gatepost_tls_failures_total", &["side=\"downstream\"", "protocol"]) >= 2.0);
}

#[test]
fn a_session_is_resumed_by_another_worker() {
    let trust = Trust::new();
    let gate = Gate::start_secured(&listener("starttls", &trust.server("front")), SINK, "workers: 2\n");
    let config = trust.authority.client_config();
    for _ in 0..8 {
        let mut client = Client::secure(starttls(gate.listener), config.clone(), "127.0.0.1");
        client.ask("EHLO client.example", 250);
        client.ask("QUIT", 221);
    }
    assert_eq!(gate.metric("gatepost_tls_handshakes_total", &["session=\"resumed\""]), 7.0);
}

#[test]
fn no_certificate_of_a_clients_fails_a_handshake() {
    let trust = Trust::new();
    let front = trust.server("front");
    let tls = listener("starttls", &front).replace('}', &format!(", client_roots: \"{}\" }}", trust.roots()));
    let gate = Gate::start_secured(&tls, SINK, "log: { level: info }\n");
    let mut seen = 0.0;
    for kind in [Old::Version1, Old::Rsa1024] {
        let files = old(kind, "relay.example", trust.scratch.path(), &format!("{kind:?}"));
        for version in ["-tls1_3", "-tls1_2"] {
            let mut client = Command::new("openssl");
            client.args([
                "s_client",
                "-starttls",
                "smtp",
                "-quiet",
                "-cipher",
                "ALL:@SECLEVEL=0",
                version,
                "-cert",
            ]);
            client.arg(&files.certificate).arg("-key").arg(&files.key);
            client.args(["-connect", &gate.listener.to_string()]);
            let said = trust.scratch.write("said", "EHLO client.example\r\nNOOP\r\nQUIT\r\n");
            let said = Stdio::from(fs::File::open(said).unwrap());
            let done = run(&trust.scratch, &mut client, said, PATIENCE);
            assert!(done.stdout.contains("\n221 "), "{kind:?} {version}: {}{}", done.stdout, done.stderr);
            seen += 1.0;
            let unverified = gate.metric("gatepost_client_certificates_unverified_total", &[]);
            assert_eq!(unverified, seen, "{kind:?} {version}");
        }
    }
    assert_eq!(gate.metric("gatepost_tls_failures_total", &["side=\"downstream\""]), 0.0);
}

/// Python's TLS as a hop that wants to be shown a certificate, and takes mail in plain.
const WANTS_A_CERTIFICATE: &str = r#"
import socket, ssl, sys
certificate, key, roots = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain(certificate, key)
context.load_verify_locations(roots)
context.verify_mode = ssl.CERT_REQUIRED
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    peer, _ = server.accept()
    wire = peer.makefile("rwb")
    def say(line):
        wire.write(line.encode() + b"\r\n")
        wire.flush()
    say("220 hop.example")
    for line in wire:
        verb = line[:4].upper()
        if verb == b"EHLO":
            say("250-hop.example\r\n250 STARTTLS")
        elif verb == b"STAR":
            say("220 go")
            wire.close()
            try:
                context.wrap_socket(peer, server_side=True)
            except ssl.SSLError as error:
                print(error.reason, flush=True)
            break
        elif verb == b"QUIT":
            say("221 bye")
            break
        else:
            say("250 2.0.0 in plain")
    peer.close()
"#;

#[test]
fn where_tls_is_opportunistic_such_a_hop_is_spoken_to_in_plain() {
    let trust = Trust::new();
    let files = trust.server("hop");
    let mut hop = Command::new("python3");
    hop.args(["-c", WANTS_A_CERTIFICATE]).arg(&files.certificate).arg(&files.key).arg(trust.roots());
    let mut hop = hop.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = std::io::BufReader::new(hop.stdout.take().unwrap());
    let mut port = String::new();
    said.read_line(&mut port).unwrap();
    let upstream = format!("{{ hosts: [\"127.0.0.1:{}\"], health: off, tls: opportunistic }}", port.trim());
    let gate = Gate::start(&upstream, "");
    let mut client = gate.client();
    client.ask("EHLO client.example", 250);
    client.ask("MAIL FROM:<smith@example.org>", 250);
    client.quit();
    let mut reason = String::new();
    said.read_line(&mut reason).unwrap();
    assert_eq!(reason.trim(), "PEER_DID_NOT_RETURN_A_CERTIFICATE");
    let failures =
        gate.metric("gatepost_tls_failures_total", &["side=\"upstream\"", "reason=\"certificate\""]);
    assert_eq!(failures, 1.0);
    let logged = "it wants a certificate of ours; it is spoken to in plain";
    wait_for("the log", PATIENCE, || gate.output().contains(logged).then_some(()));
    let _ = hop.kill();
    let _ = hop.wait();
}

/// OpenSSL as a hop that wants to be shown a certificate: in TLS 1.3 its alert comes when our handshake is done.
#[test]
fn a_hop_that_refuses_us_behind_the_handshake_has_failed_it() {
    let trust = Trust::new();
    let (files, roots, port) = (trust.server("hop"), trust.roots(), free_port());
    let mut server = Command::new("openssl");
    server.args(["s_server", "-tls1_3", "-Verify", "1", "-verify_return_error", "-quiet", "-naccept", "3"]);
    server.args(["-accept", &format!("127.0.0.1:{port}"), "-CAfile", &roots]);
    server.arg("-cert").arg(&files.certificate).arg("-key").arg(&files.key);
    let mut server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let upstream = format!(
        "{{ hosts: [\"127.0.0.1:{port}\"], health: off, tls: {{ mode: implicit, roots: \"{roots}\" }} }}"
    );
    wait_for("openssl to listen", PATIENCE, || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop)
    });
    let gate = Gate::start(&upstream, "");
    assert!(crate::gate::first_reply(gate.listener).starts_with("421 4.7.4 "));
    let failures = |labels: &[&str]| gate.metric("gatepost_tls_failures_total", labels);
    assert_eq!(failures(&["side=\"upstream\"", "reason=\"certificate\""]), 1.0);
    let logged =
        "TLS: certificate: the other side refused: it wants a certificate of ours; this host is not used";
    wait_for("the log", PATIENCE, || gate.output().contains(logged).then_some(()));
    let path = trust.scratch.write("proxy.yaml", format!("upstreams: {{ main: {upstream} }}\n"));
    let mut check = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    check.args(["check", "--probe", "--config"]).arg(path);
    let done = run(&trust.scratch, &mut check, Stdio::null(), PATIENCE);
    let told = "no TLS: the other side refused: it wants a certificate of ours";
    assert!(done.stdout.contains(told) || done.stderr.contains(told), "{done:?}");
    let _ = server.kill();
    let _ = server.wait();
}
