//! `gatepost check --probe` before real MTAs: what it says of one that is well set, and of those that are not.
//!
//! In:    a Postfix or a Dovecot, and the pool it is in.
//! Out:   trials: the report, compared with the file in `tests/interop/probe/` of the trial's name, and the exit status.
//!        `BLESS=1` rewrites the files.
//! Never: compares ports, durations or versions.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

use crate::support::certificates::{Authority, Pair};
use crate::support::dovecot::Dovecot;
use crate::support::mta::Mta as _;
use crate::support::peers::{Peer, trial};
use crate::support::postfix::{Postfix, Spec};
use crate::support::scratch::{PATIENCE, Scratch, free_port, run};

const TRUSTING: &str =
    "mynetworks = 127.0.0.0/8\nsmtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination";

/// The certificate that a host shows, of an authority that its pool trusts or of another.
type Shown = fn(&Authority) -> Pair;

pub fn trials() -> Vec<Trial> {
    const POSTFIX: &[Peer] = &[Peer::Postfix];
    let secured: [(&str, Shown, &str, i32); 6] = [
        ("well_set_under_tls", |ours| ours.server(&["mx.a.example", "mail.a.example"]), "mode: required", 0),
        ("expired_certificate", |ours| ours.expired(&["mx.a.example"]), "mode: required", 1),
        ("other_name", |ours| ours.server(&["mx.b.example"]), "mode: required", 1),
        ("unknown_issuer", |_| Authority::new("Theirs").server(&["mx.a.example"]), "mode: required", 1),
        (
            "expired_but_not_verified",
            |ours| ours.expired(&["mx.a.example"]),
            "mode: required, verify: false",
            0,
        ),
        ("expired_but_opportunistic", |ours| ours.expired(&["mx.a.example"]), "mode: opportunistic", 0),
    ];
    let mut trials: Vec<Trial> = secured
        .into_iter()
        .map(|(name, pair, tls, status)| {
            trial(&format!("probe::{name}"), POSTFIX, move || under_tls(name, pair, "", tls, status))
        })
        .collect();
    trials.extend([
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
        trial("probe::takes_proxy_headers", POSTFIX, || {
            let main_cf = "smtpd_upstream_proxy_protocol = haproxy";
            postfix("takes_proxy_headers", main_cf, "identity: proxy_v1", 0);
        }),
        trial("probe::takes_no_proxy_header", POSTFIX, || {
            postfix("takes_no_proxy_header", "", "identity: proxy_v1", 1);
        }),
        trial("probe::takes_no_proxy_header_of_version_2", POSTFIX, || {
            postfix("takes_no_proxy_header_of_version_2", "", "identity: proxy_v2", 1);
        }),
        trial("probe::waits_for_a_proxy_header", POSTFIX, || {
            let main_cf = "smtpd_upstream_proxy_protocol = haproxy";
            postfix("waits_for_a_proxy_header", main_cf, "identity: xclient", 1);
        }),
        trial("probe::waits_for_a_proxy_header_before_tls", POSTFIX, || {
            let ours = "smtpd_upstream_proxy_protocol = haproxy\nsmtpd_tls_wrappermode = yes\n";
            let right = |ours: &Authority| ours.server(&["mx.a.example"]);
            under_tls("waits_for_a_proxy_header_before_tls", right, ours, "mode: implicit", 1);
        }),
        trial("probe::waits_for_a_proxy_header_before_lmtp", [Peer::Dovecot], || {
            let store = Dovecot::start(&["jones"]);
            let said = probe(store.proxied(), "protocol: lmtp, identity: xclient");
            compare("waits_for_a_proxy_header_before_lmtp", &said, 1);
            assert!(store.stored().is_empty(), "no mail is sent\n{}", store.log());
        }),
        trial("probe::without_starttls", POSTFIX, || {
            postfix("without_starttls", "", "tls: { mode: required, verify: false }", 1);
        }),
        trial("probe::plain_where_tls_is_implicit", POSTFIX, || {
            let pool = "tls: { mode: implicit, verify: false }";
            postfix("plain_where_tls_is_implicit", "", pool, 1);
        }),
        trial("probe::nobody_there", [], || {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            compare("nobody_there", &probe(address, ""), 1);
        }),
    ]);
    trials
}

/// A Postfix that shows such a certificate and has `more` in its `main.cf`, in a pool that trusts `ours` alone.
fn under_tls(name: &str, pair: Shown, more: &str, tls: &str, status: i32) {
    let scratch = Scratch::new("probe-tls");
    let ours = Authority::new("Ours");
    let files = pair(&ours).write(scratch.path(), "mx");
    let roots = ours.write(scratch.path(), "roots");
    let main_cf = format!(
        "{more}smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {}, {}",
        files.key.display(),
        files.certificate.display()
    );
    let roots = match tls.contains("verify") || tls.contains("opportunistic") {
        true => String::new(),
        false => format!(", roots: {}", roots.display()),
    };
    let pool = format!("identity: xclient, tls: {{ {tls}{roots}, server_name: mx.a.example }}");
    postfix(name, main_cf.leak(), &pool, status);
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
        .map(|line| match line.split_whitespace().next() {
            Some("reached") => "  reached     in N ms",
            // Each run makes its own.
            Some("key") => "  key         sha256:N",
            _ => line,
        })
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
