//! A `match` that stands alone: what must hold for a callout to be asked.
//!
//! **In**: a configured `when`, compiled once; the question a callout would be asked.
//! **Out**: whether all keys hold, with the meaning they have in a rule.
//! **Never**: gives a verdict, or knows who is asked.

use super::condition::{Condition, Facts};
use crate::config::types::Match;
use crate::session::verdict::Question;
use crate::smtp::ReplyRef;

/// A compiled `when`.
#[derive(Debug, Clone)]
pub struct When(Condition);

impl When {
    /// Compiles it. `listeners` as for [`RuleSet::compile`](super::RuleSet::compile).
    ///
    /// # Errors
    ///
    /// Pairs of a key and what is wrong with it.
    pub fn compile(config: &Match, listeners: &[Vec<String>]) -> Result<Self, Vec<(String, String)>> {
        let mut errors = Vec::new();
        let condition = Condition::new(config, listeners, &mut errors);
        if errors.is_empty() { Ok(Self(condition)) } else { Err(errors) }
    }
}

/// One question, held against several.
#[derive(Debug)]
pub struct Asked<'q>(Facts<'q>);

impl<'q> Asked<'q> {
    /// What is known when callouts are asked; for reply stages the hop's reply beside it.
    pub fn new(question: &'q Question<'q>, reply: Option<ReplyRef<'q>>) -> Self {
        Self(Facts::new(question, reply))
    }

    /// Whether `when` holds.
    pub fn fits(&self, when: &When) -> bool {
        when.0.holds(&self.0)
    }
}
