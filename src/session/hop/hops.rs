//! All of a session's dialogs with hops: few places, and which of them the client's commands go to.
//!
//! In:    a pool or a domain's hosts to reach; which dialog is whose; which is closed.
//! Out:   a dialog in one of a few slots, or the news that there is no host left; the connections to make and to close.
//! Never: holds more dialogs than slots, gives a number twice, or calls a closed dialog home or away.
//!
//! Home is the dialog with the listener's pool; away is the one that a verdict or a ladder gave this transaction; the
//! current one, which hears the client's commands, is away's if the transaction is away, else home.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Hop, Missed, Tried};
use crate::session::client::Client;
use crate::session::io::Output;
use crate::session::peer::{Bits, HOPS, HopId, Peer};
use crate::session::route::{Pick, Place, PoolId, PoolKind};
use crate::session::said::Said;
use crate::session::settings::Settings;
use crate::session::transaction::Transaction;
use crate::session::turn::Turn;
use crate::smtp::{Extensions, Reply, own};

/// Why there is no hop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoHop {
    /// None left to try.
    None,
    /// Those left hold as many dialogs as they may.
    Busy,
}

/// What may be true of them, each by itself.
#[derive(Clone, Copy, Debug)]
enum Mark {
    /// The transaction is away, whether or not the dialog it is with stands.
    Away,
    /// It was said in the log that a hop is not told who the client is.
    Warned,
    /// Some hop greeted in this session.
    Reached,
    /// Home has heard an EHLO of before TLS, and none since.
    Stale,
    /// One that had greeted was lost, and none has taken over since.
    Lost,
    /// The last host that could not be used lacked TLS.
    MissedTls,
    /// It could not be told who the client is.
    MissedIdentity,
}

/// What a hop said that is none for this session, and so what the client may hear if none is left.
#[derive(Debug)]
struct Refusal {
    hop: HopId,
    name: Arc<str>,
    reply: Reply,
    /// It speaks of gatepost, not of the client.
    ours: bool,
}

/// The dialogs.
#[derive(Debug)]
pub struct Hops {
    slots: [Option<Box<Hop>>; HOPS],
    /// Where the session's transactions go unless a verdict says otherwise: the listener's pool.
    pool: PoolId,
    home: Option<HopId>,
    /// The transaction's own, where it is away.
    away: Option<HopId>,
    /// The number of the dialog opened last.
    last: u32,
    /// The first refusal a hop spoke since the client was last answered by one; a temporary one, if there was any.
    refusal: Option<Box<Refusal>>,
    marks: Bits,
}

impl Hops {
    /// None yet; those to come are of this pool.
    pub fn new(pool: PoolId) -> Hops {
        Hops {
            slots: Default::default(),
            pool,
            home: None,
            away: None,
            last: 0,
            refusal: None,
            marks: Bits::default(),
        }
    }

    /// Begins to open a dialog with the next untried host of a place.
    pub fn open(
        &mut self,
        turn: &mut Turn<'_>,
        settings: &Settings,
        client: &Client,
        place: Place,
        tried: Tried,
    ) -> Result<HopId, NoHop> {
        let Some(id) = self.next_id() else { return Err(NoHop::Busy) };
        let pools = &settings.next_hops;
        let (pick, lmtp) = match &place {
            Place::Pool(pool) => match (pools.kind(*pool), client.destination()) {
                (PoolKind::Original, Some(to)) => (pools.pick_at(*pool, to, &tried, turn.now), false),
                (kind, _) => (pools.pick(*pool, &tried, turn.now), kind == PoolKind::Lmtp),
            },
            Place::Found(found) => (found.pick(&tried, turn.now), false),
        };
        match pick {
            Pick::Host(picked) => {
                self.last = id.number();
                self.slots[id.slot()] = Some(Box::new(Hop::new(id, place, &picked, lmtp, tried, turn.now)));
                turn.wish(Output::Open { hop: id, host: picked.host });
                Ok(id)
            }
            Pick::Busy => Err(NoHop::Busy),
            Pick::None => Err(NoHop::None),
        }
    }

