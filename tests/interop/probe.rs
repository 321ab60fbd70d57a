//! `gatepost check --probe` before real MTAs: what it says of one that is well set, and of those that are not.
//!
//! In:    a Postfix, and the pool it is in.
//! Out:   trials: the report, compared with the file in `tests/interop/probe/` of the trial's name, and the exit status.
//!        `BLESS=1` rewrites the files.
//! Never: compares ports, durations or versions.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

use crate::support::mta::Mta as _;
use crate::support::peers::{Peer, trial};
use crate::support::postfix::{Postfix, Spec};
use crate::support::scratch::{PATIENCE, Scratch, run};

const TRUSTING: &str =
    "mynetworks = 127.0.0.0/8\nsmtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination";

pub fn trials() -> Vec<Trial> {
    const POSTFIX: &[Peer] = &[Peer::Postfix];
    vec![
        trial("probe::well_set", POSTFIX, || postfix("well_set", "", "identity: xclient", 0)),
        trial("probe::well_set_but_nameless", POSTFIX, || postfix("well_set_but_nameless", "", "", 0)),
        trial("probe::open_relay", POSTFIX, || postfix("open_relay", TRUSTING, "", 1)),
        trial("probe::trusts_gatepost_which_is_no_client", POSTFIX, || {
            postfix("trusts_gatepost_which_is_no_client", TRUSTING, "identity: xclient", 0);
        }),
        trial("probe::relays_for_all", POSTFIX, || {
            let all = "mynetworks = 0.0.0.0/0\nsmtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination";
            postfix("relays_for_all", all, "identity: xclient", 1);
        }),
        trial("probe::refuses_xclient", POSTFIX, || {
            postfix("refuses_xclient", "smtpd_authorized_xclient_hosts =", "identity: xclient", 1);
        }),
        trial("probe::refuses_xforward", POSTFIX, || {
            let pool = "identity: xforward, identity_required: false";
            postfix("refuses_xforward", "smtpd_authorized_xforward_hosts =", pool, 1);
        }),
    ]
}

fn postfix(name: &str, main_cf: &'static str, pool: &str, status: i32) {
    let postfix = Postfix::start(&Spec { main_cf, ..Spec::receiving("a.example") });
    compare(name, &probe(postfix.address(), pool), status);
    postfix.settle(1);
    assert!(postfix.stored_raw().is_empty() && postfix.queued() == 0, "no mail is sent\n{}", postfix.log());
}

/// The report, and the exit status.
fn probe(host: SocketAddr, pool: &str) -> (String, Option<i32>) {
    let scratch = Scratch::new("probe");
    let config = format!(
        "hostname: gate.example\nlisteners:\n  - {{ address: 0.0.0.0:25, upstream: main }}\n\
         upstreams:\n  main: {{ hosts: [\"{host}\"], {pool} }}\n"
    );
    let config = scratch.write("proxy.yaml", config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(["check", "--probe", "--config"]).arg(config);
    let done = run(&scratch, &mut command, Stdio::null(), PATIENCE);
    let said = done.stdout.replace(&host.to_string(), "HOST");
    let said: Vec<&str> = said
        .lines()
        .map(|line| if line.trim_start().starts_with("reached") { "  reached     in N ms" } else { line })
        .collect();
    (said.join("\n") + "\n", done.status.code())
}

fn compare(name: &str, (said, ended): &(String, Option<i32>), status: i32) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/interop/probe/{name}.txt"));
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, said).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(*said == expected, "expected:\n{expected}\nheard:\n{said}");
    assert_eq!(*ended, Some(status), "{said}");
}
