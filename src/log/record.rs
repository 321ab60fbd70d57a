//! The record of a transaction: one line of text, or JSON with its lists as such.
//!
//! In:    a [`Record`].
//! Out:   one event at info.
//! Never: has a list longer than it has room for.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tracing::{field, info};

use super::{FORMAT, LIST, TEXT, address, brief, end, forwarded, list, lists, text, tls};
use crate::config::types::LogFormat;
use crate::message::Signature;
use crate::session::io::VerdictKind;
use crate::session::record::{Address, AttemptRecord, RecipientRecord, Record, Speaker};
use crate::session::verdict::Stage;

/// The same of recipients that are JSON, with their names for everything.
const LISTS: usize = 12 * 1024;

/// What stands for a reply that did not come.
const NO_ANSWER: &str = "no answer";

/// One transaction.
pub fn transaction(record: &Record) {
    let json = FORMAT.get() == Some(&LogFormat::Json);
    let (recipients, verdicts) = match json {
        true => (
            lists::fold(record.recipients.iter().map(recipient_value), LISTS),
            lists::fold(record.verdicts.iter().map(verdict_value), TEXT),
        ),
        false => (
            list(record.recipients.iter().map(recipient), LIST),
            list(record.verdicts.iter().map(verdict), TEXT),
        ),
    };
    let reply = record.reply.as_ref();
    let facts = record.facts.as_deref();
    info!(
        session = %record.session,
        client = %record.client,
        helo = record.helo.as_deref().map(brief),
        name = facts.and_then(|facts| facts.name()),
        login = facts.and_then(|facts| facts.login()),
        via = facts.and_then(|facts| facts.via).map(field::display),
        tls = facts.and_then(|facts| facts.tls()).map(tls),
        forwarded = facts.and_then(|facts| facts.forwarded.as_ref()).map(forwarded),
        authenticated = record.authenticated,
        sender = address(&record.sender),
        recipients,
        hop = record.hop.as_deref(),
        hop_tls = record.hop_tls.as_ref().map(tls),
        verdicts,
        outcome = record.end.map_or("none", end),
        reply = reply.map(|reply| brief(&reply.heard)),
        by = reply.map(|reply| field::display(&reply.by)),
        hop_reply = reply.and_then(|reply| reply.hop_said.as_deref()).map(brief),
        octets = record.octets,
        mended = record.mended,
        broke = (!record.broken.is_empty()).then(|| broken(&record.broken)),
        milliseconds = u64::try_from(record.took.as_millis()).unwrap_or(u64::MAX),
        "transaction"
    );
}

/// Signatures by their names.
fn broken(signatures: &[Signature]) -> String {
    signatures.iter().map(|signature| signature.as_str()).collect::<Vec<_>>().join(" ")
}

/// `<a@x> as <b@y> [hop mx: 250 Ok]`; where it was tried elsewhere, or somebody else spoke, each attempt, too.
fn recipient(record: &RecipientRecord) -> String {
    let mut said = match &record.heard {
        Some((heard, by)) => format!("{} [{by}: {}", address(&record.address), brief(heard)),
        None => format!("{} [{NO_ANSWER}", address(&record.address)),
    };
    let sent = record.address.sent.as_ref().unwrap_or(&record.address.given);
    let is_all = |attempt: &AttemptRecord| {
        let heard = record.heard.as_ref().map(|(heard, by)| (Some(heard), by.clone()));
        attempt.sent == *sent && heard == Some((attempt.reply.as_ref(), Speaker::Hop(attempt.host.clone())))
    };
    if !matches!(&*record.attempts, [only] if is_all(only)) {
        for attempt in &record.attempts {
            let reply = attempt.reply.as_deref().map_or_else(|| NO_ANSWER.to_owned(), brief);
            // Writing to a string does not fail.
            let _ = write!(said, "; <{}> at {}: {reply}", text(&attempt.sent), attempt.host);
        }
    }
    said.push(']');
    said
}

fn recipient_value(record: &RecipientRecord) -> Value {
    let attempts = record.attempts.iter().map(|attempt| {
        json!({
            "sent": text(&attempt.sent),
            "host": &*attempt.host,
            "reply": attempt.reply.as_deref().map(brief),
        })
    });
    let Address { given, sent } = &record.address;
    json!({
        "given": text(given),
        "sent": text(sent.as_ref().unwrap_or(given)),
        "heard": record.heard.as_ref().map(|(heard, _)| brief(heard)),
        "by": record.heard.as_ref().map(|(_, by)| by.to_string()),
        "attempts": attempts.collect::<Vec<_>>(),
    })
}

fn verdict((stage, by, kind): &(Stage, Box<str>, VerdictKind)) -> String {
    format!("{}:{by}:{}", stage.as_str(), kind.as_str())
}

fn verdict_value((stage, by, kind): &(Stage, Box<str>, VerdictKind)) -> Value {
    json!({ "stage": stage.as_str(), "by": &**by, "verdict": kind.as_str() })
}
