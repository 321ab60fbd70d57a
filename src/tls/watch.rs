//! Certificates, keys and roots that change while gatepost runs.
//!
//! In:    the files of a configuration's TLS, looked at every few seconds.
//! Out:   what they hold now, for handshakes that begin from now on; a log line about what could not be used.
//! Never: drops a session, takes half a pair for a whole one (a change is taken up when two looks in a row show the
//!        same), or gives up what works for what does not: a broken file is told of once, and what it held stays.
//!
//! Looking is a system call a file; whoever replaces certificates (an ACME client, a mounted secret, a link that is
//! turned) does it in ways that watching a directory would have to know one by one.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::set::{Side, TlsSet};
use crate::metrics::certificates;

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// What shows that a file is another one. `None`: it cannot be looked at.
type Look = Option<(u64, u64, i64, i64)>;

/// Watches the files of one configuration. Lives on the control thread; dropped with its configuration.
#[derive(Debug)]
pub struct Watch {
    set: Arc<TlsSet>,
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    key: String,
    side: Side,
    files: Vec<PathBuf>,
    /// As what is in use was read.
    taken: Vec<Look>,
    last: Vec<Look>,
}

impl Watch {
    /// One for what a configuration has just read.
    pub fn new(set: Arc<TlsSet>) -> Self {
        let watched = set.sides().into_iter().map(|(key, side)| {
            let files = side.files();
            let taken = looks(&files);
            Watched { key, side, last: taken.clone(), taken, files }
        });
        Self { watched: watched.collect(), set }
    }

    /// Watches until dropped.
    pub async fn run(mut self) {
        certificates::set(self.set.expiries());
        if self.watched.is_empty() {
            return;
        }
        let mut turns = interval(EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            // A file system that hangs holds up nothing but this.
            let looked = spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(watch) => self = watch,
                Err(error) => {
                    tracing::error!(%error, "tls: certificates are not watched any more");
                    return;
                }
            }
        }
    }

    /// One look at all files.
    fn look(&mut self) {
        let mut changed = false;
        for watched in &mut self.watched {
            changed |= watched.look();
        }
        if changed {
            certificates::set(self.set.expiries());
        }
    }
}

impl Watched {
    /// Takes up a change that has settled; whether there was one.
    fn look(&mut self) -> bool {
        let now = looks(&self.files);
        let settled = now == self.last;
        self.last = now;
        if !settled || self.last == self.taken {
            return false;
        }
        self.taken.clone_from(&self.last);
        let key = &*self.key;
        match self.side.reload() {
            Ok(()) => tracing::info!(key, "tls: certificates read again"),
            Err(error) => tracing::error!(key, "tls: nothing changed: {error}"),
        }
        true
    }
}

impl Side {
    fn files(&self) -> Vec<PathBuf> {
        match self {
            Side::Server(tls) => tls.files(),
            Side::Client(tls) => tls.files(),
        }
    }

    fn reload(&self) -> Result<(), super::PemError> {
        match self {
            Side::Server(tls) => tls.reload(),
            Side::Client(tls) => tls.reload(),
        }
    }
}

fn looks(files: &[PathBuf]) -> Vec<Look> {
    files.iter().map(|file| look(file)).collect()
}

fn look(file: &Path) -> Look {
    let seen = std::fs::metadata(file).ok()?;
    Some((seen.ino(), seen.size(), seen.mtime(), seen.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::super::certificates::Authority;
    use super::*;
    use crate::config::types::{Config, KeyPair, Listener, ListenerTls, ListenerTlsMode};

    #[test]
    fn a_change_is_taken_up_once_it_has_settled_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new("Example Root");
        let files = authority.server(&["one.example.net"]).write(dir.path(), "cert");
        let pair = KeyPair { certificate: files.certificate.clone(), key: files.key };
        let tls = ListenerTls {
            mode: ListenerTlsMode::StartTls,
            certificates: vec![pair],
            ..ListenerTls::default()
        };
        let config = Config { listeners: vec![Listener { tls, ..Listener::default() }], ..Config::default() };
        let set = Arc::new(TlsSet::load(&config).unwrap());
        let mut watch = Watch::new(Arc::clone(&set));
        let Some(tls) = set.listeners()[0].clone() else { panic!("no TLS") };
        let first = tls.now();
        let now = |watch: &mut Watch| {
            watch.look();
            tls.now()
        };
        assert!(Arc::ptr_eq(&now(&mut watch), &first), "nothing has changed");
        authority.server(&["two.example.net"]).write(dir.path(), "cert");
        assert!(Arc::ptr_eq(&now(&mut watch), &first), "it may be half of a change");
        let second = now(&mut watch);
        assert!(!Arc::ptr_eq(&second, &first));
        std::fs::write(&files.certificate, "nonsense").unwrap();
        for _ in 0..3 {
            assert!(Arc::ptr_eq(&now(&mut watch), &second), "what works is kept");
        }
        authority.expired(&["three.example.net"]).write(dir.path(), "cert");
        now(&mut watch);
        assert!(!Arc::ptr_eq(&now(&mut watch), &second));
        assert_eq!(set.expiries()[0].at, 1_609_372_800, "2020-12-31");
    }
}
