//! Patterns over mailboxes: `sender`, `recipient` and `recipient_given`.
//!
//! **In**: patterns as they were written; a path in its canonical form, so that case, quoting, source routes,
//! U-labels and trailing dots make no difference.
//! **Out**: whether one of the patterns means the path; and the patterns sorted by kind, from which
//! [`super::index`] learns under which keys a rule is to be found.
//! **Never**: matches across the `@`: local part and domain are compared each on its own, so that `"a@b"@c.example`
//! is nobody at `b`.
//!
//! What may be written: `<>` the null path; `postmaster`, like any pattern without `@` and `*`, the mailbox without a
//! domain; `local@domain`; a glob on either side of the `@`; and a glob without `@`, which is held against the whole
//! path (`*` alone is any path, the null path included). Only `*` is special: `?`, `[`, `]`, `{`, `}` and `\` stand for
//! themselves, because real addresses hold them. Patterns are brought to the canonical form as well (RFC 5321 section 4.1.2, RFC 5890).

use super::pattern::Glob;
use crate::smtp::{Canonical, canonical_domain};

/// All patterns of one key, sorted by kind. The lists of names are sorted, so that long ones cost little.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// `*`.
    pub(super) any: bool,
    /// Whole addresses, canonical; the null path is the empty one.
    pub(super) exact: Vec<Box<str>>,
    /// The domains of `*@domain`.
    pub(super) domains: Vec<Box<str>>,
    /// The domains of `*@*.domain`.
    pub(super) subdomains: Vec<Box<str>>,
    /// Everything else.
    pub(super) globs: Vec<AddressGlob>,
}

/// A pattern that no list of names can hold.
#[derive(Debug, Clone)]
pub(super) enum AddressGlob {
    /// Held against the whole path.
    Whole(Glob),
    /// A path with a domain: the local part without its quoting, and the domain.
    Parts(Glob, Domain),
}

/// The part of a glob behind the `@`.
#[derive(Debug, Clone)]
pub(super) enum Domain {
    /// This domain, canonical.
    Exact(Box<str>),
    /// Below this domain.
    Below(Box<str>),
    /// Another pattern, `*` among them.
    Glob(Glob),
}

impl Addresses {
    /// Sorts patterns; the error says what is wrong with which.
    pub fn new(patterns: &[String]) -> Result<Self, String> {
        let mut all = Self::default();
        for pattern in patterns {
            all.add(pattern)?;
        }
        for names in [&mut all.exact, &mut all.domains, &mut all.subdomains] {
            names.sort_unstable();
            names.dedup();
        }
        Ok(all)
    }

    /// Whether one of the patterns means this path.
    pub fn matches(&self, path: &Canonical) -> bool {
        let has = |names: &[Box<str>], name: &str| names.binary_search_by(|n| (**n).cmp(name)).is_ok();
        let below =
            |domain| !self.subdomains.is_empty() && parents(domain).any(|name| has(&self.subdomains, name));
        self.any
            || has(&self.exact, path.as_str())
            || path.domain().is_some_and(|domain| has(&self.domains, domain) || below(domain))
            || self.globs.iter().any(|glob| glob.matches(path))
    }

    /// Whether every path that is meant can be found by its own name, its domain's, or that of a domain above it.
    pub(super) fn is_listed(&self) -> bool {
        let listed = |glob: &AddressGlob| {
            matches!(glob, AddressGlob::Parts(_, Domain::Exact(_)) | AddressGlob::Parts(_, Domain::Below(_)))
        };
        !self.any && self.globs.iter().all(listed)
    }

    /// Whether only whole addresses are meant.
    pub(super) fn is_exact(&self) -> bool {
        !self.any && self.domains.is_empty() && self.subdomains.is_empty() && self.globs.is_empty()
    }

