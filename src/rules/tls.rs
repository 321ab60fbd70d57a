//! `match.tls`: what must be true of the TLS the client comes through.
//!
//! **In**: a configured `tls`, compiled once; what came of the client's handshake, here or at the balancer that says so.
//! **Out**: whether all of it holds. **Never**: holds a version, name or certificate against a client without TLS, or
//! takes a certificate that nobody vouches for as a verified one.
//!
//! RFC 8446 (versions), RFC 6066 section 3 (the name asked for), RFC 4514 (subjects).

use super::condition::any;
use super::pattern::Glob;
use crate::config::types::{TlsKeys, TlsMatch};
use crate::session::client::TlsFacts;

/// A compiled `tls`.
#[derive(Debug, Clone)]
pub(super) enum Tls {
    Is(bool),
    Of(Box<Keys>),
}

/// Globs of which none always holds.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    version: Vec<Glob>,
    cipher: Vec<Glob>,
    server_name: Vec<Glob>,
    certificate: Vec<Glob>,
    verified: Option<bool>,
}

impl Tls {
    pub(super) fn new(config: &TlsMatch) -> Self {
        let TlsKeys { version, cipher, server_name, certificate, verified } = match config {
            TlsMatch::Is(is) => return Self::Is(*is),
            TlsMatch::Of(keys) => keys,
        };
        let globs = |patterns: &[String]| patterns.iter().map(|pattern| Glob::text(pattern)).collect();
        Self::Of(Box::new(Keys {
            version: globs(version),
            cipher: globs(cipher),
            server_name: globs(server_name),
            certificate: globs(certificate),
            verified: *verified,
        }))
    }

    pub(super) fn holds(&self, facts: Option<&TlsFacts>) -> bool {
        match (self, facts) {
            (Self::Is(is), _) => *is == facts.is_some(),
            (Self::Of(keys), Some(facts)) => keys.hold(facts),
            (Self::Of(_), None) => false,
        }
    }
}

impl Keys {
    fn hold(&self, facts: &TlsFacts) -> bool {
        let certificate = facts.certificate.as_ref();
        let fits = |globs: &[Glob], text: Option<&str>| {
            globs.is_empty() || text.is_some_and(|text| any(globs, text.as_bytes()))
        };
        fits(&self.version, Some(&facts.version))
            && fits(&self.cipher, Some(&facts.cipher))
            && fits(&self.server_name, facts.server_name.as_deref())
            && fits(&self.certificate, certificate.map(|shown| &*shown.subject))
            && self.verified.is_none_or(|wanted| wanted == certificate.is_some_and(|shown| shown.verified))
    }
}
