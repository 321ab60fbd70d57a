//! A private Postfix: its own configuration, queue, data and log, on a loopback port.
//!
//! In:    a domain to receive for, or a relay host to send through; extra `main.cf` lines.
//! Out:   a running MTA: its address, what it stored, its log, its queue; sending and flushing by its own programs.
//! Never: reads or writes what belongs to the system's Postfix (only its programs are shared), asks the DNS, listens
//!        beyond loopback, or outlives the test.
//!
//! Postfix's own manual pages: master(5), postconf(5), virtual(8), postcat(1), postqueue(1).

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::leash::Leash;
use super::maildir::{self, Stored};
use super::mta::{MAIL_UID, Mta, mailboxes};
use super::peers::found;
use super::scratch::{Finished, PATIENCE, Scratch, free_port, run, wait_for};

/// What kind of Postfix is wanted.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// It receives mail for this domain; others are refused (554 5.7.1), as are unknown users (550 5.1.1).
    pub domain: &'static str,
    /// Mailboxes of other domains that it has as well.
    pub guests: &'static [&'static str],
    /// Where it sends everything that is not for its domain.
    pub relay: Option<SocketAddr>,
    /// Users `joe` with the password `open sesame` may authenticate by PLAIN and LOGIN.
    pub sasl: bool,
    /// It has a certificate and offers STARTTLS.
    pub tls: bool,
    pub main_cf: &'static str,
    /// The hosts(5) it has instead of the system's, and looks its clients up in.
    pub hosts: &'static str,
    /// The name server of what it runs, in place of the system's.
    pub resolver: Option<IpAddr>,
    /// Further entries of `master.cf`.
    pub master_cf: String,
}

impl Spec {
    pub fn receiving(domain: &'static str) -> Self {
        Self { domain, ..Self::default() }
    }

    pub fn sending(relay: SocketAddr) -> Self {
        Self { domain: "client.example", relay: Some(relay), ..Self::default() }
    }
}

/// Arguments of unshare(1), up to the command: a mount namespace of its own, where `hosts` lies over the system's.
pub fn with_hosts(hosts: &Path) -> [&OsStr; 6] {
    with_own(hosts, "/etc/hosts")
}

/// The same for any file.
fn with_own<'a>(file: &'a Path, over: &'a str) -> [&'a OsStr; 6] {
    let script = "mount --bind \"$0\" \"$1\"; shift; exec \"$@\"";
    ["--mount".as_ref(), "sh".as_ref(), "-ec".as_ref(), script.as_ref(), file.as_os_str(), over.as_ref()]
}

pub struct Postfix {
    // First, so that it has ended before its directory goes.
    _leash: Leash,
    scratch: Scratch,
    address: SocketAddr,
}

impl Postfix {
    /// Starts one and waits until it listens.
    pub fn start(spec: &Spec) -> Self {
        let scratch = Scratch::new(&format!("postfix-{}", spec.domain));
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        for dir in ["etc", "queue", "data", "mail"] {
            scratch.make_dir(dir);
        }
        write_configuration(&scratch, spec, address);
        make_queue(&scratch);
        if spec.sasl {
            make_passwords(&scratch, spec.domain);
        }
        if spec.tls {
            make_certificate(&scratch);
        }
        let etc = scratch.path().join("etc");
        let hosts = scratch.write("hosts", spec.hosts);
        let mut master: Vec<&OsStr> = Vec::new();
        if !spec.hosts.is_empty() {
            master.push("unshare".as_ref());
            master.extend(with_hosts(&hosts));
        }
        let resolver = spec.resolver.map(|address| format!("nameserver {address}\n")).unwrap_or_default();
        let resolver = scratch.write("resolv.conf", resolver);
        if spec.resolver.is_some() {
            master.push("unshare".as_ref());
            master.extend(with_own(&resolver, "/etc/resolv.conf"));
        }
        master.extend([
            "/usr/lib/postfix/sbin/master".as_ref(),
            "-c".as_ref(),
            etc.as_os_str(),
            "-d".as_ref(),
        ]);
        let leash = Leash::start(master, &scratch.path().join("master.out"));
        let postfix = Self { _leash: leash, scratch, address };
        wait_for("Postfix to start", PATIENCE, || postfix.log().contains("daemon started").then_some(()));
        postfix
    }

    pub fn log(&self) -> String {
        let read = |name: &str| fs::read(self.scratch.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[read("mail.log"), read("master.out")].concat()).into_owned()
    }

    /// Waits until the log has told of so many recipients that their mail was sent on; it lags behind the queue.
    pub fn wait_for_sent(&self, recipients: usize) {
        wait_for("the log to say that all was sent", PATIENCE, || {
            (self.log().matches("status=sent (250").count() >= recipients).then_some(())
        });
        assert_eq!(self.log().matches("status=sent (250").count(), recipients, "none twice");
    }

