//! What a rule does: its rewrites and the one verdict that decides.
//!
//! **In**: the node `do`, the rule's stages and what it matches. **Out**: an [`Action`] that every one of the stages
//! allows. **Never**: looks whether an upstream exists (that is `check`).
//!
//! Shapes: `do: accept`, `do: disconnect`, `do: discard`, or keys: `rewrite`, `remove_header`, `add_header`,
//! `remove_recipient`, `add_recipient`, and at most one of `reply`, `route`, `map`, `substitute`, `retry`, `discard: true`, `accept: true`, `disconnect` (`true` or a
//! reply). Which of them suits which stage: `session/law.rs`.

use super::address::domain;
use super::error::suggestion;
use super::message::{added, recipient, removed};
use super::reply::{WrittenReply, reply};
use super::rule::{Action, Decide, Match, Parameters, Rewrites, Rung, Template, Variable};
use super::scalar::is_keyword;
use super::stage::{self, disconnect_fault, reply_fault, retry_suits, substitute_fault, variables};
use super::template::template;
use super::types::SMTP_PORT;
use super::walk::{Node, Section, shown};
use crate::session::law::{self, Part, Verdict};
use crate::session::verdict::Stage;

/// Decodes `do`.
pub(super) fn action(node: &Node<'_>, stages: &[Stage], matches: &Match) -> Option<Action> {
    if node.scalar().is_some() {
        let words = [Verdict::Accept, Verdict::Disconnect, Verdict::Discard]
            .map(|verdict| (verdict.as_str(), verdict));
        let text = node.scalar().unwrap_or_default();
        let Some((_, verdict)) = words.into_iter().find(|(name, _)| *name == text) else {
            return one_word(node, &text, &words.map(|(name, _)| name));
        };
        allowed(node, verdict, stages);
        let decide = match verdict {
            Verdict::Accept => Decide::Accept,
            Verdict::Discard => Decide::Discard,
            _ => Decide::Disconnect(None),
        };
        return Some(Action { decide: Some(decide), ..Action::default() });
    }
    let mut section = node.section()?;
    let rewrites = section.get_or("rewrite", Rewrites::default(), |node| rewrite(node, stages));
    let remove_header = edits(&mut section, "remove_header", stages, removed);
    let add_header = edits(&mut section, "add_header", stages, added);
    let remove_recipient = edits(&mut section, "remove_recipient", stages, recipient);
    let add_recipient = edits(&mut section, "add_recipient", stages, recipient);
    let mut decide: Option<(Verdict, Option<Decide>)> = None;
    for verdict in Verdict::ALL {
        let Some(node) = section.get(verdict.as_str()) else { continue };
        allowed(&node, verdict, stages);
        if let Some((first, _)) = decide {
            let first = first.as_str();
            node.key_error(format!(
                "contradicts \"{first}\": a rule gives one verdict, beside rewrites; make two rules"
            ));
        }
        let decision = decision(verdict, &node, stages, matches);
        decide.get_or_insert((verdict, decision));
    }
    if rewrites.recipient.is_some()
        && let Some(node) = section.get("map")
    {
        node.key_error("contradicts \"rewrite.recipient\": the map says what the recipient becomes");
    }
    let changes = ["rewrite", "remove_header", "add_header", "remove_recipient", "add_recipient"]
        .map(|key| section.get(key).is_some());
    if decide.is_none() && !changes.contains(&true) {
        section
            .node()
            .error(format!("needs rewrite, add_header, remove_header or one of {}", names(|_| true)));
    }
    section.end();
    let decide = decide.and_then(|(_, decide)| decide);
    Some(Action { rewrites, remove_header, add_header, remove_recipient, add_recipient, decide })
}

/// Changes of a message, one or a list of them.
fn edits(
    section: &mut Section<'_>,
    key: &'static str,
    stages: &[Stage],
    read: impl Fn(&Node<'_>) -> Option<String>,
) -> Vec<String> {
    let Some(node) = section.get(key) else { return Vec::new() };
    if let Some(stage) = stages.iter().find(|stage| **stage != Stage::Message) {
        node.key_error(format!("is for message only, not for {}", stage.as_str()));
    }
    let entries = node.one_or_list();
    if entries.is_empty() {
        node.error("an empty list does nothing; leave the key out");
    }
    entries.iter().filter_map(read).collect()
}

/// Reports a word that does nothing alone, with what was likely meant.
fn one_word<T>(node: &Node<'_>, text: &str, words: &[&str]) -> Option<T> {
    let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == text);
    let near = match verdict.and_then(shape) {
        Some(shape) => format!("; write what it says, {shape}"),
        None if text.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("; for a reply write {{ reply: {} }}", shown(text))
        }
        None => suggestion(text, words.iter().copied()),
    };
    let words = words.join(" or ");
    node.expected_near(&format!("{words}, or keys such as {{ reply: \"550 5.7.1 Not here\" }}"), &near)
}

