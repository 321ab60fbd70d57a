//! Where one worker counts.
//!
//! In:    events and durations, as they happen.
//! Out:   sums, to whoever renders.
//! Never: locks, looks anything up, or shares a line of memory with another worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{BUCKETS, Occurrence, SERIES, Timing};

/// A worker's counters. A clone counts in the same place.
#[derive(Clone, Debug)]
pub struct Meter(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    series: [AtomicU64; SERIES],
    timings: [Histogram; Timing::ALL.len()],
}

#[derive(Debug)]
struct Histogram {
    /// Each bucket by itself; the last one is unbounded.
    buckets: [AtomicU64; BUCKETS + 1],
    nanos: AtomicU64,
}

/// What several meters have counted together.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    pub(super) series: Vec<u64>,
    /// Per timing: each bucket by itself, and the sum in nanoseconds.
    pub(super) timings: [([u64; BUCKETS + 1], u64); Timing::ALL.len()],
}

impl Meter {
    pub(super) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        let histogram = |_| Histogram { buckets: std::array::from_fn(|_| zero()), nanos: zero() };
        let counts =
            Counts { series: std::array::from_fn(|_| zero()), timings: std::array::from_fn(histogram) };
        Self(Arc::new(counts))
    }

    /// Counts one event.
    pub fn count(&self, event: Occurrence) {
        self.add(event, 1);
    }

    /// Counts `number` of them, or so many octets.
    pub fn add(&self, event: Occurrence, number: u64) {
        self.0.series[event.index()].fetch_add(number, Relaxed);
    }

    /// Takes a duration.
    pub fn time(&self, timing: Timing, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let histogram = &self.0.timings[timing as usize];
        let bucket = timing.bounds().partition_point(|&bound| bound < nanos);
        histogram.buckets[bucket].fetch_add(1, Relaxed);
        histogram.nanos.fetch_add(nanos, Relaxed);
    }
}

impl Sums {
    pub(super) fn new(meters: &[Meter]) -> Self {
        let mut sums = Self { series: vec![0; SERIES], timings: Default::default() };
        for Meter(counts) in meters {
            for (sum, count) in sums.series.iter_mut().zip(&counts.series) {
                *sum += count.load(Relaxed);
            }
            for ((buckets, nanos), histogram) in sums.timings.iter_mut().zip(&counts.timings) {
                for (sum, count) in buckets.iter_mut().zip(&histogram.buckets) {
                    *sum += count.load(Relaxed);
                }
                *nanos = nanos.saturating_add(histogram.nanos.load(Relaxed));
            }
        }
        sums
    }

    /// How often an event of family `place.0` happened, whatever its labels.
    pub(super) fn of_family(&self, family: usize) -> u64 {
        let from = super::BASES[family];
        self.series[from..from + super::FAMILIES[family].series()].iter().sum()
    }
}
