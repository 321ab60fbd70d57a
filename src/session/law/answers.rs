//! A callout's answer, held against the law of its stage.
//!
//! In:    a stage, an answer in the two verdict types, for reply stages the hop's reply.
//! Out:   what is wrong, in words for the log; the callout has then failed.
//! Never: repairs a verdict, or knows a session. What a stage allows is the law's; what only an answer can get wrong, an
//!        address that is none or a ladder without an attempt, is found here.
//!
//! RFC 5321 4.5.1 (postmaster).

use super::super::callout::{Beside, CalloutTerms};
use super::super::owed::What;
use super::super::stage::Stage;
use super::super::verdict::{CommandVerdict, MessageAnswer, MessageVerdict, ReplyVerdict, Rewrites, Rung};
use super::{Part, Why, command_verdict, message_verdict, prepends, reply, reply_verdict, rewrites};
use crate::message::Edit;
use crate::smtp::{Path, Reply, ReplyRef, is_header_field};

/// What is wrong with an answer to a command.
pub fn command_fault(
    stage: Stage,
    rewritten: &Rewrites,
    verdict: Option<&CommandVerdict>,
    beside: Option<&Beside>,
    terms: CalloutTerms,
) -> Option<&'static str> {
    let given = |part: &Part| match part {
        Part::Sender => rewritten.sender.is_some(),
        Part::Recipient => rewritten.recipient.is_some(),
        Part::Helo => rewritten.helo.is_some(),
        Part::Parameters => rewritten.parameters.is_some(),
    };
    if Part::ALL.iter().any(|part| given(part) && !rewrites(stage, *part)) {
        return Some("a rewrite of what is not there");
    }
    if let Some(fault) = beside.and_then(|beside| beside_fault(stage, beside)) {
        return Some(fault);
    }
    let verdict = verdict?;
    let why = command_verdict(stage, verdict, terms.may_discard).err()?;
    Some(words(why, matches!(verdict, CommandVerdict::Disconnect(_))))
}

fn beside_fault(stage: Stage, beside: &Beside) -> Option<&'static str> {
    match &beside.prepend {
        Some(_) if !prepends(stage) => return Some("a header field where there is no message"),
        Some(field) if !is_header_field(field) => return Some("a header field that is none"),
        _ => {}
    }
    let provisos = [&beside.if_permitted, &beside.if_rejected];
    let temporary = |said: &Reply| said.code().class() == 4 && reply(stage, 4, false).is_ok();
    let all = provisos.into_iter().flatten().all(|said| temporary(said));
    (!all).then_some("a proviso that is not 4xx")
}

/// What is wrong with an answer to a message.
pub fn message_fault(answer: &MessageAnswer, terms: CalloutTerms) -> Option<&'static str> {
    if let Some(fault) = answer.edits.iter().find_map(Edit::fault) {
        return Some(fault);
    }
    let verdict = answer.verdict.as_ref()?;
    let why = message_verdict(verdict, terms.may_discard).err()?;
    Some(words(why, matches!(verdict, MessageVerdict::Disconnect(_))))
}

/// What is wrong with an answer to a hop's reply. `most`: octets a line may have.
pub fn reply_fault(
    stage: Stage,
    reply: ReplyRef<'_>,
    verdict: &ReplyVerdict,
    most: usize,
) -> Option<&'static str> {
    match (reply_verdict(stage, reply, verdict), verdict) {
        (Err(why), _) => Some(words(why, matches!(verdict, ReplyVerdict::Disconnect(_)))),
        (Ok(()), ReplyVerdict::Retry(rungs)) if rungs.is_empty() => Some("a retry without an attempt"),
        (Ok(()), ReplyVerdict::Retry(rungs)) => rungs.iter().find_map(|rung| rung_fault(rung, most)),
        (Ok(()), _) => None,
    }
}

