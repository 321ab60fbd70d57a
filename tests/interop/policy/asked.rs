//! What a policy server is asked: the same as by Postfix, but for what is listed here.
//!
//! In:    dialogs in which everything is said that an attribute tells of.
//! Out:   trials: the states asked in, and each attribute by name and value; under TLS, too.
//! Never: forgives a difference without a reason, or keeps a reason for none.
//!
//! SMTPD_POLICY_README of Postfix.

use std::collections::BTreeSet;

use libtest_mimic::Trial;

use super::Stand;
use crate::messages;
use crate::support::certificates::Authority;
use crate::support::clients::swaks;
use crate::support::peers::{Peer, trial};
use crate::support::policy::{PolicyServer, Request};
use crate::support::postfix::Spec;
use crate::support::raw::Raw;
use crate::support::scratch::Scratch;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("policy::asked", [Peer::Postfix, Peer::SaslDb], asked),
        trial("policy::asked_under_tls", [Peer::Postfix, Peer::Swaks, Peer::NetSsleay], asked_under_tls),
    ]
}

/// What differs in value, or is only known to one of them, and why.
const UNLIKE: &[(&str, &str)] = &[
    ("instance", "any name will do; Postfix has none before RCPT"),
    ("client_port", "each dialog has its own"),
    ("server_port", "each door has its own"),
    ("queue_id", "gatepost has no queue"),
    ("protocol_name", "at EHLO Postfix does not say yet that it was one"),
    ("sasl_method", "AUTH is between the client and the hop"),
    ("sasl_username", "AUTH is between the client and the hop"),
    ("ccert_issuer", "it is not kept"),
    ("ccert_fingerprint", "it is not kept"),
    ("ccert_pubkey_fingerprint", "it is not kept"),
    ("tls_sni", "Postfix has it from 3.12 on"),
];

const DIALOGS: &[&[&str]] = &[
    // Three messages, one of them never sent; the third by BDAT.
    &[
        "EHLO client.example",
        "MAIL FROM:<sender@client.example> SIZE=1000",
        "RCPT TO:<ann@a.example>",
        "RCPT TO:<bob@a.example>",
        "DATA",
        "\r\nx\r\n.",
        "MAIL FROM:<>",
        "RCPT TO:<ann@a.example>",
        "DATA",
        "\r\nx\r\n.",
        "MAIL FROM:<sender@client.example> BODY=8BITMIME",
        "RSET",
        "MAIL FROM:<Sender@Client.Example>",
        "RCPT TO:<nobody@a.example>",
        "RCPT TO:<joe@a.example>",
        "BDAT 5 LAST\r\n\r\nx",
    ],
    // Addresses that may be spelled otherwise, or not at all.
    &[
        "HELO client.example",
        "MAIL FROM:<\"joe\"@client.example>",
        "RCPT TO:<Ann@A.Example>",
        "RCPT TO:<@relay.example:ann@a.example>",
        "RCPT TO:<\"ann\"@a.example>",
        "RCPT TO:<\"a b\"@a.example>",
        "RCPT TO:<\"a=b\\\"c\"@a.example>",
        "RCPT TO:<Postmaster@a.example>",
        "RCPT TO:<ann@a.example.>",
        "RCPT TO:<ann>",
    ],
    &[
        "EHLO [127.0.0.1]",
        "MAIL FROM:<j\u{fc}rgen@client.example> SMTPUTF8",
        "RCPT TO:<j\u{fc}rgen@a.example>",
        "DATA",
        "\r\nx\r\n.",
    ],
    &[
        "EHLO client.example",
        "AUTH PLAIN AGpvZUBhLmV4YW1wbGUAb3BlbiBzZXNhbWU=",
        "MAIL FROM:<sender@client.example> AUTH=e+3Dmc2@example.com",
        "RCPT TO:<ann@a.example>",
    ],
    &[
        "XCLIENT NAME=spike.porcupine.example ADDR=192.0.2.7 PORT=1234 LOGIN=joe DESTADDR=192.0.2.25 DESTPORT=25",
        "EHLO spike.porcupine.example",
        "MAIL FROM:<sender@client.example> AUTH=<>",
        "RCPT TO:<ann@a.example>",
    ],
    &[
        "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7 PROTO=ESMTP HELO=told.example",
        "MAIL FROM:<sender@client.example>",
    ],
];

fn asked() {
    let server = PolicyServer::start();
    let spec = Spec { sasl: true, ..Spec::receiving("a.example") };
    let keys = ", auth: hop, xclient: { from: [127.0.0.1] }";
    let stand = Stand::in_every_state(&server, keys, "", spec);
    let mut unlike = BTreeSet::new();
    for dialog in DIALOGS {
        let [direct, through] = stand.doors().map(|door| {
            let mut raw = Raw::connect(door);
            for command in *dialog {
                raw.say(format!("{command}\r\n"));
                assert_ne!(raw.reply(), "", "{command}");
            }
            raw.quit();
            server.take()
        });
        assert_eq!(states(&direct), states(&through), "{dialog:?}");
        unlike.extend(differing(&direct, &through));
        assert_instances(&direct, &through);
        if dialog[0].contains(" PORT=1234 ") {
            for name in ["client_port", "server_port", "sasl_username"] {
                assert_eq!(through[4].value(name), direct[4].value(name), "{name} was told");
            }
        }
    }
    assert_eq!(unlike, UNLIKE.iter().map(|(name, _)| (*name).to_owned()).collect());
}

