//! Callouts in shadow: asked, measured, compared with what was done, never obeyed.
//!
//! **In**: a question, and what was decided without it. **Out**: counts; a line of the log where it would have had it
//! otherwise, and where it failed.
//! **Never**: is waited for by a session; has more than one question of a session open, or more than `concurrency` in all.
//!
//! Two decisions agree where the dialog would go on in the same way: to the same pool, with a reply of the same class. A
//! field before the header and a remark decide nothing.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use super::Asked;
use super::service::Service;
use crate::log;
use crate::session::callout::{CalloutAnswer, CalloutId, CalloutTerms, Fault, FaultKind, Provisos};
use crate::session::io::{CalloutEnd, Decided, Shadow, VerdictKind};
use crate::session::law::{command_fault, message_fault, reply_fault};
use crate::session::route::PoolId;
use crate::session::verdict::{CommandVerdict, MessageVerdict, ReplyVerdict, Rewrites};
use crate::smtp::{Reply, SessionId};

/// Asks about one session in turn, as a callout that is obeyed would be asked, as long as there is anything to ask.
pub(super) async fn attend(
    service: Arc<Service>,
    session: SessionId,
    mut questions: Receiver<(Shadow, Asked)>,
) {
    let mut who = None;
    while let Some((shadow, asked)) = questions.recv().await {
        who.get_or_insert_with(|| asked.session.clone());
        compare(&service, session, &shadow, asked).await;
    }
    // Behind its last question.
    who.iter().for_each(|session| service.leave(session));
}

/// Asks, and compares.
async fn compare(service: &Arc<Service>, session: SessionId, shadow: &Shadow, asked: Asked) {
    let Shadow { callouts, callout, stage, decided, .. } = shadow;
    let (callout, stage) = (*callout, *stage);
    let (name, terms) = (callouts.name(callout), callouts.terms(callout));
    let began = Instant::now();
    let ended = |end| {
        let now = Instant::now();
        service.ended(now, stage, end, now.saturating_duration_since(began));
    };
    // Nobody may gather behind a service that is slow.
    let Ok(_place) = service.shadows.try_acquire() else { return ended(CalloutEnd::Cancelled) };
    let bound = terms.timeout + terms.for_size(asked.content.as_ref().map(|content| &content.draft));
    let answer = timeout(bound, service.ask(asked)).await;
    let answer = answer.unwrap_or_else(|_| Err(silent(bound)));
    match answer.and_then(|answer| would(answer, shadow, terms)) {
        Err(fault) => {
            ended(CalloutEnd::Failed(fault.kind));
            log::shadow_failed(session, name, stage, &fault);
        }
        Ok((end, would)) => {
            ended(end);
            let done = at_home(shadow.pool, done(decided));
            if would != done {
                service.counts.disagreed(stage);
                log::disagreed(session, name, stage, &would, &done);
            }
        }
    }
}

fn silent(bound: Duration) -> Fault {
    Fault::new(FaultKind::TimedOut, format!("no answer within {bound:?}"))
}

/// How the dialog goes on.
#[derive(PartialEq, Eq)]
enum Way {
    /// As it would have.
    On,
    /// With other values.
    Otherwise,
    Elsewhere(PoolId),
    /// The client hears a reply of this class; and what it says, which is not compared.
    Reply(u8, Words),
    Again,
    Closed,
    /// Given to nobody.
    Swallowed,
}

/// The first line of a reply.
struct Words(Box<str>);

impl PartialEq for Words {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Words {}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::On => f.write_str("pass"),
            Way::Otherwise => f.write_str("rewrite"),
            Way::Elsewhere(_) => f.write_str("route"),
            Way::Reply(_, Words(line)) => f.write_str(line),
            Way::Again => f.write_str("retry"),
            Way::Closed => f.write_str("disconnect"),
            Way::Swallowed => f.write_str("discard"),
        }
    }
}

/// A route to where mail goes anyway is none.
fn at_home(pool: PoolId, way: Way) -> Way {
    if way == Way::Elsewhere(pool) { Way::On } else { way }
}

fn reply(reply: &Reply) -> Way {
    let line = reply.as_bytes().split(|&octet| octet == b'\r').next().unwrap_or_default();
    Way::Reply(reply.code().class(), Words(String::from_utf8_lossy(line).into()))
}

