//! A private nginx before a service of callouts: TLS, client certificates, HTTP/2.
//!
//! In:    where the service is; what nginx shows, whom it believes, whether it offers HTTP/2.
//! Out:   a running nginx on a loopback port, and what its log says of each question.
//! Never: takes a client without a certificate; touches the system's own nginx.
//!
//! nginx's modules http_ssl (`ssl_verify_client`), http_v2, http_log.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::support::certificates::Files;
use crate::support::leash::Leash;
use crate::support::peers::found;
use crate::support::scratch::{PATIENCE, Scratch, free_port, is_listened_at, wait_for};

/// One line for each question: protocol, the client's certificate, whether it was vouched for, status, connection.
const FORMAT: &str = "$server_protocol $ssl_client_s_dn $ssl_client_verify $status $connection";

pub struct Nginx {
    // First, so that it has ended before its directory goes.
    _leash: Leash,
    scratch: Scratch,
    address: SocketAddr,
}

impl Nginx {
    /// Starts one before the service at `port` and waits until it listens.
    pub fn start(port: u16, shows: &Files, believes: &Path, http2: bool) -> Self {
        let scratch = Scratch::new("nginx");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let here = scratch.path().display();
        let (certificate, key) = (shows.certificate.display(), shows.key.display());
        let http2 = if http2 { " http2" } else { "" };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("  {what}_temp_path {here}/{what};\n"))
            .concat();
        let configuration = format!(
            "daemon off;\nworker_processes 1;\npid {here}/pid;\nerror_log stderr;\nevents {{}}\n\
             http {{\n{temporary}  log_format questions '{FORMAT}';\n  access_log {here}/access.log questions;\n\
             \x20 server {{\n    listen {address} ssl{http2};\n    ssl_certificate {certificate};\n    \
             ssl_certificate_key {key};\n    ssl_client_certificate {believes};\n    ssl_verify_client on;\n    \
             location / {{ proxy_pass http://127.0.0.1:{port}; }}\n  }}\n}}\n",
            believes = believes.display()
        );
        let file = scratch.write("nginx.conf", configuration);
        let output = scratch.path().join("output");
        let program = found("nginx");
        let leash = Leash::start([program.as_os_str(), "-c".as_ref(), file.as_os_str()], &output);
        let nginx = Self { _leash: leash, scratch, address };
        wait_for("nginx to listen", PATIENCE, || is_listened_at(address).then_some(()));
        nginx
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has written of its first `count` questions: it does so once each was answered.
    pub fn questions(&self, count: usize) -> Vec<String> {
        wait_for("nginx to have written it down", PATIENCE, || {
            let log = fs::read_to_string(self.scratch.path().join("access.log")).ok()?;
            let lines: Vec<String> = log.lines().map(str::to_owned).collect();
            (lines.len() >= count && log.ends_with('\n')).then_some(lines)
        })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = fs::read(self.scratch.path().join("output")).unwrap_or_default();
            eprintln!("--- nginx at {}\n{}", self.address, String::from_utf8_lossy(&output));
        }
    }
}
