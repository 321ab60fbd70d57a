//! Client by MTA: every client with every feature before every MTA, once without gatepost and once with it.
//!
//! In:    the clients, features and MTAs listed here.
//! Out:   one trial for each client and MTA, and the table `tests/interop/matrix/table.txt`: what was stored and what
//!        was heard. A trial fails where gatepost makes a difference, and where the table says something else.
//! Never: has a client say what it has no way to say: such a cell is not in the table.
//!
//! `BLESS=1` rewrites the table, provided that all of it was run.

mod send;
mod table;

use libtest_mimic::Trial;

use crate::bench::{Bench, Run, assert_same, is_left_out};
use crate::support::exim::Exim;
use crate::support::mta::Mta;
use crate::support::opensmtpd::OpenSmtpd;
use crate::support::peers::{Peer, trial};
use crate::support::postfix::{Postfix, Spec};
use crate::support::transcript::Heard;

pub use table::finish;

/// The MTA behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behind {
    Postfix,
    Exim,
    OpenSmtpd,
}

/// What stands in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    Curl,
    Swaks,
    Msmtp,
    Smtplib,
    Nodemailer,
    Postfix,
    ByHand,
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    Plain,
    Fifty,
    Pipelined,
    Several,
    LongLine,
    Dots,
    Large,
    EightBit,
    Utf8,
    Dsn,
    Bdat,
    AuthPlain,
    AuthLogin,
}

pub const BEHIND: [Behind; 3] = [Behind::Postfix, Behind::Exim, Behind::OpenSmtpd];

pub const CLIENTS: [Client; 7] = [
    Client::Curl,
    Client::Swaks,
    Client::Msmtp,
    Client::Smtplib,
    Client::Nodemailer,
    Client::Postfix,
    Client::ByHand,
];

pub const FEATURES: [Feature; 13] = [
    Feature::Plain,
    Feature::Fifty,
    Feature::Pipelined,
    Feature::Several,
    Feature::LongLine,
    Feature::Dots,
    Feature::Large,
    Feature::EightBit,
    Feature::Utf8,
    Feature::Dsn,
    Feature::Bdat,
    Feature::AuthPlain,
    Feature::AuthLogin,
];

impl Behind {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postfix => "Postfix",
            Self::Exim => "Exim",
            Self::OpenSmtpd => "OpenSMTPD",
        }
    }

    fn start(self) -> Box<dyn Mta> {
        match self {
            Self::Postfix => Box::new(Postfix::start(&Spec { sasl: true, ..Spec::receiving("a.example") })),
            Self::Exim => Box::new(Exim::start()),
            Self::OpenSmtpd => Box::new(OpenSmtpd::start()),
        }
    }

    /// What it takes.
    pub fn needs(self) -> Vec<Peer> {
        match self {
            Self::Postfix => vec![Peer::Postfix, Peer::SaslDb],
            Self::Exim => vec![Peer::Exim],
            Self::OpenSmtpd => vec![Peer::OpenSmtpd],
        }
    }
}

impl Client {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::Swaks => "swaks",
            Self::Msmtp => "msmtp",
            Self::Smtplib => "smtplib",
            Self::Nodemailer => "Nodemailer",
            Self::Postfix => "Postfix",
            Self::ByHand => "by-hand",
        }
    }

    fn needs(self) -> Option<Peer> {
        match self {
            Self::Curl => Some(Peer::Curl),
            Self::Swaks => Some(Peer::Swaks),
            Self::Msmtp => Some(Peer::Msmtp),
            Self::Smtplib => Some(Peer::Python),
            Self::Nodemailer => Some(Peer::Nodemailer),
            Self::Postfix => Some(Peer::Postfix),
            Self::ByHand => None,
        }
    }
}

