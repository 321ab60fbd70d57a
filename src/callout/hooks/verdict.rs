//! What a scanner's answer means at the stage where it was asked.
//!
//! **In**: the state of a question before and after; the message it is about. **Out**: an answer in the verdict types; or a
//! [`Fault`].
//! **Never**: makes an acceptance of a refusal; takes a change it cannot make for one that was made; writes a header field
//! that nobody changed in other octets than it came in.
//!
//! It is said in the words of a plain service's answer ([`Said`]), so that both are held to the same. `docs/mta-hooks.md`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::agreed::malformed;
use super::state::{Slot, State};
use super::value::{Encoding, Value, member, object};
use super::{EXTENSION, not_allowed};
use crate::callout::answer::{Attempt, Close, Grants, Lines, Object, Pairs, Rewrite, Route, Said, True};
use crate::callout::octets::Given;
use crate::callout::quarantine::hold;
use crate::callout::{Content, answer};
use crate::config::types::OnQuarantine;
use crate::message::Edit;
use crate::session::callout::{CalloutAnswer, Fault};
use crate::session::verdict::{EnvelopeEdit, MessageAnswer, Stage};
use crate::smtp::is_header_field;

/// Octets of text in one encoded word: its line has 76 at most, the name `Subject` among them (RFC 2047 section 2).
const WORD: usize = 39;

/// What it is held against.
pub(super) struct Asked<'a> {
    pub(super) stage: Stage,
    pub(super) before: &'a State,
    pub(super) content: Option<&'a Content>,
    pub(super) grants: &'a Grants,
    pub(super) on_quarantine: OnQuarantine,
}

