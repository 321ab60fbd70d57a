//! The MTAs behind, each with a port for STARTTLS and one for TLS from the first octet; and gatepost before one of them.
//!
//! In:    an MTA, certificates; for each door of gatepost how a client enters and how the hop is spoken to.
//! Out:   both running.
//! Never: has an MTA insist on TLS: whether mail goes under TLS is gatepost's doing, which the MTA then writes down.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::Leg;
use crate::matrix::Behind;
use crate::support::certificates::{Authority, Files};
use crate::support::exim::Exim;
use crate::support::gatepost::Gatepost;
use crate::support::mta::Mta;
use crate::support::opensmtpd::OpenSmtpd;
use crate::support::postfix::{Postfix, Spec};
use crate::support::scratch::{Scratch, free_port};

/// The name that an MTA's certificate is for.
pub const MX: &str = "mx.a.example";

/// Who vouches, and what gatepost and the MTA show.
pub struct Pki {
    pub scratch: Scratch,
    pub authority: Authority,
    pub roots: PathBuf,
    pub gate: Files,
    pub mx: Files,
}

/// An MTA and its doors.
pub struct Hop {
    pub mta: Box<dyn Mta>,
    pub starttls: SocketAddr,
    pub at_once: SocketAddr,
}

/// A listener of gatepost, and where it leads.
pub struct Plan {
    pub leg: Leg,
    /// The pool behind it, in YAML.
    pub pool: String,
}

impl Plan {
    /// Before one host, which is spoken to as `tls` says.
    pub fn new(leg: Leg, host: SocketAddr, tls: &str) -> Self {
        Self { leg, pool: format!("{{ hosts: [\"{host}\"], health: off, tls: {tls} }}") }
    }
}

/// gatepost and its doors, in the order of the plans.
pub struct Gate {
    pub gatepost: Gatepost,
    pub doors: Vec<SocketAddr>,
}

impl Pki {
    pub fn new() -> Self {
        let scratch = Scratch::new("pki");
        let authority = Authority::new("Interop Root");
        let dir = scratch.path();
        let roots = authority.write(dir, "roots");
        let gate = authority.server(&["gate.example", "127.0.0.1"]).write(dir, "gate");
        let mx = authority.server(&[MX]).write(dir, "mx");
        Self { authority, roots, gate, mx, scratch }
    }
}

impl Hop {
    pub fn start(behind: Behind, pki: &Pki) -> Self {
        match behind {
            Behind::Postfix => {
                let [starttls, at_once] = [local(), local()];
                let master_cf = tls_listener(starttls, &pki.mx, "smtpd_tls_security_level=may")
                    + &tls_listener(at_once, &pki.mx, "smtpd_tls_wrappermode=yes");
                let spec = Spec { sasl: true, master_cf, ..Spec::receiving("a.example") };
                Self { mta: Box::new(Postfix::start(&spec)), starttls, at_once }
            }
            Behind::Exim => {
                let exim = Exim::start_tls(&pki.mx);
                Self { starttls: exim.address(), at_once: exim.at_once(), mta: Box::new(exim) }
            }
            Behind::OpenSmtpd => {
                let opensmtpd = OpenSmtpd::start_tls(&pki.mx);
                Self { starttls: opensmtpd.address(), at_once: opensmtpd.at_once(), mta: Box::new(opensmtpd) }
            }
        }
    }
}

impl Gate {
    /// gatepost with a door for each of these; `more` is appended to the configuration.
    pub fn start(pki: &Pki, plans: &[Plan], more: &str) -> Self {
        let scratch = Scratch::new("gate");
        let admin = local();
        let (mut listeners, mut pools, mut doors) = (String::new(), String::new(), Vec::new());
        for (number, Plan { leg, pool }) in plans.iter().enumerate() {
            let door = local();
            let pair = || {
                let (certificate, key) = (pki.gate.certificate.display(), pki.gate.key.display());
                format!(", certificate: \"{certificate}\", key: \"{key}\"")
            };
            let ours = match leg {
                Leg::Plain => "off".to_owned(),
                Leg::StartTls => format!("{{ mode: starttls{} }}", pair()),
                Leg::Implicit => format!("{{ mode: implicit{} }}", pair()),
            };
            let _ = writeln!(listeners, "  - {{ address: \"{door}\", upstream: p{number}, tls: {ours} }}");
            let _ = writeln!(pools, "  p{number}: {pool}");
            doors.push(door);
        }
        let config = format!(
            "hostname: gate.example\nlisteners:\n{listeners}upstreams:\n{pools}admin: {{ address: \"{admin}\" }}\n\
             content: {{ spool: {} }}\n{more}",
            scratch.path().display()
        );
        let path = scratch.write("proxy.yaml", config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.arg("run").arg("--config").arg(path).stdin(Stdio::null());
        Self { gatepost: Gatepost::start_with(scratch, command, doors[0], admin), doors }
    }
}

/// An entry of Postfix's `master.cf`: a listener with a certificate, which writes the TLS it had into the mail.
pub fn tls_listener(address: SocketAddr, pair: &Files, option: &str) -> String {
    format!(
        "{address} inet n - n - - smtpd\n  -o {option} -o smtpd_tls_received_header=yes\n  \
         -o {{ smtpd_tls_chain_files = {}, {} }}\n",
        pair.key.display(),
        pair.certificate.display()
    )
}

pub fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}
