//! From `rules:` in the configuration to a [`RuleSet`].
//!
//! **In**: the rules in file order, the pools by name, the maps by file, the names of the listeners.
//! **Out**: a rule set in which every pattern is compiled, every reply is built, every upstream is a pool; or every
//! error at once, each with the rule, its place in the file and the key.
//! **Never**: checks twice what the configuration promises of itself, save that a verdict is of the right kind for
//! its stages: a wrong one would be silence.
//!
//! Semantics section 1: a rule that cannot satisfy the table of verdicts is a configuration error.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::condition::{Condition, Field};
use super::map::Maps;
use super::message;
use super::{OnReply, Rule, RuleSet, RungTemplate, StageRules};
use crate::config::types as config;
use crate::session::law::{self, Part, Verdict};
use crate::session::route::{Domain, PoolId};
use crate::session::verdict::{CommandVerdict, MessageVerdict, ReplyVerdict, RuleId, Stage, Stages};
use crate::smtp::{Reply, canonical_domain};

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileError {
    /// The rule's name.
    pub rule: String,
    /// Where it stands in the file.
    pub mark: config::Mark,
    /// The key within it, such as `match.recipient`.
    pub key: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}: {}: {}", self.rule, self.key, self.problem)
    }
}

impl std::error::Error for CompileError {}

/// How many stages there are.
pub(super) const STAGES: usize = Stage::MessageReply as usize + 1;

impl RuleSet {
    /// Compiles rules. `listeners` holds, for each listener by its number, the names it may be meant by: its addresses.
    pub fn compile(
        config: &[config::Rule],
        pools: &dyn Fn(&str) -> Option<PoolId>,
        maps: &Maps,
        listeners: &[Vec<String>],
    ) -> Result<Self, Vec<CompileError>> {
        let mut set = Self {
            rules: Vec::with_capacity(config.len()),
            by_stage: Vec::new(),
            stages: Stages::default(),
            structure: false,
        };
        set.by_stage.resize_with(STAGES, StageRules::default);
        let mut errors = Vec::new();
        for (at, rule) in config.iter().enumerate() {
            let mut wrong = Vec::new();
            let Ok(id) = u16::try_from(at) else {
                let problem =
                    format!("more than {} rules; name more recipients in one", u16::MAX as usize + 1);
                let (rule, mark) = (rule.name.clone(), rule.mark);
                errors.push(CompileError { rule, mark, key: "name".to_owned(), problem });
                break;
            };
            set.add(RuleId(id), rule, &Known { pools, maps, listeners }, &mut wrong);
            let error =
                |(key, problem)| CompileError { rule: rule.name.clone(), mark: rule.mark, key, problem };
            errors.extend(wrong.into_iter().map(error));
        }
        if errors.is_empty() { Ok(set) } else { Err(errors) }
    }

    fn add(
        &mut self,
        id: RuleId,
        rule: &config::Rule,
        known: &Known<'_>,
        errors: &mut Vec<(String, String)>,
    ) {
        let mut unmatched = Vec::new();
        let condition = Condition::new(&rule.matches, known.listeners, &mut unmatched);
        errors.extend(unmatched.into_iter().map(|(key, problem)| (format!("match.{key}"), problem)));
        let mut compiled = Rule {
            name: rule.name.as_str().into(),
            line: rule.mark.line,
            stages: rule.stages.iter().copied().fold(Stages::default(), Stages::with),
            condition,
            rewrites: (!rule.actions.rewrites.is_empty()).then(|| Box::new(rule.actions.rewrites.clone())),
            map: None,
            edits: message::edits(&rule.actions),
            envelope: message::envelope(&rule.actions),
            on_command: None,
            on_message: None,
            on_reply: None,
        };
        if let Some(decide) = &rule.actions.decide
            && let Err((key, problem)) = compiled.decide(decide, known)
        {
            errors.push((format!("do.{key}"), problem));
        }
        for &stage in &rule.stages {
            if let Some(problem) = unfit(&rule.actions, stage) {
                errors.push(("do".to_owned(), problem));
            }
            let rules = &mut self.by_stage[stage as usize];
            // A message has several recipients, of which any will do.
            let fields: &[Field] = if stage == Stage::Message { &[Field::Sender] } else { &Field::ALL };
            rules.index.add(id, &compiled.condition, &rule.matches.client, fields);
            rules.classes |= compiled.condition.reply_classes();
            self.stages = self.stages.with(stage);
        }
        self.structure |= compiled.condition.wants_structure();
        self.rules.push(compiled);
    }
}