impl Asked<'_> {
    /// The answer that these changes are.
    pub(super) fn answer(&self, mut after: State) -> Result<CalloutAnswer, Fault> {
        let own = std::mem::replace(&mut after.ext, Value::Null);
        if !own.is_null() {
            if after != *self.before {
                return not_allowed(format!("/ext/{EXTENSION} beside other changes"));
            }
            let Some(verdict) = member(&own, "verdict") else {
                return malformed(format!("/ext/{EXTENSION} has no verdict"));
            };
            return answer::decode(&Encoding::Json.write(verdict), self.stage, self.grants);
        }
        let mut said = Said::default();
        let held = self.decision(&after, &mut said)?;
        if self.stage != Stage::Message {
            self.changes(&after, &mut said)?;
            return said.answer(self.stage, self.grants);
        }
        let CalloutAnswer::Message(mut answer) = said.answer(self.stage, self.grants)? else {
            return malformed("no answer to a message");
        };
        // What is refused, or given to nobody, is not changed.
        if answer.verdict.is_none() {
            self.edits(&after, &mut answer)?;
            if held {
                hold(&mut answer, self.on_quarantine, b"")?;
            }
        }
        Ok(CalloutAnswer::Message(answer))
    }

    /// Action and response; whether the message is to be held back.
    fn decision(&self, after: &State, said: &mut Said) -> Result<bool, Fault> {
        let (was, is) = (self.before.action.as_text(), after.action.as_text());
        let new_response = after.response != self.before.response;
        let response = || written(&after.response);
        let is_reply = self.stage.is_reply();
        match is {
            Some("accept") if was != is => return not_allowed("an acceptance of what the hop has refused"),
            Some("accept") if !new_response => {}
            Some("accept") if is_reply => said.substitute = Some(response()?),
            Some("accept") => return not_allowed("a response without an action"),
            Some("reject") if was == is && !new_response => {}
            Some("reject") => {
                let lines =
                    if new_response { response()? } else { Lines(vec![refusal(self.stage).to_owned()]) };
                *(if is_reply { &mut said.substitute } else { &mut said.reply }) = Some(lines);
            }
            Some("disconnect") => {
                said.disconnect = Some(Close(new_response.then(response).transpose()?));
            }
            Some("discard") if self.stage == Stage::Message => said.discard = Some(True),
            Some("discard") if self.stage == Stage::Rcpt => {
                said.reply = Some(Lines(vec!["250 2.1.5 Ok".to_owned()]));
            }
            Some("quarantine") if self.stage == Stage::Message => return Ok(true),
            Some(action @ ("discard" | "quarantine")) => {
                return not_allowed(format!("{action} at {}", self.stage.as_str()));
            }
            _ => return malformed("/action is none that is known"),
        }
        Ok(false)
    }

    /// What becomes of a command, but for a message.
    fn changes(&self, after: &State, said: &mut Said) -> Result<(), Fault> {
        let (stage, before) = (self.stage, self.before);
        if !after.raw.is_null() || after.headers != before.headers || after.subject != before.subject {
            return not_allowed(format!("a message is not changed at {}", stage.as_str()));
        }
        if after.from != self.before.from {
            if stage != Stage::Mail {
                return not_allowed(format!("/envelope/from: not allowed at {}", stage.as_str()));
            }
            said.rewrite = Some(Object(rewrite(&self.before.from, &after.from, true)?));
        }
        if after.to == self.before.to {
            return Ok(());
        }
        let (Some((old, others)), Some((new, kept))) = (self.before.to.split_last(), after.to.split_last())
        else {
            return not_allowed(format!("/envelope/to: not allowed at {}", stage.as_str()));
        };
        if kept != others || new.origin != old.origin || !matches!(stage, Stage::Rcpt | Stage::RcptReply) {
            return not_allowed("/envelope/to: only the recipient in question is changed, which is the last");
        }
        let queue = match member(&new.value, "route") {
            None => None,
            Some(route) => match (route.as_map(), member(route, "queue").and_then(Value::as_text)) {
                (Some(members), Some(queue)) if members.len() == 1 => Some(queue.to_owned()),
                _ => return not_allowed("/envelope/to: a route is the name of a queue"),
            },
        };
        address(&new.value)?;
        let changed = rewrite(&old.value, &new.value, false)?;
        if stage == Stage::Rcpt {
            said.route = queue.map(|upstream| Object(Route { upstream }));
            said.rewrite = changed.is_some().then_some(Object(changed));
        } else if self.before.action.as_text() == Some("reject") && changed.parameters.is_none() {
            let attempt = Attempt { recipient: changed.recipient, upstream: queue, mx: None };
            said.retry = Some(vec![Object(attempt)]);
        } else {
            return not_allowed("/envelope/to: a recipient that the hop has accepted, or its parameters");
        }
        Ok(())
    }

    /// What becomes of a message that goes on, and of its envelope.
    fn edits(&self, after: &State, answer: &mut MessageAnswer) -> Result<(), Fault> {
        let before = self.before;
        if after.from != before.from {
            let changed = rewrite(&before.from, &after.from, true)?;
            let path = changed
                .sender
                .map_or_else(|| address(&before.from).map(|path| path.into()), |Given(path)| Ok(path));
            let parameters = changed.parameters.map(|pairs| self.grants.parameters(pairs)).transpose()?;
            answer.envelope.push(EnvelopeEdit::Sender { path: self.path(path?, true)?, parameters });
        }
        for old in &before.to {
            // Who was named twice, and is yet named once, stays.
            let stays = |slot: &Slot| before.to.contains(slot) && slot.value == old.value;
            if !after.to.contains(old) && !after.to.iter().any(stays) {
                answer.envelope.push(EnvelopeEdit::Remove(self.path(address(&old.value)?.into(), false)?));
            }
        }
        for new in after.to.iter().filter(|slot| !before.to.contains(slot)) {
            if member(&new.value, "route").is_some() {
                return not_allowed("/envelope/to: a route is not allowed at message");
            }
            let path = self.path(address(&new.value)?.into(), false)?;
            let parameters = pairs(&new.value)?.map(|pairs| self.grants.parameters(pairs)).transpose()?;
            answer.envelope.push(EnvelopeEdit::Add { path, parameters: parameters.unwrap_or_default() });
        }
        match &after.raw {
            Value::Null => self.header(after, answer),
            Value::Bytes(octets) => {
                answer.edits.extend(Edit::another(octets));
                Ok(())
            }
            Value::Text(text) => match STANDARD.decode(text) {
                Ok(octets) => {
                    answer.edits.extend(Edit::another(&octets));
                    Ok(())
                }
                Err(_) => malformed("/rawMessage is not Base64 with padding"),
            },
            _ => malformed("/rawMessage is no message"),
        }
    }

    /// A path as it stands in a command.
    fn path(&self, octets: Box<[u8]>, may_be_null: bool) -> Result<Box<[u8]>, Fault> {
        if may_be_null && (octets.is_empty() || *octets == *b"<>") {
            return Ok(Box::default());
        }
        self.grants.mailbox("/envelope", octets)
    }

    fn header(&self, after: &State, answer: &mut MessageAnswer) -> Result<(), Fault> {
        let mut slots = after.headers.clone();
        if after.subject != self.before.subject {
            set_subject(&mut slots, &after.subject)?;
        }
        if slots == self.before.headers {
            return Ok(());
        }
        let Some(content) = self.content else { return malformed("no message was asked about") };
        let came: Vec<&[u8]> = content.draft.fields().map(|field| field.octets()).collect();
        let fields = slots.iter().enumerate().map(|(place, slot)| {
            let kept = slot.origin.filter(|origin| self.before.headers.get(*origin) == Some(slot));
            match kept.and_then(|origin| came.get(origin)) {
                Some(octets) => {
                    let end: &[u8] = if octets.ends_with(b"\n") { b"" } else { b"\r\n" };
                    Ok([octets, end].concat().into())
                }
                None => field(&slot.value, place),
            }
        });
        answer.edits.push(Edit::Header(fields.collect::<Result<_, Fault>>()?));
        Ok(())
    }
}

/// What is said where a scanner rejects and says no more.
fn refusal(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect | Stage::ConnectReply => "554 5.7.1 Service not available here",
        Stage::Message => "550 5.7.1 Message rejected",
        _ => "550 5.7.1 Command rejected",
    }
}

