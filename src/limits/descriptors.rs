//! File descriptors: as many as may be had, and sessions to fit.
//!
//! In:    `limits.sessions`, and whether somebody wrote it down.
//! Out:   the bound to use, with a warning to log; or an error.
//! Never: goes on with a configured bound that the process could not keep.
//!
//! A session is its client's socket and a hop's; [`RESERVE`] stands for the
//! process's own: logs, listeners and epoll per worker, admin connections, DNS, a second hop while a retry is under way.

use std::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of one session.
pub const PER_SESSION: u64 = 2;
/// Descriptors that are not sessions'.
pub const RESERVE: u64 = 128;

/// The default bound was lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lowered {
    /// The default.
    pub from: usize,
    /// What is used.
    pub to: usize,
    /// Descriptors the process may hold.
    pub descriptors: u64,
}

impl fmt::Display for Lowered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, descriptors } = self;
        write!(
            f,
            "limits.sessions: lowered from {from} to {to}, because this process may hold {descriptors} descriptors"
        )
    }
}

/// The configured bound cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFew {
    /// What was configured.
    pub sessions: usize,
    /// What would fit.
    pub fits: usize,
    /// Descriptors the process may hold.
    pub descriptors: u64,
}

impl fmt::Display for TooFew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, fits, descriptors } = self;
        let needed = *sessions as u64 * PER_SESSION + RESERVE;
        write!(
            f,
            "{sessions} need {needed} descriptors, but this process may hold {descriptors} \
             (RLIMIT_NOFILE), enough for {fits}"
        )
    }
}

impl std::error::Error for TooFew {}

/// Raises the soft limit of descriptors to the hard one; returns what may be held now.
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None is "no limit". Where raising is refused, what was allowed before still is.
    let raised =
        current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    if raised { maximum } else { current }.unwrap_or(u64::MAX)
}

/// How many sessions `descriptors` are enough for.
pub fn enough_for(descriptors: u64) -> usize {
    usize::try_from(descriptors.saturating_sub(RESERVE) / PER_SESSION).unwrap_or(usize::MAX)
}

/// The bound on sessions for a process that may hold `descriptors`.
pub fn fit(sessions: usize, configured: bool, descriptors: u64) -> Result<(usize, Option<Lowered>), TooFew> {
    let fits = enough_for(descriptors);
    if sessions <= fits {
        return Ok((sessions, None));
    }
    if configured || fits == 0 {
        return Err(TooFew { sessions, fits, descriptors });
    }
    Ok((fits, Some(Lowered { from: sessions, to: fits, descriptors })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_lowered_and_a_configured_bound_is_an_error() {
        assert_eq!(fit(10_000, false, 20_128), Ok((10_000, None)));
        let (sessions, lowered) = fit(10_000, false, 20_000).unwrap();
        assert_eq!(sessions, 9936);
        assert_eq!(
            lowered.unwrap().to_string(),
            "limits.sessions: lowered from 10000 to 9936, because this process may hold 20000 descriptors"
        );
        assert_eq!(
            fit(10_000, true, 1024).unwrap_err().to_string(),
            "10000 need 20128 descriptors, but this process may hold 1024 (RLIMIT_NOFILE), \
             enough for 448"
        );
        assert!(fit(1, false, 100).is_err(), "no session fits at all");
        assert_eq!(
            fit(usize::MAX, true, u64::MAX).map_err(|e| e.fits),
            Err(((u64::MAX - RESERVE) / 2) as usize)
        );
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let descriptors = raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current.unwrap_or(u64::MAX), descriptors);
        assert_eq!(limit.current, limit.maximum);
    }
}
