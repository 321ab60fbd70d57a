//! The ways into a peer: plain, or TLS from STARTTLS or the first octet on, and what either side needs for it.
//!
//! In:    a way; a directory for certificates.
//! Out:   which peers have it, the certificate they show, what a client says before its first message.
//! Never: verifies a certificate or resumes a session: what is measured is the peer's whole handshake.
//!
//! The client offers one version, suite and group (TLS 1.3, AES-256-GCM, X25519), so that every peer does the same work.
//! RFC 3207 (STARTTLS), RFC 8314 (TLS from the first octet), RFC 8446.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use crate::certificates::{Authority, Files};
use crate::peers::Kind;
use crate::source::Step;

const NAME: &str = "proxy.test";

/// How a session with a peer begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    Plain,
    /// TLS after STARTTLS, RSA of 2048 bits.
    StartTls,
    /// TLS from the first octet, RSA of 2048 bits.
    Tls,
    /// TLS from the first octet, ECDSA P-256.
    TlsEcdsa,
}

/// What the peers show, all of them the same.
pub struct Certificates {
    rsa: Files,
    ecdsa: Files,
}

impl Entry {
    /// How `kind` is entered when this is asked for. HAProxy has no STARTTLS: its TLS from the first octet stands for it.
    pub fn at(self, kind: Kind) -> Option<Self> {
        match (kind, self) {
            (_, Self::Plain) => Some(self),
            (Kind::Direct | Kind::Relay, _) => None,
            (Kind::Haproxy, Self::StartTls) => Some(Self::Tls),
            _ => Some(self),
        }
    }

    /// For the names of directories.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::StartTls => "starttls",
            Self::Tls => "tls",
            Self::TlsEcdsa => "tls-ecdsa",
        }
    }

    /// Whether the client's first octet is TLS's.
    pub fn is_tls_at_once(self) -> bool {
        matches!(self, Self::Tls | Self::TlsEcdsa)
    }

    /// What a client says before its first MAIL. It starts by sending nothing and waiting for the greeting.
    pub fn opening(self) -> Vec<Step> {
        let ehlo = || Step::new("EHLO client.test\r\n", 1);
        let greeting = Step::new("", 1);
        if self != Self::StartTls {
            return vec![greeting, ehlo()];
        }
        let starttls = Step { then_tls: true, ..Step::new("STARTTLS\r\n", 1) };
        vec![greeting, ehlo(), starttls, ehlo()]
    }
}

impl Certificates {
    /// Makes them, in `directory`.
    pub fn make(directory: &Path) -> Self {
        let authority = Authority::new("compare");
        Self {
            rsa: authority.server_rsa(&[NAME]).write(directory, "rsa"),
            ecdsa: authority.server(&[NAME]).write(directory, "ecdsa"),
        }
    }

    /// The one shown at `entry`.
    pub fn of(&self, entry: Entry) -> Option<&Files> {
        match entry {
            Entry::Plain => None,
            Entry::StartTls | Entry::Tls => Some(&self.rsa),
            Entry::TlsEcdsa => Some(&self.ecdsa),
        }
    }
}

/// A client at the beginning of its handshake.
pub fn client() -> io::Result<ClientConnection> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
    ClientConnection::new(Arc::clone(CONFIG.get_or_init(|| Arc::new(config()))), name)
        .map_err(io::Error::other)
}

fn config() -> ClientConfig {
    let provider = CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![kx_group::X25519],
        ..default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider's suite is one of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config
}

/// Takes every certificate: the source's time is not what is measured.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
