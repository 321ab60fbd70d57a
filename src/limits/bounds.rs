//! The bounds of one configuration, and what they count that outlives it.
//!
//! In:    `limits` of the configuration; the bounds before it.
//! Out:   for an address: whether it is counted as a client, which range holds it, whether it may do one thing more.
//! Never: forgets what was counted where a bound is as it was before.
//!
//! A client belongs to the first range that holds it. What it does is bound as its own first, unless it is exempt,
//! then as its range's; so a client beyond its own bound uses nothing of its neighbours'.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use governor::state::{InMemoryState, StateStore};

use super::client::ClientKey;
use super::rate::Rate;
use super::table::Table;
use crate::config::types;
use crate::networks::Networks;
use crate::session::limiter::Bound;

/// What is bound by the minute.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Session,
    Message,
    Recipient,
}

/// What holds for whom.
pub(super) struct Bounds {
    /// Sessions in all.
    pub(super) sessions: usize,
    /// Sessions of one client.
    pub(super) per_client: usize,
    exempt: Networks,
    rates: Rates<Table>,
    ranges: Vec<Range>,
}

/// Clients that are counted together.
pub(super) struct Range {
    /// As configured; by this it is the same after a reload.
    from: Networks,
    /// Sessions at once.
    pub(super) sessions: usize,
    /// How many there are.
    pub(super) open: Arc<AtomicUsize>,
    rates: Rates<InMemoryState>,
}

/// By [`Act`].
struct Rates<S: StateStore>([Option<Arc<Rate<S>>>; 3]);

impl Bounds {
    /// The bounds that `limits` says, with what was counted under those before.
    pub(super) fn new(sessions: usize, limits: &types::SessionLimits, before: Option<&Self>) -> Self {
        let rates =
            [limits.new_sessions_per_minute, limits.messages_per_minute, limits.recipients_per_minute];
        let known = |range: &types::Range| before?.ranges.iter().find(|known| known.from == range.from);
        Self {
            sessions,
            per_client: if limits.sessions_per_client == 0 { usize::MAX } else { limits.sessions_per_client },
            exempt: limits.exempt.clone(),
            rates: Rates::new(rates, before.map(|before| &before.rates)),
            ranges: limits.ranges.iter().map(|range| Range::new(range, known(range))).collect(),
        }
    }

    /// Whether messages or recipients are bound at all.
    pub(super) fn are_rated(&self) -> bool {
        let acts = [Act::Message, Act::Recipient];
        acts.iter().any(|&act| {
            self.rates.of(act).is_some() || self.ranges.iter().any(|range| range.rates.of(act).is_some())
        })
    }

    /// Whom an address is counted as; `None`: it is exempt.
    pub(super) fn client(&self, address: IpAddr) -> Option<ClientKey> {
        (!self.exempt.contains(address)).then(|| ClientKey::from(address))
    }

    /// The range that holds an address.
    pub(super) fn range(&self, address: IpAddr) -> Option<&Range> {
        self.ranges.iter().find(|range| range.from.contains(address))
    }

    /// Takes one of what a client and its range may do now.
    pub(super) fn take(
        &self,
        act: Act,
        client: Option<ClientKey>,
        range: Option<&Range>,
        now: Instant,
    ) -> Result<(), Bound> {
        if let (Some(rate), Some(client)) = (self.rates.of(act), client)
            && !rate.takes(client, now)
        {
            return Err(Bound::Client);
        }
        match range.and_then(|range| range.rates.of(act)) {
            Some(rate) if !rate.takes(now) => Err(Bound::Range),
            _ => Ok(()),
        }
    }
}

impl Range {
    fn new(range: &types::Range, before: Option<&Self>) -> Self {
        let rates = [range.new_sessions_per_minute, range.messages_per_minute, range.recipients_per_minute];
        Self {
            from: range.from.clone(),
            sessions: if range.sessions == 0 { usize::MAX } else { range.sessions },
            open: before.map(|before| Arc::clone(&before.open)).unwrap_or_default(),
            rates: Rates::new(rates, before.map(|before| &before.rates)),
        }
    }
}

impl<S: StateStore + Default> Rates<S> {
    fn new(per_minute: [u32; 3], before: Option<&Self>) -> Self {
        let rate = |act: usize| Rate::new(per_minute[act], before.and_then(|before| before.0[act].as_ref()));
        Self(std::array::from_fn(rate))
    }

    fn of(&self, act: Act) -> Option<&Rate<S>> {
        self.0[act as usize].as_deref()
    }
}
