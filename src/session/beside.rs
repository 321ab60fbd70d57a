//! What a callout may say beside a verdict on a command: it decides nothing by itself.
//!
//! In:    a header field for the message; replies for the case that those who are asked later permit or reject; a remark
//!        for the log.
//! Out:   what is said instead of what they came to, if anything was provided for that.
//! Never: says anything but a 4xx, or something to one command that was provided for another.
//!
//! The provisos are those of Postfix (access(5): DEFER_IF_PERMIT, DEFER_IF_REJECT).

use std::sync::Arc;

use super::stage::CalloutId;
use super::verdict::CommandVerdict;
use crate::smtp::Reply;

/// What is said beside a verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// A header field, with its line end, that goes before the message's own.
    pub prepend: Option<Box<[u8]>>,
    /// Said instead of going on, unless somebody asked later refuses.
    pub if_permitted: Option<Arc<Reply>>,
    /// Said instead of a permanent refusal by somebody asked later.
    pub if_rejected: Option<Arc<Reply>>,
    /// For the log alone; no control characters, bounded by whoever writes it.
    pub remark: Option<Box<str>>,
}

/// What was provided for in the asking about one command, and by whom; the first of each counts.
#[derive(Default, Debug)]
pub struct Provisos {
    if_permitted: Option<(Arc<Reply>, CalloutId)>,
    if_rejected: Option<(Arc<Reply>, CalloutId)>,
}

impl Provisos {
    /// Somebody leaves the decision to those asked later.
    pub fn note(&mut self, by: CalloutId, beside: &Beside) {
        for (given, kept) in
            [(&beside.if_permitted, &mut self.if_permitted), (&beside.if_rejected, &mut self.if_rejected)]
        {
            if let Some(reply) = given {
                kept.get_or_insert_with(|| (Arc::clone(reply), by));
            }
        }
    }

    /// What is said instead of what the asking came to, and by whom. `None`: nobody decided.
    pub fn instead_of(&mut self, verdict: Option<&CommandVerdict>) -> Option<(Arc<Reply>, CalloutId)> {
        match verdict {
            None | Some(CommandVerdict::Accept | CommandVerdict::Route(_)) => self.if_permitted.take(),
            Some(CommandVerdict::Reply(reply)) => {
                let permanent = reply.code().is_negative() && !reply.code().is_transient();
                self.if_rejected.take().filter(|_| permanent)
            }
            Some(CommandVerdict::Disconnect(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::route::PoolId;

    fn reply(line: &str) -> Arc<Reply> {
        Arc::new(Reply::parse_written(&[line]).unwrap())
    }

    #[test]
    fn what_the_asking_comes_to() {
        let (permitted, rejected) = (reply("450 4.7.1 Permitted"), reply("450 4.7.1 Rejected"));
        let said = |verdict: Option<CommandVerdict>| {
            let mut provisos = Provisos::default();
            let first = Beside { if_permitted: Some(permitted.clone()), ..Beside::default() };
            let second = Beside {
                if_permitted: Some(reply("450 4.7.1 Too late")),
                if_rejected: Some(rejected.clone()),
                ..Beside::default()
            };
            provisos.note(CalloutId(3), &first);
            provisos.note(CalloutId(4), &second);
            provisos.instead_of(verdict.as_ref())
        };
        let by_first = Some((permitted.clone(), CalloutId(3)));
        assert_eq!(said(None), by_first);
        assert_eq!(said(Some(CommandVerdict::Accept)), by_first);
        assert_eq!(said(Some(CommandVerdict::Route(PoolId(1)))), by_first);
        let refused = said(Some(CommandVerdict::Reply(reply("550 5.1.1 No"))));
        assert_eq!(refused, Some((rejected.clone(), CalloutId(4))));
        assert_eq!(said(Some(CommandVerdict::Reply(reply("451 4.3.0 Later")))), None);
        // A recipient that is swallowed is permitted, too, but was decided about for good.
        assert_eq!(said(Some(CommandVerdict::Reply(reply("250 2.1.5 Swallowed")))), None);
        assert_eq!(said(Some(CommandVerdict::Disconnect(None))), None);
        assert_eq!(Provisos::default().instead_of(None), None);
    }
}
