//! A callout that fails again and again is not asked for a while: nobody waits for what will not come.
//!
//! **In**: questions that are to be asked, and how each ended, from whichever worker asked.
//! **Out**: whether to ask; a line of the log when that changes; the gauge `gatepost_callout_up`.
//! **Never**: lets what one client's mail can bring about keep a callout from being asked about others', as long as others' is
//! answered; gives up the one question that tries because its client is gone. Waits, or locks.
//!
//! What counts: no connection; and a broken one, a whole `timeout` of silence, a service that says it cannot answer, but
//! only where no other question was answered meanwhile. Five of them in a row, of all questions together, and it is not asked
//! for 10 s; then one question goes through to try, and another each 10 s, until one is answered. What is not asked has
//! failed, and `on_error` holds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::metrics::CalloutCounts;
use crate::session::callout::{Fault, FaultKind};
use crate::session::io::CalloutEnd;

/// Failures in a row after which it is not asked.
const FAILURES: u32 = 5;
/// For how long.
const PAUSE: Duration = Duration::from_secs(10);

/// By the callout's name and where it is, while there is one of these: a reload does not make a service any better.
static ALL: Mutex<BTreeMap<Key, Weak<Breaker>>> = Mutex::new(BTreeMap::new());
type Key = (Box<str>, Box<str>);

/// From when times are counted.
static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Whether one callout is asked.
#[derive(Debug)]
pub struct Breaker {
    name: Box<str>,
    /// In a row.
    failures: AtomicU32,
    /// When a question was answered last.
    answered: AtomicU64,
    /// When one may try again; 0: all are asked. Times are in milliseconds since [`BASE`] and one.
    again: AtomicU64,
    counts: Arc<CalloutCounts>,
}

/// Leave to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// As always.
    Asked,
    /// It is the one that tries: it goes on to its end, whoever waits.
    Tries,
}

impl Breaker {
    /// That of the callout with this name, which is asked at this place.
    pub fn of(name: &str, place: &str) -> Arc<Breaker> {
        // Nothing in here panics half-way.
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, breaker| breaker.strong_count() > 0);
        let key = (name.into(), place.into());
        if let Some(breaker) = all.get(&key).and_then(Weak::upgrade) {
            return breaker;
        }
        let breaker = Arc::new(Breaker::new(name));
        all.insert(key, Arc::downgrade(&breaker));
        breaker
    }

    fn new(name: &str) -> Breaker {
        Breaker {
            name: name.into(),
            failures: AtomicU32::new(0),
            answered: AtomicU64::new(0),
            again: AtomicU64::new(0),
            counts: CalloutCounts::of(name),
        }
    }

    /// Whether the callout is asked, but for one question now and then.
    pub fn is_closed(&self) -> bool {
        self.again.load(Relaxed) == 0
    }

    /// Whether this question is asked.
    pub(super) fn admits(&self, now: Instant) -> Result<Leave, Fault> {
        let again = self.again.load(Relaxed);
        let now = millis(now);
        if again == 0 {
            return Ok(Leave::Asked);
        }
        // Whoever moves the time on is the one that tries.
        let next = now + millis_of(PAUSE);
        if now >= again && self.again.compare_exchange(again, next, Relaxed, Relaxed).is_ok() {
            return Ok(Leave::Tries);
        }
        let what = format!("not asked after {} failures in a row", self.failures.load(Relaxed));
        Err(Fault::new(FaultKind::NotAsked, what))
    }

    /// A question ended that took so long. `whole`: how long it could have taken.
    pub(super) fn ended(&self, now: Instant, end: CalloutEnd, took: Duration, whole: Duration) {
        let alone = || self.answered.load(Relaxed) < millis(now).saturating_sub(millis_of(took));
        match end {
            CalloutEnd::Cancelled | CalloutEnd::Failed(FaultKind::NotAsked) => {}
            CalloutEnd::Failed(FaultKind::Unreachable) => self.failed(now, FaultKind::Unreachable),
            CalloutEnd::Failed(kind @ (FaultKind::Lost | FaultKind::Refused)) if alone() => {
                self.failed(now, kind);
            }
            CalloutEnd::Failed(FaultKind::TimedOut) if took >= whole && alone() => {
                self.failed(now, FaultKind::TimedOut);
            }
            CalloutEnd::Failed(FaultKind::Lost | FaultKind::Refused | FaultKind::TimedOut) => {}
            // It answered, whatever that was.
            CalloutEnd::Failed(_) | CalloutEnd::Passed | CalloutEnd::Verdict(_) => self.answers(now),
        }
    }

    fn failed(&self, now: Instant, kind: FaultKind) {
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        let again = millis(now) + millis_of(PAUSE);
        if failures >= FAILURES && self.again.compare_exchange(0, again, Relaxed, Relaxed).is_ok() {
            self.counts.is_asked(false);
            let (name, last) = (&self.name, kind.as_str());
            warn!(failures, last, "callout {name}: not asked any more, but for one question every {PAUSE:?}");
        }
    }

    /// It answers.
    pub(super) fn answers(&self, now: Instant) {
        self.answered.fetch_max(millis(now), Relaxed);
        if self.failures.load(Relaxed) > 0 {
            self.failures.store(0, Relaxed);
        }
        if self.again.load(Relaxed) > 0 && self.again.swap(0, Relaxed) > 0 {
            self.counts.is_asked(true);
            info!("callout {}: answers again, and is asked", self.name);
        }
    }
}

