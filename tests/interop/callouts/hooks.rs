//! A scanner that speaks MTA Hooks, before a real Postfix: `hooks/scanner.py`, written to the draft, which complains of what is
//! not as that has it.
//!
//! In:    clients that are refused at each stage, recipients that move, messages that are edited; a scanner that is busy, forgets
//!        who has registered, and lets registrations expire.
//! Out:   trials, in JSON and in CBOR: what clients hear, what Postfix stores, what the scanner was told.
//! Never: passes over a complaint of the scanner's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::support::gatepost::Gatepost;
use crate::support::leash::Leash;
use crate::support::mta::Mta as _;
use crate::support::peers::{Peer, trial};
use crate::support::postfix::{Postfix, Spec};
use crate::support::raw::Raw;
use crate::support::scratch::{PATIENCE, Scratch, free_port, is_listened_at, wait_for};

const PEERS: [Peer; 2] = [Peer::Postfix, Peer::Cbor2];
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("callout::mta_hooks_in_json", PEERS, || obeyed("json")),
        trial("callout::mta_hooks_in_cbor", PEERS, || obeyed("cbor")),
        trial("callout::mta_hooks_registrations_end", PEERS, registrations_end),
        trial("callout::mta_hooks_strangers", PEERS, strangers),
    ]
}

struct Scanner {
    // First, so that it has ended before its directory goes.
    _leash: Leash,
    scratch: Scratch,
    address: SocketAddr,
}

impl Scanner {
    /// One whose registrations last so many seconds.
    fn start(seconds: u32, encoding: &str) -> Self {
        let scratch = Scratch::new("scanner");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let program: PathBuf =
            [env!("CARGO_MANIFEST_DIR"), "tests/interop/callouts/hooks/scanner.py"].iter().collect();
        let (port, seconds) = (address.port().to_string(), seconds.to_string());
        // The interpreter that Debian's packages are for.
        let command = [
            Path::new("/usr/bin/python3"),
            &program,
            port.as_ref(),
            TOKEN.as_ref(),
            seconds.as_ref(),
            encoding.as_ref(),
        ];
        let leash = Leash::start(command, &scratch.path().join("output"));
        wait_for("the scanner to listen", PATIENCE, || is_listened_at(address).then_some(()));
        Self { _leash: leash, scratch, address }
    }

    fn gatepost(&self, postfix: &Postfix, keys: &str) -> Gatepost {
        let token = self.scratch.write("token", format!("{TOKEN}\n"));
        let yaml = format!(
            "callouts: [{{ name: scanner, type: mta_hooks, url: \"http://{}/\", token_file: \"{}\", {keys} }}]\n",
            self.address,
            token.display()
        );
        Gatepost::start(&[("main", &[postfix.address()])], &yaml)
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("output")).unwrap()
    }

    /// How often it was told something; it must not have complained.
    fn told(&self, what: &str) -> usize {
        let output = self.output();
        let told: Vec<serde_json::Value> =
            output.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert!(told.iter().all(|line| line["complaints"].as_array().unwrap().is_empty()), "{output}");
        told.iter().filter(|line| line["what"] == what).count()
    }
}

/// The last reply to these commands, up to the first that is refused; then the message.
fn heard(gate: &Gatepost, ehlo: &str, sender: &str, recipient: &str, message: &str) -> String {
    let mut client = Raw::open(gate.listener());
    let said = [
        format!("EHLO {ehlo}"),
        format!("MAIL FROM:<{sender}@client.example>"),
        format!("RCPT TO:<{recipient}@a.example>"),
        "DATA".to_owned(),
        format!("{message}."),
    ];
    let mut heard = client.reply();
    for command in said {
        if heard.starts_with(['4', '5']) {
            break;
        }
        client.say(format!("{command}\r\n"));
        heard = client.reply();
    }
    heard
}

const ALL: &str = "stages: [connect, helo, mail, rcpt, message]";
const PLAIN: &str = "Subject: plain\r\n\r\nText.\r\n";

