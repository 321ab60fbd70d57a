//! What a session notices, as metrics.
//!
//! In:    the session's [`io::Event`]s.
//! Out:   one addition each in the worker's [`Meter`].
//! Never: adds a label that a client, a sender or a recipient could choose.

use crate::metrics::{
    AttemptFate, Class, Dropped, End, Event, FailoverFate, Fate, Limit, MessageFate, Meter, Origin,
    RecipientFate, Side, Verb, VerdictKind,
};
use crate::session::io::{self, AttemptEnd, MessageEnd, SessionEnd, Taken};
use crate::smtp;

/// Counts one event.
pub fn count(meter: &Meter, event: io::Event) {
    let event = match event {
        io::Event::Command(verb, taken) => Event::Command(verb_of(verb), fate_of(taken)),
        io::Event::Answered { class, by_hop } => {
            let origin = if by_hop { Origin::Hop } else { Origin::Gatepost };
            Event::Reply(Side::Downstream, class_of(class), origin)
        }
        io::Event::Heard(class) => Event::Reply(Side::Upstream, class_of(class), Origin::Hop),
        io::Event::Malformed => Event::Dropped(Dropped::MalformedReply),
        io::Event::Unasked => Event::Dropped(Dropped::UnaskedReply),
        io::Event::HiddenKeyword => Event::Dropped(Dropped::EhloKeyword),
        io::Event::Message(end, octets) => {
            meter.add(Event::ContentOctets(Side::Downstream), octets);
            if matches!(end, MessageEnd::Accepted | MessageEnd::DeliveredUnheard) {
                meter.add(Event::ContentOctets(Side::Upstream), octets);
            }
            Event::Message(message_of(end))
        }
        io::Event::Mended(number) => return meter.add(Event::NewlinesMended, number),
        io::Event::Attempt(end) => Event::Attempt(attempt_of(end)),
        io::Event::Recipient(class) => Event::Recipient(match class {
            2 => RecipientFate::Accepted,
            4 => RecipientFate::Deferred,
            _ => RecipientFate::Refused,
        }),
        io::Event::FailedOver(replaced) => {
            Event::Failover(if replaced { FailoverFate::Replaced } else { FailoverFate::Exhausted })
        }
        io::Event::Verdict(kind) => Event::Verdict(verdict_of(kind)),
        io::Event::Limit(limit) => Event::Limit(limit_of(limit)),
        io::Event::Ended(end) => Event::SessionEnded(end_of(end)),
    };
    meter.count(event);
}

fn class_of(class: u8) -> Class {
    match class {
        2 => Class::Positive,
        3 => Class::Intermediate,
        4 => Class::Transient,
        _ => Class::Permanent,
    }
}

fn fate_of(taken: Taken) -> Fate {
    match taken {
        Taken::Forwarded => Fate::Forwarded,
        Taken::Answered => Fate::Answered,
        Taken::Refused => Fate::Refused,
        Taken::Malformed => Fate::Malformed,
    }
}

fn message_of(end: MessageEnd) -> MessageFate {
    match end {
        MessageEnd::Accepted => MessageFate::Accepted,
        MessageEnd::Refused => MessageFate::Refused,
        MessageEnd::Lost => MessageFate::Lost,
        MessageEnd::Discarded => MessageFate::Discarded,
        MessageEnd::DeliveredUnheard => MessageFate::DeliveredUnheard,
    }
}

fn attempt_of(end: AttemptEnd) -> AttemptFate {
    match end {
        AttemptEnd::Accepted => AttemptFate::Accepted,
        AttemptEnd::Deferred => AttemptFate::OtherHop,
        AttemptEnd::Refused => AttemptFate::Refused,
        AttemptEnd::Failed => AttemptFate::Unreachable,
    }
}

fn limit_of(limit: io::Limit) -> Limit {
    match limit {
        io::Limit::CommandLine => Limit::CommandLine,
        io::Limit::AuthLine => Limit::AuthLine,
        io::Limit::MessageSize => Limit::MessageSize,
        io::Limit::Recipients => Limit::Recipients,
        io::Limit::Errors => Limit::Errors,
        io::Limit::HopSessions => Limit::HopSessions,
    }
}

fn verdict_of(kind: io::VerdictKind) -> VerdictKind {
    match kind {
        io::VerdictKind::Rewrite => VerdictKind::Rewrite,
        io::VerdictKind::Reply => VerdictKind::Reply,
        io::VerdictKind::Substitute => VerdictKind::Substitute,
        io::VerdictKind::Retry => VerdictKind::Retry,
        io::VerdictKind::Route => VerdictKind::Route,
        io::VerdictKind::Accept => VerdictKind::Accept,
        io::VerdictKind::Disconnect => VerdictKind::Disconnect,
        io::VerdictKind::Discard => VerdictKind::Discard,
    }
}

fn end_of(end: SessionEnd) -> End {
    match end {
        SessionEnd::Quit => End::Quit,
        SessionEnd::ClientGone => End::ClientGone,
        SessionEnd::Idle => End::ClientTimeout,
        SessionEnd::HopLost => End::HopLost,
        SessionEnd::HopClosed => End::HopRefused,
        SessionEnd::Verdict => End::Verdict,
        SessionEnd::Limit => End::Limit,
        SessionEnd::Protocol => End::Protocol,
        SessionEnd::Shutdown => End::Shutdown,
    }
}

fn verb_of(verb: smtp::Verb) -> Verb {
    match verb {
        smtp::Verb::Helo => Verb::Helo,
        smtp::Verb::Ehlo => Verb::Ehlo,
        smtp::Verb::Mail => Verb::Mail,
        smtp::Verb::Rcpt => Verb::Rcpt,
        smtp::Verb::Data => Verb::Data,
        smtp::Verb::Bdat => Verb::Bdat,
        smtp::Verb::Rset => Verb::Rset,
        smtp::Verb::Noop => Verb::Noop,
        smtp::Verb::Quit => Verb::Quit,
        smtp::Verb::Vrfy => Verb::Vrfy,
        smtp::Verb::Expn => Verb::Expn,
        smtp::Verb::Help => Verb::Help,
        smtp::Verb::Etrn => Verb::Etrn,
        smtp::Verb::Auth => Verb::Auth,
        smtp::Verb::Starttls => Verb::Starttls,
        smtp::Verb::Other => Verb::Unknown,
    }
}
