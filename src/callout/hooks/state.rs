//! The part of a question that a scanner may change, and what has become of it.
//!
//! **In**: a question as it was asked; operations on it. **Out**: the state they leave, in which what was kept is told from what
//! is new by where it stood.
//! **Never**: takes what came back for what was kept: text that travels has lost octets that are no text.
//!
//! RFC 6902 section 4.

use super::changes::{Op, What};
use super::pointer::Pointer;
use super::value::{Value, member, member_mut, object};

/// The state.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    pub(super) action: Value,
    pub(super) response: Value,
    pub(super) from: Value,
    pub(super) to: Vec<Slot>,
    pub(super) headers: Vec<Slot>,
    pub(super) subject: Value,
    /// Another message; null: the one that came.
    pub(super) raw: Value,
    /// What is said in gatepost's own words.
    pub(super) ext: Value,
    /// Octets that may yet be copied: each copy into itself would make it twice as large.
    copies: usize,
}

/// Octets that one answer may copy.
const COPIES: usize = 1 << 20;

/// An entry of a list.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Slot {
    /// Where it stood; `None`: it is new.
    pub(super) origin: Option<usize>,
    pub(super) value: Value,
}

/// What an operation is about is not there, or too much to copy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

impl State {
    /// That of a question.
    pub(super) fn of(question: &Value) -> State {
        let within =
            |outer: &str, name: &str| member(question, outer).and_then(|outer| member(outer, name)).cloned();
        let slots = |list: Option<Value>| {
            let list = list.and_then(|list| list.into_array().ok()).unwrap_or_default();
            list.into_iter().enumerate().map(|(at, value)| Slot { origin: Some(at), value }).collect()
        };
        let top = |name: &str| member(question, name).cloned().unwrap_or(Value::Null);
        State {
            action: top("action"),
            response: top("response"),
            from: within("envelope", "from").unwrap_or(Value::Null),
            to: slots(within("envelope", "to")),
            headers: slots(within("message", "headers")),
            subject: within("message", "subject").unwrap_or(Value::Null),
            raw: Value::Null,
            ext: Value::Null,
            copies: COPIES,
        }
    }

    /// Carries out one operation.
    pub(super) fn apply(&mut self, op: Op) -> Result<(), Gone> {
        let at = &op.at;
        match op.what {
            What::Add(value) => self.add(at, Slot { origin: None, value }),
            What::Put(value, index) => {
                let slot = Slot { origin: None, value };
                match self.length(at) {
                    Some(length) => {
                        let index = index.unwrap_or(length).min(length);
                        self.add(&at.clone().then(index.to_string()), slot)
                    }
                    None => self.add(at, slot),
                }
            }
            What::Remove => self.take(at).map(drop),
            What::Set(value) if self.is_member(at) => self.add(at, Slot { origin: None, value }),
            What::Set(value) | What::Replace(value) => {
                *self.found(at).ok_or(Gone)? = value;
                Ok(())
            }
            What::Move(from) if at.is_within(&from) && *at != from => Err(Gone),
            What::Move(from) => {
                let slot = self.take(&from)?;
                self.add(at, slot)
            }
            What::Copy(from) => {
                let found = self.found(&from).ok_or(Gone)?;
                let (octets, value) = (weight(found), found.clone());
                self.copies = self.copies.checked_sub(octets).ok_or(Gone)?;
                self.add(at, Slot { origin: None, value })
            }
            What::Test(value) => {
                let same = self.found(at).is_some_and(|found| *found == value);
                if same { Ok(()) } else { Err(Gone) }
            }
        }
    }

