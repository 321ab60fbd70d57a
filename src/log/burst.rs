//! Lines that clients, hops or name servers can cause at will: at most ten a second of a kind, the rest summed up.
//!
//! In:    the kind of a line that is about to be written, and the time.
//! Out:   whether to write it; a second later, one line with how many of its kind were not.
//! Never: forgets to tell: the log's own thread sums up when no further line comes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

/// Lines of a kind in one second.
const MOST: u32 = 10;
/// That second.
const SPAN: Duration = Duration::from_secs(1);

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client's TLS handshake failed.
    ClientTls,
    /// A hop's reply was none.
    MalformedReply,
    /// DNS gave no answer.
    Dns,
    /// A host was put aside, or is back.
    Ejection,
    /// A hop does not meet its pool's terms.
    Terms,
    /// A PROXY header that is none, or that nobody there may send.
    ProxyHeader,
    /// Another protocol than SMTP.
    Foreign,
    /// A client heard a negative reply that is no hop's.
    Refused,
    /// A client heard a hop's, outside of a transaction.
    HopRefused,
    /// A callout said something for the log.
    Remark,
    /// What a callout in shadow comes to.
    Shadow,
    /// A callout was not asked, for it has failed too often.
    NotAsked,
    /// A message could not be kept.
    Spool,
}

impl Kind {
    const ALL: [(Self, &'static str); 13] = [
        (Self::ClientTls, "client: TLS"),
        (Self::MalformedReply, "hop: malformed replies"),
        (Self::Dns, "DNS"),
        (Self::Ejection, "hop: ejections"),
        (Self::Terms, "hop: its pool's terms"),
        (Self::ProxyHeader, "PROXY headers"),
        (Self::Foreign, "clients: other protocols"),
        (Self::Refused, "refused"),
        (Self::HopRefused, "refused by hops"),
        (Self::Remark, "callouts: remarks"),
        (Self::Shadow, "callouts: in shadow"),
        (Self::NotAsked, "callouts: not asked"),
        (Self::Spool, "spool"),
    ];
}

static BURSTS: [Burst; Kind::ALL.len()] = [const { Burst::new() }; Kind::ALL.len()];

/// Whether to write a line of this kind now. If not, it is counted, and told of later.
pub fn admits(kind: Kind) -> bool {
    BURSTS[kind as usize].admits(Instant::now())
}

/// Tells of what was not written in the seconds that are over. For the log's own thread.
pub(super) fn sum_up(now: Instant) {
    for (kind, name) in Kind::ALL {
        if let Some(more) = BURSTS[kind as usize].over(now) {
            tell(kind, name, more);
        }
    }
}

/// The process ends: tells of all.
pub(super) fn end() {
    sum_up(Instant::now() + SPAN);
}

fn tell(kind: Kind, name: &str, more: u64) {
    match kind {
        Kind::ClientTls | Kind::Refused | Kind::HopRefused | Kind::Remark | Kind::Shadow => {
            info!(more, "{name}: so many more, not written one by one")
        }
        _ => warn!(more, "{name}: so many more, not written one by one"),
    }
}

#[derive(Debug)]
struct Burst(Mutex<State>);

#[derive(Debug)]
struct State {
    since: Option<Instant>,
    written: u32,
    kept_back: u64,
}

impl Burst {
    const fn new() -> Self {
        Self(Mutex::new(State { since: None, written: 0, kept_back: 0 }))
    }

    fn admits(&self, now: Instant) -> bool {
        // Plain values: whatever a panic left there will do.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.is_none_or(|since| now.saturating_duration_since(since) >= SPAN) {
            (state.since, state.written) = (Some(now), 0);
        }
        let admitted = state.written < MOST;
        match admitted {
            true => state.written += 1,
            false => state.kept_back += 1,
        }
        admitted
    }

    /// How many were not written, if any and the second is over.
    fn over(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = state.since.is_some_and(|since| now.saturating_duration_since(since) >= SPAN);
        (over && state.kept_back > 0).then(|| std::mem::take(&mut state.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_a_second_and_the_rest_summed_up() {
        let (burst, now) = (Burst::new(), Instant::now());
        let admitted = |now, count: u32| (0..count).filter(|_| burst.admits(now)).count();
        assert_eq!(admitted(now, 25), 10);
        assert_eq!(burst.over(now + SPAN / 2), None, "the second is not over");
        assert_eq!(burst.over(now + SPAN), Some(15));
        assert_eq!(burst.over(now + SPAN), None, "told once");
        assert_eq!(admitted(now + SPAN, 3), 3);
        assert_eq!(burst.over(now + SPAN * 2), None);
    }

    #[test]
    fn each_kind_has_its_own() {
        for (place, (kind, _)) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, place);
        }
    }
}
