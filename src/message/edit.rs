//! One change of a message.
//!
//! In:    what a rule or a filter wants changed, with whole fields.
//! Out:   why it cannot be done, if so.
//! Never: mends a field that is none.

use std::sync::Arc;

use super::{Field, Scan, name_of};
use crate::smtp::is_header_field;

/// A change of the message. Places are counted in the header as it is edited so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A field, with its line end, in this place: 0 is before all others; beyond the last, behind it.
    Insert {
        /// Where.
        at: u32,
        /// The field.
        field: Box<[u8]>,
    },
    /// A field behind all others.
    Append(Box<[u8]>),
    /// Another field instead of the n-th of a name, counted from 1; where there is none, behind all others.
    Change {
        /// Whose.
        name: Box<str>,
        /// Which of them.
        nth: u32,
        /// The field.
        field: Box<[u8]>,
    },
    /// The n-th field of a name goes, counted from 1.
    Delete {
        /// Whose.
        name: Box<str>,
        /// Which of them.
        nth: u32,
    },
    /// All fields of a name go.
    DeleteAll(Box<str>),
    /// Other fields instead of all there are, each with its line end.
    Header(Vec<Box<[u8]>>),
    /// Another body.
    Body(Arc<[u8]>),
}

impl Edit {
    /// Those that make another message of it: these octets.
    pub fn another(octets: &[u8]) -> [Edit; 2] {
        let mut scan = Scan::default();
        scan.take(octets);
        let message = scan.finish();
        let body = usize::try_from(message.body().start).unwrap_or(octets.len());
        let whole = |field: Field<'_>| {
            let end: &[u8] = if field.octets().ends_with(b"\n") { b"" } else { b"\r\n" };
            [field.octets(), end].concat().into()
        };
        [Edit::Header(message.fields().map(whole).collect()), Edit::Body(octets[body..].into())]
    }

    /// What is wrong with it.
    pub fn fault(&self) -> Option<&'static str> {
        match self {
            Edit::Insert { field, .. } | Edit::Append(field) | Edit::Change { field, .. } => {
                (!is_header_field(field)).then_some("a header field that is none")
            }
            Edit::Header(fields) => {
                let is_field = |field: &[u8]| field.ends_with(b"\n") && name_of(field).is_some();
                (!fields.iter().all(|field| is_field(field))).then_some("a header field that is none")
            }
            Edit::Delete { .. } | Edit::DeleteAll(_) | Edit::Body(_) => None,
        }
    }

    /// Octets of it that are kept.
    pub fn octets(&self) -> usize {
        match self {
            Edit::Insert { field, .. } | Edit::Append(field) | Edit::Change { field, .. } => field.len(),
            Edit::Delete { .. } | Edit::DeleteAll(_) => 0,
            Edit::Header(fields) => fields.iter().map(|field| field.len()).sum(),
            Edit::Body(body) => body.len(),
        }
    }
}
