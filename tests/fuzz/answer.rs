//! What a callout answers.
//!
//! **In**: octets as they are, spelled, and as a tree of JSON with keys and values that mean something, each at every
//! stage; and actions of a policy server. **Out**: an answer, or a fault. **Never** must: a fault show a value or have no bound; an answer be of another
//! kind than its stage; the session refuse, where the hop's reply admits it, what the decoder let through.

use std::fmt::Write as _;

use bolero::check;
use gatepost::callout::answer::{Grants, decode};
use gatepost::callout::policy;
use gatepost::session::callout::{CalloutAnswer, Fault, FaultKind};
use gatepost::session::verdict::{ReplyVerdict, Stage};
use gatepost::smtp::{Params, Path};

use super::octets::{Inputs, Octets, chosen, spelled};
use super::session::play::{grants, stage_of};
use super::session::shell::Shell;
use super::session::worlds;

const WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\"",
    b"true",
    b"null",
    b"1",
    b"\"rewrite\":",
    b"\"reply\":",
    b"\"route\":",
    b"\"substitute\":",
    b"\"retry\":",
    b"\"accept\":true",
    b"\"disconnect\":",
    b"\"upstream\":\"branch\"",
    b"\"mx\":",
    b"\"recipient\":",
    b"\"sender\":\"<>\"",
    b"\"helo\":",
    b"\"parameters\":{",
    b"{\"base64\":\"/w==\"}",
    b"\"550 5.7.1 No\"",
    b"\"250 2.0.0 Yes\"",
    b"\"joe@example.org\"",
    b"\"\"",
    b"\\u0000",
    b"\\r\\n",
    b"\\ud800",
];

/// Keys of an answer, of what stands in it, and of nothing.
const KEYS: &[&[&str]] = &[
    &["rewrite", "reply", "route", "substitute", "retry", "accept", "disconnect"],
    &["sender", "recipient", "helo", "parameters"],
    &["recipient", "upstream", "mx"],
    &["SIZE", "NOTIFY", "other", "", "base64"],
];

/// Texts that some key takes, and that none does.
const TEXTS: &[&str] = &[
    "550 5.7.1 No",
    "450 4.7.1 Not now",
    "250 2.1.5 Yes",
    "354 Go",
    "550-5.7.1 No",
    "550 2.0.0 No",
    "199 x",
    "567 x",
    "550 a\\r\\n250 b",
    "550 \\u0000",
    "550 \\u00fc",
    "joe@example.org",
    "<>",
    "joe@example.org> SIZE=1",
    "@",
    "a b@c",
    "\\\"a b\\\"@c",
    "\\u00fcml\\u00e4ut@example.org",
    "client.example.org",
    "client example",
    "branch",
    "domains",
    "nowhere",
    "legacy.example",
    "legacy.example:2525",
    "legacy.example:0",
    "192.0.2.1",
    "",
    "/w==",
    "!",
    "1000",
    "NEVER",
    "a=b",
    "x\\ty",
];

#[test]
fn answer() {
    check!(name = "answer").with_iterations(3_000).with_generator(Inputs).for_each(|Octets(input)| {
        let (stage, rest) = chosen(input);
        let mut tree = String::new();
        object(&mut &*rest, 0, 3, &mut tree);
        for octets in [rest, &spelled(rest, WORDS), tree.as_bytes()] {
            for grants in [grants(), Grants::default()] {
                decodes(octets, stage_of(usize::from(stage)), &grants);
            }
        }
        for octets in
            [rest, &spelled(rest, ACTIONS), &[b"action=", &*spelled(rest, ACTIONS), b"\n\n"].concat()]
        {
            for discard in [true, false] {
                acts(octets, OF_POLICY[usize::from(stage) % OF_POLICY.len()], discard);
            }
        }
    });
}

/// Where a policy server is asked.
const OF_POLICY: [Stage; 5] = [Stage::Connect, Stage::Helo, Stage::Mail, Stage::Rcpt, Stage::Data];

