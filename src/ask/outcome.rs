//! What would happen: what the hop and the client would hear, told from the verdicts of all rules together.
//!
//! **In**: what the rules came to, the moment. **Out**: a few lines, the first of them about what is said next.
//! **Never**: knows what a hop will answer; where that decides, both ways are told.

use super::Context;
use super::told::{changes, last_words, lines, own};
use crate::log::text;
use crate::rules::Explained;
use crate::session::route::PoolId;
use crate::session::verdict::{
    CommandVerdict, MessageAnswer, MessageVerdict, ReplyVerdict, Rewrites, Rung, Stage,
};
use crate::smtp::{Params, Path, Reply, own};

impl Context<'_> {
    pub(super) fn outcome(&self, explained: &Explained) -> Vec<String> {
        match &self.known.reply {
            None if self.known.stage == Stage::Message => self.of_message(&explained.message),
            None => self.of_command(&explained.rewrites, explained.command.as_ref()),
            Some(reply) => self.of_reply(reply, explained),
        }
    }

    fn of_command(&self, rewrites: &Rewrites, verdict: Option<&CommandVerdict>) -> Vec<String> {
        if !is_sayable(rewrites) {
            return vec![format!(
                "the client hears {}: a rewritten value has no valid form",
                own(&own::BAD_VERDICT)
            )];
        }
        match verdict {
            Some(CommandVerdict::Reply(reply)) => self.of_answer(reply),
            Some(CommandVerdict::Disconnect(reply)) => self.of_end(reply.as_deref()),
            Some(CommandVerdict::Route(pool)) if self.is_bound(*pool) => vec![
                self.goes(rewrites, self.known.upstream),
                "the route is skipped: the client authenticated through to its hop".to_owned(),
            ],
            Some(CommandVerdict::Route(pool)) => vec![self.goes(rewrites, self.pool(*pool))],
            Some(CommandVerdict::Accept) | None => vec![self.goes(rewrites, self.known.upstream)],
        }
    }

    fn of_message(&self, answer: &MessageAnswer) -> Vec<String> {
        let upstream = match &answer.verdict {
            Some(MessageVerdict::Reply(reply)) => {
                return vec![
                    format!("the client hears {}", lines(reply)),
                    "no hop is given the message".to_owned(),
                ];
            }
            Some(MessageVerdict::Disconnect(reply)) => return self.of_end(reply.as_deref()),
            Some(MessageVerdict::Discard) => {
                return vec![
                    format!("the client hears {}", own(&own::DISCARDED)),
                    "nobody is given the message".to_owned(),
                ];
            }
            Some(MessageVerdict::Route(pool)) if !self.is_bound(*pool) => self.pool(*pool),
            Some(MessageVerdict::Route(_) | MessageVerdict::Accept) | None => self.known.upstream,
        };
        let changed = changes(answer);
        let with = if changed.is_empty() { "as it came".to_owned() } else { changed.join(", ") };
        vec![format!("the message goes to upstream {upstream}: {with}")]
    }

    fn of_reply(&self, reply: &Reply, explained: &Explained) -> Vec<String> {
        match &explained.reply {
            Some(ReplyVerdict::Retry(rungs)) => self.of_ladder(rungs, reply, explained.otherwise.as_ref()),
            verdict => self.of_verdict(reply, verdict.as_ref()),
        }
    }

    fn of_verdict(&self, reply: &Reply, verdict: Option<&ReplyVerdict>) -> Vec<String> {
        match verdict {
            Some(ReplyVerdict::Substitute(instead)) => {
                let mut all = vec![format!("the client hears {}", lines(instead))];
                let withdrawn = matches!(self.known.stage, Stage::MailReply | Stage::RcptReply);
                if withdrawn && reply.code().is_positive() && instead.code().is_negative() {
                    all.push("the hop, which accepted, is told RSET and what else was accepted".to_owned());
                }
                all
            }
            Some(ReplyVerdict::Disconnect(words)) => self.of_end(words.as_deref()),
            _ => vec![format!("the client hears {}", lines(reply))],
        }
    }

    fn of_ladder(&self, rungs: &[Rung], reply: &Reply, otherwise: Option<&ReplyVerdict>) -> Vec<String> {
        let most = self.loaded.config.limits.attempts;
        let mut all = Vec::new();
        for rung in rungs.iter().take(most) {
            let bound = match rung.pool {
                Some(pool) => self.is_bound(pool),
                None => rung.mx.is_some() && self.known.moment.authenticated,
            };
            let place = match (&rung.mx, rung.pool) {
                (Some(domain), _) => format!("the mail hosts of {}", domain.name),
                (None, Some(pool)) => format!("upstream {}", self.pool(pool)),
                (None, None) => format!("upstream {}", self.known.upstream),
            };
            let line = match &rung.recipient {
                Some(recipient) if Path::parse(recipient).is_err() || recipient.is_empty() => {
                    format!("<{}> is no address and is skipped", text(recipient))
                }
                _ if bound => {
                    format!("{place}: skipped, the client authenticated through to its hop")
                }
                recipient => {
                    let now = self.known.recipient.map(|path| path.as_bytes()).unwrap_or_default();
                    let to = recipient.as_deref().unwrap_or(now);
                    format!("RCPT TO:<{}> is tried at {place}", text(to))
                }
            };
            all.push(line);
        }
        if rungs.len() > most {
            all.push(format!("limits.attempts ({most}) ends the ladder there"));
        }
        all.push("the client hears the first 2xx".to_owned());
        let failed = match otherwise {
            Some(ReplyVerdict::Substitute(instead)) => lines(instead),
            Some(ReplyVerdict::Disconnect(words)) => {
                format!("{}, and is closed", last_words(words.as_deref()))
            }
            _ if reply.code().is_transient() => lines(reply),
            _ => format!("{}, or the first 4xx if an attempt ends in one", lines(reply)),
        };
        all.push(format!("if there is none, it hears {failed}"));
        all
    }

    /// A command that is answered in the hop's place.
    fn of_answer(&self, reply: &Reply) -> Vec<String> {
        if matches!(reply.code().get(), 421 | 521) {
            return self.of_end(Some(reply));
        }
        let mut all = vec![format!("the client hears {}", lines(reply))];
        all.push(match self.known.stage {
            Stage::Connect => "no hop is connected to, and only QUIT is served".to_owned(),
            Stage::Rcpt if reply.code().is_positive() => {
                "the recipient is swallowed: no hop hears of it, and it gets no mail".to_owned()
            }
            _ => "no hop hears of it".to_owned(),
        });
        all
    }

    fn of_end(&self, words: Option<&Reply>) -> Vec<String> {
        vec![format!("the client hears {} and is closed", last_words(words))]
    }

    /// Where the command goes, in the words it has by then.
    fn goes(&self, rewrites: &Rewrites, upstream: &str) -> String {
        let known = self.known;
        let path = |new: &Option<Box<[u8]>>, now: Option<Path<'_>>| {
            text(new.as_deref().or(now.map(|path| path.as_bytes())).unwrap_or_default())
        };
        let parameters = match rewrites.parameters.as_deref().unwrap_or(known.params.as_bytes()) {
            [] => String::new(),
            some => format!(" {}", text(some)),
        };
        let command = match known.stage {
            Stage::Connect => {
                return format!("the client is connected to upstream {upstream} and hears its greeting");
            }
            Stage::Mail => format!("MAIL FROM:<{}>{parameters}", path(&rewrites.sender, known.sender)),
            Stage::Rcpt => format!("RCPT TO:<{}>{parameters}", path(&rewrites.recipient, known.recipient)),
            Stage::Helo => {
                let now = known.moment.helo.as_deref().unwrap_or_default().as_bytes();
                format!("EHLO {}", text(rewrites.helo.as_deref().unwrap_or(now)))
            }
            Stage::Auth => "AUTH".to_owned(),
            Stage::Data => "DATA".to_owned(),
            _ => {
                let mut line = Vec::new();
                if let Some(command) = &known.command {
                    command.write(&mut line);
                }
                text(line.trim_ascii_end())
            }
        };
        format!("{command} goes to upstream {upstream}")
    }

    /// Whether a pool is another than the one a client stays with once it has authenticated.
    fn is_bound(&self, pool: PoolId) -> bool {
        self.known.moment.authenticated && self.pool(pool) != self.known.upstream
    }
}

/// Whether the rewritten values have the form that a client's must have; the session refuses them otherwise.
pub(super) fn is_sayable(rewrites: &Rewrites) -> bool {
    let path = |path: &Option<Box<[u8]>>| path.as_deref().is_none_or(|path| Path::parse(path).is_ok());
    let parameters = rewrites.parameters.as_deref().is_none_or(|params| Params::parse(params).is_ok());
    let word = |name: &[u8]| !name.is_empty() && name.iter().all(|octet| (33..=126).contains(octet));
    rewrites.helo.as_deref().is_none_or(word)
        && path(&rewrites.sender)
        && path(&rewrites.recipient)
        && rewrites.recipient.as_deref() != Some(b"")
        && parameters
}
