//! Certificates judged: who vouches for them, for how long, and for which name.
//!
//! In:    the chain that the other side showed.
//! Out:   a judgement in words. In a handshake it counts only for a hop whose pool verifies; else the handshake goes
//!        on, and the judgement is asked for afterwards, as a fact.
//! Never: says of a certificate that it is in order when nothing shows that whoever showed it has its key: a signature
//!        goes unjudged only where nobody is verified and the key is one whose signatures cannot be judged.
//!
//! RFC 5280 6, RFC 9525; RFC 8446 4.4.3; RFC 7671 5.1 (a key that is trusted by itself: neither name nor time matter).

use std::collections::HashSet;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use super::facts::in_words;
use super::key::PublicKey;
use super::name::{self, Life};
use super::pem::Roots;
use super::provider;
use crate::config::types::Pin;

/// Judges the certificates of hops.
#[derive(Debug)]
pub struct HopJudge {
    trust: Trust,
    strict: bool,
}

/// What makes a hop's certificate one to be believed.
#[derive(Debug)]
enum Trust {
    /// It has one of these keys.
    Pins(Box<[Pin]>),
    /// It is one of these, or they vouch for it.
    Roots(Named, Arc<WebPkiServerVerifier>),
    /// Nothing does.
    Nobody,
}

impl HopJudge {
    /// One that trusts these roots. A `strict` one has handshakes fail.
    pub fn new(roots: Roots, strict: bool) -> Self {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.store, Arc::clone(provider()));
        // It fails only where there are no roots.
        let trust = verifier.build().map_or(Trust::Nobody, |verifier| Trust::Roots(roots.named, verifier));
        Self { trust, strict }
    }

    /// One that trusts these keys.
    pub fn pinned(pins: &[Pin], strict: bool) -> Self {
        Self { trust: Trust::Pins(pins.into()), strict }
    }

    /// Whether a handshake with a certificate that is not in order fails.
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// What is wrong with a chain, if anything is.
    pub fn fault(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>) -> Option<Box<str>> {
        let Some((leaf, others)) = chain.split_first() else { return Some("no certificate".into()) };
        self.judge(leaf, others, name, UnixTime::now()).err().map(|error| in_words(&error))
    }

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let key = usable_key(leaf)?;
        match &self.trust {
            Trust::Pins(pins) if pins.contains(&key.pin()) => Ok(()),
            Trust::Pins(_) => Err(because(format!("key is not one that is pinned: {}", key.pin()))),
            Trust::Roots(named, _) if named.contains(leaf) => {
                in_time(leaf, now)?;
                let parsed = ParsedCertificate::try_from(leaf)?;
                verify_server_name(&parsed, name).map_err(|error| with_name(error, leaf, name))
            }
            Trust::Roots(_, roots) => {
                let judged = roots.verify_server_cert(leaf, others, name, &[], now);
                judged.map(drop).map_err(|error| with_name(error, leaf, name))
            }
            Trust::Nobody => Err(CertificateError::UnknownIssuer.into()),
        }
    }
}

impl ServerCertVerifier for HopJudge {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.strict {
            self.judge(leaf, others, name, now)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature(leaf, self.strict, |key| key.has_signed12(message, signed))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature(leaf, self.strict, |key| key.has_signed13(message, signed))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Judges the certificates of clients. No handshake fails for one that is not in order, or for none.
#[derive(Debug)]
pub struct ClientJudge {
    named: Named,
    roots: Arc<dyn ClientCertVerifier>,
}

impl ClientJudge {
    /// One that trusts these roots; `None` where there are none.
    pub fn new(roots: Roots) -> Option<Self> {
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.store, Arc::clone(provider()));
        Some(Self { named: roots.named, roots: verifier.allow_unauthenticated().build().ok()? })
    }

    /// What is wrong with a chain, if anything is.
    pub fn fault(&self, chain: &[CertificateDer<'_>]) -> Option<Box<str>> {
        let Some((leaf, others)) = chain.split_first() else { return Some("no certificate".into()) };
        self.judge(leaf, others, UnixTime::now()).err().map(|error| in_words(&error))
    }

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        usable_key(leaf)?;
        if self.named.contains(leaf) {
            return in_time(leaf, now);
        }
        let judged = self.roots.verify_client_cert(leaf, others, now);
        judged.map(drop).map_err(|error| unless_self_signed(error, leaf))
    }
}

impl ClientCertVerifier for ClientJudge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.roots.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature(leaf, false, |key| key.has_signed12(message, signed))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature(leaf, false, |key| key.has_signed13(message, signed))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.supported_verify_schemes()
    }
}

/// Certificates that are trusted as they are. Who names a server's own certificate among the roots means that very one,
/// whether or not it says that it is an authority's (as those of `openssl req -x509` do).
#[derive(Clone, Debug, Default)]
pub struct Named(Arc<HashSet<Box<[u8]>>>);

impl Named {
    /// These.
    pub fn new(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        Self(Arc::new(certificates.into_iter().map(|certificate| (*certificate).into()).collect()))
    }

    fn contains(&self, leaf: &CertificateDer<'_>) -> bool {
        self.0.contains::<[u8]>(leaf)
    }
}

/// A signature in a handshake. Where nobody is verified, one of a key that is of no use is passed over: no certificate is
/// a reason to fail there, and none with such a key will be said to be in order.
fn signature(
    leaf: &CertificateDer<'_>,
    strict: bool,
    is_valid: impl FnOnce(&PublicKey) -> Result<HandshakeSignatureValid, Error>,
) -> Result<HandshakeSignatureValid, Error> {
    match usable_key(leaf) {
        Ok(key) => is_valid(&key),
        Err(error) if strict => Err(error),
        Err(_) => Ok(HandshakeSignatureValid::assertion()),
    }
}

/// The key of a certificate, if its signatures can be judged.
fn usable_key(leaf: &CertificateDer<'_>) -> Result<PublicKey, Error> {
    let key = PublicKey::of(leaf).ok_or(CertificateError::BadEncoding)?;
    match key.fault() {
        Some(fault) => Err(because(fault)),
        None => Ok(key),
    }
}

fn in_time(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let Life { from, until } = name::life(leaf).ok_or(CertificateError::BadEncoding)?;
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let time =
        |seconds: i64| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds.max(0) as u64));
    if seconds < from {
        return Err(CertificateError::NotValidYetContext { time: now, not_before: time(from) }.into());
    }
    if seconds > until {
        return Err(CertificateError::ExpiredContext { time: now, not_after: time(until) }.into());
    }
    Ok(())
}

/// What is wrong with a certificate, in words that rustls has not.
#[derive(Debug)]
struct Because(String);

impl std::fmt::Display for Because {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Because {}

fn because(what: impl Into<String>) -> Error {
    CertificateError::Other(OtherError(Arc::new(Because(what.into())))).into()
}

/// The error, with the name in it that was expected.
fn with_name(error: Error, leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::NotValidForName) => {
            let (expected, presented) = (name.to_owned(), Vec::new());
            CertificateError::NotValidForNameContext { expected, presented }.into()
        }
        error => unless_self_signed(error, leaf),
    }
}

/// A certificate that vouches for itself is another matter for an administrator than an issuer who is not known.
fn unless_self_signed(error: Error, leaf: &CertificateDer<'_>) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) if name::is_self_signed(leaf) => {
            because("self-signed certificate")
        }
        error => error,
    }
}
