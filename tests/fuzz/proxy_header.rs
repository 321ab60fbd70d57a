//! What stands before the dialog when somebody speaks for a client.
//!
//! **In**: octets as they are, spelled, and as a binary header with its length; values to be told. **Out**: a header
//! and its length, or a fault. **Never** must: that depend on how the octets arrive, or on any octet behind the header;
//! more be waited for than a header may have; what is told be read as something else.

use std::net::{IpAddr, SocketAddr};

use bolero::check;
use gatepost::proxy_protocol::{Header, HeaderFault, LONGEST, Proxied, Ssl, Tlvs, is_header, read, v1, v2};

use super::octets::{Inputs, Octets, chosen, spelled};

const WORDS: &[&[u8]] = &[
    b"PROXY ",
    b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 25\r\n",
    b"TCP4",
    b"TCP6",
    b"UNKNOWN",
    b" ",
    b"192.0.2.1",
    b"198.51.100.1",
    b"2001:db8::1",
    b"::ffff:192.0.2.1",
    b"0",
    b"25",
    b"65535",
    b"65536",
    b"007",
    b"+25",
    b"\r\n",
    b"\n",
    b"\r",
    &v2::SIGNATURE,
    b"\x20",
    b"\x21",
    b"\x11",
    b"\x12",
    b"\x22",
    b"\x31",
    b"\0\x0c",
    b"\0\x24",
    b"\0\0",
    b"\x10\x01",
    b"\x02\0\x07a.local",
    b"\x03\0\x04\0\0\0\0",
    b"\x05\0\x02id",
    b"\x20\0\x05\x07\0\0\0\0",
    b"\x21\0\x07TLSv1.3",
    b"\x22\0\x01c",
    b"\x23\0\x03ECD",
    b"\0",
    b"\xff",
];

#[test]
fn proxy_header() {
    check!(name = "proxy_header").with_iterations(1_000).with_generator(Inputs).for_each(|Octets(input)| {
        let spelled = spelled(input, WORDS);
        reads(input);
        reads(&spelled);
        reads(&binary(input));
        reads(&binary(&spelled));
        reads(&listed(input));
        told(input);
        told(&spelled);
    });
}

/// The octets behind a signature, the first three being version, family and what the length is wrong by.
fn binary(octets: &[u8]) -> Vec<u8> {
    let (version, rest) = chosen(octets);
    let (family, rest) = chosen(rest);
    let (wrong, rest) = chosen(rest);
    let version = if version % 4 == 0 { version } else { 0x20 | version & 1 };
    let family = [0, 0x11, 0x11, 0x21, 0x21, 0x12, 0x31, family][usize::from(family % 8)];
    let length = rest.len() as u16;
    let length = if wrong > 0xf0 { length.wrapping_add(u16::from(wrong) << 4) } else { length };
    let mut out = [&v2::SIGNATURE[..], &[version, family], &length.to_be_bytes(), rest].concat();
    out.extend_from_slice(b"EHLO client.example.org\r\n");
    out
}

/// A header with two addresses and what is told besides, each with a length that fits.
fn listed(octets: &[u8]) -> Vec<u8> {
    const KINDS: [u8; 8] = [0x02, 0x05, 0x20, 0x21, 0x22, 0x23, 0x04, 0xea];
    let mut told = Vec::new();
    for choice in octets.chunks(3).take(8) {
        let octet = |at: usize| choice.get(at).copied().unwrap_or_default();
        // From nothing to more than any of them may have.
        let length = [0, 1, 5, 128, 129, 255, 256, 300][usize::from(octet(1) % 8)];
        told.push(KINDS[usize::from(octet(0) % 8)]);
        told.extend_from_slice(&u16::to_be_bytes(length));
        told.extend(std::iter::repeat_n(octet(2), usize::from(length)));
    }
    let length = u16::try_from(12 + told.len()).expect("a few hundred each");
    [
        &v2::SIGNATURE[..],
        b"\x21\x11",
        &length.to_be_bytes(),
        &[192, 0, 2, 1, 198, 51, 100, 1, 1, 2, 0, 25],
        &told,
    ]
    .concat()
}

