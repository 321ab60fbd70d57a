//! How we are a server: the certificates of one listener, and which of them a client is shown.
//!
//! In:    `listeners[].tls`; the name a client asks for (SNI, RFC 6066 3).
//! Out:   what a handshake with a client goes by. Sessions are resumed by tickets, whose keys all workers share and
//!        which change every few hours, or from a bounded memory (RFC 8446 2.2, RFC 5077).
//! Never: demands a client's certificate, or fails a handshake for one; takes early data (RFC 8446 8), or a name for
//!        the common name of a certificate (RFC 9525).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{
    ClientHello, NoClientAuth, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache,
    StoresServerSessions,
};
use rustls::sign::CertifiedKey;

use super::expiry::{self, End};
use super::name::host_names;
use super::verify::ClientJudge;
use super::{PemError, VERSIONS, pem, provider};
use crate::config::types::ListenerTls;

/// Sessions of clients that cannot keep a ticket.
const KEPT: usize = 1024;

/// TLS at one listener. What it goes by is swapped as a whole when its files change.
#[derive(Debug)]
pub struct ServerTls {
    files: ListenerTls,
    now: ArcSwap<Server>,
    tickets: Option<Arc<dyn ProducesTickets>>,
    memory: Arc<dyn StoresServerSessions>,
}

/// What handshakes go by that begin now.
#[derive(Debug)]
pub struct Server {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// Who is asked about clients' certificates.
    pub judge: Option<Arc<ClientJudge>>,
    expiries: Vec<(PathBuf, End)>,
}

impl ServerTls {
    /// Reads what a listener names.
    ///
    /// # Errors
    ///
    /// What is wrong with a file.
    pub fn load(files: &ListenerTls) -> Result<Self, PemError> {
        // Without randomness for its keys there would be no TLS at all, which the handshakes will tell.
        let tickets = Ticketer::new().ok();
        let memory: Arc<dyn StoresServerSessions> = ServerSessionMemoryCache::new(KEPT);
        let now = ArcSwap::from_pointee(read(files, tickets.as_ref(), &memory)?);
        Ok(Self { files: files.clone(), now, tickets, memory })
    }

    /// Reads it again. Handshakes that begin from now on go by it; whatever was agreed upon before stays.
    ///
    /// # Errors
    ///
    /// What is wrong with a file; nothing has changed then.
    pub fn reload(&self) -> Result<(), PemError> {
        self.now.store(Arc::new(read(&self.files, self.tickets.as_ref(), &self.memory)?));
        Ok(())
    }

    /// What a handshake goes by.
    pub fn now(&self) -> Arc<Server> {
        self.now.load_full()
    }

    /// The files it was read from.
    pub fn files(&self) -> Vec<PathBuf> {
        self.files.files().map(Into::into).collect()
    }

    /// When each of its certificates is over, with its chain.
    pub fn expiries(&self) -> Vec<(PathBuf, End)> {
        self.now.load().expiries.clone()
    }
}

fn read(
    files: &ListenerTls,
    tickets: Option<&Arc<dyn ProducesTickets>>,
    memory: &Arc<dyn StoresServerSessions>,
) -> Result<Server, PemError> {
    let mut names = Names::default();
    let mut expiries = Vec::new();
    for files in &files.certificates {
        let pair = pem::pair(files)?;
        expiries.extend(expiry::end(&pair.cert).map(|end| (files.certificate.clone(), end)));
        names.add(Arc::new(pair));
    }
    let judge = match &files.client_roots {
        Some(path) => ClientJudge::new(pem::roots(path)?).map(Arc::new),
        None => None,
    };
    let config = ServerConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&VERSIONS)
        .expect("the provider has suites for these versions");
    let config = match &judge {
        Some(judge) => config.with_client_cert_verifier(Arc::clone(judge) as _),
        None => config.with_client_cert_verifier(Arc::new(NoClientAuth)),
    };
    let mut config = config.with_cert_resolver(Arc::new(names));
    config.session_storage = Arc::clone(memory);
    if let Some(tickets) = tickets {
        config.ticketer = Arc::clone(tickets);
    }
    Ok(Server { config: Arc::new(config), judge, expiries })
}

/// Which certificate is for which name.
#[derive(Debug, Default)]
struct Names {
    /// All, in the order of the file.
    all: Vec<Arc<CertifiedKey>>,
    /// By name; those of `*.example.net` by `.example.net`.
    named: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
}

impl Names {
    fn add(&mut self, pair: Arc<CertifiedKey>) {
        for name in pair.cert.first().map(|leaf| host_names(leaf)).unwrap_or_default() {
            let name = name.strip_prefix('*').unwrap_or(&name);
            self.named.entry(name.into()).or_default().push(Arc::clone(&pair));
        }
        self.all.push(pair);
    }

    /// Those for a name: its own, else those for all names beside it, else all.
    fn of(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let own = |name: &str| self.named.get(name);
        // A wildcard stands for one label (RFC 9525 6.3).
        let beside = |name: &str| own(&name[name.find('.')?..]);
        name.and_then(|name| own(name).or_else(|| beside(name))).unwrap_or(&self.all)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offered = hello.signature_schemes();
        let usable = |pair: &&Arc<CertifiedKey>| pair.key.choose_scheme(offered).is_some();
        let found = self.of(hello.server_name()).iter().find(usable);
        found.or_else(|| self.all.iter().find(usable)).cloned()
    }
}
