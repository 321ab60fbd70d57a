//! The callouts of a moment: who would be asked behind the rules, and with `--callouts` what they say.
//!
//! **In**: what the rules came to; the compiled callouts. **Out**: a line for each callout of the stage, and the outcome
//! with their verdicts in it. **Never**: asks anybody unless `--callouts` is given; believes an answer that a session
//! would not believe: it is held against the same table, and a failure is what `on_error` says.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::Context;
use super::told::own;
use crate::callout::{Asked, Asker, CalloutSet, Content, Instance};
use crate::rules::Explained;
use crate::session::callout::{CalloutAnswer, CalloutId, Callouts, Fault, FaultKind, Provisos};
use crate::session::law::{command_fault, message_fault, names_postmaster, reply_fault};
use crate::session::verdict::{CommandVerdict, MessageVerdict, Question, ReplyVerdict, Rewrites, Stage};
use crate::smtp::{Own, Params, Path, Reply, ReplyRef};

/// What is said of a refusal that is not carried out.
const SPARED: &str = "refuses postmaster, which is ignored without refuse_postmaster: true";

impl Context<'_> {
    /// Goes through the callouts of the stage, adds what they say to what the rules said, and returns their lines.
    pub(super) fn callouts(
        &self,
        callouts: &CalloutSet,
        explained: &mut Explained,
    ) -> Result<String, String> {
        let known = self.known;
        let runtime = match known.moment.callouts {
            true => Some(
                Builder::new_current_thread().enable_all().build().map_err(|e| format!("runtime: {e}\n"))?,
            ),
            false => None,
        };
        let reply = known.reply.as_ref().map(Reply::as_ref);
        let mut lines = String::new();
        let (mut after, mut provisos) = (None, Provisos::default());
        for (callout, number) in self.loaded.config.callouts.iter().zip(0..) {
            if !callout.stages.contains(&known.moment.stage) {
                continue;
            }
            let id = CalloutId(number);
            if callout.shadow {
                lines.push_str(&format!(
                    "callout {} ({}:{}): in shadow: asked about what is decided, and not obeyed\n",
                    callout.name, self.loaded.file, callout.mark.line
                ));
                continue;
            }
            let said = if self.is_decided(explained) {
                "not asked, there is a verdict".to_owned()
            } else {
                let (rewrites, draft) = (explained.rewrites.clone(), explained.draft.clone());
                let question = Question { message: draft.as_ref(), ..rewritten(known.question(), &rewrites) };
                let content = known.content.as_ref().zip(draft.clone());
                let content = content.map(|(content, draft)| Content { draft, ..content.clone() });
                if callouts.next(&question, reply, after) != Some(id) {
                    "not asked: when does not match".to_owned()
                } else {
                    after = Some(id);
                    match &runtime {
                        None => "would be asked; --callouts asks it".to_owned(),
                        Some(runtime) => {
                            let answer = put(
                                runtime,
                                callouts,
                                id,
                                &question,
                                reply,
                                content,
                                self.loaded.config.limits.command_line,
                            );
                            self.heed(callouts, id, answer, &mut provisos, explained)
                        }
                    }
                }
            };
            lines.push_str(&format!(
                "callout {} ({}:{}): {said}\n",
                callout.name, self.loaded.file, callout.mark.line
            ));
        }
        if known.reply.is_none()
            && let Some((reply, by)) = provisos.instead_of(explained.command.as_ref())
        {
            lines.push_str(&format!(
                "as {} provided, the reply is {}\n",
                callouts.name(by),
                super::told::lines(&reply)
            ));
            explained.command = Some(CommandVerdict::Reply(reply));
        }
        Ok(lines)
    }

    /// Whether nobody is asked any more.
    fn is_decided(&self, explained: &Explained) -> bool {
        let ladder = matches!(explained.reply, Some(ReplyVerdict::Retry(_)));
        match &self.known.reply {
            None if self.known.stage == Stage::Message => explained.message.verdict.is_some(),
            None => explained.command.is_some() || !super::outcome::is_sayable(&explained.rewrites),
            Some(_) => explained.otherwise.is_some() || (explained.reply.is_some() && !ladder),
        }
    }

    /// Takes an answer up; what is said about it.
    fn heed(
        &self,
        callouts: &CalloutSet,
        id: CalloutId,
        answer: Result<CalloutAnswer, Fault>,
        provisos: &mut Provisos,
        explained: &mut Explained,
    ) -> String {
        match answer {
            Ok(CalloutAnswer::Command { rewrites, verdict, beside }) => {
                let told = self.told_command(&rewrites, verdict.as_ref(), beside.as_deref());
                let refuses = |reply: &CommandVerdict| matches!(reply, CommandVerdict::Reply(reply) if reply.code().is_negative());
                if self.spares_postmaster(callouts, id) && verdict.as_ref().is_some_and(refuses) {
                    return SPARED.to_owned();
                }
                if let Some(beside) = beside {
                    provisos.note(id, &beside);
                }
                add(&mut explained.rewrites, rewrites);
                explained.command = verdict;
                told.unwrap_or_else(|| "pass".to_owned())
            }
            Ok(CalloutAnswer::Message(answer)) => {
                let told = self.told_message(&answer);
                if let Some(draft) = &mut explained.draft {
                    answer.edits.iter().for_each(|edit| draft.apply(edit));
                }
                explained.message.add(*answer);
                told.unwrap_or_else(|| "pass".to_owned())
            }
            Ok(CalloutAnswer::Reply(None)) => "pass".to_owned(),
            Ok(CalloutAnswer::Reply(Some(ReplyVerdict::Substitute(instead))))
                if self.spares_postmaster(callouts, id)
                    && instead.code().is_negative()
                    && self.known.reply.as_ref().is_some_and(|heard| heard.code().is_positive()) =>
            {
                SPARED.to_owned()
            }
            Ok(CalloutAnswer::Reply(Some(verdict))) => self.heed_reply(verdict, explained),
            Err(fault) => {
                let on_error = callouts.terms(id).on_error;
                let failed = format!("failed: {fault}");
                match on_error.reply(self.known.stage) {
                    None => format!("{failed}; on_error: pass"),
                    Some(reply) => {
                        self.refuse(reply, explained);
                        format!("{failed}; on_error: {}", own(reply))
                    }
                }
            }
        }
    }

    /// RFC 5321 4.5.1: whether a callout's refusals of this recipient are ignored.
    fn spares_postmaster(&self, callouts: &CalloutSet, id: CalloutId) -> bool {
        let given = self.known.question().recipient_given;
        !callouts.terms(id).refuse_postmaster && given.is_some_and(names_postmaster)
    }

    fn heed_reply(&self, verdict: ReplyVerdict, explained: &mut Explained) -> String {
        let told = self.told_reply(&verdict);
        match (&explained.reply, &verdict) {
            (None, _) => explained.reply = Some(verdict),
            (Some(_), ReplyVerdict::Retry(_)) => {
                return format!("{told}, which is not done: there is no second ladder");
            }
            (Some(_), _) => {
                explained.otherwise = Some(verdict);
                return format!("if the ladder fails: {told}");
            }
        }
        told
    }

    /// A reply of gatepost's own, where a callout has failed.
    fn refuse(&self, reply: &Own, explained: &mut Explained) {
        let Ok(written) = Reply::parse_written(&[&own(reply)]).map(Arc::new) else { return };
        match &self.known.reply {
            None if self.known.stage == Stage::Message => {
                explained.message.verdict = Some(MessageVerdict::Reply(written));
            }
            None => explained.command = Some(CommandVerdict::Reply(written)),
            Some(heard) => {
                // A hop's refusal is as good, unless another attempt could end better.
                let code = heard.code();
                let as_good = code.is_transient() || (code.is_negative() && !reply.code().is_transient());
                let verdict = if as_good { ReplyVerdict::Accept } else { ReplyVerdict::Substitute(written) };
                if explained.reply.is_some() {
                    explained.otherwise = Some(verdict);
                } else {
                    explained.reply = Some(verdict);
                }
            }
        }
    }
}