fn reads(octets: &[u8]) {
    let name = || octets.escape_ascii().to_string();
    let mut known: Option<Result<(Header, usize), HeaderFault>> = None;
    // Every prefix, the whole being the last.
    for end in 0..=octets.len() {
        let said = read(&octets[..end]);
        match (&known, said) {
            (None, Ok(None)) => assert!(end < LONGEST, "more is waited for: {}", name()),
            (None, Ok(Some((header, taken)))) => {
                assert_eq!(taken, end, "a header that was whole before: {}", name());
                assert!(taken <= LONGEST && is_header(octets), "{}", name());
                bounded(&header);
                known = Some(Ok((header, taken)));
            }
            (None, Err(fault)) => known = Some(Err(fault)),
            (Some(Ok(before)), said) => assert_eq!(said.as_ref(), Ok(&Some(before.clone())), "{}", name()),
            (Some(Err(before)), said) => assert_eq!(said.as_ref(), Err(before), "{}", name()),
        }
    }
    // What is read is told on: most of all it must not become another client.
    if let Some(Ok((Header::Proxied(proxied), _))) = known {
        tells(&proxied);
    }
}

/// What a header may make others keep.
fn bounded(header: &Header) {
    let Header::Proxied(proxied) = header else { return };
    let Tlvs { authority, unique_id, ssl } = &proxied.tlvs;
    let ssl = ssl.iter().flat_map(|ssl| [Some(&ssl.version), Some(&ssl.cipher), ssl.common_name.as_ref()]);
    for text in ssl.flatten().chain(authority) {
        assert!(text.len() <= 255 && !text.chars().any(char::is_control), "{text:?}");
    }
    assert!(unique_id.as_ref().is_none_or(|id| (1..=128).contains(&id.len())));
}

/// Values made of the octets, told.
fn told(octets: &[u8]) {
    let (flags, rest) = chosen(octets);
    let (cut, rest) = chosen(rest);
    let address = |at: usize, ipv6: bool| {
        let octets: [u8; 18] = std::array::from_fn(|place| rest.get(at + place).copied().unwrap_or_default());
        let port = u16::from_be_bytes([octets[16], octets[17]]);
        let ip: IpAddr = match octets.first_chunk::<4>() {
            Some(ip) if !ipv6 => (*ip).into(),
            _ => <[u8; 16]>::try_from(&octets[..16]).expect("sixteen").into(),
        };
        SocketAddr::new(ip, port)
    };
    let (source, destination) = (address(0, flags & 1 != 0), address(7, flags & 2 != 0));
    let text = |from: usize| -> Box<str> {
        let from = from.min(rest.len());
        let to = (from + usize::from(cut)).min(rest.len());
        String::from_utf8_lossy(&rest[from..to]).replace(char::is_control, "").into()
    };
    let some = |bit: u8, text: Box<str>| Some(text).filter(|text| flags & bit != 0 && !text.is_empty());
    let id: Box<[u8]> = rest[..rest.len().min(usize::from(cut) % 129)].into();
    let has_certificate = flags & 0x20 != 0;
    let ssl = Ssl {
        version: text(2),
        cipher: text(3),
        has_certificate,
        resumed: has_certificate && flags & 0x40 != 0,
        verified: has_certificate && flags & 0x80 != 0,
        common_name: some(1, text(5)),
    };
    let tlvs = Tlvs {
        authority: some(4, text(1)),
        unique_id: Some(id).filter(|id| flags & 8 != 0 && !id.is_empty()),
        ssl: Some(ssl).filter(|_| flags & 0x10 != 0),
    };
    tells(&Proxied { source, destination, tlvs });
}

/// Written and read back, with the dialog behind it.
fn tells(proxied: &Proxied) {
    let same = |read: SocketAddr, said: SocketAddr| {
        (read.ip().to_canonical(), read.port()) == (said.ip().to_canonical(), said.port())
    };
    for version in [1, 2] {
        let mut octets = Vec::new();
        match version {
            1 => v1::write(proxied.source, proxied.destination, &mut octets),
            _ => v2::write(proxied, &mut octets),
        }
        let length = octets.len();
        octets.extend_from_slice(b"EHLO client.example.org\r\n");
        let said = read(&octets);
        let Ok(Some((Header::Proxied(back), taken))) = said else {
            panic!("version {version} of {proxied:?} is read as {said:?}")
        };
        assert_eq!(taken, length);
        assert!(same(back.source, proxied.source) && same(back.destination, proxied.destination), "{back:?}");
        if version == 2 {
            assert_eq!(back.tlvs, kept(&proxied.tlvs));
        }
    }
}

/// What is too long is left out.
fn kept(tlvs: &Tlvs) -> Tlvs {
    let fits = |text: &str| text.len() <= 255;
    let mut tlvs = tlvs.clone();
    tlvs.authority = tlvs.authority.filter(|text| fits(text));
    if let Some(ssl) = &mut tlvs.ssl {
        ssl.common_name = ssl.common_name.take().filter(|text| fits(text));
        for text in [&mut ssl.version, &mut ssl.cipher] {
            if !fits(text) {
                *text = Box::default();
            }
        }
    }
    tlvs
}
