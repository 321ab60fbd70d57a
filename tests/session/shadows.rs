//! Callouts in shadow: what they are asked about, and what that is compared with.
//!
//! In:    scripts of `tests/dialogs`, with a callout in shadow at every stage.
//! Out:   each question, once, with what was decided.
//! Never: compares the dialogs: `tests/dialogs.rs` does, and they are the same.

use gatepost::session::io::{Decided, Shadow};
use gatepost::session::verdict::{CommandVerdict, ReplyVerdict};
use gatepost::smtp::Reply;

use crate::script::play::Play;
use crate::script::settings::Asked;

fn line(reply: &Reply) -> String {
    let first = reply.as_bytes().split(|&octet| octet == b'\r').next().unwrap();
    String::from_utf8_lossy(first).into_owned()
}

fn told(shadow: &Shadow) -> String {
    let decided = match &shadow.decided {
        Decided::Command(None) => "on".to_owned(),
        Decided::Command(Some(CommandVerdict::Reply(reply))) => line(reply),
        Decided::Command(Some(verdict)) => verdict.kind(shadow.stage).as_str().to_owned(),
        Decided::Message(verdict) => format!("message {}", verdict.is_some()),
        Decided::Reply(None, heard) => format!("as heard, {}", line(heard)),
        Decided::Reply(Some(ReplyVerdict::Substitute(reply)), _) => line(reply),
        Decided::Reply(Some(verdict), _) => verdict.kind().as_str().to_owned(),
    };
    format!("{} {}: {decided}", shadow.stage.as_str(), shadow.question.escape_ascii())
}

/// What was asked in shadow in a script's dialog.
fn asked(name: &str) -> Vec<String> {
    let played = Play::named(name).asking(Asked::Shadowed).run();
    played
        .shadows
        .iter()
        .map(told)
        .filter(|told| !told.starts_with("connect") && !told.starts_with("helo"))
        .collect()
}

#[test]
fn each_stage_once_with_what_was_decided() {
    assert_eq!(
        asked("callout-provides")[..8],
        [
            "mail smith@example.org: on",
            "mail-reply smith@example.org: as heard, 250 2.1.0 Sender ok",
            "rcpt jones@example.com: 450 4.7.1 Greylisted",
            "rcpt jones@example.com: 450 4.7.1 Greylisted",
            "rcpt jones@example.com: 550 5.1.1 Nobody here",
            "rcpt jones@example.com: 450 4.7.1 Not today",
            "rcpt jones@example.com: 451 4.3.0 Try again later [0000000000000001]",
            "rcpt jones@example.com: on",
        ]
    );
    let after_ladder = asked("retry-failed-ladder-asks-later-rules");
    let replies = after_ladder.iter().filter(|told| told.starts_with("rcpt-reply")).count();
    let commands = after_ladder.iter().filter(|told| told.starts_with("rcpt ")).count();
    assert_eq!(replies, commands, "once about each: {after_ladder:?}");
}

/// Of AUTH the mechanism alone, and no challenge (law 9).
#[test]
fn no_secret_is_shown() {
    let told = asked("callout-auth-challenge-is-not-shown");
    assert!(told.iter().any(|told| told.starts_with("auth ")), "{told:?}");
    assert!(!told.iter().any(|told| told.contains("334")), "{told:?}");
}
