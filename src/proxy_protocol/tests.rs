use std::net::SocketAddr;

use proptest::prelude::*;

use super::tlv::crc32c;
use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn proxied(source: &str, destination: &str, tlvs: Tlvs) -> Proxied {
    Proxied { source: address(source), destination: address(destination), tlvs }
}

fn written(proxied: &Proxied) -> Vec<u8> {
    let mut out = Vec::new();
    v2::write(proxied, &mut out);
    out
}

/// Version 2 by hand.
fn binary(version: u8, family: u8, behind: &[u8]) -> Vec<u8> {
    let length = u16::try_from(behind.len()).unwrap().to_be_bytes();
    [&v2::SIGNATURE[..], &[version, family], &length, behind].concat()
}

/// Two IPv4 addresses with their ports.
const ADDRESSES: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 25, 0x30, 0x39, 0, 25];

fn with_tlvs(tlvs: &[u8]) -> Vec<u8> {
    binary(0x21, 0x11, &[&ADDRESSES[..], tlvs].concat())
}

/// A header with its checksum, right.
fn summed(tlvs: &[u8]) -> Vec<u8> {
    let mut octets = with_tlvs(&[tlvs, &[0x03, 0, 4, 0, 0, 0, 0]].concat());
    let sum = crc32c(octets.iter().copied());
    let place = octets.len() - 4;
    octets[place..].copy_from_slice(&sum.to_be_bytes());
    octets
}

fn all_told() -> Tlvs {
    Tlvs {
        authority: Some("mx.example.net".into()),
        unique_id: Some(Box::from(&b"0123\0\xff"[..])),
        ssl: Some(Ssl {
            version: "TLSv1.3".into(),
            cipher: "TLS_AES_256_GCM_SHA384".into(),
            has_certificate: true,
            resumed: false,
            verified: true,
            common_name: Some("client.example".into()),
        }),
    }
}

/// Headers that are as they must be, of each kind.
fn good() -> Vec<Vec<u8>> {
    vec![
        b"PROXY TCP4 192.0.2.1 192.0.2.25 12345 25\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 2001:DB8:0:0:0:0:0:25 0 65535\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN whatever  stands\there\r\n".to_vec(),
        v2::LOCAL.to_vec(),
        binary(0x20, 0x11, &ADDRESSES),
        binary(0x21, 0, &[]),
        binary(0x21, 0x31, &[0; 216]),
        with_tlvs(&[]),
        summed(&[0x02, 0, 2, b'm', b'x']),
        written(&proxied("192.0.2.1:12345", "192.0.2.25:25", all_told())),
        written(&proxied("[2001:db8::1]:12345", "192.0.2.25:25", Tlvs::default())),
    ]
}

#[test]
fn lines() {
    let read = |line: &[u8]| read(line);
    let Ok(Some((Header::Proxied(header), 42))) = read(b"PROXY TCP4 192.0.2.1 192.0.2.25 12345 25\r\nEHLO")
    else {
        panic!("a header is one")
    };
    assert_eq!(*header, proxied("192.0.2.1:12345", "192.0.2.25:25", Tlvs::default()));
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    assert_eq!(read(longest.as_bytes()), Ok(Some((Header::Unknown, 107))));
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(93));
    assert_eq!(read(&endless.as_bytes()[..106]), Ok(None));
    assert_eq!(read(endless.as_bytes()), Err(HeaderFault::TooLong));
    for wrong in [
        "PROXY TCP4 192.0.2.1 192.0.2.25 12345 25\n",
        "PROXY TCP4 192.0.2.1 192.0.2.25 12345 25\r \n",
        "PROXY  TCP4 192.0.2.1 192.0.2.25 12345 25\r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.25 12345 25\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.25 12345 25 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.25 12345 25 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.25 12345\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.25 12345 25\r\n",
        "PROXY TCP4 192.0.2 192.0.2.25 12345 25\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.25 012345 25\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.25 00 25\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.25 +1 25\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.25 -1 25\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.25 65536 25\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.25 1 25\r\n",
        "PROXY TCP6 2001:db8::1%eth0 2001:db8::2 1 25\r\n",
        "PROXY TCP6 2001:db8::1::1 2001:db8::2 1 25\r\n",
        "PROXY TCP6 [2001:db8::1] 2001:db8::2 1 25\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.25 1 25\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.25 1 25\r\n",
        "PROXY \r\n",
        "PROXY \u{fc}\r\n",
    ] {
        assert_eq!(read(wrong.as_bytes()), Err(HeaderFault::Line), "{wrong:?}");
    }
    for other in
        ["EHLO", "proxy TCP4", "PROXYTCP4", "PROXY\r\n", "\r\n\r\n\0\r\nQUIT\r", "\n", "\x16\x03\x01"]
    {
        assert_eq!(read(other.as_bytes()), Err(HeaderFault::Missing), "{other:?}");
    }
}