impl Feature {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Fifty => "fifty",
            Self::Pipelined => "pipelined",
            Self::Several => "several",
            Self::LongLine => "long-line",
            Self::Dots => "dots",
            Self::Large => "20-MiB",
            Self::EightBit => "8BITMIME",
            Self::Utf8 => "SMTPUTF8",
            Self::Dsn => "DSN",
            Self::Bdat => "BDAT",
            Self::AuthPlain => "AUTH-PLAIN",
            Self::AuthLogin => "AUTH-LOGIN",
        }
    }

    /// The EHLO keyword without which it is not offered.
    fn keyword(self) -> Option<&'static str> {
        match self {
            Self::EightBit => Some("8BITMIME"),
            Self::Utf8 => Some("SMTPUTF8"),
            Self::Dsn => Some("DSN"),
            Self::Bdat => Some("CHUNKING"),
            Self::Pipelined => Some("PIPELINING"),
            Self::AuthPlain | Self::AuthLogin => Some("AUTH"),
            _ => None,
        }
    }
}

pub fn trials() -> Vec<Trial> {
    // Those that take longest come first: a Postfix in front is one for each feature.
    let pairs = CLIENTS.iter().rev().flat_map(|client| BEHIND.iter().map(|behind| (*behind, *client)));
    pairs
        .map(|(behind, client)| {
            let name = format!("matrix::{}::{}", behind.name(), client.name()).to_lowercase();
            let mut needs = behind.needs();
            needs.extend(client.needs());
            trial(&name, needs, move || all_features(behind, client))
        })
        .collect()
}

fn all_features(behind: Behind, client: Client) {
    let mta = behind.start();
    let bench = Bench::before(&*mta);
    let mut lines = Vec::new();
    for feature in FEATURES {
        let Some(errand) = send::errand(client, feature) else { continue };
        let (mut direct, mut through) = bench.both(&errand.client);
        let offered = feature.keyword().is_none_or(|keyword| offers(&direct, keyword));
        let mut line = |run: &Run, note: &str| {
            let cell = table::cell(run, feature, &errand.message);
            lines.push(table::line(behind, feature, client, &cell, note));
        };
        let difference = explained(behind, client, feature, &mut direct, &mut through);
        match (&difference, offered) {
            (Some(Difference::Farewell), _) => line(&through, "(1)"),
            (Some(Difference::Haste), _) => line(&through, "(3)"),
            (Some(Difference::Pipelining), _) => {
                line(&direct, "not offered (2)");
                line(&through, "with gatepost (2)");
                continue;
            }
            (None, true) => line(&direct, ""),
            (None, false) => line(&direct, "not offered"),
        }
        direct.heard = direct.heard.into_iter().map(Heard::masked).collect();
        assert_same(&direct, &through, &format!("{behind:?} behind, {client:?} in front, {feature:?}"));
    }
    table::keep(behind, client, lines);
}

/// Why the runs differ, where they do; `table.txt` says it in words.
enum Difference {
    /// (1) Exim has a last word for a client that has left without QUIT.
    Farewell,
    /// (2) PIPELINING is gatepost's to offer.
    Pipelining,
    /// (3) msmtp pipelines where that is offered, and leaves at the first refusal.
    Haste,
}

/// What is known to differ is taken out of the runs.
fn explained(
    behind: Behind,
    client: Client,
    feature: Feature,
    direct: &mut Run,
    through: &mut Run,
) -> Option<Difference> {
    if (behind, client, feature) == (Behind::OpenSmtpd, Client::ByHand, Feature::Pipelined) {
        return Some(Difference::Pipelining);
    }
    if (client, feature) == (Client::Msmtp, Feature::Fifty) {
        for heard in direct.heard.iter_mut().chain(&mut through.heard) {
            let refusal = heard.replies.iter().position(|reply| reply.starts_with(['4', '5']));
            heard.replies.truncate(refusal.map_or(usize::MAX, |at| at + 1));
        }
        return Some(Difference::Haste);
    }
    let is_farewell = |reply: &String| reply.starts_with("421 ") && reply.to_lowercase().contains("lost in");
    let mut found = None;
    let twice = is_left_out().then_some(&mut through.heard);
    for heard in direct.heard.iter_mut().chain(twice.into_iter().flatten()) {
        if behind == Behind::Exim && heard.replies.pop_if(|reply| is_farewell(reply)).is_some() {
            found = Some(Difference::Farewell);
        }
    }
    found
}

fn offers(run: &Run, keyword: &str) -> bool {
    run.heard
        .iter()
        .flat_map(|heard| &heard.keywords)
        .any(|keywords| keywords.iter().any(|line| line.split(' ').next() == Some(keyword)))
}
