//! Rules at `message`: what holds of one, what is changed, who ends it.

use std::sync::Arc;

use super::*;
use crate::config::types::{HeaderMatch, SizeRange};
use crate::message::Signature;
use crate::message::{Draft, Scan};
use crate::session::verdict::MessageVerdict;

const MESSAGE: &str = "X-Spam-Flag: YES, very\r\nX-Internal: a\r\nx-internal: b\r\n\
    Subject: =?utf-8?Q?caf=C3=A9?=\r\n and more\r\nDKIM-Signature: v=1\r\n\
    Content-Type: multipart/signed;\r\n protocol=\"application/pgp-signature\"\r\n\r\nbody\r\n";

fn draft() -> Draft {
    let mut scan = Scan::structured();
    scan.take(MESSAGE.as_bytes());
    Arc::new(scan.finish()).draft()
}

fn asked(draft: &Draft) -> Question<'_> {
    Question { message: Some(draft), ..question(Stage::Message) }
}

fn header(name: &str, value: &[&str]) -> Match {
    let header = HeaderMatch { name: name.to_owned(), value: list(value) };
    Match { header: vec![header], ..Match::default() }
}

fn holds(matches: Match) -> bool {
    let set = compile(&[rule(&[Stage::Message], matches, Some(Decide::Discard))]);
    let draft = draft();
    set.message(&asked(&draft)).0.verdict == Some(MessageVerdict::Discard)
}

#[test]
fn keys() {
    let size = |least, most| Match { size: vec![SizeRange { least, most }], ..Match::default() };
    let signed = |how| Match { signed: vec![how], ..Match::default() };
    let attachment = |pattern| Match { attachment: list(&[pattern]), ..Match::default() };
    let not = |inner| Match { not: Some(Box::new(inner)), ..Match::default() };
    let length = MESSAGE.len() as u64;
    let table = [
        (Match::default(), true),
        (header("x-spam-flag", &[]), true),
        (header("X-Spam", &[]), false),
        (header("X-Spam-Flag", &["yes*"]), true),
        (header("X-Spam-Flag", &["no", "YES*"]), true),
        (header("X-Spam-Flag", &["no"]), false),
        (header("X-Internal", &["b"]), true),
        (header("Subject", &["caf\u{e9} and more"]), true),
        (not(header("Subject", &["caf*"])), false),
        (attachment("*.exe"), false),
        (attachment("multipart/*"), true),
        (Match { mime_fault: true, ..Match::default() }, true),
        (size(length, length), true),
        (size(length + 1, u64::MAX), false),
        (signed(Signature::Dkim), true),
        (signed(Signature::Arc), false),
        (signed(Signature::Pgp), true),
        (signed(Signature::Smime), false),
        (to_recipient("jones@example.net"), true),
        (to_recipient("*@example.net"), true),
        (to_recipient("smith@example.net"), false),
        (Match { sender: list(&["s@src.example"]), ..Match::default() }, true),
        (Match { sender: list(&["t@src.example"]), ..Match::default() }, false),
    ];
    for (matches, expected) in table {
        assert_eq!(holds(matches.clone()), expected, "{matches:?}");
    }
}

#[test]
fn each_rule_sees_the_edits_of_those_before() {
    let edits = |matches, remove: &[&str], add: &[&str], decide| {
        let mut rule = rule(&[Stage::Message], matches, decide);
        rule.actions.remove_header = list(remove);
        rule.actions.add_header = list(add);
        rule
    };
    let set = compile(&[
        edits(Match::default(), &["X-Internal", "X-None"], &["X-A: 1", "X-B: 2"], None),
        edits(header("X-Internal", &[]), &[], &["X-Wrong: 1"], None),
        edits(Match::default(), &["X-None"], &[], None),
        edits(header("X-B", &["2"]), &[], &["X-C: 3"], Some(Decide::Accept)),
        edits(Match::default(), &[], &["X-Never: 1"], None),
    ]);
    let mut draft = draft();
    let (answer, by) = set.message(&asked(&draft));
    assert_eq!(by, [RuleId(0), RuleId(3)]);
    assert_eq!(answer.verdict, Some(MessageVerdict::Accept));
    answer.edits.iter().for_each(|edit| draft.apply(edit));
    let names: Vec<_> = draft.fields().map(|field| String::from_utf8_lossy(field.name())).collect();
    assert_eq!(names[..4], ["X-C", "X-A", "X-B", "X-Spam-Flag"]);
    assert!(!names.iter().any(|name| name.eq_ignore_ascii_case("x-internal")));
}

#[test]
fn verdicts() {
    let verdict = |decide| compile(&[rule(&[Stage::Message], Match::default(), decide)]);
    let draft = draft();
    let said = |decide| verdict(decide).message(&asked(&draft)).0.verdict;
    assert!(matches!(said(says("550 no")), Some(MessageVerdict::Reply(_))));
    let route = Decide::Route { upstream: "branch".to_owned() };
    assert_eq!(said(Some(route)), Some(MessageVerdict::Route(PoolId(1))));
    assert_eq!(said(Some(Decide::Disconnect(None))), Some(MessageVerdict::Disconnect(None)));
    assert_eq!(said(None), None);
}
