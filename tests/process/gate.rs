//! The program under test, with a hand on its signals, its file and its exit status.
//!
//! In:    what `proxy.yaml` says of its upstream `main`, and whatever else it says.
//! Out:   a running gatepost that is ready, its log, its metrics, the status it ends with.
//! Never: leaves the process behind; connects to a listener to see whether it is up (`/readyz` says so).

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::raw::Raw;
use crate::scratch::{PATIENCE, Scratch, free_port, wait_child, wait_for};

/// An upstream that takes all mail.
pub const SINK: &str = "{ sink: ./mail }";

pub struct Gate {
    scratch: Scratch,
    child: Option<Child>,
    /// Its first listener.
    pub listener: SocketAddr,
    pub admin: SocketAddr,
    /// What else its listeners' entries say.
    listening: String,
}

impl Gate {
    /// Starts it with one listener before `upstream`; `more` is the rest of the file.
    pub fn start(upstream: &str, more: &str) -> Self {
        Self::start_at(free_address(), upstream, more)
    }

    /// The same, listening there.
    pub fn start_at(listener: SocketAddr, upstream: &str, more: &str) -> Self {
        Self::run(listener, "", upstream, more, |_| ())
    }

    /// Starts it with this `tls` of its listener.
    pub fn start_secured(tls: &str, upstream: &str, more: &str) -> Self {
        Self::run(free_address(), &format!(", tls: {tls}"), upstream, more, |_| ())
    }

    /// Starts it with more keys for its listener, such as `, auth: off`.
    pub fn start_with(keys: &str, upstream: &str, more: &str) -> Self {
        Self::run(free_address(), keys, upstream, more, |_| ())
    }

    /// Starts it with the arguments, variables and standard output that `with` gives it.
    pub fn start_as(upstream: &str, more: &str, with: impl FnOnce(&mut Command)) -> Self {
        Self::run(free_address(), "", upstream, more, with)
    }

    fn run(
        listener: SocketAddr,
        listening: &str,
        upstream: &str,
        more: &str,
        with: impl FnOnce(&mut Command),
    ) -> Self {
        let (scratch, listening) = (Scratch::new("process"), listening.to_owned());
        let mut gate = Self { scratch, child: None, listener, admin: free_address(), listening };
        let config = gate.write(&[listener], upstream, more);
        let output = fs::File::create(gate.scratch.path().join("output")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.arg("--config").arg(config).current_dir(gate.scratch.path());
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        with(&mut command);
        gate.child = Some(command.spawn().unwrap());
        wait_for("gatepost to be ready", PATIENCE, || {
            let ended = gate.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "gatepost ended at once: {ended:?}\n{}", gate.output());
            gate.http("/readyz").starts_with("HTTP/1.1 200").then_some(())
        });
        gate
    }

    /// Writes its file and says where.
    pub fn write(&self, listeners: &[SocketAddr], upstream: &str, more: &str) -> PathBuf {
        let yaml = yaml(listeners, self.admin, upstream, more);
        let yaml = yaml.replace(", upstream: main }", &format!(", upstream: main{} }}", self.listening));
        self.scratch.write("proxy.yaml", yaml)
    }

    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it has not ended yet");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// No file that it writes may have more octets (setrlimit(2), RLIMIT_FSIZE).
    pub fn limit_files(&self, octets: u64) {
        let child = self.child.as_ref().expect("it has not ended yet");
        let limit = Rlimit { current: Some(octets), maximum: None };
        prlimit(Some(Pid::from_child(child)), Resource::Fsize, limit).unwrap();
    }

    /// Has it read its file again, and waits until it has: `outcome` is what the metrics should call it.
    pub fn reload(&self, outcome: &str) {
        let label = format!("outcome=\"{outcome}\"");
        let reloads = || self.metric("gatepost_reloads_total", &[&label]);
        let before = reloads();
        self.signal(Signal::HUP);
        wait_for(&format!("the reload to be {outcome}"), PATIENCE, || (reloads() > before).then_some(()));
    }

    /// Waits for its end and says with which status.
    pub fn status(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it ends once");
        wait_child("gatepost", &mut child, PATIENCE).unwrap().code()
    }

    /// Its standard output, where that is a pipe; once.
    pub fn stdout(&mut self) -> ChildStdout {
        self.child.as_mut().and_then(|child| child.stdout.take()).expect("its standard output is a pipe")
    }

    /// What it has written to standard output and standard error: whole lines.
    pub fn output(&self) -> String {
        let octets = fs::read(self.scratch.path().join("output")).unwrap_or_default();
        let whole = octets.iter().rposition(|&octet| octet == b'\n').map_or(0, |end| end + 1);
        String::from_utf8_lossy(&octets[..whole]).into_owned()
    }

    /// Waits for a line of its log that has all of these in it. Lines are written behind what they tell of.
    pub fn logged(&self, parts: &[&str]) -> String {
        wait_for(&format!("a line with {parts:?}"), PATIENCE, || {
            let output = self.output();
            output.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
        })
    }

    /// The answer of its admin listener; empty if there is none.
    pub fn http(&self, path: &str) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&self.admin, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: gate.example\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().unwrap_or_default()
    }

    /// The sum of all series of a metric whose labels contain every one of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = self.http("/metrics");
        page.lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// A client that has said EHLO.
    pub fn client(&self) -> Raw {
        client_of(self.listener)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let config = fs::read_to_string(self.scratch.path().join("proxy.yaml")).unwrap_or_default();
            eprintln!("--- gatepost at {}\n{config}---\n{}", self.listener, self.output());
        }
        if let Some(mut child) = self.child.take() {
            // Nothing of it is looked at any more. It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A file with these listeners before `main`.
pub fn yaml(listeners: &[SocketAddr], admin: SocketAddr, upstream: &str, more: &str) -> String {
    let listeners: String = listeners
        .iter()
        .map(|address| format!("  - {{ address: \"{address}\", upstream: main }}\n"))
        .collect();
    format!(
        "hostname: gate.example\nlisteners:\n{listeners}upstreams:\n  main: {upstream}\n\
         admin: {{ address: \"{admin}\" }}\n{more}"
    )
}

pub fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// A client of that listener that has said EHLO.
pub fn client_of(listener: SocketAddr) -> Raw {
    let mut client = Raw::connect(listener);
    client.ask("EHLO client.example", 250);
    client
}

/// Connects and says what was heard first.
pub fn first_reply(listener: SocketAddr) -> String {
    let mut stream = TcpStream::connect_timeout(&listener, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reply = Vec::new();
    let mut octet = [0];
    while reply.last() != Some(&b'\n') && stream.read(&mut octet).is_ok_and(|taken| taken > 0) {
        reply.push(octet[0]);
    }
    String::from_utf8(reply).unwrap()
}

/// Waits until nobody listens there.
pub fn wait_refused(listener: SocketAddr) {
    wait_for("connections to be refused", PATIENCE, || {
        TcpStream::connect_timeout(&listener, Duration::from_secs(1)).is_err().then_some(())
    });
}