    /// The current dialog, opening one if there is none.
    pub fn current_or_open(
        &mut self,
        turn: &mut Turn<'_>,
        settings: &Settings,
        client: &Client,
        transaction: Option<&Transaction>,
    ) -> Result<HopId, NoHop> {
        if let Some(hop) = self.current() {
            return Ok(hop);
        }
        let hop = self.open(turn, settings, client, self.current_place(transaction), Tried::new())?;
        self.take_current(hop);
        Ok(hop)
    }

    /// This dialog is the current one, where there was none.
    pub fn take_current(&mut self, hop: HopId) {
        if self.is(Mark::Away) {
            self.away = Some(hop);
        } else {
            self.home = Some(hop);
        }
    }

    /// Closes a dialog and its slot; it is nobody's any more. `flush`: behind what was said to it.
    pub fn close(&mut self, turn: &mut Turn<'_>, hop: HopId, flush: bool) -> Option<Box<Hop>> {
        let closed = self.slots[hop.slot()].take_if(|open| open.id == hop)?;
        if self.home == Some(hop) {
            self.home = None;
        }
        if self.away == Some(hop) {
            self.away = None;
        }
        let peer = Peer::Upstream(hop);
        turn.wish(if flush { Output::Close(peer) } else { Output::Abort(peer) });
        Some(closed)
    }

    /// The transaction moves to this hop, home or not.
    pub fn go_to(&mut self, hop: HopId) {
        let away = self.home != Some(hop);
        self.mark(Mark::Away, away);
        self.away = away.then_some(hop);
    }

    /// The transaction is not home's, wherever its recipients will lead it.
    pub fn go_nowhere(&mut self) {
        self.mark(Mark::Away, true);
    }

    /// What comes next is home's; returns the dialog that it is not with any more.
    pub fn come_home(&mut self) -> Option<HopId> {
        self.mark(Mark::Away, false);
        self.away.take()
    }

    /// The session's transactions go to another pool from now on.
    pub fn move_to(&mut self, pool: PoolId) {
        self.pool = pool;
    }

    /// A hop refused. The first refusal is kept until the client was answered, but a temporary one wins over a
    /// permanent one; and behind a loss none becomes the client's.
    pub fn refused(&mut self, hop: HopId, name: Arc<str>, reply: Reply, ours: bool) {
        let better = |kept: &Refusal| kept.reply.code().is_permanent() && reply.code().is_transient();
        if !self.is(Mark::Lost) && self.refusal.as_deref().is_none_or(better) {
            self.refusal = Some(Box::new(Refusal { hop, name, reply, ours }));
        }
    }

    /// The refusal that is kept, to be said; it is taken. A permanent one that speaks of gatepost is no client's.
    pub fn take_refusal(&mut self) -> Option<Said> {
        let Refusal { hop, name, reply, ours } = *self.refusal.take()?;
        Some(match ours && reply.code().is_permanent() {
            true => Said::Own(&own::HOP_REFUSES),
            false => Said::Heard(hop, Arc::new(reply), Some(name)),
        })
    }

    /// One that had greeted is lost.
    pub fn was_lost(&mut self) {
        self.mark(Mark::Lost, true);
    }

    /// One takes over, if any was lost.
    pub fn takes_over(&mut self) {
        self.mark(Mark::Lost, false);
    }

    /// A host could not be used for want of this.
    pub fn missed(&mut self, missed: Missed) {
        self.mark(Mark::MissedTls, missed == Missed::Tls);
        self.mark(Mark::MissedIdentity, missed == Missed::Identity);
    }

    /// What the last host lacked that could not be used.
    pub fn what_was_missed(&self) -> Option<Missed> {
        let (tls, identity) = (self.is(Mark::MissedTls), self.is(Mark::MissedIdentity));
        tls.then_some(Missed::Tls).or(identity.then_some(Missed::Identity))
    }

    /// The client was answered by a hop: what was tried and refused until then is no longer held against anyone.
    pub fn episode_over(&mut self) {
        self.refusal = None;
        self.mark(Mark::MissedTls, false);
        self.mark(Mark::MissedIdentity, false);
        self.slots.iter_mut().flatten().for_each(|hop| hop.tried.clear());
    }

