//! The upstream dialogs of a session: which there are, how each is opened and let go.
//!
//! In:    a pool or a domain's hosts to reach; what became of the connection.
//! Out:   a dialog in one of a few slots, or the news that there is no host left.
//! Never: holds more dialogs than slots, or closes one that owes the reply to a message.
//!
//! Home is the dialog with the listener's pool; away is the one that a verdict or a ladder gave this transaction;
//! the current one, which hears the client's commands, is away if there is one, else home.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::io::{HOPS, HopId, Output, Peer};
use super::passthrough::Passage;
use super::route::{Host, Pick, Place, PoolKind, TargetId};
use super::terms::{Missed, Terms};
use super::{Session, Turn};
use crate::dialog::{self, Expect, Say};
use crate::smtp::{Extensions, Reply, own};

/// Hosts already tried.
pub type Tried = SmallVec<[TargetId; 2]>;

/// How far a dialog with a hop has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stand {
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
    /// Its TLS with the client passes through.
    Passing,
}

/// One dialog with a hop.
#[derive(Debug)]
pub struct Upstream {
    pub id: HopId,
    pub place: Place,
    pub host: Arc<dyn Host>,
    /// Whether another host of the place could be tried instead.
    pub more: bool,
    /// Whether it speaks LMTP.
    pub lmtp: bool,
    pub stand: Stand,
    pub dialog: dialog::Upstream,
    /// Since when its next word is awaited.
    pub since: Instant,
    /// Whether it has answered a command.
    pub serves: bool,
    pub tried: Tried,
    /// What passes through to it and from it, unread.
    pub passage: Option<Box<Passage>>,
    /// On which terms it is spoken to, if on any.
    pub terms: Option<Box<Terms>>,
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
    pub home: Option<HopId>,
    pub away: Option<HopId>,
    /// The transaction is not home's, whether or not the dialog it is away with stands.
    pub estranged: bool,
    /// The number of the dialog opened last.
    last: u32,
    /// The first refusal a hop spoke since the client was last answered by one.
    pub refusal: Option<Box<Reply>>,
    /// What the last host lacked that could not be used.
    pub missed: Option<Missed>,
    /// It was said in the log that a hop is not told who the client is.
    pub warned: bool,
}

impl Upstreams {
    pub fn get(&self, hop: HopId) -> Option<&Upstream> {
        self.slots[hop.slot()].as_deref().filter(|up| up.id == hop)
    }

    pub fn get_mut(&mut self, hop: HopId) -> Option<&mut Upstream> {
        self.slots[hop.slot()].as_deref_mut().filter(|up| up.id == hop)
    }

    pub fn iter(&self) -> impl Iterator<Item = (HopId, &Upstream)> {
        self.slots.iter().flatten().map(|up| (up.id, &**up))
    }

