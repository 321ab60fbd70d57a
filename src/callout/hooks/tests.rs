//! Answers of scanners: draft-01's lists and patches, in both encodings, and what they come to at each stage.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::Uri;

use super::EXTENSION;
use super::agreed::{Agreed, Offer};
use super::invocation::Question;
use super::value::{Encoding, Value, member, object};
use crate::callout::answer::Grants;
use crate::callout::{Asked, Content};
use crate::config::types::{OnQuarantine, Serialization};
use crate::message::{Edit, Scan};
use crate::session::callout::CalloutAnswer;
use crate::session::route::PoolId;
use crate::session::verdict::{
    CommandVerdict, EnvelopeEdit, MessageAnswer, MessageVerdict, ReplyVerdict, Rewrites, Rung, Stage,
};
use crate::smtp::Reply;
use crate::spool::Kept;

const MESSAGE: &[u8] =
    b"Received: from a\r\n by b\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nX-Odd:\xff \r\n\r\nHi\r\n";

fn json(text: &str) -> Value {
    Encoding::Json.read(text.as_bytes()).unwrap()
}

fn offer(extensions: &str) -> Offer {
    let document = format!(
        r#"{{"version": "1.0", "endpoints": {{"registration": "/v1/register", "deregistration": "/v1/{{registration_id}}"}},
            "serialization": ["json", "cbor"],
            "capabilities": {{"outbound": null, "inbound": {{
                "stages": ["connect", "ehlo", "mail", "rcpt", "data"], "actions": ["accept", "reject"],
                "fetchProperties": ["/stage"],
                "updateProperties": ["/action", "/response", "/envelope", "/message/headers", "/message/subject",
                                     "/rawMessage", "/client"]}}}},
            "limits": {{"maxMessageSize": 1000}}, "extensions": {extensions}}}"#
    );
    Offer::read(&json(&document), &Uri::from_static("https://scanner.example/")).unwrap()
}

const REGISTERED: &str = r#"{"registrationId": "reg:1-a_B", "status": "active", "createdAt": "2026-05-08T10:00:00Z",
    "expiresAt": "2026-05-08T11:00:00Z", "hookEndpoint": "https://scanner.example:443/v1/hook?x=1",
    "negotiated": {"serialization": "json", "outbound": null,
        "inbound": {"stages": ["connect", "ehlo", "mail", "rcpt", "data"], "properties": ["/stage", "/client/ip"]}},
    "endpoints": {"deregistration": "end", "status": "/v1/status"}}"#;

