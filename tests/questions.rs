//! The questions that `docs/callout.md` shows are those that one session asks.
//!
//! In:    the document; a dialog, whose client and hop are played here, with a callout asked at every stage.
//! Out:   each question the document shows, asked in that dialog, member for member.
//! Never: opens a socket: the session is pure, and its callout passes on everything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use gatepost::config;
use gatepost::hop::Registry;
use gatepost::prepare::{Names, prepare};
use gatepost::session::Session;
use gatepost::session::callout::CalloutAnswer;
use gatepost::session::io::{Ask, HopId, Input, Out, Output, Peer};
use gatepost::session::limiter::NoLimits;
use gatepost::session::settings::{Entrance, Settings};
use gatepost::session::verdict::Stage;
use gatepost::smtp::SessionId;
use serde_json::Value;

#[allow(dead_code, reason = "shared with others; not every test program uses all of it")]
#[path = "script/paper.rs"]
mod paper;

use paper::Paper;

const DOCUMENT: &str = include_str!("../docs/callout.md");

const YAML: &str = "\
hostname: mx.example.com
upstreams: { main: { hosts: [\"192.0.2.25:25\"] } }
callouts:
  - name: everything
    type: http
    url: \"http://127.0.0.1:8080/\"
    stages: [connect, helo, auth, mail, rcpt, data, other, connect-reply, helo-reply, auth-reply, mail-reply,
             rcpt-reply, data-reply, message-reply, other-reply]
";

/// One that is shown messages, so that they are kept, and the hop's word on DATA is part of its word on them.
const SHOWN_MESSAGES: &str =
    "  - { name: filter, type: http, url: \"http://127.0.0.1:8080/\", stages: message }\n";

/// What is said, and by whom: `C` the client, `S` the hop.
const DIALOG: &[(char, &str)] = &[
    ('S', "220 mx1.example.com ESMTP"),
    ('C', "EHLO client.example.org"),
    ('S', "250-mx1.example.com\r\n250-SIZE 52428800\r\n250 AUTH PLAIN"),
    ('C', "VRFY jones"),
    ('S', "502 5.5.1 Not implemented"),
    ('C', "AUTH PLAIN AGpvbmVzAHNlY3JldA=="),
    ('S', "535 5.7.8 Authentication failed"),
    ('C', "MAIL FROM:<smith@example.org> SIZE=1200"),
    ('S', "250 2.1.0 Sender ok"),
    ('C', "RCPT TO:<jones@example.com>"),
    ('S', "250 2.1.5 Recipient ok"),
    ('C', "RCPT TO:<doe@example.com>"),
    ('S', "550 5.1.1 No such user here"),
    ('C', "DATA"),
    ('S', "354 Go ahead"),
    ('C', "Subject: x\r\n\r\nsecret\r\n."),
    ('S', "550 5.7.1 Looks like spam"),
];

/// A session whose callout passes, and what it asked.
struct Play {
    session: Session,
    out: Out,
    now: Instant,
    asked: Vec<Value>,
    paper: Paper,
}

impl Play {
    fn new(settings: Arc<Settings>, entrance: Entrance) -> Play {
        let now = Instant::now();
        let session = Session::new(settings, entrance, SessionId(0x018f_6b2c_9d3e_4a51), now);
        let mut play = Play { session, out: Out::default(), now, asked: Vec::new(), paper: Paper::default() };
        play.session.start(now, &mut play.out);
        play.carry_out(&[]);
        play
    }

    fn hear(&mut self, from: Peer, line: &str) {
        let octets = format!("{line}\r\n");
        let mut rest = octets.as_bytes();
        while !rest.is_empty() {
            self.out.base = Some(0);
            let taken = self.session.receive(self.now, from, rest, &mut self.out);
            assert!(taken > 0, "nobody reads {line}");
            self.carry_out(rest);
            rest = &rest[taken..];
            if let Some(news) = self.paper.news() {
                self.session.handle(self.now, news, &mut self.out);
                self.carry_out(&[]);
            }
        }
    }

    /// `received`: what was heard last.
    fn carry_out(&mut self, received: &[u8]) {
        let outputs = std::mem::take(&mut self.out.outputs);
        let (orders, outputs): (Vec<_>, Vec<_>) =
            outputs.into_iter().partition(|output| matches!(output, Output::Spool(_)));
        for order in orders {
            if let Output::Spool(order) = order {
                self.paper.order(order);
            }
        }
        self.paper.take(self.out.tx[Peer::Spool.index()].slices(received));
        self.out.tx.iter_mut().for_each(|tx| tx.clear());
        for output in outputs {
            let input = match output {
                Output::Open { hop, .. } => Input::Opened(hop),
                Output::Ask(asked) => {
                    let Ask { ticket, stage, question, .. } = *asked;
                    self.asked.push(serde_json::from_slice(&question).expect("a question is JSON"));
                    Input::Told { ticket, answer: Ok(pass(stage)) }
                }
                _ => continue,
            };
            self.session.handle(self.now, input, &mut self.out);
            self.carry_out(&[]);
        }
    }
}

fn pass(stage: Stage) -> CalloutAnswer {
    match stage {
        Stage::Message => CalloutAnswer::Message(Box::default()),
        _ if stage.is_reply() => CalloutAnswer::Reply(None),
        _ => CalloutAnswer::pass(),
    }
}

/// A session that has yet to hear its hop, with more callouts.
async fn play(more: &str) -> Play {
    let loaded = config::load_text("proxy.yaml", &format!("{YAML}{more}"), []).unwrap();
    let registry = Arc::new(Registry::new(Instant::now()));
    let prepared = prepare(&loaded, &registry, Arc::new(NoLimits), Names::Ask)
        .await
        .unwrap_or_else(|errors| panic!("{errors}"));
    let client = SocketAddr::from(([192, 0, 2, 7], 40112));
    let entrance = Entrance { listener: 0, pool: prepared.doors[0].pool, client, facts: None };
    Play::new(prepared.settings, entrance)
}

fn hop() -> Peer {
    Peer::Upstream(HopId::numbered(1).unwrap())
}

/// What a transaction costs its callouts grows with its recipients, not with their square.
#[tokio::test]
async fn a_question_shows_the_last_recipients_and_data_all() {
    let mut play = play("").await;
    for (who, line) in &DIALOG[..3] {
        play.hear(if *who == 'C' { Peer::Downstream } else { hop() }, line);
    }
    play.hear(Peer::Downstream, "MAIL FROM:<smith@example.org>");
    play.hear(hop(), "250 2.1.0 Sender ok");
    // Together with what the record keeps of them, they are less than an envelope may have: 140 of 900 octets.
    let recipient = |number: usize| format!("RCPT TO:<{number:0>900}@example.com>");
    for number in 0..140 {
        play.hear(Peer::Downstream, &recipient(number));
        play.hear(hop(), "250 2.1.5 Recipient ok");
    }
    let of = |play: &Play, stage: &str| {
        let last = play.asked.iter().rfind(|asked| asked["stage"] == *stage).unwrap();
        (last["envelope"]["to"].as_array().unwrap().len(), last["envelope"]["accepted"].clone())
    };
    assert_eq!(of(&play, "rcpt"), (20, 139.into()));
    assert_eq!(of(&play, "rcpt-reply"), (20, 139.into()));
    let longest = play.asked.iter().map(|asked| asked.to_string().len()).max().unwrap();
    assert!(longest < 21 * 2000 + 2000, "{longest}");
    // A few more, and it is too much: the rest hears 452, and nobody is asked about it.
    let asked = play.asked.len();
    for number in 140..160 {
        play.hear(Peer::Downstream, &recipient(number));
        if play.asked.len() % 2 == 1 {
            play.hear(hop(), "250 2.1.5 Recipient ok");
        }
    }
    assert!(play.asked.len() < asked + 2 * 5, "all of them are taken");
    play.hear(Peer::Downstream, "DATA");
    let (shown, accepted) = of(&play, "data");
    assert_eq!(accepted, shown);
    assert!((140..145).contains(&shown), "{shown}");
}

#[tokio::test]
async fn the_documents_questions_are_asked() {
    let mut asked = Vec::new();
    for more in ["", SHOWN_MESSAGES] {
        let mut play = play(more).await;
        for (who, line) in DIALOG {
            // The hop is not told of a message before it is whole.
            if !more.is_empty() && line.starts_with("354") {
                continue;
            }
            play.hear(if *who == 'C' { Peer::Downstream } else { hop() }, line);
        }
        asked.append(&mut play.asked);
    }
    let stages: Vec<&str> = asked.iter().map(|asked| asked["stage"].as_str().unwrap()).collect();
    for stage in Stage::ALL {
        assert!(stages.contains(&stage.as_str()), "asked at {stages:?}, not at {}", stage.as_str());
    }
    let secrets = ["secret", "AGpvbmVz"];
    assert!(!asked.iter().any(|asked| secrets.iter().any(|word| asked.to_string().contains(word))));
    let mut differences = String::new();
    for shown in shown() {
        if !asked.contains(&shown) {
            let stage = &shown["stage"];
            let near = asked.iter().filter(|asked| asked["stage"] == *stage).map(Value::to_string);
            differences += &format!("shown {shown}\nasked {}\n", near.collect::<Vec<_>>().join("\n      "));
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

/// The questions of the document.
fn shown() -> Vec<Value> {
    let blocks = DOCUMENT.split("<!-- question ").skip(1);
    let json = |block: &str| block.split("```json\n").nth(1)?.split("```").next().map(str::to_owned);
    let questions = blocks.map(|block| serde_json::from_str(&json(block).expect("JSON follows")).unwrap());
    let questions: Vec<Value> = questions.collect();
    assert_eq!(questions.len(), Stage::ALL.len(), "one for each stage");
    questions
}
