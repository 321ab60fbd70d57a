//! TLS on either side: certificates, keys and roots, as rustls takes them; what came of a handshake, in words.
//!
//! In:    the files that `listeners[].tls`, `upstreams.*.tls` and `callouts[].tls` name, read when a configuration is
//!        prepared and again when they change.
//! Out:   [`ServerTls`] of a listener and [`ClientTls`] of a pool or callout; [`facts`] of a connection;
//!        [`client_hello`] of one that is passed through.
//! Never: touches a socket (`net` does), or lets anything but TLS 1.2 and 1.3 and one provider of cryptography in.
//!
//! | file | is |
//! |---|---|
//! | `pem` | files read |
//! | `server`, `client` | how we are a server to clients, a client to hops |
//! | `verify`, `key` | certificates judged, whether or not the judgement counts; what their keys have signed |
//! | `client_hello` | whom a client asks for whose TLS is the hop's |
//! | `facts`, `name` | what came of a handshake; a certificate's subject |
//! | `expiry` | our own certificates that are over, or soon will be |
//! | `set` | all of a configuration's |
//! | `faults` | what is wrong with any of its files |
//! | `watch` | files that changed |
//!
//! RFC 8446, RFC 5246, RFC 6066 (SNI), RFC 5280, RFC 9525 (names); RFC 9325 (what is safe).

pub mod client;
pub mod client_hello;
pub mod expiry;
pub mod facts;
pub mod faults;
mod key;
pub mod name;
pub mod pem;
pub mod server;
pub mod set;
mod verify;
pub mod watch;

use std::sync::{Arc, LazyLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;

pub use self::client::ClientTls;
pub use self::pem::PemError;
pub use self::server::ServerTls;
pub use self::set::TlsSet;
use crate::config::types::Pin;

/// What is spoken.
const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// Who does the cryptography.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    &PROVIDER
}

/// What the key of a certificate is pinned by.
pub fn pin(certificate: &CertificateDer<'_>) -> Option<Pin> {
    key::PublicKey::of(certificate).map(|key| key.pin())
}

#[cfg(test)]
#[allow(dead_code, reason = "shared with process; not every test needs all of it")]
#[path = "../../tests/support/certificates.rs"]
pub(crate) mod certificates;
