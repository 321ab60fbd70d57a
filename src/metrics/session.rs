//! What a session reports, as what is counted.
//!
//! In:    the events of a session's turn.
//! Out:   counts in the worker's meter.
//! Never: decides anything; a new event of the session is a compile error here until it has a metric.

use super::labels::{
    AttemptFate, Bound, Class, Dropped, End, Fate, MessageFate, Origin, ProxyHeader, Rated, RecipientFate,
    Relief, Side, TlsSession, TlsVersion, Verb, VerdictKind,
};
use super::{Meter, Occurrence, Timing};
use crate::session::client;
use crate::session::io::{self, AttemptEnd, MessageEnd, Peer, SessionEnd, Taken};
use crate::session::limiter;
use crate::smtp;

impl Meter {
    /// Counts what a session reports.
    pub fn note(&self, event: io::Event) {
        match event {
            io::Event::Command(smtp::Verb::Other, taken @ Taken::Forwarded) => {
                self.count(Occurrence::Command(Verb::Forwarded, fate(taken)));
            }
            io::Event::Command(said, taken) => self.count(Occurrence::Command(verb(said), fate(taken))),
            io::Event::Answered { class, origin } => {
                let origin = match origin {
                    io::Origin::Hop(_) => Origin::Hop,
                    io::Origin::Gatepost => Origin::Gatepost,
                };
                self.reply(Side::Downstream, class, origin);
            }
            io::Event::Heard(class) => self.reply(Side::Upstream, class, Origin::Hop),
            io::Event::Malformed => self.count(Occurrence::MalformedReply),
            io::Event::Unasked => self.count(Occurrence::Dropped(Dropped::UnaskedReply)),
            io::Event::Message(end, octets) => {
                self.count(Occurrence::Message(message_fate(end)));
                self.add(Occurrence::ContentOctets, octets);
            }
            io::Event::Mended(count) => self.add(Occurrence::NewlinesMended, count),
            io::Event::Broke(signature) => {
                self.count(Occurrence::SignatureBroken(signature));
            }
            io::Event::Attempt(end) => self.count(Occurrence::Attempt(attempt_fate(end))),
            io::Event::Recipient(class) => {
                let fate = match class {
                    2 => RecipientFate::Accepted,
                    4 => RecipientFate::Deferred,
                    _ => RecipientFate::Refused,
                };
                self.count(Occurrence::Recipient(fate));
            }
            io::Event::FailedOver => self.count(Occurrence::FailedOver),
            io::Event::Verdict(kind) => {
                if let Some(kind) = verdict(kind) {
                    self.count(Occurrence::Verdict(kind));
                }
            }
            // By the callout's name, which this worker's array has no place for.
            io::Event::Asked(..) => {}
            io::Event::LateAnswer => self.count(Occurrence::Dropped(Dropped::LateAnswer)),
            io::Event::MessageLimited(bound) => self.count(Occurrence::Limited(Rated::Mail, whose(bound))),
            io::Event::RecipientLimited(bound) => self.count(Occurrence::Limited(Rated::Rcpt, whose(bound))),
            io::Event::Passing => self.count(Occurrence::Passthrough),
            io::Event::Passed(from, octets) => self.add(Occurrence::PassthroughOctets(side(from)), octets),
            io::Event::Ended(end) => self.count(Occurrence::SessionEnded(session_end(end))),
            io::Event::HiddenKeyword => self.count(Occurrence::HiddenKeyword),
            io::Event::HiddenMechanism => self.count(Occurrence::HiddenMechanism),
            io::Event::StrayHeader { second: true } => {
                self.count(Occurrence::ProxyHeader(ProxyHeader::Second))
            }
            io::Event::StrayHeader { second: false } => {
                self.count(Occurrence::ProxyHeader(ProxyHeader::Unlisted))
            }
            io::Event::Secured(peer, version, resumed) => {
                let session = if resumed { TlsSession::Resumed } else { TlsSession::New };
                self.count(Occurrence::TlsHandshake(side(peer), tls_version(version), session));
            }
            io::Event::Unverified(io::Peer::Downstream) => self.count(Occurrence::ClientUnverified),
            io::Event::Unverified(io::Peer::Upstream(_)) => self.count(Occurrence::Unverified),
            // It has no certificate.
            io::Event::Unverified(io::Peer::Spool) => {}
            io::Event::NotTold => self.count(Occurrence::NotTold),
            io::Event::Foreign(what) => self.count(Occurrence::Foreign(what)),
            io::Event::NotSecured(peer, kind) => self.count(Occurrence::TlsFailure(side(peer), kind)),
            io::Event::Relieved(io::Relief::ClientEnded) => {
                self.count(Occurrence::Relief(Relief::ClientEnded))
            }
            io::Event::Relieved(io::Relief::HopWithheld) => {
                self.count(Occurrence::Relief(Relief::HopWithheld))
            }
            io::Event::Waited(took) => self.time(Timing::Waited, took),
        }
    }

