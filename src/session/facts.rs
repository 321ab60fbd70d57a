//! Who the client is, and under what its dialog runs: what was learned before the first command, and what a TLS
//! handshake, a PROXY header, XCLIENT or DNS said since.
//!
//! In:    what the shell saw of a connection, and what a trusted peer told about it.
//! Out:   facts for rules, callouts, records, and for whoever tells the hop who the client is.
//! Never: holds what a peer said that is not listed for it, or a name in DNS whose address is another.
//!
//! Most sessions have none of this: it is boxed, and absent for a plain client at a plain listener.

use std::net::{IpAddr, SocketAddr};

use super::route::PoolId;

/// What is known of a client beside its address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFacts {
    /// Whose connection it is, where that is not the client's own: a load balancer's, an MTA's.
    pub via: Option<SocketAddr>,
    /// Where the client connected to, before any proxy or interception. Filled where somebody needs it.
    pub destination: Option<SocketAddr>,
    /// TLS between the client and gatepost.
    pub tls: Option<TlsFacts>,
    /// What a PROXY header told beyond addresses.
    pub proxied: Option<ProxiedFacts>,
    /// Its name in DNS, once somebody asked for it.
    pub ptr: Option<ClientName>,
    /// What XCLIENT told beyond addresses.
    pub xclient: Option<XclientFacts>,
    /// What it last wanted to authenticate by.
    pub mechanism: Option<Box<[u8]>>,
    /// What XFORWARD told of the transaction's message.
    pub forwarded: Option<XforwardFacts>,
    /// Who said XCLIENT, as it was known before: what STARTTLS goes back to.
    pub teller: Option<Box<Teller>>,
}

impl ClientFacts {
    /// Whether nobody on the way could read along: TLS with us, or with the balancer that says so.
    pub fn is_secured(&self) -> bool {
        self.tls().is_some()
    }

    /// That TLS.
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref().or_else(|| self.proxied.as_ref()?.tls.as_ref())
    }

    /// Its name in DNS, where a trusted peer told it or a hop is told it.
    pub fn name(&self) -> Option<&str> {
        if let Some(ClientName::Is(name)) = &self.ptr { Some(name) } else { None }
    }

    /// Whether its name may be found another time.
    pub fn is_name_unknown(&self) -> bool {
        self.ptr == Some(ClientName::Unknown)
    }

    /// As whom it has authenticated, where a trusted peer told it.
    pub fn login(&self) -> Option<&str> {
        self.xclient.as_ref()?.login.as_deref()
    }
}

/// What came of a TLS handshake, on either side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`; from a PROXY header whatever it said.
    pub version: Box<str>,
    /// The cipher suite by its IANA name.
    pub cipher: Box<str>,
    /// The name the client asked for (SNI).
    pub server_name: Option<Box<str>>,
    /// The other side's certificate.
    pub certificate: Option<Certificate>,
    /// The session was resumed.
    pub resumed: bool,
}

impl TlsFacts {
    /// The version, as far as gatepost itself speaks it.
    pub fn version(&self) -> TlsVersion {
        match &*self.version {
            "TLSv1.2" => TlsVersion::Tls12,
            "TLSv1.3" => TlsVersion::Tls13,
            _ => TlsVersion::Other,
        }
    }

    /// Bits of the key that its cipher has, as far as its name says; else 0.
    pub fn key_bits(&self) -> u16 {
        // The hash's name stands behind the key's.
        match ["_128_", "_256_", "CHACHA20"].map(|key| self.cipher.contains(key)) {
            [true, ..] => 128,
            [_, true, _] | [.., true] => 256,
            _ => 0,
        }
    }
}

/// What the first octets of a client are that begins with TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientHello {
    /// More is needed.
    Partial,
    /// A ClientHello; the name of a host, in lower case, if it asks for one.
    Whole {
        /// It.
        server_name: Option<Box<str>>,
    },
    /// None, whatever may follow.
    None,
}

/// A version of TLS, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsVersion {
    /// RFC 5246
    Tls12,
    /// RFC 8446
    Tls13,
    /// What else there may be one day.
    Other,
}

/// A certificate the other side showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Its subject, in the form of RFC 4514; from a PROXY header the common name alone.
    pub subject: Box<str>,
    /// Whether a root that is trusted for this vouches for it, and on the upstream side the name fits.
    pub verified: bool,
    /// Why not.
    pub fault: Option<Box<str>>,
}

impl Certificate {
    /// The common name in its subject, if it is in the form of RFC 4514; `None` if there is none, or one that is not
    /// written as text.
    pub fn common_name(&self) -> Option<Box<str>> {
        let mut value = &*self.subject;
        loop {
            value = value.trim_start();
            let end = end_of_value(value);
            if let Some(name) = value[..end].strip_prefix("CN=") {
                return unescaped(name);
            }
            value = value.get(end + 1..)?;
        }
    }
}