    /// The list that is named, and what stands behind its name.
    fn list<'a>(&mut self, at: &'a Pointer) -> Option<(&mut Vec<Slot>, &'a [String])> {
        match at.steps() {
            [outer, name, rest @ ..] if outer == "envelope" && name == "to" => Some((&mut self.to, rest)),
            [outer, name, rest @ ..] if outer == "message" && name == "headers" => {
                Some((&mut self.headers, rest))
            }
            _ => None,
        }
    }

    /// The value that holds what is named, and the way to that.
    fn single<'a>(&mut self, at: &'a Pointer) -> Option<(&mut Value, &'a [String])> {
        let (value, rest) = match at.steps() {
            [name, rest @ ..] if name == "action" => (&mut self.action, rest),
            [name, rest @ ..] if name == "response" => (&mut self.response, rest),
            [name, rest @ ..] if name == "rawMessage" => (&mut self.raw, rest),
            [outer, name, rest @ ..] if outer == "envelope" && name == "from" => (&mut self.from, rest),
            [outer, name, rest @ ..] if outer == "message" && name == "subject" => (&mut self.subject, rest),
            // The way to it has two steps.
            [outer, _, rest @ ..] if outer == "ext" => (&mut self.ext, rest),
            _ => return None,
        };
        Some((value, rest))
    }

    /// Whether what is named is no entry of a list, and what should hold it is there.
    fn is_member(&mut self, at: &Pointer) -> bool {
        match self.list(at) {
            Some((_, [] | [_])) => false,
            Some((list, [index, way @ ..])) => {
                position(index, list.len()).is_some_and(|index| !in_list(&list[index].value, way))
            }
            None => self.single(at).is_some_and(|(value, way)| !in_list(value, way)),
        }
    }

    /// Entries of the list that is named.
    fn length(&mut self, at: &Pointer) -> Option<usize> {
        match self.list(at) {
            Some((list, [])) => Some(list.len()),
            _ => self.found(at)?.as_array().map(Vec::len),
        }
    }

    /// What is named, unless that is a whole list of ours.
    fn found(&mut self, at: &Pointer) -> Option<&mut Value> {
        // Asked twice: a borrow that is returned from one arm lasts in the others.
        if self.list(at).is_some() {
            let (list, rest) = self.list(at)?;
            let [index, way @ ..] = rest else { return None };
            let index = position(index, list.len())?;
            return step_by_step(&mut list[index].value, way);
        }
        let (value, way) = self.single(at)?;
        step_by_step(value, way)
    }

    fn add(&mut self, at: &Pointer, slot: Slot) -> Result<(), Gone> {
        if let Some((list, rest)) = self.list(at) {
            let [index, way @ ..] = rest else {
                // The whole of it becomes another.
                let Value::Array(values) = slot.value else { return Err(Gone) };
                *list = values.into_iter().map(|value| Slot { origin: None, value }).collect();
                return Ok(());
            };
            if way.is_empty() {
                let index = if index == "-" { Some(list.len()) } else { position(index, list.len() + 1) };
                list.insert(index.ok_or(Gone)?, slot);
                return Ok(());
            }
            let index = position(index, list.len()).ok_or(Gone)?;
            return put(&mut list[index].value, way, slot.value);
        }
        let (value, way) = self.single(at).ok_or(Gone)?;
        put(value, way, slot.value)
    }

    fn take(&mut self, at: &Pointer) -> Result<Slot, Gone> {
        if let Some((list, rest)) = self.list(at) {
            let [index, way @ ..] = rest else {
                list.clear();
                return Ok(Slot { origin: None, value: Value::Array(Vec::new()) });
            };
            let index = position(index, list.len()).ok_or(Gone)?;
            if way.is_empty() {
                return Ok(list.remove(index));
            }
            return out_of(&mut list[index].value, way).map(|value| Slot { origin: None, value });
        }
        let (value, way) = self.single(at).ok_or(Gone)?;
        out_of(value, way).map(|value| Slot { origin: None, value })
    }
}

/// About what a value takes up.
fn weight(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Text(text) => text.len(),
            Value::Bytes(octets) => octets.len(),
            Value::Array(values) => values.iter().map(weight).sum(),
            Value::Map(members) => members.iter().map(|(name, value)| weight(name) + weight(value)).sum(),
            _ => 0,
        }
}

/// A place in a list of so many.
fn position(step: &str, length: usize) -> Option<usize> {
    let plain = step == "0" || !step.starts_with(['0', '+']);
    step.parse().ok().filter(|index| plain && *index < length)
}

/// Whether the last step of the way leads into a list.
fn in_list(value: &Value, way: &[String]) -> bool {
    let Some((_, before)) = way.split_last() else { return false };
    let mut value = value;
    for step in before {
        let inner = match value {
            Value::Array(values) => position(step, values.len()).map(|index| &values[index]),
            value => member(value, step),
        };
        let Some(inner) = inner else { return false };
        value = inner;
    }
    value.is_array()
}

fn step_by_step<'a>(value: &'a mut Value, way: &[String]) -> Option<&'a mut Value> {
    way.iter().try_fold(value, |value, step| match value {
        Value::Array(values) => position(step, values.len()).map(|index| &mut values[index]),
        value => member_mut(value, step),
    })
}

fn put(value: &mut Value, way: &[String], new: Value) -> Result<(), Gone> {
    let Some((last, before)) = way.split_last() else {
        *value = new;
        return Ok(());
    };
    let holder = step_by_step(value, before).ok_or(Gone)?;
    if holder.is_null() {
        *holder = object([]);
    }
    match holder {
        Value::Array(values) => {
            let index = if last == "-" { Some(values.len()) } else { position(last, values.len() + 1) };
            values.insert(index.ok_or(Gone)?, new);
        }
        holder => match member_mut(holder, last) {
            Some(there) => *there = new,
            None => holder.as_map_mut().ok_or(Gone)?.push((Value::from(last.as_str()), new)),
        },
    }
    Ok(())
}

fn out_of(value: &mut Value, way: &[String]) -> Result<Value, Gone> {
    let Some((last, before)) = way.split_last() else { return Ok(std::mem::replace(value, Value::Null)) };
    match step_by_step(value, before).ok_or(Gone)? {
        Value::Array(values) => {
            let index = position(last, values.len()).ok_or(Gone)?;
            Ok(values.remove(index))
        }
        Value::Map(members) => {
            let named = members.iter().position(|(name, _)| name.as_text() == Some(last));
            named.map(|index| members.remove(index).1).ok_or(Gone)
        }
        _ => Err(Gone),
    }
}