#[test]
fn whatever_is_there_in_part_is_waited_for() {
    for whole in good() {
        let (header, length) = read(&whole).unwrap().unwrap();
        assert_eq!(length, whole.len());
        assert!(is_header(&whole));
        for split in 0..whole.len() {
            assert_eq!(read(&whole[..split]), Ok(None), "{whole:?} at {split}");
        }
        let followed = [&whole[..], b"EHLO client.example\r\n"].concat();
        assert_eq!(read(&followed), Ok(Some((header, length))), "what is behind it is not looked at");
    }
}

#[test]
fn what_is_wrong_with_the_binary_form() {
    for (octets, fault) in [
        (binary(0x11, 0x11, &ADDRESSES), HeaderFault::Version),
        (binary(0x22, 0x11, &ADDRESSES), HeaderFault::Version),
        (binary(0x21, 0x10, &ADDRESSES), HeaderFault::Family),
        (binary(0x21, 0x13, &ADDRESSES), HeaderFault::Family),
        (binary(0x21, 0x41, &ADDRESSES), HeaderFault::Family),
        (binary(0x21, 0x21, &ADDRESSES), HeaderFault::Addresses),
        (binary(0x21, 0x11, &[0; LONGEST - 15]), HeaderFault::TooLong),
        (with_tlvs(&[0x04]), HeaderFault::Tlv),
        (with_tlvs(&[0x04, 0, 1]), HeaderFault::Tlv),
        (with_tlvs(&[0x04, 0xff, 0xff, 0]), HeaderFault::Tlv),
        (with_tlvs(&[0x02, 0, 1, b'a', 0x02, 0, 1, b'b']), HeaderFault::Tlv),
        (with_tlvs(&[&[0x05, 0, 129][..], &[0; 129]].concat()), HeaderFault::Tlv),
        (with_tlvs(&[0x20, 0, 4, 1, 0, 0, 0]), HeaderFault::Tlv),
        (with_tlvs(&[0x20, 0, 7, 1, 0, 0, 0, 0, 0x21, 0]), HeaderFault::Tlv),
        (with_tlvs(&[0x03, 0, 3, 0, 0, 0]), HeaderFault::Tlv),
        (with_tlvs(&[0x03, 0, 4, 0, 0, 0, 0]), HeaderFault::Checksum),
    ] {
        assert_eq!(read(&octets), Err(fault), "{octets:?}");
    }
    for length in 0..12 {
        assert_eq!(read(&binary(0x21, 0x11, &ADDRESSES[..length])), Err(HeaderFault::Addresses));
    }
    // However many octets it announces, no more than those of one are waited for.
    assert_eq!(read(&[&v2::SIGNATURE[..], &[0x20, 0, 0xff, 0xff]].concat()), Err(HeaderFault::TooLong));
    assert!(matches!(read(&binary(0x20, 0, &[0; v2::LONGEST])), Ok(Some((Header::Local, LONGEST)))));
}

#[test]
fn what_is_told_besides() {
    // RFC 3720 B.4: 32 octets of zeros, of ones, and counted up.
    assert_eq!(crc32c([0; 32]).to_le_bytes(), [0xaa, 0x36, 0x91, 0x8a]);
    assert_eq!(crc32c([0xff; 32]).to_le_bytes(), [0x43, 0xab, 0xa8, 0x62]);
    assert_eq!(crc32c(0..32).to_le_bytes(), [0x4e, 0x79, 0xdd, 0x46]);
    let told = |tlvs: &[u8]| match read(&with_tlvs(tlvs)) {
        Ok(Some((Header::Proxied(proxied), _))) => proxied.tlvs,
        other => panic!("{other:?}"),
    };
    // Nobody asks for an ALPN, a NOOP, a network namespace.
    assert_eq!(told(&[0x01, 0, 1, b'h', 0x04, 0, 0, 0x30, 0, 1, b'n']), Tlvs::default());
    // What a client made up and is no plain text is not told.
    assert_eq!(told(&[0x02, 0, 4, b'a', b'\n', b'b', b'c']), Tlvs::default());
    assert_eq!(told(&[0x02, 0, 1, 0xff]), Tlvs::default());
    assert_eq!(told(&[0x20, 0, 5, 0, 0, 0, 0, 0]).ssl, None, "the client used no TLS");
    let unverified = told(&[0x20, 0, 5, 1, 0, 0, 0, 0]).ssl.unwrap();
    assert!(!unverified.has_certificate && !unverified.verified, "nothing was shown that could be verified");
    let resumed = told(&[0x20, 0, 9, 5, 0, 0, 0, 18, 0x22, 0, 1, b'x']).ssl.unwrap();
    assert!(resumed.resumed && resumed.has_certificate && !resumed.verified);
    assert_eq!(resumed.common_name.as_deref(), Some("x"));
}

