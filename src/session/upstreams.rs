//! The upstream dialogs of a session: opened, made ready by saying the envelope again, lost, replaced.
//!
//! In:    a pool to reach; what became of the connection; greetings, replies to what was said again.
//! Out:   a hop that is ready for the client's commands, or the news that there is none.
//! Never: delivers to fewer recipients than were answered 250: a host that does not take the whole envelope is
//!        passed over; counts a host's word about this client against the host.
//!
//! Home is the dialog with the listener's pool; away is the one that a verdict or a ladder gave this transaction;
//! the current one, which hears the client's commands, is away if there is one, else home.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::check::without_hop;
use super::io::{Event, HOPS, HopId, Output, Peer, SessionEnd, TraceSide};
use super::owed::{Answer, Said, What};
use super::route::{Host, HostNews, Pick, PoolId, TargetId};
use super::transaction::Carries;
use super::{Session, Turn, closes};
use crate::dialog::{self, Expect, Heard, Say};
use crate::smtp::{Extensions, Keyword, Own, Reply, ReplyLimits, ReplyRef, own};

/// Hosts already tried.
pub type Tried = SmallVec<[TargetId; 2]>;

/// How far a dialog with a hop has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stand {
    /// No connection yet.
    Connecting,
    /// Connected; 220 is awaited.
    Greeting,
    /// EHLO or HELO was said again.
    Hello,
    /// It hears the client's commands.
    Ready,
}

/// One dialog with a hop.
#[derive(Debug)]
pub struct Upstream {
    pub pool: PoolId,
    pub host: Arc<dyn Host>,
    /// Whether another host of the pool could be tried instead.
    pub more: bool,
    pub stand: Stand,
    pub dialog: dialog::Upstream,
    /// Since when its next word is awaited.
    pub since: Instant,
    /// Whether it has answered a command.
    serves: bool,
    /// Whether it has heard MAIL and not the end of that transaction.
    pub in_mail: bool,
    tried: Tried,
    born: u32,
}

impl Upstream {
    /// Something was said to it.
    pub fn said(&mut self, now: Instant) {
        if self.dialog.is_quiet() {
            self.since = now;
        }
    }
}

/// All of a session's dialogs with hops.
#[derive(Default, Debug)]
pub struct Upstreams {
    slots: [Option<Box<Upstream>>; HOPS],
    home: Option<HopId>,
    away: Option<HopId>,
    /// The transaction is not home's, whether or not the dialog it is away with stands.
    estranged: bool,
    born: u32,
    /// The first refusal a hop spoke since the client was last answered by one.
    refusal: Option<Box<Reply>>,
}

impl Upstreams {
    pub fn get(&self, hop: HopId) -> Option<&Upstream> {
        self.slots.get(usize::from(hop.0))?.as_deref()
    }

    pub fn get_mut(&mut self, hop: HopId) -> Option<&mut Upstream> {
        self.slots.get_mut(usize::from(hop.0))?.as_deref_mut()
    }

    pub fn iter(&self) -> impl Iterator<Item = (HopId, &Upstream)> {
        self.slots.iter().enumerate().filter_map(|(i, slot)| Some((HopId(i as u8), slot.as_deref()?)))
    }

    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// The dialog that hears the client's commands.
    pub fn current(&self) -> Option<HopId> {
        if self.estranged { self.away } else { self.home }
    }

    pub fn home(&self) -> Option<HopId> {
        self.home
    }

    pub fn away(&self) -> Option<HopId> {
        self.away
    }

    /// What the current hop offers.
    pub fn offered(&self) -> Extensions {
        self.current()
            .and_then(|hop| self.get(hop))
            .map_or_else(Extensions::default, |up| up.dialog.extensions)
    }

    /// The client was answered by a hop: what was tried and refused until then is no longer held against anyone.
    pub fn episode_over(&mut self) {
        self.refusal = None;
        self.slots.iter_mut().flatten().for_each(|up| up.tried.clear());
    }

    /// The transaction goes away to a hop, or, with `None`, what comes next is home's.
    pub fn set_away(&mut self, hop: Option<HopId>) {
        self.away = hop;
        self.estranged = hop.is_some();
    }

    /// Nobody is this session's home or away any more, if it was this one.
    pub fn vacate(&mut self, hop: HopId) {
        if self.away == Some(hop) {
            self.away = None;
        }
        if self.home == Some(hop) {
            self.home = None;
        }
    }

