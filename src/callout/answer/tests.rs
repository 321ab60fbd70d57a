//! Every way an answer can be wrong, and what is said about it; and what the right ones mean.

use super::*;
use crate::session::route::Domain;
use crate::session::verdict::{CommandVerdict, ReplyVerdict, Rewrites, Rung};
use crate::smtp::Reply;

fn grants() -> Grants {
    let pools = [("main".into(), PoolId(0)), ("legacy".into(), PoolId(1))];
    Grants { pools: pools.into(), attempts: 2, line: 512, discard: false }
}

fn said(json: &str, stage: Stage) -> CalloutAnswer {
    decode(json.as_bytes(), stage, &grants()).unwrap_or_else(|fault| panic!("{json}: {fault}"))
}

fn fault(json: &[u8], stage: Stage) -> String {
    match decode(json, stage, &grants()) {
        Ok(said) => panic!("{}: {said:?}", json.escape_ascii()),
        Err(fault) => fault.to_string(),
    }
}

fn command(verdict: Option<CommandVerdict>) -> CalloutAnswer {
    CalloutAnswer::command(verdict)
}

fn rewrites(rewrites: Rewrites) -> CalloutAnswer {
    CalloutAnswer::Command { rewrites, verdict: None, beside: None }
}

fn reply(lines: &[&str]) -> std::sync::Arc<Reply> {
    Reply::parse_written(lines).unwrap().into()
}

