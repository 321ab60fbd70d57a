//! What rules could do, from the outside: the services of `examples/` before a real Postfix.
//!
//! In:    `examples/directory.py` with a table of its own, one or two real MTAs, real clients.
//! Out:   trials: recipients rewritten, unknown ones refused, refused ones tried at another address and at a second
//!        Postfix; a sender refused; a reply in other words; the directory gone; in `secure`, TLS and HTTP/2; in `shown`,
//!        services that are shown messages; in `alone`, each kind of callout at each stage.
//! Never: looks inside gatepost or a service: what the client heard and what the MTAs heard and stored is the proof.

mod alone;
mod hooks;
mod nginx;
mod secure;
mod shown;

use std::ffi::OsStr;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use libtest_mimic::Trial;

use crate::support::peers::{Peer, found, trial};
use crate::support::scratch::{PATIENCE, Scratch, free_port, wait_for};
use crate::verdicts::Stand;

const FROM: &str = "sender@client.example";
const CURL: &[Peer] = &[Peer::Postfix, Peer::Python, Peer::Curl];
const SWAKS: &[Peer] = &[Peer::Postfix, Peer::Python, Peer::Swaks];

/// Who is known, and what becomes of those whom A refuses all the same.
const TABLE: &str = r#"{
    "banned": ["joe@lab.example"],
    "known": {
        "joe@old.example": "joe@a.example", "ann@a.example": "ann@a.example",
        "former@a.example": "former@a.example", "moved@a.example": "moved@a.example", "gone@a.example": "gone@a.example"
    },
    "moved": {
        "former@a.example": [{"recipient": "legacy@a.example"}],
        "moved@a.example": [{"recipient": "nobody@a.example"}, {"upstream": "other"}]
    }
}"#;

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("callout::recipients_rewritten_and_refused", SWAKS, recipients_rewritten_and_refused),
        trial("callout::retry_other_address", SWAKS, retry_other_address),
        trial("callout::retry_second_hop", SWAKS, retry_second_hop),
        trial("callout::sender_refused", CURL, sender_refused),
        trial("callout::other_words", CURL, other_words),
        trial("callout::directory_gone", CURL, directory_gone),
    ];
    trials.extend(secure::trials());
    trials.extend(shown::trials());
    trials.extend(alone::trials());
    trials.extend(hooks::trials());
    trials
}

/// One of `examples/`, as a process of its own.
struct Example {
    child: Child,
    port: u16,
}

impl Example {
    /// `argument`: what it is told besides its port.
    fn start(program: &str, argument: Option<&OsStr>) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(program);
        let port = free_port();
        let mut command = Command::new(found("python3"));
        command.arg(program).arg(port.to_string()).args(argument).stdin(Stdio::null());
        let child = command.spawn().unwrap();
        wait_for("a service to listen", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { child, port }
    }

