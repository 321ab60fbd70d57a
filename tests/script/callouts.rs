//! The callouts of a script: whom to ask, and when, is the configuration's; what is asked is a line to compare.
//!
//! **In**: `callouts:` of a script's configuration; the verdicts its lines give.
//! **Out**: [`Spoken`], which a session asks; [`answer`], what a `verdict` or `late` line says.
//! **Never**: speaks JSON or HTTP (`tests/callout.rs` does), or checks a verdict: nonsense is what some scripts are for.

use std::any::Any;
use std::sync::Arc;

use gatepost::callout::CalloutSet;
use gatepost::message::Edit;
use gatepost::session::callout::{
    Beside, CalloutAnswer, CalloutId, CalloutTerms, Callouts, Fault, FaultKind,
};
use gatepost::session::route::PoolId;
use gatepost::session::verdict::{
    CommandVerdict, EnvelopeEdit, MessageAnswer, MessageVerdict, Question, ReplyVerdict, Rewrites, Rung,
    Stage, Stages,
};
use gatepost::smtp::{Path, Reply, ReplyRef};

/// A configuration's callouts, whose questions are lines.
pub struct Spoken(pub CalloutSet);

impl Callouts for Spoken {
    fn stages(&self) -> Stages {
        self.0.stages()
    }

    fn next(
        &self,
        question: &Question<'_>,
        reply: Option<ReplyRef<'_>>,
        after: Option<CalloutId>,
    ) -> Option<CalloutId> {
        self.0.next(question, reply, after)
    }

    fn encode(&self, _: CalloutId, question: &Question<'_>, reply: Option<ReplyRef<'_>>) -> Box<[u8]> {
        let mut line = format!("{}{}", question.stage.as_str(), about(question));
        if let Some(reply) = reply {
            let first = reply.as_bytes().split(|&octet| octet == b'\r').next().unwrap_or_default();
            line.push_str(&format!(": {}", text(first)));
        }
        (line + "\r\n").into_bytes().into_boxed_slice()
    }

    fn terms(&self, callout: CalloutId) -> CalloutTerms {
        self.0.terms(callout)
    }

    fn name(&self, callout: CalloutId) -> &str {
        self.0.name(callout)
    }

    fn carrier(&self) -> &dyn Any {
        &()
    }
}

/// What the question is about, as far as its stage knows.
fn about(question: &Question<'_>) -> String {
    match question.stage {
        Stage::Connect | Stage::ConnectReply => format!(" {}", question.client),
        Stage::Helo | Stage::HeloReply => {
            format!(" {} {}", question.verb.as_str(), text(question.helo.unwrap_or_default()))
        }
        Stage::Auth | Stage::Other => format!(" {}{}", question.verb.as_str(), words(question.argument)),
        Stage::AuthReply | Stage::OtherReply => format!(" {}", question.verb.as_str()),
        Stage::Mail | Stage::MailReply => {
            format!(" {}{}", path(question.sender), words(question.params.as_bytes()))
        }
        Stage::Rcpt | Stage::RcptReply => {
            let (now, given) = (path(question.recipient), path(question.recipient_given));
            let given = if now == given { String::new() } else { format!(" given {given}") };
            format!(" {now}{given}{}", words(question.params.as_bytes()))
        }
        Stage::Data | Stage::DataReply | Stage::Message | Stage::MessageReply => {
            let mut line = format!(" {} from {}", question.verb.as_str(), path(question.sender));
            for recipient in question.envelope.into_iter().flat_map(|envelope| envelope.recipients()) {
                line.push_str(&format!(" to <{}>", text(recipient.sent)));
            }
            line
        }
    }
}

fn path(path: Option<Path<'_>>) -> String {
    path.map_or_else(|| "nobody".to_owned(), |path| format!("<{}>", text(path.as_bytes())))
}