    fn take(&mut self, hop: HopId) -> Option<Box<Upstream>> {
        self.slots.get_mut(usize::from(hop.0))?.take()
    }

    fn vacant(&self) -> Option<HopId> {
        let start = self.born as usize;
        (0..HOPS).map(|i| (start + i) % HOPS).find(|&i| self.slots[i].is_none()).map(|i| HopId(i as u8))
    }
}

/// Why a dialog with a hop ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The connection, or the hop's patience.
    Broken,
    /// It said what cannot be believed.
    Malformed,
    /// It cannot take this transaction.
    Unfit,
}

/// Why there is no hop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoHop {
    /// None left to try.
    None,
    /// Those left hold as many dialogs as they may.
    Busy,
}

impl Session {
    /// Begins to open a dialog with the next untried host of a pool.
    pub(super) fn open(&mut self, turn: &mut Turn<'_>, pool: PoolId, tried: Tried) -> Result<HopId, NoHop> {
        let Some(hop) = self.upstreams.vacant() else { return Err(NoHop::Busy) };
        match self.settings.hops.pick(pool, &tried, turn.now) {
            Pick::Host(picked) => {
                self.upstreams.born = self.upstreams.born.wrapping_add(1);
                self.upstreams.slots[usize::from(hop.0)] = Some(Box::new(Upstream {
                    pool,
                    host: Arc::clone(&picked.host),
                    more: picked.more,
                    stand: Stand::Connecting,
                    dialog: dialog::Upstream::default(),
                    since: turn.now,
                    serves: false,
                    in_mail: false,
                    tried,
                    born: self.upstreams.born,
                }));
                turn.out.outputs.push(Output::Open { hop, host: picked.host });
                Ok(hop)
            }
            Pick::Busy => Err(NoHop::Busy),
            Pick::None => Err(NoHop::None),
        }
    }

    /// The current hop, opening the one of the session's pool if there is none.
    pub(super) fn current_or_open(&mut self, turn: &mut Turn<'_>) -> Result<HopId, NoHop> {
        if let Some(hop) = self.upstreams.current() {
            return Ok(hop);
        }
        let hop = self.open(turn, self.current_pool(), Tried::new())?;
        if self.upstreams.estranged {
            self.upstreams.away = Some(hop);
        } else {
            self.upstreams.home = Some(hop);
        }
        Ok(hop)
    }

    /// The pool that the current dialog is with, or will be when it is opened.
    pub(super) fn current_pool(&self) -> PoolId {
        match (&self.transaction, self.upstreams.current().and_then(|hop| self.upstreams.get(hop))) {
            (_, Some(up)) => up.pool,
            (Some(transaction), None) if self.upstreams.estranged => {
                transaction.pinned.unwrap_or(transaction.pool)
            }
            _ => self.pool,
        }
    }

    /// The connection stands: the greeting is next.
    pub(super) fn opened(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if let Some(up) = self.upstreams.get_mut(hop) {
            up.stand = Stand::Greeting;
            up.since = turn.now;
            up.dialog.expect(Expect::Greeting);
        }
    }

    /// The connection could not be made.
    pub(super) fn open_failed(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        self.lost(turn, hop, None);
    }

    /// Frames and takes one reply of a hop; `None`: there is not a whole one.
    pub(super) fn take_reply(&mut self, turn: &mut Turn<'_>, hop: HopId, octets: &[u8]) -> Option<usize> {
        let limits = ReplyLimits { line: self.settings.limits.reply_line, reply: self.settings.limits.reply };
        let up = self.upstreams.get_mut(hop)?;
        match up.dialog.hear(octets, limits) {
            Heard::Partial => {
                // The beginning of an answer to nothing must not become one to what is said next.
                let unasked = up.stand == Stand::Ready && up.dialog.is_quiet();
                if unasked && !octets.is_empty() && !self.streams_to(hop) {
                    turn.out.count(Event::Unasked);
                    self.lost(turn, hop, None);
                }
                None
            }
            Heard::Malformed(_) => {
                turn.out.count(Event::Malformed);
                self.lost_because(turn, hop, Why::Malformed, None);
                None
            }
            Heard::Reply(reply, expect) => {
                let taken = reply.as_bytes().len();
                up.since = turn.now;
                let born = up.born;
                let unasked_follows = up.dialog.is_quiet() && octets.len() > taken;
                turn.out.count(Event::Heard(reply.code().class()));
                self.trace(turn, Peer::Upstream(hop), TraceSide::Server, reply.as_bytes());
                self.hop_said(turn, hop, reply, expect);
                self.upstreams.get(hop).filter(|up| up.born == born)?;
                if unasked_follows && !self.streams_to(hop) {
                    // Said before its command was: an answer to nothing (semantics: law 1).
                    turn.out.count(Event::Unasked);
                    self.lost(turn, hop, None);
                    return None;
                }
                let up = self.upstreams.get_mut(hop)?;
                up.dialog.pump(turn.out.to(Peer::Upstream(hop)));
                up.dialog.shrink();
                Some(taken)
            }
        }
    }

