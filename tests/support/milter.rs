//! A milter on its leash, whichever it is.
//!
//! In:    a command that stays in the foreground, and where it will listen.
//! Out:   its address in Postfix's words and in gatepost's; what it has printed.
//! Never: a milter of the system: each has a directory, a port or a socket of its own.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use rustix::process::Signal;

use super::leash::Leash;
use super::peers::{TEST_MILTER, find, found};
use super::scratch::{PATIENCE, Scratch, free_port, is_listened_at, wait_for};

/// Where a milter listens.
#[derive(Clone, Debug)]
pub enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Place {
    pub fn free() -> Self {
        Self::Tcp(SocketAddr::from(([127, 0, 0, 1], free_port())))
    }

    /// As `smtpd_milters` has it.
    pub fn of_postfix(&self) -> String {
        match self {
            Self::Tcp(address) => format!("inet:{address}"),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// As a callout's `address` has it.
    pub fn of_gatepost(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// As libmilter has it.
    pub fn of_libmilter(&self) -> String {
        match self {
            Self::Tcp(address) => format!("inet:{}@{}", address.port(), address.ip()),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    fn is_open(&self) -> bool {
        match self {
            Self::Tcp(address) => is_listened_at(*address),
            Self::Unix(path) => fs::metadata(path).is_ok_and(|file| file.file_type().is_socket()),
        }
    }
}

pub struct Milter {
    // First, so that it has ended before its directory goes.
    leash: Leash,
    scratch: Scratch,
    place: Place,
}

impl Milter {
    /// Starts it, and waits until it listens.
    pub fn start<S: AsRef<std::ffi::OsStr>>(
        scratch: Scratch,
        place: Place,
        command: impl IntoIterator<Item = S>,
    ) -> Self {
        let leash = Leash::start(command, &scratch.path().join("output"));
        let milter = Self { leash, scratch, place };
        // rspamd takes long to be ready on a busy machine.
        wait_for("a milter to listen", 6 * PATIENCE, || milter.place.is_open().then_some(()));
        milter
    }

    /// Postfix's test-milter with these options.
    pub fn test(place: &Place, options: &[&str]) -> Self {
        // It flushes before it says what it replies.
        let mut command =
            vec!["stdbuf".to_owned(), "-oL".to_owned(), found(TEST_MILTER).display().to_string()];
        command.extend(["-p".to_owned(), place.of_libmilter()]);
        command.extend(options.iter().map(ToString::to_string));
        Self::start(Scratch::new("test-milter"), place.clone(), command)
    }

    /// A milter in Python.
    pub fn python(script: &str) -> Self {
        let (scratch, place) = (Scratch::new("pymilter"), Place::free());
        let script = scratch.write("filter.py", script);
        let python = find("/usr/bin/python3").unwrap_or_else(|| found("python3"));
        let command = [python.display().to_string(), script.display().to_string(), place.of_libmilter()];
        Self::start(scratch, place, command)
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Kills, stops or continues it.
    pub fn signal(&self, signal: Signal) {
        self.leash.signal(signal);
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        let output = fs::read(self.scratch.path().join("output")).unwrap_or_default();
        String::from_utf8_lossy(&output).into_owned()
    }
}

impl Drop for Milter {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- milter at {}\n{}", self.place.of_gatepost(), self.output());
        }
    }
}
