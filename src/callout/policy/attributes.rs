//! A question as the attributes of a policy request, and an answer's action.
//!
//! **In**: a borrowed [`Question`]; the octets of an answer.
//! **Out**: lines `name=value`, an empty one behind them; the text behind `action=`.
//! **Never**: lets a value make a line of its own; shows an AUTH exchange or content; mends an answer.
//!
//! SMTPD_POLICY_README of Postfix. What gatepost does not know is empty, `unknown` or 0, as Postfix has it; attributes of
//! Postfix's own (its queue's id aside) are left out.

use std::io::Write;

use memchr::memmem;

use crate::session::callout::{Fault, FaultKind};
use crate::session::client::{ClientFacts, TlsFacts};
use crate::session::verdict::{Question, Stage};
use crate::smtp::{Params, Path, Verb, write_xtext};

/// The request in octets. `context`: free text of the configuration.
pub fn encode(context: &str, question: &Question<'_>) -> Box<[u8]> {
    let mut all = Attributes(Vec::with_capacity(1024));
    let facts = question.facts;
    let name = facts.and_then(ClientFacts::name).unwrap_or("unknown");
    all.put("request", b"smtpd_access_policy");
    all.put("protocol_state", state(question).as_bytes());
    all.put("protocol_name", if question.extended { b"ESMTP" } else { b"SMTP" });
    all.put("client_address", question.client.to_string().as_bytes());
    all.put("client_name", name.as_bytes());
    all.put("client_port", question.port.to_string().as_bytes());
    all.put("reverse_client_name", name.as_bytes());
    if let Some(server) = facts.and_then(|facts| facts.destination) {
        all.put("server_address", server.ip().to_canonical().to_string().as_bytes());
        all.put("server_port", server.port().to_string().as_bytes());
    }
    all.put("helo_name", question.helo.unwrap_or_default());
    all.put("sender", &question.sender.map(|path| path.plain()).unwrap_or_default());
    all.put("recipient", &recipient(question));
    let count = if question.stage == Stage::Data { question.recipients } else { 0 };
    all.put("recipient_count", count.to_string().as_bytes());
    all.put("queue_id", b"");
    all.put("instance", format!("{}.{:x}", question.session, question.instance).as_bytes());
    all.put("size", question.size.unwrap_or_default().to_string().as_bytes());
    let domain = if question.verb == Verb::Etrn { question.argument } else { b"" };
    all.put("etrn_domain", domain);
    all.put("stress", b"");
    all.put("sasl_method", b"");
    all.put("sasl_username", facts.and_then(ClientFacts::login).unwrap_or_default().as_bytes());
    all.put("sasl_sender", on_behalf(question));
    all.tls(facts);
    all.put("policy_context", context.as_bytes());
    all.0.push(b'\n');
    all.0.into()
}

/// The attribute of that name in a request.
pub(super) fn attribute<'a>(request: &'a [u8], name: &str) -> &'a [u8] {
    let mut lines = request.split(|&octet| octet == b'\n');
    lines.find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b"=")).unwrap_or_default()
}

struct Attributes(Vec<u8>);

impl Attributes {
    fn put(&mut self, name: &str, value: &[u8]) {
        // Writing into a vector does not fail.
        let _ = write!(self.0, "{name}=");
        let plain = |&octet: &u8| if matches!(octet, 0 | b'\n' | b'\r') { b'?' } else { octet };
        self.0.extend(value.iter().map(plain));
        self.0.push(b'\n');
    }

