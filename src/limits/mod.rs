//! Who may do how much: sessions in all, of one client, of a range; new sessions, messages and recipients a minute;
//! descriptors.
//!
//! In:    a connection, then the address of its client, then what the client does.
//! Out:   a [`Permit`] held for as long as the session lives, or which limit was met; as the sessions' [`Limiter`],
//!        whether a message or recipient may be, and whether sessions are running out.
//! Never: says anything to a client, or grows beyond one entry per open session and a fixed table per rate.
//!
//! A connection counts in all from [`Sessions::enter`] on; for its client, and the range that holds it, from
//! [`Entered::admit`] on, when it is known who the client is. An IPv6 client is its /64.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::config::types;
use crate::session::limiter::{Bound, Limiter};
use crate::smtp::{Own, own};
use crate::stress::Stress;

mod bounds;
mod client;
pub mod descriptors;
mod rate;
mod table;

use bounds::{Act, Bounds};
use client::ClientKey;

/// Parts of the map of clients, each with its own lock, held for one look-up when a session begins or ends.
const SHARDS: usize = 32;

/// A limit that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// `limits.sessions`.
    Sessions,
    /// `limits.sessions_per_client`.
    PerClient,
    /// `sessions` of a range.
    PerRange,
    /// `limits.new_sessions_per_minute`, or that of a range.
    Rate(Bound),
}

impl Exceeded {
    /// What the client hears.
    pub fn reply(self) -> &'static Own {
        match self {
            Exceeded::Sessions => &own::TOO_MANY_SESSIONS,
            Exceeded::PerClient => &own::TOO_MANY_FROM_CLIENT,
            Exceeded::PerRange => &own::TOO_MANY_FROM_RANGE,
            Exceeded::Rate(_) => &own::SESSION_RATE,
        }
    }
}

/// Counts sessions, and what is done in them a minute. Counts outlive a reload; the bounds are replaced by
/// [`Sessions::set`].
pub struct Sessions {
    bounds: ArcSwap<Bounds>,
    /// Whether messages or recipients are bound at all.
    rated: AtomicBool,
    open: AtomicUsize,
    stress: Stress,
    hasher: RandomState,
    clients: [Mutex<HashMap<ClientKey, usize>>; SHARDS],
}

impl Sessions {
    /// At most `sessions` at once, of each client and range what `limits` says.
    pub fn new(sessions: usize, limits: &types::SessionLimits) -> Arc<Self> {
        let bounds = Bounds::new(sessions, limits, None);
        Arc::new(Self {
            rated: AtomicBool::new(bounds.are_rated()),
            bounds: ArcSwap::from_pointee(bounds),
            open: AtomicUsize::new(0),
            stress: Stress::new("limits.sessions"),
            hasher: RandomState::new(),
            clients: Default::default(),
        })
    }

    /// Replaces the bounds; sessions that are open stay, even those beyond the new ones.
    pub fn set(&self, sessions: usize, limits: &types::SessionLimits) {
        let bounds = Bounds::new(sessions, limits, Some(&self.bounds.load()));
        self.rated.store(bounds.are_rated(), Relaxed);
        self.bounds.store(Arc::new(bounds));
    }

    /// Lets one more connection in, whoever is behind it.
    ///
    /// # Errors
    ///
    /// [`Exceeded::Sessions`].
    pub fn enter(self: &Arc<Self>) -> Result<Entered, Exceeded> {
        let most = self.bound();
        self.open
            .fetch_update(Relaxed, Relaxed, |open| (open < most).then_some(open + 1))
            .map_err(|_| Exceeded::Sessions)?;
        self.is_stressed();
        Ok(Entered(Arc::clone(self)))
    }

    /// Sessions open now.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// The bound on sessions in all.
    pub fn bound(&self) -> usize {
        self.bounds.load().sessions
    }

    /// Counts a session for its client and its range, if both have room for it.
    fn take(&self, address: IpAddr, now: Instant) -> Result<Place, Exceeded> {
        let bounds = self.bounds.load();
        let mut place = Place::default();
        match self.fill(&mut place, &bounds, address, now) {
            Ok(()) => Ok(place),
            Err(exceeded) => {
                self.give_back(place);
                Err(exceeded)
            }
        }
    }

