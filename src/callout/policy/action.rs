//! What an action of a policy server means.
//!
//! **In**: an action, the request it answers, whether the configuration grants a discard.
//! **Out**: the answer in the verdict types; or a [`Fault`] where it asks for what no proxy without a queue can do.
//! **Never**: lets a control character into a reply; takes an action it does not know for leave to go on.
//!
//! access(5) of Postfix and its SMTPD_POLICY_README. Replies have the form that Postfix gives them, codes of addresses
//! fitted to what is asked about.

use std::sync::Arc;

use super::attributes::attribute;
use crate::session::callout::{Beside, CalloutAnswer, Fault, FaultKind};
use crate::session::law::{self, Why};
use crate::session::verdict::{CommandVerdict, Rewrites, Stage};
use crate::smtp::{EnhancedCode, Reply, SessionId, is_header_field, own};

/// Octets of a remark, and of what is said of an action.
const MOST: usize = 200;

/// Reads an action.
pub fn decode(action: &str, stage: Stage, request: &[u8], discard: bool) -> Result<CalloutAnswer, Fault> {
    let (word, text) = action.split_once([' ', '\t']).unwrap_or((action, ""));
    // What stands at the end stays, as in Postfix.
    let text = text.trim_start();
    let asked = Asked { stage, request };
    let decides = |verdict| Ok(CalloutAnswer::command(Some(verdict)));
    let temporary = |text| asked.reply(450, text, "Service unavailable");
    match &*word.to_ascii_uppercase() {
        "DUNNO" => Ok(CalloutAnswer::pass()),
        "OK" | "PERMIT" => decides(CommandVerdict::Accept),
        "REJECT" => decides(refusal(asked.reply(554, text, "Access denied")?)),
        "DEFER" => decides(refusal(asked.reply(450, text, "Access denied")?)),
        "DEFER_IF_PERMIT" => Ok(beside(Beside { if_permitted: Some(temporary(text)?), ..Beside::default() })),
        "DEFER_IF_REJECT" => Ok(beside(Beside { if_rejected: Some(temporary(text)?), ..Beside::default() })),
        "PREPEND" => Ok(beside(prepend(stage, text))),
        "DISCARD" => match law::reply(stage, 2, discard) {
            Ok(()) => decides(CommandVerdict::Reply(Arc::new(own::RECIPIENT_OK.reply(SessionId::default())))),
            Err(Why::NoDiscard) => not_allowed("DISCARD, which needs effects: [discard]"),
            Err(_) => not_allowed(&format!("DISCARD at {}: only a recipient is discarded", stage.as_str())),
        },
        "INFO" | "WARN" => Ok(beside(remark(action))),
        known @ ("BCC" | "FILTER" | "HOLD" | "REDIRECT") => {
            not_allowed(&format!("{known}: a message is not changed or kept here"))
        }
        // Some way of authenticating has a time there (access(5)): alone, a number permits.
        digits if digits.bytes().all(|octet| octet.is_ascii_digit()) && text.is_empty() => {
            decides(CommandVerdict::Accept)
        }
        digits => match digits.parse().ok().filter(|_| digits.len() == 3) {
            Some(code @ 400..=599) if !text.is_empty() => {
                decides(refusal(asked.reply(code, text, "Access denied")?))
            }
            _ => not_allowed(&format!("an action that is not known: {}", shown(word))),
        },
    }
}

fn not_allowed<T>(what: &str) -> Result<T, Fault> {
    Err(Fault::new(FaultKind::NotAllowed, what))
}

fn beside(beside: Beside) -> CalloutAnswer {
    CalloutAnswer::Command { rewrites: Rewrites::default(), verdict: None, beside: Some(Box::new(beside)) }
}

fn remark(text: &str) -> Beside {
    Beside { remark: Some(shown(text).into()), ..Beside::default() }
}