#[test]
fn one_flipped_bit_is_found_by_the_checksum() {
    let whole = summed(&[0x05, 0, 2, b'i', b'd']);
    // The octet that says that there is a checksum cannot be guarded by it.
    let unguarded = whole.len() - 7;
    for at in (0..whole.len() * 8).filter(|at| at / 8 != unguarded) {
        let mut flipped = whole.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        let heard = read(&flipped);
        assert!(!matches!(heard, Ok(Some((Header::Proxied(_), _)))), "bit {at}: {heard:?}");
    }
}

#[test]
fn any_octet_may_be_any_other() {
    for whole in good() {
        for at in 0..whole.len() {
            for octet in 0..=255 {
                let mut changed = whole.clone();
                changed[at] = octet;
                if let Ok(Some((_, length))) = read(&changed) {
                    assert!(length <= changed.len());
                }
            }
        }
    }
}

#[test]
fn families_are_not_mixed() {
    let mut line = Vec::new();
    v1::write(address("192.0.2.1:1"), address("[2001:db8::25]:25"), &mut line);
    assert_eq!(line, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::25 1 25\r\n");
    let both = written(&proxied("[2001:db8::1]:1", "192.0.2.25:25", Tlvs::default()));
    let expected = proxied("[2001:db8::1]:1", "[::ffff:192.0.2.25]:25", Tlvs::default());
    assert_eq!(read(&both), Ok(Some((Header::Proxied(Box::new(expected)), 52))));
}

#[test]
fn what_does_not_fit_is_not_told() {
    let mut tlvs = all_told();
    tlvs.authority = Some("x".repeat(256).into());
    tlvs.unique_id = Some(vec![0; 129].into());
    let Ok(Some((Header::Proxied(heard), _))) = read(&written(&proxied("192.0.2.1:1", "192.0.2.2:2", tlvs)))
    else {
        panic!("a header is one")
    };
    assert_eq!(heard.tlvs, Tlvs { authority: None, unique_id: None, ..all_told() });
}

fn any_address(v6: bool) -> BoxedStrategy<SocketAddr> {
    if v6 {
        any::<([u8; 16], u16)>().prop_map(SocketAddr::from).boxed()
    } else {
        any::<([u8; 4], u16)>().prop_map(SocketAddr::from).boxed()
    }
}

fn any_ssl() -> impl Strategy<Value = Ssl> {
    let certificate = any::<(bool, bool, bool)>();
    let texts = ("[ -~]{0,40}", "[ -~]{0,40}", proptest::option::of("[ -~\u{fc}]{1,100}"));
    (certificate, texts).prop_map(|((has_certificate, resumed, verified), (version, cipher, name))| Ssl {
        version: version.into(),
        cipher: cipher.into(),
        has_certificate,
        resumed: resumed && has_certificate,
        verified: verified && has_certificate,
        common_name: name.map(Into::into),
    })
}

fn any_proxied() -> impl Strategy<Value = Proxied> {
    let addresses = any::<bool>().prop_flat_map(|v6| (any_address(v6), any_address(v6)));
    let authority = proptest::option::of("[ -~\u{fc}]{1,100}");
    let id = proptest::option::of(proptest::collection::vec(any::<u8>(), 1..=128));
    let tlvs = (authority, id, proptest::option::of(any_ssl())).prop_map(|(authority, id, ssl)| Tlvs {
        authority: authority.map(Into::into),
        unique_id: id.map(Into::into),
        ssl,
    });
    (addresses, tlvs).prop_map(|((source, destination), tlvs)| Proxied { source, destination, tlvs })
}

proptest! {
    #[test]
    fn what_is_written_is_read(told in any_proxied()) {
        let octets = written(&told);
        prop_assert!(octets.len() <= LONGEST);
        prop_assert_eq!(read(&octets), Ok(Some((Header::Proxied(Box::new(told.clone())), octets.len()))));
        let mut line = Vec::new();
        v1::write(told.source, told.destination, &mut line);
        let told = Proxied { tlvs: Tlvs::default(), ..told };
        prop_assert_eq!(read(&line), Ok(Some((Header::Proxied(Box::new(told)), line.len()))));
    }

    #[test]
    fn no_octets_are_too_strange(family in any::<u8>(), command in 0x1f_u8..0x23, behind in proptest::collection::vec(any::<u8>(), 0..400), form in 0..3) {
        let octets = match form {
            0 => behind,
            1 => [v1::SIGNATURE, &behind].concat(),
            _ => [&v2::SIGNATURE[..], &[command, family], &behind].concat(),
        };
        if let Ok(Some((_, length))) = read(&octets) {
            prop_assert!(length <= octets.len());
        }
    }
}
