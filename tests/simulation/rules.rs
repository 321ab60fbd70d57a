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
    CommandAnswer, CommandVerdict, Question, ReplyVerdict, RuleId, Rules, Rung, Stage, Stages,
};
use gatepost::smtp::{Reply, ReplyRef};

use super::rng::{Rng, hash};

/// Verdicts by chance.
pub struct Chance {
    seed: u64,
    stages: Stages,
    pools: u16,
}

impl Chance {
    /// Asks at some stages, or at none.
    pub fn new(rng: &mut Rng, pools: u16) -> Chance {
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
                if rng.percent(45) {
                    stages = stages.with(stage);
                }
            }
        }
        Chance { seed: rng.next(), stages, pools }
    }

    fn dice(&self, question: &Question<'_>, more: &[u8]) -> Rng {
        let path = |path: Option<gatepost::smtp::Path<'_>>| {
            path.map(|path| path.local().to_vec()).unwrap_or_default()
        };
        let (sender, recipient) = (path(question.sender), path(question.recipient));
        let stage = [question.stage as u8];
        Rng::new(hash(self.seed, &[&stage, &sender, &recipient, question.argument, more]))
    }

    fn pool(&self, dice: &mut Rng) -> PoolId {
        PoolId(dice.below(usize::from(self.pools)) as u16)
    }
}

fn reply(code: &str, what: &str, id: &str) -> Arc<Reply> {
    let line = if id.is_empty() { format!("{code} {what}") } else { format!("{code} {what} [{id}]") };
    Arc::new(Reply::parse_written(&[&line]).unwrap_or_else(|_| panic!("{line} is no reply")))
}

/// The id of what is asked about.
fn id(question: &Question<'_>) -> String {
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
        let mut answer = CommandAnswer::default();
        let id = id(question);
        let decided = |verdict| (Some(verdict), vec![RuleId(1)]);
        let local = |domain: &str| Some(format!("{id}@{domain}").into_bytes().into_boxed_slice());
        if dice.percent(10) {
            match question.stage {
                Stage::Rcpt => answer.rewrites.recipient = local("rewritten.example"),
                Stage::Mail => answer.rewrites.sender = local("rewritten.example"),
                _ => {}
            }
        }
        let no = |dice: &mut Rng| {
            CommandVerdict::Reply(match dice.percent(50) {
                true => reply("450 4.7.1", "rule", &id),
                false => reply("550 5.7.1", "rule", &id),
            })
        };
        let roll = dice.below(100);
        (answer.verdict, answer.by) = match question.stage {
            _ if roll == 0 => decided(CommandVerdict::Disconnect(Some(reply("421 4.7.0", "rule", &id)))),
            Stage::Connect if roll < 4 => decided(CommandVerdict::Reply(reply("554 5.7.1", "rule", &id))),
            Stage::Connect | Stage::Helo | Stage::Mail if roll < 12 => {
                decided(CommandVerdict::Route(self.pool(&mut dice)))
            }
            Stage::Rcpt if roll < 20 => decided(CommandVerdict::Route(self.pool(&mut dice))),
            Stage::Rcpt if roll < 26 => decided(CommandVerdict::Reply(reply("250 2.1.5", "swallowed", &id))),
            Stage::Other if roll < 10 => decided(CommandVerdict::Reply(reply("250 2.0.0", "rule", &id))),
            _ if roll < 32 => decided(no(&mut dice)),
            _ if roll < 40 => decided(CommandVerdict::Accept),
            _ => (None, Vec::new()),
        };
        if question.stage == Stage::Connect
            && matches!(&answer.verdict, Some(CommandVerdict::Reply(_)))
            && roll >= 4
        {
            (answer.verdict, answer.by) = (None, Vec::new());
        }
        answer
    }

    fn reply(
        &self,
        question: &Question<'_>,
        heard: ReplyRef<'_>,
        after: Option<RuleId>,
    ) -> Option<(ReplyVerdict, RuleId)> {
        let mut dice = self.dice(question, &[u8::from(after.is_some())]);
        let (id, code) = (id(question), heard.code());
        let rule = RuleId(if after.is_some() { 3 } else { 2 });
        let put = |code: &str| Some((ReplyVerdict::Substitute(reply(code, "rule", &id)), rule));
        let roll = dice.below(100);
        if roll == 0 && question.stage != Stage::MessageReply {
            return Some((ReplyVerdict::Disconnect(Some(reply("421 4.7.0", "rule", &id))), rule));
        }
        if roll > 40 {
            return None;
        }
        match question.stage {
            Stage::RcptReply if code.is_negative() && after.is_none() && roll < 35 => {
                let rungs = (0..1 + dice.below(4)).map(|at| {
                    let domain =
                        || Domain { name: format!("d{}.example", at % 2).into(), port: 25, pool: None };
                    let mx = dice.percent(15).then(domain);
                    let pool = (mx.is_none() && dice.percent(60)).then(|| self.pool(&mut dice));
                    let recipient = ((pool.is_none() && mx.is_none()) || dice.percent(40))
                        .then(|| format!("{id}@rung{at}.example").into_bytes().into_boxed_slice());
                    Rung { recipient, pool, mx }
                });
                Some((ReplyVerdict::Retry(rungs.collect()), rule))
            }
            Stage::MessageReply if code.is_positive() => put("250 2.0.0"),
            _ if code.is_negative() => put(if dice.percent(50) { "450 4.7.1" } else { "550 5.7.1" }),
            Stage::MessageReply => None,
            Stage::OtherReply if roll < 20 => put("250 2.0.0"),
            _ if roll < 8 => put(if dice.percent(50) { "450 4.7.1" } else { "550 5.7.1" }),
            _ if roll < 20 => Some((ReplyVerdict::Accept, rule)),
            _ => None,
        }
    }

    fn name(&self, _: RuleId) -> &str {
        "chance"
    }
}