fn of_command(verdict: Option<&CommandVerdict>) -> Way {
    match verdict {
        None | Some(CommandVerdict::Accept) => Way::On,
        Some(CommandVerdict::Reply(said)) => reply(said),
        Some(CommandVerdict::Route(pool)) => Way::Elsewhere(*pool),
        Some(CommandVerdict::Disconnect(_)) => Way::Closed,
    }
}

fn of_reply(verdict: Option<&ReplyVerdict>, heard: &Reply) -> Way {
    match verdict {
        None | Some(ReplyVerdict::Accept) => reply(heard),
        Some(ReplyVerdict::Substitute(said)) => reply(said),
        Some(ReplyVerdict::Retry(_)) => Way::Again,
        Some(ReplyVerdict::Disconnect(_)) => Way::Closed,
    }
}

fn of_message(verdict: Option<&MessageVerdict>) -> Way {
    match verdict {
        None | Some(MessageVerdict::Accept) => Way::On,
        Some(MessageVerdict::Reply(said)) => reply(said),
        Some(MessageVerdict::Route(pool)) => Way::Elsewhere(*pool),
        Some(MessageVerdict::Discard) => Way::Swallowed,
        Some(MessageVerdict::Disconnect(_)) => Way::Closed,
    }
}

fn done(decided: &Decided) -> Way {
    match decided {
        Decided::Command(verdict) => of_command(verdict.as_ref()),
        Decided::Reply(verdict, heard) => of_reply(verdict.as_ref(), heard),
        Decided::Message(verdict) => of_message(verdict.as_ref()),
    }
}

/// What an answer would have come to, if a session would believe it.
fn would(answer: CalloutAnswer, shadow: &Shadow, terms: CalloutTerms) -> Result<(CalloutEnd, Way), Fault> {
    let (stage, decided) = (shadow.stage, &shadow.decided);
    let not_allowed = |what: &str| Fault::new(FaultKind::NotAllowed, what);
    match (answer, decided) {
        (CalloutAnswer::Command { rewrites, verdict, beside }, Decided::Command(_)) => {
            let fault = command_fault(stage, &rewrites, verdict.as_ref(), beside.as_deref(), terms);
            if let Some(fault) = fault {
                return Err(not_allowed(fault));
            }
            let mut provisos = Provisos::default();
            if let Some(beside) = &beside {
                provisos.note(CalloutId(0), beside);
            }
            let provided = provisos.instead_of(verdict.as_ref()).map(|(said, _)| CommandVerdict::Reply(said));
            let verdict = provided.or(verdict);
            let way = match of_command(verdict.as_ref()) {
                Way::On if rewrites != Rewrites::default() => Way::Otherwise,
                way => way,
            };
            let end = match (&verdict, &way) {
                (Some(verdict), _) => CalloutEnd::Verdict(verdict.kind(stage)),
                (None, Way::Otherwise) => CalloutEnd::Verdict(VerdictKind::Rewrite),
                (None, _) => CalloutEnd::Passed,
            };
            let ignored = shadow.tolerated && matches!(way, Way::Reply(4 | 5, _));
            Ok((end, if ignored { Way::On } else { at_home(shadow.pool, way) }))
        }
        (CalloutAnswer::Reply(verdict), Decided::Reply(_, heard)) => {
            let fault = verdict
                .as_ref()
                .and_then(|verdict| reply_fault(stage, heard.as_ref().as_ref(), verdict, usize::MAX));
            if let Some(fault) = fault {
                return Err(not_allowed(fault));
            }
            let end =
                verdict.as_ref().map_or(CalloutEnd::Passed, |verdict| CalloutEnd::Verdict(verdict.kind()));
            let way = of_reply(verdict.as_ref(), heard);
            let ignored =
                shadow.tolerated && heard.code().is_positive() && matches!(way, Way::Reply(4 | 5, _));
            Ok((end, if ignored { reply(heard) } else { way }))
        }
        (CalloutAnswer::Message(answer), Decided::Message(_)) => {
            if let Some(fault) = message_fault(&answer, terms) {
                return Err(not_allowed(fault));
            }
            let way = match of_message(answer.verdict.as_ref()) {
                Way::On if answer.is_edit() => Way::Otherwise,
                way => way,
            };
            let end = match (&answer.verdict, &way) {
                (Some(verdict), _) => CalloutEnd::Verdict(verdict.kind()),
                (None, Way::Otherwise) => CalloutEnd::Verdict(VerdictKind::Edit),
                (None, _) => CalloutEnd::Passed,
            };
            Ok((end, at_home(shadow.pool, way)))
        }
        _ => Err(not_allowed("a verdict of the other kind")),
    }
}
