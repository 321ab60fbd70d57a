//! A filter that goes away and comes back.
//!
//! In:    in which way; when. Out: its addresses; when it was away.
//! Never: another filter than Postfix's test-milter, or two of it away at once.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::milter::{Milter, Place};

/// The field that it puts into each message.
pub const MARK: &str = "X-Asked: yes";
const OPTIONS: [&str; 2] = ["-i", "1 X-Asked yes"];

/// How it goes away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    Killed,
    Frozen,
    /// Killed, one after the other; there is always another.
    OneOfTwo,
}

impl Fault {
    /// How long gatepost waits for an answer. Only who is frozen keeps it waiting.
    pub fn timeout(self) -> Duration {
        Duration::from_secs(if self == Fault::Frozen { 3 } else { 15 })
    }
}

/// The filter.
pub struct Filter {
    pub fault: Fault,
    /// Empty while it is dead.
    milters: Vec<(Place, Option<Milter>)>,
    /// Whose turn it is.
    turn: usize,
    since: Option<Instant>,
    pub absences: Vec<(Instant, Instant)>,
}

impl Filter {
    pub fn start(fault: Fault) -> Self {
        let start = |_| {
            let place = Place::free();
            let milter = Milter::test(&place, &OPTIONS);
            (place, Some(milter))
        };
        let milters = (0..if fault == Fault::OneOfTwo { 2 } else { 1 }).map(start).collect();
        Self { fault, milters, turn: 0, since: None, absences: Vec::new() }
    }

    /// As a callout's `address` has it.
    pub fn address(&self) -> String {
        let all: Vec<_> =
            self.milters.iter().map(|(place, _)| format!("\"{}\"", place.of_gatepost())).collect();
        format!("[{}]", all.join(", "))
    }

    pub fn goes_away(&mut self) {
        self.since.get_or_insert_with(Instant::now);
        let signal = if self.fault == Fault::Frozen { Signal::STOP } else { Signal::KILL };
        self.milters[self.turn].1.iter().for_each(|milter| milter.signal(signal));
    }

    pub fn comes_back(&mut self) {
        let (place, milter) = &mut self.milters[self.turn];
        if self.fault == Fault::Frozen {
            milter.iter().for_each(|milter| milter.signal(Signal::CONT));
        } else {
            drop(milter.take());
            *milter = Some(Milter::test(place, &OPTIONS));
        }
        self.turn = (self.turn + 1) % self.milters.len();
    }

    /// Now all is as if it had never been away.
    pub fn is_back(&mut self) {
        self.absences.extend(self.since.take().map(|since| (since, Instant::now())));
    }

    /// Whether it was away at any time between these.
    pub fn was_away(&self, (began, ended): (Instant, Instant)) -> bool {
        self.absences.iter().any(|(from, to)| began <= *to && ended >= *from)
    }
}
