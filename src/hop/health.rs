//! What is known about hosts: open dialogs, failures in a row, ejection.
//!
//! In:    leases taken and dropped; [`Lease::failed`] and [`Lease::succeeded`], with the time.
//! Out:   whether a target may be tried now, and the dialogs it has; in `words`, what is said and counted of that.
//! Never: reads a clock, locks on a worker's way, or counts what is the hop's word to one client. Only failed or
//!        timed-out connects, missing greetings, greetings and EHLO refused where nobody was told of a client, 421 before
//!        the client's first command and missing TLS are failures (see [`Why`]); what else goes wrong in a dialog is no
//!        failure of the host.
//!
//! The figures: three failures in a row eject an address for 1 s; each further trial that fails doubles the time,
//! up to 60 s. When the time is over one dialog or probe at a time tries it (half-open: one let go of without a report
//! leaves the trial to the next, one not heard of for 10 s lapses); its success clears everything, and for 10 s the
//! address gets a share that grows with the time, while others are there. A pool whose addresses are all ejected
//! tries them anyway.

#[cfg(test)]
mod tests;
mod words;

pub use self::words::{Change, HopCounts, Probe, Why};

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::offered::{Offered, Withdrawn};
use super::target::{Target, TargetId};

/// Failures in a row after which an address is ejected.
pub const FAILURES_TO_EJECT: u32 = 3;
/// How long the first ejection lasts, and the longest one.
pub const BACKOFF: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
/// How long a trial keeps others from trying the same address.
pub const TRIAL: Duration = Duration::from_secs(10);
/// How long an address that came back takes to have its whole share again, and the least share until then, in per cent.
pub const SLOW_START: (Duration, u8) = (Duration::from_secs(10), 10);

/// What all pools share about one host, whatever its addresses.
#[derive(Debug, Default)]
pub struct HostState {
    open: AtomicU32,
    pub(super) offered: Arc<Offered>,
}

impl HostState {
    /// One that remembers this.
    pub(super) fn new(offered: Arc<Offered>) -> Self {
        Self { open: AtomicU32::default(), offered }
    }

    /// Dialogs open or being opened.
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Takes one dialog of at most `bound` (0: no bound).
    fn take(&self, bound: u32) -> bool {
        if bound == 0 {
            self.open.fetch_add(1, Relaxed);
            return true;
        }
        self.open.fetch_update(Relaxed, Relaxed, |open| (open < bound).then_some(open + 1)).is_ok()
    }
}

/// What all pools share about one address of one host. Times are milliseconds since the registry began.
#[derive(Debug)]
pub struct AddressState {
    id: TargetId,
    base: Instant,
    open: AtomicU32,
    failures: AtomicU32,
    /// Ejections in a row, the exponent of the backoff.
    ejections: AtomicU32,
    /// 0: not ejected (a real one is never 0: the shortest backoff is a second).
    until_ms: AtomicU64,
    /// When it came back after an ejection; 0: long ago, or never ejected.
    back_ms: AtomicU64,
}

impl AddressState {
    pub(super) fn new(id: TargetId, base: Instant) -> Self {
        Self {
            id,
            base,
            open: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            until_ms: AtomicU64::new(0),
            back_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn id(&self) -> TargetId {
        self.id
    }

    pub(super) fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Since the registry began.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.base)
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(self.age(now).as_millis()).unwrap_or(u64::MAX / 2)
    }

    /// Failed lately and has not come back since.
    pub fn is_ejected(&self) -> bool {
        self.until_ms.load(Relaxed) != 0
    }

