//! How gatepost itself is run: where it can be asked how it is, and what it logs.
//!
//! **In**: nothing; the decoder fills these. **Out**: [`Admin`] and [`Log`], re-exported by [`super::types`].
//! **Never**: anything about mail.

use std::net::{Ipv4Addr, SocketAddr};

/// The administrative listener: metrics, health, readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens, port 0 lets the system choose; `None`: nowhere, as `admin: off` says.
    pub address: Option<SocketAddr>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9025))) }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: LogLevel,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LogLevel::Info }
    }
}

/// Lines for people or for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text per record.
    Text,
    /// One JSON object per record.
    Json,
}

/// The least severe level that is written; `Trace` shows both dialogs, secrets masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Errors.
    Error,
    /// And warnings.
    Warn,
    /// And one record per transaction.
    Info,
    /// And what helps to find a fault.
    Debug,
    /// And both dialogs.
    Trace,
}
