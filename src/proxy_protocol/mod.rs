//! The PROXY protocol: who the client is, said by whoever connects in its place, before anything else.
//!
//! **In**: the first octets of a connection; what is to be told. **Out**: a [`Header`], that more octets are needed, or
//! one [`HeaderFault`]; the octets of a header. **Never**: reads a socket, trusts anybody (the listener's ranges do), guesses
//! where a header ends, or allocates more than the header's own values, each of which is bounded.
//!
//! | file | is |
//! |---|---|
//! | `v1` | the line of text |
//! | `v2` | the binary form |
//! | `tlv` | what version 2 can tell besides: names, TLS |
//!
//! HAProxy's specification, `doc/proxy-protocol.txt`, sections 2.1 to 2.3; why it is read by our own hand stands in
//! `docs/decisions/0021-proxy-headers-by-our-own-hand.md`.

mod tlv;
pub mod v1;
pub mod v2;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

pub use tlv::{Ssl, Tlvs};

/// A header is never longer: 16 octets, and as many as version 2 may announce here. (It could announce 64 KiB; what
/// is told in practice takes a few hundred octets.)
pub const LONGEST: usize = 16 + v2::LONGEST;

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// Whoever sent it speaks for itself, as when it looks whether we live: the connection's own addresses hold.
    Local,
    /// There is a client, of which no internet address is known: the connection's own addresses hold.
    Unknown,
    /// There is a client.
    Proxied(Box<Proxied>),
}

/// Whose connection it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
    /// What else is told; nothing by version 1.
    pub tlvs: Tlvs,
}

/// Why octets are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// They begin with neither form's signature.
    Missing,
    /// It does not end within what a header may have.
    TooLong,
    /// The line of version 1 is not as it must be.
    Line,
    /// A version or command that does not exist.
    Version,
    /// A family or transport that does not exist.
    Family,
    /// The addresses do not fit into the length that is announced.
    Addresses,
    /// What is told besides cannot be read: a value that does not fit, is too long or too short, or is said twice.
    Tlv,
    /// The checksum is another one.
    Checksum,
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeaderFault::Missing => "octets that are no PROXY header",
            HeaderFault::TooLong => "a PROXY header that is too long",
            HeaderFault::Line => "a PROXY line that cannot be read",
            HeaderFault::Version => "a PROXY header of an unknown version or command",
            HeaderFault::Family => "a PROXY header of an unknown family or transport",
            HeaderFault::Addresses => "a PROXY header too short for its addresses",
            HeaderFault::Tlv => "a PROXY header with a TLV that cannot be read",
            HeaderFault::Checksum => "a PROXY header with a wrong checksum",
        })
    }
}

/// Reads a header from the first octets of a connection, and how many it has. `None`: it is not whole yet.
///
/// # Errors
///
/// What is wrong, as soon as it can be told; no octets behind those can make it right.
pub fn read(octets: &[u8]) -> Result<Option<(Header, usize)>, HeaderFault> {
    if begins_with(octets, &v2::SIGNATURE) {
        v2::read(octets)
    } else if begins_with(octets, v1::SIGNATURE) {
        v1::read(octets)
    } else {
        Err(HeaderFault::Missing)
    }
}

/// Whether octets begin as a header does: from somebody who has no business to send one, it is no command either.
pub fn is_header(octets: &[u8]) -> bool {
    octets.starts_with(v1::SIGNATURE) || octets.starts_with(&v2::SIGNATURE)
}

/// Two addresses of one family: an IPv4 address beside an IPv6 one is mapped (RFC 4291 2.5.5.2).
fn of_one_family(one: SocketAddr, other: SocketAddr) -> (SocketAddr, SocketAddr) {
    if one.is_ipv4() == other.is_ipv4() {
        return (one, other);
    }
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    (mapped(one), mapped(other))
}

/// Whether these are the first octets of something that begins so, or less than that.
fn begins_with(octets: &[u8], signature: &[u8]) -> bool {
    let compared = octets.len().min(signature.len());
    octets[..compared] == signature[..compared]
}

#[cfg(test)]
mod tests;
