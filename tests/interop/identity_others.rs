//! Who the client is, as Dovecot and Exim read it in gatepost's PROXY headers: a second and a third opinion on them.
//!
//! In:    swaks at 127.0.0.9.
//! Out:   the trials: with either version the message is stored, the program's own log names that client and not
//!        gatepost, and the probes of `health`, which tell of nobody, find the host well.
//! Never: a mock where a real program can be had.
//!
//! HAProxy's specification of the PROXY protocol; Dovecot's `haproxy` of an inet_listener; Exim's specification 59.1.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

use crate::messages;
use crate::support::clients::swaks;
use crate::support::dovecot::Dovecot;
use crate::support::exim::Exim;
use crate::support::gatepost::Gatepost;
use crate::support::maildir::Stored;
use crate::support::mta::Mta;
use crate::support::peers::{Peer, trial};
use crate::support::scratch::{PATIENCE, Scratch, free_port, wait_for};

/// The client.
const CLIENT: &str = "127.0.0.9";

pub fn trials() -> Vec<Trial> {
    let mut all = Vec::new();
    for version in ["proxy_v1", "proxy_v2"] {
        all.extend([
            trial(&format!("identity::dovecot_by_{version}"), [Peer::Dovecot, Peer::Swaks], move || {
                to_dovecot(version);
            }),
            trial(&format!("identity::exim_by_{version}"), [Peer::Exim, Peer::Swaks], move || {
                to_exim(version);
            }),
        ]);
    }
    all
}

/// gatepost before `hop`, which speaks `protocol`.
fn before(hop: SocketAddr, protocol: &str, identity: &str) -> Gatepost {
    let [listener, admin] = [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let scratch = Scratch::new("identity");
    let config = format!(
        "hostname: gate.example\nadmin: {{ address: {admin} }}\n\
         listeners:\n  - {{ address: {listener}, upstream: main }}\n\
         upstreams:\n  main: {{ hosts: [\"{hop}\"], protocol: {protocol}, identity: {identity}, \
         health: {{ interval: 1s }} }}\n"
    );
    let path = scratch.write("proxy.yaml", config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.arg("run").arg("--config").arg(path).stdin(Stdio::null());
    Gatepost::start_with(scratch, command, listener, admin)
}

/// One message from the client.
fn send(gate: &Gatepost, to: &str) {
    let scratch = Scratch::new("sent");
    let file = scratch.write("message", messages::plain());
    let options = ["--local-interface", CLIENT];
    let outcome = swaks(&scratch, gate.listener(), "sue@client.example", &[to], &file, &options);
    assert_eq!(outcome, "swaks: exit status: 0");
}

/// What was stored says where it came from.
fn is_from_the_client(stored: &[Stored]) {
    let [stored] = stored else { panic!("{} messages", stored.len()) };
    let text = String::from_utf8_lossy(&stored.octets);
    let received = text.split("Received: ").nth(1).unwrap_or_default();
    assert!(received.contains(&format!("[{CLIENT}]")), "{text}");
}

/// A probe, whose header tells of nobody, hears what it hopes for.
fn is_well(gate: &Gatepost) {
    wait_for("the probe", PATIENCE, || {
        (gate.metric("gatepost_hop_probes_total", &["result=\"good\""]) >= 1.0).then_some(())
    });
}

fn to_dovecot(identity: &str) {
    let store = Dovecot::start(&["jones"]);
    let gate = before(store.proxied(), "lmtp", identity);
    is_well(&gate);
    send(&gate, "jones@store.example");
    let logged = format!("Connect from {CLIENT}");
    wait_for(&format!("{logged:?} in Dovecot's log"), PATIENCE, || {
        store.log().contains(&logged).then_some(())
    });
    is_from_the_client(&store.stored());
}

fn to_exim(identity: &str) {
    let exim = Exim::start_proxied();
    let gate = before(exim.address(), "smtp", identity);
    is_well(&gate);
    send(&gate, "joe@a.example");
    let logged = format!("<= sue@client.example H=(client.example) [{CLIENT}]");
    wait_for(&format!("{logged:?} in Exim's log"), PATIENCE, || exim.log().contains(&logged).then_some(()));
    let stored =
        wait_for("the message", PATIENCE, || Some(exim.take_stored()).filter(|stored| !stored.is_empty()));
    is_from_the_client(&stored);
}
