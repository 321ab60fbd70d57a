//! A callout that fails again and again is not asked for a while: nobody waits for what will not come.
//!
//! **In**: questions that are to be asked, and how each ended, from whichever worker asked.
//! **Out**: whether to ask; a line of the log when that changes; the gauge `gatepost_callout_up`.
//! **Never**: takes an answer for a failure because of what is in it: what one client's mail can bring about must not keep
//! a callout from being asked about another's. Waits, or locks.
//!
//! What counts: no connection, a broken one, silence, a service that says it cannot answer. Five of them in a
//! row, of all questions together, and it is not asked for 10 s; then one question goes through to try, and another each
//! 10 s, until one is answered. What is not asked has failed, and `on_error` holds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::metrics::CalloutCounts;
use crate::session::callout::{Fault, FaultKind};
use crate::session::io::CalloutEnd;

/// Failures in a row after which it is not asked.
const FAILURES: u32 = 5;
/// For how long.
const PAUSE: Duration = Duration::from_secs(10);

/// By the callout's name: a reload does not make a service any better.
static ALL: Mutex<BTreeMap<Box<str>, Arc<Breaker>>> = Mutex::new(BTreeMap::new());

/// From when times are counted.
static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Whether one callout is asked.
#[derive(Debug)]
pub struct Breaker {
    name: Box<str>,
    /// In a row.
    failures: AtomicU32,
    /// When it is asked again, in milliseconds since [`BASE`] and one; 0: it is asked.
    again: AtomicU64,
    counts: Arc<CalloutCounts>,
}

impl Breaker {
    /// That of the callout with this name.
    pub fn of(name: &str) -> Arc<Breaker> {
        // Nothing in here panics half-way.
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(name.into()).or_insert_with(|| Arc::new(Breaker::new(name))))
    }

    fn new(name: &str) -> Breaker {
        Breaker {
            name: name.into(),
            failures: AtomicU32::new(0),
            again: AtomicU64::new(0),
            counts: CalloutCounts::of(name),
        }
    }

    /// Whether the callout is asked, but for one question now and then.
    pub fn is_closed(&self) -> bool {
        self.again.load(Relaxed) == 0
    }

    /// Whether this question is asked.
    pub(super) fn admits(&self, now: Instant) -> Result<(), Fault> {
        let again = self.again.load(Relaxed);
        let now = millis(now);
        if again == 0 {
            return Ok(());
        }
        // Whoever moves the time on is the one that tries.
        let next = now + millis_of(PAUSE);
        if now >= again && self.again.compare_exchange(again, next, Relaxed, Relaxed).is_ok() {
            return Ok(());
        }
        let what = format!("not asked after {} failures in a row", self.failures.load(Relaxed));
        Err(Fault::new(FaultKind::NotAsked, what))
    }

    /// A question ended.
    pub(super) fn ended(&self, now: Instant, end: CalloutEnd) {
        match end {
            CalloutEnd::Cancelled | CalloutEnd::Failed(FaultKind::NotAsked) => {}
            CalloutEnd::Failed(
                kind @ (FaultKind::Unreachable | FaultKind::Lost | FaultKind::TimedOut | FaultKind::Refused),
            ) => self.failed(now, kind),
            // It answered, whatever that was.
            CalloutEnd::Failed(_) | CalloutEnd::Passed | CalloutEnd::Verdict(_) => self.answered(),
        }
    }

    fn failed(&self, now: Instant, kind: FaultKind) {
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        if failures < FAILURES {
            return;
        }
        let before = self.again.swap(millis(now) + millis_of(PAUSE), Relaxed);
        if before == 0 {
            self.counts.is_asked(false);
            let (name, last) = (&self.name, kind.as_str());
            warn!(failures, last, "callout {name}: not asked any more, but for one question every {PAUSE:?}");
        }
    }

    fn answered(&self) {
        if self.failures.load(Relaxed) > 0 {
            self.failures.store(0, Relaxed);
        }
        if self.again.load(Relaxed) > 0 && self.again.swap(0, Relaxed) > 0 {
            self.counts.is_asked(true);
            info!("callout {}: answers again, and is asked", self.name);
        }
    }
}

fn millis(now: Instant) -> u64 {
    millis_of(now.saturating_duration_since(*BASE)) + 1
}

fn millis_of(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::io::VerdictKind;

    #[test]
    fn opens_tries_and_closes() {
        let breaker = Breaker::new("breaker-opens");
        let start = *BASE + Duration::from_secs(100);
        let at = |seconds| start + Duration::from_secs(seconds);
        let failed = |kind, seconds| breaker.ended(at(seconds), CalloutEnd::Failed(kind));
        // Answers of any kind begin the row anew; what says nothing of the service does not count.
        for _ in 0..4 {
            failed(FaultKind::TimedOut, 0);
        }
        breaker.ended(at(0), CalloutEnd::Failed(FaultKind::NotAllowed));
        for kind in [FaultKind::Lost, FaultKind::Refused, FaultKind::TimedOut, FaultKind::Unreachable] {
            failed(kind, 1);
            breaker.ended(at(1), CalloutEnd::Cancelled);
        }
        assert!(breaker.is_closed() && breaker.admits(at(1)).is_ok());
        failed(FaultKind::Lost, 2);
        assert!(!breaker.is_closed());
        let fault = breaker.admits(at(11)).unwrap_err();
        assert_eq!(fault.to_string(), "not_asked: not asked after 5 failures in a row");
        // One question tries, and only one.
        assert!(breaker.admits(at(12)).is_ok());
        assert!(breaker.admits(at(12)).is_err() && breaker.admits(at(21)).is_err());
        failed(FaultKind::TimedOut, 15);
        failed(FaultKind::NotAsked, 15);
        assert!(breaker.admits(at(24)).is_err());
        // One that is not waited for to its end is followed by another.
        assert!(breaker.admits(at(25)).is_ok());
        breaker.ended(at(26), CalloutEnd::Cancelled);
        assert!(breaker.admits(at(34)).is_err() && breaker.admits(at(35)).is_ok());
        breaker.ended(at(36), CalloutEnd::Verdict(VerdictKind::Reply));
        assert!(breaker.is_closed() && breaker.admits(at(36)).is_ok());
        for _ in 0..4 {
            failed(FaultKind::Lost, 37);
        }
        assert!(breaker.is_closed(), "the row begins anew");
    }

    #[test]
    fn one_for_each_name() {
        let one = Breaker::of("breaker-one");
        assert!(Arc::ptr_eq(&one, &Breaker::of("breaker-one")));
        assert!(!Arc::ptr_eq(&one, &Breaker::of("breaker-two")));
    }
}
