//! Certificates, keys and roots that change while gatepost runs.
//!
//! In:    the files of a configuration's TLS, looked at every few seconds.
//! Out:   what they hold now, for handshakes that begin from now on; a log line about what could not be used, and once
//!        a day about what is over or soon will be.
//! Never: drops a session, takes half a pair for a whole one (a change is taken up when two looks in a row show the
//!        same), or gives up what works for what does not: a broken file is told of once and tried at every look, and
//!        what it held stays.
//!
//! Looking is a system call a file; whoever replaces certificates (an ACME client, a mounted secret, a link that is
//! turned) does it in ways that watching a directory would have to know one by one.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::set::{Side, TlsSet};
use crate::metrics::certificates;

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// How often it is said that a certificate is over, or soon will be.
const AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// What shows that a file is another one, or belongs to or may be read by others now (inode, size, mtime, ctime).
/// `None`: it cannot be looked at.
pub(super) type Look = Option<(u64, u64, [i64; 4])>;

/// Watches the files of one configuration. Lives on the control thread; dropped with its configuration.
#[derive(Debug)]
pub struct Watch {
    set: Arc<TlsSet>,
    watched: Vec<Watched>,
    /// When it was last said which certificates are over.
    told: Instant,
}

#[derive(Debug)]
struct Watched {
    key: String,
    side: Side,
    files: Vec<PathBuf>,
    /// As they were just before they were last read, or tried.
    taken: Vec<Look>,
    last: Vec<Look>,
    /// Why they could not be read when last tried.
    wrong: Option<String>,
}

impl Watch {
    /// One for what a configuration has read: its looks are those of then, since what is prepared after it takes time.
    pub fn new(set: Arc<TlsSet>) -> Self {
        let watched = set.sides().into_iter().map(|(key, side)| {
            let files = side.files();
            let taken: Vec<Look> = files.iter().map(|file| set.looked(file)).collect();
            Watched { key, side, last: taken.clone(), taken, files, wrong: None }
        });
        Self { watched: watched.collect(), set, told: Instant::now() }
    }

    /// Watches until dropped.
    pub async fn run(mut self) {
        self.tell();
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
            let news = watched.look();
            let key = &*watched.key;
            match news {
                Some(Ok(())) => {
                    changed = true;
                    tracing::info!(key, "tls: certificates read again");
                }
                Some(Err(error)) => tracing::error!(key, "tls: nothing changed: {error}"),
                None => {}
            }
        }
        if changed || self.told.elapsed() >= AGAIN {
            self.tell();
        }
    }

    /// Tells metrics and log when what is in use now is over.
    fn tell(&mut self) {
        certificates::set(self.set.expiries());
        self.told = Instant::now();
        for warning in self.set.expiring() {
            tracing::warn!("{warning}");
        }
    }
}

impl Watched {
    /// Takes up a change that has settled, or tries again what could not be read: not every reason shows in a look.
    /// Returns what there is to tell.
    fn look(&mut self) -> Option<Result<(), String>> {
        let now: Vec<Look> = self.files.iter().map(|file| look(file)).collect();
        let settled = now == self.last;
        self.last = now;
        if !settled || (self.last == self.taken && self.wrong.is_none()) {
            return None;
        }
        self.taken.clone_from(&self.last);
        let Err(error) = self.side.reload() else {
            self.wrong = None;
            return Some(Ok(()));
        };
        let error = error.to_string();
        let told = self.wrong.replace(error.clone());
        (told.as_ref() != Some(&error)).then_some(Err(error))
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

/// One look at a file.
pub(super) fn look(file: &Path) -> Look {
    let seen = std::fs::metadata(file).ok()?;
    let times = [seen.mtime(), seen.mtime_nsec(), seen.ctime(), seen.ctime_nsec()];
    Some((seen.ino(), seen.size(), times))
}

#[cfg(test)]
mod tests {
    use super::super::certificates::{Authority, Files};
    use super::*;
    use crate::config::types::{Config, KeyPair, Listener, ListenerTls};
    use crate::session::settings::DoorTls;

    fn load(files: &Files) -> Arc<TlsSet> {
        let pair = KeyPair { certificate: files.certificate.clone(), key: files.key.clone() };
        let tls = ListenerTls { mode: DoorTls::StartTls, certificates: vec![pair], ..ListenerTls::default() };
        let config = Config { listeners: vec![Listener { tls, ..Listener::default() }], ..Config::default() };
        Arc::new(TlsSet::load(&config).unwrap())
    }

    #[test]
    fn a_change_is_taken_up_once_it_has_settled_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new("Example Root");
        let files = authority.server(&["one.example.net"]).write(dir.path(), "cert");
        let set = load(&files);
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

    #[test]
    fn a_change_between_the_reading_and_the_watching_is_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new("Example Root");
        let set = load(&authority.server(&["one.example.net"]).write(dir.path(), "cert"));
        authority.server(&["renewed.example.net"]).write(dir.path(), "cert");
        let mut watched = Watch::new(set).watched.remove(0);
        assert_eq!([watched.look(), watched.look(), watched.look()], [None, Some(Ok(())), None]);
    }

    #[test]
    fn other_permissions_are_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let files = Authority::new("Example Root").server(&["one.example.net"]).write(dir.path(), "cert");
        let mut watched = Watch::new(load(&files)).watched.remove(0);
        let (before, permissions) = (look(&files.key), files.key.metadata().unwrap().permissions());
        // A kernel's clock for files may stand for some milliseconds.
        let until = Instant::now() + Duration::from_secs(5);
        while look(&files.key) == before && Instant::now() < until {
            std::fs::set_permissions(&files.key, permissions.clone()).unwrap();
        }
        assert_eq!([watched.look(), watched.look(), watched.look()], [None, Some(Ok(())), None]);
    }

    #[test]
    fn what_could_not_be_read_is_tried_again_and_told_when_it_is_another_error() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new("Example Root");
        let files = authority.server(&["one.example.net"]).write(dir.path(), "cert");
        let mut watched = Watch::new(load(&files)).watched.remove(0);
        let told = |news: Option<Result<(), String>>| news.unwrap().unwrap_err();
        std::fs::write(&files.key, "nonsense").unwrap();
        assert_eq!(watched.look(), None);
        assert!(told(watched.look()).contains("holds no private key"));
        assert_eq!([watched.look(), watched.look()], [None, None], "told once");
        std::fs::write(&files.key, "other nonsense").unwrap();
        assert_eq!([watched.look(), watched.look()], [None, None], "the same is wrong");
        std::fs::remove_file(&files.key).unwrap();
        assert_eq!(watched.look(), None);
        assert!(told(watched.look()).contains("cannot be read"));
        authority.server(&["two.example.net"]).write(dir.path(), "cert");
        // As if it had looked like this when it could not be read.
        watched.last = watched.files.iter().map(|file| look(file)).collect();
        watched.taken.clone_from(&watched.last);
        assert_eq!([watched.look(), watched.look()], [Some(Ok(())), None]);
    }
}
