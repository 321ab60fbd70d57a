//! The binary under test, as an administrator runs it.
//!
//! In:    upstreams by name and address, and whatever else a `proxy.yaml` may say.
//! Out:   a running gatepost: its listener's address, its metrics, its output.
//! Never: connects to the listener to see whether it is up (that would be a session, and with `greeting: hop` one with
//!        the hop, too): readiness is what `/readyz` says.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::scratch::{PATIENCE, Scratch, free_port, wait_child, wait_for};

pub struct Gatepost {
    scratch: Scratch,
    child: Child,
    listener: SocketAddr,
    admin: SocketAddr,
}

impl Gatepost {
    /// Starts `gatepost run --config` with one listener before the first of the pools. `more` is appended to the
    /// configuration: rules, timeouts, limits.
    pub fn start(pools: &[(&str, &[SocketAddr])], more: &str) -> Self {
        Self::start_as("", pools, more)
    }

    /// The same with further keys of the listener, `, key: value`.
    pub fn start_as(keys: &str, pools: &[(&str, &[SocketAddr])], more: &str) -> Self {
        let scratch = Scratch::new("gate");
        let listener = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut config = format!(
            "hostname: gate.example\nlisteners:\n  - {{ address: \"{listener}\", upstream: {}{keys} }}\nadmin: {{ address: {admin} }}\n\
             content: {{ spool: {} }}\nupstreams:\n",
            pools[0].0,
            scratch.path().display()
        );
        for (name, hosts) in pools {
            let hosts: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
            // No probes: the tests that count dialogs with the hop count those of their clients.
            let _ = writeln!(config, "  {name}: {{ hosts: [{}], health: off }}", hosts.join(", "));
        }
        config.push_str(more);
        let path = scratch.write("proxy.yaml", &config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.arg("run").arg("--config").arg(path).stdin(Stdio::null());
        Self::start_with(scratch, command, listener, admin)
    }

    /// Starts it with nothing at all: no arguments, no file, in an empty directory.
    pub fn start_bare(listener: SocketAddr, admin: SocketAddr) -> Self {
        Self::start_with(Scratch::new("bare"), Command::new(env!("CARGO_BIN_EXE_gatepost")), listener, admin)
    }

    /// Starts it as the command says, in an empty directory, and waits until it is ready.
    pub fn start_with(
        scratch: Scratch,
        mut command: Command,
        listener: SocketAddr,
        admin: SocketAddr,
    ) -> Self {
        let cwd = scratch.make_dir("cwd");
        let output = fs::File::create(scratch.path().join("output")).unwrap();
        command.current_dir(cwd).stdout(output.try_clone().unwrap()).stderr(output);
        let child = command.spawn().unwrap();
        let mut gatepost = Self { scratch, child, listener, admin };
        wait_for("gatepost to be ready", PATIENCE, || {
            if let Some(status) = gatepost.child.try_wait().unwrap() {
                panic!("gatepost ended at once: {status}\n{}", gatepost.output());
            }
            gatepost.http("/readyz").starts_with("HTTP/1.1 200").then_some(())
        });
        gatepost
    }

    pub fn listener(&self) -> SocketAddr {
        self.listener
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end and says with which status.
    pub fn ended(&mut self) -> Option<i32> {
        wait_child("gatepost", &mut self.child, PATIENCE).unwrap().code()
    }

    /// The directory it runs in.
    pub fn cwd(&self) -> std::path::PathBuf {
        self.scratch.path().join("cwd")
    }

    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// What it has written to standard output and standard error: whole lines.
    pub fn output(&self) -> String {
        let octets = fs::read(self.scratch.path().join("output")).unwrap_or_default();
        let whole = octets.iter().rposition(|&octet| octet == b'\n').map_or(0, |end| end + 1);
        String::from_utf8_lossy(&octets[..whole]).into_owned()
    }

    /// Waits for a line of its log that has this in it. Lines are written behind what they tell of.
    pub fn logged(&self, what: &str) {
        wait_for(&format!("{what:?} in the log"), PATIENCE, || self.output().contains(what).then_some(()));
    }

    /// What it has open: connections by TCP, its listeners left out, and files without a name (proc_pid_fd(5)).
    pub fn left_open(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let connections = table.lines().filter_map(|line| {
            let mut columns = line.split_whitespace().skip(3);
            let is_connection = columns.next()? != "0A";
            columns.nth(5).filter(|_| is_connection).map(|inode| format!("socket:[{inode}]"))
        });
        let connections: Vec<String> = connections.collect();
        // One that is closed while we look is not there.
        let entries = fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().flatten();
        let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
        let open = links.map(|link| link.to_string_lossy().into_owned());
        open.filter(|open| connections.contains(open) || open.ends_with(" (deleted)")).collect()
    }

    /// The answer of its admin server, head and body; empty if there is none.
    pub fn http(&self, path: &str) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&self.admin, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: gate.example\r\nConnection: close\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.take(4 * 1024 * 1024).read_to_end(&mut answer)?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
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
}

impl Drop for Gatepost {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let config = fs::read_to_string(self.scratch.path().join("proxy.yaml")).unwrap_or_default();
            eprintln!("--- gatepost at {}\n{config}---\n{}", self.listener, self.output());
        }
        // A second SIGTERM would end it at once; no session should be left, so one is enough, and SIGKILL follows
        // where it is not.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = wait_child("gatepost", &mut self.child, Duration::from_secs(5));
    }
}

/// Whether a path holds exactly one file, and its octets.
pub fn only_file(dir: &Path) -> Option<Vec<u8>> {
    let mut files = fs::read_dir(dir).ok()?.map(|entry| entry.unwrap().path());
    let first = files.next()?;
    assert!(files.next().is_none(), "{} holds more than one file", dir.display());
    Some(fs::read(first).unwrap())
}
