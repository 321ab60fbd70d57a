//! What an answer means at its stage, and whether it may be said there.
//!
//! **In**: an answer whose form is right, the stage, what the configuration grants.
//! **Out**: the verdict; or which member is wrong, and what is wrong with it.
//! **Never**: lets a value through that could not stand in a command or in a reply: no CR, LF or NUL, no code that is
//! none, no address that is none. Never mends one.
//!
//! RFC 5321 section 4.1.2 (paths, parameters), 4.2 (replies); RFC 2034 (enhanced codes).

use std::net::IpAddr;
use std::sync::Arc;

use super::{Attempt, Close, Given, Grants, Lines, Object, Pairs, Rewrite, Said, True, bounded};
use crate::config::types::{SMTP_PORT, is_host_name};
use crate::session::callout::CalloutAnswer;
use crate::session::law::{self, Part, Verdict, Why};
use crate::session::route::{Domain, PoolId};
use crate::session::verdict::{CommandVerdict, FRAME, ReplyVerdict, Rewrites, Rung, Stage};
use crate::smtp::{Code, EnhancedCode, Params, Path, Reply, canonical_domain};

/// Most lines of a reply, as in a rule.
const MOST_LINES: usize = 100;
/// Of a value that no command has room for.
const TOO_LONG: &str = "longer than limits.command_line";

/// Where in the answer, and what is wrong with it.
pub(super) struct Wrong(pub(super) String, pub(super) String);

pub(super) fn wrong<T>(key: impl Into<String>, what: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong(key.into(), what.into()))
}

impl Said {
    /// What it means at `stage`.
    pub(super) fn at(mut self, stage: Stage, grants: &Grants) -> Result<CalloutAnswer, Wrong> {
        self.suits(stage)?;
        let disconnect = self.disconnect.take().map(|Close(lines)| match lines {
            None => Ok(None),
            Some(lines) => last(stage, lines.reply("disconnect")?).map(Some),
        });
        let disconnect = disconnect.transpose()?;
        if stage.is_reply() {
            let verdict = if let Some(lines) = self.substitute {
                Some(ReplyVerdict::Substitute(substitute(stage, lines.reply("substitute")?)?))
            } else if let Some(attempts) = self.retry {
                Some(ReplyVerdict::Retry(ladder(attempts, grants)?))
            } else if let Some(reply) = disconnect {
                Some(ReplyVerdict::Disconnect(reply))
            } else {
                self.accept.map(|True| ReplyVerdict::Accept)
            };
            return Ok(CalloutAnswer::Reply(verdict));
        }
        if stage == Stage::Message {
            return self.of_message(disconnect, grants);
        }
        let rewrites =
            self.rewrite.map(|Object(rewrite)| rewrite.at(stage, grants)).transpose()?.unwrap_or_default();
        let verdict = if let Some(lines) = self.reply {
            Some(CommandVerdict::Reply(reply_at(stage, lines.reply("reply")?, grants)?))
        } else if let Some(Object(route)) = self.route {
            Some(CommandVerdict::Route(pool("route.upstream", &route.upstream, grants)?))
        } else if let Some(reply) = disconnect {
            Some(CommandVerdict::Disconnect(reply))
        } else {
            self.accept.map(|True| CommandVerdict::Accept)
        };
        Ok(CalloutAnswer::Command { rewrites, verdict, beside: None })
    }

    /// Each member is one the stage takes, and at most one decides.
    fn suits(&self, stage: Stage) -> Result<(), Wrong> {
        if self.rewrite.is_some() && !Part::ALL.iter().any(|part| law::rewrites(stage, *part)) {
            return wrong("rewrite", not_here(stage));
        }
        if let Some(edit) = self.first_edit().filter(|_| stage != Stage::Message) {
            return wrong(edit, not_here(stage));
        }
        let given: Vec<Verdict> = Verdict::ALL.into_iter().filter(|verdict| self.gives(*verdict)).collect();
        if let Some(verdict) = given.iter().find(|verdict| !law::allows(stage, **verdict)) {
            return wrong(verdict.as_str(), not_here(stage));
        }
        match given[..] {
            [first, second, ..] => wrong(second.as_str(), format!("contradicts {}", first.as_str())),
            _ => Ok(()),
        }
    }

    fn gives(&self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Reply => self.reply.is_some(),
            Verdict::Route => self.route.is_some(),
            // A service looks up for itself.
            Verdict::Map => false,
            Verdict::Discard => self.discard.is_some(),
            Verdict::Substitute => self.substitute.is_some(),
            Verdict::Retry => self.retry.is_some(),
            Verdict::Accept => self.accept.is_some(),
            Verdict::Disconnect => self.disconnect.is_some(),
        }
    }
}

