//! Who speaks TLS with whom: each mode of a listener before each mode of a pool.
//!
//! In:    a client, gatepost, and behind it another gatepost with the embedded sink.
//! Out:   mail, octet for octet; what the log and the metrics say of TLS.
//! Never: sends mail past the gate that is under test.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::client::{Client, dial, starttls};
use super::{Trust, listener};
use crate::gate::{Gate, SINK};
use crate::scratch::{PATIENCE, run};

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