    fn add(&mut self, written: &str) -> Result<(), String> {
        if written.is_empty() {
            return Err("an empty pattern; the null path is \"<>\"".to_owned());
        }
        let pattern = written.strip_prefix('<').and_then(|p| p.strip_suffix('>')).unwrap_or(written);
        let Some((local, domain)) = split(pattern) else {
            match pattern {
                "*" => self.any = true,
                _ if !pattern.contains('*') => self.exact.push(canonical(written, pattern)?.as_str().into()),
                _ if pattern.is_ascii() => self.globs.push(AddressGlob::Whole(Glob::address(pattern))),
                _ => {
                    return Err(format!(
                        "{written:?} has letters beyond ASCII; write it as local part@domain"
                    ));
                }
            }
            return Ok(());
        };
        // With something in the place of each star it is an address, or it could never match.
        // (Part of an address literal is none, and may be meant all the same: `*@[*`.)
        let whole = if domain.contains('*') && domain.contains('[') { "pattern.invalid" } else { domain };
        let sample = canonical(written, &format!("{local}@{whole}").replace('*', "x"))?;
        let domain = Domain::new(domain).map_err(|problem| format!("{written:?}: {problem}"))?;
        match (local.contains('*'), domain) {
            (false, Domain::Exact(_)) => self.exact.push(sample.as_str().into()),
            (true, Domain::Exact(domain)) if local == "*" => self.domains.push(domain),
            (true, Domain::Below(domain)) if local == "*" => self.subdomains.push(domain),
            (false, domain) => self.globs.push(AddressGlob::Parts(Glob::address(sample.local()), domain)),
            (true, domain) => {
                let local = Glob::address(&unquoted(local).to_lowercase());
                self.globs.push(AddressGlob::Parts(local, domain));
            }
        }
        Ok(())
    }
}

impl AddressGlob {
    fn matches(&self, path: &Canonical) -> bool {
        match self {
            Self::Whole(glob) => glob.matches(path.as_str().as_bytes()),
            Self::Parts(local, domain) => {
                path.domain().is_some_and(|name| domain.matches(name))
                    && local.matches(path.local().as_bytes())
            }
        }
    }
}

impl Domain {
    fn new(pattern: &str) -> Result<Self, String> {
        if !pattern.contains('*') {
            return Ok(Self::Exact(canonical_domain(pattern.as_bytes()).into()));
        }
        if let Some(rest) = pattern.strip_prefix("*.")
            && !rest.contains('*')
        {
            return Ok(Self::Below(canonical_domain(rest.as_bytes()).into()));
        }
        let pattern = pattern.strip_suffix('.').unwrap_or(pattern);
        let mut labels = Vec::new();
        for label in pattern.split('.') {
            labels.push(match (label.is_ascii(), label.contains('*')) {
                (true, _) => label.to_owned(),
                (false, false) => canonical_domain(label.as_bytes()),
                (false, true) => {
                    return Err(format!("{label:?} mixes letters beyond ASCII with *; write the A-label"));
                }
            });
        }
        Ok(Self::Glob(Glob::address(&labels.join("."))))
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(domain) => **domain == *name,
            Self::Below(domain) => parents(name).any(|parent| *parent == **domain),
            Self::Glob(glob) => glob.matches(name.as_bytes()),
        }
    }
}

/// The domains a domain lies in, nearest first: of `a.b.example`, `b.example` and `example`.
pub(super) fn parents(domain: &str) -> impl Iterator<Item = &str> {
    let literal = domain.starts_with('[');
    domain.match_indices('.').filter(move |_| !literal).map(|(at, _)| &domain[at + 1..])
}

/// Local part and domain of a pattern, its source route (RFC 5321 appendix C) dropped; `None` without an `@`.
fn split(pattern: &str) -> Option<(&str, &str)> {
    let mailbox = match pattern.strip_prefix('@') {
        Some(route) => route.split_once(':').map_or(pattern, |(_, mailbox)| mailbox),
        None => pattern,
    };
    // A quoted local part may hold an @, a domain never.
    let (local, domain) = mailbox.rsplit_once('@')?;
    (!domain.contains('"')).then_some((local, domain))
}

fn canonical(written: &str, path: &str) -> Result<Canonical, String> {
    Canonical::parse(path).map_err(|_| format!("{written:?} is no address, and no pattern of one"))
}

/// A local part without its quotes and quoted-pairs, as its canonical form has it.
fn unquoted(local: &str) -> String {
    if !local.contains('"') {
        return local.to_owned();
    }
    let mut plain = String::with_capacity(local.len());
    let mut characters = local.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {}
            '\\' => plain.extend(characters.next()),
            _ => plain.push(character),
        }
    }
    plain
}
