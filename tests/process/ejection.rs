//! Hosts that fail are put aside, and come back.
//!
//! In:    hosts that refuse connections, and begin to listen later.
//! Out:   the next host is used; metrics and `/readyz` tell; with every host put aside they are tried all the same.
//! Never: measures how long a host is put aside, which the units do.

use super::gate::{Gate, first_reply, free_address};
use super::hop::Hop;
use crate::scratch::{PATIENCE, wait_for};

const FAILURES_TO_EJECT: usize = 3;

#[test]
fn a_host_that_refuses_is_put_aside_and_comes_back() {
    let (first, second) = (free_address(), Hop::start("second.example"));
    let gate = Gate::start(&format!("{{ hosts: [\"{first}\", \"{}\"] }}", second.address), "");
    let label = format!("host=\"{first}\"");
    let of_first = |name: &str| gate.metric(name, &[&label]);
    assert_eq!(of_first("gatepost_hop_up"), 1.0, "untried counts as good");
    for _ in 0..FAILURES_TO_EJECT {
        let reply = first_reply(gate.listener);
        assert!(reply.starts_with("220 second.example"), "{reply}");
    }
    assert_eq!(of_first("gatepost_hop_up"), 0.0);
    assert_eq!(of_first("gatepost_hop_ejections_total"), 1.0);
    assert_eq!(gate.metric("gatepost_hop_failures_total", &[&label, "reason=\"connect\""]), 3.0);
    let ready = gate.http("/readyz");
    assert!(ready.starts_with("HTTP/1.1 200"), "another host is there: {ready}");
    // From here on it listens; it gets sessions again once its time is over.
    let _first = Hop::start_at(first, "first.example", true);
    // A host is back when it has answered a client's first command.
    wait_for("the first host to be used again", PATIENCE, || {
        gate.client().quit();
        (of_first("gatepost_hop_up") == 1.0).then_some(())
    });
    // Its share grows while another is there.
    wait_for("the first host to greet", PATIENCE, || {
        first_reply(gate.listener).starts_with("220 first.example").then_some(())
    });
}

#[test]
fn probes_find_out_before_a_client_does() {
    let address = free_address();
    let gate = Gate::start(&format!("{{ hosts: [\"{address}\"], health: {{ interval: 1s }} }}"), "");
    // Untried counts as good, until three probes say otherwise.
    wait_for("/readyz to say that the pool is down", PATIENCE, || {
        gate.http("/readyz").starts_with("HTTP/1.1 503").then_some(())
    });
    assert!(gate.metric("gatepost_hop_probes_total", &["result=\"failed\""]) >= FAILURES_TO_EJECT as f64);
    let _hop = Hop::start_at(address, "back.example", true);
    wait_for("/readyz to say that it is back", PATIENCE, || {
        gate.http("/readyz").starts_with("HTTP/1.1 200").then_some(())
    });
    assert!(gate.metric("gatepost_hop_probes_total", &["result=\"good\""]) >= 1.0);
    assert_eq!(gate.metric("gatepost_hop_connects_total", &[]), 0.0, "no client was there");
    gate.client().quit();
}

#[test]
fn a_client_that_leaves_early_does_not_keep_a_host_aside() {
    let (first, second) = (free_address(), Hop::start("second.example"));
    let hosts = format!("{{ hosts: [\"{first}\", \"{}\"], health: off }}", second.address);
    let gate = Gate::start(&hosts, "");
    for _ in 0..FAILURES_TO_EJECT {
        first_reply(gate.listener);
    }
    let _first = Hop::start_at(first, "first.example", true);
    // Each of these is the trial of the first host and leaves behind the greeting: the next one is a trial again.
    wait_for("the first host to be due for a trial", PATIENCE, || {
        first_reply(gate.listener).starts_with("220 first.example").then_some(())
    });
    let tried = std::time::Instant::now();
    for _ in 0..3 {
        wait_for("the first host to be tried again", PATIENCE, || {
            first_reply(gate.listener).starts_with("220 first.example").then_some(())
        });
    }
    assert!(tried.elapsed() < std::time::Duration::from_secs(10), "no trial had to lapse");
    assert_eq!(gate.metric("gatepost_hop_up", &[&format!("host=\"{first}\"")]), 0.0, "none was reported");
}

#[test]
fn hosts_are_tried_though_all_are_put_aside() {
    let hosts = [free_address(), free_address()];
    let gate = Gate::start(&format!("{{ hosts: [\"{}\", \"{}\"] }}", hosts[0], hosts[1]), "");
    for _ in 0..FAILURES_TO_EJECT {
        let reply = first_reply(gate.listener);
        assert!(reply.starts_with("421 4.4.1 "), "{reply}");
    }
    assert_eq!(gate.metric("gatepost_hop_up", &[]), 0.0);
    let ready = gate.http("/readyz");
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ready.contains("not ready") && ready.contains("main"), "it names the pool: {ready}");
    let _second = Hop::start_at(hosts[1], "second.example", true);
    // Tried at once; were it not, the client would hear 421.
    gate.client().quit();
    wait_for("/readyz to be ready again", PATIENCE, || {
        gate.http("/readyz").starts_with("HTTP/1.1 200").then_some(())
    });
}

#[test]
fn a_host_that_cannot_be_told_who_clients_are_is_named_once() {
    let hop = Hop::start("deaf.example");
    let pool = format!("{{ hosts: [\"{}\"], identity: xclient, health: {{ interval: 1s }} }}", hop.address);
    let gate = Gate::start(&pool, "");
    wait_for("three probes", PATIENCE, || {
        (gate.metric("gatepost_hop_probes_total", &["result=\"good\""]) >= 3.0).then_some(())
    });
    let output = gate.output();
    let told: Vec<&str> = output.lines().filter(|line| line.contains("XCLIENT: not offered")).collect();
    assert!(
        told.len() == 1 && told[0].contains("ERROR") && told[0].contains(&hop.address.to_string()),
        "{output}"
    );
}
