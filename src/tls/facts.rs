//! What came of a handshake, in words.
//!
//! In:    a connection whose handshake is done, and who may vouch for the other side; or the error that ended it.
//! Out:   [`TlsFacts`] or a [`TlsFault`], for the session.
//! Never: lets anything of the other side's into a log as it came: no control characters, and not much of it.
//!
//! Cipher suites have their IANA names; protocol versions are written as OpenSSL and Postfix write them.

use std::io;

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConnection, CommonState, Error, HandshakeKind, InvalidMessage,
    PeerIncompatible, ProtocolVersion, ServerConnection,
};
use x509_parser::time::ASN1Time;

use super::name::subject;
use super::verify::{ClientJudge, HopJudge};
use crate::session::client::{Certificate, TlsFacts, TlsFault, TlsFaultKind};

/// Octets of an explanation that are kept.
const MOST: usize = 200;

/// What came of a handshake with a client; `judge` is asked about its certificate.
pub fn of_client(connection: &ServerConnection, judge: Option<&ClientJudge>) -> TlsFacts {
    let mut facts = of(connection, |chain| judge.and_then(|judge| judge.fault(chain)));
    facts.server_name = connection.server_name().map(Into::into);
    facts
}

/// What came of a handshake with a hop; `judge` is asked about its certificate, unless it was in the handshake.
pub fn of_hop(connection: &ClientConnection, judge: &HopJudge, name: &ServerName<'_>) -> TlsFacts {
    of(connection, |chain| if judge.is_strict() { None } else { judge.fault(chain, name) })
}

/// Why a handshake failed.
pub fn fault(error: &io::Error) -> TlsFault {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => TlsFault { kind: kind(error), what: in_words(error) },
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            TlsFault { kind: TlsFaultKind::Lost, what: "closed in the handshake".into() }
        }
        None => TlsFault { kind: TlsFaultKind::Lost, what: printable(&error.to_string()) },
    }
}

/// An alert that came behind a handshake: the other side does not go on with what it was, or was not, shown in it.
pub fn refusal(error: &io::Error) -> Option<TlsFault> {
    match error.get_ref()?.downcast_ref::<Error>()? {
        error @ Error::AlertReceived(_) => Some(TlsFault { kind: kind(error), what: in_words(error) }),
        _ => None,
    }
}

/// Octets came in plain where TLS was to begin (CVE-2011-0411 and its kin).
pub fn injected() -> TlsFault {
    TlsFault { kind: TlsFaultKind::Protocol, what: "octets in plain before the handshake".into() }
}

/// There is nothing that a handshake could go by.
pub fn not_configured() -> TlsFault {
    TlsFault { kind: TlsFaultKind::Protocol, what: "no TLS is configured here".into() }
}

/// What is wrong.
pub(super) fn in_words(error: &Error) -> Box<str> {
    match error {
        Error::InvalidCertificate(error) => certificate_in_words(error),
        Error::NoCertificatesPresented => "no certificate".into(),
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the other side refused: it wants a certificate of ours".into()
        }
        Error::AlertReceived(alert) => printable(&format!("the other side refused: {alert:?}")),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "octets that are no TLS".into(),
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "no version in common: TLS 1.2 and 1.3 are spoken here".into(),
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            "no cipher suite in common".into()
        }
        error => printable(&error.to_string()),
    }
}

fn kind(error: &Error) -> TlsFaultKind {
    use AlertDescription as Alert;
    match error {
        Error::InvalidCertificate(_)
        | Error::NoCertificatesPresented
        | Error::AlertReceived(
            Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::CertificateRequired,
        ) => TlsFaultKind::Certificate,
        Error::AlertReceived(Alert::CloseNotify | Alert::UserCanceled) => TlsFaultKind::Lost,
        _ => TlsFaultKind::Protocol,
    }
}

fn certificate_in_words(error: &CertificateError) -> Box<str> {
    match error {
        CertificateError::Expired => "certificate expired".into(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("certificate expired on {}", day_of(*not_after)).into()
        }
        CertificateError::NotValidYet => "certificate is not valid yet".into(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("certificate is not valid before {}", day_of(*not_before)).into()
        }
        CertificateError::NotValidForNameContext { expected, .. } => {
            printable(&format!("certificate is not valid for {}", expected.to_str()))
        }
        CertificateError::UnknownIssuer => "unknown issuer".into(),
        CertificateError::BadEncoding => "certificate cannot be read".into(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate is for another purpose".into()
        }
        // rustls has no words for it of its own. Many who make a certificate for themselves make this.
        CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            "certificate is that of an authority, not of a host".into()
        }
        // It has no names either, for which it could be verified.
        CertificateError::Other(other) if other.to_string() == "UnsupportedCertVersion" => {
            "certificate is not of X.509 version 3".into()
        }
        CertificateError::Other(other) => printable(&other.to_string()),
        error => printable(&error.to_string()),
    }
}

fn of(connection: &CommonState, fault: impl FnOnce(&[CertificateDer<'_>]) -> Option<Box<str>>) -> TlsFacts {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLSv1.2",
    };
    let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    let certificate = connection.peer_certificates().and_then(|chain| {
        let leaf = chain.first()?;
        let fault = fault(chain);
        Some(Certificate { subject: subject(leaf), verified: fault.is_none(), fault })
    });
    TlsFacts {
        version: version.into(),
        // Theirs are the IANA's, but for those of TLS 1.3.
        cipher: cipher.unwrap_or_default().replacen("TLS13_", "TLS_", 1).into(),
        server_name: None,
        certificate,
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
    }
}

/// `2026-01-31`, of seconds since 1970.
pub fn day(seconds: i64) -> String {
    ASN1Time::from_timestamp(seconds)
        .map_or_else(|_| "an unknown day".into(), |time| time.to_datetime().date().to_string())
}

fn day_of(time: UnixTime) -> String {
    day(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

fn printable(text: &str) -> Box<str> {
    text.chars().take(MOST).map(|char| if char.is_control() { '?' } else { char }).collect::<String>().into()
}