    fn hop_said(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>, expect: Option<Expect>) {
        let Some(expect) = expect else {
            return self.spoke_unasked(turn, hop, reply);
        };
        if expect == Expect::Greeting {
            return self.greeted(turn, hop, reply);
        }
        if let Some(up) = self.upstreams.get_mut(hop)
            && !up.serves
            && !closes(reply.code().get())
        {
            up.serves = true;
            up.host.news(HostNews::Serves, turn.now);
        }
        if closes(reply.code().get()) && !self.is_message(expect) {
            return self.hop_closes(turn, hop, reply, expect);
        }
        match expect {
            Expect::Greeting | Expect::Nobody => {}
            Expect::Hello => self.hello_said_again(turn, hop, reply),
            Expect::Owed(number) => self.answered(turn, number, hop, reply),
            Expect::Replayed if reply.code().is_positive() => {
                if self.awaits_chunks(hop) {
                    self.open_content(turn, hop);
                }
            }
            Expect::Replayed => self.lost_because(turn, hop, Why::Unfit, None),
            Expect::RungMail | Expect::RungRcpt => self.attempt_answered(turn, hop, expect, reply),
            Expect::Go => self.content_may_flow(turn, hop, reply),
            Expect::Part => self.part_answered(turn, hop, reply),
        }
    }

    fn spoke_unasked(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        if self.streams_to(hop) {
            return self.early_reply(turn, hop, reply);
        }
        turn.out.count(Event::Unasked);
        if closes(reply.code().get()) && self.hello.is_none() && self.owed.is_empty() {
            self.host_failed(turn, hop, HostNews::NoService);
        }
        self.lost(turn, hop, None);
    }

    fn greeted(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        let Some(up) = self.upstreams.get_mut(hop) else { return };
        if !reply.code().is_positive() {
            if reply.code().is_transient() {
                up.host.news(HostNews::Refused, turn.now);
            }
            // Not an outage of its own making: lost() must not count it again.
            up.stand = Stand::Ready;
            return match reply.code().is_negative() {
                true => self.lost(turn, hop, Some(Box::new(reply.to_owned()))),
                false => self.lost_because(turn, hop, Why::Malformed, None),
            };
        }
        self.flags.reached = true;
        let owes_greeting = self.owed.head().is_some_and(
            |head| matches!((&head.what, &head.answer), (What::Greeting, Answer::Hop(at)) if *at == hop),
        );
        if owes_greeting {
            up.stand = Stand::Ready;
            return self.answered(turn, self.owed.head_number(), hop, reply);
        }
        match self.hello.take() {
            Some(hello) => {
                up.stand = Stand::Hello;
                self.say(turn, hop, Expect::Hello, Say::Last, |line| hello.write(line));
                self.hello = Some(hello);
            }
            None => {
                up.stand = Stand::Ready;
                self.resume(turn, hop);
            }
        }
    }

    fn hello_said_again(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        if !reply.code().is_positive() {
            let refusal = reply.code().is_negative().then(|| Box::new(reply.to_owned()));
            return self.lost_because(turn, hop, Why::Unfit, refusal);
        }
        let extended = self.hello.as_ref().is_some_and(|hello| hello.extended);
        let Some(up) = self.upstreams.get_mut(hop) else { return };
        up.stand = Stand::Ready;
        if extended {
            up.dialog.extensions = Extensions::of(reply);
        }
        self.resume(turn, hop);
    }

