//! Certificates judged: who vouches for them, for how long, and for which name.
//!
//! In:    the chain that the other side showed.
//! Out:   a judgement in words. In a handshake it counts only for a hop whose pool verifies; else the handshake goes
//!        on, and the judgement is asked for afterwards, as a fact.
//! Never: takes a signature for good that was not made with the key in the certificate, whoever vouches for that.
//!
//! RFC 5280 6, RFC 9525; RFC 8446 4.4.3.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use super::facts::in_words;
use super::provider;

/// Judges the certificates of hops.
#[derive(Debug)]
pub struct HopJudge {
    /// `None`: nobody is trusted.
    roots: Option<Arc<WebPkiServerVerifier>>,
    strict: bool,
}

impl HopJudge {
    /// One that trusts these roots. A `strict` one has handshakes fail.
    pub fn new(roots: Arc<RootCertStore>, strict: bool) -> Self {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider()));
        // It fails only where there are no roots.
        Self { roots: verifier.build().ok(), strict }
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
        let Some(roots) = &self.roots else { return Err(CertificateError::UnknownIssuer.into()) };
        roots.verify_server_cert(leaf, others, name, &[], now).map_err(|error| named(error, leaf, name))?;
        Ok(())
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
        verify_tls12_signature(message, leaf, signed, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Judges the certificates of clients. No handshake fails for one that is not in order, or for none.
#[derive(Debug)]
pub struct ClientJudge(Arc<dyn ClientCertVerifier>);

impl ClientJudge {
    /// One that trusts these roots; `None` where there are none.
    pub fn new(roots: RootCertStore) -> Option<Self> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider()));
        Some(Self(verifier.allow_unauthenticated().build().ok()?))
    }

    /// What is wrong with a chain, if anything is.
    pub fn fault(&self, chain: &[CertificateDer<'_>]) -> Option<Box<str>> {
        let Some((leaf, others)) = chain.split_first() else { return Some("no certificate".into()) };
        let judged = self.0.verify_client_cert(leaf, others, UnixTime::now());
        judged.err().map(|error| in_words(&unless_self_signed(error, leaf)))
    }
}

impl ClientCertVerifier for ClientJudge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
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
        self.0.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// A certificate that vouches for itself: another matter for an administrator than an issuer who is not known.
#[derive(Debug)]
struct SelfSigned;

impl std::fmt::Display for SelfSigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("self-signed certificate")
    }
}

impl std::error::Error for SelfSigned {}

/// The error, with the name in it that was expected.
fn named(error: Error, leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::NotValidForName) => {
            let (expected, presented) = (name.to_owned(), Vec::new());
            CertificateError::NotValidForNameContext { expected, presented }.into()
        }
        error => unless_self_signed(error, leaf),
    }
}

fn unless_self_signed(error: Error, leaf: &CertificateDer<'_>) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) if super::name::is_self_signed(leaf) => {
            CertificateError::Other(OtherError(Arc::new(SelfSigned))).into()
        }
        error => error,
    }
}
