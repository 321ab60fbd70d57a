//! Rules with maps: who is meant, what is rewritten, where it goes, and what the next rule sees.

use std::path::PathBuf;

use super::*;
use crate::config::types::Rung as WrittenRung;

const FILE: &str = "moved@example.net there@example.org\n\
                    gone@example.net upstream:legacy\n\
                    both@example.net @example.org upstream:branch\n\
                    same@example.net SAME@example.net\n\
                    .example.net upstream:branch\n";

/// Compiles rules whose maps all stand in the file `maps` writes.
fn compile_with(rules: impl FnOnce(PathBuf) -> Vec<Written>) -> RuleSet {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recipients.map");
    std::fs::write(&file, FILE).unwrap();
    let rules = rules(file);
    let (maps, errors) = Maps::load(&rules, &["main", "branch", "legacy"]);
    assert_eq!(errors, []);
    assert_eq!(maps.iter().count(), 1, "each file is read once");
    RuleSet::compile(&rules, &pools, &maps, &[]).unwrap()
}

fn ask(set: &RuleSet, recipient: &'static str) -> (Option<String>, Option<CommandVerdict>, usize) {
    let mut asked = question(Stage::Rcpt);
    asked.recipient = Some(path(recipient.as_bytes()));
    let answer = set.command(&asked);
    let recipient = answer.rewrites.recipient.map(|to| String::from_utf8(to.into()).unwrap());
    (recipient, answer.verdict, answer.by.len())
}

#[test]
fn a_map_rewrites_and_routes_whom_it_knows() {
    let set = compile_with(|file| {
        vec![
            rule(&[Stage::Rcpt], Match::default(), Some(Decide::Map(file.clone()))),
            moves("*@example.org", template("{local}@seen.example")),
            rule(&[Stage::Rcpt], to_recipient("late@example.net"), Some(Decide::Map(file))),
        ]
    });
    let route = |pool| Some(CommandVerdict::Route(PoolId(pool)));
    // One that is only rewritten goes on to later rules, as any rewrite does.
    assert_eq!(ask(&set, "Moved@Example.NET"), (Some("there@seen.example".to_owned()), None, 2));
    assert_eq!(ask(&set, "gone@example.net"), (None, route(2), 1));
    assert_eq!(ask(&set, "Both@example.net"), (Some("Both@example.org".to_owned()), route(1), 1));
    assert_eq!(ask(&set, "a@b.example.net"), (None, route(1), 1));
    assert_eq!(ask(&set, "late@example.net"), (None, None, 0));
    assert_eq!(ask(&set, "SAME@example.net"), (None, None, 0), "what stays as it is was not rewritten");
}

#[test]
fn a_map_is_asked_only_where_the_rule_matches() {
    let set = compile_with(|file| {
        let mut mapped = rule(&[Stage::Rcpt], to_recipient("moved@*"), Some(Decide::Map(file)));
        mapped.actions.rewrites.parameters =
            Some(crate::config::types::Parameters { remove: vec![], add: list(&["NOTIFY=NEVER"]) });
        vec![mapped]
    });
    let mut asked = question(Stage::Rcpt);
    for (recipient, parameters) in [
        ("moved@example.net", Some(&b"NOTIFY=NEVER"[..])),
        ("gone@example.net", None),
        ("moved@x.test", None),
    ] {
        asked.recipient = Some(path(recipient.as_bytes()));
        assert_eq!(set.command(&asked).rewrites.parameters.as_deref(), parameters, "{recipient}");
    }
}

#[test]
fn a_rung_is_looked_up_and_left_out_where_nothing_is_found() {
    let rung = |map: Option<&PathBuf>, upstream: Option<&str>| WrittenRung {
        recipient: None,
        upstream: upstream.map(str::to_owned),
        mx: None,
        map: map.cloned(),
    };
    let set = compile_with(|file| {
        let both = vec![rung(Some(&file), None), rung(None, Some("main"))];
        vec![
            rule(
                &[Stage::RcptReply],
                to_recipient("*@example.net"),
                Some(Decide::Retry(vec![rung(Some(&file), None)])),
            ),
            rule(&[Stage::RcptReply], to_recipient("*"), Some(Decide::Retry(both))),
        ]
    });
    let refusal = reply("550 5.1.1 who");
    let heard = |recipient: &'static str| {
        let mut asked = question(Stage::RcptReply);
        asked.recipient = Some(path(recipient.as_bytes()));
        match set.reply(&asked, refusal.as_ref(), None) {
            Some((ReplyVerdict::Retry(rungs), by)) => (by.0, rungs),
            other => panic!("{recipient}: {other:?}"),
        }
    };
    let (main, branch) = (PoolId(0), PoolId(1));
    let to = |recipient: &str| Some(recipient.as_bytes().into());
    assert_eq!(
        heard("moved@example.net"),
        (0, vec![Rung { recipient: to("there@example.org"), pool: None, mx: None }])
    );
    assert_eq!(
        heard("both@example.net"),
        (0, vec![Rung { recipient: to("both@example.org"), pool: Some(branch), mx: None }])
    );
    // A ladder without a rung is none: the next rule is asked.
    assert_eq!(
        heard("stranger@example.net"),
        (1, vec![Rung { recipient: None, pool: Some(main), mx: None }])
    );
}

#[test]
fn maps_only_where_there_is_a_recipient_to_rewrite() {
    for stage in [Stage::Mail, Stage::Data, Stage::RcptReply] {
        let rules = [rule(&[stage], Match::default(), Some(Decide::Map("x".into())))];
        let errors = RuleSet::compile(&rules, &pools, &Maps::default(), &[]).unwrap_err();
        assert!(!errors.is_empty(), "{stage:?}");
    }
}
