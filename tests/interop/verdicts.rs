//! Verdicts before a real Postfix, by rules alone.
//!
//! In:    rules as they stand in `proxy.yaml`, one or two real MTAs, real clients.
//! Out:   trials: rewritten, refused locally, said in other words, tried again at another address and at another
//!        hop, in vain, and two hops in one transaction.
//! Never: looks inside gatepost: what the client heard and what the MTAs heard and stored is the proof.

use libtest_mimic::Trial;

use crate::cases::{outcomes, with_message};
use crate::messages;
use crate::support::clients::{curl, swaks};
use crate::support::gatepost::Gatepost;
use crate::support::mta::Mta as _;
use crate::support::peers::{Peer, trial};
use crate::support::postfix::{Postfix, Spec};
use crate::support::raw::Raw;
use crate::support::scratch::{PATIENCE, wait_for};
use crate::support::tap::Tap;
use crate::support::transcript::Heard;

const FROM: &str = "sender@client.example";
const CURL: &[Peer] = &[Peer::Postfix, Peer::Curl];
const SWAKS: &[Peer] = &[Peer::Postfix, Peer::Swaks];
const POSTFIX: &[Peer] = &[Peer::Postfix];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("verdict::recipient_rewritten", CURL, recipient_rewritten),
        trial("verdict::sender_refused_locally", CURL, sender_refused_locally),
        trial("verdict::other_words", CURL, other_words),
        trial("verdict::retry_other_address", SWAKS, retry_other_address),
        trial("verdict::retry_second_hop", SWAKS, retry_second_hop),
        trial("verdict::retry_in_vain", SWAKS, retry_in_vain),
        trial("verdict::two_hops", POSTFIX, two_hops),
        trial("verdict::two_hops_by_postfix", POSTFIX, two_hops_by_postfix),
    ]
}

/// Two MTAs, gatepost before them (`main` is A, `other` is B) with rules or callouts, and a tap on every line.
pub struct Stand {
    pub gatepost: Gatepost,
    downstream: Tap,
    tap_a: Tap,
    tap_b: Tap,
    a: Postfix,
    b: Postfix,
}

impl Stand {
    pub fn with(rules: &str) -> Self {
        let a = Postfix::start(&Spec::receiving("a.example"));
        let b = Postfix::start(&Spec { guests: &["moved@a.example"], ..Spec::receiving("b.example") });
        let (tap_a, tap_b) = (Tap::before(a.address()), Tap::before(b.address()));
        let pools: [(&str, &[_]); 2] = [("main", &[tap_a.address()]), ("other", &[tap_b.address()])];
        let gatepost = Gatepost::start(&pools, rules);
        let downstream = Tap::before(gatepost.listener());
        Self { gatepost, downstream, tap_a, tap_b, a, b }
    }

    /// What the one client heard, once all dialogs are over.
    pub fn heard(&self) -> Heard {
        let said = self.downstream.take();
        assert_eq!(said.len(), 1, "one client");
        Heard::from_server(&said[0].server)
    }

    /// What gatepost said to A and to B.
    pub fn said_to_hops(&self) -> (String, String) {
        let text = |tap: &Tap| -> String {
            tap.take().iter().map(|said| String::from_utf8_lossy(&said.client).into_owned()).collect()
        };
        let (to_a, to_b) = (text(&self.tap_a), text(&self.tap_b));
        self.a.settle(to_a.matches("EHLO ").count());
        self.b.settle(to_b.matches("EHLO ").count());
        (to_a, to_b)
    }

    /// The mailboxes of A and of B that got mail.
    pub fn mailboxes(&self) -> (Vec<String>, Vec<String>) {
        let of = |postfix: &Postfix| postfix.take_stored().into_iter().map(|stored| stored.mailbox).collect();
        (of(&self.a), of(&self.b))
    }

    pub fn curl(&self, from: &str, to: &[&str]) -> String {
        let (scratch, file) = with_message("verdict", &messages::plain());
        curl(&scratch, self.downstream.address(), from, to, &file, &[])
    }

    pub fn swaks(&self, to: &[&str]) -> String {
        let (scratch, file) = with_message("verdict", &messages::plain().replace("\r\n", "\n"));
        swaks(&scratch, self.downstream.address(), FROM, to, &file, &["--pipeline"])
    }
}