    /// Whether it may be tried now before those that may not: not ejected, or due for a trial.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        let until = self.until_ms.load(Relaxed);
        until == 0 || until <= self.millis(now)
    }

    /// The share in per cent that it should have while it gathers strength after an ejection; `None`: the whole.
    pub(super) fn share(&self, now: Instant) -> Option<u8> {
        let back = self.back_ms.load(Relaxed);
        if back == 0 {
            return None;
        }
        let (time, least) = SLOW_START;
        let share = self.millis(now).saturating_sub(back) * 100 / time.as_millis() as u64;
        match u8::try_from(share) {
            Ok(share) if share < 100 => Some(share.max(least)),
            _ => {
                // Whoever set it anew in between is right, too.
                let _ = self.back_ms.compare_exchange(back, 0, Relaxed, Relaxed);
                None
            }
        }
    }

    /// Claims the trial of an address that is due for one. `None` if there is none to claim, or another was faster.
    fn claim_trial(&self, now: Instant) -> Option<Trial> {
        let due = self.until_ms.load(Relaxed);
        let now = self.millis(now);
        let lapses = now + TRIAL.as_millis() as u64;
        let claimed =
            due != 0 && due <= now && self.until_ms.compare_exchange(due, lapses, Relaxed, Relaxed).is_ok();
        claimed.then_some(Trial { due, lapses })
    }

    /// A trial that nobody reported on is the next one's.
    fn give_up_trial(&self, trial: Trial) {
        // Failed if there was a report, or it has lapsed and another has begun.
        let _ = self.until_ms.compare_exchange(trial.lapses, trial.due, Relaxed, Relaxed);
    }

    fn failed(&self, trial: bool, now: Instant) -> Change {
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        if !trial && failures < FAILURES_TO_EJECT {
            return Change::None;
        }
        let exponent = self.ejections.load(Relaxed).min(6);
        let backoff = (*BACKOFF.start() * (1 << exponent)).min(*BACKOFF.end());
        let until = self.millis(now) + backoff.as_millis() as u64;
        if trial {
            self.until_ms.store(until, Relaxed);
        } else if self.until_ms.compare_exchange(0, until, Relaxed, Relaxed).is_err() {
            // Dialogs begun before the ejection, or because all are down, must not make it longer.
            return Change::None;
        }
        self.ejections.fetch_add(1, Relaxed);
        Change::Ejected(backoff)
    }

    fn succeeded(&self, now: Instant) -> Change {
        // Loads first: the common case must not write to a line that all workers share.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        if self.ejections.load(Relaxed) != 0 {
            self.ejections.store(0, Relaxed);
        }
        if self.until_ms.load(Relaxed) == 0 || self.until_ms.swap(0, Relaxed) == 0 {
            return Change::None;
        }
        self.back_ms.store(self.millis(now).max(1), Relaxed);
        Change::Restored
    }
}

/// A claim to try an ejected address: when that became due, and when the claim lapses.
#[derive(Clone, Copy, Debug)]
struct Trial {
    due: u64,
    lapses: u64,
}

/// One dialog with one target, counted as open until this is dropped; or one probe of it, which is not counted.
#[derive(Debug)]
pub struct Lease {
    target: Target,
    trial: Option<Trial>,
    probe: bool,
}

impl Lease {
    /// Takes a dialog with `target`, unless its host has `bound` of them (0: no bound).
    pub(super) fn take(target: &Target, bound: u32, now: Instant) -> Option<Self> {
        if !target.0.host.take(bound) {
            return None;
        }
        target.0.state.open.fetch_add(1, Relaxed);
        target.0.counts.connects.fetch_add(1, Relaxed);
        target.0.counts.open.fetch_add(1, Relaxed);
        Some(Self { trial: target.0.state.claim_trial(now), target: target.clone(), probe: false })
    }

    /// Takes a probe of `target`, unless it is ejected and not due for a trial.
    pub(super) fn probe(target: &Target, now: Instant) -> Option<Self> {
        let trial = target.0.state.claim_trial(now);
        let free = trial.is_some() || !target.0.state.is_ejected();
        free.then(|| Self { trial, target: target.clone(), probe: true })
    }

    /// Counts what the probe came to.
    pub(super) fn probed(&self, result: Probe) {
        self.target.0.counts.probes[result as usize].fetch_add(1, Relaxed);
    }

    /// Whom it is with.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The host failed, in one of the ways that count.
    pub fn failed(&self, why: Why, now: Instant) -> Change {
        let counts = &self.target.0.counts;
        counts.failures[why as usize].fetch_add(1, Relaxed);
        if self.target.0.alone {
            return Change::None;
        }
        let change = self.target.0.state.failed(self.trial.is_some(), now);
        if let Change::Ejected(_) = change {
            counts.ejections.fetch_add(1, Relaxed);
        }
        change
    }

    /// Counts that it offers STARTTLS no more.
    pub(super) fn withdrew(&self, instead: Withdrawn) {
        self.target.0.counts.withdrawn[instead as usize].fetch_add(1, Relaxed);
    }

    /// The host gave service: its greeting was taken, and no 421 came before the client's first command.
    pub fn succeeded(&self, now: Instant) -> Change {
        self.target.0.state.succeeded(now)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(trial) = self.trial {
            self.target.0.state.give_up_trial(trial);
        }
        if self.probe {
            return;
        }
        self.target.0.counts.open.fetch_sub(1, Relaxed);
        self.target.0.state.open.fetch_sub(1, Relaxed);
        self.target.0.host.open.fetch_sub(1, Relaxed);
    }
}