impl Drop for Breaker {
    /// Nobody asks it any more.
    fn drop(&mut self) {
        self.counts.is_asked(true);
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

    const WHOLE: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Instant {
        *BASE + Duration::from_secs(100 + seconds)
    }

    fn failed(breaker: &Breaker, kind: FaultKind, seconds: u64) {
        breaker.ended(at(seconds), CalloutEnd::Failed(kind), WHOLE, WHOLE);
    }

    #[test]
    fn opens_tries_and_closes() {
        let breaker = Breaker::new("breaker-opens");
        // Answers of any kind begin the row anew; what says nothing of the service does not count.
        for _ in 0..4 {
            failed(&breaker, FaultKind::TimedOut, 0);
        }
        breaker.ended(at(0), CalloutEnd::Failed(FaultKind::NotAllowed), WHOLE, WHOLE);
        for kind in [FaultKind::Lost, FaultKind::Refused, FaultKind::TimedOut, FaultKind::Unreachable] {
            failed(&breaker, kind, 31);
            breaker.ended(at(31), CalloutEnd::Cancelled, WHOLE, WHOLE);
        }
        assert!(breaker.is_closed() && breaker.admits(at(31)) == Ok(Leave::Asked));
        failed(&breaker, FaultKind::Lost, 32);
        assert!(!breaker.is_closed());
        let fault = breaker.admits(at(41)).unwrap_err();
        assert_eq!(fault.to_string(), "not_asked: not asked after 5 failures in a row");
        // Late ones put nothing off. One question tries, and only one.
        failed(&breaker, FaultKind::TimedOut, 41);
        assert_eq!(breaker.admits(at(42)), Ok(Leave::Tries));
        assert!(breaker.admits(at(42)).is_err() && breaker.admits(at(51)).is_err());
        failed(&breaker, FaultKind::TimedOut, 51);
        failed(&breaker, FaultKind::NotAsked, 51);
        assert_eq!(breaker.admits(at(52)), Ok(Leave::Tries));
        breaker.ended(at(53), CalloutEnd::Verdict(VerdictKind::Reply), WHOLE, WHOLE);
        assert!(breaker.is_closed() && breaker.admits(at(53)) == Ok(Leave::Asked));
        for _ in 0..4 {
            failed(&breaker, FaultKind::Lost, 90);
        }
        assert!(breaker.is_closed(), "the row begins anew");
    }

    /// What one client's mail does to a service keeps nobody out while others' is answered.
    #[test]
    fn others_that_are_answered_speak_for_it() {
        let breaker = Breaker::new("breaker-others");
        for second in 1..20 {
            breaker.answers(at(second));
            for kind in [FaultKind::Lost, FaultKind::Refused, FaultKind::TimedOut] {
                failed(&breaker, kind, second + 10);
            }
        }
        assert!(breaker.is_closed());
        // Nor does what had less than its time.
        for _ in 0..9 {
            breaker.ended(at(90), CalloutEnd::Failed(FaultKind::TimedOut), WHOLE / 2, WHOLE);
        }
        assert!(breaker.is_closed());
    }

    #[test]
    fn one_for_each_name_and_place_while_it_is_used() {
        let one = Breaker::of("breaker-one", "a");
        assert!(Arc::ptr_eq(&one, &Breaker::of("breaker-one", "a")));
        for (name, place) in [("breaker-two", "a"), ("breaker-one", "b")] {
            assert!(!Arc::ptr_eq(&one, &Breaker::of(name, place)));
        }
        for _ in 0..5 {
            failed(&one, FaultKind::Unreachable, 0);
        }
        assert!(!Breaker::of("breaker-one", "a").is_closed());
        drop(one);
        assert!(Breaker::of("breaker-one", "a").is_closed());
    }
}
