//! XCLIENT and XFORWARD: what a trusted peer tells about a client that is not itself.
//!
//! In:    what stands behind the verb: `NAME=value` each, the values in xtext.
//! Out:   the same octets, known to be well-formed; and what they mean, decoded.
//! Never: takes a name it does not know, a name twice, or a value with white space or control characters in it, in
//!        whatever disguise; says whether the peer may be believed.
//!
//! Postfix's XCLIENT_README and XFORWARD_README; RFC 3461 4 (xtext); RFC 5321 4.1.3 (`IPv6:`).

use std::net::IpAddr;

use super::command::CommandFault;
use super::grammar;
use super::params::read_xtext;

/// The longest value, decoded; what an EHLO name or a host name may be (RFC 1035 2.3.4).
const VALUE: usize = 255;

/// The longest line, with its end.
pub const TOLD_LINE: usize = 512;

/// Makes the enum, the list and the names of the attributes from one table.
macro_rules! attributes {
    ($($(#[$doc:meta])* $attribute:ident $text:literal $xclient:literal $xforward:literal,)*) => {
        /// What can be told.
        #[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
        #[repr(u8)]
        pub enum Attribute { $($(#[$doc])* $attribute,)* }

        impl Attribute {
            /// Each of them, in the order they are announced.
            pub const ALL: &'static [Attribute] = &[$(Attribute::$attribute),*];

            /// As it stands on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Attribute::$attribute => $text),* }
            }

            const fn is_of(self, verb: TellingVerb) -> bool {
                match (self, verb) {
                    $((Attribute::$attribute, TellingVerb::Xclient) => $xclient,
                      (Attribute::$attribute, TellingVerb::Xforward) => $xforward,)*
                }
            }
        }
    };
}

attributes! {
    /// The client's name, as DNS has it.
    Name "NAME" true true,
    /// The name that its address has in DNS, whether or not that name has the address: Postfix's, and never taken here.
    ReverseName "REVERSE_NAME" false false,
    /// Its address.
    Addr "ADDR" true true,
    /// Its port.
    Port "PORT" true true,
    /// SMTP or ESMTP.
    Proto "PROTO" true true,
    /// What it said in EHLO or HELO.
    Helo "HELO" true true,
    /// As whom it has authenticated.
    Login "LOGIN" true false,
    /// Where it connected to.
    DestAddr "DESTADDR" true false,
    /// At which port.
    DestPort "DESTPORT" true false,
    /// What the message is called there.
    Ident "IDENT" false true,
    /// LOCAL or REMOTE.
    Source "SOURCE" false true,
}

/// Which of the two commands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum TellingVerb {
    /// The client is to be taken for that one, from now on.
    Xclient,
    /// A message comes from that one; for logs.
    Xforward,
}

impl TellingVerb {
    /// The verb.
    pub const fn as_str(self) -> &'static str {
        match self {
            TellingVerb::Xclient => "XCLIENT",
            TellingVerb::Xforward => "XFORWARD",
        }
    }

    /// Its line in an EHLO reply: the verb and what can be told.
    pub fn announce(self, line: &mut Vec<u8>) {
        line.extend_from_slice(self.as_str().as_bytes());
        for attribute in Attribute::ALL.iter().filter(|attribute| attribute.is_of(self)) {
            line.push(b' ');
            line.extend_from_slice(attribute.as_str().as_bytes());
        }
    }
}

/// Attributes as given, checked for form.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Attributes<'a> {
    verb: TellingVerb,
    raw: &'a [u8],
}

/// What attributes mean. The outer `None`: not said; the inner: `[UNAVAILABLE]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// NAME.
    pub name: Option<Option<Box<str>>>,
    /// NAME is `[TEMPUNAVAIL]`: the name server did not answer.
    pub name_unknown_for_now: bool,
    /// ADDR.
    pub addr: Option<Option<IpAddr>>,
    /// PORT.
    pub port: Option<Option<u16>>,
    /// HELO.
    pub helo: Option<Option<Box<str>>>,
    /// LOGIN.
    pub login: Option<Option<Box<str>>>,
    /// DESTADDR.
    pub dest_addr: Option<Option<IpAddr>>,
    /// DESTPORT.
    pub dest_port: Option<Option<u16>>,
    /// IDENT.
    pub ident: Option<Option<Box<str>>>,
    /// PROTO.
    pub proto: Option<Option<Box<str>>>,
    /// SOURCE.
    pub source: Option<Option<Box<str>>>,
}

