//! What a scanner answers: operations on the question it was asked.
//!
//! **In**: an answer, in either dialect: lists of what is set, added and deleted (draft-01), or a JSON Patch (draft-02).
//! **Out**: operations in the order in which they are carried out; or a [`Fault`] where the answer cannot be read.
//! **Never**: takes a part of an answer that cannot be read whole.
//!
//! draft-degennaro-mta-hooks-01 section 6; RFC 6902.

use super::agreed::malformed;
use super::pointer::Pointer;
use super::value::{Value, member, member_mut};
use crate::session::callout::Fault;

/// Operations of one answer.
const MOST: usize = 1_000;

/// One of them.
#[derive(Debug, PartialEq)]
pub(super) struct Op {
    pub(super) at: Pointer,
    pub(super) what: What,
}

impl Op {
    /// The places that it changes.
    pub(super) fn places(&self) -> impl Iterator<Item = &Pointer> {
        let from = if let What::Move(from) = &self.what { Some(from) } else { None };
        [&self.at].into_iter().filter(|_| !matches!(self.what, What::Test(_))).chain(from)
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum What {
    /// What is there becomes this; a member that is not there is made.
    Set(Value),
    /// A member more; before this place of a list, or behind all.
    Add(Value),
    /// The same, of draft-01: where a list is named, in this place of it, or behind all.
    Put(Value, Option<usize>),
    Remove,
    /// What is there, which must be, becomes this.
    Replace(Value),
    Move(Pointer),
    Copy(Pointer),
    Test(Value),
}

/// What a scanner answered.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) ops: Vec<Op>,
    /// Whether one that cannot be carried out spoils all of them.
    pub(super) whole: bool,
}

impl Answer {
    /// Reads one.
    pub(super) fn read(mut value: Value) -> Result<Answer, Fault> {
        match &mut value {
            Value::Map(_) => Ok(Answer { ops: lists(&mut value)?, whole: false }),
            Value::Array(entries) => {
                bounded(entries.len())?;
                let ops = entries.iter_mut().enumerate().map(patch).collect::<Result<_, _>>()?;
                Ok(Answer { ops, whole: true })
            }
            _ => malformed("neither an object nor a list"),
        }
    }
}

fn bounded(ops: usize) -> Result<(), Fault> {
    match ops {
        0..=MOST => Ok(()),
        more => malformed(format!("{more} operations; at most {MOST} are read")),
    }
}

/// draft-01: first what is set, then what is added, then what is deleted.
fn lists(value: &mut Value) -> Result<Vec<Op>, Fault> {
    let mut ops = Vec::new();
    for name in ["set", "add", "delete"] {
        let Some(list) = member_mut(value, name).filter(|list| !list.is_null()) else { continue };
        let Some(entries) = list.as_array_mut() else { return malformed(format!("{name} is no list")) };
        bounded(ops.len() + entries.len())?;
        for (number, entry) in entries.iter_mut().enumerate() {
            let place = format!("{name}[{number}]");
            let what = match name {
                "delete" => What::Remove,
                "set" => What::Set(given(entry, &place)?),
                _ => What::Put(given(entry, &place)?, index(entry, &place)?),
            };
            ops.push(Op { at: pointer(entry, "path", &place)?, what });
        }
    }
    Ok(ops)
}

fn patch((number, entry): (usize, &mut Value)) -> Result<Op, Fault> {
    let place = format!("[{number}]");
    let from = |entry: &Value| pointer(entry, "from", &place);
    let op = member(entry, "op").and_then(Value::as_text).map(str::to_owned);
    let what = match op.as_deref() {
        Some("add") => What::Add(given(entry, &place)?),
        Some("remove") => What::Remove,
        Some("replace") => What::Replace(given(entry, &place)?),
        Some("move") => What::Move(from(entry)?),
        Some("copy") => What::Copy(from(entry)?),
        Some("test") => What::Test(given(entry, &place)?),
        _ => return malformed(format!("{place}.op is none that is known")),
    };
    Ok(Op { at: pointer(entry, "path", &place)?, what })
}

fn pointer(entry: &Value, name: &str, place: &str) -> Result<Pointer, Fault> {
    let text = member(entry, name).and_then(Value::as_text);
    text.and_then(Pointer::parse).map_or_else(|| malformed(format!("{place}.{name} is no JSON Pointer")), Ok)
}

/// A value that is given, though it may be null; taken out, since it may be a whole message.
fn given(entry: &mut Value, place: &str) -> Result<Value, Fault> {
    match member_mut(entry, "value") {
        Some(value) => Ok(std::mem::replace(value, Value::Null)),
        None => malformed(format!("{place}.value is missing")),
    }
}

fn index(entry: &Value, place: &str) -> Result<Option<usize>, Fault> {
    let Some(value) = member(entry, "index") else { return Ok(None) };
    let index = value.as_integer().and_then(|index| usize::try_from(index).ok());
    index.map_or_else(|| malformed(format!("{place}.index is no place")), |index| Ok(Some(index)))
}