/// Why not, for the log; `last`: what is said last to a client.
fn words(why: Why, last: bool) -> &'static str {
    match why {
        Why::NotHere => "a verdict that the stage does not take",
        Why::Intermediate | Why::Positive if last => "a last reply that is not 4xx or 5xx",
        Why::Intermediate => "a reply that is 3xx",
        Why::Positive => "a 2xx reply where only 4xx or 5xx may be said",
        Why::NoDiscard => "a 2xx reply without effects: [discard]",
        Why::ForNoPositive => "a 2xx substitute for a reply that is none",
        Why::Accepted => "a refusal of content that the hop accepted",
        Why::NotRefused => "a retry of a recipient that was not refused",
    }
}

fn rung_fault(rung: &Rung, most: usize) -> Option<&'static str> {
    match &rung.recipient {
        None if rung.pool.is_none() && rung.mx.is_none() => Some("an attempt that names nothing to try"),
        Some(path)
            if path.is_empty() || path.len() > most.min(Path::LONGEST) || Path::parse(path).is_err() =>
        {
            Some("an attempt at a recipient that is no address")
        }
        _ => None,
    }
}

/// Whether this is the recipient `<postmaster>` as the client gave it.
pub fn is_postmaster(what: &What) -> bool {
    let What::Rcpt(recipient) = what else { return false };
    Path::parse(recipient.given_octets()).is_ok_and(|path| names_postmaster(path))
}

