//! Addresses: a path as given, and what it means.
//!
//! In:    what stands between the brackets of a path; an address written in a rule.
//! Out:   [`Path`], which goes on as it came; [`Canonical`], by which addresses are matched.
//! Never: sends a canonical form anywhere: local parts are their host's to judge, even their case.
//!
//! RFC 5321 4.1.2, 4.1.3; RFC 6531 3.3; RFC 5890 (A-labels, U-labels); UTS 46.

use std::fmt;

use super::grammar::{self, PathParts};

/// A reverse-path or forward-path as given.
#[derive(Clone, Copy, Eq, PartialEq, Hash)]
pub struct Path<'a> {
    raw: &'a [u8],
    local: &'a [u8],
    domain: Option<&'a [u8]>,
}

impl<'a> Path<'a> {
    /// `<>`, which nobody answers.
    pub const NULL: Path<'static> = Path { raw: b"", local: b"", domain: None };

    /// Octets of a path that is taken. RFC 5321 4.5.3.1.3 has 256; some have more.
    pub const LONGEST: usize = 1000;

    /// Parses what stands between the brackets, of whatever length.
    pub fn parse(raw: &'a [u8]) -> Result<Path<'a>, AddressError> {
        if raw.is_empty() {
            return Ok(Path::NULL);
        }
        match grammar::path(raw) {
            Ok(([], parts)) => Ok(parts.into()),
            Ok((rest, _)) => Err(AddressError { at: raw.len() - rest.len() }),
            Err(_) => Err(AddressError { at: 0 }),
        }
    }

    /// As given, without the brackets but with a source route.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }

    /// Whether it is `<>`.
    pub fn is_null(&self) -> bool {
        self.raw.is_empty()
    }

    /// Without source route and quoting, as MTAs hold addresses and programs beside them expect them.
    pub fn plain(&self) -> Vec<u8> {
        let mut plain = unquoted(self.local);
        if let Some(domain) = self.domain {
            plain.push(b'@');
            plain.extend_from_slice(domain);
        }
        // `""` is not the null path.
        if plain.is_empty() { self.raw.to_vec() } else { plain }
    }

    /// The local part, its quoting kept.
    pub fn local(&self) -> &'a [u8] {
        self.local
    }

    /// The domain or address literal; `<>` and `<postmaster>` have none.
    pub fn domain(&self) -> Option<&'a [u8]> {
        self.domain
    }
}

impl<'a> From<PathParts<'a>> for Path<'a> {
    fn from(parts: PathParts<'a>) -> Self {
        Path { raw: parts.raw, local: parts.local, domain: parts.domain }
    }
}

impl fmt::Debug for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.raw.escape_ascii())
    }
}

/// What stands there is no path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AddressError {
    /// The octet that cannot stand where it does.
    pub at: usize,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an address, from octet {}", self.at)
    }
}

impl std::error::Error for AddressError {}

/// What an address means, however it is spelled: for matching only.
///
/// `local@domain` without quoting, in lower case, the domain's labels as A-labels, without trailing dot and
/// source route. The null path is the empty text, and `postmaster` has no domain.
#[derive(Clone, Debug, Eq, PartialEq, Hash, PartialOrd, Ord)]
pub struct Canonical {
    text: String,
    at: Option<usize>,
}

impl Canonical {
    /// What a path means.
    pub fn of(path: &Path<'_>) -> Canonical {
        let mut text = String::with_capacity(path.as_bytes().len());
        push_local(path.local(), &mut text);
        let Some(domain) = path.domain() else {
            // `"joe@ex.test"` is no address at ex.test, and `""` not the null path: those keep their quotes.
            if (text.is_empty() && !path.is_null()) || text.contains('@') {
                text.insert(0, '"');
                text.push('"');
            }
            return Canonical { text, at: None };
        };
        let at = text.len();
        text.push('@');
        push_domain(domain, &mut text);
        Canonical { text, at: Some(at) }
    }

    /// What an address in a rule or from a callout means; brackets may stand around it.
    pub fn parse(text: &str) -> Result<Canonical, AddressError> {
        let text = text.trim_ascii();
        let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
        Path::parse(inner.as_bytes()).map(|path| Canonical::of(&path))
    }

    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The local part, which may have an `@` in it.
    pub fn local(&self) -> &str {
        &self.text[..self.at.unwrap_or(self.text.len())]
    }

    /// The domain, if there is one.
    pub fn domain(&self) -> Option<&str> {
        self.at.map(|at| &self.text[at + 1..])
    }

