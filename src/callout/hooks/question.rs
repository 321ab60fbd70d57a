//! A question of MTA Hooks: all that gatepost can say, of which a scanner is sent what was agreed upon.
//!
//! **In**: a borrowed [`Question`]; for reply stages the hop's reply beside it.
//! **Out**: one object in CBOR, without the time and the message's octets, which whoever sends it adds.
//! **Never**: guesses: what gatepost does not know (`senderAuth`, `asn`, `country` …) is null or left out. Shows an AUTH exchange.
//!
//! draft-degennaro-mta-hooks-01 section 5; `docs/mta-hooks.md`.

use std::net::SocketAddr;

use super::super::question::{LATEST, Server};
use super::value::{Encoding, Value, object, or_null, text};
use super::{EXTENSION, stage_name};
use crate::message::{Draft, decoded};
use crate::session::client::{ClientFacts, TlsFacts};
use crate::session::verdict::{Question, Stage};
use crate::smtp::{EnhancedCode, Params, ReplyRef};

/// What it says at some stage or other, by its places.
pub(super) const SAID: [&str; 15] = [
    "/stage",
    "/action",
    "/timestamp",
    "/protocol",
    "/server",
    "/client",
    "/tls",
    "/auth",
    "/queue",
    "/envelope",
    "/response",
    "/message/size",
    "/message/subject",
    "/message/headers",
    "/rawMessage",
];

/// The question in octets.
pub(in crate::callout) fn encode(
    server: &Server,
    question: &Question<'_>,
    reply: Option<ReplyRef<'_>>,
) -> Box<[u8]> {
    Encoding::Cbor.write(&value(server, question, reply)).into()
}

fn value(server: &Server, question: &Question<'_>, reply: Option<ReplyRef<'_>>) -> Value {
    let stage = question.stage;
    let refused = reply.is_some_and(|reply| reply.code().is_negative());
    let facts = question.facts;
    let own = object([
        ("stage", Value::from(stage.as_str())),
        ("session", Value::from(question.session.to_string())),
        ("authenticated", Value::from(question.authenticated)),
        ("hop", or_null(question.hop)),
    ]);
    object([
        ("stage", Value::from(stage_name(stage))),
        ("action", Value::from(if refused { "reject" } else { "accept" })),
        ("protocol", object([("version", Value::from("1.0"))])),
        ("server", of_server(server, question)),
        ("client", client(question)),
        ("tls", facts.and_then(ClientFacts::tls).map_or(Value::Null, tls)),
        ("auth", auth(question)),
        ("queue", queue(question)),
        ("envelope", envelope(question)),
        ("response", reply.map_or(Value::Null, response)),
        ("message", question.message.map_or(Value::Null, message)),
        ("ext", object([(EXTENSION, own)])),
    ])
}

fn of_server(server: &Server, question: &Question<'_>) -> Value {
    let listener = server.listeners.get(usize::from(question.listener));
    let bound = listener.and_then(|listener| listener.parse::<SocketAddr>().ok());
    let address = question.facts.and_then(|facts| facts.destination).or(bound);
    object([
        ("name", Value::from(&*server.hostname)),
        ("ip", or_null(address.map(|address| address.ip().to_canonical().to_string()))),
        ("port", or_null(address.map(|address| address.port()))),
    ])
}

fn client(question: &Question<'_>) -> Value {
    object([
        ("ip", Value::from(question.client.to_string())),
        ("port", Value::from(question.port)),
        ("ptr", or_null(question.facts.and_then(ClientFacts::name))),
        ("ehlo", question.helo.map_or(Value::Null, text)),
    ])
}

fn tls(facts: &TlsFacts) -> Value {
    object([
        ("version", Value::from(&*facts.version)),
        ("cipher", Value::from(&*facts.cipher)),
        ("cipherBits", Value::from(facts.key_bits())),
        ("certIssuer", Value::Null),
        ("certSubject", or_null(facts.certificate.as_ref().map(|shown| &*shown.subject))),
    ])
}

/// As whom it has authenticated, where that is known; the exchange itself goes by unseen.
fn auth(question: &Question<'_>) -> Value {
    let Some(login) = question.facts.and_then(ClientFacts::login) else { return Value::Null };
    object([("login", Value::from(login)), ("method", text(question.mechanism.unwrap_or_default()))])
}

/// There is no queue; whoever asks for an id is given one that is the same through the transaction.
fn queue(question: &Question<'_>) -> Value {
    if question.instance == 0 {
        return Value::Null;
    }
    object([("id", Value::from(format!("{}.{:x}", question.session, question.instance)))])
}

/// At `rcpt` the recipient in question stands last, behind the latest of those that were accepted.
fn envelope(question: &Question<'_>) -> Value {
    // What was kept was parsed before it was kept.
    let parameters = |octets| Params::parse(octets).unwrap_or_default();
    if matches!(question.stage, Stage::Mail) {
        let sender = question.sender.map_or(&b""[..], |path| path.as_bytes());
        return object([("from", address(sender, question.params)), ("to", Value::Array(Vec::new()))]);
    }
    let Some(envelope) = question.envelope else { return Value::Null };
    let recipients = envelope.recipients();
    let most = if question.stage == Stage::Message { usize::MAX } else { LATEST };
    let skipped = recipients.len().saturating_sub(most);
    let mut to: Vec<Value> =
        recipients.skip(skipped).map(|to| address(to.sent, parameters(to.parameters))).collect();
    to.extend(question.recipient.map(|path| address(path.as_bytes(), question.params)));
    object([
        ("from", address(envelope.sender(), parameters(envelope.parameters()))),
        ("to", Value::Array(to)),
    ])
}

/// The null path is null.
fn address(path: &[u8], parameters: Params<'_>) -> Value {
    let parameters = parameters.iter().map(|param| {
        let keyword = String::from_utf8_lossy(param.keyword).to_ascii_uppercase();
        (Value::from(keyword), text(param.value.unwrap_or_default()))
    });
    object([
        ("address", if path.is_empty() { Value::Null } else { text(path) }),
        ("parameters", Value::Map(parameters.collect())),
    ])
}

fn response(reply: ReplyRef<'_>) -> Value {
    let enhanced = reply.enhanced();
    let lines: Vec<&[u8]> = reply.lines().collect();
    let told = lines.iter().map(|line| match enhanced.and(EnhancedCode::parse(line)) {
        Some(_) => memchr::memchr(b' ', line).map_or(&[][..], |space| &line[space + 1..]),
        None => line,
    });
    let message = told.map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
    object([
        ("code", Value::from(reply.code().get())),
        ("enhancedCode", or_null(enhanced.map(|code| code.to_string()))),
        ("message", Value::from(message)),
    ])
}

fn message(draft: &Draft) -> Value {
    let field = |name: &[u8], value: &[u8]| object([("name", text(name)), ("value", text(value))]);
    let subject = draft.fields().find(|field| field.is("subject"));
    let subject = subject.map(|field| decoded(field.value()));
    let fields = draft.fields().map(|each| field(each.name(), each.value()));
    object([
        ("size", Value::from(draft.message().size())),
        ("subject", or_null(subject)),
        ("headers", Value::Array(fields.collect())),
    ])
}
