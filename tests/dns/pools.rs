//! Pools whose hosts DNS names: MX, SRV, and what changes while gatepost runs.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;

use crate::gate::{Gate, first_reply};
use crate::hop::Hop;
use crate::nsd::Nsd;
use crate::peers::{Peer, trial};
use crate::scratch::{PATIENCE, free_port, wait_for};
use crate::{HOSTS, at, hops};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("mx_goes_by_preference_past_a_dead_host", [Peer::Nsd], mx),
        trial("mx_by_cname_implicit_and_ipv6", [Peer::Nsd], other_ways),
        trial("mx_of_one_preference_share_the_clients", [Peer::Nsd], equals),
        trial("srv_names_hosts_and_ports", [Peer::Nsd], srv),
        trial("a_change_is_picked_up_when_its_ttl_is_over", [Peer::Nsd], ttl),
        trial("a_server_that_is_gone_leaves_what_is_known", [Peer::Nsd], server_gone),
        trial("check_says_what_was_found_and_what_not", [Peer::Nsd], check),
    ]
}

/// Which hop greets.
fn greeter(gate: &Gate) -> String {
    let reply = first_reply(gate.listener);
    reply.split(' ').nth(1).unwrap_or(&reply).to_owned()
}

fn mx() {
    let port = free_port();
    let nsd = Nsd::start(&format!("{HOSTS}d MX 30 c\nd MX 10 dead\nd MX 20 b\n"));
    let _hops = hops(port);
    let gate = Gate::start(&format!("{{ mx: d.example, port: {port} }}"), &nsd.dns());
    for _ in 0..4 {
        assert_eq!(greeter(&gate), "b.example");
    }
    let dead = format!("host=\"dead.example:{port}\"");
    assert_eq!(gate.metric("gatepost_hop_failures_total", &[&dead, "reason=\"connect\""]), 3.0);
    assert_eq!(gate.metric("gatepost_hop_up", &[&dead]), 0.0, "three failures put it aside");
    assert_eq!(gate.metric("gatepost_hop_up", &[]), 2.0);
}

fn other_ways() {
    let port = free_port();
    let zone = "d CNAME e\ne CNAME f\nf MX 10 a\nself A 127.0.0.3\nsix MX 10 mail6\nmail6 AAAA ::1\n";
    let nsd = Nsd::start(&format!("{HOSTS}{zone}"));
    let _hops = hops(port);
    let _six = Hop::start_at(at("::1", port), "six.example", true);
    for (domain, expected) in
        [("d.example", "a.example"), ("self.example", "b.example"), ("six.example", "six.example")]
    {
        let gate = Gate::start(&format!("{{ mx: {domain}, port: {port} }}"), &nsd.dns());
        assert_eq!(greeter(&gate), expected, "{domain}");
    }
}

fn equals() {
    let port = free_port();
    let nsd = Nsd::start(&format!("{HOSTS}d MX 10 a\nd MX 10 b\nd MX 20 c\n"));
    let _hops = hops(port);
    for balance in ["first", "round_robin", "least_sessions"] {
        let upstream = format!("{{ mx: d.example, port: {port}, balance: {balance} }}");
        let gate = Gate::start(&upstream, &nsd.dns());
        // By chance one of two is not drawn in forty times: once in 2^39.
        let seen: BTreeSet<String> = (0..40).map(|_| greeter(&gate)).collect();
        assert_eq!(seen, BTreeSet::from(["a.example".to_owned(), "b.example".to_owned()]), "{balance}");
    }
}

fn srv() {
    let (port, other) = (free_port(), free_port());
    let zone = format!(
        "_smtp._tcp.d SRV 20 0 {port} c\n_smtp._tcp.d SRV 10 0 {port} dead\n_smtp._tcp.d SRV 15 5 {other} b\n\
         _smtp._tcp.off SRV 0 0 0 .\n"
    );
    let nsd = Nsd::start(&format!("{HOSTS}{zone}"));
    let _hop = Hop::start_at(at("127.0.0.3", other), "b.example", true);
    let gate = Gate::start("{ srv: _smtp._tcp.d.example }", &nsd.dns());
    assert_eq!(greeter(&gate), "b.example");
    assert_eq!(gate.metric("gatepost_hop_up", &[&format!("host=\"b.example:{other}\"")]), 1.0);
}

fn ttl() {
    let port = free_port();
    let nsd = Nsd::start(&format!("{HOSTS}d MX 10 a\n"));
    let _hops = hops(port);
    let gate = Gate::start(&format!("{{ mx: d.example, port: {port} }}"), &nsd.dns());
    assert_eq!(greeter(&gate), "a.example");
    nsd.change(&format!("{HOSTS}d MX 10 c\n").replace("hostmaster 1 ", "hostmaster 2 "));
    // A session that began at the old hop stays there.
    let mut client = gate.client();
    wait_for("the new hop to be used", 2 * PATIENCE, || (greeter(&gate) == "c.example").then_some(()));
    client.ask("NOOP", 250);
    client.quit();
    let up = |host: &str| gate.metric("gatepost_hop_up", &[&format!("host=\"{host}.example:{port}\"")]);
    assert_eq!((up("a"), up("c")), (0.0, 1.0), "a host that DNS has taken out is not up");
}

fn server_gone() {
    let port = free_port();
    let mut nsd = Nsd::start(&format!("{HOSTS}d MX 10 a\n"));
    let _hops = hops(port);
    let gate = Gate::start(&format!("{{ mx: d.example, port: {port} }}"), &nsd.dns());
    assert_eq!(greeter(&gate), "a.example");
    nsd.stop();
    wait_for("gatepost to ask in vain", 2 * PATIENCE, || {
        gate.output().contains("cannot resolve; keeping").then_some(())
    });
    assert_eq!(greeter(&gate), "a.example");
    assert!(gate.http("/readyz").starts_with("HTTP/1.1 200"));
}

fn check() {
    let nsd = Nsd::start(&format!(
        "{HOSTS}d MX 20 b\nd MX 10 a\nnull MX 0 .\n_smtp._tcp.off SRV 0 0 0 .\nx CNAME y\ny CNAME x\n"
    ));
    let scratch = crate::scratch::Scratch::new("check");
    let yaml = format!(
        "upstreams:\n  main: {{ mx: d.example }}\n  nothing: {{ mx: null.example }}\n  off: {{ srv: _smtp._tcp.off.example }}\n  \
         none: {{ mx: none.example }}\n  broken: {{ mx: x.broken }}\n  circle: {{ mx: x.example }}\n{}",
        nsd.dns()
    );
    let path = scratch.write("proxy.yaml", yaml);
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.arg("check").arg("--config").arg(path);
    let done =
        crate::scratch::run(&scratch, &mut command, std::process::Stdio::null(), Duration::from_secs(20));
    assert_eq!(done.status.code(), Some(1), "names that lead nowhere: {done:?}");
    for expected in [
        "upstreams.main: mx d.example: a.example:25: 127.0.0.2:25",
        "upstreams.main: mx d.example: b.example:25: 127.0.0.3:25",
        ":5:15: upstreams.none.mx: mx none.example: no such name",
        ":3:18: upstreams.nothing.mx: mx null.example: takes no mail",
        ":4:15: upstreams.off.srv: srv _smtp._tcp.off.example: takes no mail",
        ":6:17: upstreams.broken.mx: mx x.broken: ",
        ":7:17: upstreams.circle.mx: mx x.example: ",
        "5 of the names lead nowhere",
    ] {
        assert!(done.stderr.contains(expected), "{expected}\n{}", done.stderr);
    }
}