/// A field for the message; where that is none, or there is no message, Postfix warns and goes on.
fn prepend(stage: Stage, text: &str) -> Beside {
    let mut field = Vec::from(text);
    field.extend_from_slice(b"\r\n");
    match () {
        () if !law::prepends(stage) => remark(&format!("PREPEND is not for {}", stage.as_str())),
        () if !is_header_field(&field) => remark("PREPEND without a header field"),
        () => Beside { prepend: Some(field.into()), ..Beside::default() },
    }
}

/// 421 and 521 are last words.
fn refusal(reply: Arc<Reply>) -> CommandVerdict {
    match reply.code().get() {
        421 | 521 => CommandVerdict::Disconnect(Some(reply)),
        _ => CommandVerdict::Reply(reply),
    }
}

/// What is asked about.
struct Asked<'a> {
    stage: Stage,
    request: &'a [u8],
}

impl Asked<'_> {
    /// A refusal as Postfix words it. An enhanced code before the text takes the place of x.7.1, its class the reply's.
    fn reply(&self, code: u16, text: &str, otherwise: &str) -> Result<Arc<Reply>, Fault> {
        let (enhanced, text) = match EnhancedCode::parse(text.as_bytes()) {
            Some(given) => {
                (self.fitted(given), text.split_once(' ').map_or("", |(_, text)| text.trim_start()))
            }
            None => ((7, 1), text),
        };
        let text = if text.is_empty() { otherwise } else { text };
        let (name, class) = self.subject();
        let (x, (y, z)) = (code / 100, enhanced);
        written(&format!("{code} {x}.{y}.{z} <{name}>: {class} rejected: {text}"))
    }

    /// Its name, and what it is.
    fn subject(&self) -> (String, &'static str) {
        let value = |name| String::from_utf8_lossy(attribute(self.request, name)).into_owned();
        match self.stage {
            Stage::Helo => (value("helo_name"), "Helo command"),
            Stage::Mail => (value("sender"), "Sender address"),
            Stage::Rcpt => (value("recipient"), "Recipient address"),
            Stage::Data => ("DATA".to_owned(), "Data command"),
            _ => (format!("{}[{}]", value("client_name"), value("client_address")), "Client host"),
        }
    }

    /// A code about addresses (RFC 3463 3.2) said of another address than the one in question, or of none.
    fn fitted(&self, code: EnhancedCode) -> (u16, u16) {
        match (code.subject, code.detail, self.stage) {
            (1, 2 | 8, Stage::Mail) => (1, 8),
            (1, 1 | 3 | 4 | 6 | 7, Stage::Mail) => (1, 7),
            (1, _, Stage::Mail) => (1, 0),
            (1, 3 | 7, Stage::Rcpt) => (1, 3),
            (1, 2 | 8, Stage::Rcpt) => (1, 2),
            (1, detail @ (1 | 4 | 5 | 6), Stage::Rcpt) => (1, detail),
            (1, _, Stage::Rcpt) => (1, 0),
            (1, ..) => (0, 0),
            (subject, detail, _) => (subject, detail),
        }
    }
}

fn written(line: &str) -> Result<Arc<Reply>, Fault> {
    // RFC 5321 4.5.3.1.5, with its CRLF; what a client gave may be as long as its command was.
    const LINE: usize = 510;
    let plain = |char: char| match char {
        // As Postfix does.
        _ if char.is_ascii_control() => ' ',
        _ if char.is_ascii() => char,
        _ => '?',
    };
    let plain: String = line.chars().map(plain).collect();
    let reply = Reply::parse_written(&[&plain[..plain.len().min(LINE)]]);
    match reply {
        // RFC 5321 4.2: the second digit is from 0 to 5.
        Ok(reply) if reply.code().get() / 10 % 10 <= 5 => Ok(Arc::new(reply)),
        _ => not_allowed("a code that is none"),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(MOST).map(|char| if char.is_control() { '?' } else { char }).collect()
}
