//! A private OpenSMTPD, unpacked and not installed, because Debian's OpenSMTPD and Postfix exclude one another.
//!
//! In:    a certificate, or none; it receives for `a.example`, and lets `joe@a.example` authenticate with `open sesame`
//!        under TLS.
//! Out:   a running MTA on a loopback port, and with a certificate on another one for TLS from the first octet.
//! Never: relays, asks the DNS, or keeps anything beyond the test.
//!
//! OpenSMTPD's own manual pages: smtpd(8), smtpd.conf(5), table(5).

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use super::certificates::Files;
use super::leash::Leash;
use super::maildir::{self, Stored};
use super::mta::{MAIL_UID, Mta, mailboxes};
use super::room;
use super::scratch::{PATIENCE, Scratch, free_port, is_listened_at, wait_for};

const DOMAIN: &str = "a.example";

/// `open sesame`, by crypt(3).
const SECRET: &str =
    "$6$gatepost$409RjUipzFLpdCrWC8TwqrjpZPdJKckd.ibuPlScwVvANxbmkvOGRzfbMfsDUrvpiEKVcxY9yPpufahO.bN941";

/// The accounts Debian's binary is built to run as, and the one mail is delivered as, under numbers of ours.
const ACCOUNTS: [(&str, u32); 3] =
    [("opensmtpd", MAIL_UID + 1), ("opensmtpq", MAIL_UID + 2), ("keeper", MAIL_UID)];

pub struct OpenSmtpd {
    // First, so that it has ended before its directory goes.
    _leash: Leash,
    scratch: Scratch,
    address: SocketAddr,
    at_once: SocketAddr,
}

impl OpenSmtpd {
    /// Starts one and waits until it listens.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// The same with STARTTLS, and another port for TLS from the first octet.
    pub fn start_tls(pair: &Files) -> Self {
        Self::start_with(Some(pair))
    }

    fn start_with(pair: Option<&Files>) -> Self {
        let scratch = Scratch::new("opensmtpd");
        let [port, at_once] = [free_port(), free_port()];
        chown(scratch.make_dir("mail"), Some(MAIL_UID), Some(MAIL_UID)).unwrap();
        fs::set_permissions(scratch.make_dir("spool"), fs::Permissions::from_mode(0o711)).unwrap();
        let mut names = String::new();
        for name in mailboxes() {
            let _ = writeln!(names, "{name} {MAIL_UID}:{MAIL_UID}:/nonexistent");
        }
        scratch.write("mailboxes", names);
        let dir = scratch.path().display().to_string();
        let mut tls = String::new();
        if let Some(pair) = pair {
            // It wants a key that nobody else can read.
            let key = scratch.write("mx.key", fs::read(&pair.key).unwrap());
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
            tls = format!(
                "pki hop cert \"{}\"\npki hop key \"{}\"\ntable users {{ \"joe@{DOMAIN}\" = \"{SECRET}\" }}\n\
                 listen on 127.0.0.1 port {at_once} smtps pki hop auth-optional <users> hostname mx.{DOMAIN} filter busy",
                pair.certificate.display(),
                key.display()
            );
        }
        let starttls = if pair.is_some() { "tls pki hop auth-optional <users>" } else { "" };
        let configuration = include_str!("smtpd.conf")
            .replace("DIR", &dir)
            .replace("PORT STARTTLS", &format!("{port} {starttls}"))
            .replace("DOMAIN", DOMAIN)
            .replace("TLS\n", &format!("{tls}\n"));
        scratch.write("smtpd.conf", configuration);
        let script = format!(
            "mkdir -p /var/spool/smtpd /var/lib/opensmtpd/empty; mount --bind {dir}/spool /var/spool/smtpd; \
             exec smtpd -d -f {dir}/smtpd.conf"
        );
        let leash = room::start(&scratch, "opensmtpd-7", &ACCOUNTS, &script);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let at_once = SocketAddr::from(([127, 0, 0, 1], at_once));
        let opensmtpd = Self { _leash: leash, scratch, address, at_once };
        wait_for("OpenSMTPD to listen", PATIENCE, || is_listened_at(address).then_some(()));
        opensmtpd
    }

    /// Where TLS begins with the first octet.
    pub fn at_once(&self) -> SocketAddr {
        self.at_once
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.scratch.path().join("output")).unwrap_or_default())
            .into_owned()
    }

    /// The queue's envelopes, in their own files. One that goes while we look is not there.
    fn envelopes(&self) -> Vec<(PathBuf, String)> {
        let below = |dir: PathBuf| {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let buckets = below(self.scratch.path().join("spool/queue"));
        let messages = buckets.into_iter().flat_map(below).flat_map(below);
        let envelopes = messages.filter(|path| !path.ends_with("message"));
        envelopes.filter_map(|path| fs::read_to_string(&path).ok().map(|text| (path, text))).collect()
    }
}

impl Mta for OpenSmtpd {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn settle(&self, sessions: usize) {
        wait_for("OpenSMTPD to see its clients off and to deliver", PATIENCE, || {
            let log = self.log();
            let came = log.matches(" smtp connected address=").count();
            let left = log.matches(" smtp disconnected reason=").count();
            let waits = self.envelopes().iter().any(|(_, text)| !text.contains("\nrcpt: held@"));
            (came >= sessions && came == left && !waits).then_some(())
        });
    }

    fn take_stored(&self) -> Vec<Stored> {
        maildir::take(&self.scratch.path().join("mail"))
    }

    fn take_held(&self) -> String {
        let held = wait_for("a message that stays in the queue", PATIENCE, || {
            Some(self.envelopes()).filter(|envelopes| !envelopes.is_empty())
        });
        let mut all = String::new();
        for (path, text) in held {
            let of_this_run = ["ctime:", "last-try:", "last-bounce:", "retry:", "errorline:", "esc-"];
            for line in text.lines().filter(|line| !of_this_run.iter().any(|word| line.starts_with(word))) {
                let _ = writeln!(all, "{line}");
            }
            fs::remove_file(path).unwrap();
        }
        all
    }
}

impl Drop for OpenSmtpd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.address, self.log());
        }
    }
}
