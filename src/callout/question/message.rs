//! A message in a question: its header and its structure.
//!
//! **In**: a [`Draft`]. **Out**: its fields as they are edited so far; its parts as they came.
//! **Never**: shows a body; decodes a field, or unfolds it.

use serde::Serialize;

use crate::callout::octets::Shown;
use crate::message::{Draft, Field, Part};

/// A message: its header as it is edited so far, its structure as it came.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Message"))]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageSeen<'a> {
    /// Its octets, as it came.
    size: u64,
    /// Its header fields, in order.
    headers: Vec<HeaderSeen<'a>>,
    /// Its parts, however deep, itself the first; those of archives are not known.
    parts: Vec<PartSeen<'a>>,
    /// Whether its MIME goes beyond what is read, or readers do not agree on it: there may be more parts.
    mime_fault: bool,
}

/// A header field.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Header"))]
struct HeaderSeen<'a> {
    /// Its name, as it is written.
    name: Shown<'a>,
    /// What stands behind the colon, folded and encoded as it is, without the last line end.
    value: Shown<'a>,
}

/// A part.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Part"))]
struct PartSeen<'a> {
    /// Its type, such as "text/plain", in lower case.
    #[serde(rename = "type")]
    media: &'a str,
    /// The file names it gives itself, decoded.
    names: Vec<&'a str>,
}

impl<'a> MessageSeen<'a> {
    pub(super) fn new(draft: &'a Draft) -> Self {
        let message = draft.message();
        let header = |field: Field<'a>| HeaderSeen { name: Shown(field.name()), value: Shown(field.value()) };
        let part = |part: &'a Part| PartSeen {
            media: &part.media,
            names: part.names.iter().map(|name| &**name).collect(),
        };
        Self {
            size: message.size(),
            headers: draft.fields().map(header).collect(),
            parts: message.parts().iter().map(part).collect(),
            mime_fault: message.has_mime_fault(),
        }
    }
}
