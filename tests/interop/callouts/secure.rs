//! The directory of `examples/` behind TLS: a real nginx before it that wants client certificates and offers HTTP/2.
//!
//! In:    an authority and what it vouches for; nginx; the directory; a real Postfix, real clients.
//! Out:   trials: asked over HTTP/2, and over HTTP/1.1, with a client certificate; and what cannot be trusted, or is
//!        not trusted, is a callout that failed.
//! Never: looks inside gatepost: nginx's log, what the client heard and gatepost's own log are the proof.

use libtest_mimic::Trial;

use super::directory;
use super::nginx::Nginx;
use crate::support::certificates::Authority;
use crate::support::peers::{Peer, trial};
use crate::support::scratch::Scratch;
use crate::verdicts::Stand;

const NEEDS: &[Peer] = &[Peer::Postfix, Peer::Python, Peer::Swaks, Peer::Nginx];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("callout::secure_by_http2", NEEDS, || asked_by("HTTP/2.0")),
        trial("callout::secure_by_http1", NEEDS, || asked_by("HTTP/1.1")),
        trial("callout::secure_and_not_trusted", NEEDS, not_trusted),
    ]
}

fn asked_by(protocol: &str) {
    let (scratch, authority) = (Scratch::new("certificates"), Authority::new("Private Root"));
    let (roots, server, client) = (
        authority.write(scratch.path(), "root"),
        authority.server(&["directory.example"]).write(scratch.path(), "server"),
        authority.client("mx.gatepost.example").write(scratch.path(), "client"),
    );
    let directory = directory();
    let nginx = Nginx::start(directory.port, &server, &roots, protocol == "HTTP/2.0");
    let stand = Stand::with(&format!(
        "callouts:\n  - name: directory\n    type: http\n    url: \"https://{}/\"\n    stages: [mail, rcpt, rcpt-reply]\n    \
         tls: {{ roots: {}, certificate: {}, key: {}, server_name: directory.example }}\n",
        nginx.address(),
        roots.display(),
        client.certificate.display(),
        client.key.display(),
    ));
    let outcome = stand.swaks(&["Joe@Old.example", "stranger@a.example", "ann@a.example"]);
    assert!(outcome.contains("exit status: 0"), "those who are known get it: {outcome}");
    let heard = stand.heard();
    let refused: Vec<_> = heard.replies.iter().filter(|reply| reply.starts_with('5')).collect();
    assert_eq!(refused, ["550 5.1.1 Not in the directory"], "{}", stand.gatepost.output());
    assert!(!stand.said_to_hops().0.contains("stranger"), "the hop never heard of who is unknown");
    assert_eq!(stand.mailboxes(), (vec!["ann".into(), "joe".into()], vec![]));
    // MAIL, three RCPTs, two replies to RCPT.
    let questions = nginx.questions(6);
    let (_, connection) = questions[0].rsplit_once(' ').unwrap();
    let expected = format!("{protocol} O=Example,CN=mx.gatepost.example SUCCESS 200 {connection}");
    assert_eq!(questions, vec![expected; 6], "all of them over one connection");
}

/// Whom gatepost does not trust, and who does not trust gatepost: no callout, and `on_error` says what then.
fn not_trusted() {
    let (scratch, authority) = (Scratch::new("certificates"), Authority::new("Private Root"));
    let other = Authority::new("Another Root").write(scratch.path(), "other");
    let roots = authority.write(scratch.path(), "root");
    let good = authority.server(&["127.0.0.1"]).write(scratch.path(), "good");
    let expired = authority.expired(&["127.0.0.1"]).write(scratch.path(), "expired");
    let client = authority.client("mx.gatepost.example").write(scratch.path(), "client");
    let directory = directory();
    let (fresh, stale) = (
        Nginx::start(directory.port, &good, &roots, true),
        Nginx::start(directory.port, &expired, &roots, true),
    );
    let pair = format!("certificate: {}, key: {}", client.certificate.display(), client.key.display());
    let callout = |name: &str, nginx: &Nginx, on_error: &str, tls: &str| {
        format!(
            "  - {{ name: {name}, type: http, url: \"https://{}/\", stages: rcpt, on_error: {on_error}, \
             when: {{ recipient: {name}@a.example }}, tls: {{ {tls} }} }}\n",
            nginx.address()
        )
    };
    let (roots, other) = (format!("roots: {}", roots.display()), format!("roots: {}", other.display()));
    let stand = Stand::with(&format!(
        "callouts:\n{}{}{}",
        callout("joe", &fresh, "tempfail", &format!("{other}, {pair}")),
        callout("legacy", &fresh, "reject", &roots),
        callout("ann", &stale, "pass", &format!("{roots}, {pair}")),
    ));
    let outcome = stand.swaks(&["joe@a.example", "legacy@a.example", "ann@a.example"]);
    assert!(outcome.contains("exit status: 0"), "one gets it: {outcome}");
    let heard = stand.heard();
    let failed: Vec<_> = heard.replies.iter().filter(|reply| !reply.starts_with(['2', '3'])).collect();
    assert!(
        matches!(&failed[..], [joe, legacy] if joe.starts_with("451 4.3.0 ") && legacy.starts_with("554 5.3.0 ")),
        "{failed:?}"
    );
    assert_eq!(stand.said_to_hops().0.matches("RCPT TO").count(), 1);
    assert_eq!(stand.mailboxes(), (vec!["ann".into()], vec![]));
    let log = stand.gatepost.output();
    for (name, why) in [
        ("joe", "unreachable: 127.0.0.1:"),
        ("joe", ": TLS: unknown issuer"),
        // nginx goes through with the handshake, to say in HTTP what is missing.
        ("legacy", "refused: status 400"),
        ("ann", "unreachable: 127.0.0.1:"),
        ("ann", ": TLS: certificate expired on 2020-12-31"),
    ] {
        let mut lines = log.lines().filter(|line| line.contains(&format!("callout {name}: rcpt: ")));
        assert!(lines.any(|line| line.contains(why)), "{name}: {why}: {log}");
    }
    let asked = fresh.questions(1);
    assert!(asked.len() == 1 && asked[0].starts_with("HTTP/2.0 - NONE 400 "), "{asked:?}");
}