    fn reply(&self, side: Side, digit: u8, origin: Origin) {
        if let Some(class) = class(digit) {
            self.count(Occurrence::Reply(side, class, origin));
        }
    }
}

/// A verb as it was parsed; one that `forward_verbs` lets pass is not known here to be one.
fn verb(verb: smtp::Verb) -> Verb {
    match verb {
        smtp::Verb::Ehlo => Verb::Ehlo,
        smtp::Verb::Helo => Verb::Helo,
        smtp::Verb::Mail => Verb::Mail,
        smtp::Verb::Rcpt => Verb::Rcpt,
        smtp::Verb::Data => Verb::Data,
        smtp::Verb::Bdat => Verb::Bdat,
        smtp::Verb::Rset => Verb::Rset,
        smtp::Verb::Noop => Verb::Noop,
        smtp::Verb::Quit => Verb::Quit,
        smtp::Verb::Auth => Verb::Auth,
        smtp::Verb::Starttls => Verb::Starttls,
        smtp::Verb::Xclient => Verb::Xclient,
        smtp::Verb::Xforward => Verb::Xforward,
        smtp::Verb::Vrfy => Verb::Vrfy,
        smtp::Verb::Expn => Verb::Expn,
        smtp::Verb::Help => Verb::Help,
        smtp::Verb::Etrn => Verb::Etrn,
        smtp::Verb::Other => Verb::Unknown,
    }
}

/// The class of replies that begin with this digit, if any do.
fn class(digit: u8) -> Option<Class> {
    match digit {
        2 => Some(Class::Positive),
        3 => Some(Class::Intermediate),
        4 => Some(Class::Transient),
        5 => Some(Class::Permanent),
        _ => None,
    }
}

fn side(peer: Peer) -> Side {
    match peer {
        Peer::Downstream => Side::Downstream,
        Peer::Upstream(_) | Peer::Spool => Side::Upstream,
    }
}

fn tls_version(version: client::TlsVersion) -> TlsVersion {
    match version {
        client::TlsVersion::Tls12 => TlsVersion::Tls12,
        client::TlsVersion::Tls13 => TlsVersion::Tls13,
        client::TlsVersion::Other => TlsVersion::Other,
    }
}

fn fate(taken: Taken) -> Fate {
    match taken {
        Taken::Forwarded => Fate::Forwarded,
        Taken::Answered => Fate::Answered,
        Taken::Refused => Fate::Refused,
        Taken::Malformed => Fate::Malformed,
    }
}

fn message_fate(end: MessageEnd) -> MessageFate {
    match end {
        MessageEnd::Accepted => MessageFate::Accepted,
        MessageEnd::Refused => MessageFate::Refused,
        MessageEnd::Lost => MessageFate::Lost,
        MessageEnd::Discarded => MessageFate::Discarded,
        MessageEnd::DeliveredUnheard => MessageFate::DeliveredUnheard,
    }
}

fn attempt_fate(end: AttemptEnd) -> AttemptFate {
    match end {
        AttemptEnd::Accepted => AttemptFate::Accepted,
        AttemptEnd::Deferred => AttemptFate::OtherHop,
        AttemptEnd::Refused => AttemptFate::Refused,
        AttemptEnd::Failed => AttemptFate::Failed,
    }
}

fn verdict(kind: io::VerdictKind) -> Option<VerdictKind> {
    Some(match kind {
        io::VerdictKind::Rewrite => VerdictKind::Rewrite,
        io::VerdictKind::Reply => VerdictKind::Reply,
        io::VerdictKind::Substitute => VerdictKind::Substitute,
        io::VerdictKind::Retry => VerdictKind::Retry,
        io::VerdictKind::Route => VerdictKind::Route,
        io::VerdictKind::Accept => VerdictKind::Accept,
        io::VerdictKind::Disconnect => VerdictKind::Disconnect,
        io::VerdictKind::Discard => VerdictKind::Discard,
        io::VerdictKind::Skipped => VerdictKind::Skipped,
        io::VerdictKind::Edit => VerdictKind::Edit,
        io::VerdictKind::Failed => return None,
    })
}

fn whose(bound: limiter::Bound) -> Bound {
    match bound {
        limiter::Bound::Client => Bound::Client,
        limiter::Bound::Range => Bound::Range,
    }
}

fn session_end(end: SessionEnd) -> End {
    match end {
        SessionEnd::Quit => End::Quit,
        SessionEnd::ClientGone => End::ClientGone,
        SessionEnd::Idle => End::ClientTimeout,
        SessionEnd::HopLost => End::HopLost,
        SessionEnd::HopClosed => End::HopRefused,
        SessionEnd::Verdict => End::Verdict,
        SessionEnd::Limit => End::Limit,
        SessionEnd::Protocol => End::Protocol,
        SessionEnd::EarlyTalker => End::EarlyTalker,
        SessionEnd::Tls => End::Tls,
        SessionEnd::Passed => End::Passed,
        SessionEnd::Shutdown => End::Shutdown,
    }
}
