//! Why a callout failed.
//!
//! In:    what went wrong with a question.
//! Out:   in one word for metrics, in a line for the log.
//! Never: decides what comes of it: `on_error` does.

use std::fmt;

/// Why a callout failed, for the log: `callout directory: rcpt: malformed answer: unknown verdict "maybe"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// In one word, for metrics.
    pub kind: FaultKind,
    /// What exactly; no control characters, bounded by whoever writes it.
    pub what: Box<str>,
}

impl Fault {
    /// A fault and its words.
    pub fn new(kind: FaultKind, what: impl Into<Box<str>>) -> Fault {
        Fault { kind, what: what.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.what)
    }
}

/// How a callout fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// No connection could be made.
    Unreachable,
    /// The connection broke before the answer was whole.
    Lost,
    /// No answer in time.
    TimedOut,
    /// The service says it cannot answer.
    Refused,
    /// The answer cannot be read, or is too large.
    Malformed,
    /// The answer can be read, and its stage does not allow it, or a value in it is not valid there.
    NotAllowed,
    /// It was not asked: it has failed so often of late, or no time was left for it.
    NotAsked,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [FaultKind; 7] = [
        FaultKind::Unreachable,
        FaultKind::Lost,
        FaultKind::TimedOut,
        FaultKind::Refused,
        FaultKind::Malformed,
        FaultKind::NotAllowed,
        FaultKind::NotAsked,
    ];

    /// Its name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            FaultKind::Unreachable => "unreachable",
            FaultKind::Lost => "lost",
            FaultKind::TimedOut => "timed_out",
            FaultKind::Refused => "refused",
            FaultKind::Malformed => "malformed",
            FaultKind::NotAllowed => "not_allowed",
            FaultKind::NotAsked => "not_asked",
        }
    }
}
