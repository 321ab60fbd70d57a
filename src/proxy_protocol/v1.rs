//! Version 1 of the PROXY protocol: one line of text.
//!
//! **In**: the first octets of a connection; two addresses. **Out**: the header and its length; its octets.
//! **Never**: takes a line that is longer than 107 octets, ends otherwise than by CRLF, has more or less than single
//! spaces, or numbers that are written in more than one way.
//!
//! HAProxy's specification, section 2.1.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str;

use super::{Header, HeaderFault, Proxied, Tlvs, of_one_family};

/// How it begins.
pub const SIGNATURE: &[u8] = b"PROXY ";

/// What is said of a connection of our own: a probe. (LOCAL exists in version 2 only.)
pub const LOCAL: &[u8] = b"PROXY UNKNOWN\r\n";

/// The longest line with its CRLF.
const LONGEST: usize = 107;

/// Reads a line that begins with [`SIGNATURE`], or with a part of it.
pub(super) fn read(octets: &[u8]) -> Result<Option<(Header, usize)>, HeaderFault> {
    let within = &octets[..octets.len().min(LONGEST)];
    let Some(end) = memchr::memchr(b'\n', within) else {
        return if within.len() < LONGEST { Ok(None) } else { Err(HeaderFault::TooLong) };
    };
    let line = within[..end].strip_suffix(b"\r").ok_or(HeaderFault::Line)?;
    let line = str::from_utf8(line).map_err(|_| HeaderFault::Line)?;
    let header = header(line).ok_or(HeaderFault::Line)?;
    Ok(Some((header, end + 1)))
}

/// Appends a header.
pub fn write(source: SocketAddr, destination: SocketAddr, out: &mut Vec<u8>) {
    let (source, destination) = of_one_family(source, destination);
    let family = if source.is_ipv4() { '4' } else { '6' };
    let (from, to) = (source.ip(), destination.ip());
    let line = format!("PROXY TCP{family} {from} {to} {} {}\r\n", source.port(), destination.port());
    out.extend_from_slice(line.as_bytes());
}

fn header(line: &str) -> Option<Header> {
    let mut fields = line.split(' ').skip(1);
    let address: fn(&str) -> Option<IpAddr> = match fields.next()? {
        "TCP4" => |field| field.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |field| field.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        // Whatever stands behind it is to be ignored.
        "UNKNOWN" => return Some(Header::Unknown),
        _ => return None,
    };
    let (from, to) = (address(fields.next()?)?, address(fields.next()?)?);
    let (source, destination) = (port(fields.next()?)?, port(fields.next()?)?);
    fields.next().is_none().then(|| {
        Header::Proxied(Box::new(Proxied {
            source: SocketAddr::new(from, source),
            destination: SocketAddr::new(to, destination),
            tlvs: Tlvs::default(),
        }))
    })
}

/// A number without sign or leading zeros.
fn port(field: &str) -> Option<u16> {
    let canonical = field == "0" || !field.starts_with(['0', '+']);
    if canonical { field.parse().ok() } else { None }
}