/// What a verdict looks like that does not stand alone.
fn shape(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Reply => Some("{ reply: \"550 5.7.1 Not here\" }"),
        Verdict::Route => Some("{ route: { upstream: other } }"),
        Verdict::Map => Some("{ map: recipients.map }"),
        Verdict::Substitute => Some("{ substitute: \"550 5.1.1 No such mailbox\" }"),
        Verdict::Retry => Some("{ retry: [{ upstream: other }] }"),
        Verdict::Accept | Verdict::Disconnect | Verdict::Discard => None,
    }
}

/// Reports a verdict that one of the stages does not take.
fn allowed(node: &Node<'_>, verdict: Verdict, stages: &[Stage]) {
    if let Some(stage) = stages.iter().find(|stage| !law::allows(**stage, verdict)) {
        let (name, instead) = (verdict.as_str(), names(|verdict| law::allows(*stage, verdict)));
        let text = format!("{name} is not allowed at {}, only {instead}", stage.as_str());
        if node.scalar().as_deref() == Some(name) { node.error(text) } else { node.key_error(text) }
    }
}

/// The verdicts that are meant, by name.
fn names(meant: impl Fn(Verdict) -> bool) -> String {
    let meant = Verdict::ALL.into_iter().filter(|verdict| meant(*verdict));
    meant.map(Verdict::as_str).collect::<Vec<_>>().join(", ")
}

fn decision(verdict: Verdict, node: &Node<'_>, stages: &[Stage], matches: &Match) -> Option<Decide> {
    match verdict {
        Verdict::Reply => {
            let reply = written(node)?;
            report(node, stages.iter().find_map(|stage| reply_fault(*stage, reply.class())));
            Some(Decide::Reply(reply.lines))
        }
        Verdict::Substitute => {
            let reply = written(node)?;
            let fault = |stage: &Stage| substitute_fault(*stage, reply.class(), &matches.code);
            report(node, stages.iter().find_map(fault));
            Some(Decide::Substitute(reply.lines))
        }
        Verdict::Route => route(node),
        Verdict::Map => node.path().map(Decide::Map),
        Verdict::Retry => retry(node, stages, matches),
        Verdict::Accept => only_true(node).then_some(Decide::Accept),
        Verdict::Discard => only_true(node).then_some(Decide::Discard),
        Verdict::Disconnect if node.value().to_bool().is_some() => {
            only_true(node).then_some(Decide::Disconnect(None))
        }
        Verdict::Disconnect => {
            let reply = written(node)?;
            report(node, stages.iter().find_map(|stage| disconnect_fault(*stage, reply.class())));
            Some(Decide::Disconnect(Some(reply.lines)))
        }
    }
}

fn report(node: &Node<'_>, fault: Option<String>) {
    if let Some(fault) = fault {
        node.error(fault);
    }
}

/// A reply; what looks like a variable in it deserves a word, since replies go out as written.
fn written(node: &Node<'_>) -> Option<WrittenReply> {
    let reply = reply(node)?;
    let variable = Variable::ALL.map(|variable| format!("{{{}}}", variable.name()));
    if let Some(name) = variable.iter().find(|name| reply.lines.iter().any(|line| line.contains(*name))) {
        node.warning(format!("replies go out as written: {name} is not replaced"));
    }
    Some(reply)
}

fn only_true(node: &Node<'_>) -> bool {
    let good = node.value().to_bool() == Some(true);
    if !good {
        node.expected::<()>("true");
    }
    good
}

fn route(node: &Node<'_>) -> Option<Decide> {
    let mut section = node.section_like("{ upstream: % }", "other", |_| true)?;
    let upstream = section.require("upstream", "; name a pool").and_then(|node| node.text());
    section.end();
    Some(Decide::Route { upstream: upstream? })
}

fn retry(node: &Node<'_>, stages: &[Stage], matches: &Match) -> Option<Decide> {
    if !stages.iter().all(|stage| retry_suits(*stage, &matches.code)) {
        node.key_error("only a refused recipient is tried again: match has a code that is not 4xx or 5xx");
    }
    let entries = node.list_like("[{ upstream: % }]");
    if entries.is_empty() && !node.is_list() {
        return None;
    }
    if entries.is_empty() {
        node.error("needs at least one attempt, such as [{ upstream: other }]");
        return None;
    }
    // One that cannot be read keeps its place, so that those behind it keep their numbers.
    let nothing = || Rung { recipient: None, upstream: None, mx: None, map: None };
    Some(Decide::Retry(entries.iter().map(|node| rung(node).unwrap_or_else(nothing)).collect()))
}

