//! policyd-spf: asked over a Unix socket, started by Postfix's spawn(8), with a DNS of its own.
//!
//! In:    NSD with policies of some domains; a Postfix that spawns policyd-spf, which sees that name server alone.
//! Out:   one trial: who may send hears so in the message, who may not is refused, in the same words by both.
//! Never: asks a name server beyond loopback.
//!
//! policyd-spf(1), policyd-spf.conf(5), spawn(8), RFC 7208.

use std::net::SocketAddr;

use libtest_mimic::Trial;

use super::{dialog, entry, with_subject, without_trace};
use crate::messages;
use crate::support::gatepost::Gatepost;
use crate::support::mta::Mta as _;
use crate::support::nsd::Nsd;
use crate::support::peers::{Peer, found, trial};
use crate::support::postfix::{Postfix, Spec};
use crate::support::scratch::{Scratch, free_port};

pub fn trials() -> Vec<Trial> {
    vec![trial("policy::spf", [Peer::Postfix, Peer::PolicydSpf, Peer::Nsd], checked)]
}

const ZONE: &str = "\
$ORIGIN example.
$TTL 5
@ SOA ns hostmaster 1 60 60 60 5
@ NS ns
ns A 127.0.0.1
twice TXT \"v=spf1 -all\"
twice TXT \"v=spf1 +all\"
good TXT \"v=spf1 ip4:192.0.2.7 -all\"
bad TXT \"v=spf1 ip4:192.0.2.8 -all\"
soft TXT \"v=spf1 ~all\"
";

/// Its answers to loopback addresses are no checks: those skip it.
const CONFIGURATION: &str = "\
debugLevel = 1
TestOnly = 1
HELO_reject = Fail
Mail_From_reject = Fail
PermError_reject = True
TempError_Defer = True
skip_addresses = 192.0.2.255/32
";

fn checked() {
    let nsd = Nsd::start_well_known(ZONE);
    let scratch = Scratch::new("spf");
    let configuration = scratch.write("policyd-spf.conf", CONFIGURATION);
    let asking = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let check = "-o { smtpd_recipient_restrictions = check_policy_service unix:private/spf }";
    let spawn = format!(
        "spf unix - n n - 0 spawn\n  user=policyd-spf argv={} {}\n",
        found("policyd-spf").display(),
        configuration.display()
    );
    let postfix = Postfix::start(&Spec {
        resolver: Some(nsd.address.ip()),
        master_cf: entry(asking, check) + &spawn,
        ..Spec::receiving("a.example")
    });
    let callout = format!(
        "callouts:\n  - {{ name: spf, type: policy, address: \"unix:{}\" }}\n",
        postfix.socket("spf").display()
    );
    let gatepost =
        Gatepost::start_as(", xclient: { from: [127.0.0.1] }", &[("main", &[postfix.address()])], &callout);
    let doors = [asking, gatepost.listener()];
    for (sender, reply) in [
        ("joe@good.example", ""),
        ("joe@soft.example", ""),
        ("joe@none.example", ""),
        ("", ""),
        (
            "joe@bad.example",
            "550 5.7.23 <ann@a.example>: Recipient address rejected: Message rejected due to: SPF fail",
        ),
        (
            "joe@twice.example",
            "550 5.7.24 <ann@a.example>: Recipient address rejected: Message rejected due to: ",
        ),
    ] {
        let [direct, through] = doors.map(|door| {
            let subject = if door == asking { "direct" } else { "through" };
            let content = messages::message(subject, "Hello\r\n") + ".\r\n";
            dialog(
                door,
                &[
                    "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7\r\n",
                    "EHLO client.example\r\n",
                    &format!("MAIL FROM:<{sender}>\r\n"),
                    "RCPT TO:<ann@a.example>\r\n",
                    "RCPT TO:<bob@a.example>\r\n",
                    "DATA\r\n",
                    &content,
                ],
            )
        });
        assert_eq!(direct, through, "{sender}");
        match reply {
            "" => assert_eq!(through[3..9], ["250", "250", "250", "250", "354", "250"], "{sender}"),
            reply => assert!(through[5].starts_with(reply), "{sender}: {through:?}"),
        }
    }
    postfix.settle(0);
    let stored: Vec<_> = postfix.take_stored().iter().map(without_trace).collect();
    let through = with_subject(&stored, "through");
    assert_eq!(with_subject(&stored, "direct"), through);
    for (sender, result) in [
        ("joe@good.example", "Pass (mailfrom) identity=mailfrom; client-ip=192.0.2.7; helo=client.example; "),
        ("joe@soft.example", "Softfail (mailfrom) identity=mailfrom; "),
        ("joe@none.example", "None (mailfrom) identity=mailfrom; "),
        ("", "None (no SPF record) identity=helo; "),
    ] {
        let path = format!("Return-Path: <{sender}>\n");
        let of_this: Vec<_> = through.iter().filter(|text| text.starts_with(&path)).collect();
        assert_eq!(of_this.len(), 2, "{sender}");
        for text in of_this {
            // Once, though there are two recipients: it is one message.
            assert_eq!(text.matches("Received-SPF: ").count(), 1, "{text}");
            assert!(text.contains(&format!("\nReceived-SPF: {result}")), "{text}");
        }
    }
}
