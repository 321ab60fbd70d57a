//! One upstream dialog, from dialling to its end.
//!
//! In:    that it is connected; its octets; what to say, each with whom the reply is for; the time.
//! Out:   one [`Word`] at a time: the reply to just this expectation, or what cannot be one; until when it may take.
//! Never: knows who else takes part in the session, or says what a hop of its kind must not hear yet.
//!
//! [`terms`](self::terms) is what comes before the client's dialog; [`Hops`] are all of a session's.
//!
//! RFC 5321 4.5.3.2 (time-outs), RFC 2033 (LMTP).

mod hops;
mod known;
mod telling;
mod terms;
mod tls;

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

pub use self::hops::{Hops, NoHop};
use self::terms::Terms;
pub use self::terms::{Greeting, Missed, Step, is_policy};
use super::client::Client;
use super::events::Event;
use super::io::{Output, TraceSide};
use super::notes::first_line;
use super::owed::What;
use super::peer::{HopId, Peer, Why};
use super::route::{Host, HostNews, Picked, Place, TargetId};
use super::settings::Settings;
use super::transaction::{Carries, Hello, Transaction};
use super::turn::Turn;
use crate::dialog::{self, Expect, Heard, Limits, Say};
use crate::smtp::{Extensions, ReplyFault, ReplyRef};

/// Hosts already tried.
pub type Tried = SmallVec<[TargetId; 2]>;

/// How far a dialog with a hop has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stand {
    /// No connection yet.
    Connecting,
    /// A TLS handshake goes on.
    Securing,
    /// Connected; 220 is awaited.
    Greeting,
    /// EHLO was said in our own name, to learn what it offers.
    OwnHello,
    /// STARTTLS was said.
    StartTls,
    /// XCLIENT was said.
    Xclient,
    /// EHLO or HELO was said again.
    Hello,
    /// It hears the client's commands.
    Ready,
    /// It refused, or took too long: that is counted.
    Failed,
}

/// Octets of a reply that is none which are shown, at most.
const MOST_SAID: usize = 200;

/// Why a reply may not be believed that has the form of one.
pub const WRONG_CLASS: &str = "reply of another class than its command can have";

/// What a hop is lent while its terms are met: who the client is, and what the log was told of that.
pub struct Lent<'a> {
    pub settings: &'a Settings,
    pub client: &'a Client,
    /// It was said in the log that a hop is not told who the client is.
    pub warned: bool,
}

/// What a hop's octets are.
#[derive(Debug)]
pub enum Word<'r> {
    /// Not all of a reply yet.
    Partial,
    /// The beginning of an answer to nothing.
    Unasked,
    /// No reply that may be believed.
    Malformed(ReplyFault),
    /// More than the 220 to STARTTLS.
    Injected,
    /// A reply, of so many octets.
    Reply {
        reply: ReplyRef<'r>,
        /// Whom it is for; `None`: nobody asked.
        expect: Option<Expect>,
        taken: usize,
        /// Behind it stands what nobody has asked for yet.
        more_unasked: bool,
    },
}

/// One dialog with a hop.
#[derive(Debug)]
pub struct Hop {
    id: HopId,
    place: Place,
    host: Arc<dyn Host>,
    /// Whether another host of the place could be tried instead.
    more: bool,
    lmtp: bool,
    stand: Stand,
    dialog: dialog::Upstream,
    /// Since when its next word is awaited.
    since: Instant,
    /// Whether it has answered a command.
    serves: bool,
    tried: Tried,
    /// On which terms it is spoken to, if on any.
    terms: Option<Box<Terms>>,
}

impl Hop {
    /// One that is being connected to.
    fn new(id: HopId, place: Place, picked: &Picked, lmtp: bool, tried: Tried, now: Instant) -> Hop {
        Hop {
            id,
            place,
            host: Arc::clone(&picked.host),
            more: picked.more,
            lmtp,
            stand: Stand::Connecting,
            dialog: dialog::Upstream::default(),
            since: now,
            serves: false,
            tried,
            terms: Terms::of(&*picked.host),
        }
    }

    /// Says a command now, or as soon as the hop may hear it.
    pub fn say(&mut self, turn: &mut Turn<'_>, expect: Expect, say: Say, write: impl Fn(&mut Vec<u8>)) {
        if turn.tracing {
            let mut line = Vec::new();
            write(&mut line);
            turn.trace(Peer::Upstream(self.id), TraceSide::Client, &line);
        }
        self.said(turn.now);
        self.dialog.say(turn.to(Peer::Upstream(self.id)), expect, say, write);
    }

