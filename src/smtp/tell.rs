//! XCLIENT and XFORWARD as gatepost says them: who the client is.
//!
//! In:    a hop's reply to EHLO, which names what it can be told; what is known, attribute by attribute.
//! Out:   commands of at most 512 octets, the attributes parted by one space each, their values in xtext.
//! Never: tells what the hop did not name, or a value that it may not take: none is empty, longer than 255 octets, or
//!        has a control character, white space or anything beyond ASCII in it, whatever the client called itself.
//!
//! Postfix's XCLIENT_README and XFORWARD_README; RFC 3461 4 (xtext); RFC 5321 4.1.3 (`IPv6:`).

use std::net::IpAddr;

use smallvec::SmallVec;

use super::extension::split_line;
use super::params::write_xtext;
use super::reply::ReplyRef;
use super::told::{Attribute, TOLD_LINE, TellingVerb};

/// The longest value, in xtext.
const VALUE: usize = 255;

/// What Postfix takes out of a name before it stands in a header or a log.
const SPECIAL: &[u8] = b"<>()\\\";@";

/// What a hop can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names(u16);

impl Names {
    /// What stands behind the verb in a reply to EHLO; `None`: the hop does not offer it. Names that nobody here knows
    /// are passed over.
    pub fn offered(verb: TellingVerb, reply: ReplyRef<'_>) -> Option<Names> {
        let is_it = |name: &[u8]| name.eq_ignore_ascii_case(verb.as_str().as_bytes());
        let (_, named) = reply.lines().skip(1).map(split_line).find(|(name, _)| is_it(name))?;
        let known = |name: &[u8]| {
            Attribute::ALL.iter().find(|attribute| name.eq_ignore_ascii_case(attribute.as_str().as_bytes()))
        };
        let words = named.split(|&octet| matches!(octet, b' ' | b'\t'));
        Some(Names(words.filter_map(known).fold(0, |names, &attribute| names | bit(attribute))))
    }

    /// Whether this one is among them.
    pub fn has(self, attribute: Attribute) -> bool {
        self.0 & bit(attribute) != 0
    }
}

fn bit(attribute: Attribute) -> u16 {
    1 << attribute as u16
}

/// The commands that tell a hop.
pub type Lines = SmallVec<[Vec<u8>; 1]>;

/// What a hop is told, while it is put together.
pub struct Telling {
    verb: TellingVerb,
    names: Names,
    lines: Lines,
}

impl Telling {
    /// Nothing yet, to a hop that named these.
    pub fn new(verb: TellingVerb, names: Names) -> Telling {
        Telling { verb, names, lines: Lines::new() }
    }

    /// A client's name in DNS.
    pub fn name(&mut self, attribute: Attribute, name: Option<&str>, unknown_for_now: bool) {
        match name.filter(|name| is_host_name(name)) {
            None if unknown_for_now => self.value(attribute, b"[TEMPUNAVAIL]"),
            name => self.exact(attribute, name),
        }
    }

    /// An address; one of IPv4 in the clothes of IPv6 is the former.
    pub fn address(&mut self, attribute: Attribute, address: Option<IpAddr>) {
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => self.value(attribute, address.to_string().as_bytes()),
            Some(IpAddr::V6(address)) => self.value(attribute, format!("IPV6:{address}").as_bytes()),
            None => self.value(attribute, b""),
        }
    }

    /// A port; 0 is none.
    pub fn port(&mut self, attribute: Attribute, port: Option<u16>) {
        match port.filter(|&port| port != 0) {
            Some(port) => self.value(attribute, port.to_string().as_bytes()),
            None => self.value(attribute, b""),
        }
    }

    /// What the client called itself, which may be anything: what may not stand in a value becomes `?`.
    pub fn masked(&mut self, attribute: Attribute, text: Option<&[u8]>) {
        let mask = |&octet: &u8| match octet {
            octet if octet.is_ascii_graphic() && !SPECIAL.contains(&octet) => octet,
            _ => b'?',
        };
        self.value(attribute, &text.unwrap_or_default().iter().map(mask).collect::<Vec<u8>>());
    }

    /// What means somebody else when one octet is changed.
    pub fn exact(&mut self, attribute: Attribute, text: Option<&str>) {
        let text = text.unwrap_or_default().as_bytes();
        let whole = text.iter().all(u8::is_ascii_graphic);
        self.value(attribute, if whole { text } else { b"" });
    }

    /// The commands, each with its CRLF; none if the hop can be told nothing of all this.
    pub fn end(mut self) -> Lines {
        self.lines.iter_mut().for_each(|line| line.extend_from_slice(b"\r\n"));
        self.lines
    }

    /// One attribute; nothing, or what is too long, is `[UNAVAILABLE]`.
    fn value(&mut self, attribute: Attribute, value: &[u8]) {
        if !self.names.has(attribute) {
            return;
        }
        let mut pair = vec![b' '];
        pair.extend_from_slice(attribute.as_str().as_bytes());
        pair.push(b'=');
        let begin = pair.len();
        write_xtext(value, &mut pair);
        if !(1..=VALUE).contains(&(pair.len() - begin)) {
            pair.truncate(begin);
            pair.extend_from_slice(b"[UNAVAILABLE]");
        }
        match self.lines.last_mut().filter(|line| line.len() + pair.len() + 2 <= TOLD_LINE) {
            Some(line) => line.extend_from_slice(&pair),
            None => self.lines.push([self.verb.as_str().as_bytes(), &pair].concat()),
        }
    }
}