/// The states asked in; what Postfix asks about a client told by XCLIENT is what is asked about one that connects.
fn states(all: &[Request]) -> Vec<&str> {
    let states = all.iter().map(|request| request.value("protocol_state"));
    states.map(|state| if state == "XCLIENT" { "CONNECT" } else { state }).collect()
}

/// The names of attributes, but for the state's, in which requests differ.
fn differing(direct: &[Request], through: &[Request]) -> BTreeSet<String> {
    let pairs = direct.iter().zip(through).flat_map(|(direct, through)| {
        let attributes = |request: &Request| request.attributes.iter().cloned().collect::<BTreeSet<_>>();
        attributes(direct).symmetric_difference(&attributes(through)).cloned().collect::<Vec<_>>()
    });
    pairs.map(|(name, _)| name).filter(|name| name != "protocol_state").collect()
}

/// From RCPT on, where Postfix has one: what is of one message for it is so for gatepost, and on one connection.
fn assert_instances(direct: &[Request], through: &[Request]) {
    let instances =
        |all: &[Request]| all.iter().map(|one| one.value("instance").to_owned()).collect::<Vec<_>>();
    let (of_direct, of_through) = (instances(direct), instances(through));
    for (this, that) in (0..direct.len()).flat_map(|this| (0..this).map(move |that| (this, that))) {
        if !of_direct[this].is_empty() && !of_direct[that].is_empty() {
            let is_same = of_through[this] == of_through[that];
            assert_eq!(of_direct[this] == of_direct[that], is_same, "{of_direct:?} {of_through:?}");
            assert!(!is_same || through[this].connection == through[that].connection, "{through:?}");
        }
    }
}

fn asked_under_tls() {
    let (scratch, authority) = (Scratch::new("certificates"), Authority::new("Private Root"));
    let roots = authority.write(scratch.path(), "roots");
    let server_pair = authority.server(&["gate.example"]).write(scratch.path(), "server");
    let client_pair = authority.client("j\u{fc}rgen+1 2.client.example").write(scratch.path(), "client");
    let stranger = Authority::new("Another Root").client("joe").write(scratch.path(), "stranger");
    let (certificate, key, roots) =
        (server_pair.certificate.display(), server_pair.key.display(), roots.display());
    let keys = format!(
        ", tls: {{ mode: starttls, certificate: \"{certificate}\", key: \"{key}\", client_roots: \"{roots}\" }}"
    );
    let options = format!(
        "-o smtpd_tls_security_level=may -o smtpd_tls_ask_ccert=yes -o {{ smtpd_tls_CAfile = {roots} }} \
         -o {{ smtpd_tls_chain_files = {key}, {certificate} }}"
    );
    let server = PolicyServer::start();
    let stand = Stand::in_every_state(&server, &keys, &options, Spec::receiving("a.example"));
    let message = scratch.write("message", messages::plain());
    for (pair, protocol, subject) in [
        (Some(&client_pair), "tlsv1_3", "j+C3+BCrgen+2B1+202.client.example"),
        (Some(&stranger), "tlsv1_3", ""),
        (None, "tlsv1_2", ""),
    ] {
        let shown: Vec<_> = pair
            .iter()
            .flat_map(|pair| [("--tls-cert", &pair.certificate), ("--tls-key", &pair.key)])
            .collect();
        let mut options = vec!["--tls", "--tls-protocol", protocol, "--quit-after", "RCPT"];
        for (option, file) in &shown {
            options.extend([option, file.to_str().unwrap()]);
        }
        let [direct, through] = stand.doors().map(|door| {
            let outcome =
                swaks(&scratch, door, "sender@client.example", &["ann@a.example"], &message, &options);
            assert!(outcome.contains("exit status: 0"), "{outcome}");
            server.take()
        });
        assert_eq!(states(&through), ["CONNECT", "EHLO", "EHLO", "MAIL", "RCPT"]);
        assert_eq!(states(&direct), states(&through));
        let asked = through.last().unwrap();
        assert_eq!(asked.value("ccert_subject"), subject);
        let mut others = differing(&direct, &through);
        others.retain(|name| !UNLIKE.iter().any(|(unlike, _)| unlike == name));
        // Of older ones OpenSSL has another name than the IANA, which is gatepost's.
        let expected = (protocol == "tlsv1_2").then(|| "encryption_cipher".to_owned());
        assert_eq!(others, expected.into_iter().collect());
    }
}