    /// Says the command of the owed answer with this number. A secret is said once, and not kept.
    pub fn say_owed(&mut self, turn: &mut Turn<'_>, number: u32, what: &mut What, carries: Carries) {
        self.said(turn.now);
        self.dialog.say(turn.to(Peer::Upstream(self.id)), Expect::Owed(number), what.say(), |line| {
            what.write(carries, line);
        });
        let mut line = Vec::new();
        match what {
            What::Auth(secret) => {
                *secret = None;
                line.extend_from_slice(b"(secret)");
            }
            _ if turn.tracing => what.write(carries, &mut line),
            _ => {}
        }
        turn.trace(Peer::Upstream(self.id), TraceSide::Client, &line);
    }

    /// Says EHLO or HELO again, to a hop that has not heard it.
    pub fn say_hello(&mut self, turn: &mut Turn<'_>, hello: &Hello) {
        self.stand = Stand::Hello;
        let lmtp = self.lmtp;
        self.say(turn, Expect::Hello, Say::Hello, |line| hello.write(lmtp, line));
    }

    /// Says MAIL and the recipients answered 250; every reply must be 2xx.
    pub fn say_envelope(
        &mut self,
        turn: &mut Turn<'_>,
        client: &Client,
        transaction: &Transaction,
        carries: Carries,
    ) {
        self.say_xforward(turn, client);
        self.say(turn, Expect::Replayed, Say::Mail, |line| transaction.mail.write(carries, line));
        for recipient in &transaction.recipients {
            let expect = if recipient.added { Expect::Added } else { Expect::Replayed };
            self.say(turn, expect, Say::Along, |line| recipient.write(carries, line));
        }
    }

    /// What it said may not be believed, for this reason: counted, and logged with its name.
    pub fn spoke_nonsense(&self, turn: &mut Turn<'_>, why: &str, said: &[u8]) {
        turn.count(Event::Malformed);
        let said = first_line(said);
        // Whatever it challenges a client with is not for the log.
        let said: &[u8] =
            if said.starts_with(b"334") { b"334 (secret)" } else { &said[..said.len().min(MOST_SAID)] };
        let what = [why.as_bytes(), b": ", said].concat();
        turn.wish(Output::Malformed(Arc::clone(&self.host), what.into()));
    }

    /// NOOP on our own account: it must not take us for gone.
    pub fn say_noop(&mut self, turn: &mut Turn<'_>) {
        self.say(turn, Expect::Alive, Say::Last, |line| line.extend_from_slice(b"NOOP\r\n"));
    }

    /// RSET on our own account.
    pub fn reset(&mut self, turn: &mut Turn<'_>) {
        self.say(turn, Expect::Reset, Say::Reset, |line| line.extend_from_slice(b"RSET\r\n"));
    }

    /// QUIT, the 221 to which is not waited for; false: it is in the midst of something.
    pub fn quit(&mut self, turn: &mut Turn<'_>) -> bool {
        let polite = self.stand == Stand::Ready && self.dialog.is_quiet() && self.dialog.may_say();
        if polite {
            self.say_quit(turn);
        }
        polite
    }

    /// QUIT, behind whatever was said.
    pub fn say_quit(&mut self, turn: &mut Turn<'_>) {
        self.say(turn, Expect::Nobody, Say::Last, |line| line.extend_from_slice(b"QUIT\r\n"));
    }

    /// The last octets of content, or of a chunk, are being written: awaits the reply.
    pub fn end_content(&mut self, turn: &Turn<'_>, expect: Expect, say: Say) {
        self.since = turn.now;
        self.dialog.expect_along(expect, say);
    }

    /// A part of a chunk is being written: awaits the reply to it.
    pub fn end_part(&mut self, turn: &Turn<'_>) {
        self.said(turn.now);
        self.dialog.expect_along(Expect::Part, Say::Chunk);
    }

    /// It takes content for recipients that there are not: an empty message that must go nowhere (RFC 2920 3.1). False:
    /// it took a recipient without a transaction and would deliver to it; what takes that back waits behind the content.
    pub fn end_for_nobody(&mut self, turn: &mut Turn<'_>) -> bool {
        if self.dialog.holds_back() {
            return false;
        }
        self.said(turn.now);
        self.dialog.end_without_content(turn.to(Peer::Upstream(self.id)), Expect::Nobody);
        turn.trace(Peer::Upstream(self.id), TraceSide::Client, b".\r\n");
        true
    }

