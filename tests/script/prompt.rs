//! Callouts that answer at once and by themselves, for scripts that know nothing of them.
//!
//! **In**: a configuration's rules, or nothing. **Out**: [`Prompt`], which a session asks, and the answer to each question.
//! **Never**: answers otherwise than the rules would: nothing about a verdict may depend on who gave it.
//!
//! With rules, each rule is a callout: asked where its `match` holds, it says what the rule does. Without, one callout is
//! asked at every stage and has nothing to say.

use std::any::Any;
use std::sync::Mutex;
use std::time::Duration;

use gatepost::rules::RuleSet;
use gatepost::session::callout::{CalloutAnswer, CalloutId, CalloutTerms, Callouts, OnError};
use gatepost::session::verdict::{CommandAnswer, Question, ReplyVerdict, Rules, Stage, Stages};
use gatepost::smtp::ReplyRef;

/// Callouts that answer at once.
pub struct Prompt {
    /// Each by itself; none: one that passes.
    rules: Vec<RuleSet>,
    stages: Stages,
    /// The answer to the question that was encoded last, until it is taken.
    answer: Mutex<Option<CalloutAnswer>>,
    /// What was asked: stage, and at `rcpt` and `rcpt-reply` the recipient.
    pub asked: Mutex<Vec<(Stage, Vec<u8>)>>,
}

impl Prompt {
    /// One that passes at these stages.
    pub fn passing(stages: Stages) -> Prompt {
        Prompt { rules: Vec::new(), stages, answer: Mutex::default(), asked: Mutex::default() }
    }

    /// One callout for each rule.
    pub fn ruled(rules: Vec<RuleSet>) -> Prompt {
        let stages = rules.iter().fold(Stages::default(), |stages, rule| stages.and(rule.stages()));
        Prompt { rules, ..Prompt::passing(stages) }
    }

    /// The answer to the question that was just asked.
    pub fn take(&self) -> CalloutAnswer {
        self.answer.lock().unwrap().take().expect("a question was asked")
    }

    fn says(
        &self,
        place: usize,
        question: &Question<'_>,
        reply: Option<ReplyRef<'_>>,
    ) -> Option<CalloutAnswer> {
        let rule = &self.rules[place];
        if !rule.stages().has(question.stage) {
            return None;
        }
        match reply {
            None if question.stage == Stage::Message => {
                let (answer, by) = rule.message(question);
                (!by.is_empty()).then(|| CalloutAnswer::Message(Box::new(answer)))
            }
            None => {
                let CommandAnswer { rewrites, verdict, by } = rule.command(question);
                (!by.is_empty()).then_some(CalloutAnswer::Command { rewrites, verdict, beside: None })
            }
            Some(reply) => {
                rule.reply(question, reply, None).map(|(verdict, _)| CalloutAnswer::Reply(Some(verdict)))
            }
        }
    }
}

/// Whether a session would take this for a failed callout, where a rule is just not carried out.
fn is_overruled(answer: &CalloutAnswer, question: &Question<'_>, reply: Option<ReplyRef<'_>>) -> bool {
    let Some(reply) = reply else { return false };
    match answer {
        CalloutAnswer::Reply(Some(ReplyVerdict::Substitute(instead))) => {
            let same = instead.code().class() == reply.code().class();
            (question.stage == Stage::MessageReply
                && instead.code().is_negative()
                && reply.code().is_positive())
                || (!instead.code().is_negative() && (!same || instead.code().is_intermediate()))
        }
        _ => false,
    }
}

impl Callouts for Prompt {
    fn stages(&self) -> Stages {
        self.stages
    }

    fn next(
        &self,
        question: &Question<'_>,
        reply: Option<ReplyRef<'_>>,
        after: Option<CalloutId>,
    ) -> Option<CalloutId> {
        if self.rules.is_empty() {
            return (self.stages.has(question.stage) && after.is_none()).then_some(CalloutId(0));
        }
        if question.stage == Stage::Message && question.message.is_none() {
            // What they would say of it is not known yet.
            let asked = |rule: &RuleSet| rule.stages().has(Stage::Message);
            return self.rules.iter().position(asked).map(|place| CalloutId(place as u16));
        }
        let speaks = |place: &usize| {
            self.says(*place, question, reply).is_some_and(|answer| !is_overruled(&answer, question, reply))
        };
        let first = after.map_or(0, |after| usize::from(after.0) + 1);
        (first..self.rules.len()).find(speaks).map(|place| CalloutId(place as u16))
    }

    fn encode(&self, callout: CalloutId, question: &Question<'_>, reply: Option<ReplyRef<'_>>) -> Box<[u8]> {
        let pass = match reply {
            Some(_) => CalloutAnswer::Reply(None),
            None if question.stage == Stage::Message => CalloutAnswer::Message(Box::default()),
            None => CalloutAnswer::pass(),
        };
        let answer = match self.rules.is_empty() {
            true => pass,
            false => self.says(usize::from(callout.0), question, reply).unwrap_or(pass),
        };
        *self.answer.lock().unwrap() = Some(answer);
        let given = match question.stage {
            Stage::Rcpt | Stage::RcptReply => question.recipient_given.map(|path| path.as_bytes().to_vec()),
            _ => None,
        };
        self.asked.lock().unwrap().push((question.stage, given.unwrap_or_default()));
        Box::default()
    }

    fn terms(&self, _: CalloutId) -> CalloutTerms {
        CalloutTerms {
            timeout: Duration::from_secs(5),
            per_mib: Duration::ZERO,
            on_error: OnError::Tempfail,
            may_discard: true,
            refuse_postmaster: true,
        }
    }

    fn name(&self, _: CalloutId) -> &str {
        "prompt"
    }

    fn carrier(&self) -> &dyn Any {
        &()
    }
}