impl Rewrite {
    pub(super) fn at(self, stage: Stage, grants: &Grants) -> Result<Rewrites, Wrong> {
        let unlawful = |part: &Part| self.gives(*part) && !law::rewrites(stage, *part);
        if let Some(part) = Part::ALL.into_iter().find(unlawful) {
            return wrong(format!("rewrite.{}", part.as_str()), not_here(stage));
        }
        let sender = self.sender.map(|Given(octets)| match &*octets {
            b"<>" => Ok(Box::default()),
            _ => mailbox("rewrite.sender", octets, grants),
        });
        let recipient = self.recipient.map(|Given(octets)| mailbox("rewrite.recipient", octets, grants));
        let helo = self.helo.map(|Given(octets)| {
            let good = (1..=grants.line).contains(&octets.len())
                && octets.iter().all(|octet| (b'!'..=b'~').contains(octet));
            if good { Ok(octets) } else { wrong("rewrite.helo", "not one word of printable ASCII") }
        });
        let rewrites = Rewrites {
            sender: sender.transpose()?,
            recipient: recipient.transpose()?,
            helo: helo.transpose()?,
            parameters: self.parameters.map(|pairs| parameters(pairs, grants)).transpose()?,
        };
        let Rewrites { sender, recipient, helo, parameters } = &rewrites;
        let octets: usize =
            [sender, recipient, helo, parameters].into_iter().flatten().map(|new| new.len()).sum();
        // What it does not give anew is the session's to add.
        if octets + FRAME > grants.line { wrong("rewrite", TOO_LONG) } else { Ok(rewrites) }
    }

    /// Whether it says anything.
    pub(in crate::callout) fn is_some(&self) -> bool {
        Part::ALL.into_iter().any(|part| self.gives(part))
    }

    fn gives(&self, part: Part) -> bool {
        match part {
            Part::Sender => self.sender.is_some(),
            Part::Recipient => self.recipient.is_some(),
            Part::Helo => self.helo.is_some(),
            Part::Parameters => self.parameters.is_some(),
        }
    }
}

fn not_here(stage: Stage) -> String {
    format!("not allowed at {}", stage.as_str())
}

/// A path that is not the null path.
pub(super) fn mailbox(key: &str, octets: Box<[u8]>, grants: &Grants) -> Result<Box<[u8]>, Wrong> {
    match Path::parse(&octets) {
        _ if octets.len() > grants.line => wrong(key, TOO_LONG),
        _ if octets.len() > Path::LONGEST => wrong(key, "longer than 1000 octets"),
        Ok(path) if !path.is_null() => Ok(octets),
        _ => wrong(key, "not an address"),
    }
}

/// Parameters as they stand in a command.
pub(super) fn parameters(Pairs(pairs): Pairs, grants: &Grants) -> Result<Box<[u8]>, Wrong> {
    let mut octets = Vec::new();
    for (keyword, Given(value)) in pairs {
        let start = octets.len();
        octets.extend_from_slice(keyword.as_bytes());
        if !value.is_empty() {
            octets.push(b'=');
            octets.extend_from_slice(&value);
        }
        // Each alone, too: a value with a space in it would be two, a keyword with a sign another's.
        let one = Params::parse(&octets[start..]).unwrap_or_default();
        let as_given = one.iter().next().is_some_and(|param| {
            param.keyword == keyword.as_bytes() && param.value.unwrap_or_default() == &*value
        });
        if !as_given || one.iter().count() != 1 {
            return wrong(bounded(&format!("rewrite.parameters.{keyword}")), "not a parameter");
        }
        octets.push(b' ');
    }
    octets.pop();
    match Params::parse(&octets) {
        _ if octets.len() > grants.line => wrong("rewrite.parameters", TOO_LONG),
        Ok(_) => Ok(octets.into()),
        Err(_) => wrong("rewrite.parameters", "too many, or one of them twice"),
    }
}

pub(super) fn pool(key: &str, name: &str, grants: &Grants) -> Result<PoolId, Wrong> {
    match grants.pools.get(name) {
        Some(pool) => Ok(*pool),
        None => wrong(key, bounded(&format!("no upstream is called {name:?}"))),
    }
}

/// A domain whose mail hosts are looked up, `name` or `name:port`.
fn domain(key: &str, given: &str) -> Result<Domain, Wrong> {
    let (name, port) = match given.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok().filter(|port| *port > 0)),
        None => (given, Some(SMTP_PORT)),
    };
    match port {
        Some(port) if is_host_name(name) && name.parse::<IpAddr>().is_err() => {
            Ok(Domain { name: canonical_domain(name.as_bytes()).into_boxed_str(), port, pool: None })
        }
        _ => wrong(key, "not a domain, such as legacy.example or legacy.example:2525"),
    }
}

