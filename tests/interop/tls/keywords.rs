//! What EHLO shows on each leg: STARTTLS, AUTH and SIZE, before and under TLS; and that they mean what they say.
//!
//! In:    the doors of gatepost before an MTA that has all three.
//! Out:   a line for each leg.
//! Never: takes a keyword for a fact: AUTH is said, with a password, and a message too large is announced.
//!
//! RFC 3207 4.2 (EHLO anew), RFC 4954 4 (AUTH), RFC 1870 6.1 (SIZE).

use std::process::{Command, Stdio};

use super::behind::{Gate, Pki};
use super::{LEGS, Leg};
use crate::support::peers::{find, found};
use crate::support::scratch::{PATIENCE, run};

/// Its arguments: roots, host, port, leg.
const SCRIPT: &str = include_str!("keywords.py");

pub fn lines(pki: &Pki, gate: &Gate) -> Vec<String> {
    let line = |(leg, door): (Leg, &std::net::SocketAddr)| {
        let mut command = Command::new(find("/usr/bin/python3").unwrap_or_else(|| found("python3")));
        command.args(["-I", "-c", SCRIPT]).arg(&pki.roots);
        command.args([&door.ip().to_string(), &door.port().to_string(), leg.name()]);
        let done = run(&pki.scratch, &mut command, Stdio::null(), PATIENCE);
        assert!(done.status.success(), "{}{}", done.stdout, done.stderr);
        format!("{:<11}EHLO       {}", leg.name(), done.stdout.trim())
    };
    LEGS.into_iter().zip(&gate.doors).map(line).collect()
}
