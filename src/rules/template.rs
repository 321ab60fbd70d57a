//! `{local}@new.example`: values made from what is known when a rule speaks.
//!
//! **In**: a template of the configuration; the [`Facts`] of the question.
//! **Out**: octets as they would stand in the command, without angle brackets; the null path is the empty value.
//! **Never**: checks the value, which is the session's part; or mends what the client gave: `{local}` keeps its
//! quoting, `{domain}` its case, and so they are forwarded.
//!
//! `{local}` and `{domain}` are the recipient's, at `mail` the sender's. What the stage cannot know is empty.

use std::io::Write;

use super::condition::{Facts, Field};
use crate::config::types::{Template, TemplatePiece, Variable};
use crate::session::verdict::Stage;

/// The value of a template.
pub(super) fn expand(template: &Template, facts: &Facts<'_>) -> Box<[u8]> {
    let mut out = Vec::with_capacity(64);
    for piece in &template.0 {
        match piece {
            TemplatePiece::Text(text) => out.extend_from_slice(text.as_bytes()),
            TemplatePiece::Variable(variable) => put(*variable, facts, &mut out),
        }
    }
    if out == b"<>" {
        out.clear();
    }
    out.into()
}

fn put(variable: Variable, facts: &Facts<'_>, out: &mut Vec<u8>) {
    let mailbox = if facts.stage() == Stage::Mail { Field::Sender } else { Field::Recipient };
    let path = match variable {
        Variable::Local | Variable::Domain => facts.path(mailbox),
        Variable::Recipient => facts.path(Field::Recipient),
        Variable::RecipientGiven => facts.path(Field::RecipientGiven),
        Variable::Sender => facts.path(Field::Sender),
        Variable::Client => {
            // Writing into a vector cannot fail.
            let _ = write!(out, "{}", facts.client());
            return;
        }
    };
    let Some(path) = path else { return };
    match variable {
        Variable::Local => out.extend_from_slice(path.local()),
        Variable::Domain => out.extend_from_slice(path.domain().unwrap_or_default()),
        _ => out.extend_from_slice(path.as_bytes()),
    }
}