/// At each stage, in words and in deeds.
fn obeyed(encoding: &str) {
    let postfix = Postfix::start(&Spec::receiving("a.example"));
    let scanner = Scanner::start(3600, encoding);
    let gate = scanner.gatepost(&postfix, ALL);
    for (stage, said) in [
        ("ehlo", heard(&gate, "no-ehlo", "sue", "ann", PLAIN)),
        ("mail", heard(&gate, "client.example", "no-mail", "ann", PLAIN)),
        ("rcpt", heard(&gate, "client.example", "sue", "no-rcpt", PLAIN)),
        ("data", heard(&gate, "client.example", "sue", "ann", "Subject: no-data\r\n\r\n")),
    ] {
        assert_eq!(said, format!("550 5.7.1 No {stage} by scanner"));
    }
    assert!(postfix.take_stored().is_empty());
    let said = heard(&gate, "client.example", "sue", "moved", PLAIN);
    assert!(said.starts_with("250 2.0.0 Ok: queued as "), "{said}");
    // With octets that are no text, in a field that nobody changes.
    let mut client = Raw::connect(gate.listener());
    client.ask("EHLO client.example", 250);
    client.ask("MAIL FROM:<sue@client.example> BODY=8BITMIME", 250);
    client.ask("RCPT TO:<ann@a.example>", 250);
    let body: Vec<u8> =
        (0..200_000_u32).map(|n| if n % 70 == 0 { b'\n' } else { b'a' + (n % 26) as u8 }).collect();
    let body = String::from_utf8(body).unwrap().replace('\n', "\r\n");
    let others = "From: sue@client.example\r\nDate: Mon, 30 Nov 2026 12:00:00 +0000\r\nMessage-Id: <1@client.example>\r\n";
    let message = [
        b"X-Odd: \xff\xfe\r\nX-Gone: 1\r\n",
        others.as_bytes(),
        b"Subject: edit\r\n\r\n",
        body.as_bytes(),
        b"\r\n",
    ]
    .concat();
    client.say(format!("BDAT {} LAST\r\n", message.len()));
    client.say(&message);
    client.hear(250);
    client.quit();
    postfix.settle(0);
    let mut stored: Vec<Vec<u8>> = postfix.take_stored().into_iter().map(|each| each.octets).collect();
    stored.sort_by_key(Vec::len);
    // The second one for its added recipient, too.
    assert_eq!(stored.len(), 3, "{}", gate.output());
    assert!(String::from_utf8_lossy(&stored[0]).contains("Delivered-To: ann@a.example"), "moved");
    let (others, body) = (others.replace("\r\n", "\n"), body.replace("\r\n", "\n"));
    let subject = "Subject: =?UTF-8?B?ZWRpdGVkLCBmw7xyIGFsbGU=?=\n\n";
    // What stands before the body is stored as text here.
    let first = "X-Scanned: yes\nX-Odd: \u{fffd}\u{fffd}\n".as_bytes();
    let expected = [first, others.as_bytes(), subject.as_bytes(), body.as_bytes(), b"\n"].concat();
    for stored in &stored[1..] {
        assert!(stored.ends_with(&expected), "{}", String::from_utf8_lossy(&stored[..1000]));
    }
    assert_eq!(scanner.told("registration"), 1);
    for (stage, asked) in [("connect", 6), ("ehlo", 6), ("mail", 5), ("rcpt", 4), ("data", 3)] {
        assert_eq!(scanner.told(stage), asked, "{stage}: {}", scanner.output());
    }
    let failed = gate.metric("gatepost_callout_failures_total", &["callout=\"scanner\""]);
    assert_eq!(failed, 0.0, "{}", gate.output());
}

/// They are renewed before they end, made again when the scanner has forgotten them, and ended by a reload; a scanner that is
/// busy is asked again when it has said.
fn registrations_end() {
    let postfix = Postfix::start(&Spec::receiving("a.example"));
    let scanner = Scanner::start(2, "json");
    let gate = scanner.gatepost(&postfix, ALL);
    for _ in 0..30 {
        let said = heard(&gate, "client.example", "sue", "ann", PLAIN);
        assert!(said.starts_with("250 "), "{said}\n{}", gate.output());
        thread::sleep(Duration::from_millis(150));
    }
    assert!((3..=7).contains(&scanner.told("registration")), "{}", scanner.output());
    assert_eq!(scanner.told("unregistered"), 0, "renewed in time: {}", scanner.output());
    for sender in ["forget", "busy"] {
        let said = heard(&gate, "client.example", sender, "ann", PLAIN);
        assert!(said.starts_with("250 "), "{said}\n{}", gate.output());
    }
    // It has been silent for longer than a registration lasts.
    thread::sleep(Duration::from_millis(2_500));
    assert!(heard(&gate, "client.example", "sue", "ann", PLAIN).starts_with("250 "));
    let failed = gate.metric("gatepost_callout_failures_total", &["callout=\"scanner\""]);
    assert_eq!(failed, 0.0, "{}", gate.output());
    // A configuration that asks it no more.
    let file = gate.scratch().path().join("proxy.yaml");
    let yaml = std::fs::read_to_string(&file).unwrap();
    let without: String =
        yaml.lines().filter(|line| !line.starts_with("callouts: ")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&file, without).unwrap();
    gate.signal(Signal::HUP);
    wait_for("the registration to be ended", PATIENCE, || {
        (scanner.told("deregistration") == 1).then_some(())
    });
}

/// Without the right token nothing is agreed upon: `on_error`, and the log says why.
fn strangers() {
    let postfix = Postfix::start(&Spec::receiving("a.example"));
    let scanner = Scanner::start(3600, "json");
    let wrong = scanner.scratch.write("wrong", "another-token");
    let yaml = format!(
        "callouts: [{{ name: scanner, type: mta_hooks, url: \"http://{}/\", token_file: \"{}\", stages: mail }}]\n",
        scanner.address,
        wrong.display()
    );
    let gate = Gatepost::start(&[("main", &[postfix.address()])], &yaml);
    let said = heard(&gate, "client.example", "sue", "ann", PLAIN);
    assert!(said.starts_with("451 4.3.0 "), "{said}");
    gate.logged("callout scanner: mail: refused: registration: status 401 AUTHENTICATION_REQUIRED");
    assert!(!gate.output().contains("another-token"), "{}", gate.output());
}