#[test]
fn commands() {
    let octets = |text: &str| Some(text.as_bytes().into());
    let none = Rewrites::default;
    let table = [
        ("{}", Stage::Connect, command(None)),
        (" {\n} ", Stage::Data, command(None)),
        (r#"{"reply":null,"rewrite":null}"#, Stage::Rcpt, command(None)),
        (r#"{"accept":true}"#, Stage::Helo, command(Some(CommandVerdict::Accept))),
        (
            r#"{"reply":"550 5.7.1 No"}"#,
            Stage::Auth,
            command(Some(CommandVerdict::Reply(reply(&["550 5.7.1 No"])))),
        ),
        (
            r#"{"reply":["550-5.7.1 No","550 5.7.1 Never"]}"#,
            Stage::Data,
            command(Some(CommandVerdict::Reply(reply(&["550-5.7.1 No", "550 5.7.1 Never"])))),
        ),
        (
            r#"{"reply":"252 Perhaps"}"#,
            Stage::Other,
            command(Some(CommandVerdict::Reply(reply(&["252 Perhaps"])))),
        ),
        (
            r#"{"route":{"upstream":"legacy"}}"#,
            Stage::Connect,
            command(Some(CommandVerdict::Route(PoolId(1)))),
        ),
        (r#"{"disconnect":true}"#, Stage::Connect, command(Some(CommandVerdict::Disconnect(None)))),
        (
            r#"{"disconnect":["421-4.7.0 a","421 4.7.0 b"]}"#,
            Stage::Other,
            command(Some(CommandVerdict::Disconnect(Some(reply(&["421-4.7.0 a", "421 4.7.0 b"]))))),
        ),
        (
            r#"{"rewrite":{"recipient":"\"a b\"@new.example"}}"#,
            Stage::Rcpt,
            rewrites(Rewrites { recipient: octets("\"a b\"@new.example"), ..none() }),
        ),
        (
            r#"{"rewrite":{"recipient":{"base64":"/0BleC50ZXN0"}}}"#,
            Stage::Rcpt,
            rewrites(Rewrites { recipient: Some(b"\xff@ex.test"[..].into()), ..none() }),
        ),
        (r#"{"rewrite":{"sender":"<>"}}"#, Stage::Mail, rewrites(Rewrites { sender: octets(""), ..none() })),
        (
            r#"{"rewrite":{"parameters":{"RET":"HDRS","SMTPUTF8":""}}}"#,
            Stage::Mail,
            rewrites(Rewrites { parameters: octets("RET=HDRS SMTPUTF8"), ..none() }),
        ),
        (
            r#"{"rewrite":{"parameters":{}}}"#,
            Stage::Rcpt,
            rewrites(Rewrites { parameters: octets(""), ..none() }),
        ),
        (
            r#"{"rewrite":{"helo":"[192.0.2.1]"}}"#,
            Stage::Helo,
            rewrites(Rewrites { helo: octets("[192.0.2.1]"), ..none() }),
        ),
        (
            r#"{"rewrite":{"recipient":"a@b.example"},"accept":true}"#,
            Stage::Rcpt,
            CalloutAnswer::Command {
                rewrites: Rewrites { recipient: octets("a@b.example"), ..none() },
                verdict: Some(CommandVerdict::Accept),
                beside: None,
            },
        ),
    ];
    for (json, stage, expected) in table {
        assert_eq!(said(json, stage), expected, "{json}");
    }
    let granted = Grants { discard: true, ..grants() };
    let swallowed = decode(br#"{"reply":"250 2.1.5 Ok"}"#, Stage::Rcpt, &granted);
    assert_eq!(swallowed, Ok(command(Some(CommandVerdict::Reply(reply(&["250 2.1.5 Ok"]))))));
}

#[test]
fn replies() {
    let table = [
        ("{}", Stage::RcptReply, None),
        (r#"{"accept":true}"#, Stage::MessageReply, Some(ReplyVerdict::Accept)),
        (
            r#"{"substitute":"550 5.1.1 No such mailbox"}"#,
            Stage::RcptReply,
            Some(ReplyVerdict::Substitute(reply(&["550 5.1.1 No such mailbox"]))),
        ),
        (r#"{"disconnect":true}"#, Stage::ConnectReply, Some(ReplyVerdict::Disconnect(None))),
        (
            r#"{"retry":[{"recipient":"a@b.example"},{"recipient":"c@d.example","upstream":"main"}]}"#,
            Stage::RcptReply,
            Some(ReplyVerdict::Retry(vec![
                Rung { recipient: Some(b"a@b.example"[..].into()), ..Rung::default() },
                Rung { recipient: Some(b"c@d.example"[..].into()), pool: Some(PoolId(0)), mx: None },
            ])),
        ),
        (
            r#"{"retry":[{"mx":"Legacy.example:2525"}]}"#,
            Stage::RcptReply,
            Some(ReplyVerdict::Retry(vec![Rung {
                mx: Some(Domain { name: "legacy.example".into(), port: 2525, pool: None }),
                ..Rung::default()
            }])),
        ),
    ];
    for (json, stage, expected) in table {
        assert_eq!(said(json, stage), CalloutAnswer::Reply(expected), "{json}");
    }
}

#[test]
fn what_is_malformed() {
    let table: &[(&[u8], &str)] = &[
        (b"", "EOF while parsing a value at line 1 column 0"),
        (b"{", "EOF while parsing an object at line 1 column 1"),
        (b"null", "invalid type: null, expected an object at line 1 column 4"),
        (b"[]", "invalid type: sequence, expected an object at line 1 column 2"),
        (b"{} {}", "trailing characters at line 1 column 4"),
        (b"<html>", "expected value at line 1 column 1"),
        (b"{\"reply\":\"550 \xff\"}", "reply: invalid unicode code point at line 1 column 15"),
        (br#"{"reply":"550 a""#, "EOF while parsing an object at line 1 column 16"),
        (
            br#"{"repli":"550 a"}"#,
            "repli: unknown field `repli`, expected one of `rewrite`, `reply`, `route`, `substitute`, `retry`, `remove_header`, `change_header`, `add_header`, `body`, `remove_recipient`, `add_recipient`, `discard`…",
        ),
        (br#"{"accept":true,"accept":true}"#, "duplicate field `accept` at line 1 column 23"),
        (br#"{"accept":false}"#, "accept: expected true; leave it out instead at line 1 column 16"),
        (
            br#"{"accept":"yes, joe@ex.test"}"#,
            "accept: invalid type: string \"…\", expected a boolean at line 1 column 28",
        ),
        (br#"{"disconnect":false}"#, "disconnect: expected true; leave it out instead at line 1 column 19"),
        (
            br#"{"disconnect":{}}"#,
            "disconnect: invalid type: map, expected true, or a reply at line 1 column 16",
        ),
        (
            br#"{"reply":550}"#,
            "reply: invalid type: integer `550`, expected a reply, such as \"…\", or a list of its lines at line 1 column 12",
        ),
        (
            br#"{"reply":["550 a",1]}"#,
            "reply[1]: invalid type: integer `1`, expected a string at line 1 column 19",
        ),
        (br#"{"retry":{}}"#, "retry: invalid type: map, expected a sequence at line 1 column 9"),
        (
            br#"{"retry":[{"upstrem":"main"}]}"#,
            "retry[0].upstrem: unknown field `upstrem`, expected one of `recipient`, `upstream`, `mx` at line 1 column 20",
        ),
        (
            br#"{"rewrite":{"recipient":["a@b"]}}"#,
            "rewrite.recipient: invalid type: sequence, expected text or {\"…\": …} at line 1 column 25",
        ),
        (
            br#"{"rewrite":{"recipient":{"base64":"!"}}}"#,
            "rewrite.recipient: not base64 with padding at line 1 column 38",
        ),
        (
            br#"{"rewrite":{"parameters":{"SIZE":1}}}"#,
            "rewrite.parameters.SIZE: invalid type: integer `1`, expected text or {\"…\": …} at line 1 column 34",
        ),
        (br#"{"route":{}}"#, "route: missing field `upstream` at line 1 column 11"),
        (
            br#"{"route":"legacy"}"#,
            "route: invalid type: string \"…\", expected an object at line 1 column 17",
        ),
    ];
    let mut differences = String::new();
    for (json, expected) in table {
        let (said, expected) = (fault(json, Stage::Rcpt), format!("malformed: {expected}"));
        if said != expected {
            differences
                .push_str(&format!("{}\n  said     {said}\n  expected {expected}\n", json.escape_ascii()));
        }
    }
    assert!(differences.is_empty(), "{differences}");
    let deep = "[".repeat(60_000);
    assert!(
        fault(format!("{{\"retry\":{deep}").as_bytes(), Stage::RcptReply).starts_with("malformed: retry")
    );
    let long = fault(format!("{{\"{}\":1}}", "x\\n".repeat(20_000)).as_bytes(), Stage::Rcpt);
    assert!(long.chars().count() < 300 && !long.contains('\n'), "{long}");
}

#[test]
fn what_is_not_allowed() {
    let longest = format!("\"{}@ex.test\"", "x".repeat(600));
    let table: &[(&str, Stage, &str)] = &[
        (r#"{"rewrite":{"sender":"a@b"}}"#, Stage::Connect, "rewrite: not allowed at connect"),
        (r#"{"rewrite":{"sender":"a@b"}}"#, Stage::Rcpt, "rewrite.sender: not allowed at rcpt"),
        (r#"{"rewrite":{"recipient":"a@b"}}"#, Stage::Mail, "rewrite.recipient: not allowed at mail"),
        (r#"{"rewrite":{"parameters":{}}}"#, Stage::Helo, "rewrite.parameters: not allowed at helo"),
        (r#"{"rewrite":{"recipient":"a@b"}}"#, Stage::RcptReply, "rewrite: not allowed at rcpt-reply"),
        (r#"{"reply":"550 a"}"#, Stage::RcptReply, "reply: not allowed at rcpt-reply"),
        (r#"{"substitute":"550 a"}"#, Stage::Rcpt, "substitute: not allowed at rcpt"),
        (r#"{"retry":[{"upstream":"main"}]}"#, Stage::MailReply, "retry: not allowed at mail-reply"),
        (r#"{"route":{"upstream":"main"}}"#, Stage::Data, "route: not allowed at data"),
        (r#"{"route":{"upstream":"main"}}"#, Stage::RcptReply, "route: not allowed at rcpt-reply"),
        (r#"{"disconnect":true}"#, Stage::MessageReply, "disconnect: not allowed at message-reply"),
        (r#"{"reply":"550 a","accept":true}"#, Stage::Rcpt, "accept: contradicts reply"),
        (
            r#"{"substitute":"550 a","retry":[{"upstream":"main"}]}"#,
            Stage::RcptReply,
            "retry: contradicts substitute",
        ),
        (r#"{"rewrite":{"recipient":"a b@c"}}"#, Stage::Rcpt, "rewrite.recipient: not an address"),
        (r#"{"rewrite":{"recipient":""}}"#, Stage::Rcpt, "rewrite.recipient: not an address"),
        (r#"{"rewrite":{"recipient":"<>"}}"#, Stage::Rcpt, "rewrite.recipient: not an address"),
        (r#"{"rewrite":{"recipient":"<a@b>"}}"#, Stage::Rcpt, "rewrite.recipient: not an address"),
        (r#"{"rewrite":{"recipient":"a@b\r\nDATA"}}"#, Stage::Rcpt, "rewrite.recipient: not an address"),
        (r#"{"rewrite":{"recipient":"a@b\u0000"}}"#, Stage::Rcpt, "rewrite.recipient: not an address"),
        (
            r#"{"rewrite":{"recipient":{"base64":"YUBiDQo="}}}"#,
            Stage::Rcpt,
            "rewrite.recipient: not an address",
        ),
        (r#"{"rewrite":{"sender":"a@b> SIZE=1"}}"#, Stage::Mail, "rewrite.sender: not an address"),
        (r#"{"rewrite":{"helo":"a b"}}"#, Stage::Helo, "rewrite.helo: not one word of printable ASCII"),
        (r#"{"rewrite":{"helo":"a\r\nQUIT"}}"#, Stage::Helo, "rewrite.helo: not one word of printable ASCII"),
        (r#"{"rewrite":{"helo":""}}"#, Stage::Helo, "rewrite.helo: not one word of printable ASCII"),
        (
            r#"{"rewrite":{"parameters":{"RET":"a b"}}}"#,
            Stage::Mail,
            "rewrite.parameters.RET: not a parameter",
        ),
        (
            r#"{"rewrite":{"parameters":{"RET":"a\r\nb"}}}"#,
            Stage::Mail,
            "rewrite.parameters.RET: not a parameter",
        ),
        (
            r#"{"rewrite":{"parameters":{"RET":"HDRS\r\n"}}}"#,
            Stage::Mail,
            "rewrite.parameters.RET: not a parameter",
        ),
        (
            r#"{"rewrite":{"parameters":{"RET":"HDRS "}}}"#,
            Stage::Mail,
            "rewrite.parameters.RET: not a parameter",
        ),
        (r#"{"rewrite":{"parameters":{"A B":""}}}"#, Stage::Mail, "rewrite.parameters.A B: not a parameter"),
        (r#"{"rewrite":{"parameters":{"":"x"}}}"#, Stage::Mail, "rewrite.parameters.: not a parameter"),
        (r#"{"rewrite":{"parameters":{"A=b":"c"}}}"#, Stage::Mail, "rewrite.parameters.A=b: not a parameter"),
        (
            r#"{"rewrite":{"parameters":{"RET":"HDRS","ret":"FULL"}}}"#,
            Stage::Mail,
            "rewrite.parameters: too many, or one of them twice",
        ),
        (
            r#"{"rewrite":{"parameters":{"RET":"HDRS","RET":"FULL"}}}"#,
            Stage::Mail,
            "rewrite.parameters: too many, or one of them twice",
        ),
        (r#"{"route":{"upstream":"legcy"}}"#, Stage::Rcpt, "route.upstream: no upstream is called \"legcy\""),
        (
            r#"{"retry":[{"upstream":"main"},{"upstream":"x\ny"}]}"#,
            Stage::RcptReply,
            "retry[1].upstream: no upstream is called \"x\\ny\"",
        ),
        (r#"{"retry":[]}"#, Stage::RcptReply, "retry: 0 attempts; from 1 to limits.attempts (2)"),
        (
            r#"{"retry":[{"upstream":"main"},{"upstream":"main"},{"upstream":"main"}]}"#,
            Stage::RcptReply,
            "retry: 3 attempts; from 1 to limits.attempts (2)",
        ),
        (r#"{"retry":[{}]}"#, Stage::RcptReply, "retry[0]: needs recipient, upstream or mx"),
        (
            r#"{"retry":[{"upstream":"main","mx":"legacy.example"}]}"#,
            Stage::RcptReply,
            "retry[0].mx: contradicts upstream: an attempt has only one of them",
        ),
        (
            r#"{"retry":[{"mx":"192.0.2.1"}]}"#,
            Stage::RcptReply,
            "retry[0].mx: not a domain, such as legacy.example or legacy.example:2525",
        ),
        (
            r#"{"retry":[{"mx":"legacy.example:0"}]}"#,
            Stage::RcptReply,
            "retry[0].mx: not a domain, such as legacy.example or legacy.example:2525",
        ),
        (
            r#"{"retry":[{"recipient":"nobody at all"}]}"#,
            Stage::RcptReply,
            "retry[0].recipient: not an address",
        ),
        (
            r#"{"reply":"250 2.1.5 Ok"}"#,
            Stage::Rcpt,
            "reply: a 2xx at rcpt swallows the recipient, which needs effects: [discard]",
        ),
        (r#"{"reply":"250 Ok"}"#, Stage::Mail, "reply: a reply at mail is 4xx or 5xx"),
        (r#"{"reply":"354 Go"}"#, Stage::Data, "reply: a reply is never 3xx"),
        (r#"{"reply":"999 a"}"#, Stage::Rcpt, "reply: a reply's code is 200 to 599"),
        (r#"{"reply":"199 a"}"#, Stage::Rcpt, "reply: a reply's code is 200 to 599"),
        (r#"{"reply":"499 a"}"#, Stage::Rcpt, "reply: 499 is no reply code"),
        (r#"{"reply":"599 a"}"#, Stage::Rcpt, "reply: 599 is no reply code"),
        (
            r#"{"reply":"go away"}"#,
            Stage::Rcpt,
            "reply: a reply begins with three digits, such as \"550 5.7.1 Go away\"",
        ),
        (r#"{"reply":[]}"#, Stage::Rcpt, "reply: a reply needs at least one line"),
        (r#"{"reply":["550-a","551 b"]}"#, Stage::Rcpt, "reply: all lines of a reply have the same code"),
        (
            r#"{"reply":"550-a"}"#,
            Stage::Rcpt,
            "reply: behind the code of a reply's last line stands a space, not \"-\"",
        ),
        (r#"{"reply":"550 a\r\n250 b"}"#, Stage::Rcpt, "reply: a reply has no control characters in it"),
        (r#"{"reply":"550 a\nb"}"#, Stage::Rcpt, "reply: a reply has no control characters in it"),
        (r#"{"reply":"550 a\u0000"}"#, Stage::Rcpt, "reply: a reply has no control characters in it"),
        (r#"{"reply":"550 Zürich"}"#, Stage::Rcpt, "reply: a reply is ASCII"),
        (
            r#"{"reply":"550 4.1.1 a"}"#,
            Stage::Rcpt,
            "reply: an enhanced code of another class than the reply",
        ),
        (r#"{"substitute":"354 Go"}"#, Stage::DataReply, "substitute: never makes a 3xx"),
        (
            r#"{"substitute":"250 a"}"#,
            Stage::HeloReply,
            "substitute: only a 4xx or 5xx may be put in at helo-reply",
        ),
        (r#"{"disconnect":"250 a"}"#, Stage::Rcpt, "disconnect: the last reply to a client is 4xx or 5xx"),
    ];
    for (json, stage, expected) in table {
        assert_eq!(fault(json.as_bytes(), *stage), format!("not_allowed: {expected}"), "{json}");
    }
    let too_long = [
        (format!("{{\"rewrite\":{{\"recipient\":{longest}}}}}"), Stage::Rcpt, "rewrite.recipient"),
        (
            format!("{{\"rewrite\":{{\"parameters\":{{\"X\":{longest}}}}}}}"),
            Stage::Mail,
            "rewrite.parameters",
        ),
        (format!("{{\"retry\":[{{\"recipient\":{longest}}}]}}"), Stage::RcptReply, "retry[0].recipient"),
    ];
    for (json, stage, key) in too_long {
        assert_eq!(
            fault(json.as_bytes(), stage),
            format!("not_allowed: {key}: longer than limits.command_line")
        );
    }
    let beyond = format!("{{\"rewrite\":{{\"recipient\":\"{}@b.example\"}}}}", "a".repeat(991));
    let wide = Grants { line: 2048, ..grants() };
    let fault_of = |json: &str| decode(json.as_bytes(), Stage::Rcpt, &wide).unwrap_err().to_string();
    assert_eq!(fault_of(&beyond), "not_allowed: rewrite.recipient: longer than 1000 octets");
    let each = "a".repeat(990);
    let together =
        format!("{{\"rewrite\":{{\"recipient\":\"{each}@b\",\"parameters\":{{\"X\":\"{each}{each}\"}}}}}}");
    assert_eq!(
        decode(together.as_bytes(), Stage::Rcpt, &Grants { line: 2048, ..grants() }).unwrap_err().to_string(),
        "not_allowed: rewrite: longer than limits.command_line"
    );
    let lines = format!("{{\"reply\":[{}]}}", vec!["\"550 a\""; 101].join(","));
    assert_eq!(fault(lines.as_bytes(), Stage::Rcpt), "not_allowed: reply: more than 100 lines");
    let line = format!("{{\"reply\":\"550 {}\"}}", "a".repeat(600));
    assert_eq!(
        fault(line.as_bytes(), Stage::Rcpt),
        "not_allowed: reply: a reply line is at most 512 octets with its code and line end"
    );
}

#[test]
fn what_a_parser_says_of_a_value_is_not_repeated() {
    assert_eq!(
        without_values("invalid type: string \"a \\\"secret\\\" b\", expected"),
        "invalid type: string \"…\", expected"
    );
    assert_eq!(without_values("missing field `upstream`"), "missing field `upstream`");
    assert_eq!(without_values("a\tb\u{1b}"), "a?b?");
}
