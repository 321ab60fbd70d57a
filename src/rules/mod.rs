//! The local rules of `proxy.yaml`, compiled.
//!
//! **In**: the configuration's rules, once ([`RuleSet::compile`]); then questions, at each stage of each dialog.
//! **Out**: as [`Rules`] has it: rewrites, and the verdict of the first rule that decides.
//! **Never**: touches a socket, a clock or a session; checks the values it makes (the session does); changes once
//! compiled, so that one set serves all workers and running sessions keep theirs over a reload.
//!
//! Rules are asked in file order, each at most once per command. Rewrites accumulate and later rules see the new value;
//! the first verdict that decides ends the stage. Only those rules are
//! tried that the index of the stage names. A new value that is no path ends the asking as well: nothing sensible can
//! be asked about it, and the session refuses it.

mod address;
mod compile;
mod condition;
mod explain;
mod index;
mod map;
mod message;
mod parameters;
mod pattern;
mod template;
mod tls;
mod when;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::config::types as config;
use crate::message::Edit;
use crate::session::route::{Domain, PoolId};
use crate::session::verdict::{
    CommandAnswer, CommandVerdict, EnvelopeEdit, MessageAnswer, MessageVerdict, Question, ReplyVerdict,
    Rewrites, RuleId, Rules, Rung, Stage, Stages,
};
use crate::smtp::ReplyRef;

pub use address::Addresses;
pub use compile::CompileError;
pub use explain::{Explained, Says};
pub use map::{Entry, Map, MapError, Maps, unreadable as unreadable_map};
pub use when::{Asked, When};

use condition::{Condition, Facts, Field, class_bit};
use index::Index;

/// All rules of one configuration.
#[derive(Debug)]
pub struct RuleSet {
    /// By [`RuleId`].
    rules: Vec<Rule>,
    /// By stage.
    by_stage: Vec<StageRules>,
    stages: Stages,
    /// Whether any of them looks at the structure of a message's MIME.
    structure: bool,
}

/// The rules that speak at one stage.
#[derive(Debug, Default)]
struct StageRules {
    index: Index,
    /// The classes of replies about which any of them may speak.
    classes: u16,
}

/// One rule.
#[derive(Debug)]
struct Rule {
    name: Box<str>,
    /// Where it stands in the file.
    line: usize,
    stages: Stages,
    condition: Condition,
    rewrites: Option<Box<config::Rewrites>>,
    /// What knows the recipients that the rule is about, and what becomes of each.
    map: Option<Arc<Map>>,
    /// What it changes of a message.
    edits: Vec<Edit>,
    envelope: Vec<EnvelopeEdit>,
    on_command: Option<CommandVerdict>,
    on_message: Option<MessageVerdict>,
    on_reply: Option<OnReply>,
}

/// What a rule decides about a reply.
#[derive(Debug)]
enum OnReply {
    /// The same each time.
    Verdict(ReplyVerdict),
    /// Another ladder for each recipient.
    Retry(Vec<RungTemplate>),
}

/// A rung before the recipient is known.
#[derive(Debug)]
enum RungTemplate {
    /// There, for everybody.
    To { recipient: Option<config::Template>, pool: Option<PoolId>, mx: Option<Domain> },
    /// Where this says, for those it knows.
    Map(Arc<Map>),
}

impl Rules for RuleSet {
    fn stages(&self) -> Stages {
        self.stages
    }

    fn command(&self, question: &Question<'_>) -> CommandAnswer {
        let index = &self.by_stage[question.stage as usize].index;
        let mut facts = Facts::new(question, None);
        let mut answer = CommandAnswer::default();
        let mut candidates = index.candidates(&facts);
        let mut last = None;
        while let Some(id) = candidates.next(last) {
            last = Some(id);
            let rule = &self.rules[usize::from(id.0)];
            let Some((new, verdict)) = rule.speak(&facts) else { continue };
            let rewrites = new != Rewrites::default();
            if rewrites || verdict.is_some() {
                answer.by.push(id);
            }
            if rewrites {
                if !facts.rewrite(new) {
                    break;
                }
                candidates = index.candidates(&facts);
            }
            if verdict.is_some() {
                answer.verdict = verdict;
                break;
            }
        }
        answer.rewrites = facts.into_rewrites();
        answer
    }

    fn reply(
        &self,
        question: &Question<'_>,
        reply: ReplyRef<'_>,
        after: Option<RuleId>,
    ) -> Option<(ReplyVerdict, RuleId)> {
        let rules = &self.by_stage[question.stage as usize];
        // Most replies are 2xx and most rules are about refusals: those need no look at the address.
        if rules.classes & class_bit(reply.code().class()) == 0 {
            return None;
        }
        let facts = Facts::new(question, Some(reply));
        let mut candidates = rules.index.candidates(&facts);
        let mut last = after;
        while let Some(id) = candidates.next(last) {
            last = Some(id);
            let rule = &self.rules[usize::from(id.0)];
            // Semantics section 2: a failed ladder counts as pass, and there is no second one.
            if after.is_some() && matches!(rule.on_reply, Some(OnReply::Retry(_))) {
                continue;
            }
            if let Some(verdict) = rule.speak_of_reply(&facts) {
                return Some((verdict, id));
            }
        }
        None
    }