fn agreed() -> Agreed {
    let registered = Uri::from_static("https://scanner.example/v1/register");
    offer(r#"["org.gatepost"]"#).agree(&json(REGISTERED), &registered, SystemTime::UNIX_EPOCH).unwrap()
}

fn question(stage: Stage) -> Value {
    let from = json(r#"{"address": "a@example.org", "parameters": {"SIZE": "100"}}"#);
    let to = json(
        r#"[{"address": "b@example.net", "parameters": {}}, {"address": "c@example.net", "parameters": {"NOTIFY": "NEVER"}}]"#,
    );
    let field =
        |name: &str, value: &str| object([("name", Value::from(name)), ("value", Value::from(value))]);
    let headers = vec![
        field("Received", " from a\r\n by b"),
        field("Subject", " =?utf-8?q?gr=C3=BC=C3=9Fe?="),
        field("X-Odd", "\u{fffd} "),
    ];
    let message = object([("headers", Value::Array(headers)), ("subject", Value::from("gr\u{fc}\u{df}e"))]);
    let refused = stage.is_reply();
    let response = r#"{"code": 550, "enhancedCode": "5.1.1", "message": "No such user"}"#;
    object([
        ("action", Value::from(if refused { "reject" } else { "accept" })),
        ("response", if refused { json(response) } else { Value::Null }),
        ("envelope", object([("from", from), ("to", if stage == Stage::Mail { json("[]") } else { to })])),
        ("message", if stage == Stage::Message { message } else { Value::Null }),
    ])
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
}

/// What an answer comes to, the same in both encodings.
fn said_by(stage: Stage, answer: &str, discard: bool) -> Result<CalloutAnswer, String> {
    let pools = [("legacy".into(), PoolId(1))];
    let grants = Grants { pools: pools.into(), attempts: 3, line: 512, discard };
    let mut scan = Scan::default();
    scan.take(MESSAGE);
    let draft = Arc::new(scan.finish()).draft();
    let content = Content { draft, kept: Kept::of_memory(MESSAGE.to_vec()) };
    let content = (stage == Stage::Message).then_some(content);
    let both = [Encoding::Json, Encoding::Cbor].map(|encoding| {
        let value = encoding.read(&encoding.write(&json(answer))).unwrap();
        let question = Encoding::Cbor.write(&question(stage)).into();
        let (session, transaction) = Default::default();
        let content = content.clone();
        let asked = Asked { stage, question, content, session, transaction };
        let question = Question::new(asked, OnQuarantine::Header).unwrap();
        let answered = run(question.answer(Some(value), &agreed(), &grants));
        answered.map_err(|fault| fault.to_string())
    });
    let [one, other] = both;
    assert_eq!(one, other, "{answer}");
    one
}

fn said(stage: Stage, answer: &str) -> Result<CalloutAnswer, String> {
    said_by(stage, answer, false)
}

fn reply(line: &str) -> Arc<Reply> {
    Arc::new(Reply::parse_written(&[line]).unwrap())
}

fn message(answer: &str) -> MessageAnswer {
    match said(Stage::Message, answer) {
        Ok(CalloutAnswer::Message(answer)) => *answer,
        other => panic!("{answer}: {other:?}"),
    }
}

fn pass(stage: Stage) -> CalloutAnswer {
    match stage {
        Stage::Message => CalloutAnswer::Message(Box::default()),
        stage if stage.is_reply() => CalloutAnswer::Reply(None),
        _ => CalloutAnswer::pass(),
    }
}

#[test]
fn what_was_agreed_upon() {
    let agreed = agreed();
    assert_eq!(agreed.hook, "/v1/hook?x=1");
    assert_eq!(agreed.end.as_ref().unwrap(), "/v1/end");
    assert_eq!(agreed.encoding, Encoding::Json);
    assert!(agreed.has_stage("data") && !agreed.has_stage("delivery"));
    assert!(agreed.tells("/client/ip") && !agreed.tells("/client") && !agreed.tells("/rawMessage"));
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_778_238_000);
    assert_eq!(agreed.expires, Some(end));
    assert!(agreed.renew.unwrap() < end);
    let wish = offer("null").registration(
        &["data"],
        Some(Serialization::Json),
        Duration::from_secs(9),
        "gate.example",
    );
    let wish = wish.unwrap();
    assert_eq!(member(&wish, "serialization"), Some(&Value::from("json")));
    assert_eq!(member(&wish, "timeoutMs"), Some(&Value::from(9000)));
    let fault = offer("[]").registration(&["delivery"], None, Duration::ZERO, "").unwrap_err();
    assert_eq!(fault.to_string(), "malformed: it is to be asked at delivery, and does not offer that");
}

#[test]
fn registrations_that_are_none() {
    let base = Uri::from_static("https://scanner.example/v1/register");
    for (was, is, wrong) in [
        ("\"active\"", "\"suspended\"", "refused: the registration is not active"),
        ("reg:1-a_B", "a/b", "malformed: registrationId is no name"),
        ("\"json\"", "\"xml\"", "malformed: negotiated.serialization was not offered"),
        (
            "scanner.example:443",
            "elsewhere.example",
            "malformed: hookEndpoint is not on the scanner's own host",
        ),
        (
            "https://scanner.example:443",
            "http://scanner.example:443",
            "malformed: hookEndpoint is not on the scanner's own host",
        ),
        (
            "https://scanner.example:443",
            "//elsewhere.example",
            "malformed: hookEndpoint is not on the scanner's own host",
        ),
        ("11:00:00Z", "11:00:00+00:00", "malformed: expiresAt is no date"),
        ("hookEndpoint", "hook", "malformed: hookEndpoint is missing"),
    ] {
        let answer = json(&REGISTERED.replace(was, is));
        let fault = offer("[]").agree(&answer, &base, SystemTime::now()).unwrap_err();
        assert_eq!(fault.to_string(), wrong);
    }
}

#[test]
fn nothing_is_said_in_many_ways() {
    for stage in [Stage::Connect, Stage::Mail, Stage::Rcpt, Stage::RcptReply, Stage::Message] {
        for answer in ["{}", "[]", "null", r#"{"set": null, "add": [], "delete": []}"#] {
            assert_eq!(said(stage, answer), Ok(pass(stage)), "{answer}");
        }
        let same = if stage.is_reply() { "reject" } else { "accept" };
        let answer = format!(r#"{{"set": [{{"path": "/action", "value": "{same}"}}]}}"#);
        assert_eq!(said(stage, &answer), Ok(pass(stage)));
    }
    // What is added and deleted again.
    let back = r#"{"add": [{"path": "/message/headers", "value": {"name": "A", "value": "b"}, "index": 1}],
                   "delete": [{"path": "/message/headers/1"}]}"#;
    assert_eq!(said(Stage::Message, back), Ok(pass(Stage::Message)));
}

#[test]
fn commands_are_refused_and_rewritten() {
    let refuse = r#"{"set": [{"path": "/action", "value": "reject"},
        {"path": "/response", "value": {"code": 451, "enhancedCode": "4.7.1", "message": "Later"}}]}"#;
    let by_patch = r#"[{"op": "replace", "path": "/action", "value": "reject"},
        {"op": "add", "path": "/response", "value": {"code": 451}},
        {"op": "add", "path": "/response/enhancedCode", "value": "4.7.1"},
        {"op": "add", "path": "/response/message", "value": "Later"},
        {"op": "test", "path": "/response/code", "value": 451}]"#;
    for answer in [refuse, by_patch] {
        let expected = CalloutAnswer::command(Some(CommandVerdict::Reply(reply("451 4.7.1 Later"))));
        assert_eq!(said(Stage::Rcpt, answer), Ok(expected));
    }
    let bare = r#"{"set": [{"path": "/action", "value": "reject"}]}"#;
    let refusal = CommandVerdict::Reply(reply("550 5.7.1 Command rejected"));
    assert_eq!(said(Stage::Mail, bare), Ok(CalloutAnswer::command(Some(refusal))));
    let disconnect = r#"{"set": [{"path": "/action", "value": "disconnect"}]}"#;
    assert_eq!(
        said(Stage::Connect, disconnect),
        Ok(CalloutAnswer::command(Some(CommandVerdict::Disconnect(None))))
    );
    let sender = r#"{"set": [{"path": "/envelope/from/address", "value": null},
        {"path": "/envelope/from/parameters/ENVID", "value": "x1"}]}"#;
    let rewrites = Rewrites {
        sender: Some(Box::default()),
        parameters: Some(b"SIZE=100 ENVID=x1"[..].into()),
        ..Rewrites::default()
    };
    let answer = CalloutAnswer::Command { rewrites, verdict: None, beside: None };
    assert_eq!(said(Stage::Mail, sender), Ok(answer));
    let recipient = r#"{"set": [{"path": "/envelope/to/1/address", "value": "d@example.net"}]}"#;
    let rewrites = Rewrites { recipient: Some(b"d@example.net"[..].into()), ..Rewrites::default() };
    let answer = CalloutAnswer::Command { rewrites, verdict: None, beside: None };
    assert_eq!(said(Stage::Rcpt, recipient), Ok(answer));
    let discard = r#"{"set": [{"path": "/action", "value": "discard"}]}"#;
    let swallowed = CommandVerdict::Reply(reply("250 2.1.5 Ok"));
    assert_eq!(said_by(Stage::Rcpt, discard, true), Ok(CalloutAnswer::command(Some(swallowed))));
    let routed = r#"[{"op": "add", "path": "/envelope/to/1/route", "value": {"queue": "legacy"}}]"#;
    assert_eq!(said(Stage::Rcpt, routed), Ok(CalloutAnswer::command(Some(CommandVerdict::Route(PoolId(1))))));
}