/// One value, decoded.
enum Value<'v> {
    Unavailable,
    UnavailableForNow,
    Text(&'v str),
    Address(IpAddr),
    Port(u16),
}

impl<'a> Attributes<'a> {
    /// Checks the form of all of them; the error says what is wrong, and where.
    pub fn parse(verb: TellingVerb, raw: &'a [u8]) -> Result<Attributes<'a>, (CommandFault, usize)> {
        let attributes = Attributes { verb, raw: grammar::trim_white(raw) };
        let mut seen = 0_u16;
        for (at, pair) in attributes.pairs() {
            let Some(equals) = pair.iter().position(|&octet| octet == b'=') else {
                return Err((CommandFault::Syntax, at));
            };
            let (name, given) = (&pair[..equals], &pair[equals + 1..]);
            let Some(attribute) = attribute(verb, name) else {
                return Err((CommandFault::UnknownAttribute, at));
            };
            if seen & 1 << attribute as u16 != 0 {
                return Err((CommandFault::DuplicateParameter, at));
            }
            seen |= 1 << attribute as u16;
            if value(attribute, given, &mut [0; VALUE]).is_none() {
                return Err((CommandFault::BadAttribute, at + equals + 1));
            }
        }
        if seen == 0 { Err((CommandFault::MissingArgument, 0)) } else { Ok(attributes) }
    }

    /// As given.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }

    /// What they mean.
    pub fn told(&self) -> Told {
        let mut told = Told::default();
        for (_, pair) in self.pairs() {
            let mut parts = pair.splitn(2, |&octet| octet == b'=');
            let (name, given) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let Some(attribute) = attribute(self.verb, name) else { continue };
            let mut room = [0; VALUE];
            let Some(value) = value(attribute, given, &mut room) else { continue };
            told.name_unknown_for_now |= matches!(value, Value::UnavailableForNow);
            match attribute {
                Attribute::Name => told.name = Some(value.text()),
                Attribute::Addr => told.addr = Some(value.address()),
                Attribute::Port => told.port = Some(value.port()),
                Attribute::Helo => told.helo = Some(value.text()),
                Attribute::Login => told.login = Some(value.text()),
                Attribute::DestAddr => told.dest_addr = Some(value.address()),
                Attribute::DestPort => told.dest_port = Some(value.port()),
                Attribute::Ident => told.ident = Some(value.text()),
                Attribute::Proto => told.proto = Some(value.text()),
                Attribute::Source => told.source = Some(value.text()),
                // Neither verb has it here.
                Attribute::ReverseName => {}
            }
        }
        told
    }

    /// Each pair of name and value, and where it begins.
    fn pairs(&self) -> impl Iterator<Item = (usize, &'a [u8])> + use<'a> {
        let raw = self.raw;
        raw.split(|&octet| grammar::is_white(octet))
            .filter(|pair| !pair.is_empty())
            .map(move |pair| (pair.as_ptr().addr() - raw.as_ptr().addr(), pair))
    }
}

impl Value<'_> {
    fn text(&self) -> Option<Box<str>> {
        if let Value::Text(text) = self { Some((*text).into()) } else { None }
    }

    fn address(&self) -> Option<IpAddr> {
        if let Value::Address(address) = self { Some(*address) } else { None }
    }

    fn port(&self) -> Option<u16> {
        if let Value::Port(port) = self { Some(*port) } else { None }
    }
}

fn attribute(verb: TellingVerb, name: &[u8]) -> Option<Attribute> {
    let known = |attribute: &&Attribute| {
        attribute.is_of(verb) && name.eq_ignore_ascii_case(attribute.as_str().as_bytes())
    };
    Attribute::ALL.iter().find(known).copied()
}

/// Decodes a value into `room`; `None`: it is none for this attribute.
fn value<'v>(attribute: Attribute, given: &[u8], room: &'v mut [u8; VALUE]) -> Option<Value<'v>> {
    let text = decode(given, room)?;
    if text.eq_ignore_ascii_case("[UNAVAILABLE]") {
        return Some(Value::Unavailable);
    }
    if attribute == Attribute::Name && text.eq_ignore_ascii_case("[TEMPUNAVAIL]") {
        return Some(Value::UnavailableForNow);
    }
    let one_of = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match attribute {
        Attribute::Addr | Attribute::DestAddr => address(text).map(Value::Address),
        Attribute::Port | Attribute::DestPort => {
            let digits = text.len() <= 5 && text.bytes().all(|octet| octet.is_ascii_digit());
            text.parse().ok().filter(|_| digits).map(Value::Port)
        }
        Attribute::Name | Attribute::ReverseName => text.bytes().all(is_of_name).then_some(Value::Text(text)),
        Attribute::Source => one_of(&["LOCAL", "REMOTE"]).then_some(Value::Text(text)),
        Attribute::Proto => (text.len() <= 64).then_some(Value::Text(text)),
        Attribute::Helo | Attribute::Login | Attribute::Ident => Some(Value::Text(text)),
    }
}

