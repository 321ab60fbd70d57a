//! A verdict as JSON: what a service may answer, read with suspicion.
//!
//! **In**: the octets of an answer, the stage they answer, what the configuration grants.
//! **Out**: a [`CalloutAnswer`] in the two verdict types that rules give; or a [`Fault`] that says what is wrong and
//! where (`retry[1].upstream: no upstream is called "legcy"`).
//! **Never**: mends what is wrong, or takes a part of an answer: a nonsensical answer is a failed callout. Never puts
//! a value of the answer in a fault, save names of keys and pools.
//!
//! The members are a rule's `do`, with a rule's meaning; `docs/callout.md` has them, `docs/callout.schema.json` is made
//! from these types. What depends on the hop's reply (a 4xx never becomes a 2xx) is the session's to check.

mod meaning;
mod message;
mod shapes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::octets::Given;
use crate::message::Edit;
use crate::session::callout::{CalloutAnswer, Fault, FaultKind};
use crate::session::route::PoolId;
use crate::session::verdict::{MessageAnswer, Stage};
use meaning::Wrong;
use shapes::OneOrMore;
pub(super) use shapes::{Close, Lines, Object, Pairs, True};

/// What the configuration lets a callout say.
#[derive(Debug, Default)]
pub struct Grants {
    /// The pools by name.
    pub pools: BTreeMap<Box<str>, PoolId>,
    /// Rungs of a ladder: `limits.attempts`.
    pub attempts: usize,
    /// Octets of an address, name or all parameters: `limits.command_line`.
    pub line: usize,
    /// `effects: [discard]`.
    pub discard: bool,
}

/// Most characters of a fault: keys of an answer may be long.
const LONGEST_FAULT: usize = 200;

/// Reads an answer.
pub fn decode(octets: &[u8], stage: Stage, grants: &Grants) -> Result<CalloutAnswer, Fault> {
    parse(octets)?.answer(stage, grants)
}

impl Said {
    /// What it means at this stage, held against what is granted.
    pub(super) fn answer(self, stage: Stage, grants: &Grants) -> Result<CalloutAnswer, Fault> {
        Ok(self.at(stage, grants)?)
    }
}

impl Grants {
    /// A path that is not the null path.
    pub(super) fn mailbox(&self, key: &str, octets: Box<[u8]>) -> Result<Box<[u8]>, Fault> {
        Ok(meaning::mailbox(key, octets, self)?)
    }

    /// Parameters as they stand in a command.
    pub(super) fn parameters(&self, pairs: Pairs) -> Result<Box<[u8]>, Fault> {
        Ok(meaning::parameters(pairs, self)?)
    }
}

impl From<Wrong> for Fault {
    fn from(Wrong(key, what): Wrong) -> Fault {
        Fault::new(FaultKind::NotAllowed, format!("{key}: {what}"))
    }
}

/// Takes a whole message for an answer: it goes on in place of the one that was asked about.
pub fn another(octets: &[u8]) -> Result<CalloutAnswer, Fault> {
    let edits = Edit::another(octets).into();
    Ok(CalloutAnswer::Message(Box::new(MessageAnswer { edits, ..MessageAnswer::default() })))
}

/// Parses the form; whether the stage allows it is asked later.
fn parse(octets: &[u8]) -> Result<Said, Fault> {
    let malformed = |what: String| Err(Fault::new(FaultKind::Malformed, what));
    let mut json = serde_json::Deserializer::from_slice(octets);
    let said = match serde_path_to_error::deserialize::<_, Object<Said>>(&mut json) {
        Ok(Object(said)) => said,
        Err(error) => {
            let path = error.path().to_string();
            let what = without_values(&error.into_inner().to_string());
            // Where it cannot say where, it has a mark for it.
            return malformed(if matches!(&*path, "." | "?") {
                what
            } else {
                bounded(&format!("{path}: {what}"))
            });
        }
    };
    match json.end() {
        Ok(()) => Ok(said),
        Err(error) => malformed(without_values(&error.to_string())),
    }
}

/// What a service said.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Answer"))]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    /// At helo, mail, rcpt and message: new values.
    pub(super) rewrite: Option<Object<Rewrite>>,
    /// At the stages of commands, and at message: answer in the hop's place.
    pub(super) reply: Option<Lines>,
    /// Up to rcpt, and at message: to another pool.
    pub(super) route: Option<Object<Route>>,
    /// At the stages of replies: the client hears this instead.
    pub(super) substitute: Option<Lines>,
    /// At rcpt-reply: try the recipient again.
    pub(super) retry: Option<Vec<Object<Attempt>>>,
    /// At message: names of header fields, all of which go.
    remove_header: Option<OneOrMore<String>>,
    /// At message: other fields instead of some.
    change_header: Option<Vec<Object<Changed>>>,
    /// At message: header fields, put before all others in this order.
    add_header: Option<OneOrMore<Given>>,
    /// At message: another body.
    body: Option<Given>,
    /// At message: recipients that go, without brackets.
    remove_recipient: Option<OneOrMore<Given>>,
    /// At message: recipients more, without brackets.
    add_recipient: Option<OneOrMore<Given>>,
    /// At message: answer 2xx, and give it to nobody.
    pub(super) discard: Option<True>,
    /// Ask no further.
    accept: Option<True>,
    /// Close the client, with this reply or gatepost's own 421.
    pub(super) disconnect: Option<Close>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Rewrite {
    /// At mail and message: the new sender, without brackets; "<>" is the null path.
    pub(super) sender: Option<Given>,
    /// At rcpt: the new recipient, without brackets.
    pub(super) recipient: Option<Given>,
    /// At helo: the new name.
    helo: Option<Given>,
    /// At mail and rcpt: all parameters, in place of those there are.
    pub(super) parameters: Option<Pairs>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    /// A pool of the configuration's upstreams.
    pub(super) upstream: String,
}

/// One attempt; at least one of them, and not both upstream and mx.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Attempt {
    /// Another recipient, without brackets.
    pub(super) recipient: Option<Given>,
    /// Another pool.
    pub(super) upstream: Option<String>,
    /// The mail hosts of this domain, "legacy.example" or "legacy.example:2525".
    pub(super) mx: Option<String>,
}

/// A header field that is changed.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Changed {
    /// Its name.
    name: String,
    /// Which field of that name, counted from 1; the first if not given.
    nth: Option<u32>,
    /// The whole field in its place, or behind all others where there is none; not given: it goes.
    field: Option<Given>,
}

/// A parser's complaint without what stands between double quotes, which is a value of the answer.
fn without_values(complaint: &str) -> String {
    match (complaint.find('"'), complaint.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            bounded(&format!("{}\"…\"{}", &complaint[..first], &complaint[last + 1..]))
        }
        _ => bounded(complaint),
    }
}

/// Not too long, and without control characters.
fn bounded(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '?' } else { c };
    let mut bounded: String = text.chars().take(LONGEST_FAULT).map(plain).collect();
    if text.chars().nth(LONGEST_FAULT).is_some() {
        bounded.push('…');
    }
    bounded
}