#[test]
fn refusals_are_replaced_and_tried_again() {
    let answer = r#"{"set": [{"path": "/response/message", "value": "Moved"}]}"#;
    let substitute = ReplyVerdict::Substitute(reply("550 5.1.1 Moved"));
    assert_eq!(said(Stage::RcptReply, answer), Ok(CalloutAnswer::Reply(Some(substitute))));
    let answer = r#"{"set": [{"path": "/envelope/to/1/address", "value": "d@example.net"}]}"#;
    let rung = Rung { recipient: Some(b"d@example.net"[..].into()), ..Rung::default() };
    let retry = CalloutAnswer::Reply(Some(ReplyVerdict::Retry(vec![rung.clone()])));
    assert_eq!(said(Stage::RcptReply, answer), Ok(retry));
    // In words of gatepost's own, a longer ladder.
    let answer = format!(
        r#"{{"add": [{{"path": "/ext/{EXTENSION}",
            "value": {{"verdict": {{"retry": [{{"recipient": "d@example.net"}}, {{"upstream": "legacy"}}]}}}}}}]}}"#
    );
    let ladder = vec![rung, Rung { pool: Some(PoolId(1)), ..Rung::default() }];
    assert_eq!(said(Stage::RcptReply, &answer), Ok(CalloutAnswer::Reply(Some(ReplyVerdict::Retry(ladder)))));
}

