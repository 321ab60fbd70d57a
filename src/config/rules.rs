//! Rules: name, stages, what must hold.
//!
//! **In**: the node `rules`. **Out**: [`Rule`]s in file order, each checked against what its stages can know.
//! **Never**: looks whether the upstreams it names exist (that is `check`); compiles a glob.
//!
//! What a rule does (`do`) is decoded in `action`; which keys and verdicts a stage takes is in `stage`.

use std::collections::HashMap;

use super::action;
use super::edges::is_off;
use super::message::{header, signed};
use super::network::network;
use super::rule::{Action, CodePattern, Match, Rule, SizeRange, TlsKeys, TlsMatch};
use super::scalar::{parse_size, size_near};
use super::stage::{self, AskedAt, STAGES, knows};
use super::walk::{Node, Section};
use crate::session::verdict::Stage;
use figment::value::Value;

/// Longest pattern.
const LONGEST_GLOB: usize = 1000;

/// Deepest `not` in a `not`.
const DEEPEST_NOT: usize = 4;

/// Decodes `rules`.
pub(super) fn rules(node: &Node<'_>) -> Vec<Rule> {
    let entries = node.list();
    // One that cannot be read keeps its place, so that those behind it keep their numbers.
    let nothing = |mark| Rule {
        name: String::new(),
        stages: Vec::new(),
        matches: Match::default(),
        actions: Action::default(),
        mark,
    };
    let rules: Vec<Rule> =
        entries.iter().map(|entry| rule(entry).unwrap_or_else(|| nothing(entry.mark()))).collect();
    unique("rule", &entries, rules.iter().map(|rule| rule.name.as_str()));
    rules
}

/// Reports entries with the name of one before; an empty name was reported already. `what` they are.
pub(super) fn unique<'a>(what: &str, entries: &[Node<'_>], names: impl Iterator<Item = &'a str>) {
    let mut first = HashMap::new();
    for (entry, name) in entries.iter().zip(names).filter(|(_, name)| !name.is_empty()) {
        if let Some(line) = first.insert(name, entry.mark().line) {
            let node = entry.section().and_then(|mut section| section.get("name"));
            node.as_ref()
                .unwrap_or(entry)
                .error(format!("another {what} is called \"{name}\", at line {line}"));
        }
    }
}

fn rule(node: &Node<'_>) -> Option<Rule> {
    let mut section = node.section()?;
    let name = section
        .require("name", ", such as moved-domain")
        .and_then(|node| name(&node, "rule"))
        .unwrap_or_default();
    let stages = section.require("stages", ", such as rcpt").map(|node| stages(&node)).unwrap_or_default();
    let matches = section.get_or("match", Match::default(), |node| matching(node, &stages, 0));
    let actions = section
        .require("do", ", such as accept, or { reply: \"550 5.7.1 Not here\" }")
        .and_then(|node| action::action(&node, &stages, &matches));
    section.end();
    Some(Rule { name, stages, matches, actions: actions.unwrap_or_default(), mark: node.mark() })
}

/// A name that is short and plain, because it becomes a label of metrics and a word in logs.
pub(super) fn name(node: &Node<'_>, what: &str) -> Option<String> {
    let name = node.text()?;
    let word = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/@".contains(&b);
    if name.len() > 64 || !name.bytes().all(word) {
        node.error(format!("the name of a {what} is at most 64 letters, digits and - _ . : / @"));
        return None;
    }
    Some(name)
}

/// Stages, each once; `message`: who is asked there can look into a message.
pub(super) fn stages(node: &Node<'_>) -> Vec<Stage> {
    let mut stages = Vec::new();
    let entries = node.one_or_list();
    if entries.is_empty() {
        node.error("needs at least one stage, such as rcpt");
    }
    for entry in entries {
        match entry.choice(&STAGES) {
            Some(AskedAt::Disconnect) => {
                entry.error("nobody is asked at disconnect, where the session is over; leave it out")
            }
            Some(AskedAt::Stage(stage)) if stages.contains(&stage) => {
                entry.error("the same stage twice; name it once")
            }
            Some(AskedAt::Stage(stage)) => stages.push(stage),
            None => {}
        }
    }
    stages
}

