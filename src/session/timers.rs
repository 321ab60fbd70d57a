//! Deadlines: what is waited for now, and until when.
//!
//! In:    the state of the session's parts and when each began to wait.
//! Out:   the next deadline, and which wait it ends.
//! Never: reads a clock, or leaves a live session without a deadline.
//!
//! RFC 5321 4.5.3.2.

use std::time::{Duration, Instant};

use super::io::HopId;
use super::owed::{Answer, What};
use super::upstreams::Stand;
use super::{Phase, Session};

/// How long a hop is given to answer QUIT while the client waits for its 221.
const QUIT: Duration = Duration::from_secs(2);

/// What a deadline ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// The client's next command.
    Command,
    /// The TLS handshake with the client.
    Handshake,
    /// The next octets that pass through, either way.
    Passage,
    /// The time to greet.
    Greeting,
    /// The next octets of content.
    Content,
    /// A hop that takes the content: the client waits to go on with it.
    Opening,
    /// All the client waits for on the command at the head.
    Answer,
    /// The ladder at the head.
    Attempts,
    /// A callout's answer.
    Callout,
    /// 221.
    Quit,
    /// Something from this hop.
    Hop(HopId),
}

impl Session {
    /// When the session wants to be told that time has passed, at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.next_wait().map(|(_, until)| until)
    }

    /// The wait that ends first.
    pub(super) fn next_wait(&self) -> Option<(Wait, Instant)> {
        let mut next: Option<(Wait, Instant)> = None;
        let mut consider = |wait: Wait, until: Instant| {
            if next.is_none_or(|(_, sooner)| until < sooner) {
                next = Some((wait, until));
            }
        };
        let timeouts = &self.settings.timeouts;
        if self.phase == Phase::Passing {
            consider(Wait::Passage, self.heard_at + timeouts.command);
        } else if matches!(self.phase, Phase::Securing | Phase::Hello) {
            consider(Wait::Handshake, self.heard_at + timeouts.tls);
        } else if self.phase != Phase::Ending {
            if self.flags.hush {
                consider(Wait::Greeting, self.heard_at + self.door().greeting_delay);
            }
            match self.owed.head() {
                Some(head) => match (&head.what, &head.answer) {
                    (What::Message(_), Answer::Hop(_)) => {}
                    (What::Message(_), Answer::Asked(inquiry)) => {
                        inquiry.deadline().into_iter().for_each(|until| consider(Wait::Callout, until));
                    }
                    (_, Answer::Asked(inquiry)) => {
                        inquiry.deadline().into_iter().for_each(|until| consider(Wait::Callout, until));
                        consider(Wait::Answer, self.head_since + timeouts.answer);
                    }
                    (What::Quit, _) => consider(Wait::Quit, self.head_since + QUIT),
                    (_, Answer::Trying(ladder)) => {
                        consider(Wait::Attempts, ladder.until);
                        consider(Wait::Answer, self.head_since + timeouts.answer);
                    }
                    _ => consider(Wait::Answer, self.head_since + timeouts.answer),
                },
                None if self.takes_content() => consider(Wait::Content, self.heard_at + timeouts.content),
                None if self.in_content() => consider(Wait::Opening, self.heard_at + timeouts.answer),
                None => consider(Wait::Command, self.heard_at + timeouts.command),
            }
            if self.takes_content() && !self.owed.is_empty() {
                consider(Wait::Content, self.heard_at + timeouts.content);
            }
        }
        for (hop, upstream) in self.upstreams.iter() {
            let patience = match upstream.stand {
                Stand::Passing => None,
                Stand::Connecting => Some(timeouts.connect),
                Stand::Securing => Some(timeouts.tls),
                Stand::Greeting if upstream.more => Some(timeouts.greeting),
                Stand::Ready | Stand::Hello if self.owes_message(hop) => Some(timeouts.end_of_data),
                Stand::Ready | Stand::Hello if upstream.dialog.is_quiet() => None,
                _ if upstream.more && !self.flags.authenticated => Some(timeouts.reply),
                _ => Some(timeouts.answer),
            };
            if let Some(patience) = patience {
                consider(Wait::Hop(hop), upstream.since + patience);
            }
        }
        next
    }

    /// Whether a hop has a whole message and has not answered for it.
    pub(super) fn owes_message(&self, hop: HopId) -> bool {
        self.owed.iter().any(
            |owed| matches!((&owed.what, &owed.answer), (What::Message(_), Answer::Hop(at)) if *at == hop),
        )
    }
}