/// A response as a reply.
fn written(response: &Value) -> Result<Lines, Fault> {
    let Some(code) = member(response, "code").and_then(Value::as_integer) else {
        return malformed("/response/code is no number");
    };
    let text = |name: &str| match member(response, name) {
        None => Ok(None),
        Some(Value::Text(text)) if text.contains(['\r', '\n']) => {
            malformed(format!("/response/{name} has a line end"))
        }
        Some(Value::Text(text)) => Ok(Some(text.as_str())),
        Some(_) => malformed(format!("/response/{name} is no text")),
    };
    let parts = [
        Some(i128::from(code).to_string()),
        text("enhancedCode")?.map(str::to_owned),
        text("message")?.map(str::to_owned),
    ];
    Ok(Lines(vec![parts.into_iter().flatten().collect::<Vec<_>>().join(" ")]))
}

/// What is new of an address.
fn rewrite(old: &Value, new: &Value, sender: bool) -> Result<Rewrite, Fault> {
    let mut rewrite = Rewrite::default();
    if member(old, "address") != member(new, "address") {
        let path = address(new)?;
        let given = Given(if path.is_empty() { b"<>"[..].into() } else { path.into() });
        *(if sender { &mut rewrite.sender } else { &mut rewrite.recipient }) = Some(given);
    }
    if member(old, "parameters") != member(new, "parameters") {
        rewrite.parameters = Some(pairs(new)?.unwrap_or(Pairs(Vec::new())));
    }
    Ok(rewrite)
}

/// The octets of an address; none of the null path. A route is the caller's matter, where there may be one.
fn address(value: &Value) -> Result<&[u8], Fault> {
    let known =
        |(name, _): &(Value, Value)| matches!(name.as_text(), Some("address" | "parameters" | "route"));
    if !value.as_map().is_some_and(|members| members.iter().all(known)) {
        return not_allowed("an address with a member that is not known");
    }
    match (value, member(value, "address")) {
        (Value::Map(_), None) => Ok(b""),
        (_, Some(Value::Text(text))) if text.contains('\u{fffd}') => {
            not_allowed("an address that is no text")
        }
        (_, Some(Value::Text(text))) => Ok(text.as_bytes()),
        _ => malformed("an address is no text"),
    }
}

fn pairs(value: &Value) -> Result<Option<Pairs>, Fault> {
    let Some(parameters) = member(value, "parameters") else { return Ok(None) };
    let pair = |(name, value): &(Value, Value)| {
        let value = if value.is_null() { Some("") } else { value.as_text() };
        Some((name.as_text()?.to_owned(), Given(value?.as_bytes().into())))
    };
    let pairs = parameters.as_map().and_then(|members| members.iter().map(pair).collect());
    pairs.map_or_else(|| malformed("parameters are texts by name"), |pairs| Ok(Some(Pairs(pairs))))
}

/// A header field that is new. Values are raw; one that begins with no space is given one.
fn field(value: &Value, place: usize) -> Result<Box<[u8]>, Fault> {
    let part = |name: &str| member(value, name).and_then(Value::as_text);
    let (Some(name), Some(value)) = (part("name"), part("value")) else {
        return malformed(format!("/message/headers/{place} is no name with a value"));
    };
    let space = if value.starts_with([' ', '\t']) { "" } else { " " };
    let value = value.strip_suffix("\r\n").unwrap_or(value);
    let field = format!("{name}:{space}{value}\r\n").into_bytes();
    if name.contains(':') || !is_header_field(&field) {
        return not_allowed(format!("/message/headers/{place} is not a header field"));
    }
    Ok(field.into())
}

/// Another subject, or none.
fn set_subject(slots: &mut Vec<Slot>, subject: &Value) -> Result<(), Fault> {
    let is_subject = |slot: &Slot| {
        let name = member(&slot.value, "name").and_then(Value::as_text);
        name.is_some_and(|name| name.eq_ignore_ascii_case("subject"))
    };
    let text = match subject {
        Value::Null => {
            slots.retain(|slot| !is_subject(slot));
            return Ok(());
        }
        Value::Text(text) if !text.contains(char::is_control) => text,
        _ => return malformed("/message/subject is no line of text"),
    };
    let value = object([("name", Value::from("Subject")), ("value", Value::from(encoded(text)))]);
    let slot = Slot { origin: None, value };
    match slots.iter_mut().find(|slot| is_subject(slot)) {
        Some(there) => *there = slot,
        None => slots.push(slot),
    }
    Ok(())
}

/// Text in a header field: as it is, or in encoded words (RFC 2047).
fn encoded(text: &str) -> String {
    if text.is_ascii() && !text.contains("=?") {
        return text.to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.floor_char_boundary(WORD);
        words.push(format!("=?UTF-8?B?{}?=", STANDARD.encode(&rest[..end])));
        rest = &rest[end..];
    }
    words.join("\r\n ")
}
