//! How we are a client: what the hosts of one pool are shown and asked for.
//!
//! In:    `upstreams.*.tls`; the name of the host.
//! Out:   what a handshake with a hop goes by, and the name it is to prove.
//! Never: lets a handshake succeed that the pool has verified, for a certificate that is not in order; names an
//!        address in SNI (RFC 6066 3).
//!
//! Hosts found for a rung, without a pool of theirs, are spoken to opportunistically (RFC 7435).

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use super::expiry::{self, End};
use super::pem::Roots;
use super::verify::{HopJudge, Named};
use super::{PemError, VERSIONS, pem, provider};
use crate::config::types::UpstreamTls;
use crate::session::route::HopTls;

/// Hosts whose sessions are kept to be resumed.
const KEPT: usize = 256;

/// TLS with the hosts of one pool. What it goes by is swapped as a whole when its files change.
#[derive(Debug)]
pub struct ClientTls {
    files: UpstreamTls,
    now: ArcSwap<TlsClient>,
}

/// What handshakes go by that begin now.
#[derive(Debug)]
pub struct TlsClient {
    /// For rustls.
    pub config: Arc<ClientConfig>,
    /// Who is asked about hosts' certificates.
    pub judge: Arc<HopJudge>,
    expiry: Option<(PathBuf, End)>,
}

impl ClientTls {
    /// Reads what a pool names.
    ///
    /// # Errors
    ///
    /// What is wrong with a file; or that there is nobody to trust.
    pub fn load(files: &UpstreamTls) -> Result<Self, PemError> {
        Ok(Self { files: files.clone(), now: ArcSwap::from_pointee(read(files)?) })
    }

    /// Reads it again. Handshakes that begin from now on go by it.
    ///
    /// # Errors
    ///
    /// What is wrong with a file; nothing has changed then.
    pub fn reload(&self) -> Result<(), PemError> {
        self.now.store(Arc::new(read(&self.files)?));
        Ok(())
    }

    /// What a handshake goes by.
    pub fn now(&self) -> Arc<TlsClient> {
        self.now.load_full()
    }

    /// The files it was read from.
    pub fn files(&self) -> Vec<PathBuf> {
        self.files.files().map(Into::into).collect()
    }

    /// When the certificate is over that hosts are shown, with its chain.
    pub fn expiry(&self) -> Option<(PathBuf, End)> {
        self.now.load().expiry.clone()
    }

    /// Whether certificates are verified.
    pub fn verifies(&self) -> bool {
        verifies(&self.files)
    }

    /// What a host has to prove: the name given for it, or for its pool, or that it is configured by.
    pub fn name(&self, given: Option<&str>, configured: Option<&str>) -> ServerName<'static> {
        let names = [given, self.files.server_name.as_deref(), configured];
        let name = names.into_iter().flatten().next().unwrap_or_default();
        let name = ServerName::try_from(name.trim_end_matches('.').to_owned());
        // A Unix socket has none. Nor is one asked for then: SNI names no address.
        name.unwrap_or_else(|_| IpAddr::V4(Ipv4Addr::LOCALHOST).into())
    }
}

/// For hosts without a pool of theirs.
pub fn opportunistic() -> UpstreamTls {
    UpstreamTls { mode: HopTls::Opportunistic, ..UpstreamTls::default() }
}

fn verifies(files: &UpstreamTls) -> bool {
    files.verify && matches!(files.mode, HopTls::Required | HopTls::Implicit)
}

fn read(files: &UpstreamTls) -> Result<TlsClient, PemError> {
    let judge = Arc::new(judge(files)?);
    let config = ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&VERSIONS)
        .expect("the provider has suites for these versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&judge) as _);
    let (mut config, expiry) = match &files.certificate {
        Some(files) => {
            let pair = pem::pair(files)?;
            let expiry = expiry::end(&pair.cert).map(|end| (files.certificate.clone(), end));
            (config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair))), expiry)
        }
        None => (config.with_no_client_auth(), None),
    };
    config.resumption = Resumption::in_memory_sessions(KEPT);
    Ok(TlsClient { config: Arc::new(config), judge, expiry })
}

fn judge(files: &UpstreamTls) -> Result<HopJudge, PemError> {
    let strict = verifies(files);
    if !files.pins.is_empty() {
        return Ok(HopJudge::pinned(&files.pins, strict));
    }
    let roots = match &files.roots {
        Some(path) => pem::roots(path)?,
        None => system_roots(),
    };
    if roots.store.is_empty() && strict {
        return Err(PemError::no_system_roots());
    }
    Ok(HopJudge::new(roots, strict))
}

/// Whom this system trusts: read once, when it is first needed.
fn system_roots() -> Roots {
    static ROOTS: LazyLock<Roots> = LazyLock::new(|| {
        let mut store = RootCertStore::empty();
        let certificates = rustls_native_certs::load_native_certs().certs;
        // What cannot be read, or used, is as if it were not there: others vouch for most.
        store.add_parsable_certificates(certificates.iter().cloned());
        Roots { store: Arc::new(store), named: Named::new(certificates) }
    });
    ROOTS.clone()
}