#[test]
fn messages_are_edited() {
    let answer = message(
        r#"{"set": [{"path": "/message/headers/1/value", "value": " [spam] x"}],
            "add": [{"path": "/message/headers", "value": {"name": "X-Spam", "value": "yes"}, "index": 0},
                    {"path": "/message/headers", "value": {"name": "X-Last", "value": "\tfolded\r\n it is"}},
                    {"path": "/envelope/to", "value": {"address": "e@example.net", "parameters": {"NOTIFY": "NEVER"}}}],
            "delete": [{"path": "/message/headers/1"}, {"path": "/envelope/to/0"}]}"#,
    );
    let fields = ["X-Spam: yes\r\n", "Subject: [spam] x\r\n"].map(|field| field.as_bytes().into());
    let kept: [Box<[u8]>; 2] = [b"X-Odd:\xff \r\n"[..].into(), b"X-Last:\tfolded\r\n it is\r\n"[..].into()];
    assert_eq!(answer.edits, [Edit::Header(fields.into_iter().chain(kept).collect())]);
    assert_eq!(
        answer.envelope,
        [
            EnvelopeEdit::Remove(b"b@example.net"[..].into()),
            EnvelopeEdit::Add { path: b"e@example.net"[..].into(), parameters: b"NOTIFY=NEVER"[..].into() },
        ]
    );
    // Parameters that are taken away are none.
    let bare = message(r#"{"delete": [{"path": "/envelope/from/parameters"}]}"#);
    let (path, parameters) = (b"a@example.org"[..].into(), Some(Box::default()));
    assert_eq!(bare.envelope, [EnvelopeEdit::Sender { path, parameters }]);
    // A field that is moved keeps its octets.
    let moved = message(r#"[{"op": "move", "from": "/message/headers/2", "path": "/message/headers/0"}]"#);
    let Some(Edit::Header(fields)) = moved.edits.first() else { panic!("{moved:?}") };
    assert_eq!(&*fields[0], b"X-Odd:\xff \r\n");
    let subject = message(r#"{"set": [{"path": "/message/subject", "value": "für alle"}]}"#);
    let Some(Edit::Header(fields)) = subject.edits.first() else { panic!("{subject:?}") };
    assert_eq!(&*fields[1], &b"Subject: =?UTF-8?B?ZsO8ciBhbGxl?=\r\n"[..]);
    let sender =
        message(r#"{"set": [{"path": "/envelope/from", "value": {"address": null, "parameters": {}}}]}"#);
    let parameters = Some(Box::default());
    assert_eq!(sender.envelope, [EnvelopeEdit::Sender { path: Box::default(), parameters }]);
    let raw = message(r#"{"set": [{"path": "/rawMessage", "value": "QTogYg0KDQpjDQo="}]}"#);
    assert_eq!(raw.edits, Edit::another(b"A: b\r\n\r\nc\r\n"));
    let held = message(r#"{"set": [{"path": "/action", "value": "quarantine"}]}"#);
    assert_eq!(held.edits, [Edit::Insert { at: 0, field: b"X-Quarantine: \r\n"[..].into() }]);
    let discard = r#"{"set": [{"path": "/action", "value": "discard"}]}"#;
    let verdict = Some(MessageVerdict::Discard);
    let discarded = CalloutAnswer::Message(Box::new(MessageAnswer { verdict, ..MessageAnswer::default() }));
    assert_eq!(said_by(Stage::Message, discard, true), Ok(discarded));
    // What is refused is not edited; what cannot be carried out is left out of a list.
    let answer = r#"{"set": [{"path": "/action", "value": "reject"}, {"path": "/message/subject", "value": "x"}],
                     "delete": [{"path": "/message/headers/9"}]}"#;
    let verdict = Some(MessageVerdict::Reply(reply("550 5.7.1 Message rejected")));
    assert_eq!(message(answer), MessageAnswer { verdict, ..MessageAnswer::default() });
}

#[test]
fn what_no_scanner_may_say() {
    let set = |path: &str, value: &str| format!(r#"{{"set": [{{"path": "{path}", "value": {value}}}]}}"#);
    for (stage, answer, wrong) in [
        (Stage::Rcpt, set("/rawMessage", "\"QTogYg0K\""), "not_allowed: a message is not changed at rcpt"),
        (Stage::Rcpt, set("/message/subject", "\"x\""), "not_allowed: a message is not changed at rcpt"),
        (
            Stage::Rcpt,
            r#"{"add": [{"path": "/message/headers", "value": {"name": "A", "value": "b"}}]}"#.to_owned(),
            "not_allowed: a message is not changed at rcpt",
        ),
        (
            Stage::Message,
            r#"[{"op": "add", "path": "/envelope/to/1/route", "value": {"queue": "legacy"}}]"#.to_owned(),
            "not_allowed: /envelope/to: a route is not allowed at message",
        ),
        (
            Stage::Message,
            r#"[{"op": "add", "path": "/envelope/to/1/status", "value": "failed"}]"#.to_owned(),
            "not_allowed: an address with a member that is not known",
        ),
        (Stage::Rcpt, set("/ext/org.gatepost", "5"), "malformed: /ext/org.gatepost has no verdict"),
        (Stage::Rcpt, "1".to_owned(), "malformed: neither an object nor a list"),
        (Stage::Rcpt, r#"{"set": 1}"#.to_owned(), "malformed: set is no list"),
        (Stage::Rcpt, r#"{"set": [{"path": "/action"}]}"#.to_owned(), "malformed: set[0].value is missing"),
        (Stage::Rcpt, set("action", "1"), "malformed: set[0].path is no JSON Pointer"),
        (Stage::Rcpt, set("/client/ip", "1"), "malformed: operation 0 is about what was not agreed upon"),
        (
            Stage::Rcpt,
            set("/ext/com.example", "1"),
            "malformed: operation 0 is about what was not agreed upon",
        ),
        (Stage::Rcpt, set("/action", "\"maybe\""), "malformed: /action is none that is known"),
        (
            Stage::Rcpt,
            set("/action", "\"discard\""),
            "not_allowed: reply: a 2xx at rcpt swallows the recipient, which needs effects: [discard]",
        ),
        (Stage::Mail, set("/action", "\"discard\""), "not_allowed: discard at mail"),
        (Stage::Mail, set("/action", "\"quarantine\""), "not_allowed: quarantine at mail"),
        (Stage::Message, set("/action", "\"discard\""), "not_allowed: discard: needs effects: [discard]"),
        (Stage::Rcpt, set("/response", r#"{"code": 550}"#), "not_allowed: a response without an action"),
        (
            Stage::RcptReply,
            set("/action", "\"accept\""),
            "not_allowed: an acceptance of what the hop has refused",
        ),
        (
            Stage::Rcpt,
            set("/envelope/from/address", "\"x@y\""),
            "not_allowed: /envelope/from: not allowed at rcpt",
        ),
        (
            Stage::Rcpt,
            set("/envelope/to/0/address", "\"x@y\""),
            "not_allowed: /envelope/to: only the recipient in question is changed, which is the last",
        ),
        (
            Stage::Rcpt,
            set("/envelope/to/1/address", "\"x y\""),
            "not_allowed: rewrite.recipient: not an address",
        ),
        (
            Stage::Rcpt,
            set("/envelope/to/1/route", r#"{"queue": "nobody"}"#),
            "not_allowed: route.upstream: no upstream is called \"nobody\"",
        ),
        (
            Stage::Message,
            set("/message/headers/0", r#"{"name": "A:b", "value": "c"}"#),
            "not_allowed: /message/headers/0 is not a header field",
        ),
        (
            Stage::Message,
            set("/message/headers/0", r#"{"name": "A", "value": "c\r\n\r\nd"}"#),
            "not_allowed: /message/headers/0 is not a header field",
        ),
        (
            Stage::Message,
            set("/message/headers/0/value", r#""c\nB: d""#),
            "not_allowed: /message/headers/0 is not a header field",
        ),
        (
            Stage::Message,
            set("/message/subject", r#""c\r\nB: d""#),
            "malformed: /message/subject is no line of text",
        ),
        (Stage::Message, set("/rawMessage", "\"%\""), "malformed: /rawMessage is not Base64 with padding"),
        (
            Stage::Rcpt,
            r#"[{"op": "steal", "path": ""}]"#.to_owned(),
            "malformed: [0].op is none that is known",
        ),
        (
            Stage::Rcpt,
            r#"[{"op": "remove", "path": "/envelope/to/7"}]"#.to_owned(),
            "malformed: operation 0 of a patch cannot be carried out",
        ),
        (
            Stage::Rcpt,
            r#"[{"op": "test", "path": "/action", "value": "reject"}]"#.to_owned(),
            "malformed: operation 0 of a patch cannot be carried out",
        ),
    ] {
        assert_eq!(said(stage, &answer), Err(wrong.to_owned()), "{answer}");
    }
    let refuse = |response: &str| {
        format!(
            r#"{{"set": [{{"path": "/action", "value": "reject"}}, {{"path": "/response", "value": {response}}}]}}"#
        )
    };
    for (response, wrong) in [
        (
            r#"{"code": 250}"#,
            "not_allowed: reply: a 2xx at rcpt swallows the recipient, which needs effects: [discard]",
        ),
        (r#"{"code": 999}"#, "not_allowed: reply: "),
        (r#"{"message": "no code"}"#, "malformed: /response/code is no number"),
        (r#"{"code": 550, "message": "a\r\n250 b"}"#, "malformed: /response/message has a line end"),
        (
            r#"{"code": 550, "enhancedCode": "4.0.0"}"#,
            "not_allowed: reply: an enhanced code of another class than the reply",
        ),
    ] {
        let fault = said(Stage::Rcpt, &refuse(response)).unwrap_err();
        assert!(fault.starts_with(wrong), "{response}: {fault}");
    }
    // What copies of themselves come to is bounded.
    let copies =
        vec![r#"{"op": "copy", "from": "/envelope/from", "path": "/envelope/from/x"}"#; 200].join(",");
    let fault = said(Stage::Mail, &format!("[{copies}]")).unwrap_err();
    assert!(fault.ends_with(" of a patch cannot be carried out"), "{fault}");
    let many = vec![r#"{"path": "/action"}"#; 1001].join(",");
    assert_eq!(
        said(Stage::Rcpt, &format!(r#"{{"delete": [{many}]}}"#)),
        Err("malformed: 1001 operations; at most 1000 are read".to_owned())
    );
}
