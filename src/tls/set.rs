//! All TLS of one configuration: what each listener, each pool and each callout goes by.
//!
//! In:    a checked [`Config`].
//! Out:   every file it names, read; or every one that cannot be used, with the key that names it.
//! Never: stops at the first error, or reads the system's roots where nobody is to be verified by them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::expiry::{self, End};
use super::watch::{Look, look};
use super::{ClientTls, ServerTls};
use crate::config::types::Config;
use crate::metrics::certificates::Expiry;
use crate::session::route::HopTls;
use crate::session::settings::DoorTls;

/// What listeners, pools and callouts go by.
#[derive(Debug, Default)]
pub struct TlsSet {
    /// By the listeners' places in the file; with the first address, for people.
    listeners: Vec<Option<(String, Arc<ServerTls>)>>,
    pools: BTreeMap<String, Arc<ClientTls>>,
    /// With the keys that name their files.
    callouts: Vec<(String, Arc<ClientTls>)>,
    /// How the files were just before any was read: whatever is done to one from then on shows.
    looks: BTreeMap<PathBuf, Look>,
}

/// A listener's, a pool's or a callout's.
#[derive(Clone, Debug)]
pub enum Side {
    /// A listener's.
    Server(Arc<ServerTls>),
    /// A pool's or a callout's.
    Client(Arc<ClientTls>),
}

impl TlsSet {
    /// Reads all that a configuration names, but for callouts': those are read by whoever compiles callouts, and
    /// [added](Self::add_callout).
    ///
    /// # Errors
    ///
    /// Whatever is wrong, each with its place: `listeners[0].tls: cert.pem: …`.
    pub fn load(config: &Config) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let files = config.listeners.iter().flat_map(|listener| listener.tls.files());
        let files = files.chain(config.upstreams.values().flat_map(|upstream| upstream.tls.files()));
        let files = files.chain(config.callouts.iter().flat_map(|callout| callout.tls.files()));
        let mut set =
            Self { looks: files.map(|file| (file.into(), look(file))).collect(), ..Self::default() };
        for (place, listener) in config.listeners.iter().enumerate() {
            let ours = matches!(listener.tls.mode, DoorTls::StartTls | DoorTls::Implicit);
            let loaded = ours.then(|| ServerTls::load(&listener.tls)).transpose();
            let name = listener.addresses.first().map(ToString::to_string).unwrap_or_default();
            match loaded {
                Ok(tls) => set.listeners.push(tls.map(|tls| (name, Arc::new(tls)))),
                Err(error) => errors.push(format!("listeners[{place}].tls: {error}")),
            }
        }
        for (name, upstream) in &config.upstreams {
            if upstream.tls.mode == HopTls::Off {
                continue;
            }
            match ClientTls::load(&upstream.tls) {
                Ok(tls) => drop(set.pools.insert(name.clone(), Arc::new(tls))),
                Err(error) => errors.push(format!("upstreams.{name}.tls: {error}")),
            }
        }
        if errors.is_empty() { Ok(set) } else { Err(errors) }
    }

    /// Adds a callout's, read after the others, with the key that names its files.
    pub fn add_callout(&mut self, key: String, tls: Arc<ClientTls>) {
        self.callouts.push((key, tls));
    }

    /// The listeners', by their places in the file.
    pub fn listeners(&self) -> Vec<Option<Arc<ServerTls>>> {
        self.listeners.iter().map(|tls| tls.as_ref().map(|(_, tls)| Arc::clone(tls))).collect()
    }

    /// The pool's of this name.
    pub fn pool(&self, name: &str) -> Option<&Arc<ClientTls>> {
        self.pools.get(name)
    }

    /// When the certificates are over that are shown to clients, hosts and callouts.
    pub fn expiries(&self) -> Vec<Expiry> {
        let mut expiries = Vec::new();
        let mut add = |key: String, listener: Option<&String>, (file, End { at, of }): (PathBuf, End)| {
            expiries.push(Expiry { key, listener: listener.cloned(), file, at, of });
        };
        for (place, listener) in self.listeners.iter().enumerate() {
            let Some((listener, tls)) = listener else { continue };
            for expiry in tls.expiries() {
                add(format!("listeners[{place}].tls"), Some(listener), expiry);
            }
        }
        for (key, side) in self.sides() {
            if let Side::Client(tls) = side
                && let Some(expiry) = tls.expiry()
            {
                add(key, None, expiry);
            }
        }
        expiries
    }

    /// What is to be said of those that are over, or soon will be.
    pub fn expiring(&self) -> Vec<String> {
        let now = SystemTime::now();
        self.expiries().iter().filter_map(|expiry| expiry::warning(expiry, now)).collect()
    }

    /// How a file was before it was read.
    pub(super) fn looked(&self, file: &Path) -> Look {
        self.looks.get(file).copied().flatten()
    }

    /// Each, with the key that names its files.
    pub fn sides(&self) -> Vec<(String, Side)> {
        let listeners = self.listeners.iter().enumerate().filter_map(|(place, tls)| {
            let (_, tls) = tls.as_ref()?;
            Some((format!("listeners[{place}].tls"), Side::Server(Arc::clone(tls))))
        });
        let pools = self.pools.iter();
        let pools = pools.map(|(name, tls)| (format!("upstreams.{name}.tls"), Side::Client(Arc::clone(tls))));
        let callouts = self.callouts.iter().map(|(key, tls)| (key.clone(), Side::Client(Arc::clone(tls))));
        listeners.chain(pools).chain(callouts).collect()
    }
}
