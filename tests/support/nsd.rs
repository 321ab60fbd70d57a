//! A private NSD.
//!
//! In:    the zone `example`, and `2.0.192.in-addr.arpa`.
//! Out:   a name server on loopback that has it; `broken` it is meant to have and has not: SERVFAIL. Of
//!        anything else it wants to know nothing: REFUSED.
//! Never: outlives the test process: its leash is a pipe that closes with it.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::scratch::{PATIENCE, Scratch, free_port, wait_child, wait_for};

pub struct Nsd {
    scratch: Scratch,
    pub address: SocketAddr,
    leash: Option<Child>,
}

impl Nsd {
    pub fn start(zone: &str) -> Self {
        Self::start_with(zone, "")
    }

    /// One that also has the names of 192.0.2.0/24.
    pub fn start_with(zone: &str, reverse: &str) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], free_port())), zone, reverse)
    }

    /// One at the port where every program looks for it, and an address for it.
    pub fn start_well_known(zone: &str) -> Self {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        Self::start_at(SocketAddr::from(([127, 53, high, low], 53)), zone, "")
    }

    fn start_at(address: SocketAddr, zone: &str, reverse: &str) -> Self {
        let scratch = Scratch::new("nsd");
        let dir = scratch.path().display().to_string();
        scratch.write("example.zone", zone);
        scratch.write("reverse.zone", reverse);
        let config = format!(
            "server:\n  ip-address: {}@{}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{dir}\"\n  \
             database: \"\"\n  pidfile: \"{dir}/nsd.pid\"\n  xfrdfile: \"{dir}/xfrd.state\"\n  \
             zonelistfile: \"{dir}/zone.list\"\n  logfile: \"{dir}/nsd.log\"\n  verbosity: 2\n  server-count: 1\n\
             remote-control:\n  control-enable: no\n\
             zone:\n  name: example\n  zonefile: example.zone\nzone:\n  name: broken\n  zonefile: none.zone\n\
             zone:\n  name: 2.0.192.in-addr.arpa\n  zonefile: reverse.zone\n",
            address.ip(),
            address.port()
        );
        let config = scratch.write("nsd.conf", config);
        // `cat` ends when the other end of its input closes: by our hand, or because this process is gone.
        let leashed = "nsd -d -c \"$0\" </dev/null & p=$!; cat >/dev/null; kill -TERM \"$p\"; wait \"$p\"";
        let output = fs::File::create(scratch.path().join("output")).unwrap();
        let leash = Command::new("sh")
            .args(["-c", leashed])
            .arg(config)
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let nsd = Self { scratch, address, leash: Some(leash) };
        wait_for("NSD to start", PATIENCE, || nsd.log().contains("nsd started").then_some(()));
        nsd
    }

    /// Serves another zone from now on.
    pub fn change(&self, zone: &str) {
        let read = || self.log().matches("zone example read with success").count();
        let before = read();
        self.scratch.write("example.zone", zone);
        let pid = fs::read_to_string(self.scratch.path().join("nsd.pid")).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        wait_for("NSD to read its zone", PATIENCE, || {
            // It looks at the file's time, which has not the finest grain.
            kill_process(pid, Signal::HUP).unwrap();
            std::thread::park_timeout(Duration::from_millis(100));
            (read() > before).then_some(())
        });
    }

    /// Ends it.
    pub fn stop(&mut self) {
        if let Some(mut leash) = self.leash.take() {
            drop(leash.stdin.take());
            // At the end of a test an error here has nobody left to hear it.
            let _ = wait_child("NSD", &mut leash, Duration::from_secs(10));
        }
    }

    fn log(&self) -> String {
        let read = |name: &str| fs::read(self.scratch.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[read("nsd.log"), read("output")].concat()).into_owned()
    }

    /// What a `proxy.yaml` says to ask it.
    pub fn dns(&self) -> String {
        format!("dns: {{ servers: [\"{}\"] }}\n", self.address)
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of NSD at {}\n{}", self.address, self.log());
        }
        self.stop();
    }
}
