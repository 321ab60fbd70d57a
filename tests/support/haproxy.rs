//! A private HAProxy in front of gatepost, which says by a PROXY header who the client is.
//!
//! In:    where gatepost listens, what its `server` line says besides, a certificate if clients come under TLS.
//! Out:   a running balancer on a loopback port.
//! Never: looks into what it passes on; asks for mail.
//!
//! HAProxy's configuration manual, 5.2 (`send-proxy`, `send-proxy-v2`, `check`).

use std::fs;
use std::net::SocketAddr;

use super::leash::Leash;
use super::scratch::{PATIENCE, Scratch, free_port, is_listened_at, wait_for};

pub struct Haproxy {
    // First, so that it has ended before its directory goes.
    _leash: Leash,
    scratch: Scratch,
    address: SocketAddr,
}

impl Haproxy {
    /// Starts one before `gate` and waits until it listens. `pem`: a chain and its key, if clients come under TLS.
    pub fn start(gate: SocketAddr, says: &str, pem: Option<&str>) -> Self {
        let scratch = Scratch::new("haproxy");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let secured = pem.map_or_else(String::new, |pem| {
            let file = scratch.write("pair.pem", pem);
            format!(" ssl crt {}", file.display())
        });
        let configuration = format!(
            "global\n  maxconn 100\n  nbthread 1\n\
             defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
             frontend clients\n  bind {address}{secured}\n  unique-id-format %ci-%cp\n  default_backend gate\n\
             backend gate\n  server gate {gate} {says}\n"
        );
        let file = scratch.write("haproxy.cfg", configuration);
        let output = scratch.path().join("output");
        let leash =
            Leash::start(["haproxy".as_ref(), "-db".as_ref(), "-f".as_ref(), file.as_os_str()], &output);
        let haproxy = Self { _leash: leash, scratch, address };
        wait_for("HAProxy to listen", PATIENCE, || is_listened_at(address).then_some(()));
        haproxy
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = fs::read(self.scratch.path().join("output")).unwrap_or_default();
            eprintln!("--- HAProxy at {}\n{}", self.address, String::from_utf8_lossy(&output));
        }
    }
}
