//! What sslscan(1) finds at gatepost's own doors.
//!
//! In:    a listener with STARTTLS and one with implicit TLS, with an ECDSA and an RSA certificate.
//! Out:   sections of the table: versions and cipher suites.
//! Never: takes the table's word for it: what is below TLS 1.2, not authenticated encryption, or without forward
//!        secrecy fails, whatever the table says.
//!
//! RFC 8996 (TLS 1.0 and 1.1 are not to be used), RFC 9325 4.2 (which suites are).

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Leg;
use super::behind::{Gate, Pki, Plan};
use super::table;
use crate::support::peers::found;
use crate::support::scratch::run;

/// It connects a hundred times, one after the other.
const PATIENCE: Duration = Duration::from_secs(120);

/// The sections that come of it.
pub fn titles() -> Vec<String> {
    ["ECDSA", "RSA"]
        .into_iter()
        .flat_map(|key| [Leg::StartTls, Leg::Implicit].map(|leg| title(leg, key)))
        .collect()
}

fn title(leg: Leg, key: &str) -> String {
    format!("sslscan at a door with {}, {key}", leg.name())
}

pub fn nothing_weak() {
    let mut pki = Pki::new();
    for key in ["ECDSA", "RSA"] {
        if key == "RSA" {
            pki.gate = pki.authority.server_rsa(&["gate.example"]).write(pki.scratch.path(), "rsa");
        }
        let legs = [Leg::StartTls, Leg::Implicit];
        let gate = Gate::start(&pki, &legs.map(|leg| Plan { leg, pool: "{ sink: ./mail }".to_owned() }), "");
        for (leg, door) in legs.into_iter().zip(&gate.doors) {
            table::keep(&title(leg, key), scan(&pki, leg, *door));
        }
    }
}

fn scan(pki: &Pki, leg: Leg, door: SocketAddr) -> Vec<String> {
    let mut command = Command::new(found("sslscan"));
    command.args(["--xml=-", "--no-check-certificate"]);
    if leg == Leg::StartTls {
        command.arg("--starttls-smtp");
    }
    let done = run(&pki.scratch, command.arg(door.to_string()), Stdio::null(), PATIENCE);
    assert!(done.status.success(), "{}{}", done.stdout, done.stderr);
    let mut lines = Vec::new();
    for element in done.stdout.lines().map(str::trim) {
        let value = |name| attribute(element, name);
        if element.starts_with("<protocol ") && value("enabled") == "1" {
            assert!(value("type") == "tls" && ["1.2", "1.3"].contains(&value("version")), "{element}");
            lines.push(format!("TLS {}", value("version")));
        }
        if element.starts_with("<cipher ") {
            let name = value("cipher");
            let is_aead = name.contains("GCM") || name.contains("CHACHA20");
            let is_ephemeral = name.starts_with("ECDHE-") || name.starts_with("TLS_");
            assert!(is_aead && is_ephemeral, "{element}");
            lines.push(format!("{} {name}", value("sslversion").replace("TLSv", "TLS ")));
        }
        assert!(!element.contains("vulnerable=\"1\""), "{element}");
        assert!(!element.starts_with("<compression supported=\"1\""), "{element}");
    }
    assert!(lines.len() > 2, "it found something:\n{}", done.stdout);
    lines
}

fn attribute<'a>(element: &'a str, name: &str) -> &'a str {
    let rest = element.split_once(&format!(" {name}=\"")).map_or("", |(_, rest)| rest);
    rest.split('"').next().unwrap_or_default()
}
