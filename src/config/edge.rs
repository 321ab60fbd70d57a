//! What holds at gatepost's two edges: TLS with clients and with hops, and how it learns and tells who a client is.
//!
//! **In**: nothing; `edges` fills these. **Out**: plain types, each with its default; re-exported by
//! [`super::types`]. **Never**: reads a certificate (that is `tls`), or names a file of the source.
//!
//! RFC 3207 (STARTTLS), RFC 8314 (implicit TLS); the PROXY protocol of HAProxy; XCLIENT and XFORWARD of Postfix.

use std::path::{Path, PathBuf};

use crate::networks::Networks;
use crate::session::route::HopTls;
use crate::session::settings::DoorTls;

/// `listeners[].tls`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListenerTls {
    /// Whether, and from when.
    pub mode: DoorTls,
    /// The certificates, of which SNI chooses; the first where it names none. Never empty where gatepost itself speaks TLS.
    pub certificates: Vec<KeyPair>,
    /// MAIL and AUTH are refused before TLS.
    pub require: bool,
    /// Clients are asked for a certificate, which these roots (PEM) may vouch for. It is never demanded.
    pub client_roots: Option<PathBuf>,
}

impl ListenerTls {
    /// All files it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.certificates.iter().flat_map(KeyPair::files).chain(self.client_roots.as_deref())
    }
}

/// A certificate chain and its private key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl KeyPair {
    /// Both files.
    pub fn files(&self) -> [&Path; 2] {
        [&self.certificate, &self.key]
    }
}

/// `upstreams.*.tls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Whether, and how strictly.
    pub mode: HopTls,
    /// Whether a certificate must be vouched for and of the host's name. With `required` and `implicit` only.
    pub verify: bool,
    /// Who may vouch for one (PEM); `None`: the system's roots.
    pub roots: Option<PathBuf>,
    /// The name asked for and verified, instead of the host's own.
    pub server_name: Option<String>,
    /// What is shown to a host that asks for a certificate.
    pub certificate: Option<KeyPair>,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self { mode: HopTls::Off, verify: true, roots: None, server_name: None, certificate: None }
    }
}

impl UpstreamTls {
    /// All files it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.certificate.iter().flat_map(KeyPair::files).chain(self.roots.as_deref())
    }
}

/// `listeners[].proxy_protocol`: who says who the client is, before anything else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyProtocol {
    /// Peers that must send a header.
    pub from: Networks,
    /// Peers that are not listed are refused.
    pub required: bool,
}

/// `listeners[].intercept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Intercept {
    /// Clients connect to gatepost.
    #[default]
    Off,
    /// Their connections were redirected by netfilter; where to is asked of it.
    Redirect,
    /// Their connections are given to a transparent socket with their own destination.
    Tproxy,
}