fn words(octets: &[u8]) -> String {
    if octets.is_empty() { String::new() } else { format!(" {}", text(octets)) }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// What a line of a script answers: rewrites, then what decides, parted by `;`.
///
/// # Errors
///
/// What is no answer in this notation.
pub fn answer(stage: Stage, line: &str, pools: &[String]) -> Result<Result<CalloutAnswer, Fault>, String> {
    if stage == Stage::Message && line != "fails" {
        let answer = of_message(line, pools)?;
        return Ok(Ok(CalloutAnswer::Message(Box::new(answer))));
    }
    let mut rewrites = Rewrites::default();
    let mut beside = Beside::default();
    let mut of_command = None;
    let mut of_reply = None;
    let mut reply = stage.is_reply();
    for part in line.split("; ") {
        let (word, rest) = part.split_once(' ').unwrap_or((part, ""));
        match word {
            "pass" => {}
            "fails" => return Ok(Err(Fault::new(FaultKind::Lost, "the script says so"))),
            "rewrite" => {
                reply = false;
                rewrite(&mut rewrites, rest)?;
            }
            "prepend" => beside.prepend = Some(format!("{rest}\r\n").into_bytes().into()),
            "if_permitted" => beside.if_permitted = Some(written(rest)?),
            "if_rejected" => beside.if_rejected = Some(written(rest)?),
            "reply" => {
                reply = false;
                of_command = Some(CommandVerdict::Reply(written(rest)?));
            }
            "route" => {
                reply = false;
                of_command = Some(CommandVerdict::Route(pool(rest, pools)?));
            }
            "substitute" => {
                reply = true;
                of_reply = Some(ReplyVerdict::Substitute(written(rest)?));
            }
            "retry" => {
                reply = true;
                let rungs: Result<Vec<Rung>, String> =
                    rest.split(", ").map(|words| rung(words, pools)).collect();
                of_reply = Some(ReplyVerdict::Retry(rungs?));
            }
            "accept" => (of_command, of_reply) = (Some(CommandVerdict::Accept), Some(ReplyVerdict::Accept)),
            "disconnect" => {
                let said = if rest.is_empty() { None } else { Some(written(rest)?) };
                of_command = Some(CommandVerdict::Disconnect(said.clone()));
                of_reply = Some(ReplyVerdict::Disconnect(said));
            }
            _ => return Err(format!("no verdict: {part}")),
        }
    }
    Ok(Ok(match reply {
        true => CalloutAnswer::Reply(of_reply),
        false => {
            let beside = (beside != Beside::default()).then(|| Box::new(beside));
            CalloutAnswer::Command { rewrites, verdict: of_command, beside }
        }
    }))
}

/// What it answers to a message: edits, then what decides.
fn of_message(line: &str, pools: &[String]) -> Result<MessageAnswer, String> {
    let mut answer = MessageAnswer::default();
    for part in line.split("; ") {
        let (word, rest) = part.split_once(' ').unwrap_or((part, ""));
        let path = || Box::from(rest.trim_start_matches('<').trim_end_matches('>').as_bytes());
        match word {
            "pass" => {}
            "insert" => {
                let field = format!("{rest}\r\n").into_bytes().into();
                answer.edits.push(Edit::Insert { at: 0, field });
            }
            "delete" => answer.edits.push(Edit::Delete { name: rest.into(), nth: 1 }),
            "body" => answer.edits.push(Edit::Body(format!("{rest}\r\n").into_bytes().into())),
            "sender" => answer.envelope.push(EnvelopeEdit::Sender { path: path(), parameters: None }),
            "add" => {
                answer.envelope.push(EnvelopeEdit::Add { path: path(), parameters: Box::default() });
            }
            "remove" => answer.envelope.push(EnvelopeEdit::Remove(path())),
            "reply" => answer.verdict = Some(MessageVerdict::Reply(written(rest)?)),
            "route" => answer.verdict = Some(MessageVerdict::Route(pool(rest, pools)?)),
            "discard" => answer.verdict = Some(MessageVerdict::Discard),
            "accept" => answer.verdict = Some(MessageVerdict::Accept),
            "disconnect" => {
                let said = if rest.is_empty() { None } else { Some(written(rest)?) };
                answer.verdict = Some(MessageVerdict::Disconnect(said));
            }
            _ => return Err(format!("no verdict about a message: {part}")),
        }
    }
    Ok(answer)
}

fn rewrite(rewrites: &mut Rewrites, rest: &str) -> Result<(), String> {
    let (what, value) = rest.split_once(' ').ok_or("rewrite what?")?;
    let value = value.strip_prefix('<').and_then(|value| value.strip_suffix('>')).unwrap_or(value);
    let value = Some(value.as_bytes().into());
    match what {
        "sender" => rewrites.sender = value,
        "recipient" => rewrites.recipient = value,
        "helo" => rewrites.helo = value,
        "parameters" => rewrites.parameters = value,
        _ => return Err(format!("nothing of that name is rewritten: {what}")),
    }
    Ok(())
}

fn written(line: &str) -> Result<Arc<Reply>, String> {
    Reply::parse_written(&[line]).map(Arc::new).map_err(|_| format!("no reply: {line}"))
}

fn pool(name: &str, pools: &[String]) -> Result<PoolId, String> {
    let place = pools.iter().position(|known| known == name).ok_or_else(|| format!("no upstream: {name}"))?;
    Ok(PoolId(place as u16))
}

/// `<recipient>`, a pool, or both.
fn rung(words: &str, pools: &[String]) -> Result<Rung, String> {
    let mut rung = Rung::default();
    for word in words.split(' ') {
        match word.strip_prefix('<').and_then(|word| word.strip_suffix('>')) {
            Some(path) => rung.recipient = Some(path.as_bytes().into()),
            None => rung.pool = Some(pool(word, pools)?),
        }
    }
    Ok(rung)
}
