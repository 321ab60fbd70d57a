//! Callouts that answer late, never, twice, or nonsense, by chance.
//!
//! **In**: the questions of a session. **Out**: who is asked, and when what comes back, drawn from the seed and the
//! question. **Never**: says `wrong` where a session might rightly believe it.
//!
//! [`Desk`] keeps the books of the questions: at most one is open at a time, none when the session is over, and no
//! callout is asked twice about one recipient, or twice about one reply.

#[path = "edits.rs"]
pub mod edits;

use std::any::Any;
use std::collections::BTreeSet;
use std::time::Duration;

use gatepost::session::callout::{
    Beside, CalloutAnswer, CalloutId, CalloutTerms, Callouts, Fault, FaultKind, OnError,
};
use gatepost::session::io::{Ask, Ticket};
use gatepost::session::route::PoolId;
use gatepost::session::verdict::{CommandVerdict, Question, ReplyVerdict, Rewrites, Rung, Stage, Stages};
use gatepost::smtp::{Code, ReplyRef};

use super::bent::Bent;
use super::rng::{Rng, hash};
use super::rules::{id, of_command, of_reply, reply};

/// How a header field begins that a callout has put before a message's own.
pub const PREPENDED: &str = "X-Prepended: ";

/// How many there are.
const CALLOUTS: u16 = 3;

/// Who is asked, by chance.
pub struct Whims {
    seed: u64,
    stages: Stages,
    pools: u16,
    bent: Bent,
}

impl Whims {
    /// Asked at some stages, or at none.
    pub fn new(rng: &mut Rng, bent: Bent, pools: u16) -> Whims {
        let mut stages = Stages::default();
        if rng.percent(40) {
            for stage in Stage::ALL {
                if rng.percent(30) {
                    stages = stages.with(stage);
                }
            }
        }
        Whims { seed: rng.next(), stages, pools, bent }
    }

    /// What becomes of a question: milliseconds, and what is said then.
    pub fn fate(&self, ask: &Ask) -> Vec<(u64, Result<CalloutAnswer, Fault>)> {
        let mut dice = Rng::new(hash(self.seed, &[b"fate", &ask.callout.0.to_be_bytes(), &ask.question]));
        let prompt = dice.next() % 30;
        match dice.below(100) {
            0..=69 => vec![(prompt, self.answer(ask))],
            70..=79 => vec![(dice.next() % 90_000, self.answer(ask))],
            80..=84 => Vec::new(),
            85..=89 => {
                vec![(prompt, self.answer(ask)), (prompt + dice.next() % 9_000, self.answer(ask))]
            }
            90..=94 => {
                let fault = Fault::new(FaultKind::ALL[dice.below(FaultKind::ALL.len())], "by chance");
                vec![(prompt, Err(fault))]
            }
            _ => vec![(prompt, Ok(nonsense(ask.stage, &mut dice)))],
        }
    }

    fn answer(&self, ask: &Ask) -> Result<CalloutAnswer, Fault> {
        let mut dice = Rng::new(hash(self.seed, &[&ask.callout.0.to_be_bytes(), &ask.question]));
        let text = String::from_utf8_lossy(&ask.question).into_owned();
        if ask.stage == Stage::Message {
            let may_discard = self.terms(ask.callout).may_discard;
            return Ok(edits::of_message(ask.callout, &text, self.pools, may_discard, &mut dice));
        }
        let mut parts = text.splitn(3, ' ');
        let [code, sender, id] = [(); 3].map(|()| parts.next().expect("a code, a sender and an id"));
        Ok(match code.parse().ok().and_then(Code::new) {
            Some(code) => CalloutAnswer::Reply(of_reply(ask.stage, id, code, self.pools, &mut dice)),
            None => {
                let (rewrites, verdict) = of_command(ask.stage, id, self.pools, self.bent, &mut dice);
                let beside = dice.percent(25).then(|| Box::new(beside(ask, sender, id, &mut dice)));
                CalloutAnswer::Command { rewrites, verdict, beside }
            }
        })
    }
}

/// What may be said beside a verdict.
fn beside(ask: &Ask, sender: &str, id: &str, dice: &mut Rng) -> Beside {
    let field = format!("{PREPENDED}{sender} {} {} {id}\r\n", ask.stage.as_str(), ask.callout.0);
    let has_message = matches!(ask.stage, Stage::Mail | Stage::Rcpt | Stage::Data);
    let later = |dice: &mut Rng| dice.percent(40).then(|| reply("450 4.7.1", "provided", id));
    Beside {
        prepend: (has_message && dice.percent(60)).then(|| field.into_bytes().into()),
        if_permitted: later(dice),
        if_rejected: later(dice),
        remark: None,
    }
}

