//! A hop whose TLS is not as it should be, with each mode of `upstreams.*.tls`.
//!
//! In:    one Postfix with a listener for each fault: no TLS, TLS or nothing, TLS too old, certificates that are expired,
//!        not valid yet, of nobody, of an unknown authority, for another name, of X.509 version 1, with a key that is too
//!        short.
//! Out:   sections of the table: under which TLS the mail came, or what the client was told; and what gatepost logs of it.
//! Never: has the client know: it is curl in plaintext, which speaks to gatepost only.
//!
//! RFC 8314 3 and RFC 7817 3 (whose certificate it has to be), RFC 7435 (opportunistic security).

use std::net::SocketAddr;

use libtest_mimic::Trial;
use rustix::process::Signal;

use super::behind::{Gate, MX, Pki, Plan, local, tls_listener};
use super::clients::{Client, Way};
use super::{Leg, at_the_hop, fate, table};
use crate::messages;
use crate::support::certificates::{Authority, Files, Old, old, self_signed};
use crate::support::mta::Mta as _;
use crate::support::peers::{Peer, trial};
use crate::support::postfix::{Postfix, Spec};

/// How gatepost is to speak to the hop: its name, and `tls` before the roots.
const MODES: [(&str, &str); 6] = [
    ("off", "off"),
    ("opportunistic", "opportunistic"),
    ("required", "required"),
    ("required, verify: false", "required"),
    ("implicit", "implicit"),
    ("implicit, verify: false", "implicit"),
];

/// What has OpenSSL show a certificate of old.
const OLD: &str = "may -o tls_medium_cipherlist=ALL:@SECLEVEL=0 -o tls_high_cipherlist=ALL:@SECLEVEL=0 \
                   -o smtpd_tls_mandatory_ciphers=medium";

/// The same, in TLS 1.2.
const OLD_12: &str = "may -o tls_medium_cipherlist=ALL:@SECLEVEL=0 -o tls_high_cipherlist=ALL:@SECLEVEL=0 \
                      -o smtpd_tls_mandatory_ciphers=medium -o smtpd_tls_protocols=<=TLSv1.2 \
                      -o smtpd_tls_mandatory_protocols=<=TLSv1.2";

/// A listener of the hop.
struct Fault {
    name: &'static str,
    starttls: SocketAddr,
    at_once: SocketAddr,
}

/// The sections that come of it.
pub fn titles() -> Vec<String> {
    MODES.map(|(name, _)| title(name)).to_vec()
}

fn title(mode: &str) -> String {
    format!("Faults of a hop, upstream tls: {mode}")
}

pub fn trials() -> Vec<Trial> {
    let name = |mode: &str| format!("tls::faults::{}", mode.replace(", verify: false", "_unverified"));
    let needs = [Peer::Postfix, Peer::Curl];
    MODES.into_iter().map(|(mode, word)| trial(&name(mode), needs, move || all_faults(mode, word))).collect()
}

fn all_faults(mode: &'static str, word: &str) {
    let pki = Pki::new();
    let (postfix, faults) = hop(&pki);
    let tls = match mode {
        "off" | "opportunistic" => word.to_owned(),
        _ if mode.ends_with("false") => format!("{{ mode: {word}, verify: false, server_name: {MX} }}"),
        _ => format!("{{ mode: {word}, roots: \"{}\", server_name: {MX} }}", pki.roots.display()),
    };
    let host = |fault: &Fault| if word == "implicit" { fault.at_once } else { fault.starttls };
    let message = messages::plain();
    let mut lines = Vec::new();
    for fault in &faults {
        // One for each: of more than ten such lines a second the rest would only be counted.
        let mut gate = Gate::start(&pki, &[Plan::new(Leg::Plain, host(fault), &tls)], "");
        let told = Client::Curl.send(&Way {
            leg: Leg::Plain,
            door: gate.doors[0],
            roots: &pki.roots,
            scratch: &pki.scratch,
            message: &message,
        });
        postfix.settle(0);
        let stored = postfix.take_stored();
        // The log's own thread writes by and by, and some rows have nothing to say: with the process it is whole.
        gate.gatepost.signal(Signal::TERM);
        assert_eq!(gate.gatepost.ended(), Some(0), "{}", gate.gatepost.output());
        let why = logged(&gate.gatepost.output());
        let line = format!("{:<19}{:<5}{:<22}{why}", fault.name, at_the_hop(&stored), fate(&told, &stored));
        lines.push(line.trim_end().to_owned());
    }
    table::keep(&title(mode), lines);
}

/// What gatepost's log says of TLS with the hop: of a host that is not used or spoken to in plain, or of a certificate.
fn logged(output: &str) -> String {
    let host = output.lines().find_map(|line| line.split_once(" hop 127.0.0.1:"));
    let record = output.split_once("hop_tls=\"").and_then(|(_, rest)| rest.split_once('"'));
    match (host, record) {
        (Some((_, rest)), _) => {
            let words = rest.split_once(": ").map_or(rest, |(_, words)| words);
            words.split(" session=").next().unwrap_or_default().to_owned()
        }
        // Version and suite stand before the certificate.
        (None, Some((facts, _))) => facts.find("CN=").map_or("", |at| &facts[at..]).to_owned(),
        (None, None) => String::new(),
    }
}

/// The Postfix, and its listeners.
fn hop(pki: &Pki) -> (Postfix, Vec<Fault>) {
    let dir = pki.scratch.path();
    let stranger = Authority::new("Nobody's Root");
    let write = |pair: crate::support::certificates::Pair, name: &str| pair.write(dir, name);
    let [first, short] = [Old::Version1, Old::Rsa1024].map(|kind| old(kind, MX, dir, &format!("{kind:?}")));
    let certificates: [(&'static str, Files, &str); 12] = [
        ("nothing", pki.mx.clone(), "may"),
        ("TLS or nothing", pki.mx.clone(), "encrypt"),
        (
            "TLS 1.1 at most",
            pki.mx.clone(),
            "may -o smtpd_tls_protocols=<=TLSv1.1 -o smtpd_tls_mandatory_protocols=<=TLSv1.1",
        ),
        ("expired", write(pki.authority.expired(&[MX]), "expired"), "may"),
        ("not valid yet", write(pki.authority.not_yet_valid(&[MX]), "early"), "may"),
        ("self-signed", write(self_signed(&[MX]), "self"), "may"),
        ("unknown authority", write(stranger.server(&[MX]), "stranger"), "may"),
        ("another name", write(pki.authority.server(&["mx.b.example"]), "other"), "may"),
        ("X.509 version 1", first.clone(), OLD),
        ("the same, TLS 1.2", first, OLD_12),
        ("RSA of 1024 bits", short.clone(), OLD),
        ("the same, TLS 1.2", short, OLD_12),
    ];
    let mut master_cf = String::new();
    let mut faults: Vec<Fault> = certificates
        .into_iter()
        .map(|(name, files, level)| {
            let [starttls, at_once] = [local(), local()];
            let option = format!("smtpd_tls_security_level={level}");
            master_cf += &tls_listener(starttls, &files, &option);
            master_cf += &tls_listener(at_once, &files, &format!("{option} -o smtpd_tls_wrappermode=yes"));
            Fault { name, starttls, at_once }
        })
        .collect();
    let postfix = Postfix::start(&Spec { master_cf, ..Spec::receiving("a.example") });
    let plain = postfix.address();
    faults.insert(1, Fault { name: "no TLS", starttls: plain, at_once: plain });
    (postfix, faults)
}