/// What must hold, each key known at each of the stages.
pub(super) fn matching(node: &Node<'_>, stages: &[Stage], depth: usize) -> Option<Match> {
    let mut section =
        node.section_like("{ recipient: % }", "\"*@example.com\"", |text| text.contains('@'))?;
    let mut at = Keys { section: &mut section, stages };
    let matches = Match {
        listener: at.globs("listener"),
        client: at.each("client", network).into_iter().collect(),
        helo: at.globs("helo"),
        sender: at.each("sender", address),
        recipient: at.each("recipient", recipient),
        recipient_given: at.each("recipient_given", recipient),
        code: at.each("code", code),
        enhanced_code: at.each("enhanced_code", enhanced_code),
        text: at.globs("text"),
        verb: at.each("verb", |node| glob(node).map(|verb| verb.to_ascii_uppercase())),
        authenticated: at.get("authenticated").and_then(|node| node.flag()),
        login: at.globs("login"),
        tls: at.get("tls").and_then(|node| tls(&node)),
        size: at.each("size", size),
        header: at.each("header", header),
        signed: at.each("signed", signed),
        attachment: at.globs("attachment"),
        mime_fault: at.get("fault").and_then(|node| node.choice(&[("mime", true)])).unwrap_or_default(),
        not: match at.get("not") {
            Some(node) if depth == DEEPEST_NOT => {
                node.error("nested too deeply");
                None
            }
            Some(node) => matching(&node, stages, depth + 1).map(Box::new),
            None => None,
        },
    };
    if matches.not.as_deref() == Some(&Match::default())
        && let Some(node) = section.get("not")
    {
        node.error("\"not\" without a key never holds; leave it out, or say what must not hold");
    }
    section.end();
    Some(matches)
}

/// `true`, `false`, a glob over the version or several, or keys.
fn tls(node: &Node<'_>) -> Option<TlsMatch> {
    if is_off(node) {
        return Some(TlsMatch::Is(false));
    }
    if node.value().to_bool() == Some(true) {
        return Some(TlsMatch::Is(true));
    }
    if !node.is_section() {
        let version = node.one_or_list().iter().filter_map(glob).collect();
        return Some(TlsMatch::Of(TlsKeys { version, ..TlsKeys::default() }));
    }
    let mut section = node.section()?;
    let mut at = Keys { section: &mut section, stages: &[] };
    let keys = TlsKeys {
        version: at.globs("version"),
        cipher: at.globs("cipher"),
        server_name: at.globs("server_name"),
        certificate: at.globs("certificate"),
        verified: at.get("verified").and_then(|node| node.flag()),
    };
    section.end();
    if matches!(node.value(), Value::Dict(_, given) if given.is_empty()) {
        node.error("says nothing; for any TLS write tls: true");
    }
    Some(TlsMatch::Of(keys))
}

/// A `match` section whose keys are checked against the stages.
struct Keys<'s, 'a> {
    section: &'s mut Section<'a>,
    stages: &'s [Stage],
}

impl<'a> Keys<'_, 'a> {
    fn get(&mut self, key: &'static str) -> Option<Node<'a>> {
        let node = self.section.get(key)?;
        if let Some(stage) = self.stages.iter().find(|stage| !knows(**stage, key)) {
            let known: Vec<&str> =
                stage::stages().filter(|stage| knows(*stage, key)).map(Stage::as_str).collect();
            node.key_error(format!("is not known at {}, only at {}", stage.as_str(), known.join(", ")));
        }
        Some(node)
    }

    fn each<T>(&mut self, key: &'static str, read: impl Fn(&Node<'a>) -> Option<T>) -> Vec<T> {
        let Some(node) = self.get(key) else { return Vec::new() };
        let entries = node.one_or_list();
        if entries.is_empty() {
            node.error("an empty list never holds; leave the key out, or name what is meant");
        }
        entries.iter().filter_map(read).collect()
    }

    fn globs(&mut self, key: &'static str) -> Vec<String> {
        self.each(key, glob)
    }
}

pub(super) fn glob(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    if text.len() > LONGEST_GLOB {
        node.error(format!("a pattern has at most {LONGEST_GLOB} octets"));
        return None;
    }
    Some(text)
}

/// A glob over a recipient, of which one comes without a domain (RFC 5321 section 4.5.1).
fn recipient(node: &Node<'_>) -> Option<String> {
    let text = address(node)?;
    if !text.contains(['@', '*', '.', '"', '<']) && !text.eq_ignore_ascii_case("postmaster") {
        node.warning(format!("only <postmaster> comes without a domain; for all domains write \"{text}@*\""));
    }
    Some(text)
}

