//! What holds at gatepost's two edges: TLS with clients and with hops, and how it learns and tells who a client is.
//!
//! **In**: nothing; `edges` fills these. **Out**: plain types, each with its default; re-exported by
//! [`super::types`]. **Never**: reads a certificate (that is `tls`), or names a file of the source.
//!
//! RFC 3207 (STARTTLS), RFC 8314 (implicit TLS); the PROXY protocol of HAProxy; XCLIENT and XFORWARD of Postfix.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

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
    /// The keys it may have, instead of anybody's vouching for it.
    pub pins: Vec<Pin>,
    /// The name asked for and verified, instead of the host's own.
    pub server_name: Option<String>,
    /// What is shown to a host that asks for a certificate.
    pub certificate: Option<KeyPair>,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self {
            mode: HopTls::Off,
            verify: true,
            roots: None,
            pins: Vec::new(),
            server_name: None,
            certificate: None,
        }
    }
}

impl UpstreamTls {
    /// All files it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.certificate.iter().flat_map(KeyPair::files).chain(self.roots.as_deref())
    }
}

/// A public key, by the SHA-256 of its SubjectPublicKeyInfo (RFC 7469 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// One written `sha256:` and 64 hexadecimal digits (colons between pairs of them are as good), or their base64.
    pub fn parse(text: &str) -> Option<Self> {
        let digest = text.strip_prefix("sha256:")?;
        // 64 hexadecimal digits are base64 of something, too.
        let octets = STANDARD.decode(digest).ok().filter(|octets| octets.len() == 32).or_else(|| {
            let digits: Vec<u8> = digest.bytes().filter(|&octet| octet != b':').collect();
            let nibble = |digit: u8| char::from(digit).to_digit(16);
            let pair = |pair: &[u8]| match *pair {
                [high, low] => u8::try_from(nibble(high)? * 16 + nibble(low)?).ok(),
                _ => None,
            };
            digits.chunks(2).map(pair).collect()
        });
        octets?.try_into().ok().map(Self)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_the_same_in_each_of_its_forms() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let pairs: Vec<String> =
            hex.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into()).collect();
        let forms = [
            hex.to_owned(),
            hex.to_uppercase(),
            pairs.join(":"),
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".to_owned(),
        ];
        for form in forms {
            let pin = Pin::parse(&format!("sha256:{form}")).unwrap();
            assert_eq!(pin.to_string(), format!("sha256:{hex}"));
        }
        for wrong in ["", "sha256:", hex, "sha1:e3b0", "sha256:e3b0", &format!("sha256:{hex}0"), "sha256:zz"]
        {
            assert_eq!(Pin::parse(wrong), None, "{wrong}");
        }
    }
}