/// What the names in rules stand for.
struct Known<'k> {
    pools: &'k dyn Fn(&str) -> Option<PoolId>,
    maps: &'k Maps,
    listeners: &'k [Vec<String>],
}

impl Rule {
    fn decide(&mut self, decide: &config::Decide, known: &Known<'_>) -> Result<(), (&'static str, String)> {
        let map = |file: &PathBuf| {
            known.maps.get(file).cloned().ok_or_else(|| format!("{} was not read", file.display()))
        };
        let pool =
            |name: &String| (known.pools)(name).ok_or_else(|| format!("no upstream is called {name:?}"));
        match decide {
            config::Decide::Reply(lines) => {
                let reply = reply(lines).map_err(|e| ("reply", e))?;
                self.on_message = Some(MessageVerdict::Reply(Arc::clone(&reply)));
                self.on_command = Some(CommandVerdict::Reply(reply));
            }
            config::Decide::Route { upstream } => {
                let pool = pool(upstream).map_err(|e| ("route", e))?;
                self.on_command = Some(CommandVerdict::Route(pool));
                self.on_message = Some(MessageVerdict::Route(pool));
            }
            config::Decide::Map(file) => self.map = Some(map(file).map_err(|e| ("map", e))?),
            config::Decide::Substitute(lines) => {
                let reply = reply(lines).map_err(|e| ("substitute", e))?;
                self.on_reply = Some(OnReply::Verdict(ReplyVerdict::Substitute(reply)));
            }
            config::Decide::Retry(rungs) => {
                let rungs = rungs.iter().map(|rung| {
                    if let Some(file) = &rung.map {
                        return Ok(RungTemplate::Map(map(file)?));
                    }
                    let pool = rung.upstream.as_ref().map(pool).transpose()?;
                    let mx = rung.mx.as_ref().map(|(name, port)| Domain {
                        name: canonical_domain(name.as_bytes()).into_boxed_str(),
                        port: *port,
                        pool: None,
                    });
                    Ok(RungTemplate::To { recipient: rung.recipient.clone(), pool, mx })
                });
                let rungs = rungs.collect::<Result<_, String>>().map_err(|e| ("retry", e))?;
                self.on_reply = Some(OnReply::Retry(rungs));
            }
            config::Decide::Accept => {
                self.on_command = Some(CommandVerdict::Accept);
                self.on_message = Some(MessageVerdict::Accept);
                self.on_reply = Some(OnReply::Verdict(ReplyVerdict::Accept));
            }
            config::Decide::Disconnect(lines) => {
                let reply = lines.as_deref().map(reply).transpose().map_err(|e| ("disconnect", e))?;
                self.on_command = Some(CommandVerdict::Disconnect(reply.clone()));
                self.on_message = Some(MessageVerdict::Disconnect(reply.clone()));
                self.on_reply = Some(OnReply::Verdict(ReplyVerdict::Disconnect(reply)));
            }
            config::Decide::Discard => self.on_message = Some(MessageVerdict::Discard),
        }
        Ok(())
    }
}

/// What of a rule's doing a stage does not take.
fn unfit(actions: &config::Action, stage: Stage) -> Option<String> {
    let part = actions.rewrites.parts().find(|part| !law::rewrites(stage, *part));
    let verdict = actions.decide.as_ref().map(config::Decide::verdict);
    let verdict = verdict.filter(|verdict| !law::allows(stage, *verdict));
    let edits = (actions.edits() && stage != Stage::Message).then_some("a change of a message");
    let name = part.map(Part::as_str).or(edits).or(verdict.map(Verdict::as_str))?;
    Some(format!("{name} is not allowed at {}", stage.as_str()))
}

/// A reply from its lines as written.
fn reply(lines: &[String]) -> Result<Arc<Reply>, String> {
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    Reply::parse_written(&lines).map(Arc::new).map_err(|error| error.to_string())
}