/// Whether a path is `<postmaster>`.
pub fn names_postmaster(path: Path<'_>) -> bool {
    path.domain().is_none() && path.local().eq_ignore_ascii_case(b"postmaster")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::session::callout::OnError;
    use crate::session::route::PoolId;
    use crate::smtp::Reply;

    fn reply(line: &str) -> Arc<Reply> {
        Arc::new(Reply::parse_written(&[line]).unwrap())
    }

    fn terms(may_discard: bool) -> CalloutTerms {
        let timeout = Duration::from_secs(1);
        CalloutTerms {
            timeout,
            per_mib: Duration::ZERO,
            on_error: OnError::Pass,
            may_discard,
            refuse_postmaster: false,
        }
    }

    /// The stages at which a verdict on a command is allowed.
    fn command_stages(verdict: &CommandVerdict, terms: CalloutTerms) -> Vec<&'static str> {
        let allowed =
            |stage: &Stage| command_fault(*stage, &Rewrites::default(), Some(verdict), None, terms).is_none();
        // (A message has verdicts of its own.)
        let commands = Stage::ALL.into_iter().filter(|stage| !stage.is_reply() && *stage != Stage::Message);
        commands.filter(allowed).map(Stage::as_str).collect()
    }

    /// The stages at which a verdict on this reply is allowed.
    fn reply_stages(line: &str, verdict: &ReplyVerdict) -> Vec<&'static str> {
        let heard = reply(line);
        let allowed = |stage: &Stage| reply_fault(*stage, heard.as_ref().as_ref(), verdict, 512).is_none();
        Stage::ALL.into_iter().filter(|stage| stage.is_reply()).filter(allowed).map(Stage::as_str).collect()
    }

    #[test]
    fn the_log_says_what_is_wrong() {
        let command = |stage, verdict, discard| {
            command_fault(stage, &Rewrites::default(), Some(&verdict), None, terms(discard))
                .unwrap_or("nothing")
        };
        let said = |line| CommandVerdict::Reply(reply(line));
        let last = |line| CommandVerdict::Disconnect(Some(reply(line)));
        let faults = [
            command(Stage::Mail, said("354 go"), true),
            command(Stage::Mail, last("354 go"), true),
            command(Stage::Mail, said("250 yes"), true),
            command(Stage::Mail, last("250 yes"), true),
            command(Stage::Rcpt, said("250 yes"), false),
            command(Stage::Data, CommandVerdict::Route(PoolId(0)), false),
            command(Stage::Mail, said("550 no"), false),
        ];
        assert_eq!(
            faults,
            [
                "a reply that is 3xx",
                "a last reply that is not 4xx or 5xx",
                "a 2xx reply where only 4xx or 5xx may be said",
                "a last reply that is not 4xx or 5xx",
                "a 2xx reply without effects: [discard]",
                "a verdict that the stage does not take",
                "nothing",
            ]
        );
    }

    #[test]
    fn rungs() {
        let heard = reply("550 no");
        let fault = |rungs: Vec<Rung>| {
            let verdict = ReplyVerdict::Retry(rungs);
            reply_fault(Stage::RcptReply, heard.as_ref().as_ref(), &verdict, 20).unwrap_or("nothing")
        };
        let to = |path: &str| Rung { recipient: Some(path.as_bytes().into()), ..Rung::default() };
        let pool = Rung { pool: Some(PoolId(0)), ..Rung::default() };
        assert_eq!(fault(vec![]), "a retry without an attempt");
        assert_eq!(fault(vec![pool.clone(), Rung::default()]), "an attempt that names nothing to try");
        assert_eq!(fault(vec![pool]), "nothing");
        assert_eq!(fault(vec![to("twentyocte@ts.example")]), "an attempt at a recipient that is no address");
        assert_eq!(fault(vec![to("twentyoct@ts.example")]), "nothing");
        assert_eq!(fault(vec![to("")]), "an attempt at a recipient that is no address");
        assert_eq!(fault(vec![to("two@signs@example")]), "an attempt at a recipient that is no address");
    }

    const COMMANDS: [&str; 7] = ["connect", "helo", "auth", "mail", "rcpt", "data", "other"];

    #[test]
    fn commands() {
        let said = |line| CommandVerdict::Reply(reply(line));
        assert_eq!(command_stages(&said("550 no"), terms(false)), COMMANDS);
        assert_eq!(command_stages(&said("450 no"), terms(false)), COMMANDS);
        assert_eq!(command_stages(&said("250 yes"), terms(false)), ["other"]);
        assert_eq!(command_stages(&said("250 yes"), terms(true)), ["rcpt", "other"]);
        assert!(command_stages(&said("354 go"), terms(true)).is_empty());
        let route = CommandVerdict::Route(PoolId(0));
        assert_eq!(command_stages(&route, terms(false)), ["connect", "helo", "auth", "mail", "rcpt"]);
        assert_eq!(command_stages(&CommandVerdict::Disconnect(None), terms(false)), COMMANDS);
        assert!(command_stages(&CommandVerdict::Disconnect(Some(reply("221 x"))), terms(false)).is_empty());
        assert_eq!(command_stages(&CommandVerdict::Accept, terms(false)), COMMANDS);
    }

    #[test]
    fn replies() {
        let said = |line| ReplyVerdict::Substitute(reply(line));
        assert_eq!(reply_stages("250 yes", &said("550 no")).len(), 7);
        assert_eq!(reply_stages("550 no", &said("450 no")).len(), 8);
        let may_be_positive =
            ["connect-reply", "auth-reply", "mail-reply", "rcpt-reply", "other-reply", "message-reply"];
        assert_eq!(reply_stages("250 yes", &said("250 ok")), may_be_positive);
        assert!(reply_stages("550 no", &said("250 yes")).is_empty());
        assert!(reply_stages("354 go", &said("354 go")).is_empty());
        assert!(reply_stages("354 go", &said("250 yes")).is_empty());
        let rung = |path: &str| Rung { recipient: Some(path.as_bytes().into()), ..Rung::default() };
        let retry = |path: &str| ReplyVerdict::Retry(vec![rung(path)]);
        assert_eq!(reply_stages("550 no", &retry("a@b.test")), ["rcpt-reply"]);
        assert!(reply_stages("250 yes", &retry("a@b.test")).is_empty());
        assert!(reply_stages("550 no", &retry("a@b@c")).is_empty());
        assert!(reply_stages("550 no", &retry(&format!("{}@b.test", "a".repeat(600)))).is_empty());
        assert!(reply_stages("550 no", &ReplyVerdict::Retry(Vec::new())).is_empty());
        assert_eq!(reply_stages("550 no", &ReplyVerdict::Disconnect(None)).len(), 7);
    }

    #[test]
    fn rewrites_only_of_what_is_there() {
        let recipient = Rewrites { recipient: Some(b"a@b.test".as_slice().into()), ..Rewrites::default() };
        assert_eq!(command_fault(Stage::Rcpt, &recipient, None, None, terms(false)), None);
        assert!(command_fault(Stage::Mail, &recipient, None, None, terms(false)).is_some());
    }
}