    /// A hop greeted.
    pub fn was_reached(&mut self) {
        self.mark(Mark::Reached, true);
    }

    /// The client is under TLS now: what home heard before must not count.
    pub fn grow_stale(&mut self) {
        self.mark(Mark::Stale, true);
    }

    /// Home hears an EHLO of the client's, or goes. Returns whether it had heard one of before TLS.
    pub fn is_fresh(&mut self) -> bool {
        let stale = self.is(Mark::Stale);
        self.mark(Mark::Stale, false);
        stale
    }

    fn next_id(&self) -> Option<HopId> {
        let mut next = (1..=HOPS as u32).filter_map(|more| HopId::numbered(self.last.wrapping_add(more)));
        next.find(|hop| self.slots[hop.slot()].is_none())
    }
}

impl Hops {
    /// A dialog that is open.
    pub fn get(&self, hop: HopId) -> Option<&Hop> {
        self.slots[hop.slot()].as_deref().filter(|open| open.id == hop)
    }

    /// The same, to speak with.
    pub fn get_mut(&mut self, hop: HopId) -> Option<&mut Hop> {
        self.slots[hop.slot()].as_deref_mut().filter(|open| open.id == hop)
    }

    /// Whether the log has heard in this session that a hop is not told who the client is.
    pub fn has_warned(&self) -> bool {
        self.is(Mark::Warned)
    }

    /// It has.
    pub fn warned(&mut self) {
        self.mark(Mark::Warned, true);
    }

    /// Those that are open.
    pub fn iter(&self) -> impl Iterator<Item = &Hop> {
        self.slots.iter().flatten().map(|hop| &**hop)
    }

    /// Their ids.
    pub fn ids(&self) -> SmallVec<[HopId; HOPS]> {
        self.iter().map(Hop::id).collect()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// The dialog that hears the client's commands.
    pub fn current(&self) -> Option<HopId> {
        if self.is(Mark::Away) { self.away } else { self.home }
    }

    /// The dialog with the listener's pool.
    pub fn home(&self) -> Option<HopId> {
        self.home
    }

    /// The transaction's own dialog.
    pub fn away(&self) -> Option<HopId> {
        self.away
    }

    /// Whether the transaction is away, whether or not the dialog it is with stands.
    pub fn is_away(&self) -> bool {
        self.is(Mark::Away)
    }

    /// Whether a dialog is open, and ready to hear the client's commands.
    pub fn is_ready(&self, hop: HopId) -> bool {
        self.get(hop).is_some_and(Hop::is_ready)
    }

    /// A hop's name.
    pub fn name(&self, hop: HopId) -> Option<Arc<str>> {
        self.get(hop).map(|hop| Arc::clone(hop.name()))
    }

    /// Where the session's transactions go.
    pub fn pool(&self) -> PoolId {
        self.pool
    }

    /// Where the current dialog is, or will be when it is opened.
    pub fn current_place(&self, transaction: Option<&Transaction>) -> Place {
        match (transaction, self.current().and_then(|hop| self.get(hop))) {
            (_, Some(hop)) => hop.place.clone(),
            (Some(transaction), None) if self.is(Mark::Away) => {
                transaction.pinned.clone().unwrap_or(Place::Pool(transaction.pool))
            }
            _ => Place::Pool(self.pool),
        }
    }

    /// What the current hop offers.
    pub fn offered(&self) -> Extensions {
        self.current().and_then(|hop| self.get(hop)).map_or_else(Extensions::default, |hop| *hop.offers())
    }

    /// Whether some hop greeted in this session.
    pub fn is_reached(&self) -> bool {
        self.is(Mark::Reached)
    }

    /// Whether one that had greeted was lost, and none has taken over since.
    pub fn is_behind_loss(&self) -> bool {
        self.is(Mark::Lost)
    }

    /// Whether home has heard an EHLO of before TLS, and none since.
    pub fn is_stale(&self) -> bool {
        self.is(Mark::Stale)
    }

    fn is(&self, mark: Mark) -> bool {
        self.marks.has(mark as usize)
    }

    fn mark(&mut self, mark: Mark, on: bool) {
        if on { self.marks.set(mark as usize) } else { self.marks.unset(mark as usize) }
    }
}
