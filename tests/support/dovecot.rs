//! A private Dovecot that takes mail by LMTP on a Unix socket, and behind PROXY headers on a loopback port.
//!
//! In:    the mailboxes it has.
//! Out:   the path of its socket, its port, its log, mail as it stored it.
//! Never: touches the system's Dovecot or outlives this process: its leash is a pipe that closes with it. It wants to be started by root, because it delivers as the mailbox's user.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::maildir::{self, Stored};
use super::scratch::{PATIENCE, Scratch, free_port, is_listened_at, wait_child, wait_for};

/// The user that mail is stored as.
const NOBODY: u32 = 65534;

pub struct Dovecot {
    scratch: Scratch,
    leash: Child,
    proxied: SocketAddr,
}

impl Dovecot {
    /// Starts one for `store.example` and waits until its socket is there.
    pub fn start(mailboxes: &[&str]) -> Self {
        let scratch = Scratch::new("dovecot");
        let mail = scratch.make_dir("mail");
        chown(&mail, Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(&mail, fs::Permissions::from_mode(0o755)).unwrap();
        let mut users = String::new();
        for name in mailboxes {
            let _ = writeln!(users, "{name}:{{PLAIN}}x:{NOBODY}:{NOBODY}::{}/{name}::", mail.display());
        }
        scratch.write("users", users);
        let dir = scratch.path().display();
        let proxied = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = format!(
            "base_dir = {dir}/run\nstate_dir = {dir}/state\nlog_path = {dir}/dovecot.log\nprotocols = lmtp\n\
             ssl = no\nhostname = store.example\nmail_location = maildir:~\n\
             auth_username_format = %n\n\
             passdb {{\n  driver = passwd-file\n  args = {dir}/users\n}}\n\
             userdb {{\n  driver = passwd-file\n  args = {dir}/users\n}}\n\
             haproxy_trusted_networks = 127.0.0.0/8\n\
             service lmtp {{\n  unix_listener lmtp {{\n    mode = 0666\n  }}\n  \
             inet_listener lmtp {{\n    address = {}\n    port = {}\n    haproxy = yes\n  }}\n}}\n\
             service stats {{\n  unix_listener stats-writer {{\n    mode = 0666\n  }}\n}}\n",
            proxied.ip(),
            proxied.port()
        );
        let config = scratch.write("dovecot.conf", config);
        // `cat` ends when the other end of its input closes: by our hand, or because this process is gone.
        let leashed =
            "dovecot -F -c \"$0\" </dev/null & p=$!; cat >/dev/null; kill -TERM \"$p\"; wait \"$p\"";
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
        let dovecot = Self { scratch, leash, proxied };
        let is_there = || dovecot.socket().exists() && is_listened_at(proxied);
        wait_for("Dovecot to start", PATIENCE, || is_there().then_some(()));
        dovecot
    }

    pub fn socket(&self) -> PathBuf {
        self.scratch.path().join("run/lmtp")
    }

    /// Where a connection begins with a PROXY header.
    pub fn proxied(&self) -> SocketAddr {
        self.proxied
    }

    /// All mail it has, octet for octet.
    pub fn stored(&self) -> Vec<Stored> {
        maildir::read_raw(&self.scratch.path().join("mail"))
    }

    pub fn log(&self) -> String {
        let read = |name: &str| fs::read(Path::new(self.scratch.path()).join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[read("dovecot.log"), read("output")].concat()).into_owned()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of Dovecot\n{}", self.log());
        }
        drop(self.leash.stdin.take());
        // An error here has nobody left to hear it.
        let _ = wait_child("Dovecot", &mut self.leash, Duration::from_secs(10));
    }
}