const ACTIONS: &[&[u8]] = &[
    b"action=",
    b"DUNNO",
    b"OK",
    b"REJECT",
    b"DEFER",
    b"DEFER_IF_PERMIT",
    b"DEFER_IF_REJECT",
    b"PREPEND",
    b"DISCARD",
    b"INFO",
    b"WARN",
    b"HOLD",
    b"FILTER",
    b"REDIRECT",
    b"BCC",
    b" ",
    b" ",
    b"\n",
    b"\r\n",
    b"\t",
    b"=",
    b"450",
    b"421",
    b"554",
    b"999",
    b"5",
    b"4.7.1",
    b"5.1.1",
    b"5.1.8",
    b"X-Y: z",
    b":",
    b"\r",
    b"\0",
    b"\xff",
    b"\xc3\xbc",
    b"text",
];

/// What a policy server says.
fn acts(octets: &[u8], stage: Stage, discard: bool) {
    const REQUEST: &[u8] = b"client_name=unknown\nclient_address=192.0.2.1\nhelo_name=c.example\nsender=\nrecipient=j@c.example\n\n";
    let name = || format!("at {}: {}", stage.as_str(), octets.escape_ascii());
    match policy::action(octets).and_then(|action| policy::decode(action, stage, REQUEST, discard)) {
        Err(fault) => is_bounded(&fault, &name()),
        Ok(answer) => {
            fits(&answer, stage, &grants(), &name());
            if discard {
                is_heeded(answer, stage, &name());
            }
        }
    }
}

fn is_bounded(fault: &Fault, name: &str) {
    assert!(matches!(fault.kind, FaultKind::Malformed | FaultKind::NotAllowed), "{name}");
    let bounded = fault.what.chars().count() <= 512 && !fault.what.chars().any(char::is_control);
    assert!(bounded, "{name}: {}", fault.what);
}

fn next(octets: &mut &[u8]) -> usize {
    let (next, rest) = chosen(octets);
    *octets = rest;
    usize::from(next)
}

/// An object with some keys, of which the first octets choose; most of them are of a kind.
fn object(octets: &mut &[u8], of: usize, depth: usize, out: &mut String) {
    out.push('{');
    for at in 0..next(octets).min(254) % 4 {
        let choice = next(octets);
        let keys = KEYS[if choice < 240 { of } else { choice % KEYS.len() }];
        let key = keys[choice % keys.len()];
        let _ = write!(out, "{}\"{key}\":", if at == 0 { "" } else { "," });
        match (key, next(octets)) {
            (_, 250..) => out.push_str("null"),
            _ if depth == 0 => out.push_str("null"),
            ("accept", 16..) => out.push_str("true"),
            ("rewrite", 16..) => object(octets, 1, depth - 1, out),
            ("route", 16..) => object(octets, 2, depth - 1, out),
            ("parameters", 16..) => object(octets, 3, depth - 1, out),
            ("retry", 16..) => list(octets, depth - 1, out),
            (_, kind) => value(octets, kind, depth - 1, out),
        }
    }
    out.push('}');
}

fn list(octets: &mut &[u8], depth: usize, out: &mut String) {
    out.push('[');
    for at in 0..next(octets) % 6 {
        out.push_str(if at == 0 { "" } else { "," });
        if depth == 0 { out.push_str("{}") } else { object(octets, 2, depth, out) }
    }
    out.push(']');
}

fn value(octets: &mut &[u8], kind: usize, depth: usize, out: &mut String) {
    match kind {
        ..180 => drop(write!(out, "\"{}\"", TEXTS[next(octets) % TEXTS.len()])),
        180..190 => out.push_str("true"),
        190..195 => out.push_str("17"),
        195..200 => list(octets, depth, out),
        200..210 => object(octets, 3, depth, out),
        210..220 => drop(write!(out, "\"{}\"", "x".repeat(next(octets) * 9))),
        _ => drop(write!(out, "[\"{}\",\"550 end\"]", TEXTS[next(octets) % TEXTS.len()])),
    }
}

