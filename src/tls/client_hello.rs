//! The first octets of a client that begins with TLS: its ClientHello, as far as it says whom it wants.
//!
//! In:    what has arrived, from its first octet.
//! Out:   whether that is a whole ClientHello, and the name in it.
//! Never: waits for more than one record's worth, or reads a hello again that has not become whole: rustls does it once.
//!
//! RFC 8446 4 and 5.1 (records and handshake messages; a message may be spread over records), RFC 6066 3 (server_name).

use rustls::server::Acceptor;

use crate::session::client::ClientHello;

/// A ClientHello is no longer than this, with its records' headers.
const LONGEST: usize = 16 << 10;

/// `ContentType.handshake`, and `HandshakeType.client_hello`.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Reads the first octets of a connection.
pub fn read(octets: &[u8]) -> ClientHello {
    match whole(octets) {
        Some(true) => {}
        Some(false) => return ClientHello::None,
        None if octets.len() >= LONGEST => return ClientHello::None,
        None => return ClientHello::Partial,
    }
    let mut acceptor = Acceptor::default();
    let mut rest = octets;
    while !rest.is_empty() {
        match acceptor.read_tls(&mut rest) {
            Ok(read) if read > 0 => {}
            _ => return ClientHello::None,
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let server_name =
                    accepted.client_hello().server_name().map(|name| name.to_ascii_lowercase().into());
                return ClientHello::Whole { server_name };
            }
            Err(_) => return ClientHello::None,
        }
    }
    ClientHello::None
}

/// Whether these octets begin with a whole ClientHello; `None`: they may yet.
fn whole(octets: &[u8]) -> Option<bool> {
    let mut rest = octets;
    let mut header = [0; 4];
    let mut have = 0;
    loop {
        let (&content, record) = rest.split_first()?;
        if content != HANDSHAKE {
            return Some(false);
        }
        let (&major, record) = record.split_first()?;
        if major != 3 {
            return Some(false);
        }
        let (_minor, record) = record.split_first()?;
        let (length, record) = record.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length == 0 {
            return Some(false);
        }
        let fragment = &record[..length.min(record.len())];
        if let Some(left) = header.get_mut(have..) {
            for (to, from) in left.iter_mut().zip(fragment) {
                *to = *from;
            }
        }
        have += fragment.len();
        if have > 0 && header[0] != CLIENT_HELLO {
            return Some(false);
        }
        let [_, high, middle, low] = header;
        let wanted = header.len() + u32::from_be_bytes([0, high, middle, low]) as usize;
        if have >= header.len() && wanted > LONGEST {
            return Some(false);
        }
        if have >= header.len() && have >= wanted {
            return Some(true);
        }
        rest = record.get(length..)?;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    fn hello(name: &'static str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
        let mut octets = Vec::new();
        client.write_tls(&mut octets).unwrap();
        octets
    }

    fn named(name: &str) -> ClientHello {
        ClientHello::Whole { server_name: Some(name.into()) }
    }

    #[test]
    fn the_name_is_found_when_all_is_there_and_not_before() {
        let octets = hello("MX.example.com");
        for end in 0..octets.len() {
            assert_eq!(read(&octets[..end]), ClientHello::Partial, "{end}");
        }
        assert_eq!(read(&octets), named("mx.example.com"));
        let with_more = [octets, b"and what follows".to_vec()].concat();
        assert_eq!(read(&with_more), named("mx.example.com"));
    }

    #[test]
    fn a_hello_in_many_records_is_one() {
        let octets = hello("mx.example.com");
        for size in [1, 3, 100] {
            let records: Vec<u8> = octets[5..]
                .chunks(size)
                .flat_map(|piece| [&[22, 3, 1, 0, piece.len() as u8], piece].concat())
                .collect();
            assert_eq!(read(&records), named("mx.example.com"), "{size}");
            assert_eq!(read(&records[..records.len() - 1]), ClientHello::Partial, "{size}");
        }
    }

    #[test]
    fn an_address_is_no_name() {
        assert_eq!(read(&hello("192.0.2.1")), ClientHello::Whole { server_name: None });
    }

    #[test]
    fn anything_else_is_none() {
        for octets in [
            &b"EHLO client.example\r\n"[..],
            b"\x16\x02\x00\x00\x05",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x00\x05\x02",
            b"\x15\x03\x01\x00\x02\x01\x00",
            // Longer than any is.
            b"\x16\x03\x01\x40\x00\x01\x01\x00\x00",
            // Whole, and nonsense.
            b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
        ] {
            assert_eq!(read(octets), ClientHello::None, "{}", octets.escape_ascii());
        }
        let endless = [b"\x16\x03\x01\x3f\xf0\x01\x00\x3f\xe0".to_vec(), vec![0; LONGEST]].concat();
        assert_eq!(read(&endless), ClientHello::None);
    }
}