    /// Whether it is the null path.
    pub fn is_null(&self) -> bool {
        self.text.is_empty()
    }
}

impl fmt::Display for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a domain or address literal means, however it is spelled.
pub fn canonical_domain(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len());
    push_domain(raw, &mut text);
    text
}

fn push_domain(raw: &[u8], text: &mut String) {
    let start = text.len();
    if raw.is_ascii() {
        push_lower_ascii(raw, text);
    } else if let Ok(name) = idna::domain_to_ascii_cow(raw, idna::AsciiDenyList::EMPTY) {
        text.push_str(&name);
    } else {
        // No name that DNS could hold, but still one that must not pass for another.
        push_lower(raw, text);
    }
    let end = text[start..].trim_end_matches('.').len();
    text.truncate(start + end);
}

/// The local part without quotes and quoted-pairs, in lower case.
fn push_local(raw: &[u8], text: &mut String) {
    if !raw.contains(&b'"') {
        if raw.is_ascii() {
            push_lower_ascii(raw, text);
        } else {
            push_lower(raw, text);
        }
        return;
    }
    push_lower(&unquoted(raw), text);
}

/// Without quotes and quoted-pairs.
fn unquoted(raw: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(raw.len());
    let mut octets = raw.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => {}
            b'\\' => plain.extend(octets.next()),
            _ => plain.push(octet),
        }
    }
    plain
}

fn push_lower_ascii(raw: &[u8], text: &mut String) {
    text.extend(raw.iter().map(|octet| char::from(octet.to_ascii_lowercase())));
}

/// Where octets that are no UTF-8 are put: the end of a plane for private use.
const STRAY: u32 = 0x10_ff00;

/// Unicode lower case. Each octet that is no UTF-8 becomes a private character of its own; characters sent
/// from that range are taken for stray octets too, so that no two addresses become one by it.
fn push_lower(raw: &[u8], text: &mut String) {
    for part in raw.utf8_chunks() {
        let valid = part.valid().to_lowercase();
        for character in valid.chars() {
            if u32::from(character) >= STRAY {
                let mut octets = [0; 4];
                push_stray(character.encode_utf8(&mut octets).as_bytes(), text);
            } else {
                text.push(character);
            }
        }
        push_stray(part.invalid(), text);
    }
}