/// What no stage allows.
fn nonsense(stage: Stage, dice: &mut Rng) -> CalloutAnswer {
    if stage == Stage::Message && dice.percent(70) {
        return edits::nonsense(dice);
    }
    let wrong = |code: &str| reply(code, "wrong", "");
    let command = |verdict| CalloutAnswer::command(Some(verdict));
    let rung = |path: &[u8]| Rung { recipient: Some(path.into()), ..Rung::default() };
    let beside = |beside| CalloutAnswer::Command {
        rewrites: Rewrites::default(),
        verdict: None,
        beside: Some(Box::new(beside)),
    };
    match (stage.is_reply(), dice.below(7)) {
        (false, 5) => {
            let field = format!("{PREPENDED}wrong\r\n{}", dice.pick(&["\r\n", ".\r\n", "x", "\n"]));
            beside(Beside { prepend: Some(field.into_bytes().into()), ..Beside::default() })
        }
        (false, 6) => beside(Beside { if_permitted: Some(wrong("550")), ..Beside::default() }),
        (false, 0) => CalloutAnswer::Reply(Some(ReplyVerdict::Substitute(wrong("550")))),
        (false, 1) => command(CommandVerdict::Reply(wrong("354"))),
        (false, 2) => {
            let rewrites =
                Rewrites { recipient: Some(b"a@b@wrong".as_slice().into()), ..Rewrites::default() };
            CalloutAnswer::Command { rewrites, verdict: None, beside: None }
        }
        (false, 3) if !matches!(stage, Stage::Rcpt | Stage::Other) => {
            command(CommandVerdict::Reply(wrong("250")))
        }
        (false, _) => command(CommandVerdict::Disconnect(Some(wrong("221")))),
        (true, 0 | 5 | 6) => command(CommandVerdict::Route(PoolId(0))),
        (true, 1) => CalloutAnswer::Reply(Some(ReplyVerdict::Substitute(wrong("354")))),
        (true, 2) => CalloutAnswer::Reply(Some(ReplyVerdict::Retry(vec![rung(b"a@b@wrong")]))),
        (true, 3) => CalloutAnswer::Reply(Some(ReplyVerdict::Retry(Vec::new()))),
        (true, _) => CalloutAnswer::Reply(Some(ReplyVerdict::Disconnect(Some(wrong("221"))))),
    }
}

impl Callouts for Whims {
    fn stages(&self) -> Stages {
        self.stages
    }

    fn next(
        &self,
        question: &Question<'_>,
        heard: Option<ReplyRef<'_>>,
        after: Option<CalloutId>,
    ) -> Option<CalloutId> {
        let code = heard.map_or(0, |heard| heard.code().get()).to_be_bytes();
        let id = id(question);
        let asked = |callout: &CalloutId| {
            let parts: [&[u8]; 4] = [&callout.0.to_be_bytes(), &[question.stage as u8], id.as_bytes(), &code];
            hash(self.seed, &parts) % 100 < 45
        };
        (0..CALLOUTS).map(CalloutId).filter(|callout| Some(*callout) > after).find(asked)
    }

    fn encode(&self, _: CalloutId, question: &Question<'_>, heard: Option<ReplyRef<'_>>) -> Box<[u8]> {
        let code = heard.map_or_else(|| "-".to_owned(), |heard| heard.code().get().to_string());
        let sender = question.sender.map(|path| String::from_utf8_lossy(path.local()).into_owned());
        let sender = sender.filter(|sender| !sender.is_empty()).unwrap_or_else(|| "-".to_owned());
        let about = if question.stage == Stage::Message { edits::recipients(question) } else { id(question) };
        format!("{code} {sender} {about}").into_bytes().into_boxed_slice()
    }

    fn terms(&self, callout: CalloutId) -> CalloutTerms {
        let mut dice = Rng::new(hash(self.seed, &[b"terms", &callout.0.to_be_bytes()]));
        let on_error = match dice.below(4) {
            0 | 1 => OnError::Pass,
            2 => OnError::Tempfail,
            _ => OnError::Reject,
        };
        CalloutTerms {
            timeout: Duration::from_millis(500 + dice.next() % 40_000),
            per_mib: Duration::ZERO,
            on_error,
            may_discard: dice.percent(50),
            refuse_postmaster: false,
        }
    }

    fn name(&self, _: CalloutId) -> &str {
        "whim"
    }

    fn carrier(&self) -> &dyn Any {
        &()
    }
}

/// The books of a session's questions.
#[derive(Default, Debug)]
pub struct Desk {
    open: Option<(Ticket, CalloutId)>,
    /// Recipients and replies, by callout; with how many connections were closed by then.
    asked: BTreeSet<(CalloutId, Stage, Box<[u8]>, usize)>,
}

impl Desk {
    /// A question goes out; so many connections with hops have ended.
    pub fn asks(&mut self, ask: &Ask, ended: usize) {
        assert!(self.open.is_none(), "law 7: a second question is open: {ask:?}");
        self.open = Some((ask.ticket, ask.callout));
        let once = match ask.stage {
            Stage::Rcpt => Some(0),
            // The reply of a hop that is lost is void; the next one's is asked about anew.
            Stage::RcptReply => Some(ended),
            _ => None,
        };
        if let Some(ended) = once {
            let new = self.asked.insert((ask.callout, ask.stage, ask.question.clone(), ended));
            assert!(new, "asked twice: {ask:?} {}", ask.question.escape_ascii());
        }
    }

    /// A question is taken back.
    pub fn cancelled(&mut self, ticket: Ticket) {
        assert_eq!(self.open.take().map(|(open, _)| open), Some(ticket), "what is cancelled was not open");
    }

    /// An answer is handed in; whose, if it was waited for.
    pub fn answered(&mut self, ticket: Ticket) -> Option<CalloutId> {
        self.open.take_if(|(open, _)| *open == ticket).map(|(_, callout)| callout)
    }

    /// Whether an answer is waited for.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The session is over.
    pub fn closes(&self) {
        assert!(self.open.is_none(), "law 7: the session is over and a question is open");
    }
}