/// Why a TLS handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFault {
    /// In one word, for metrics.
    pub kind: TlsFaultKind,
    /// What exactly; no control characters, bounded.
    pub what: Box<str>,
}

/// How a TLS handshake fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsFaultKind {
    /// The other side closed or broke the connection.
    Lost,
    /// It took longer than `timeouts.tls`.
    TimedOut,
    /// The certificate is expired, not yet valid, of another name, or nobody who is trusted vouches for it.
    Certificate,
    /// No version, cipher or parameter in common, or octets that are no TLS.
    Protocol,
}

impl TlsFaultKind {
    /// All of them.
    pub const ALL: [TlsFaultKind; 4] =
        [TlsFaultKind::Lost, TlsFaultKind::TimedOut, TlsFaultKind::Certificate, TlsFaultKind::Protocol];

    /// Its name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            TlsFaultKind::Lost => "lost",
            TlsFaultKind::TimedOut => "timed_out",
            TlsFaultKind::Certificate => "certificate",
            TlsFaultKind::Protocol => "protocol",
        }
    }
}

/// What a PROXY header told beyond addresses (its TLVs).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxiedFacts {
    /// PP2_TYPE_UNIQUE_ID: at most 128 octets.
    pub unique_id: Option<Box<[u8]>>,
    /// PP2_TYPE_AUTHORITY: the name the client asked for.
    pub authority: Option<Box<str>>,
    /// PP2_TYPE_SSL: TLS between the client and who wrote the header.
    pub tls: Option<TlsFacts>,
}

/// A client's name in DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientName {
    /// The one that its address has, and that has its address.
    Is(Box<str>),
    /// There is none.
    None,
    /// No name server said.
    Unknown,
}

/// What XCLIENT told beyond addresses and NAME. Values are decoded; `None`: not said, or `[UNAVAILABLE]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XclientFacts {
    /// HELO, until the client's own.
    pub helo: Option<Box<str>>,
    /// LOGIN.
    pub login: Option<Box<str>>,
}

/// Whoever said XCLIENT, before anything of it counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Teller {
    /// Its own address.
    pub client: SocketAddr,
    /// What was known of it.
    pub facts: Option<Box<ClientFacts>>,
    /// Where its transactions went.
    pub pool: PoolId,
}

/// What XFORWARD told of a message: for logs, not to be relied on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XforwardFacts {
    /// NAME: of the client it came from.
    pub name: Option<Box<str>>,
    /// ADDR.
    pub address: Option<IpAddr>,
    /// PORT.
    pub port: Option<u16>,
    /// HELO.
    pub helo: Option<Box<str>>,
    /// IDENT: what the message is called there.
    pub ident: Option<Box<str>>,
    /// PROTO: how it came there.
    pub proto: Option<Box<str>>,
    /// SOURCE: `LOCAL` or `REMOTE`.
    pub source: Option<Box<str>>,
}

/// Where a comma or plus stands that is not escaped, or the end.
fn end_of_value(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().position(|octet| {
        let ends = !escaped && matches!(octet, b',' | b'+');
        escaped = !escaped && octet == b'\\';
        ends
    });
    end.unwrap_or(text.len())
}

/// RFC 4514 2.4: a backslash before the octet itself, or before two hexadecimal digits.
fn unescaped(value: &str) -> Option<Box<str>> {
    let mut octets = value.bytes();
    let mut name = Vec::with_capacity(value.len());
    while let Some(octet) = octets.next() {
        match octet {
            b'#' if name.is_empty() => return None,
            b'\\' => {
                let escaped = octets.next()?;
                match char::from(escaped).to_digit(16) {
                    Some(high) => {
                        let low = char::from(octets.next()?).to_digit(16)?;
                        name.push(u8::try_from(high * 16 + low).ok()?);
                    }
                    None => name.push(escaped),
                }
            }
            octet => name.push(octet),
        }
    }
    Some(String::from_utf8(name).ok()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names() {
        for (subject, name) in [
            ("CN=client.example", Some("client.example")),
            ("C=DE,O=Example,CN=client.example,OU=Mail", Some("client.example")),
            ("C=DE, CN=a", Some("a")),
            ("UID=x+CN=a\\,b\\+c", Some("a,b+c")),
            ("CN=J\\C3\\BCrgen", Some("J\u{fc}rgen")),
            ("O=CN\\=x,OU=CN", None),
            ("CN=#0c0141", None),
            ("CN=\\", None),
            ("CN=\\c3", None),
            ("", None),
        ] {
            let certificate = Certificate { subject: subject.into(), ..Certificate::default() };
            assert_eq!(certificate.common_name().as_deref(), name, "{subject}");
        }
    }
}
