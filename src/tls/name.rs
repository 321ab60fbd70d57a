//! What a certificate says of itself: its subject in the form of RFC 4514, its names, its end.
//!
//! In:    a certificate in DER, from whoever showed it.
//! Out:   `CN=mx.example.net,O=Example`: the last attribute first, what is special escaped; bounded. Host names in
//!        lower case.
//! Never: fails: what cannot be read is an empty subject, what is no text is written in hexadecimal.

use std::fmt::Write;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Octets of a subject that are kept.
const MOST: usize = 512;

/// The subject of a certificate.
pub fn subject(certificate: &[u8]) -> Box<str> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Box::default() };
    let mut text = rfc4514(certificate.subject());
    if text.len() > MOST {
        let end = (0..=MOST).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
        text.truncate(end);
        text.push_str("...");
    }
    text.into()
}

/// Whether a certificate names itself as its issuer.
pub fn is_self_signed(certificate: &[u8]) -> bool {
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, certificate)| certificate.subject().as_raw() == certificate.issuer().as_raw())
}

/// The host names it is for (RFC 9525: its common name is none of them).
pub fn host_names(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(host).collect()
}

/// When it is over, in seconds since 1970.
pub fn expires(certificate: &[u8]) -> Option<i64> {
    life(certificate).map(|life| life.until)
}

/// From when until when a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Its first second.
    pub from: i64,
    /// Its last.
    pub until: i64,
}

/// The life of a certificate.
pub fn life(certificate: &[u8]) -> Option<Life> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let validity = certificate.validity();
    Some(Life { from: validity.not_before.timestamp(), until: validity.not_after.timestamp() })
}

fn rfc4514(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let sets: Vec<_> = name.iter_rdn().collect();
    for (place, set) in sets.into_iter().rev().enumerate() {
        for (within, attribute) in set.iter().enumerate() {
            match (place, within) {
                (0, 0) => {}
                (_, 0) => text.push(','),
                _ => text.push('+'),
            }
            write_attribute(&mut text, attribute);
        }
    }
    text
}

fn write_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let kind = attribute.attr_type().to_id_string();
    // The names of RFC 4514 3; any other type goes by its number.
    let name = match &*kind {
        "2.5.4.3" => "CN",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.6" => "C",
        "2.5.4.9" => "STREET",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        _ => &*kind,
    };
    text.push_str(name);
    text.push('=');
    match attribute.as_str() {
        Ok(value) => escape(text, value),
        Err(_) => {
            text.push('#');
            hexadecimal(text, attribute.as_slice());
        }
    }
}

/// RFC 4514 2.4; and no control character comes through, whatever it may mean to a terminal or a log.
fn escape(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (place, char) in value.chars().enumerate() {
        match char {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', char]),
            ' ' if place == 0 || place == last => text.push_str("\\ "),
            '#' if place == 0 => text.push_str("\\#"),
            _ if char.is_control() => {
                for octet in char.encode_utf8(&mut [0; 4]).bytes() {
                    text.push('\\');
                    hexadecimal(text, &[octet]);
                }
            }
            _ => text.push(char),
        }
    }
}

fn hexadecimal(text: &mut String, octets: &[u8]) {
    for octet in octets {
        // A String takes everything.
        let _ = write!(text, "{octet:02X}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificates::{Authority, self_signed};
    use super::*;

    #[test]
    fn the_last_attribute_comes_first_and_special_characters_are_escaped() {
        let authority = Authority::new("Example Root");
        assert_eq!(&*subject(&authority.client("relay, inc.").chain()[0]), "O=Example,CN=relay\\, inc.");
        assert_eq!(&*subject(&authority.client(" #1\r\n").chain()[0]), "O=Example,CN=\\ #1\\0D\\0A");
        assert_eq!(&*subject(&self_signed(&["mx.example.net"]).chain()[0]), "CN=mx.example.net");
        assert_eq!(&*subject(b"no certificate"), "");
        let long = subject(&authority.client(&"é".repeat(2000)).chain()[0]);
        assert!(long.len() <= MOST + 3 && long.ends_with("..."), "{long}");
    }
}