    fn message(&self, question: &Question<'_>) -> (MessageAnswer, Vec<RuleId>) {
        let index = &self.by_stage[Stage::Message as usize].index;
        let mut facts = Facts::new(question, None);
        let (mut answer, mut by) = (MessageAnswer::default(), Vec::new());
        // No edit changes what the index looks at.
        let mut candidates = index.candidates(&Facts::new(question, None));
        let mut last = None;
        while let Some(id) = candidates.next(last) {
            last = Some(id);
            let rule = &self.rules[usize::from(id.0)];
            let Some(said) = rule.speak_of_message(&mut facts) else { continue };
            if said.is_edit() || said.verdict.is_some() {
                by.push(id);
            }
            answer.add(said);
            if answer.verdict.is_some() {
                break;
            }
        }
        (answer, by)
    }

    fn wants_structure(&self) -> bool {
        self.structure
    }

    fn name(&self, rule: RuleId) -> &str {
        self.rules.get(usize::from(rule.0)).map_or("", |rule| &rule.name)
    }
}

impl Rule {
    /// What it says about a command; `None`: the command is not meant.
    fn speak(&self, facts: &Facts<'_>) -> Option<(Rewrites, Option<CommandVerdict>)> {
        if !self.condition.holds(facts) {
            return None;
        }
        let entry = match &self.map {
            Some(map) => Some(map.find(facts.address(Field::Recipient)?)?),
            None => None,
        };
        let rewrites = self.rewrites.as_deref();
        let mut new = rewrites.map(|rewrites| rewritten(rewrites, facts)).unwrap_or_default();
        let Some(entry) = entry else { return Some((new, self.on_command.clone())) };
        new.recipient = facts.path(Field::Recipient).and_then(|now| entry.recipient(now));
        Some((new, entry.pool.map(CommandVerdict::Route)))
    }

    /// What it says about a message, which it changes; `None`: it is not meant.
    fn speak_of_message(&self, facts: &mut Facts<'_>) -> Option<MessageAnswer> {
        if !self.condition.holds(facts) {
            return None;
        }
        let mut envelope = self.envelope.clone();
        let sender = self.rewrites.as_deref().and_then(|rewrites| rewritten(rewrites, facts).sender);
        envelope.extend(sender.map(|path| EnvelopeEdit::Sender { path, parameters: None }));
        Some(MessageAnswer { edits: facts.edit(&self.edits), envelope, verdict: self.on_message.clone() })
    }

    /// What it says about a reply; `None`: nothing, or it is not meant.
    fn speak_of_reply(&self, facts: &Facts<'_>) -> Option<ReplyVerdict> {
        let on_reply = self.on_reply.as_ref().filter(|_| self.condition.holds(facts))?;
        match on_reply {
            OnReply::Verdict(verdict) => Some(verdict.clone()),
            OnReply::Retry(rungs) => {
                let rungs: Vec<Rung> = rungs.iter().filter_map(|rung| rung.expand(facts)).collect();
                // A ladder without a rung, because no map knows the recipient, is none.
                (!rungs.is_empty()).then_some(ReplyVerdict::Retry(rungs))
            }
        }
    }
}

impl RungTemplate {
    fn expand(&self, facts: &Facts<'_>) -> Option<Rung> {
        match self {
            Self::To { recipient, pool, mx } => {
                let recipient = recipient.as_ref().map(|recipient| template::expand(recipient, facts));
                Some(Rung { recipient, pool: *pool, mx: mx.clone() })
            }
            Self::Map(map) => {
                let entry = map.find(facts.address(Field::Recipient)?)?;
                let recipient = entry.recipient(facts.path(Field::Recipient)?);
                Some(Rung { recipient, pool: entry.pool, mx: None })
            }
        }
    }
}

/// The new values a rule makes, all from what held before it spoke. A value as it stands already is no rewrite.
fn rewritten(rewrites: &config::Rewrites, facts: &Facts<'_>) -> Rewrites {
    let value = |template: &Option<config::Template>, now: Option<&[u8]>| {
        template.as_ref().map(|template| template::expand(template, facts)).filter(|new| Some(&**new) != now)
    };
    let path = |field| facts.path(field).map(|path| path.as_bytes());
    Rewrites {
        sender: value(&rewrites.sender, path(Field::Sender)),
        recipient: value(&rewrites.recipient, path(Field::Recipient)),
        helo: value(&rewrites.helo, facts.helo()),
        parameters: rewrites.parameters.as_ref().and_then(|p| parameters::change(facts.parameters(), p)),
    }
}