fn recipient_rewritten() {
    let stand = Stand::with(
        "rules:\n  - name: moved-domain\n    stages: rcpt\n    match: { recipient: \"*@old.example\" }\n    \
         do: { rewrite: { recipient: \"{local}@a.example\" } }\n",
    );
    let outcome = stand.curl(FROM, &["joe@old.example", "ann@a.example"]);
    assert!(stand.heard().only_success(), "{outcome}");
    let (to_a, _) = stand.said_to_hops();
    // The sender did not know this address: RFC 3461 4.2 lets a report name the one it used.
    assert!(to_a.contains("RCPT TO:<joe@a.example> ORCPT=rfc822;joe@old.example\r\n"), "{to_a}");
    assert!(to_a.contains("RCPT TO:<ann@a.example>\r\n"), "{to_a}");
    assert_eq!(stand.mailboxes().0, ["ann", "joe"]);
}

fn sender_refused_locally() {
    let stand = Stand::with(
        "rules:\n  - name: no-submission-from-lab\n    stages: mail\n    \
         match: { client: 127.0.0.0/8, sender: \"*@lab.example\" }\n    \
         do: { reply: \"550 5.7.1 Use the submission service\" }\n",
    );
    let outcome = stand.curl("joe@lab.example", &["joe@a.example"]);
    assert!(!outcome.contains("exit status: 0"), "{outcome}");
    let heard = stand.heard();
    assert!(heard.replies.contains(&"550 5.7.1 Use the submission service".to_owned()), "{heard:?}");
    assert!(stand.curl(FROM, &["joe@a.example"]).contains("exit status: 0"), "others are let through");
    let (to_a, _) = stand.said_to_hops();
    assert!(!to_a.contains("lab.example"), "the hop never heard of it: {to_a}");
    assert_eq!(stand.mailboxes().0, ["joe"]);
}

fn other_words() {
    let stand = Stand::with(
        "rules:\n  - name: plain-words\n    stages: rcpt-reply\n    match: { code: 550 }\n    \
         do: { substitute: \"550 5.1.1 No such mailbox here\" }\n",
    );
    let outcome = stand.curl(FROM, &["nobody@a.example"]);
    assert!(!outcome.contains("exit status: 0"), "{outcome}");
    let heard = stand.heard();
    assert!(heard.replies.contains(&"550 5.1.1 No such mailbox here".to_owned()), "{heard:?}");
    assert!(!heard.replies.iter().any(|reply| reply.contains("User unknown")), "{heard:?}");
    assert!(stand.said_to_hops().0.contains("RCPT TO:<nobody@a.example>"));
    assert_eq!(stand.mailboxes(), (vec![], vec![]));
}

const LADDER: &str = "rules:\n  - name: try-elsewhere\n    stages: rcpt-reply\n    \
                      match: { recipient: \"*@a.example\", code: 5xx }\n    ";

fn retry_other_address() {
    let stand = Stand::with(&format!("{LADDER}do: {{ retry: [ {{ recipient: \"legacy@a.example\" }} ] }}\n"));
    let outcome = stand.swaks(&["joe@a.example", "former@a.example"]);
    assert!(outcome.contains("exit status: 0"), "{outcome}");
    assert!(stand.heard().only_success());
    let (to_a, _) = stand.said_to_hops();
    let (first, second) = (to_a.find("RCPT TO:<former@a.example>"), to_a.find("RCPT TO:<legacy@a.example>"));
    assert!(first.is_some() && first < second, "{to_a}");
    assert_eq!(stand.mailboxes(), (vec!["joe".into(), "legacy".into()], vec![]));
}

fn retry_second_hop() {
    let stand = Stand::with(&format!("{LADDER}do: {{ retry: [ {{ upstream: other }} ] }}\n"));
    let outcome = stand.swaks(&["moved@a.example"]);
    assert!(outcome.contains("exit status: 0"), "{outcome}");
    let heard = stand.heard();
    assert!(heard.only_success(), "{heard:?}");
    let (to_a, to_b) = stand.said_to_hops();
    assert!(to_a.contains("RCPT TO:<moved@a.example>"), "{to_a}");
    assert!(to_b.contains("MAIL FROM:<sender@client.example>"), "the envelope was said again: {to_b}");
    assert!(!to_a.contains("Message-ID:"), "A never saw the content: {to_a}");
    assert_eq!(stand.mailboxes(), (vec![], vec!["moved".into()]));
}

