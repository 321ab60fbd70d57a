//! Rules that say anything a rule may say, by chance.
//!
//! **In**: the questions of a session. **Out**: verdicts drawn from the seed and the question, so that a session that is
//! replayed hears the same. **Never**: breaks what verdicts may say (docs of `session::verdict`).
//!
//! Every local part is an id (`r17`, `s3`), and every reply put in names it in brackets, so that the client can tell whether an
//! answer belongs to its command.

use std::sync::Arc;

use gatepost::session::route::{Domain, PoolId};
use gatepost::session::verdict::{
    CommandAnswer, CommandVerdict, MessageAnswer, MessageVerdict, Question, ReplyVerdict, Rewrites, RuleId,
    Rules, Rung, Stage, Stages,
};
use gatepost::smtp::{Code, Reply, ReplyRef};

use super::bent::Bent;
use super::rng::{Rng, hash};

/// Verdicts by chance.
pub struct Chance {
    seed: u64,
    stages: Stages,
    pools: u16,
    bent: Bent,
}

impl Chance {
    /// Asks at some stages, or at none.
    pub fn new(rng: &mut Rng, bent: Bent, pools: u16) -> Chance {
        let all = [
            Stage::Connect,
            Stage::Helo,
            Stage::Mail,
            Stage::Rcpt,
            Stage::Data,
            Stage::Other,
            Stage::ConnectReply,
            Stage::HeloReply,
            Stage::MailReply,
            Stage::RcptReply,
            Stage::DataReply,
            Stage::OtherReply,
            Stage::MessageReply,
        ];
        let mut stages = Stages::default();
        if rng.percent(60) {
            for stage in all {
                // What is asked about replies holds DATA back until they are in.
                let holds_back = matches!(stage, Stage::MailReply | Stage::RcptReply);
                if rng.percent(45) && !(bent.groups && holds_back) {
                    stages = stages.with(stage);
                }
            }
        }
        if rng.percent(if bent.hellos { 70 } else { 5 }) {
            stages = stages.with(Stage::HeloReply);
        }
        if bent.ways {
            stages = stages.with(Stage::Mail).with(Stage::Rcpt);
        }
        let seed = rng.next();
        // From dice of its own: what else a seed does stays what it was.
        if !bent.groups && Rng::new(!seed).percent(4) {
            stages = stages.with(Stage::Message);
        }
        Chance { seed, stages, pools, bent }
    }

    fn dice(&self, question: &Question<'_>, more: &[u8]) -> Rng {
        let path = |path: Option<gatepost::smtp::Path<'_>>| {
            path.map(|path| path.local().to_vec()).unwrap_or_default()
        };
        let (sender, recipient) = (path(question.sender), path(question.recipient));
        let stage = [question.stage as u8];
        Rng::new(hash(self.seed, &[&stage, &sender, &recipient, question.argument, more]))
    }
}

/// Anything that may be said about a command.
pub fn of_command(
    stage: Stage,
    id: &str,
    pools: u16,
    bent: Bent,
    dice: &mut Rng,
) -> (Rewrites, Option<CommandVerdict>) {
    let mut rewrites = Rewrites::default();
    if dice.percent(10) {
        let local = Some(format!("{id}@rewritten.example").into_bytes().into_boxed_slice());
        match stage {
            Stage::Rcpt => rewrites.recipient = local,
            Stage::Mail => rewrites.sender = local,
            Stage::Helo => rewrites.helo = Some(format!("{id}.rw").into_bytes().into_boxed_slice()),
            _ => {}
        }
        if dice.percent(50) && matches!(stage, Stage::Mail | Stage::Rcpt) {
            let parameters = dice.pick(&["", "X-OURS=1", "X-OURS=1 X-MORE=2"]);
            rewrites.parameters = Some(parameters.as_bytes().into());
        }
    }
    let no = |dice: &mut Rng| match dice.percent(50) {
        true => reply("450 4.7.1", "rule", id),
        false => reply("550 5.7.1", "rule", id),
    };
    let roll = dice.below(100);
    let verdict = match stage {
        _ if roll == 0 => CommandVerdict::Disconnect(Some(reply("421 4.7.0", "rule", id))),
        Stage::Connect if roll < 4 => CommandVerdict::Reply(reply("554 5.7.1", "rule", id)),
        // Away, and home again.
        Stage::Mail if bent.ways && (40..70).contains(&roll) => CommandVerdict::Route(pool(pools, dice)),
        Stage::Rcpt if bent.ways && (40..57).contains(&roll) => CommandVerdict::Route(PoolId(0)),
        Stage::Rcpt if bent.ways && (57..80).contains(&roll) => CommandVerdict::Route(pool(pools, dice)),
        Stage::Helo if bent.ways && (40..50).contains(&roll) => CommandVerdict::Route(pool(pools, dice)),
        Stage::Mail if roll < 22 => CommandVerdict::Route(pool(pools, dice)),
        Stage::Connect | Stage::Helo if roll < 12 => CommandVerdict::Route(pool(pools, dice)),
        // Most ways lead home.
        Stage::Rcpt if roll < 10 => CommandVerdict::Route(PoolId(0)),
        Stage::Rcpt if roll < 22 => CommandVerdict::Route(pool(pools, dice)),
        Stage::Rcpt if roll < 27 => CommandVerdict::Reply(reply("250 2.1.5", "swallowed", id)),
        Stage::Other if roll < 10 => CommandVerdict::Reply(reply("250 2.0.0", "rule", id)),
        Stage::Connect if roll < 32 => return (rewrites, None),
        _ if roll < 32 => CommandVerdict::Reply(no(dice)),
        _ if roll < 40 => CommandVerdict::Accept,
        _ => return (rewrites, None),
    };
    (rewrites, Some(verdict))
}