fn decodes(octets: &[u8], stage: Stage, grants: &Grants) {
    let name = || format!("at {}: {}", stage.as_str(), octets.escape_ascii());
    match decode(octets, stage, grants) {
        Err(fault) => is_bounded(&fault, &name()),
        Ok(answer) => {
            fits(&answer, stage, grants, &name());
            assert_eq!(decode(octets, stage, grants).as_ref(), Ok(&answer), "{}", name());
            if grants.discard {
                is_heeded(answer, stage, &name());
            }
        }
    }
}

/// An answer's values can stand where they are to go.
fn fits(answer: &CalloutAnswer, stage: Stage, grants: &Grants, name: &str) {
    match answer {
        CalloutAnswer::Message(_) => panic!("a verdict for a message, which HTTP has none of"),
        CalloutAnswer::Reply(verdict) => {
            assert!(stage.is_reply(), "{name}");
            if let Some(ReplyVerdict::Retry(rungs)) = verdict {
                assert!((1..=grants.attempts).contains(&rungs.len()), "{name}");
                assert!(rungs.iter().all(|rung| rung.pool.is_none() || rung.mx.is_none()), "{name}");
            }
        }
        CalloutAnswer::Command { rewrites, .. } => {
            assert!(!stage.is_reply(), "{name}");
            let paths = [&rewrites.sender, &rewrites.recipient];
            assert!(paths.into_iter().flatten().all(|path| Path::parse(path).is_ok()), "{name}");
            assert!(
                rewrites.parameters.as_ref().is_none_or(|params| Params::parse(params).is_ok()),
                "{name}"
            );
            let word = |octet: &u8| octet.is_ascii_graphic();
            assert!(rewrites.helo.as_ref().is_none_or(|helo| helo.iter().all(word)), "{name}");
        }
    }
}

/// Tells it to a session that asks at this stage, and answers everything else with nothing.
fn is_heeded(answer: CalloutAnswer, stage: Stage, name: &str) {
    let mut shell = Shell::new(worlds::chosen(worlds::ASKS_EVERYWHERE));
    let refused = match &answer {
        // A refusal of what the hop did not refuse is lawful nearly everywhere; of a message it is not.
        CalloutAnswer::Reply(Some(ReplyVerdict::Substitute(reply))) => reply.code().is_negative(),
        CalloutAnswer::Reply(Some(ReplyVerdict::Retry(_))) => true,
        _ => false,
    };
    let mut lines: &[&[u8]] = &[
        b"EHLO client.example.org\r\n",
        b"NOOP\r\n",
        b"MAIL FROM:<joe@example.org> SIZE=1\r\n",
        b"RCPT TO:<jane@example.com>\r\n",
        b"DATA\r\n",
        b"Subject: x\r\n\r\ntext\r\n.\r\n",
    ];
    if matches!(stage, Stage::Auth | Stage::AuthReply) {
        lines = &[b"EHLO client.example.org\r\n", b"AUTH PLAIN AGEAYg==\r\n"];
    }
    let mut lines = lines.iter();
    loop {
        while shell.connects(true, false) {}
        match shell.question() {
            Some(asked) if asked == stage => break,
            Some(asked) => drop(shell.answers(nothing(asked))),
            None if shell.replies_to_all(refused.then_some(stage)) => {}
            None => match lines.next() {
                Some(line) => shell.sends(0, line),
                None => panic!("nobody is asked {name}"),
            },
        }
    }
    shell.answers(Ok(answer));
    assert!(shell.failed.is_empty(), "{name}: {:?}", shell.failed);
    shell.finish();
}

fn nothing(stage: Stage) -> Result<CalloutAnswer, gatepost::session::callout::Fault> {
    decode(b"{}", stage, &grants())
}