fn rung(node: &Node<'_>) -> Option<Rung> {
    let address = node.scalar().is_some_and(|text| text.contains('@'));
    let shape = if address { "{ recipient: % }" } else { "{ upstream: % }" };
    let mut section = node.section_like(shape, "other", |_| true)?;
    let recipient = section.get("recipient");
    let upstream = section.get("upstream");
    let mx = section.get("mx");
    let map = section.get("map");
    if recipient.is_none() && upstream.is_none() && mx.is_none() && map.is_none() {
        section.node().error("needs recipient, upstream, mx or map");
    }
    if let (Some(_), Some(mx)) = (&upstream, &mx) {
        mx.key_error("contradicts \"upstream\": an attempt has only one of them");
    }
    if let Some(map) = &map {
        let others = [("recipient", &recipient), ("upstream", &upstream), ("mx", &mx)];
        if let Some((key, _)) = others.iter().find(|(_, node)| node.is_some()) {
            map.key_error(format!("contradicts \"{key}\": the map says which"));
        }
    }
    section.end();
    Some(Rung {
        recipient: recipient.and_then(|node| mailbox(&node, variables(Stage::RcptReply), false)),
        upstream: upstream.and_then(|node| node.text()),
        mx: mx.and_then(|node| domain(&node, SMTP_PORT)),
        map: map.and_then(|node| node.path()),
    })
}

fn rewrite(node: &Node<'_>, stages: &[Stage]) -> Option<Rewrites> {
    let example = "\"{local}@new.example\"";
    let mut section = node.section_like("{ recipient: % }", example, |text| text.contains('@'))?;
    let get = |part| rewritten(&mut section, part, stages);
    let [sender, recipient, helo, parameters] =
        [Part::Sender, Part::Recipient, Part::Helo, Part::Parameters].map(get);
    if sender.is_none() && recipient.is_none() && helo.is_none() && parameters.is_none() {
        section.node().error("needs one of sender, recipient, helo, parameters");
    }
    section.end();
    Some(Rewrites {
        sender: sender.and_then(|node| mailbox(&node, variables(Stage::Mail), true)),
        recipient: recipient.and_then(|node| mailbox(&node, variables(Stage::Rcpt), false)),
        helo: helo.and_then(|node| word(&node)),
        parameters: parameters.and_then(|node| self::parameters(&node)),
    })
}

fn rewritten<'a>(section: &mut Section<'a>, part: Part, stages: &[Stage]) -> Option<Node<'a>> {
    let node = section.get(part.as_str())?;
    if let Some(stage) = stages.iter().find(|stage| !law::rewrites(**stage, part)) {
        let at = stage::stages().filter(|stage| law::rewrites(*stage, part)).map(Stage::as_str);
        let at = at.collect::<Vec<_>>().join(" and ");
        node.key_error(format!("is rewritten at {at} only, not at {}", stage.as_str()));
    }
    Some(node)
}

/// A mailbox with variables; where none stand in it, its form is checked here and not only when it is sent.
fn mailbox(node: &Node<'_>, known: &[Variable], null_path: bool) -> Option<Template> {
    let template = template(node, known)?;
    let Some(text) = template.as_text() else { return Some(template) };
    if null_path && text == "<>" {
        return Some(template);
    }
    let (local, domain) = text.rsplit_once('@').unwrap_or((text, "postmaster"));
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let plain = |part: &str| !part.is_empty() && !part.contains([' ', '<', '>', '"', ',', ';', '(', ')']);
    let alone = !text.contains('@') && !text.eq_ignore_ascii_case("postmaster");
    if alone || !(quoted || plain(local) && !local.contains('@')) || !plain(domain) {
        return node.expected("a mailbox, such as joe@example.com or \"{local}@new.example\"");
    }
    Some(template)
}

/// An argument of EHLO: printable, no white space.
fn word(node: &Node<'_>) -> Option<Template> {
    let template = template(node, variables(Stage::Helo))?;
    if template.as_text().is_some_and(|text| text.contains(' ')) {
        return node.expected("one word without spaces");
    }
    Some(template)
}

/// `{ remove: [KEYWORD], add: [KEYWORD, KEYWORD=value] }`
fn parameters(node: &Node<'_>) -> Option<Parameters> {
    let keyword = |text: &str| text.contains('=');
    let mut section = node.section_like("{ add: [%] }", "NOTIFY=NEVER", keyword)?;
    let (remove, add) = (section.get("remove"), section.get("add"));
    if remove.is_none() && add.is_none() {
        section.node().error("needs remove, add or both");
    }
    section.end();
    let remove = remove.map(|node| node.one_or_list()).unwrap_or_default();
    let add = add.map(|node| node.one_or_list()).unwrap_or_default();
    Some(Parameters {
        remove: remove.iter().filter_map(|node| node.keyword("a keyword, such as AUTH")).collect(),
        add: add.iter().filter_map(parameter).collect(),
    })
}

/// `KEYWORD` or `KEYWORD=value` (RFC 5321 section 4.1.2, esmtp-param).
fn parameter(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    let (keyword, value) = text.split_once('=').unwrap_or((&text, "x"));
    let good = |b: u8| (b'!'..=b'~').contains(&b) && b != b'=';
    if !is_keyword(keyword) || value.is_empty() || !value.bytes().all(good) {
        node.error(format!("expected a parameter, such as NOTIFY=NEVER, found {}", shown(&text)));
        return None;
    }
    Some(text)
}