/// Whether an MTA would take this for a name of DNS.
fn is_host_name(name: &str) -> bool {
    let of_label = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(of_label)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::{Attributes, Reply};

    fn names(line: &str) -> Option<Names> {
        let reply = Reply::parse_written(&["250-mx.example.net", line]).unwrap();
        Names::offered(TellingVerb::Xclient, reply.as_ref())
    }

    fn all() -> Names {
        Names(u16::MAX)
    }

    fn text(lines: Lines) -> Vec<String> {
        lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn what_a_hop_names() {
        let named = names("250 xclient NAME addr\tPROTO SESSION  DESTPORT").unwrap();
        let has: Vec<&str> =
            Attribute::ALL.iter().filter(|&&at| named.has(at)).map(|at| at.as_str()).collect();
        assert_eq!(has, ["NAME", "ADDR", "PROTO", "DESTPORT"]);
        assert_eq!(names("250 XCLIENT"), Some(Names(0)));
        assert_eq!(names("250 XCLIENTS NAME"), None);
        assert_eq!(names("250 XFORWARD NAME"), None);
    }

    #[test]
    fn what_a_client_calls_itself() {
        let table: &[(&[u8], &str)] = &[
            (b"mx.example.org", "mx.example.org"),
            (b"[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
            (b"we+ird=name", "we+2Bird+3Dname"),
            (b"two words", "two?words"),
            (b"a NAME=evil", "a?NAME+3Devil"),
            (b"b\xc3\xbccher", "b??cher"),
            (b"<x>\"(y)\\;@", "?x???y????"),
            (b"\t", "?"),
            (b"", "[UNAVAILABLE]"),
            (&[b'+'; 86], "[UNAVAILABLE]"),
        ];
        for &(given, expected) in table {
            let mut telling = Telling::new(TellingVerb::Xforward, all());
            telling.masked(Attribute::Helo, Some(given));
            assert_eq!(text(telling.end()), [format!("XFORWARD HELO={expected}\r\n")]);
        }
    }

    #[test]
    fn names_addresses_ports() {
        let mut telling = Telling::new(TellingVerb::Xclient, all());
        telling.name(Attribute::Name, Some("mx-1.example.org"), false);
        telling.address(Attribute::Addr, Some("::ffff:192.0.2.1".parse().unwrap()));
        telling.port(Attribute::Port, Some(0));
        telling.address(Attribute::DestAddr, Some("2001:db8::25".parse().unwrap()));
        telling.exact(Attribute::Login, Some("jo nes"));
        telling.name(Attribute::ReverseName, None, true);
        assert_eq!(
            text(telling.end()),
            [concat!(
                "XCLIENT NAME=mx-1.example.org ADDR=192.0.2.1 PORT=[UNAVAILABLE] DESTADDR=IPV6:2001:db8::25 ",
                "LOGIN=[UNAVAILABLE] REVERSE_NAME=[TEMPUNAVAIL]\r\n"
            )]
        );
        for odd in ["a..b", "-a.example", "a-.example", "a b", "", "a@b", &"x".repeat(64)] {
            let mut telling = Telling::new(TellingVerb::Xclient, all());
            telling.name(Attribute::Name, Some(odd), false);
            assert_eq!(text(telling.end()), ["XCLIENT NAME=[UNAVAILABLE]\r\n"], "{odd}");
        }
    }

    #[test]
    fn no_line_is_too_long() {
        let mut telling = Telling::new(TellingVerb::Xforward, all());
        let label = "x".repeat(50);
        telling.name(Attribute::Name, Some(&[label.as_str(); 5].join(".")), false);
        telling.address(Attribute::Addr, Some("192.0.2.1".parse().unwrap()));
        telling.masked(Attribute::Helo, Some(&[b'y'; 255]));
        telling.exact(Attribute::Source, Some("REMOTE"));
        let lines = text(telling.end());
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.len() <= TOLD_LINE && line.ends_with("\r\n")), "{lines:?}");
        assert!(lines[1].starts_with("XFORWARD HELO=y") && lines[1].ends_with(" SOURCE=REMOTE\r\n"));
    }

    proptest::proptest! {
        /// What is said is well-formed to whoever hears it, and no more than was meant.
        #[test]
        fn what_is_said_is_understood(helo in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let mut telling = Telling::new(TellingVerb::Xclient, all());
            telling.address(Attribute::Addr, Some("192.0.2.1".parse().unwrap()));
            telling.masked(Attribute::Helo, Some(&helo));
            let line = telling.end().remove(0);
            let told = Attributes::parse(TellingVerb::Xclient, &line[8..line.len() - 2]).unwrap().told();
            proptest::prop_assert_eq!(told.addr, Some(Some("192.0.2.1".parse().unwrap())));
            proptest::prop_assert!(told.login.is_none() && told.name.is_none());
            if let Some(Some(told)) = told.helo {
                proptest::prop_assert_eq!(told.len(), helo.len());
            }
        }
    }
}