    /// As a callout of `proxy.yaml`, with these keys besides.
    fn callout(&self, name: &str, keys: &str) -> String {
        let port = self.port;
        format!("callouts:\n  - {{ name: {name}, type: http, url: \"http://127.0.0.1:{port}/\", {keys} }}\n")
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The directory, which has read its table.
fn directory() -> Example {
    let scratch = Scratch::new("directory");
    let table = scratch.write("table.json", TABLE);
    Example::start("directory.py", Some(table.as_os_str()))
}

fn stand() -> (Example, Stand) {
    let directory = directory();
    let stand = Stand::with(&directory.callout("directory", "stages: [mail, rcpt, rcpt-reply]"));
    (directory, stand)
}

fn recipients_rewritten_and_refused() {
    let (_directory, stand) = stand();
    let outcome = stand.swaks(&["Joe@Old.example", "stranger@a.example", "ann@a.example"]);
    assert!(outcome.contains("exit status: 0"), "those who are known get it: {outcome}");
    let heard = stand.heard();
    let refused: Vec<_> = heard.replies.iter().filter(|reply| reply.starts_with('5')).collect();
    assert_eq!(refused, ["550 5.1.1 Not in the directory"]);
    let (to_a, _) = stand.said_to_hops();
    // The sender did not know this address: RFC 3461 4.2 lets a report name the one it used.
    assert!(to_a.contains("RCPT TO:<joe@a.example> ORCPT=rfc822;Joe@Old.example\r\n"), "{to_a}");
    assert!(to_a.contains("RCPT TO:<ann@a.example>\r\n") && !to_a.contains("stranger"), "{to_a}");
    assert_eq!(stand.mailboxes(), (vec!["ann".into(), "joe".into()], vec![]));
}

fn retry_other_address() {
    let (_directory, stand) = stand();
    let outcome = stand.swaks(&["former@a.example"]);
    assert!(outcome.contains("exit status: 0"), "{outcome}");
    assert!(stand.heard().only_success());
    let (to_a, _) = stand.said_to_hops();
    let (first, second) = (to_a.find("RCPT TO:<former@a.example>"), to_a.find("RCPT TO:<legacy@a.example>"));
    assert!(first.is_some() && first < second, "{to_a}");
    assert_eq!(stand.mailboxes(), (vec!["legacy".into()], vec![]));
}

fn retry_second_hop() {
    let (_directory, stand) = stand();
    let outcome = stand.swaks(&["moved@a.example"]);
    assert!(outcome.contains("exit status: 0"), "{outcome}");
    assert!(stand.heard().only_success());
    let (to_a, to_b) = stand.said_to_hops();
    assert!(
        to_a.contains("RCPT TO:<moved@a.example>") && to_a.contains("RCPT TO:<nobody@a.example>"),
        "{to_a}"
    );
    assert!(to_b.contains(&format!("MAIL FROM:<{FROM}>")), "the envelope was said again: {to_b}");
    assert!(!to_a.contains("Message-ID:"), "A never saw the content: {to_a}");
    assert_eq!(stand.mailboxes(), (vec![], vec!["moved".into()]));
}

fn sender_refused() {
    let (_directory, stand) = stand();
    let outcome = stand.curl("joe@lab.example", &["ann@a.example"]);
    assert!(!outcome.contains("exit status: 0"), "{outcome}");
    let heard = stand.heard();
    assert!(heard.replies.contains(&"550 5.7.1 Use the submission service".to_owned()), "{heard:?}");
    assert!(stand.curl(FROM, &["ann@a.example"]).contains("exit status: 0"), "others are let through");
    assert!(!stand.said_to_hops().0.contains("lab.example"), "the hop never heard of it");
    assert_eq!(stand.mailboxes().0, ["ann"]);
}

fn other_words() {
    let (_directory, stand) = stand();
    let outcome = stand.curl(FROM, &["gone@a.example"]);
    assert!(!outcome.contains("exit status: 0"), "{outcome}");
    let heard = stand.heard();
    assert!(heard.replies.contains(&"550 5.1.1 No such mailbox here".to_owned()), "{heard:?}");
    assert!(!heard.replies.iter().any(|reply| reply.contains("User unknown")), "{heard:?}");
    assert!(stand.said_to_hops().0.contains("RCPT TO:<gone@a.example>"));
    assert_eq!(stand.mailboxes(), (vec![], vec![]));
}

/// A failure never opens the gate: without the directory everybody is put off, and the log says why.
fn directory_gone() {
    let (directory, stand) = stand();
    let port = directory.port;
    drop(directory);
    assert!(!stand.curl(FROM, &["ann@a.example"]).contains("exit status: 0"));
    let heard = stand.heard();
    assert!(heard.replies.iter().any(|reply| reply.starts_with("451 4.3.0 ")), "{heard:?}");
    let why = format!("callout directory: mail: unreachable: 127.0.0.1:{port}: Connection refused");
    stand.gatepost.logged(&why);
    assert_eq!(stand.mailboxes(), (vec![], vec![]));
}