    fn fill(
        &self,
        place: &mut Place,
        bounds: &Bounds,
        address: IpAddr,
        now: Instant,
    ) -> Result<(), Exceeded> {
        let client = bounds.client(address);
        if let Some(client) = client {
            let mut shard = self.shard(client);
            match shard.entry(client) {
                Entry::Occupied(entry) if *entry.get() >= bounds.per_client => {
                    return Err(Exceeded::PerClient);
                }
                Entry::Occupied(mut entry) => *entry.get_mut() += 1,
                Entry::Vacant(entry) => {
                    entry.insert(1);
                }
            }
            place.client = Some(client);
        }
        let range = bounds.range(address);
        if let Some(range) = range {
            // From here on giving back the place takes this back, too.
            place.range = Some(Arc::clone(&range.open));
            if range.open.fetch_add(1, Relaxed) >= range.sessions {
                return Err(Exceeded::PerRange);
            }
        }
        bounds.take(Act::Session, client, range, now).map_err(Exceeded::Rate)
    }

    fn give_back(&self, Place { client, range }: Place) {
        if let Some(range) = range {
            range.fetch_sub(1, Relaxed);
        }
        let Some(client) = client else { return };
        let mut shard = self.shard(client);
        if let Entry::Occupied(mut entry) = shard.entry(client) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
                // What a flood made large is given back when it is over.
                if shard.is_empty() {
                    shard.shrink_to_fit();
                }
            }
        }
    }

    fn shard(&self, client: ClientKey) -> MutexGuard<'_, HashMap<ClientKey, usize>> {
        let index = self.hasher.hash_one(client) as usize % SHARDS;
        // Every change of a shard is one insertion, removal or addition, so a poisoned one is whole.
        self.clients[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may(&self, act: Act, address: IpAddr, now: Instant) -> Result<(), Bound> {
        if !self.rated.load(Relaxed) {
            return Ok(());
        }
        let bounds = self.bounds.load();
        bounds.take(act, bounds.client(address), bounds.range(address), now)
    }
}

impl Limiter for Sessions {
    fn message(&self, client: IpAddr, now: Instant) -> Result<(), Bound> {
        self.may(Act::Message, client, now)
    }

    fn recipient(&self, client: IpAddr, now: Instant) -> Result<(), Bound> {
        self.may(Act::Recipient, client, now)
    }

    fn is_stressed(&self) -> bool {
        self.stress.at(self.open(), self.bound())
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("open", &self.open()).finish_non_exhaustive()
    }
}

/// A connection's place in all, given back when dropped. Nobody has said yet who its client is.
#[derive(Debug)]
pub struct Entered(Arc<Sessions>);

impl Entered {
    /// Counts it for its client.
    ///
    /// # Errors
    ///
    /// Which limit was met; the place is given back.
    pub fn admit(self, client: IpAddr, now: Instant) -> Result<Permit, Exceeded> {
        let place = self.0.take(client, now)?;
        Ok(Permit { place, entered: self })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
        self.0.is_stressed();
    }
}

/// One session's place, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    place: Place,
    entered: Entered,
}

/// Where a session counts.
#[derive(Debug, Default)]
struct Place {
    /// None for an exempt client, which is not counted.
    client: Option<ClientKey>,
    /// The sessions of its range.
    range: Option<Arc<AtomicUsize>>,
}

impl Permit {
    /// Counts the session for another client from now on, as for a new one.
    ///
    /// # Errors
    ///
    /// Which limit was met; then it counts in all only, until it ends.
    pub fn move_to(&mut self, client: IpAddr, now: Instant) -> Result<(), Exceeded> {
        // Given back first: the new client may be of the same range, or /64.
        self.entered.0.give_back(std::mem::take(&mut self.place));
        self.place = self.entered.0.take(client, now)?;
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.entered.0.give_back(std::mem::take(&mut self.place));
    }
}

#[cfg(test)]
mod tests;
