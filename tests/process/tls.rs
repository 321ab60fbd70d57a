//! TLS on either side of the running program.
//!
//! In:    certificates of an authority made for the test; clients and hops that speak TLS, well or badly.
//! Out:   what an administrator, a client and a hop see of it.
//! Never: trusts an authority of this machine.
//!
//! `modes`: who speaks TLS with whom. `attacks`: octets where none may be, handshakes that end or never do. `files`:
//! certificates that are wrong, and that are replaced.

#[path = "tls/attacks.rs"]
mod attacks;
#[path = "tls/client.rs"]
mod client;
#[path = "tls/files.rs"]
mod files;
#[path = "tls/modes.rs"]
mod modes;

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection};

use crate::certificates::{Authority, Files, Pair, self_signed};
use crate::scratch::Scratch;

/// An authority, and where its certificates lie.
pub struct Trust {
    pub authority: Authority,
    pub scratch: Scratch,
}

impl Trust {
    pub fn new() -> Self {
        Self { authority: Authority::new("Example Root"), scratch: Scratch::new("tls") }
    }

    /// A server's for the loopback address, and these.
    pub fn server(&self, name: &str) -> Files {
        self.authority.server(&["127.0.0.1", name]).write(self.scratch.path(), name)
    }

    /// Whom to trust.
    pub fn roots(&self) -> String {
        self.authority.write(self.scratch.path(), "roots").display().to_string()
    }
}

/// `tls` of a listener.
pub fn listener(mode: &str, files: &Files) -> String {
    let Files { certificate, key } = files;
    format!("{{ mode: {mode}, certificate: \"{}\", key: \"{}\" }}", certificate.display(), key.display())
}

/// A handshake in memory.
fn handshake(authority: &Authority, pair: &Pair, name: &'static str) -> io::Result<()> {
    let name = ServerName::try_from(name).unwrap();
    let mut client = ClientConnection::new(Arc::new(authority.client_config()), name).unwrap();
    let mut server = ServerConnection::new(pair.server_config()).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut octets = Vec::new();
        client.write_tls(&mut octets)?;
        server.read_tls(&mut &octets[..])?;
        server.process_new_packets().map_err(io::Error::other)?;
        octets.clear();
        server.write_tls(&mut octets)?;
        client.read_tls(&mut &octets[..])?;
        client.process_new_packets().map_err(io::Error::other)?;
    }
    Ok(())
}

#[test]
fn the_certificates_of_these_tests_are_what_they_are_called() {
    let authority = Authority::new("Example Root");
    let names = ["mx.example.net", "*.example.org", "127.0.0.1"];
    for (pair, name) in [
        (authority.server(&names), "mx.example.net"),
        (authority.server_rsa(&names), "a.example.org"),
        (authority.server(&names), "127.0.0.1"),
    ] {
        handshake(&authority, &pair, name).unwrap();
    }
    for (pair, wrong) in [
        (authority.expired(&names), "certificate expired"),
        (authority.not_yet_valid(&names), "certificate not valid yet"),
        (self_signed(&names), "UnknownIssuer"),
        (Authority::new("Another").server(&names), "UnknownIssuer"),
        (authority.server(&["other.example.net"]), "certificate not valid for name"),
    ] {
        let error = handshake(&authority, &pair, "mx.example.net").unwrap_err().to_string();
        assert!(error.contains(wrong), "{error}: {wrong}");
    }
}
