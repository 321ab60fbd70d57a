//! What a callout of `type: milter` has of its own.
//!
//! **In**: its section, and where it is. **Out**: a [`Milter`], and the stages it is asked at.
//! **Never**: takes a macro's name for one that it is not: what gatepost does not know has no value, and is not sent.

use super::milter::{Milter, Occasion, OnQuarantine, macro_name};
use super::rules::stages;
use super::types::Target;
use super::walk::{Node, Section};
use crate::session::verdict::Stage;

/// Where a filter is asked, unless it says otherwise.
const USUAL: [Stage; 6] =
    [Stage::Connect, Stage::Helo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Message];
/// Names of [`OnQuarantine`].
pub(super) const ON_QUARANTINE: [(&str, OnQuarantine); 3] = [
    ("reject", OnQuarantine::Reject),
    ("tempfail", OnQuarantine::Tempfail),
    ("header", OnQuarantine::Header),
];

/// Decodes what is its own.
pub(super) fn milter(section: &mut Section<'_>, addresses: Vec<Target>) -> (Milter, Vec<Stage>) {
    let mut milter = Milter::new(addresses);
    if let Some(node) = section.get("macros") {
        macros(&node, &mut milter);
    }
    if let Some(node) = section.get("macro_values") {
        milter.values = values(&node);
    }
    let quarantine = milter.on_quarantine;
    milter.on_quarantine = section.get_or("on_quarantine", quarantine, |node| node.choice(&ON_QUARANTINE));
    let mut stages = section.get_or("stages", USUAL.to_vec(), |node| Some(asked_at(node)));
    if section.get_or("rcpt_after_reply", false, |node| node.flag()) {
        stages.iter_mut().filter(|stage| **stage == Stage::Rcpt).for_each(|stage| *stage = Stage::RcptReply);
    }
    (milter, stages)
}

fn asked_at(node: &Node<'_>) -> Vec<Stage> {
    let stages = stages(node);
    for stage in stages.iter().filter(|stage| !USUAL.contains(stage) && **stage != Stage::RcptReply) {
        node.error(format!(
            "a milter is asked at connect, helo, mail, rcpt (or rcpt-reply), data and message, not at {}",
            stage.as_str()
        ));
    }
    if stages.contains(&Stage::Rcpt) && stages.contains(&Stage::RcptReply) {
        node.error("rcpt and rcpt-reply: a milter is asked about a recipient once");
    }
    stages
}

/// Lists of macros by occasion, or names with white space between them, as Postfix has them.
fn macros(node: &Node<'_>, milter: &mut Milter) {
    let Some(mut section) = node.section() else { return };
    for (occasion, list) in Occasion::ALL.into_iter().zip(&mut milter.macros) {
        let names = |node: &Node<'_>| -> Option<Vec<Box<str>>> {
            let written: Vec<String> = node.one_or_list().iter().filter_map(Node::text).collect();
            Some(written.iter().flat_map(|names| names.split_whitespace()).map(macro_name).collect())
        };
        *list = section.get_or(occasion.as_str(), std::mem::take(list), names);
    }
    section.end();
}

/// Macros by name, with their values.
fn values(node: &Node<'_>) -> Vec<(Box<str>, String)> {
    let Some(mut section) = node.section() else { return Vec::new() };
    section.all().iter().filter_map(|(name, node)| Some((macro_name(name), node.text()?))).collect()
}
