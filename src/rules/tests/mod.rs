//! Tests of whole rule sets: each key, the order of asking, and the index against a plain scan.
//!
//! **In**: rules as the configuration holds them, questions as the session asks them. **Out**: answers.
//! **Never**: reads a file; how rules are written down is tested with the configuration.

mod asking;
mod keys;
mod maps;
mod messages;
mod same;
mod written;

use super::*;
use crate::config::types::{Action, Decide, Mark, Match, Rule as Written};
use crate::config::types::{Template, TemplatePiece, Variable};
use crate::networks::Networks;
use crate::smtp::{Params, Path, Reply, SessionId, Verb};

/// The pools `main`, `branch`, `legacy`.
fn pools(name: &str) -> Option<PoolId> {
    ["main", "branch", "legacy"].iter().position(|known| *known == name).map(|at| PoolId(at as u16))
}

fn compile(rules: &[Written]) -> RuleSet {
    let listeners =
        [vec!["127.0.0.1:2525".to_owned()], vec!["[::1]:25".to_owned(), "192.0.2.7:25".to_owned()]];
    RuleSet::compile(rules, &pools, &Maps::default(), &listeners).unwrap()
}

fn rule(stages: &[Stage], matches: Match, decide: Option<Decide>) -> Written {
    Written {
        name: "rule".to_owned(),
        stages: stages.to_vec(),
        matches,
        actions: Action { decide, ..Action::default() },
        mark: Mark::default(),
    }
}

/// A rule that rewrites the recipient at `rcpt`.
fn moves(recipient: &str, to: Template) -> Written {
    let mut moves = rule(&[Stage::Rcpt], to_recipient(recipient), None);
    moves.actions.rewrites.recipient = Some(to);
    moves
}

fn to_recipient(pattern: &str) -> Match {
    Match { recipient: list(&[pattern]), ..Match::default() }
}

fn list(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|pattern| (*pattern).to_owned()).collect()
}

fn says(line: &str) -> Option<Decide> {
    Some(Decide::Reply(list(&[line])))
}

fn template(text: &str) -> Template {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once('{') {
        let (name, after) = tail.split_once('}').unwrap();
        if !before.is_empty() {
            pieces.push(TemplatePiece::Text(before.to_owned()));
        }
        let variable = Variable::ALL.into_iter().find(|variable| variable.name() == name).unwrap();
        pieces.push(TemplatePiece::Variable(variable));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(TemplatePiece::Text(rest.to_owned()));
    }
    Template(pieces)
}

fn path(octets: &[u8]) -> Path<'_> {
    Path::parse(octets).unwrap()
}

/// What is asked when `s@src.example` writes to `jones@example.net`.
fn question(stage: Stage) -> Question<'static> {
    Question {
        stage,
        session: SessionId(1),
        listener: 0,
        client: [192, 0, 2, 1].into(),
        port: 40000,
        facts: None,
        hop: None,
        helo: Some(b"Client.example"),
        extended: true,
        instance: 0,
        authenticated: false,
        mechanism: None,
        sender: Some(path(b"s@src.example")),
        recipient: Some(path(b"jones@example.net")),
        recipient_given: Some(path(b"jones@example.net")),
        recipients: 0,
        envelope: None,
        params: Params::default(),
        size: None,
        verb: Verb::Rcpt,
        argument: b"TO:<jones@example.net>",
        message: None,
    }
}

fn reply(line: &str) -> Reply {
    Reply::parse_written(&line.split('|').collect::<Vec<_>>()).unwrap()
}

/// The number the deciding rule wrote into its reply.
fn said(answer: &CommandAnswer) -> Option<String> {
    match &answer.verdict {
        Some(CommandVerdict::Reply(reply)) => {
            Some(String::from_utf8_lossy(reply.as_bytes()).trim_end().to_owned())
        }
        _ => None,
    }
}

/// The same rules, each tried for every question at its stages.
fn without_index(rules: &[Written]) -> RuleSet {
    let mut set = compile(rules);
    for by_stage in &mut set.by_stage {
        *by_stage = StageRules { index: Index::default(), classes: u16::MAX };
    }
    for (at, rule) in rules.iter().enumerate() {
        for &stage in &rule.stages {
            set.by_stage[stage as usize].index.add(
                RuleId(at as u16),
                &Condition::default(),
                &Networks::default(),
                &[],
            );
        }
    }
    set
}