fn ladder(attempts: Vec<Object<Attempt>>, grants: &Grants) -> Result<Vec<Rung>, Wrong> {
    if attempts.is_empty() || attempts.len() > grants.attempts {
        return wrong(
            "retry",
            format!("{} attempts; from 1 to limits.attempts ({})", attempts.len(), grants.attempts),
        );
    }
    let rung = |(at, Object(attempt)): (usize, Object<Attempt>)| {
        if attempt.recipient.is_none() && attempt.upstream.is_none() && attempt.mx.is_none() {
            return wrong(format!("retry[{at}]"), "needs recipient, upstream or mx");
        }
        if attempt.upstream.is_some() && attempt.mx.is_some() {
            return wrong(format!("retry[{at}].mx"), "contradicts upstream: an attempt has only one of them");
        }
        let recipient =
            attempt.recipient.map(|Given(octets)| mailbox(&format!("retry[{at}].recipient"), octets, grants));
        let upstream = attempt.upstream.map(|name| pool(&format!("retry[{at}].upstream"), &name, grants));
        let mx = attempt.mx.map(|name| domain(&format!("retry[{at}].mx"), &name));
        Ok(Rung { recipient: recipient.transpose()?, pool: upstream.transpose()?, mx: mx.transpose()? })
    };
    attempts.into_iter().enumerate().map(rung).collect()
}

/// A reply in the hop's place.
pub(super) fn reply_at(stage: Stage, reply: Arc<Reply>, grants: &Grants) -> Result<Arc<Reply>, Wrong> {
    let what = match law::reply(stage, reply.code().class(), grants.discard) {
        Ok(()) => return Ok(reply),
        Err(Why::NoDiscard) => {
            format!("a 2xx at {} swallows the recipient, which needs effects: [discard]", stage.as_str())
        }
        Err(Why::Intermediate) => "a reply is never 3xx".to_owned(),
        Err(Why::Positive) => format!("a reply at {} is 4xx or 5xx", stage.as_str()),
        Err(_) => not_here(stage),
    };
    wrong("reply", what)
}

/// A reply in place of the hop's, as far as the stage tells: what is wrong whatever the hop said.
fn substitute(stage: Stage, reply: Arc<Reply>) -> Result<Arc<Reply>, Wrong> {
    match law::put_in(stage, reply.code().class()) {
        Ok(()) => Ok(reply),
        Err(Why::Intermediate) => wrong("substitute", "never makes a 3xx"),
        Err(Why::Positive) => {
            wrong("substitute", format!("only a 4xx or 5xx may be put in at {}", stage.as_str()))
        }
        Err(_) => wrong("substitute", not_here(stage)),
    }
}

/// The last reply to a client.
fn last(stage: Stage, reply: Arc<Reply>) -> Result<Arc<Reply>, Wrong> {
    match law::disconnect(stage, Some(reply.code().class())) {
        Ok(()) => Ok(reply),
        Err(Why::NotHere) => wrong("disconnect", not_here(stage)),
        Err(_) => wrong("disconnect", "the last reply to a client is 4xx or 5xx"),
    }
}

impl Lines {
    /// The reply they are, held to what a reply in a rule is held to.
    pub(super) fn reply(self, key: &str) -> Result<Arc<Reply>, Wrong> {
        let lines: Vec<&str> = self.0.iter().map(String::as_str).collect();
        if lines.len() > MOST_LINES {
            return wrong(key, format!("more than {MOST_LINES} lines"));
        }
        let reply = Reply::parse_written(&lines).or_else(|fault| wrong(key, fault.to_string()))?;
        // RFC 5321 section 4.2: the second digit is from 0 to 5.
        if reply.code().get() / 10 % 10 > 5 {
            return wrong(key, format!("{} is no reply code", reply.code()));
        }
        if !reply.as_bytes().is_ascii() {
            return wrong(key, "a reply is ASCII");
        }
        if reply.as_ref().lines().any(|line| contradicts(line, reply.code())) {
            return wrong(key, "an enhanced code of another class than the reply");
        }
        Ok(Arc::new(reply))
    }
}

/// RFC 2034 section 4: an enhanced code has the class of its reply.
fn contradicts(line: &[u8], code: Code) -> bool {
    EnhancedCode::parse(line).is_some_and(|enhanced| enhanced.class != code.class())
}
