//! What one rule says, in words.
//!
//! **In**: what [`crate::rules`] explains. **Out**: the rest of its line, in the words of the configuration.
//! **Never**: more than one line; an octet that a terminal would obey.

use super::Context;
use crate::log::text;
use crate::message::Edit;
use crate::rules::Says;
use crate::session::callout::Beside;
use crate::session::route::PoolId;
use crate::session::verdict::{
    CommandVerdict, EnvelopeEdit, MessageAnswer, MessageVerdict, ReplyVerdict, Rewrites, RuleId, Rules, Rung,
};
use crate::smtp::{Reply, own};

impl Context<'_> {
    pub(super) fn told(&self, says: &Says) -> String {
        match says {
            Says::Unmet(keys) => format!("does not match: {}", keys.join(", ")),
            Says::NotInMap => "matches, but its map does not know the recipient".to_owned(),
            Says::Command(rewrites, verdict) => {
                let told = self.told_command(rewrites, verdict.as_ref(), None);
                told.unwrap_or_else(|| "matches, and changes nothing".to_owned())
            }
            Says::Message(answer) => {
                self.told_message(answer).unwrap_or_else(|| "matches, and changes nothing".to_owned())
            }
            Says::Reply(verdict) => self.told_reply(verdict),
            Says::Otherwise(verdict) => format!("if that fails: {}", self.told_reply(verdict)),
            Says::NotAsked(by) => format!("not asked, {} has decided", self.rule(*by)),
            Says::BadValue(by) => format!("not asked, what {} has made is no address", self.rule(*by)),
        }
    }

    /// Rewrites and a verdict; `None`: neither.
    pub(super) fn told_command(
        &self,
        rewrites: &Rewrites,
        verdict: Option<&CommandVerdict>,
        beside: Option<&Beside>,
    ) -> Option<String> {
        let mut parts = self.rewrites(rewrites);
        if let Some(Beside { prepend, if_permitted, if_rejected, remark }) = beside {
            parts.extend(remark.as_deref().map(|remark| format!("remark: {remark}")));
            parts.extend(prepend.as_deref().map(|field| format!("prepend {}", text(field.trim_ascii_end()))));
            parts.extend(
                if_permitted.as_deref().map(|said| format!("if nobody refuses, reply {}", lines(said))),
            );
            parts.extend(
                if_rejected.as_deref().map(|said| format!("if another refuses, reply {}", lines(said))),
            );
        }
        parts.extend(verdict.map(|verdict| self.command(verdict)));
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    pub(super) fn pool(&self, pool: PoolId) -> &str {
        self.pools.get(usize::from(pool.0)).copied().unwrap_or_default()
    }

    fn rule(&self, rule: RuleId) -> &str {
        self.rules.name(rule)
    }

    fn rewrites(&self, rewrites: &Rewrites) -> Vec<String> {
        let path = |path: &[u8]| format!("<{}>", text(path));
        let values = [
            ("sender", rewrites.sender.as_deref().map(path)),
            ("recipient", rewrites.recipient.as_deref().map(path)),
            ("helo", rewrites.helo.as_deref().map(text)),
            ("parameters", rewrites.parameters.as_deref().map(|new| format!("\"{}\"", text(new)))),
        ];
        values.into_iter().filter_map(|(what, new)| Some(format!("rewrite {what} {}", new?))).collect()
    }

    fn command(&self, verdict: &CommandVerdict) -> String {
        match verdict {
            CommandVerdict::Reply(reply) => format!("reply {}", lines(reply)),
            CommandVerdict::Route(pool) => format!("route upstream {}", self.pool(*pool)),
            CommandVerdict::Accept => "accept".to_owned(),
            CommandVerdict::Disconnect(reply) => format!("disconnect {}", last_words(reply.as_deref())),
        }
    }

    /// Changes of a message and a verdict; `None`: neither.
    pub(super) fn told_message(&self, answer: &MessageAnswer) -> Option<String> {
        let mut parts = changes(answer);
        parts.extend(answer.verdict.as_ref().map(|verdict| match verdict {
            MessageVerdict::Reply(reply) => format!("reply {}", lines(reply)),
            MessageVerdict::Route(pool) => format!("route upstream {}", self.pool(*pool)),
            MessageVerdict::Discard => "discard".to_owned(),
            MessageVerdict::Accept => "accept".to_owned(),
            MessageVerdict::Disconnect(reply) => format!("disconnect {}", last_words(reply.as_deref())),
        }));
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    pub(super) fn told_reply(&self, verdict: &ReplyVerdict) -> String {
        match verdict {
            ReplyVerdict::Substitute(reply) => format!("substitute {}", lines(reply)),
            ReplyVerdict::Retry(rungs) => {
                let rungs: Vec<String> = rungs.iter().map(|rung| self.rung(rung)).collect();
                format!("retry {}", rungs.join(", then "))
            }
            ReplyVerdict::Accept => "accept".to_owned(),
            ReplyVerdict::Disconnect(reply) => format!("disconnect {}", last_words(reply.as_deref())),
        }
    }

    fn rung(&self, rung: &Rung) -> String {
        let recipient = rung.recipient.as_deref().map(|path| format!("recipient <{}>", text(path)));
        let pool = rung.pool.map(|pool| format!("upstream {}", self.pool(pool)));
        let mx = rung.mx.as_ref().map(|domain| format!("mx {}", domain.name));
        let parts: Vec<String> = recipient.into_iter().chain(pool).chain(mx).collect();
        // A map can say of a recipient that it stays where it is.
        if parts.is_empty() { "the same again".to_owned() } else { parts.join(" ") }
    }
}

/// What is changed of a message and of its envelope.
pub(super) fn changes(answer: &MessageAnswer) -> Vec<String> {
    let field = |field: &[u8]| text(field.trim_ascii_end());
    let of_message = answer.edits.iter().map(|edit| match edit {
        Edit::Insert { at: 0, field: new } => format!("add header {}", field(new)),
        Edit::Insert { at, field: new } => format!("add header {} in place {at}", field(new)),
        Edit::Append(new) => format!("add header {} behind all others", field(new)),
        Edit::Change { name, nth, field: new } => format!("change header {name} ({nth}) to {}", field(new)),
        Edit::Delete { name, nth } => format!("remove header {name} ({nth})"),
        Edit::DeleteAll(name) => format!("remove header {name}"),
        Edit::Header(fields) => format!("another header, of {} fields", fields.len()),
        Edit::Body(body) => format!("another body, of {} octets", body.len()),
    });
    let of_envelope = answer.envelope.iter().map(|edit| match edit {
        EnvelopeEdit::Sender { path, .. } => format!("rewrite sender <{}>", text(path)),
        EnvelopeEdit::Add { path, .. } => format!("add recipient <{}>", text(path)),
        EnvelopeEdit::Remove(path) => format!("remove recipient <{}>", text(path)),
    });
    of_message.chain(of_envelope).collect()
}

/// What the client hears before it is closed.
pub(super) fn last_words(reply: Option<&Reply>) -> String {
    match reply {
        Some(reply) => lines(reply),
        None => own(&own::DISCONNECTED),
    }
}

/// One of gatepost's own replies; the session's id is left out.
pub(super) fn own(own: &crate::smtp::Own) -> String {
    format!("{} {} {}", own.code, own.enhanced.unwrap_or_default(), own.text)
}

/// A reply in one line.
pub(super) fn lines(reply: &Reply) -> String {
    let lines = reply.as_bytes().split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii_end);
    lines.filter(|line| !line.is_empty()).map(text).collect::<Vec<_>>().join(" / ")
}