fn push_stray(octets: &[u8], text: &mut String) {
    text.extend(octets.iter().filter_map(|&octet| char::from_u32(STRAY + u32::from(octet))));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As given, local part, domain.
    type Parts<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>);

    #[test]
    fn paths() {
        let table: &[Parts<'_>] = &[
            (b"", b"", None),
            (b"joe@ex.test", b"joe", Some(b"ex.test")),
            (b"JOE@Ex.Test.", b"JOE", Some(b"Ex.Test.")),
            (b"postmaster", b"postmaster", None),
            (b"\"joe\"@ex.test", b"\"joe\"", Some(b"ex.test")),
            (b"\"a b>c@d\\\"e\\\\\"@ex.test", b"\"a b>c@d\\\"e\\\\\"", Some(b"ex.test")),
            (b"\"\"@ex.test", b"\"\"", Some(b"ex.test")),
            (b"a.\"b c\".d@ex.test", b"a.\"b c\".d", Some(b"ex.test")),
            (b".a..b.@_dmarc.ex_ample", b".a..b.", Some(b"_dmarc.ex_ample")),
            (b"@a.test,@[192.0.2.1]:joe@ex.test", b"joe", Some(b"ex.test")),
            (b"joe@[IPv6:2001:db8::1]", b"joe", Some(b"[IPv6:2001:db8::1]")),
            (b"a!b%c=d+e@ex.test", b"a!b%c=d+e", Some(b"ex.test")),
            (b"j\xf6e@\xc3\xbc.test", b"j\xf6e", Some(b"\xc3\xbc.test")),
        ];
        for &(raw, local, domain) in table {
            let path = Path::parse(raw).unwrap();
            assert_eq!((path.as_bytes(), path.local(), path.domain()), (raw, local, domain));
            assert_eq!(path.is_null(), raw.is_empty());
        }
    }

    #[test]
    fn plain_addresses() {
        let table: &[(&[u8], &[u8])] = &[
            (b"", b""),
            (b"Joe@Ex.Test.", b"Joe@Ex.Test."),
            (b"Postmaster", b"Postmaster"),
            (b"@relay.test,@b.test:joe@ex.test", b"joe@ex.test"),
            (b"\"a b\\\"c\\\\\".\"d\"@ex.test", b"a b\"c\\.d@ex.test"),
            (b"\"\"@ex.test", b"@ex.test"),
            (b"\"\"", b"\"\""),
        ];
        for &(raw, plain) in table {
            assert_eq!(Path::parse(raw).unwrap().plain(), plain, "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn no_paths() {
        let table: &[(&[u8], usize)] = &[
            (b"@ex.test", 0),
            (b"@a.test:", 0),
            (b"joe@", 3),
            (b"joe@ex.test>", 11),
            (b"joe@ex.test,b@c", 11),
            (b"a@b@c", 3),
            (b"a b@c", 1),
            (b"\"a@b", 0),
            (b"\"a\\\"@b", 0),
            (b"\"a\x01\"@b", 0),
            (b"a(x)@b", 1),
            (b"a<b>", 1),
            (b"a\\@b", 1),
            (b"joe@[1.2.3.4", 3),
            (b"joe@ex test", 6),
            (b"joe@ex.test\0", 11),
            (b" joe@ex.test", 0),
        ];
        for &(raw, at) in table {
            assert_eq!(Path::parse(raw), Err(AddressError { at }), "{}", raw.escape_ascii());
        }
    }

    fn canonical(raw: &[u8]) -> Canonical {
        Canonical::of(&Path::parse(raw).unwrap())
    }

    #[test]
    fn one_meaning() {
        let table: &[(&[&[u8]], &str)] = &[
            (
                &[
                    b"joe@ex.test",
                    b"JOE@EX.Test",
                    b"\"joe\"@EX.test",
                    b"\"j\\oe\"@ex.test",
                    b"j\"o\"e@ex.test",
                    b"joe@ex.test.",
                    b"@relay.test:joe@ex.test",
                    b"@a,@b:\"Joe\"@ex.test.",
                ],
                "joe@ex.test",
            ),
            (&[b""], ""),
            (&[b"postmaster", b"PostMaster", b"\"postmaster\""], "postmaster"),
            (
                &["u@bücher.test".as_bytes(), "u@BÜCHER.test".as_bytes(), b"u@XN--bcher-kva.test"],
                "u@xn--bcher-kva.test",
            ),
            (&["jörg@ex.test".as_bytes(), "JÖRG@ex。test".as_bytes()], "jörg@ex.test"),
            (&[b"joe@[IPv6:2001:DB8::A]", b"joe@[ipv6:2001:db8::a]"], "joe@[ipv6:2001:db8::a]"),
            (&[b"\"a b\\\"\\\\\"@c"], "a b\"\\@c"),
        ];
        for (spellings, expected) in table {
            for spelling in *spellings {
                let found = canonical(spelling);
                assert_eq!(found.as_str(), *expected, "{}", spelling.escape_ascii());
                assert_eq!(found.to_string(), *expected);
                assert_eq!(found.is_null(), expected.is_empty());
            }
        }
        assert_eq!(canonical_domain(b"EX.Test."), "ex.test");
        assert_eq!(Canonical::parse("<Joe@EX.test>"), Ok(canonical(b"joe@ex.test")));
        assert_eq!(Canonical::parse("<>"), Ok(canonical(b"")));
        assert!(Canonical::parse("joe@").is_err());
    }

    #[test]
    fn an_at_in_the_local_part() {
        let found = canonical(b"\"A@b.test\"@ex.test");
        assert_eq!((found.local(), found.domain()), ("a@b.test", Some("ex.test")));
        let found = canonical(b"\"a@b.test\"");
        assert_eq!((found.local(), found.domain()), ("\"a@b.test\"", None));
        assert_ne!(found, canonical(b"a@b.test"));
        assert_ne!(canonical(b"\"\"").as_str(), "");
        assert_eq!(canonical(b"\"\"@ex.test").local(), "");
    }

    #[test]
    fn octets_that_are_no_utf8_stay_apart() {
        let stray = "\u{10ffe9}@ex.test".as_bytes();
        let spellings: &[&[u8]] = &[
            b"\xe9@ex.test",
            b"\xe8@ex.test",
            b"\xe9\xe9@ex.test",
            "é@ex.test".as_bytes(),
            "\u{fffd}@ex.test".as_bytes(),
            stray,
            b"a@\xe9",
            b"a@\xe8",
        ];
        for (index, one) in spellings.iter().enumerate() {
            for other in &spellings[index + 1..] {
                assert_ne!(canonical(one), canonical(other));
            }
        }
        assert_eq!(canonical(b"\xe9A@EX.test"), canonical(b"\xe9a@ex.test"));
    }
}
