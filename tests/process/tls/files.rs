//! Certificates that are wrong, and that are replaced.
//!
//! In:    files as an administrator has them: good, missing, of another pair, replaced while sessions run; hops whose
//!        certificates are not in order.
//! Out:   errors that name the file; sessions that go on; what each pool's mode makes of such a hop.
//! Never: waits longer for a file to be seen than for any other event.

use std::process::{Command, Stdio};

use super::client::{Client, dial, starttls};
use super::{Trust, listener};
use crate::certificates::{Authority, Files, Pair, self_signed};
use crate::gate::{Gate, SINK, client_of};
use crate::scratch::{PATIENCE, run, wait_for};

#[test]
fn a_certificate_is_replaced_while_200_sessions_run() {
    let trust = Trust::new();
    let dir = trust.scratch.path();
    let old = trust.server("front");
    let gate =
        Gate::start_secured(&listener("starttls", &old), SINK, "limits: { sessions_per_client: 1000 }\n");
    let open = || {
        let mut client =
            Client::secure(starttls(gate.listener), trust.authority.client_config(), "127.0.0.1");
        client.ask("EHLO client.example", 250);
        client
    };
    let mut clients: Vec<Client> = (0..200).map(|_| open()).collect();
    for client in clients.iter_mut().step_by(2) {
        client.ask("MAIL FROM:<smith@example.org>", 250);
    }
    let first = clients[0].shown();
    let expires = || gate.metric("gatepost_certificate_expires_seconds", &["front.pem"]);
    assert_eq!(expires(), 3_755_376_000.0, "2089-01-01");
    // Half of a pair is none, and a broken one neither.
    std::fs::write(&old.key, "-----BEGIN PRIVATE KEY-----\nAAAA\n").unwrap();
    wait_for("the broken file to be told of", PATIENCE, || {
        gate.output().contains("tls: nothing changed").then_some(())
    });
    assert_eq!(open().shown(), first);
    let new = trust.authority.server(&["127.0.0.1", "replaced"]);
    new.write(dir, "front");
    wait_for("the new certificate to be shown", PATIENCE, || {
        (open().shown() == new.chain()[0].to_vec()).then_some(())
    });
    assert_eq!(gate.output().matches("tls: nothing changed").count(), 1, "told once");
    for (place, client) in clients.iter_mut().enumerate() {
        if place % 2 == 0 {
            client.ask("RCPT TO:<jones@example.net>", 250);
            client.ask("DATA", 354);
            client.ask("Subject: kept\r\n\r\n.", 250);
        }
        assert_eq!(client.shown(), first);
        client.ask("NOOP", 250);
    }
    assert_eq!(gate.metric("gatepost_messages_total", &["outcome=\"accepted\""]), 100.0);
}

#[test]
fn a_reload_reads_the_files_at_once_and_a_broken_one_changes_nothing() {
    let trust = Trust::new();
    let files = trust.server("front");
    let gate = Gate::start_secured(&listener("implicit", &files), SINK, "");
    let shown = || {
        let mut client = Client::secure(dial(gate.listener), trust.authority.client_config(), "127.0.0.1");
        client.hear(220);
        client.shown()
    };
    let new = trust.authority.server(&["127.0.0.1"]);
    new.write(trust.scratch.path(), "front");
    gate.reload("done");
    assert_eq!(shown(), new.chain()[0].to_vec());
    std::fs::remove_file(&files.certificate).unwrap();
    gate.reload("refused");
    gate.logged(&["front.pem: cannot be read: No such file or directory"]);
    assert_eq!(shown(), new.chain()[0].to_vec());
}

#[test]
fn a_hop_whose_certificate_is_not_in_order() {
    let trust = Trust::new();
    let names = ["127.0.0.1"];
    let write = |pair: &Pair| pair.write(trust.scratch.path(), "back");
    for (pair, fault) in [
        (trust.authority.expired(&names), "certificate expired on 2020-12-31"),
        (trust.authority.server(&["other.example.net"]), "certificate is not valid for 127.0.0.1"),
        (self_signed(&names), "self-signed certificate"),
        (Authority::new("Another Root").server(&names), "unknown issuer"),
    ] {
        let hop = Gate::start_secured(&listener("starttls", &write(&pair)), SINK, "");
        let before = |tls: &str| {
            let upstream = format!("{{ hosts: [\"{}\"], tls: {tls}, health: off }}", hop.listener);
            Gate::start(&upstream, "")
        };
        let gate = before(&format!("{{ mode: required, roots: \"{}\" }}", trust.roots()));
        let reply = crate::gate::first_reply(gate.listener);
        assert!(reply.starts_with("421 4."), "{fault}: {reply}");
        wait_for(fault, PATIENCE, || gate.output().contains(fault).then_some(()));
        let gate = before("opportunistic");
        let mut client = client_of(gate.listener);
        client.ask("NOOP", 250);
        assert_eq!(gate.metric("gatepost_tls_handshakes_total", &["side=\"upstream\""]), 1.0, "{fault}");
    }
}

#[test]
fn files_that_cannot_be_used_are_errors_of_the_configuration() {
    let trust = Trust::new();
    let dir = trust.scratch.path();
    let (one, other) = (trust.server("one"), trust.server("other"));
    let mixed = Files { certificate: one.certificate.clone(), key: other.key };
    let none = Files { certificate: dir.join("none.pem"), key: one.key };
    let config = format!(
        "workers: many\nlisteners:\n  - {{ address: \"127.0.0.1:1\", tls: {} }}\n  - {{ address: \"127.0.0.1:2\", tls: {} }}\n\
         upstreams:\n  main: {{ hosts: [127.0.0.1:25], tls: {{ mode: required, roots: \"{}\" }} }}\n",
        listener("starttls", &mixed),
        listener("implicit", &none),
        dir.join("roots").display()
    );
    let path = trust.scratch.write("proxy.yaml", config);
    let mut check = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    let done = run(&trust.scratch, check.arg("check").arg("--config").arg(&path), Stdio::null(), PATIENCE);
    assert_eq!(done.status.code(), Some(2), "{}", done.stderr);
    let said = done.stderr.replace(&format!("{}/", dir.display()), "");
    for line in [
        "1: workers: expected a number, found \"many\"",
        "3: listeners[0].tls.key: other.key: is not the key of the certificate in one.pem",
        "4: listeners[1].tls.certificate: none.pem: cannot be read: No such file or directory (os error 2)",
        "6: upstreams.main.tls.roots: roots: cannot be read: No such file or directory (os error 2)",
    ] {
        // Columns depend on how long the folder's name is.
        let (place, text) = line.split_once(' ').unwrap();
        let here = |said: &str| said.starts_with(&format!("proxy.yaml:{place}")) && said.ends_with(text);
        assert!(said.lines().any(here), "{line}\n{said}");
    }
    assert_eq!(said.lines().count(), 4, "{said}");
}