    /// The ids of those that are open.
    pub fn ids(&self) -> SmallVec<[HopId; HOPS]> {
        self.iter().map(|(hop, _)| hop).collect()
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
        self.missed = None;
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

    pub(super) fn take(&mut self, hop: HopId) -> Option<Box<Upstream>> {
        self.slots[hop.slot()].take_if(|up| up.id == hop)
    }

    /// The id of the next dialog, whose slot is vacant.
    pub(super) fn vacant(&self) -> Option<HopId> {
        let mut next = (1..=HOPS as u32).filter_map(|more| HopId::numbered(self.last.wrapping_add(more)));
        next.find(|hop| self.slots[hop.slot()].is_none())
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
    /// Begins to open a dialog with the next untried host of a place.
    pub(super) fn open(&mut self, turn: &mut Turn<'_>, place: Place, tried: Tried) -> Result<HopId, NoHop> {
        let Some(hop) = self.upstreams.vacant() else { return Err(NoHop::Busy) };
        let hops = &self.settings.hops;
        let (pick, lmtp) = match &place {
            Place::Pool(pool) => match (hops.kind(*pool), self.destination()) {
                (PoolKind::Original, Some(to)) => (hops.pick_at(*pool, to, &tried, turn.now), false),
                (kind, _) => (hops.pick(*pool, &tried, turn.now), kind == PoolKind::Lmtp),
            },
            Place::Found(found) => (found.pick(&tried, turn.now), false),
        };
        match pick {
            Pick::Host(picked) => {
                let terms = Terms::of(&*picked.host);
                self.upstreams.last = hop.number();
                let up = Upstream {
                    id: hop,
                    place,
                    host: Arc::clone(&picked.host),
                    more: picked.more,
                    lmtp,
                    stand: Stand::Connecting,
                    dialog: dialog::Upstream::default(),
                    since: turn.now,
                    serves: false,
                    tried,
                    passage: None,
                    terms,
                };
                self.upstreams.slots[hop.slot()] = Some(Box::new(up));
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
        let hop = self.open(turn, self.current_place(), Tried::new())?;
        if self.upstreams.estranged {
            self.upstreams.away = Some(hop);
        } else {
            self.upstreams.home = Some(hop);
        }
        Ok(hop)
    }

    /// Where the current dialog is, or will be when it is opened.
    pub(super) fn current_place(&self) -> Place {
        match (&self.transaction, self.upstreams.current().and_then(|hop| self.upstreams.get(hop))) {
            (_, Some(up)) => up.place.clone(),
            (Some(transaction), None) if self.upstreams.estranged => {
                transaction.pinned.clone().unwrap_or(Place::Pool(transaction.pool))
            }
            _ => Place::Pool(self.pool),
        }
    }

    /// Where the client connected to, if that was not gatepost.
    fn destination(&self) -> Option<SocketAddr> {
        self.entrance.facts.as_ref().and_then(|facts| facts.destination)
    }

    /// Whether the client believes that it speaks with the host it connected to, and that has not said a word: where
    /// nobody listens, gatepost does not say that it does.
    pub(super) fn is_in_anothers_place(&self) -> bool {
        let original = self.settings.hops.kind(self.pool) == PoolKind::Original;
        original && self.destination().is_some() && !self.flags.reached
    }

    /// Whether the session's hop is not known before RCPT.
    pub(super) fn is_by_recipient(&self) -> bool {
        matches!(self.settings.hops.kind(self.pool), PoolKind::ByRecipient(_))
    }

    /// The connection could not be made.
    pub(super) fn open_failed(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        self.lost(turn, hop, None);
    }

    /// RSET on our own account.
    pub(super) fn reset_hop(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        self.say(turn, hop, Expect::Nobody, Say::Reset, |line| line.extend_from_slice(b"RSET\r\n"));
    }

    /// Whether a hop is inside a transaction, or will be if it takes what it was told.
    pub(super) fn may_be_in_mail(&self, hop: HopId) -> bool {
        self.upstreams.get(hop).is_some_and(|up| up.dialog.may_be_in_mail())
    }

    /// Says QUIT and closes, without waiting for the 221. A hop in the midst of something is closed bare.
    pub(super) fn dismiss(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        self.ask_again(turn, hop);
        self.answer_for(hop, &own::NEED_MAIL);
        self.content_left_alone(hop);
        let polite = self
            .upstreams
            .get(hop)
            .is_some_and(|up| up.stand == Stand::Ready && up.dialog.is_quiet() && up.dialog.may_say());
        if polite {
            self.say(turn, hop, Expect::Nobody, Say::Last, |line| line.extend_from_slice(b"QUIT\r\n"));
        }
        self.forget_hop(turn, hop, polite);
    }

    /// Closes a dialog and its slot; it is nobody's any more.
    pub(super) fn forget_hop(
        &mut self,
        turn: &mut Turn<'_>,
        hop: HopId,
        flush: bool,
    ) -> Option<Box<Upstream>> {
        let up = self.upstreams.take(hop)?;
        self.upstreams.vacate(hop);
        let peer = Peer::Upstream(hop);
        turn.out.outputs.push(if flush { Output::Close(peer) } else { Output::Abort(peer) });
        Some(up)
    }
}