    /// The hop is ready: it hears the envelope again, then every command that waits for an answer.
    pub(super) fn resume(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if self.is_trial(hop) {
            return self.attempt_says(turn, hop);
        }
        if !self.fits(hop) {
            return self.lost_because(turn, hop, Why::Unfit, None);
        }
        self.say_envelope(turn, hop);
        if self.awaits_go(hop) {
            return self.open_content(turn, hop);
        }
        let waiting: SmallVec<[u32; 8]> = self
            .owed
            .iter_mut()
            .filter(|(_, owed)| matches!(owed.answer, Answer::Hop(at) if at == hop))
            .map(|(number, _)| number)
            .collect();
        for number in waiting {
            self.utter(turn, number, hop);
        }
    }

    /// Says MAIL and the recipients answered 250 to a hop; every reply must be 2xx.
    pub(super) fn say_envelope(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let Some(transaction) = self.transaction.take() else { return };
        if transaction.accepted {
            let carries = self.carries(hop);
            self.say(turn, hop, Expect::Replayed, Say::Along, |line| transaction.mail.write(carries, line));
            for recipient in &transaction.recipients {
                self.say(turn, hop, Expect::Replayed, Say::Along, |line| recipient.write(carries, line));
            }
            if let Some(up) = self.upstreams.get_mut(hop) {
                up.in_mail = true;
            }
        }
        self.transaction = Some(transaction);
    }

    /// What a hop can be told. SIZE the client may have been shown on gatepost's own account.
    pub(super) fn carries(&self, hop: HopId) -> Carries {
        let offers = |keyword| self.upstreams.get(hop).is_some_and(|up| up.dialog.extensions.has(keyword));
        Carries { size: offers(Keyword::Size) || !self.shown.has(Keyword::Size), dsn: offers(Keyword::Dsn) }
    }

    /// Whether a hop offers what the transaction has used.
    pub(super) fn fits(&self, hop: HopId) -> bool {
        match (&self.transaction, self.upstreams.get(hop)) {
            (Some(transaction), Some(up)) => transaction.needs.met_by(&up.dialog.extensions),
            _ => true,
        }
    }

    /// Says the command of an owed answer on a hop.
    pub(super) fn utter(&mut self, turn: &mut Turn<'_>, number: u32, hop: HopId) {
        let Some(owed) = self.owed.numbered(number) else { return };
        let Some(up) = self.upstreams.get_mut(hop) else { return };
        match owed.what {
            What::Mail(_) => up.in_mail = true,
            What::Reset | What::Hello(_) => up.in_mail = false,
            _ => {}
        }
        up.said(turn.now);
        let carries = Carries {
            size: up.dialog.extensions.has(Keyword::Size) || !self.shown.has(Keyword::Size),
            dsn: up.dialog.extensions.has(Keyword::Dsn),
        };
        let (group, what) = (owed.what.group(), &mut owed.what);
        up.dialog.say(turn.out.to(Peer::Upstream(hop)), Expect::Owed(number), group, |line| {
            what.write(carries, line)
        });
        let mut line = Vec::new();
        match what {
            What::Auth(secret) => *secret = None,
            _ if self.settings.trace => what.write(carries, &mut line),
            _ => {}
        }
        self.trace(turn, Peer::Upstream(hop), TraceSide::Client, &line);
    }

    /// Takes the hop back to the envelope as the client knows it (RSET and the envelope again), before anything
    /// else is said to it. Commands it had not answered for the client are said again.
    pub(super) fn rebuild(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if let Some(up) = self.upstreams.get_mut(hop) {
            up.dialog.forget();
        }
        for (_, owed) in self.owed.iter_mut() {
            if matches!(owed.answer, Answer::Heard(at, _) if at == hop) {
                owed.answer = Answer::Hop(hop);
            }
        }
        self.reset_hop(turn, hop);
        self.resume(turn, hop);
    }

    /// RSET on our own account.
    pub(super) fn reset_hop(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        self.say(turn, hop, Expect::Nobody, Say::Along, |line| line.extend_from_slice(b"RSET\r\n"));
        if let Some(up) = self.upstreams.get_mut(hop) {
            up.in_mail = false;
        }
    }

    /// Says QUIT and closes, without waiting for the 221. A hop in the midst of something is closed bare.
    pub(super) fn dismiss(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        self.answer_for(hop, &own::NEED_MAIL);
        let polite = self
            .upstreams
            .get(hop)
            .is_some_and(|up| up.stand == Stand::Ready && up.dialog.is_quiet() && !self.streams_to(hop));
        if polite {
            self.say(turn, hop, Expect::Nobody, Say::Last, |line| line.extend_from_slice(b"QUIT\r\n"));
        }
        self.forget_hop(turn, hop, polite);
    }

