//! `gatepost ask`: which rules and callouts would be asked, what each says, and what would happen.
//!
//! **In**: a configuration; a moment of a dialog, as options of the command line.
//! **Out**: the moment, a line for each rule and callout of its stage, and the outcome, as text; or every option that is
//! wrong, at once. **Never**: opens a socket or resolves a name, unless callouts are to be asked for real; decides
//! anything itself: the rules are the compiled ones, and the outcome is told from their verdicts.

mod callouts;
mod message;
mod moment;
mod outcome;
mod told;

#[cfg(test)]
mod tests;

use std::fmt::Write;

use crate::callout::CalloutSet;
use crate::config::Loaded;
use crate::prepare;
use crate::rules::RuleSet;
use crate::session::route::PoolId;
use crate::session::verdict::{Rules, Stage};

pub use moment::Moment;

use moment::Known;

/// Asks, and says in words what came of it.
///
/// # Errors
///
/// What is wrong with the options or with the rules, one line each.
pub fn ask(loaded: &Loaded, moment: &Moment) -> Result<String, String> {
    let pools: Vec<&str> = loaded.config.upstreams.keys().map(String::as_str).collect();
    let (rules, _) = prepare::rules(loaded, &pools)?;
    let known = Known::new(moment, &loaded.config)?;
    let number = |name: &str| {
        let at = pools.iter().position(|pool| *pool == name)?;
        u16::try_from(at).ok().map(PoolId)
    };
    let callouts = prepare::callouts(loaded, &number)?;
    Context { loaded, rules: &rules, pools: &pools, known: &known }.ask(&callouts)
}

/// What the answer is told with.
struct Context<'a> {
    loaded: &'a Loaded,
    rules: &'a RuleSet,
    /// By their numbers.
    pools: &'a [&'a str],
    known: &'a Known<'a>,
}

impl Context<'_> {
    fn ask(&self, callouts: &CalloutSet) -> Result<String, String> {
        let question = self.known.question();
        let mut explained = match &self.known.reply {
            Some(reply) => self.rules.explain_reply(&question, reply.as_ref()),
            None if question.stage == Stage::Message => self.rules.explain_message(&question),
            None => self.rules.explain_command(&question),
        };
        let mut text = format!("{}\n", self.known);
        // Writing to a string does not fail.
        for (rule, says) in &explained.said {
            let (name, line) = (self.rules.name(*rule), self.rules.line(*rule));
            let _ = writeln!(text, "rule {name} ({}:{line}): {}", self.loaded.file, self.told(says));
        }
        if explained.said.is_empty() {
            let _ = writeln!(text, "no rule is asked at {}", question.stage.as_str());
        }
        text.push_str(&self.callouts(callouts, &mut explained)?);
        text.push_str("\nwhat would happen:\n");
        for line in self.outcome(&explained) {
            let _ = writeln!(text, "  {line}");
        }
        Ok(text)
    }
}
