//! So many a minute: of each client, or of all of a range together.
//!
//! In:    a client and the time.
//! Out:   whether there was room for one more, which is taken by asking.
//! Never: reads a clock: the time is what the caller says, since a session's time may be a test's.
//!
//! By the generic cell rate algorithm (the crate governor): a minute's worth may be used at once, and what was used comes
//! back evenly. What is refused uses nothing.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, StateStore};
use governor::{Quota, RateLimiter};

use super::client::ClientKey;
use super::table::Table;

/// So many a minute; `S` is [`Table`] where each client is counted for itself, else [`InMemoryState`].
pub(super) struct Rate<S: StateStore> {
    per_minute: NonZeroU32,
    limiter: RateLimiter<S::Key, S, Told, NoOpMiddleware<Duration>>,
}

impl<S: StateStore + Default> Rate<S> {
    /// So many a minute; none where that is 0. If it is as before, what was counted stays.
    pub(super) fn new(per_minute: u32, before: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let per_minute = NonZeroU32::new(per_minute)?;
        if let Some(same) = before.filter(|before| before.per_minute == per_minute) {
            return Some(Arc::clone(same));
        }
        NOW.set(None);
        let clock = Told { since: Instant::now() };
        let limiter = RateLimiter::new(Quota::per_minute(per_minute), S::default(), clock);
        Some(Arc::new(Self { per_minute, limiter }))
    }
}

impl Rate<Table> {
    /// Takes one for a client.
    pub(super) fn takes(&self, client: ClientKey, now: Instant) -> bool {
        NOW.set(Some(now));
        self.limiter.check_key(&client).is_ok()
    }
}

impl Rate<InMemoryState> {
    /// Takes one.
    pub(super) fn takes(&self, now: Instant) -> bool {
        NOW.set(Some(now));
        self.limiter.check().is_ok()
    }
}

thread_local! {
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A clock that shows what it was told last on this thread.
struct Told {
    since: Instant,
}

impl Clock for Told {
    type Instant = Duration;

    fn now(&self) -> Duration {
        NOW.get().map(|now| now.saturating_duration_since(self.since)).unwrap_or_default()
    }
}