    /// How many messages wait in the queues that are worked on, the deferred one included.
    pub fn queued(&self) -> usize {
        ["maildrop", "incoming", "active", "deferred"].iter().map(|name| self.files_in(name).len()).sum()
    }

    /// Messages put off until later.
    pub fn deferred(&self) -> usize {
        self.files_in("deferred").len()
    }

    /// All mail delivered since the last call, octet for octet.
    pub fn stored_raw(&self) -> Vec<Stored> {
        maildir::read_raw(&self.scratch.path().join("mail"))
    }

    /// Sends a message by Postfix's sendmail(1), as a program on a sending host would.
    pub fn submit(&self, arguments: &[&str], message: &Path) {
        let mut command = Command::new(found("sendmail"));
        command.arg("-C").arg(self.etc()).args(arguments);
        let done = run(&self.scratch, &mut command, fs::File::open(message).unwrap().into(), PATIENCE);
        assert!(done.status.success(), "sendmail: {done:?}\n{}", self.log());
    }

    /// Tries everything deferred again now.
    pub fn flush(&self) {
        let mut command = Command::new(found("postqueue"));
        command.arg("-c").arg(self.etc()).arg("-f");
        let done = run(&self.scratch, &mut command, Stdio::null(), PATIENCE);
        assert!(done.status.success(), "postqueue: {done:?}");
    }

    /// The socket of a service of `master.cf` that is private.
    pub fn socket(&self, service: &str) -> PathBuf {
        self.scratch.path().join("queue/private").join(service)
    }

    /// The certificate of one with `tls`, which vouches for itself.
    pub fn certificate(&self) -> PathBuf {
        self.etc().join("cert.pem")
    }

    fn etc(&self) -> PathBuf {
        self.scratch.path().join("etc")
    }

    fn files_in(&self, queue: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut dirs = vec![self.scratch.path().join("queue").join(queue)];
        // Files move between the queues while we look: what has gone is not there.
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                    Ok(_) => files.push(entry.path()),
                    Err(_) => {}
                }
            }
        }
        files
    }
}

impl Mta for Postfix {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn settle(&self, sessions: usize) {
        wait_for("Postfix to see its clients off and to deliver", PATIENCE, || {
            let log = self.log();
            let (came, left) =
                (log.matches("]: connect from ").count(), log.matches("]: disconnect from ").count());
            (came >= sessions && came == left && self.queued() == 0).then_some(())
        });
    }

    fn take_stored(&self) -> Vec<Stored> {
        maildir::take(&self.scratch.path().join("mail"))
    }

    /// As postcat(1) shows messages on hold: notify flags, envelope id, original recipients, body type, SMTPUTF8.
    fn take_held(&self) -> String {
        let files = wait_for("a message on hold", PATIENCE, || {
            Some(self.files_in("hold")).filter(|files| !files.is_empty())
        });
        let mut all = String::new();
        for file in files {
            let mut command = Command::new(found("postcat"));
            command.args(["-v", "-o", "-e", "-c"]).arg(self.etc()).arg(&file);
            all += &run(&self.scratch, &mut command, Stdio::null(), PATIENCE).stdout;
            fs::remove_file(file).unwrap();
        }
        without_this_run(&all)
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.address, self.log());
        }
    }
}

/// What postcat(1) shows, without times, places and names of this run.
fn without_this_run(held: &str) -> String {
    let of_this_run =
        ["time", "queue", "inode", "message_size", "log_", "client_port", "rewrite_context", "***"];
    let lines = held.lines().filter(|line| !of_this_run.iter().any(|word| line.contains(word)));
    // The first column is the record's place in the file, which moves with the length of the queue id.
    lines.map(|line| line.trim_start_matches([' ', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])).fold(
        String::new(),
        |mut all, line| {
            all.push_str(line);
            all.push('\n');
            all
        },
    )
}