    /// Closes a dialog and its slot.
    pub(super) fn forget_hop(
        &mut self,
        turn: &mut Turn<'_>,
        hop: HopId,
        flush: bool,
    ) -> Option<Box<Upstream>> {
        let up = self.upstreams.take(hop)?;
        let peer = Peer::Upstream(hop);
        turn.out.outputs.push(if flush { Output::Close(peer) } else { Output::Abort(peer) });
        Some(up)
    }

    /// A dialog with a hop broke.
    pub(super) fn lost(&mut self, turn: &mut Turn<'_>, hop: HopId, refusal: Option<Box<Reply>>) {
        self.lost_because(turn, hop, Why::Broken, refusal);
    }

    /// A dialog with a hop is over, unasked for. Another takes its place if anybody waits for one.
    pub(super) fn lost_because(
        &mut self,
        turn: &mut Turn<'_>,
        hop: HopId,
        why: Why,
        refusal: Option<Box<Reply>>,
    ) {
        let trial = self.is_trial(hop);
        let attempted = self.is_attempted_at(hop);
        if why == Why::Broken {
            self.host_failed_before_greeting(turn, hop);
        }
        let Some(up) = self.forget_hop(turn, hop, false) else { return };
        if let Some(refusal) = refusal
            && self.upstreams.refusal.is_none()
        {
            self.upstreams.refusal = Some(refusal);
        }
        let current = self.upstreams.current() == Some(hop);
        let away = self.upstreams.away == Some(hop);
        self.upstreams.vacate(hop);
        let mut tried = up.tried;
        tried.push(up.host.id());
        if trial {
            self.attempt_lost(turn, up.pool, tried);
        } else {
            self.settle_loss(turn, hop, why);
            if !current {
                self.answer_for(hop, &own::OTHER_HOP);
            }
            if current && self.needs_hop(hop) {
                self.replace(turn, hop, up.pool, away, tried);
            }
            if attempted {
                self.attempt_gone(turn);
            }
        }
        self.settle(turn);
    }

    /// Settles what the loss of the current hop itself decides.
    fn settle_loss(&mut self, turn: &mut Turn<'_>, hop: HopId, why: Why) {
        let content_lost: &'static Own =
            if why == Why::Malformed { &own::HOP_PROTOCOL } else { &own::CONTENT_LOST };
        for (_, owed) in self.owed.iter_mut() {
            // A hop closes behind its 221; that it was heard before its turn makes no other hop necessary.
            let over = matches!((&owed.what, &owed.answer), (What::Quit, Answer::Heard(at, _)) if *at == hop);
            if !over && !matches!(owed.answer, Answer::Hop(at) if at == hop) {
                continue;
            }
            match owed.what {
                // Whether it kept the message is not known: the client sends it again (RFC 1047).
                What::Message(_) | What::Chunk => owed.answer = Answer::Own(Said::Own(content_lost)),
                What::Quit => owed.answer = Answer::Own(Said::Own(&own::BYE)),
                What::Auth(_) => owed.answer = Answer::Own(Said::Own(&own::AUTH_LOST)),
                _ => {}
            }
        }
        self.content_hop_lost(hop, content_lost);
        if self.flags.authenticated && !self.is_ending() {
            self.settle(turn);
            self.hang_up(turn, Some(Said::Own(&own::HOP_LOST)), SessionEnd::HopLost);
        }
    }