/// Anything that may be said about a message but what would change it: the ledger knows of no other than was sent.
pub fn of_message(id: &str, pools: u16, dice: &mut Rng) -> Option<MessageVerdict> {
    Some(match dice.below(100) {
        0 => MessageVerdict::Disconnect(Some(reply("421 4.7.0", "rule", id))),
        1..3 => MessageVerdict::Reply(reply("554 5.7.1", "rule", id)),
        3..5 => MessageVerdict::Reply(reply("451 4.7.1", "rule", id)),
        5..12 => MessageVerdict::Route(pool(pools, dice)),
        12..20 => MessageVerdict::Accept,
        _ => return None,
    })
}

/// Anything that may be said about a hop's reply with this code.
pub fn of_reply(stage: Stage, id: &str, code: Code, pools: u16, dice: &mut Rng) -> Option<ReplyVerdict> {
    // Of some names nobody thinks well, again and again.
    let is_bad = stage == Stage::HeloReply && id.starts_with("eb");
    let put = |code: &str| Some(ReplyVerdict::Substitute(reply(code, "rule", id)));
    let roll = dice.below(100);
    if roll == 0 && stage != Stage::MessageReply {
        return Some(ReplyVerdict::Disconnect(Some(reply("421 4.7.0", "rule", id))));
    }
    if is_bad && code.is_positive() && roll < 90 {
        return put("550 5.7.1");
    }
    if roll > 40 {
        return None;
    }
    match stage {
        Stage::RcptReply if code.is_negative() && roll < 35 => {
            let rungs = (0..1 + dice.below(4)).map(|at| {
                let domain = || Domain { name: format!("d{}.example", at % 2).into(), port: 25, pool: None };
                let mx = dice.percent(15).then(domain);
                let pool = (mx.is_none() && dice.percent(60)).then(|| pool(pools, dice));
                let recipient = ((pool.is_none() && mx.is_none()) || dice.percent(40))
                    .then(|| format!("{id}@rung{at}.example").into_bytes().into_boxed_slice());
                Rung { recipient, pool, mx }
            });
            Some(ReplyVerdict::Retry(rungs.collect()))
        }
        Stage::MessageReply if code.is_positive() => put("250 2.0.0"),
        _ if code.is_negative() => put(if dice.percent(50) { "450 4.7.1" } else { "550 5.7.1" }),
        Stage::MessageReply => None,
        Stage::OtherReply if roll < 20 => put("250 2.0.0"),
        _ if roll < 8 => put(if dice.percent(50) { "450 4.7.1" } else { "550 5.7.1" }),
        _ if roll < 20 => Some(ReplyVerdict::Accept),
        _ => None,
    }
}

fn pool(pools: u16, dice: &mut Rng) -> PoolId {
    PoolId(dice.below(usize::from(pools)) as u16)
}

/// A reply that names what it is about.
pub fn reply(code: &str, what: &str, id: &str) -> Arc<Reply> {
    let line = if id.is_empty() { format!("{code} {what}") } else { format!("{code} {what} [{id}]") };
    Arc::new(Reply::parse_written(&[&line]).unwrap_or_else(|_| panic!("{line} is no reply")))
}

/// The id of what is asked about.
pub fn id(question: &Question<'_>) -> String {
    let local = |path: gatepost::smtp::Path<'_>| String::from_utf8_lossy(path.local()).into_owned();
    match question.stage {
        Stage::Rcpt | Stage::RcptReply => question.recipient.map(local).unwrap_or_default(),
        Stage::Connect | Stage::ConnectReply => "connect".to_owned(),
        Stage::Helo | Stage::HeloReply => {
            String::from_utf8_lossy(question.helo.unwrap_or_default()).into_owned()
        }
        Stage::Other | Stage::OtherReply => String::from_utf8_lossy(question.argument).into_owned(),
        _ => question.sender.map(local).unwrap_or_default(),
    }
}

impl Rules for Chance {
    fn stages(&self) -> Stages {
        self.stages
    }

    fn command(&self, question: &Question<'_>) -> CommandAnswer {
        let mut dice = self.dice(question, b"");
        let (rewrites, verdict) = of_command(question.stage, &id(question), self.pools, self.bent, &mut dice);
        let by = if verdict.is_some() { vec![RuleId(1)] } else { Vec::new() };
        CommandAnswer { rewrites, verdict, by }
    }

    fn reply(
        &self,
        question: &Question<'_>,
        heard: ReplyRef<'_>,
        after: Option<RuleId>,
    ) -> Option<(ReplyVerdict, RuleId)> {
        let mut dice = self.dice(question, &[u8::from(after.is_some())]);
        let verdict = of_reply(question.stage, &id(question), heard.code(), self.pools, &mut dice)?;
        // There is no second ladder.
        let again = after.is_some() && matches!(verdict, ReplyVerdict::Retry(_));
        (!again).then_some((verdict, RuleId(if after.is_some() { 3 } else { 2 })))
    }

    fn message(&self, question: &Question<'_>) -> (MessageAnswer, Vec<RuleId>) {
        let mut dice = self.dice(question, b"");
        let verdict = of_message(&id(question), self.pools, &mut dice);
        let by = if verdict.is_some() { vec![RuleId(4)] } else { Vec::new() };
        (MessageAnswer { verdict, ..MessageAnswer::default() }, by)
    }

    fn name(&self, _: RuleId) -> &str {
        "chance"
    }
}
