//! Limits beyond one session: what a client, and those counted with it, may do a minute.
//!
//! In:    a client and the time, at each MAIL and RCPT.
//! Out:   whether there is room for one more; asking takes it. Whether sessions are running out.
//! Never: waits, or knows why a limit is what it is.

use std::net::IpAddr;
use std::time::Instant;

/// Whoever counts what clients do in all their sessions.
pub trait Limiter: Send + Sync {
    /// Takes a message for a client.
    ///
    /// # Errors
    ///
    /// Whose bound was met.
    fn message(&self, client: IpAddr, now: Instant) -> Result<(), Bound>;

    /// Takes a recipient for a client.
    ///
    /// # Errors
    ///
    /// Whose bound was met.
    fn recipient(&self, client: IpAddr, now: Instant) -> Result<(), Bound>;

    /// Whether sessions are running out.
    fn is_stressed(&self) -> bool {
        false
    }
}

/// Whose bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// The client's own.
    Client,
    /// That of the range it is in.
    Range,
}

/// No limits.
pub struct NoLimits;

impl Limiter for NoLimits {
    fn message(&self, _: IpAddr, _: Instant) -> Result<(), Bound> {
        Ok(())
    }

    fn recipient(&self, _: IpAddr, _: Instant) -> Result<(), Bound> {
        Ok(())
    }
}
