//! gatepost as these tests start it.
//!
//! In:    its listeners, and where mail goes; a command that ends in gatepost.
//! Out:   a running one, or its configuration only.
//! Never: a port anybody else has.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::gatepost::Gatepost;
use crate::support::scratch::{Scratch, free_port};

pub const BINARY: &str = env!("CARGO_BIN_EXE_gatepost");

/// Where mail goes.
pub const SINK: &str = "upstreams: { main: { sink: ./mail } }\n";

pub fn plain() -> Command {
    let mut command = Command::new(BINARY);
    command.arg("run").stdin(Stdio::null());
    command
}

/// Runs gatepost by this command, with these listeners before `main`, of which `more` tells.
pub fn start(scratch: Scratch, mut command: Command, listeners: &[SocketAddr], more: &str) -> Gatepost {
    let admin = free_address();
    command.arg("--config").arg(configuration(&scratch, listeners, admin, more));
    Gatepost::start_with(scratch, command, listeners[0], admin)
}

pub fn configuration(scratch: &Scratch, listeners: &[SocketAddr], admin: SocketAddr, more: &str) -> PathBuf {
    let listeners: Vec<String> = listeners.iter().map(|listener| format!("\"{listener}\"")).collect();
    let listeners = listeners.join(", ");
    scratch.write(
        "proxy.yaml",
        format!(
            "hostname: gate.example\nlisteners: [{{ address: [{listeners}], upstream: main }}]\n\
             admin: {{ address: {admin} }}\ncontent: {{ spool: . }}\n{more}"
        ),
    )
}

pub fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}
