//! What is said of hosts: why one failed, what a report changed, what a probe came to; and how often, in numbers.
//!
//! In:    what a lease counts.
//! Out:   the words, with their names in logs and metrics; a host's [`HopCounts`], for whoever reads the metrics.
//! Never: decides whether a host is used: it is told only.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::hop::offered::Withdrawn;

/// What counts as a failure of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The connection was refused or broke before the greeting was complete.
    Connect,
    /// The connection was not made in time.
    ConnectTimeout,
    /// Connected, but no greeting, in time or at all.
    NoGreeting,
    /// A greeting of 4xx or 5xx, from a hop that was not told who the client is.
    Greeting,
    /// EHLO of gatepost's own refused, likewise.
    Hello,
    /// A 421 before the client's first command.
    NoService,
    /// Connected, but none of the TLS that it must have.
    Tls,
}

impl Why {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::ConnectTimeout,
        Self::NoGreeting,
        Self::Greeting,
        Self::Hello,
        Self::NoService,
        Self::Tls,
    ];

    /// Its name in logs and as a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::NoGreeting => "no_greeting",
            Self::Greeting => "greeting",
            Self::Hello => "hello",
            Self::NoService => "no_service",
            Self::Tls => "tls",
        }
    }
}

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that others would notice.
    None,
    /// The address is not used for so long, unless nothing else is left.
    Ejected(Duration),
    /// The address had been ejected and is back.
    Restored,
}

/// What a probe came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It greeted and answered EHLO.
    Good,
    /// It lacks the TLS that its pool needs: sessions see for themselves whether that counts.
    Refused,
    /// It failed, in one of the ways that count.
    Failed,
}

impl Probe {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 3] = [Self::Good, Self::Refused, Self::Failed];

    /// Its name as a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// What happened to one host of one pool, since the process began.
#[derive(Debug, Default)]
pub struct HopCounts {
    pub(super) connects: AtomicU64,
    pub(super) open: AtomicU32,
    pub(super) probes: [AtomicU64; Probe::ALL.len()],
    pub(super) failures: [AtomicU64; Why::ALL.len()],
    pub(super) ejections: AtomicU64,
    pub(super) withdrawn: [AtomicU64; Withdrawn::ALL.len()],
}

impl HopCounts {
    /// Dialogs begun.
    pub fn connects(&self) -> u64 {
        self.connects.load(Relaxed)
    }

    /// Dialogs of this pool open with it.
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Probes with this result.
    pub fn probes(&self, result: Probe) -> u64 {
        self.probes[result as usize].load(Relaxed)
    }

    /// Failures of one kind.
    pub fn failures(&self, why: Why) -> u64 {
        self.failures[why as usize].load(Relaxed)
    }

    /// Times an address of it was ejected.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Relaxed)
    }

    /// Times it offered STARTTLS no more, and this was done.
    pub fn withdrawn(&self, instead: Withdrawn) -> u64 {
        self.withdrawn[instead as usize].load(Relaxed)
    }
}