/// `xtext = *( xchar / hexchar )` (RFC 3461 4); the hexadecimal digits in either case. What comes of it is printable
/// ASCII without white space, and not nothing.
fn decode<'v>(given: &[u8], room: &'v mut [u8; VALUE]) -> Option<&'v str> {
    let mut length = 0;
    for octet in read_xtext(given) {
        *room.get_mut(length)? = octet.filter(u8::is_ascii_graphic)?;
        length += 1;
    }
    std::str::from_utf8(&room[..length]).ok().filter(|text| !text.is_empty())
}

/// An IPv4 address, or an IPv6 address behind `IPV6:`; an IPv4 address in the latter is one.
fn address(text: &str) -> Option<IpAddr> {
    let v6 = text.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPV6:")).map(|tag| &text[tag.len()..]);
    match v6 {
        Some(v6) => v6.parse().ok().map(|v6| IpAddr::V6(v6).to_canonical()),
        None => text.parse().ok().map(IpAddr::V4),
    }
}

fn is_of_name(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(raw: &str) -> Result<Told, (CommandFault, usize)> {
        Attributes::parse(TellingVerb::Xclient, raw.as_bytes()).map(|attributes| attributes.told())
    }

    #[test]
    fn everything_that_can_be_told() {
        let said = told(
            "NAME=spike.porcupine.org addr=168.100.189.2 PORT=4711  proto=ESMTP HELO=[192.0.2.1] \
             LOGIN=jo+2Bnes+40example.com DESTADDR=ipv6:2001:db8::25 DESTPORT=25",
        );
        let expected = Told {
            name: Some(Some("spike.porcupine.org".into())),
            addr: Some(Some(IpAddr::from([168, 100, 189, 2]))),
            port: Some(Some(4711)),
            helo: Some(Some("[192.0.2.1]".into())),
            login: Some(Some("jo+nes@example.com".into())),
            dest_addr: Some(Some("2001:db8::25".parse().unwrap())),
            dest_port: Some(Some(25)),
            proto: Some(Some("ESMTP".into())),
            ..Told::default()
        };
        assert_eq!(said, Ok(expected));
    }

    #[test]
    fn what_is_not_known() {
        let said = told("NAME=[TEMPUNAVAIL] ADDR=[unavailable] PORT=+5bUNAVAILABLE+5d").unwrap();
        assert!(said.name_unknown_for_now);
        assert_eq!((said.name, said.addr, said.port), (Some(None), Some(None), Some(None)));
        let mapped = told("ADDR=IPV6:::ffff:192.0.2.9").unwrap();
        assert_eq!(mapped.addr, Some(Some(IpAddr::from([192, 0, 2, 9]))));
    }

    #[test]
    fn every_malformed_shape() {
        use CommandFault::{BadAttribute, DuplicateParameter, MissingArgument, Syntax, UnknownAttribute};
        let long = format!("HELO={}", "x".repeat(256));
        let table: &[(&str, CommandFault, usize)] = &[
            ("", MissingArgument, 0),
            (" \t ", MissingArgument, 0),
            ("NAME", Syntax, 0),
            ("NAME=a ADDR", Syntax, 7),
            ("=a", UnknownAttribute, 0),
            ("NAMES=a", UnknownAttribute, 0),
            ("IDENT=a", UnknownAttribute, 0),
            ("PORT=1 port=1", DuplicateParameter, 7),
            ("NAME=", BadAttribute, 5),
            ("NAME=a@b", BadAttribute, 5),
            ("NAME=a+20b", BadAttribute, 5),
            ("ADDR=[TEMPUNAVAIL]", BadAttribute, 5),
            ("ADDR=1.2.3", BadAttribute, 5),
            ("ADDR=1.2.3.4.5", BadAttribute, 5),
            ("ADDR=01.2.3.4", BadAttribute, 5),
            ("ADDR=2001:db8::1", BadAttribute, 5),
            ("ADDR=IPV6:1.2.3.4", BadAttribute, 5),
            ("ADDR=IPV6:fe80::1%eth0", BadAttribute, 5),
            ("ADDR=[1.2.3.4]", BadAttribute, 5),
            ("PORT=65536", BadAttribute, 5),
            ("PORT=+31+", BadAttribute, 5),
            ("PORT=-1", BadAttribute, 5),
            ("PORT=000001", BadAttribute, 5),
            ("HELO=a+0d+0aMAIL", BadAttribute, 5),
            ("HELO=a+00", BadAttribute, 5),
            ("HELO=+4", BadAttribute, 5),
            ("HELO=+4g", BadAttribute, 5),
            ("HELO=\u{fc}", BadAttribute, 5),
            ("LOGIN=+c3+bc", BadAttribute, 6),
            (&long, BadAttribute, 5),
        ];
        for &(raw, fault, at) in table {
            assert_eq!(told(raw), Err((fault, at)), "{raw}");
        }
    }

    #[test]
    fn xforward_has_its_own() {
        let raw = b"NAME=a.example ADDR=192.0.2.7 IDENT=4FDbR9 SOURCE=remote PROTO=ESMTP";
        let said = Attributes::parse(TellingVerb::Xforward, raw).unwrap().told();
        assert_eq!(said.ident, Some(Some("4FDbR9".into())));
        let table: &[&[u8]] = &[b"LOGIN=a", b"DESTADDR=192.0.2.1", b"SOURCE=SOMEWHERE"];
        for raw in table {
            assert!(Attributes::parse(TellingVerb::Xforward, raw).is_err(), "{}", raw.escape_ascii());
        }
        let mut line = Vec::new();
        TellingVerb::Xforward.announce(&mut line);
        assert_eq!(line, b"XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE");
        line.clear();
        TellingVerb::Xclient.announce(&mut line);
        assert_eq!(line, b"XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT");
    }

    proptest::proptest! {
        #[test]
        fn what_is_taken_is_plain(raw in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let raw = [b"HELO=".as_slice(), &raw].concat();
            if let Ok(attributes) = Attributes::parse(TellingVerb::Xclient, &raw)
                && let Some(Some(helo)) = attributes.told().helo
            {
                proptest::prop_assert!(helo.bytes().all(|octet| octet.is_ascii_graphic()));
            }
        }
    }
}