    fn tls(&mut self, facts: Option<&ClientFacts>) {
        let tls = facts.and_then(ClientFacts::tls);
        let is_ours = facts.is_some_and(|facts| facts.tls.is_some());
        // Of a certificate that nobody vouches for Postfix says nothing but its fingerprint, which is not kept.
        let vouched = tls.and_then(|tls| tls.certificate.as_ref()).filter(|shown| shown.verified);
        // A balancer tells no more of a subject than that.
        let subject = match vouched {
            Some(shown) if is_ours => shown.common_name().unwrap_or_default(),
            Some(shown) => shown.subject.clone(),
            None => Box::default(),
        };
        let mut xtext = Vec::new();
        write_xtext(subject.as_bytes(), &mut xtext);
        self.put("ccert_subject", &xtext);
        self.put("encryption_protocol", tls.map(|tls| &*tls.version).unwrap_or_default().as_bytes());
        let cipher = tls.map(|tls| &*tls.cipher).unwrap_or_default();
        self.put("encryption_cipher", cipher.as_bytes());
        let bits = tls.map(TlsFacts::key_bits).unwrap_or_default();
        self.put("encryption_keysize", bits.to_string().as_bytes());
        let server = tls.and_then(|tls| tls.server_name.as_deref());
        self.put("tls_sni", server.unwrap_or_default().as_bytes());
    }
}

/// The command it is about, as Postfix names them: a BDAT is told of as DATA.
fn state(question: &Question<'_>) -> &'static str {
    match question.stage {
        Stage::Connect | Stage::ConnectReply => "CONNECT",
        Stage::Helo | Stage::HeloReply if question.extended => "EHLO",
        Stage::Helo | Stage::HeloReply => "HELO",
        Stage::Mail | Stage::MailReply => "MAIL",
        Stage::Rcpt | Stage::RcptReply => "RCPT",
        Stage::Data | Stage::DataReply => "DATA",
        Stage::Message | Stage::MessageReply => "END-OF-MESSAGE",
        Stage::Auth | Stage::AuthReply | Stage::Other | Stage::OtherReply => question.verb.as_str(),
    }
}

/// The recipient in question; behind them, the only one there is.
fn recipient(question: &Question<'_>) -> Vec<u8> {
    if let Some(path) = question.recipient {
        return path.plain();
    }
    let only = question.envelope.filter(|_| question.stage == Stage::Data && question.recipients == 1);
    let sent = only.and_then(|envelope| envelope.recipients().next()).map(|only| only.sent);
    sent.and_then(|sent| Path::parse(sent).ok()).map(|path| path.plain()).unwrap_or_default()
}

/// MAIL's AUTH= in xtext, as Postfix tells it; nothing where it says nobody (RFC 4954 5).
fn on_behalf<'a>(question: &Question<'a>) -> &'a [u8] {
    let parameters = match question.envelope {
        Some(envelope) if question.stage != Stage::Mail => Params::parse(envelope.parameters()),
        _ if question.stage == Stage::Mail => Ok(question.params),
        _ => return b"",
    };
    let parameters = parameters.unwrap_or_default();
    let value = parameters.value("AUTH").filter(|value| *value != Some(b"<>"));
    value.flatten().unwrap_or_default()
}

/// The text behind `action=`, where the answer is one.
pub fn action(answer: &[u8]) -> Result<&str, Fault> {
    let malformed = |what: &str| Err(Fault::new(FaultKind::Malformed, what));
    let Ok(text) = std::str::from_utf8(answer) else { return malformed("not UTF-8") };
    let mut action = None;
    for line in text.lines().take_while(|line| !line.is_empty()) {
        match line.split_once('=') {
            None => return malformed("a line that is no attribute"),
            Some(("action", _)) if action.is_some() => return malformed("two actions"),
            Some(("action", given)) => action = Some(given),
            Some(_) => {}
        }
    }
    match action.map(str::trim_start) {
        None => malformed("no action"),
        // Postfix takes it for OK; nobody can have meant that.
        Some("") => malformed("an empty action"),
        Some(given) => Ok(given),
    }
}

/// Where an answer ends: behind its empty line.
pub(super) fn end_of_answer(octets: &[u8]) -> Option<usize> {
    let [bare, strict] =
        ["\n\n", "\n\r\n"].map(|end| memmem::find(octets, end.as_bytes()).map(|at| at + end.len()));
    match (bare, strict) {
        (Some(bare), Some(strict)) => Some(bare.min(strict)),
        (end, None) | (None, end) => end,
    }
}
