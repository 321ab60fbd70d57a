//! A private Exim, unpacked and not installed, because Debian's Exim and Postfix exclude one another.
//!
//! In:    a certificate, or none; whether it wants a PROXY header from loopback; it receives for `a.example`, and lets
//!        `joe@a.example` authenticate with `open sesame`.
//! Out:   a running MTA on a loopback port, and with a certificate on another one for TLS from the first octet.
//! Never: relays, asks the DNS, or keeps anything beyond the test.
//!
//! Exim's specification: chapters 14 (main options), 34 (plaintext), 42 (TLS), 43 (ACLs), 56
//! (spool files), 59 (proxies).

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use super::certificates::Files;
use super::leash::Leash;
use super::maildir::{self, Stored};
use super::mta::{MAIL_UID, Mta, mailboxes};
use super::room;
use super::scratch::{PATIENCE, Scratch, free_port, is_listened_at, wait_for};

const DOMAIN: &str = "a.example";

/// The account Debian's binary is built to run as, under a number of ours.
const ACCOUNT: (&str, u32) = ("Debian-exim", MAIL_UID + 1);

pub struct Exim {
    // First, so that it has ended before its directory goes.
    _leash: Leash,
    scratch: Scratch,
    address: SocketAddr,
    at_once: SocketAddr,
}

impl Exim {
    /// Starts one and waits until it listens.
    pub fn start() -> Self {
        Self::start_with(None, "")
    }

    /// The same for connections that begin with a PROXY header.
    pub fn start_proxied() -> Self {
        Self::start_with(None, "hosts_proxy = 127.0.0.1")
    }

    /// The same with STARTTLS, and another port for TLS from the first octet.
    pub fn start_tls(pair: &Files) -> Self {
        Self::start_with(Some(pair), "")
    }

    fn start_with(pair: Option<&Files>, proxy: &str) -> Self {
        let scratch = Scratch::new("exim");
        let [port, at_once] = [free_port(), free_port()];
        for (dir, owner) in [("mail", MAIL_UID), ("spool", ACCOUNT.1)] {
            chown(scratch.make_dir(dir), Some(owner), Some(owner)).unwrap();
        }
        let mut names = "jürgen: juergen\n".to_owned();
        for name in mailboxes() {
            let _ = writeln!(names, "{name}: {name}");
        }
        scratch.write("mailboxes", names);
        let dir = scratch.path().display().to_string();
        let (interfaces, tls) = match pair {
            None => (format!("127.0.0.1.{port}"), "tls_advertise_hosts =".to_owned()),
            Some(pair) => (
                format!("127.0.0.1.{port} : 127.0.0.1.{at_once}"),
                format!(
                    "tls_on_connect_ports = {at_once}\ntls_certificate = {}\ntls_privatekey = {}",
                    pair.certificate.display(),
                    pair.key.display()
                ),
            ),
        };
        let configuration = include_str!("exim.conf")
            .replace("DIR", &dir)
            .replace("DOMAIN", DOMAIN)
            .replace("INTERFACES", &format!("local_interfaces = {interfaces}"))
            .replace("TLS\n", &format!("{tls}\n"))
            .replace("PROXY\n", &format!("{proxy}\n"));
        scratch.write("exim.conf", configuration);
        let script = format!("cp {dir}/exim.conf /etc/exim4/exim4.conf; exec exim4 -bdf -oP {dir}/pid");
        let leash = room::start(&scratch, "exim4-daemon-heavy", &[ACCOUNT], &script);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let at_once = SocketAddr::from(([127, 0, 0, 1], at_once));
        let exim = Self { _leash: leash, scratch, address, at_once };
        wait_for("Exim to listen", PATIENCE, || is_listened_at(address).then_some(()));
        exim
    }

    /// Where TLS begins with the first octet.
    pub fn at_once(&self) -> SocketAddr {
        self.at_once
    }

    pub fn log(&self) -> String {
        let read = |name: &str| fs::read(self.scratch.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[read("spool/mainlog"), read("spool/paniclog"), read("output")].concat())
            .into_owned()
    }

    /// The spool's envelope files. One that goes while we look is not there.
    fn envelopes(&self) -> Vec<(PathBuf, String)> {
        let entries = fs::read_dir(self.scratch.path().join("spool/input")).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let envelopes = paths.filter(|path| path.to_string_lossy().ends_with("-H"));
        envelopes
            .filter_map(|path| {
                let text = String::from_utf8_lossy(&fs::read(&path).ok()?).into_owned();
                Some((path, text))
            })
            .collect()
    }
}

impl Mta for Exim {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn settle(&self, sessions: usize) {
        wait_for("Exim to see its clients off and to deliver", PATIENCE, || {
            let log = self.log();
            let came = log.matches(" (TCP/IP connection count = ").count();
            // Some of those that leave without QUIT it calls lost, others unexpected.
            let told = log.matches(" SMTP connection from ").count()
                + log.matches(" unexpected disconnection while reading SMTP command from ").count();
            let waits = self.envelopes().iter().any(|(_, text)| !text.contains("\n-frozen "));
            (came >= sessions && told == 2 * came && !waits).then_some(())
        });
    }

    fn take_stored(&self) -> Vec<Stored> {
        maildir::take(&self.scratch.path().join("mail"))
    }

    fn take_held(&self) -> String {
        let held = wait_for("a frozen message", PATIENCE, || {
            Some(self.envelopes()).filter(|envelopes| !envelopes.is_empty())
        });
        let mut all = String::new();
        for (path, text) in held {
            // Behind the first empty line stands the header.
            let lines = text.split("\n\n").next().unwrap_or_default().lines();
            let of_this_run = ["-received_time", "-host_address", "-interface_address", "-frozen"];
            // Before the reverse-path stand the message's name and the account.
            for line in lines.skip(2).filter(|line| {
                // Times and counts are numbers; no mailbox here begins with one.
                !of_this_run.iter().any(|word| line.starts_with(word))
                    && !line.starts_with(|first: char| first.is_ascii_digit())
            }) {
                let _ = writeln!(all, "{line}");
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy().replace("-H", "-D");
            fs::remove_file(path.with_file_name(name)).unwrap();
            fs::remove_file(path).unwrap();
        }
        all
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.address, self.log());
        }
    }
}
