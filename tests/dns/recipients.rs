//! Recipients whose domains name the hop.

use std::fmt::Write as _;

use libtest_mimic::Trial;

use crate::gate::Gate;
use crate::nsd::Nsd;
use crate::peers::{Peer, trial};
use crate::raw::Raw;
use crate::scratch::free_port;
use crate::{HOSTS, at, hops};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("mail_reaches_the_host_of_its_recipients_domain", [Peer::Nsd], mail),
        trial("domains_without_hosts_are_refused_or_put_off", [Peer::Nsd], nowhere),
        trial("hundreds_of_records_and_circles_are_bounded", [Peer::Nsd], absurd),
        trial("a_domain_that_leads_back_here_is_refused", [Peer::Nsd], circle),
    ]
}

/// A gate whose hosts are those of recipients' domains, at `port`.
fn start(port: u16, nsd: &Nsd) -> Gate {
    Gate::start(&format!("{{ recipient_mx: true, port: {port} }}"), &nsd.dns())
}

fn client(gate: &Gate) -> Raw {
    let mut client = gate.client();
    client.ask("MAIL FROM:<smith@example.org>", 250);
    client
}

fn mail() {
    let port = free_port();
    let zone = "d MX 10 dead\nd MX 20 b\ne CNAME f\nf MX 10 c\nself A 127.0.0.2\n";
    let nsd = Nsd::start(&format!("{HOSTS}{zone}"));
    let [a, b, c] = hops(port);
    let gate = start(port, &nsd);
    let mut client = gate.client();
    for domain in ["D.example", "e.example", "self.example", "[127.0.0.4]"] {
        client.ask("MAIL FROM:<smith@example.org>", 250);
        client.ask(&format!("RCPT TO:<jones@{domain}>"), 250);
        client.ask("RCPT TO:<green@elsewhere.example>", 452);
        client.ask("DATA", 354);
        client.ask("Subject: a message\r\n\r\nHello\r\n.", 250);
    }
    client.quit();
    assert_eq!((a.contents(), b.contents(), c.contents()), (1, 1, 2));
    // All hosts together are one in the metrics: clients must not be able to make series.
    assert_eq!(gate.metric("gatepost_hop_connects_total", &["host=\"*\""]), 5.0);
    assert_eq!(gate.metric("gatepost_hop_connects_total", &[]), 5.0);
}

fn nowhere() {
    let port = free_port();
    let mut nsd = Nsd::start(&format!("{HOSTS}null MX 0 .\ntext TXT nothing\nlost MX 10 none\n"));
    let gate = start(port, &nsd);
    let mut client = client(&gate);
    let mut asks = |domain: &str, expected: &str| {
        let code = expected[..3].parse().unwrap();
        let reply = client.ask(&format!("RCPT TO:<jones@{domain}>"), code);
        assert!(reply.starts_with(expected), "{domain}: {reply}");
    };
    asks("none.example", "550 5.1.2 ");
    asks("text.example", "550 5.1.2 ");
    asks("lost.example", "550 5.1.2 ");
    asks("null.example", "556 5.1.10 ");
    asks("x.broken", "451 4.4.3 ");
    asks("refused.test", "451 4.4.3 ");
    asks("-..", "550 5.1.2 ");
    nsd.stop();
    asks("new.example", "451 4.4.3 ");
}

fn absurd() {
    let port = free_port();
    let mut zone = HOSTS.to_owned();
    // The best one of hundreds is used; a UDP answer cannot hold them all.
    for index in 0..400 {
        let _ = writeln!(zone, "many MX {} dead{index}\ndead{index} A 127.0.0.9", 100 + index);
    }
    zone.push_str("many MX 1 b\nx CNAME y\ny CNAME x\nwide MX 10 broad\n");
    for index in 0..250 {
        let _ = writeln!(zone, "broad A 127.0.9.{}", index + 1);
    }
    let nsd = Nsd::start(&zone);
    let [_, b, _] = hops(port);
    let gate = start(port, &nsd);
    let mut client = client(&gate);
    client.ask("RCPT TO:<jones@x.example>", 550);
    client.ask("RCPT TO:<jones@wide.example>", 451);
    client.ask("RCPT TO:<jones@many.example>", 250);
    client.ask("DATA", 354);
    client.ask("Subject: a message\r\n\r\nHello\r\n.", 250);
    assert_eq!(b.contents(), 1);
    let dialled = gate.metric("gatepost_hop_connects_total", &[]);
    assert!(dialled <= 1.0 + 32.0, "of 250 addresses at most 32 were tried: {dialled}");
}

fn circle() {
    let port = free_port();
    let zone = "here MX 10 ns\nhere MX 20 b\nbackup MX 10 a\nbackup MX 20 ns\nbackup MX 30 b\n";
    let nsd = Nsd::start(&format!("{HOSTS}{zone}"));
    let [a, b, _] = hops(port);
    let upstream = format!("{{ recipient_mx: true, port: {port} }}");
    let gate = Gate::start_at(at("127.0.0.1", port), &upstream, &nsd.dns());
    let mut client = client(&gate);
    let reply = client.ask("RCPT TO:<jones@here.example>", 550);
    assert!(reply.starts_with("550 5.4.6 "), "{reply}");
    client.ask("RCPT TO:<jones@backup.example>", 250);
    client.ask("DATA", 354);
    client.ask("Subject: a message\r\n\r\nHello\r\n.", 250);
    assert_eq!((a.contents(), b.contents()), (1, 0), "those that are no better than we are left out");
}