fn write_configuration(scratch: &Scratch, spec: &Spec, address: SocketAddr) {
    let dir = scratch.path().display();
    let domain = spec.domain;
    let guests: Vec<&str> = spec.guests.iter().filter_map(|guest| Some(guest.split_once('@')?.1)).collect();
    let guests = guests.join(" ");
    let mut main_cf = format!(
        "compatibility_level = 3.6\nqueue_directory = {dir}/queue\ndata_directory = {dir}/data\n\
         command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\nmail_owner = postfix\n\
         setgid_group = postdrop\nmaillog_file = {dir}/mail.log\nmaillog_file_prefixes = {dir}\n\
         inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\ndisable_dns_lookups = yes\n\
         smtpd_peername_lookup = no\nsmtp_host_lookup = native\n\
         myhostname = mx.{domain}\nmydomain = {domain}\nmyorigin = {domain}\nmydestination =\nmynetworks =\n\
         alias_maps =\nalias_database =\nlocal_recipient_maps =\nbiff = no\n\
         virtual_mailbox_domains = {domain} {guests}\nvirtual_mailbox_maps = texthash:{dir}/etc/mailboxes\n\
         virtual_mailbox_base = {dir}/mail\nvirtual_uid_maps = static:{MAIL_UID}\n\
         virtual_gid_maps = static:{MAIL_UID}\nvirtual_mailbox_limit = 0\nmessage_size_limit = 31457280\n\
         smtputf8_enable = yes\nsmtputf8_autodetect_classes = all\n\
         smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination\n\
         smtpd_recipient_restrictions = check_recipient_access texthash:{dir}/etc/recipients\n\
         smtpd_authorized_xclient_hosts = 127.0.0.1\nsmtpd_authorized_xforward_hosts = 127.0.0.1\n\
         smtpd_error_sleep_time = 0\nminimal_backoff_time = 1000s\nmaximal_backoff_time = 4000s\n{}\n",
        spec.main_cf
    );
    if !spec.hosts.is_empty() {
        main_cf.push_str("smtpd_peername_lookup = yes\n");
    }
    if let Some(relay) = spec.relay {
        // A kept connection would outlive the message it is for.
        let _ = writeln!(
            main_cf,
            "relayhost = [{}]:{}\nsmtp_connection_cache_on_demand = no",
            relay.ip(),
            relay.port()
        );
    }
    if spec.sasl {
        let _ = writeln!(
            main_cf,
            "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_local_domain = {domain}\n\
             cyrus_sasl_config_path = {dir}/etc/sasl"
        );
    }
    if spec.tls {
        let _ = writeln!(
            main_cf,
            "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {dir}/etc/key.pem, {dir}/etc/cert.pem"
        );
    }
    scratch.write("etc/main.cf", main_cf);

    let mut mailboxes = format!("jürgen@{domain} juergen/\n");
    for guest in spec.guests {
        let _ = writeln!(mailboxes, "{guest} {}/", guest.split('@').next().unwrap_or_default());
    }
    for mailbox in self::mailboxes() {
        let _ = writeln!(mailboxes, "{mailbox}@{domain} {mailbox}/");
    }
    scratch.write("etc/mailboxes", mailboxes);
    scratch.write("etc/recipients", format!("busy@{domain} 450 4.2.1 Mailbox is busy\nheld@{domain} HOLD\n"));

    let listener = format!("{address} inet n - n - - smtpd\n");
    scratch.write("etc/master.cf", listener + include_str!("master.cf") + &spec.master_cf);
}

/// What `postfix start` would make: the queue's directories with their owners.
fn make_queue(scratch: &Scratch) {
    let owner = id_of("/etc/passwd", "postfix");
    let postdrop = id_of("/etc/group", "postdrop");
    let make = |name: &str, mode: u32, uid: u32, gid: Option<u32>| {
        let path = scratch.make_dir(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(uid), gid).unwrap();
    };
    for queue in ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private"]
    {
        make(&format!("queue/{queue}"), 0o700, owner, None);
    }
    make("queue/saved", 0o700, owner, None);
    make("queue/trace", 0o700, owner, None);
    make("queue/maildrop", 0o730, owner, Some(postdrop));
    make("queue/public", 0o710, owner, Some(postdrop));
    make("queue/pid", 0o755, 0, None);
    make("data", 0o700, owner, None);
    make("mail", 0o755, MAIL_UID, Some(MAIL_UID));
}

/// The number of an account or group: third field of its line.
pub fn id_of(file: &str, name: &str) -> u32 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.split(':').next() == Some(name));
    let line = line.unwrap_or_else(|| panic!("{file} has no {name}, which its package makes"));
    line.split(':').nth(2).and_then(|id| id.parse().ok()).unwrap()
}

/// Cyrus SASL with a password database of its own.
fn make_passwords(scratch: &Scratch, realm: &str) {
    let dir = scratch.make_dir("etc/sasl");
    let database = dir.join("sasldb2");
    scratch.write("password", "open sesame");
    let mut command = Command::new(found("saslpasswd2"));
    command.arg("-f").arg(&database).args(["-p", "-c", "-u", realm, "joe"]);
    let password = fs::File::open(scratch.path().join("password")).unwrap();
    let done: Finished = run(scratch, &mut command, password.into(), PATIENCE);
    assert!(done.status.success(), "saslpasswd2: {done:?}");
    chown(&database, Some(id_of("/etc/passwd", "postfix")), None).unwrap();
    let conf = format!(
        "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: {}\n",
        database.display()
    );
    scratch.write("etc/sasl/smtpd.conf", conf);
}

/// A certificate nobody trusts, for one day.
fn make_certificate(scratch: &Scratch) {
    let mut command = Command::new(found("openssl"));
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
    ]);
    command.args(["-subj", "/CN=mx.example", "-keyout"]).arg(scratch.path().join("etc/key.pem"));
    command.arg("-out").arg(scratch.path().join("etc/cert.pem"));
    let done = run(scratch, &mut command, Stdio::null(), PATIENCE);
    assert!(done.status.success(), "openssl: {done:?}");
}
