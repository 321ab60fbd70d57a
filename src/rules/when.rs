//! A `match` that stands alone: what must hold for a callout to be asked.
//!
//! **In**: a configured `when`, compiled once; the question a callout would be asked.
//! **Out**: whether all keys hold, with the meaning they have in a rule; before a message is there, whether they may.
//! **Never**: gives a verdict, or knows who is asked.

use super::condition::{Condition, Facts};
use crate::config::types::Match;
use crate::session::verdict::{Question, Stage};
use crate::smtp::ReplyRef;

/// A compiled `when`.
#[derive(Debug, Clone)]
pub struct When {
    condition: Condition,
    /// It looks at the message.
    of_message: bool,
}

impl When {
    /// Compiles it. `listeners` as for [`RuleSet::compile`](super::RuleSet::compile).
    ///
    /// # Errors
    ///
    /// Pairs of a key and what is wrong with it.
    pub fn compile(config: &Match, listeners: &[Vec<String>]) -> Result<Self, Vec<(String, String)>> {
        let mut errors = Vec::new();
        let condition = Condition::new(config, listeners, &mut errors);
        let of_message = condition.looks_at_message();
        if errors.is_empty() { Ok(Self { condition, of_message }) } else { Err(errors) }
    }

    /// Whether it looks at the structure of a message's MIME.
    pub fn wants_structure(&self) -> bool {
        self.condition.wants_structure()
    }
}

/// One question, held against several.
#[derive(Debug)]
pub struct Asked<'q> {
    facts: Facts<'q>,
    /// What is asked about is a message that is yet to come.
    is_to_come: bool,
}

impl<'q> Asked<'q> {
    /// What is known when callouts are asked; for reply stages the hop's reply beside it.
    pub fn new(question: &'q Question<'q>, reply: Option<ReplyRef<'q>>) -> Self {
        let is_to_come = question.stage == Stage::Message && question.message.is_none();
        Self { facts: Facts::new(question, reply), is_to_come }
    }

    /// Whether `when` holds; or may hold, where it looks at what is yet to come.
    pub fn fits(&self, when: &When) -> bool {
        (self.is_to_come && when.of_message) || when.condition.holds(&self.facts)
    }
}