    /// Nobody takes an interest in what was said to it so far, but for what is wanted still.
    pub fn forget_said(&mut self, wanted: impl Fn(Expect) -> bool) {
        self.dialog.forget(wanted);
    }

    /// Octets of its arrive.
    pub fn arrives(&mut self) {
        self.dialog.arrives();
    }

    /// Reads the next of its octets. `streams`: it is being sent content, and what it says is not asked for.
    pub fn hear<'r>(
        &mut self,
        turn: &mut Turn<'_>,
        octets: &'r [u8],
        limits: &Limits,
        streams: bool,
    ) -> Word<'r> {
        // During a handshake nothing is said that could be a reply.
        if self.stand == Stand::Securing {
            return Word::Partial;
        }
        match self.dialog.hear(octets, self.dialog.reply_limits(limits)) {
            Heard::Partial => {
                // The beginning of an answer to nothing must not become one to what is said next.
                let unasked = self.stand == Stand::Ready && self.dialog.has_answered();
                if unasked && !octets.is_empty() && !streams { Word::Unasked } else { Word::Partial }
            }
            Heard::Malformed(fault) => Word::Malformed(fault),
            Heard::Reply(reply, expect) => {
                let taken = reply.as_bytes().len();
                if let Some(terms) = &mut self.terms {
                    terms.may_refuse = false;
                }
                self.since = turn.now;
                let more_unasked = self.dialog.has_answered() && octets.len() > taken;
                if more_unasked && self.stand == Stand::StartTls {
                    return Word::Injected;
                }
                turn.count(Event::Heard(reply.code().class()));
                turn.trace(Peer::Upstream(self.id), TraceSide::Server, reply.as_bytes());
                self.served(turn, expect, reply);
                Word::Reply { reply, expect, taken, more_unasked }
            }
        }
    }

    /// The first answer to a command says that the host serves.
    fn served(&mut self, turn: &Turn<'_>, expect: Option<Expect>, reply: ReplyRef<'_>) {
        let to_command = !matches!(expect, None | Some(Expect::Greeting | Expect::Terms));
        if to_command && !self.serves && !reply.code().closes() {
            self.serves = true;
            self.host.news(HostNews::Serves, turn.now);
        }
    }

    /// Says what waited and may be said now.
    pub fn pump(&mut self, turn: &mut Turn<'_>) {
        self.dialog.pump(turn.to(Peer::Upstream(self.id)));
        self.dialog.shrink();
    }

    /// It answered EHLO, or with `None` HELO: what it offers.
    pub fn offers_as(&mut self, reply: Option<ReplyRef<'_>>) {
        self.dialog.extensions = reply.map(Extensions::of).unwrap_or_default();
    }

    /// It hears the client's commands.
    pub fn is_made_ready(&mut self) {
        self.stand = Stand::Ready;
    }

    /// What its host did counts.
    pub fn host_failed(&self, turn: &Turn<'_>, news: HostNews) {
        self.host.news(news, turn.now);
    }

    /// The connection, or its host's patience, ended before it greeted: that counts, once.
    pub fn broke(&self, turn: &Turn<'_>) {
        match self.stand {
            Stand::Connecting => self.host.news(HostNews::NotConnected, turn.now),
            Stand::Securing => self.host.news(HostNews::NotSecured, turn.now),
            Stand::Greeting => self.host.news(HostNews::NoGreeting, turn.now),
            _ => {}
        }
    }

    /// The time to connect is over: that counts, and [`Hop::broke`] does not count it again.
    pub fn connected_too_late(&mut self, turn: &Turn<'_>) {
        if self.stand == Stand::Connecting {
            self.host.news(HostNews::ConnectTimedOut, turn.now);
            self.stand = Stand::Failed;
        }
    }

    /// The hosts that are not tried again in its place: those before it, and itself unless it may do better anew.
    pub fn tried(&self, why: Why) -> Tried {
        let mut tried = self.tried.clone();
        if why != Why::Unwilling {
            tried.push(self.host.id());
        }
        tried
    }

    fn said(&mut self, now: Instant) {
        if self.dialog.is_quiet() {
            self.since = now;
        }
    }
}
