//! Signatures of a message: which it carries, and which of them changes of it break.
//!
//! In:    a [`Draft`]: the message as it came, and as it is now.
//! Out:   ways in which it is signed; those signatures that would verify no more because of what was edited.
//! Never: verifies one, or looks into a body: another body breaks whatever covers it. A signature that was taken out is not
//!        broken, but gone.
//!
//! RFC 6376 3.4.2 (relaxed headers), 3.5 (tags), 5.4.2 (fields of one name, from the bottom up); RFC 8617 4.1.2
//! (ARC-Message-Signature); RFC 1847 2.1 (multipart/signed); RFC 8551 3.5.

use std::collections::HashMap;

use super::{Draft, Field};

/// How a message may be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// DKIM.
    Dkim,
    /// ARC.
    Arc,
    /// S/MIME.
    Smime,
    /// PGP/MIME.
    Pgp,
}

/// Signatures of one kind that are looked at.
const MOST: usize = 10;
/// Names of fields that are looked at in one.
const NAMES: usize = 200;

impl Signature {
    /// All of them.
    pub const ALL: [Signature; 4] = [Signature::Dkim, Signature::Arc, Signature::Smime, Signature::Pgp];

    /// Its name, in the configuration and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Signature::Dkim => "dkim",
            Signature::Arc => "arc",
            Signature::Smime => "smime",
            Signature::Pgp => "pgp",
        }
    }
}

impl Draft {
    /// Whether the header says that it is signed this way.
    pub fn is_signed(&self, how: Signature) -> bool {
        says(self.fields(), how)
    }

    /// Signatures it still carries that what was edited has broken.
    pub fn broken(&self) -> Vec<Signature> {
        let is_broken = |how: &Signature| match how {
            Signature::Dkim => self.breaks("DKIM-Signature"),
            Signature::Arc => self.breaks("ARC-Message-Signature"),
            Signature::Smime | Signature::Pgp => {
                says(self.message().fields(), *how)
                    && self.is_signed(*how)
                    && (self.has_another_body() || self.differs("Content-Type"))
            }
        };
        if !self.is_edited() {
            return Vec::new();
        }
        Signature::ALL.into_iter().filter(is_broken).collect()
    }

    fn differs(&self, name: &str) -> bool {
        let values = |field: Field<'_>| field.is(name).then(|| field.value().to_vec());
        !self.message().fields().filter_map(values).eq(self.fields().filter_map(values))
    }

    /// Whether a signature in a field of this name does not fit any more.
    fn breaks(&self, name: &str) -> bool {
        let signatures = self.message().fields().filter(|field| field.is(name)).take(MOST);
        let mut kept = signatures.filter(|came| self.fields().any(|field| field.octets() == came.octets()));
        if self.has_another_body() {
            return kept.next().is_some();
        }
        let Some(first) = kept.next() else { return false };
        let (came, now) = (by_name(self.message().fields()), by_name(self.fields()));
        std::iter::once(first).chain(kept).any(|signature| {
            let signature = Tags::of(signature.value());
            signature.names().any(|(name, times)| {
                covered(&came, &name, times, signature.relaxed)
                    != covered(&now, &name, times, signature.relaxed)
            })
        })
    }
}

fn says<'a>(fields: impl Iterator<Item = Field<'a>>, how: Signature) -> bool {
    let is_of = |value: &[u8], what: &[&str]| {
        let value = value.to_ascii_lowercase();
        what.iter().all(|part| memchr::memmem::find(&value, part.as_bytes()).is_some())
    };
    let of_type = |field: &Field<'_>, all: &[&[&str]]| {
        field.is("Content-Type") && all.iter().any(|what| is_of(field.value(), what))
    };
    let mut fields = fields;
    fields.any(|field| match how {
        Signature::Dkim => field.is("DKIM-Signature"),
        Signature::Arc => field.is("ARC-Seal"),
        Signature::Pgp => of_type(&field, &[&["multipart/signed", "application/pgp-signature"]]),
        // Some write the type with x-.
        Signature::Smime => {
            of_type(&field, &[&["multipart/signed", "pkcs7-signature"], &["pkcs7-mime", "signed-data"]])
        }
    })
}

/// What a signature says that it covers.
struct Tags {
    names: Vec<String>,
    relaxed: bool,
}

impl Tags {
    fn of(value: &[u8]) -> Tags {
        let value = String::from_utf8_lossy(value);
        let mut tags = Tags { names: Vec::new(), relaxed: false };
        for tag in value.split(';') {
            let Some((name, value)) = tag.split_once('=') else { continue };
            match name.trim() {
                "h" => {
                    let names = value.split(':').take(NAMES);
                    tags.names = names.map(|name| name.trim().to_ascii_lowercase()).collect();
                }
                "c" => tags.relaxed = value.trim_start().starts_with("relaxed"),
                _ => {}
            }
        }
        tags.names.sort_unstable();
        tags
    }

    /// Each name, and how often it stands there.
    fn names(&self) -> impl Iterator<Item = (String, usize)> {
        self.names.chunk_by(|one, other| one == other).map(|same| (same[0].clone(), same.len()))
    }
}

/// Fields by their names in lower case: thousands of them are looked up for thousands of names.
type ByName<'a> = HashMap<Vec<u8>, Vec<Field<'a>>>;

fn by_name<'a>(fields: impl Iterator<Item = Field<'a>>) -> ByName<'a> {
    let mut by_name = ByName::new();
    for field in fields {
        by_name.entry(field.name().to_ascii_lowercase()).or_default().push(field);
    }
    by_name
}

/// The last so many fields of a name, the last one first.
fn covered(fields: &ByName<'_>, name: &str, times: usize, relaxed: bool) -> Vec<Vec<u8>> {
    let named = fields.get(name.as_bytes()).into_iter().flatten();
    let form = |field: &Field<'_>| if relaxed { compact(field.value()) } else { field.octets().to_vec() };
    named.rev().take(times).map(form).collect()
}

/// A value on one line, with single spaces.
fn compact(value: &[u8]) -> Vec<u8> {
    let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(&b' ')
}