/// Asks for real, within the callout's time.
fn put(
    runtime: &Runtime,
    callouts: &CalloutSet,
    id: CalloutId,
    question: &Question<'_>,
    reply: Option<ReplyRef<'_>>,
    content: Option<Content>,
    most: usize,
) -> Result<CalloutAnswer, Fault> {
    let octets = callouts.encode(id, question, reply);
    let terms = callouts.terms(id);
    let patience = terms.timeout + terms.for_size(question.message);
    let Some(carrier) = callouts.carrier().downcast_ref::<Arc<dyn Asker>>() else {
        return Err(Fault::new(FaultKind::Unreachable, "nobody carries questions to it"));
    };
    let answer = runtime.block_on(async {
        let who = Instance::default();
        let asked = Asked {
            stage: question.stage,
            question: octets,
            content,
            session: who.clone(),
            transaction: Instance::default(),
        };
        let answer = timeout(patience, carrier.ask(id, asked)).await;
        carrier.leave(&who);
        answer
    });
    let late = |_| Fault::new(FaultKind::TimedOut, format!("no answer within {patience:?}"));
    let answer = answer.map_err(late)??;
    let fault = match (&answer, reply) {
        (CalloutAnswer::Message(answer), None) if question.stage == Stage::Message => {
            message_fault(answer, terms)
        }
        (CalloutAnswer::Command { rewrites, verdict, beside }, None) if question.stage != Stage::Message => {
            let sayable = super::outcome::is_sayable(rewrites);
            command_fault(question.stage, rewrites, verdict.as_ref(), beside.as_deref(), terms)
                .or((!sayable).then_some("a rewritten value that has no valid form"))
        }
        (CalloutAnswer::Reply(verdict), Some(reply)) => {
            verdict.as_ref().and_then(|verdict| reply_fault(question.stage, reply, verdict, most))
        }
        _ => Some("a verdict of the other kind"),
    };
    fault.map_or(Ok(answer), |fault| Err(Fault::new(FaultKind::NotAllowed, fault)))
}

/// The question with the values as they have become.
fn rewritten<'q>(question: Question<'q>, rewrites: &'q Rewrites) -> Question<'q> {
    // Those that are no path ended the asking before.
    let path = |new: &'q Option<Box<[u8]>>, now| new.as_deref().and_then(|new| Path::parse(new).ok()).or(now);
    let params = rewrites.parameters.as_deref().and_then(|new| Params::parse(new).ok());
    Question {
        sender: path(&rewrites.sender, question.sender),
        recipient: path(&rewrites.recipient, question.recipient),
        helo: rewrites.helo.as_deref().or(question.helo),
        params: params.unwrap_or(question.params),
        ..question
    }
}

fn add(all: &mut Rewrites, new: Rewrites) {
    all.sender = new.sender.or(all.sender.take());
    all.recipient = new.recipient.or(all.recipient.take());
    all.helo = new.helo.or(all.helo.take());
    all.parameters = new.parameters.or(all.parameters.take());
}
