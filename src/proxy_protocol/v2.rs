//! Version 2 of the PROXY protocol: binary.
//!
//! **In**: the first octets of a connection; what is to be told. **Out**: the header and its length; its octets.
//! **Never**: waits for more than [`LONGEST`] octets behind the first 16, or reads beyond the length that is announced.
//!
//! HAProxy's specification, section 2.2. A family that is none of the internet's (a Unix socket, a datagram) says as
//! little as none at all: the specification has the receiver fall back to the connection's own addresses.

use std::net::{IpAddr, SocketAddr};

use super::{Header, HeaderFault, Proxied, Tlvs, of_one_family};

/// How it begins. As SMTP it is two empty lines, a line of NUL, and QUIT.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// How many octets may be announced behind the first 16.
pub const LONGEST: usize = 4096;

/// What is said of a connection of our own: a probe.
pub const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Where addresses begin.
const FIXED: usize = 16;

/// Reads a header that begins with [`SIGNATURE`], or with a part of it.
pub(super) fn read(octets: &[u8]) -> Result<Option<(Header, usize)>, HeaderFault> {
    let Some(&version) = octets.get(12) else { return Ok(None) };
    let is_local = match version {
        0x20 => true,
        0x21 => false,
        _ => return Err(HeaderFault::Version),
    };
    let (Some(&family), Some(&[high, low])) =
        (octets.get(13), octets.get(14..FIXED).and_then(<[u8]>::first_chunk))
    else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST {
        return Err(HeaderFault::TooLong);
    }
    let Some(whole) = octets.get(..FIXED + length) else { return Ok(None) };
    let header = if is_local { Header::Local } else { proxied(family, whole)? };
    Ok(Some((header, whole.len())))
}

/// Appends a header.
pub fn write(proxied: &Proxied, out: &mut Vec<u8>) {
    let (source, destination) = of_one_family(proxied.source, proxied.destination);
    out.extend_from_slice(&SIGNATURE);
    out.extend_from_slice(&[0x21, if source.is_ipv4() { 0x11 } else { 0x21 }]);
    let length = out.len();
    out.extend_from_slice(&[0, 0]);
    for address in [source, destination] {
        match address.ip() {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
    }
    for address in [source, destination] {
        out.extend_from_slice(&address.port().to_be_bytes());
    }
    proxied.tlvs.write(out);
    let behind =
        u16::try_from(out.len() - length - 2).expect("every value is bounded, and all of them together");
    out[length..length + 2].copy_from_slice(&behind.to_be_bytes());
}

fn proxied(family: u8, whole: &[u8]) -> Result<Header, HeaderFault> {
    let behind = &whole[FIXED..];
    let (from, to, behind): (IpAddr, IpAddr, _) = match family {
        0x11 => {
            let (from, behind) = behind.split_first_chunk::<4>().ok_or(HeaderFault::Addresses)?;
            let (to, behind) = behind.split_first_chunk::<4>().ok_or(HeaderFault::Addresses)?;
            ((*from).into(), (*to).into(), behind)
        }
        0x21 => {
            let (from, behind) = behind.split_first_chunk::<16>().ok_or(HeaderFault::Addresses)?;
            let (to, behind) = behind.split_first_chunk::<16>().ok_or(HeaderFault::Addresses)?;
            ((*from).into(), (*to).into(), behind)
        }
        // Unspecified, datagrams, Unix sockets.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => return Ok(Header::Unknown),
        _ => return Err(HeaderFault::Family),
    };
    let (ports, tlvs) = behind.split_first_chunk::<4>().ok_or(HeaderFault::Addresses)?;
    let [source, destination] = [[ports[0], ports[1]], [ports[2], ports[3]]].map(u16::from_be_bytes);
    Ok(Header::Proxied(Box::new(Proxied {
        source: SocketAddr::new(from, source),
        destination: SocketAddr::new(to, destination),
        tlvs: Tlvs::read(tlvs, whole)?,
    })))
}