/// A glob over a mailbox. Some mistakes deserve a word: a domain alone matches no address.
fn address(node: &Node<'_>) -> Option<String> {
    let text = glob(node)?;
    if !text.contains(['@', '*', '"']) && text.contains('.') && !text.starts_with('<') {
        node.warning(format!("has no @; for all addresses of a domain write \"*@{text}\""));
    }
    let expression =
        text.starts_with('/') && text.ends_with('/') || text.starts_with('^') && text.ends_with('$');
    if text.len() > 1 && expression {
        node.warning(
            "looks like a regular expression, and patterns are of * alone, such as \"*@example.com\"",
        );
    }
    // No domain has braces.
    if text.rsplit_once('@').is_some_and(|(_, domain)| domain.contains(['{', '}'])) {
        node.warning(
            "never holds: a domain has no braces; write a list, such as [\"*@a.example\", \"*@b.example\"]",
        );
    }
    Some(text)
}

/// `550`, `55x`, `5xx`.
fn code(node: &Node<'_>) -> Option<CodePattern> {
    let text = node.scalar().unwrap_or_default();
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(Some(b - b'0')),
        b'x' | b'X' => Some(None),
        _ => None,
    };
    let digits: Option<Vec<_>> = text.bytes().map(digit).collect();
    match digits.as_deref() {
        Some(&[Some(first @ 2..=5), second, third]) if second.is_none_or(|d| d <= 5) => {
            Some(CodePattern { digits: [Some(first), second, third] })
        }
        _ => node.expected("a reply code, such as 550, 55x or 5xx"),
    }
}

/// `5.1.1`, `5.1.*`, `5.*`.
fn enhanced_code(node: &Node<'_>) -> Option<String> {
    let text = glob(node)?;
    let good = |b: u8| b.is_ascii_digit() || b".*?".contains(&b);
    let parts = text.split('.').count();
    if text.bytes().all(good) && (parts == 3 || (parts < 3 && text.contains('*'))) {
        return Some(text);
    }
    node.expected("an enhanced code, such as 5.1.1 or \"5.1.*\"")
}

/// `">10MiB"`, `">=10MiB"`, `"<64KiB"`, `"<=64KiB"`, `"1MiB..10MiB"`, `"0"`.
fn size(node: &Node<'_>) -> Option<SizeRange> {
    let text = node.scalar().unwrap_or_default();
    match parse_range(&text) {
        Some(range) if range.least <= range.most => Some(range),
        Some(_) => {
            node.error("no size is in this range; the smaller one stands first");
            None
        }
        None => {
            let wanted = "a size or a range of sizes, such as \">10MiB\", \"<=64KiB\" or \"1MiB..10MiB\"";
            node.expected_near(wanted, &size_near(&text))
        }
    }
}

fn parse_range(text: &str) -> Option<SizeRange> {
    let (all, none) = (SizeRange { least: 0, most: u64::MAX }, SizeRange { least: 1, most: 0 });
    let size = |text: &str| parse_size(text.trim_start());
    if let Some(rest) = text.strip_prefix(">=") {
        return Some(SizeRange { least: size(rest)?, ..all });
    }
    if let Some(rest) = text.strip_prefix("<=") {
        return Some(SizeRange { most: size(rest)?, ..all });
    }
    if let Some(rest) = text.strip_prefix('>') {
        return size(rest).map(|n| n.checked_add(1).map_or(none, |least| SizeRange { least, ..all }));
    }
    if let Some(rest) = text.strip_prefix('<') {
        return size(rest).map(|n| n.checked_sub(1).map_or(none, |most| SizeRange { most, ..all }));
    }
    if let Some((least, most)) = text.split_once("..") {
        return Some(SizeRange { least: size(least)?, most: size(most)? });
    }
    size(text).map(|n| SizeRange { least: n, most: n })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_sizes() {
        let range = |least, most| Some(SizeRange { least, most });
        assert_eq!(parse_range(">1KiB"), range(1025, u64::MAX));
        assert_eq!(parse_range(">= 1KiB"), range(1024, u64::MAX));
        assert_eq!(parse_range("<1KiB"), range(0, 1023));
        assert_eq!(parse_range("<=1KiB"), range(0, 1024));
        assert_eq!(parse_range("10..20"), range(10, 20));
        assert_eq!(parse_range("0"), range(0, 0));
        assert_eq!(parse_range("<0"), range(1, 0));
        assert_eq!(parse_range("~1KiB"), None);
    }
}