fn retry_in_vain() {
    let stand = Stand::with(&format!(
        "{LADDER}do: {{ retry: [ {{ recipient: \"{{local}}@nowhere.example\" }}, {{ upstream: other }}, \
         {{ recipient: \"nobody@b.example\", upstream: other }} ] }}\n"
    ));
    let outcome = stand.swaks(&["nobody@a.example", "joe@a.example"]);
    assert!(outcome.contains("exit status: 0"), "the other recipient gets it: {outcome}");
    let heard = stand.heard();
    let refusals: Vec<&String> = heard.replies.iter().filter(|reply| reply.starts_with('5')).collect();
    let first = "550 5.1.1 <nobody@a.example>: Recipient address rejected: \
                 User unknown in virtual mailbox table";
    assert_eq!(refusals, [first], "the first hop's own reply, as written");
    let (to_a, to_b) = stand.said_to_hops();
    assert!(to_a.contains("RCPT TO:<nobody@nowhere.example>"), "{to_a}");
    assert!(
        to_b.contains("RCPT TO:<nobody@a.example>") && to_b.contains("RCPT TO:<nobody@b.example>"),
        "{to_b}"
    );
    assert_eq!(stand.mailboxes(), (vec!["joe".into()], vec![]));
}

const BRANCH: &str = "rules:\n  - name: branch-office\n    stages: rcpt\n    match: { recipient: \"*@b.example\" }\n    \
                      do: { route: { upstream: other } }\n";

/// The second hop's recipient is put off, and taken in a transaction of its own within the same session.
fn two_hops() {
    let stand = Stand::with(BRANCH);
    let mut client = Raw::connect(stand.downstream.address());
    client.ask("EHLO client.example", 250);
    client.ask(&format!("MAIL FROM:<{FROM}>"), 250);
    client.ask("RCPT TO:<joe@a.example>", 250);
    let reply = client.ask("RCPT TO:<ann@b.example>", 452);
    assert!(reply.starts_with("452 4.5.3"), "{reply}");
    client.ask("RCPT TO:<bob@a.example>", 250);
    let send = |client: &mut Raw| {
        client.ask("DATA", 354);
        client.say(format!("{}.\r\n", messages::plain()));
        client.hear(250);
    };
    send(&mut client);
    client.ask(&format!("MAIL FROM:<{FROM}>"), 250);
    client.ask("RCPT TO:<ann@b.example>", 250);
    send(&mut client);
    // And back: the next transaction starts at the listener's own pool again.
    client.ask(&format!("MAIL FROM:<{FROM}>"), 250);
    client.ask("RCPT TO:<sue@a.example>", 250);
    send(&mut client);
    client.quit();
    stand.said_to_hops();
    assert_eq!(
        stand.mailboxes(),
        (vec!["bob".into(), "joe".into(), "sue".into()], vec!["ann".into()]),
        "{}",
        stand.gatepost.output()
    );
}

/// The same with a real sender: what was put off it keeps, and brings again.
fn two_hops_by_postfix() {
    let stand = Stand::with(BRANCH);
    let sending = Postfix::start(&Spec::sending(stand.downstream.address()));
    let (_scratch, file) = with_message("verdict", &messages::plain().replace("\r\n", "\n"));
    sending.submit(&["-i", "-f", FROM, "--", "joe@a.example", "ann@b.example"], &file);
    let log = wait_for("one recipient to be put off, and one sent to", PATIENCE, || {
        let log = outcomes(&sending.log());
        let both = log.contains("status=deferred") && log.contains("status=sent");
        (both && sending.deferred() > 0).then_some(log)
    });
    assert!(log.contains("452 4.5.3"), "one of each: {log}");
    sending.flush();
    sending.settle(0);
    sending.wait_for_sent(2);
    stand.said_to_hops();
    assert_eq!(stand.mailboxes(), (vec!["joe".into()], vec!["ann".into()]), "each once, each at its own hop");
}
