//! Why rules answer as they do: every rule of a stage, in file order, with what it says or why it is silent.
//!
//! **In**: a question as the session asks it, with the reply at the stages of replies.
//! **Out**: [`Explained`]: what each rule says, and what all of them together come to, which is what
//! [`Rules`](crate::session::verdict::Rules) would have answered.
//! **Never**: asked by a session: it tries every rule and makes words for each. `gatepost ask` prints it.

use super::RuleSet;
use super::condition::Facts;
use super::{OnReply, Rule};
use crate::message::Draft;
use crate::session::verdict::{CommandVerdict, MessageAnswer, Question, ReplyVerdict, Rewrites, RuleId};
use crate::smtp::ReplyRef;

/// What the rules of a stage say.
#[derive(Debug, Default)]
pub struct Explained {
    /// Rule by rule.
    pub said: Vec<(RuleId, Says)>,
    /// All new values together.
    pub rewrites: Rewrites,
    /// What decides about a command.
    pub command: Option<CommandVerdict>,
    /// What decides about a reply.
    pub reply: Option<ReplyVerdict>,
    /// Where that is a ladder: what decides about the reply if the ladder fails.
    pub otherwise: Option<ReplyVerdict>,
    /// What is changed of a message, and what decides about it.
    pub message: MessageAnswer,
    /// The message with that.
    pub draft: Option<Draft>,
}

/// What one rule says.
#[derive(Debug, PartialEq, Eq)]
pub enum Says {
    /// These keys of its `match` do not hold.
    Unmet(Vec<&'static str>),
    /// It matches, but its map, or each of its rungs' maps, knows nothing of the recipient.
    NotInMap,
    /// It rewrites, decides, both, or finds everything as it would have it.
    Command(Rewrites, Option<CommandVerdict>),
    /// It decides about the reply.
    Reply(ReplyVerdict),
    /// It changes the message, decides about it, both, or finds everything as it would have it.
    Message(MessageAnswer),
    /// It decides about the reply if the ladder of the rule that has decided fails.
    Otherwise(ReplyVerdict),
    /// It is not asked: another has decided.
    NotAsked(RuleId),
    /// Nor could it be: a value that an earlier rule made is no address.
    BadValue(RuleId),
}

impl RuleSet {
    /// Asks about a command, and says why.
    pub fn explain_command(&self, question: &Question<'_>) -> Explained {
        let mut explained = Explained::default();
        let mut facts = Facts::new(question, None);
        let (mut decided, mut broken) = (None, None);
        for (id, rule) in self.at(question) {
            let says = match (decided, broken) {
                (Some(by), _) => Says::NotAsked(by),
                (_, Some(by)) => Says::BadValue(by),
                _ => match rule.speak(&facts) {
                    Some((new, verdict)) => {
                        if !facts.rewrite(new.clone()) {
                            broken = Some(id);
                        } else if verdict.is_some() {
                            decided = Some(id);
                            explained.command.clone_from(&verdict);
                        }
                        Says::Command(new, verdict)
                    }
                    None => rule.silent(&facts),
                },
            };
            explained.said.push((id, says));
        }
        explained.rewrites = facts.into_rewrites();
        explained
    }

    /// Asks about a hop's reply, and says why.
    pub fn explain_reply(&self, question: &Question<'_>, reply: ReplyRef<'_>) -> Explained {
        let mut explained = Explained::default();
        let facts = Facts::new(question, Some(reply));
        let (mut ladder, mut decided) = (None, None);
        for (id, rule) in self.at(question) {
            let second = ladder.filter(|_| matches!(rule.on_reply, Some(OnReply::Retry(_))));
            let says = match (decided.or(second), rule.speak_of_reply(&facts)) {
                (Some(by), _) => Says::NotAsked(by),
                (None, None) => rule.silent(&facts),
                (None, Some(verdict)) if ladder.is_some() => {
                    decided = Some(id);
                    explained.otherwise = Some(verdict.clone());
                    Says::Otherwise(verdict)
                }
                (None, Some(verdict)) => {
                    match verdict {
                        ReplyVerdict::Retry(_) => ladder = Some(id),
                        _ => decided = Some(id),
                    }
                    explained.reply = Some(verdict.clone());
                    Says::Reply(verdict)
                }
            };
            explained.said.push((id, says));
        }
        explained
    }

    /// Asks about a message, and says why.
    pub fn explain_message(&self, question: &Question<'_>) -> Explained {
        let mut explained = Explained::default();
        let mut facts = Facts::new(question, None);
        let mut decided = None;
        for (id, rule) in self.at(question) {
            let says = match decided {
                Some(by) => Says::NotAsked(by),
                None => match rule.speak_of_message(&mut facts) {
                    Some(said) => {
                        decided = said.verdict.is_some().then_some(id);
                        explained.message.add(said.clone());
                        Says::Message(said)
                    }
                    None => rule.silent(&facts),
                },
            };
            explained.said.push((id, says));
        }
        explained.draft = facts.message().cloned();
        explained
    }

    /// Where a rule stands in the configuration file: its line.
    pub fn line(&self, rule: RuleId) -> usize {
        self.rules.get(usize::from(rule.0)).map_or(0, |rule| rule.line)
    }

    fn at(&self, question: &Question<'_>) -> impl Iterator<Item = (RuleId, &Rule)> {
        let stage = question.stage;
        let numbered = self.rules.iter().zip(0..).map(|(rule, id)| (RuleId(id), rule));
        numbered.filter(move |(_, rule)| rule.stages.has(stage))
    }
}

impl Rule {
    /// Why it says nothing.
    fn silent(&self, facts: &Facts<'_>) -> Says {
        match self.condition.unmet(facts) {
            keys if keys.is_empty() => Says::NotInMap,
            keys => Says::Unmet(keys),
        }
    }
}
