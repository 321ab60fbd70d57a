//! A fresh clone, nothing configured: the binary in an empty directory.
//!
//! In:    no arguments, no file, no Postfix; curl with a file whose lines end in CRLF.
//! Out:   the trial: it says where it listens and how to try it, takes the mail, stores the octets as they were sent,
//!        and has counted it.
//! Never: expects anything but the defaults. Where their ports are taken by somebody else the addresses are moved,
//!        and nothing else.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use libtest_mimic::Trial;

use crate::messages;
use crate::support::clients::curl;
use crate::support::gatepost::{Gatepost, only_file};
use crate::support::peers::{Peer, trial};
use crate::support::scratch::{PATIENCE, Scratch, free_port, wait_for};

pub fn trials() -> Vec<Trial> {
    vec![trial("bare::curl_into_the_sink", [Peer::Curl], curl_into_the_sink)]
}

fn curl_into_the_sink() {
    let defaults = [2525, 9025].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let gatepost = if defaults.iter().all(|address| TcpListener::bind(address).is_ok()) {
        Gatepost::start_bare(defaults[0], defaults[1])
    } else {
        moved()
    };
    let listener = gatepost.listener().to_string();
    wait_for("it to say where it listens, and how to try it", PATIENCE, || {
        let said = gatepost.output();
        (said.contains(&listener) && said.contains("curl ")).then_some(())
    });

    let message = messages::dots();
    let file = gatepost.scratch().write("FILE", &message);
    let outcome =
        curl(gatepost.scratch(), gatepost.listener(), "a@example.org", &["b@example.net"], &file, &[]);
    assert!(outcome.contains("exit status: 0"), "{outcome}");
    let stored = wait_for("the message in the Maildir", PATIENCE, || {
        only_file(&gatepost.cwd().join("mail").join("new"))
    });
    assert!(stored == message.as_bytes(), "FILE's octets: {}", String::from_utf8_lossy(&stored));
    wait_for("the message to be counted", PATIENCE, || {
        (gatepost.metric("gatepost_messages_total", &["outcome=\"accepted\""]) == 1.0).then_some(())
    });
}

/// The same, elsewhere.
fn moved() -> Gatepost {
    let [listener, admin] = [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let scratch = Scratch::new("moved");
    let config = format!(
        "listeners:\n  - {{ address: {listener}, upstream: main }}\nupstreams:\n  main: {{ sink: ./mail }}\n"
    );
    scratch.make_dir("cwd");
    let path = scratch.write("cwd/proxy.yaml", config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(["run", "--config"]).arg(path).env("GATEPOST__ADMIN__ADDRESS", admin.to_string());
    Gatepost::start_with(scratch, command, listener, admin)
}