    /// A hop is let go of: what it still owed the client is answered in its place.
    pub(super) fn answer_for(&mut self, hop: HopId, recipients: &'static Own) {
        for (_, owed) in self.owed.iter_mut() {
            if !matches!(owed.answer, Answer::Hop(at) | Answer::Heard(at, _) if at == hop) {
                continue;
            }
            let own: &'static Own = match &owed.what {
                What::Rcpt(_) => recipients,
                What::Data => &own::NEED_MAIL,
                What::Chunk | What::Message(_) => &own::CONTENT_LOST,
                What::Reset => &own::RSET_OK,
                What::Quit => &own::BYE,
                What::Auth(_) => &own::AUTH_LOST,
                What::Other(verb, _) => without_hop(*verb),
                What::Greeting | What::Hello(_) | What::Mail(_) | What::Local | What::Close(_) => {
                    &own::ATTEMPTS_FAILED
                }
            };
            owed.answer = Answer::Own(Said::Own(own));
        }
    }

    /// Whether anybody waits for a hop in this one's place.
    fn needs_hop(&self, hop: HopId) -> bool {
        !self.is_ending()
            && (self.awaits_go(hop)
                || self
                    .owed
                    .iter()
                    .any(|owed| matches!(owed.answer, Answer::Hop(at) | Answer::Heard(at, _) if at == hop)))
    }

    /// Puts the next host in a lost one's place.
    fn replace(&mut self, turn: &mut Turn<'_>, lost: HopId, pool: PoolId, away: bool, tried: Tried) {
        match self.open(turn, pool, tried) {
            Ok(hop) => {
                turn.out.count(Event::FailedOver);
                if away {
                    self.upstreams.away = Some(hop);
                } else {
                    self.upstreams.home = Some(hop);
                }
                for (_, owed) in self.owed.iter_mut() {
                    let said_once = matches!(owed.what, What::Message(_) | What::Chunk | What::Auth(None));
                    match owed.answer {
                        Answer::Hop(at) if at == lost => owed.answer = Answer::Hop(hop),
                        Answer::Heard(at, _) if at == lost && !said_once => owed.answer = Answer::Hop(hop),
                        _ => {}
                    }
                }
                self.content_moves(lost, hop);
            }
            Err(none) => self.no_hop(turn, none),
        }
    }

    /// No host is left: the client hears the first refusal a hop spoke, or that there is none, and is closed.
    pub(super) fn no_hop(&mut self, turn: &mut Turn<'_>, none: NoHop) {
        self.settle(turn);
        let own: &'static Own = match none {
            NoHop::Busy => &own::HOP_BUSY,
            NoHop::None if self.flags.reached => &own::HOP_LOST,
            NoHop::None => &own::HOP_UNREACHABLE,
        };
        let refusal = self.upstreams.refusal.take().map(|reply| Said::Written(Arc::new(*reply)));
        if self.in_content() {
            return self.refuse_content(turn, refusal.unwrap_or(Said::Own(&own::CONTENT_LOST)));
        }
        let greeting = self.owed.head().is_some_and(|head| matches!(head.what, What::Greeting));
        match refusal {
            Some(refusal) if greeting => {
                self.owed.pop();
                self.refuse_client(turn, refusal, SessionEnd::HopClosed);
            }
            Some(refusal) if !closes(refusal.code().get()) => {
                self.tell(turn, &refusal);
                self.hang_up(turn, Some(Said::Own(own)), SessionEnd::HopLost);
            }
            refusal => self.hang_up(turn, Some(refusal.unwrap_or(Said::Own(own))), SessionEnd::HopLost),
        }
    }

    /// A 421 or 521 in answer to something: the hop's word to this client, or an outage.
    fn hop_closes(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>, expect: Expect) {
        let to_client = reply.enhanced().is_some_and(|enhanced| enhanced.subject == 7)
            && matches!(expect, Expect::Owed(_))
            && !self.is_trial(hop);
        if to_client {
            let said = Said::Written(Arc::new(reply.to_owned()));
            return self.hang_up(turn, Some(said), SessionEnd::HopClosed);
        }
        self.lost(turn, hop, Some(Box::new(reply.to_owned())));
    }

    /// The time for something from a hop is over.
    pub(super) fn hop_too_late(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let connecting = self.upstreams.get_mut(hop).filter(|up| up.stand == Stand::Connecting);
        if let Some(up) = connecting {
            up.host.news(HostNews::ConnectTimedOut, turn.now);
            // Counted; lost() must not count it again.
            up.stand = Stand::Ready;
        }
        self.lost(turn, hop, None);
    }

    fn host_failed_before_greeting(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        match self.upstreams.get(hop).map(|up| up.stand) {
            Some(Stand::Connecting) => self.host_failed(turn, hop, HostNews::NotConnected),
            Some(Stand::Greeting) => self.host_failed(turn, hop, HostNews::NoGreeting),
            _ => {}
        }
    }

    fn host_failed(&mut self, turn: &mut Turn<'_>, hop: HopId, news: HostNews) {
        if let Some(up) = self.upstreams.get(hop) {
            up.host.news(news, turn.now);
        }
    }

    fn is_message(&mut self, expect: Expect) -> bool {
        matches!(expect, Expect::Owed(number)
            if self.owed.numbered(number).is_some_and(|owed| matches!(owed.what, What::Message(_))))
    }
}
