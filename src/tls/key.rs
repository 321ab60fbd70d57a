//! The public key in a certificate: whether what is signed with it can be judged, and what it is pinned by.
//!
//! In:    a certificate in DER, of whatever version; what was signed in a handshake.
//! Out:   what is wrong with the key, if anything is; whether a signature is its own; its pin.
//! Never: asks who vouches for it: that is `verify`'s.
//!
//! rustls takes a key from a certificate of version 3 only. Appliances show those of version 1 still, and the key is the
//! same in either. RFC 5280 4.1.2.7 (SubjectPublicKeyInfo), RFC 5246 4.7 and RFC 8446 4.4.3 (signatures), RFC 7469 2.4
//! (pins).

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::verify_tls13_signature_with_raw_key;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved};
use x509_parser::asn1_rs::Any;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey as Parsed;

use super::provider;
use crate::config::types::Pin;

/// Bits of the RSA keys whose signatures are judged (RFC 9325 4.5).
const RSA: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The key of one certificate.
#[derive(Debug)]
pub struct PublicKey {
    /// SubjectPublicKeyInfo.
    whole: Box<[u8]>,
    /// What its AlgorithmIdentifier holds.
    algorithm: Box<[u8]>,
    /// The key alone.
    key: Box<[u8]>,
    /// Bits of an RSA key.
    bits: Option<usize>,
}

impl PublicKey {
    /// That of a certificate that can be read so far.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let info = certificate.public_key();
        let (_, inside) = Any::from_der(info.raw).ok()?;
        let (_, algorithm) = Any::from_der(inside.as_bytes()).ok()?;
        let bits = match info.parsed() {
            Ok(Parsed::RSA(key)) => Some(bits(key.modulus)),
            _ => None,
        };
        Some(Self {
            whole: info.raw.into(),
            algorithm: algorithm.as_bytes().into(),
            key: info.subject_public_key.data.as_ref().into(),
            bits,
        })
    }

    /// What it is pinned by.
    pub fn pin(&self) -> Pin {
        let mut pin = [0; 32];
        pin.copy_from_slice(digest(&SHA256, &self.whole).as_ref());
        Pin(pin)
    }

    /// Why no signature of it can be judged.
    pub fn fault(&self) -> Option<String> {
        let known = provider().signature_verification_algorithms.all;
        match self.bits {
            Some(bits) if bits < *RSA.start() => Some(format!("key of {bits} bits is too short")),
            Some(bits) if bits > *RSA.end() => Some(format!("key of {bits} bits is too long")),
            _ if known.iter().any(|known| *known.public_key_alg_id() == *self.algorithm) => None,
            _ => Some("key is of a kind that is not known here".into()),
        }
    }

    /// Whether what TLS 1.2 has signed was signed with it.
    pub fn has_signed12(
        &self,
        message: &[u8],
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // A scheme of TLS 1.2 leaves the curve open: the key says which it is.
        let mapping = provider().signature_verification_algorithms.mapping;
        let scheme = mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let (_, known) = scheme.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let algorithm = known.iter().find(|known| *known.public_key_alg_id() == *self.algorithm);
        algorithm
            .and_then(|algorithm| algorithm.verify_signature(&self.key, message, signed.signature()).ok())
            .map(|()| HandshakeSignatureValid::assertion())
            .ok_or(Error::InvalidCertificate(CertificateError::BadSignature))
    }

    /// Whether what TLS 1.3 has signed was signed with it.
    pub fn has_signed13(
        &self,
        message: &[u8],
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(&*self.whole);
        verify_tls13_signature_with_raw_key(
            message,
            &key,
            signed,
            &provider().signature_verification_algorithms,
        )
    }
}

/// Bits of a number.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|&&octet| octet == 0).count();
    let number = &number[zeros..];
    number.len() * 8 - number.first().map_or(0, |octet| octet.leading_zeros() as usize)
}
