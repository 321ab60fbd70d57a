//! What rules see of a message, and what they change of it.
//!
//! **In**: a [`Draft`], as the rules before have edited it; header fields a rule demands.
//! **Out**: whether it has them; the changes that a rule makes of message and envelope.
//! **Never**: decodes a field twice for one message; reads a body.
//!
//! RFC 5322 section 2.2.3 (unfolding), RFC 2047 (encoded words), RFC 6376 section 3.5 and RFC 8617 section 4.1 (fields of
//! signatures), RFC 1847 section 2.1 and RFC 8551 section 3.5 (signed bodies).

use super::condition::any;
use super::pattern::Glob;
use crate::config::types::{Action, HeaderMatch};
use crate::message::{Draft, Edit, decoded};
use crate::session::verdict::EnvelopeEdit;

/// A header field that is demanded.
#[derive(Debug, Clone)]
pub(super) struct Header {
    name: Box<str>,
    /// None: whatever it says.
    value: Vec<Glob>,
}

impl Header {
    pub(super) fn new(config: &HeaderMatch) -> Self {
        let value = config.value.iter().map(|pattern| Glob::text(pattern)).collect();
        Self { name: config.name.as_str().into(), value }
    }
}

/// The header fields of a message, as they are compared.
#[derive(Debug)]
pub(super) struct Headers(Vec<(Box<[u8]>, String)>);

impl Headers {
    /// Of the message as it is now.
    pub(super) fn of(draft: &Draft) -> Self {
        Self(draft.fields().map(|field| (field.name().into(), decoded(field.value()))).collect())
    }

    /// Whether one of them is demanded by this.
    pub(super) fn have(&self, header: &Header) -> bool {
        let named = |name: &[u8]| name.eq_ignore_ascii_case(header.name.as_bytes());
        let fits = |value: &str| header.value.is_empty() || any(&header.value, value.as_bytes());
        self.0.iter().any(|(name, value)| named(name) && fits(value))
    }
}

/// What a rule changes: what goes first, then what is put before all that is left.
pub(super) fn edits(actions: &Action) -> Vec<Edit> {
    let removed = actions.remove_header.iter().map(|name| Edit::DeleteAll(name.as_str().into()));
    let added = actions.add_header.iter().zip(0..).map(|(field, at)| {
        let field = format!("{field}\r\n").into_bytes().into();
        Edit::Insert { at, field }
    });
    removed.chain(added).collect()
}

/// What a rule changes of the envelope besides the sender: who goes first, then who is put in.
pub(super) fn envelope(actions: &Action) -> Vec<EnvelopeEdit> {
    let path = |path: &String| path.as_bytes().into();
    let removed = actions.remove_recipient.iter().map(|gone| EnvelopeEdit::Remove(path(gone)));
    let added = actions.add_recipient.iter();
    removed
        .chain(added.map(|new| EnvelopeEdit::Add { path: path(new), parameters: Box::default() }))
        .collect()
}
