//! Which real programs are installed, and what to do about one that is not.
//!
//! In:    a test's name, the programs it needs, the test.
//! Out:   a trial: run if all are there, else *ignored* with the reason; failed with the reason if `CI=true`, because
//!        there `.ci/install-peers` has run and silence would hide a hole.
//! Never: installs anything, or takes a stand-in for the real program.

use std::env;
use std::path::{Path, PathBuf};

use libtest_mimic::{Completion, Failed, Trial};

/// A program that a test cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Curl,
    Dovecot,
    Nsd,
    Postfix,
    Python,
    SaslDb,
    Swaks,
}

impl Peer {
    /// The programs looked for, and the Debian package they come in.
    fn wants(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Curl => (&["curl"], "curl"),
            Self::Dovecot => (&["dovecot", "/usr/lib/dovecot/lmtp"], "dovecot-lmtpd"),
            Self::Nsd => (&["nsd"], "nsd"),
            Self::Postfix => {
                (&["/usr/lib/postfix/sbin/master", "postqueue", "postcat", "sendmail"], "postfix")
            }
            Self::Python => (&["python3"], "python3"),
            Self::SaslDb => (&["saslpasswd2"], "sasl2-bin"),
            Self::Swaks => (&["swaks"], "swaks"),
        }
    }

    /// Why this program cannot be used here, if so.
    fn lacking(self) -> Option<String> {
        let (programs, package) = self.wants();
        if let Some(missing) = programs.iter().find(|program| find(program).is_none()) {
            return Some(format!("{missing} is not installed (package {package}; see .ci/install-peers)"));
        }
        // Both deliver as other users.
        (matches!(self, Self::Postfix | Self::Dovecot) && !rustix::process::geteuid().is_root())
            .then(|| format!("{self:?} wants to be started by root"))
    }
}

/// A test that needs real programs.
pub fn trial(name: &str, needs: &'static [Peer], test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::ignorable_test(name.to_owned(), move || match needs.iter().find_map(|peer| peer.lacking()) {
        None => {
            test();
            Ok(Completion::Completed)
        }
        Some(why) if env::var("CI").is_ok_and(|value| value == "true") => Err(Failed::from(why)),
        Some(why) => Ok(Completion::ignored_with(why)),
    })
}

/// Where a program is: in `PATH`, or where root's programs are.
pub fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Path::new(program).is_file().then(|| PathBuf::from(program));
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
