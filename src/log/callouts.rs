//! Lines about callouts: those that failed, what they remark, and what they would have done in shadow.
//!
//! In:    a callout's name, a stage, what it came to there.
//! Out:   one line.
//! Never: writes a control character, or an answer's value but for a reply's first line.

use std::fmt;

use tracing::{info, warn};

use super::burst::{self, Kind};
use super::text;
use crate::session::callout::{Fault, FaultKind};
use crate::session::verdict::Stage;
use crate::smtp::SessionId;

/// A callout that failed at a stage, and why.
pub fn callout_failed(session: SessionId, name: &str, stage: Stage, fault: &Fault) {
    // That it is not asked any more was told when that began.
    if fault.kind != FaultKind::NotAsked || burst::admits(Kind::NotAsked) {
        warn!(%session, "callout {name}: {}: {}", stage.as_str(), text(fault.to_string().as_bytes()));
    }
}

/// A callout in shadow would have had it otherwise.
pub fn disagreed(
    session: SessionId,
    name: &str,
    stage: Stage,
    would: &dyn fmt::Display,
    done: &dyn fmt::Display,
) {
    if burst::admits(Kind::Shadow) {
        let (would, done) = (would.to_string(), done.to_string());
        let (would, done) = (text(would.as_bytes()), text(done.as_bytes()));
        info!(%session, "callout {name}, in shadow: {}: {would}; done was: {done}", stage.as_str());
    }
}

/// A callout in shadow failed, which is nobody's trouble but its own.
pub fn shadow_failed(session: SessionId, name: &str, stage: Stage, fault: &Fault) {
    if burst::admits(Kind::Shadow) {
        let fault = fault.to_string();
        info!(%session, "callout {name}, in shadow: {}: {}", stage.as_str(), text(fault.as_bytes()));
    }
}

/// What a callout said for the log alone.
pub fn remarked(session: SessionId, name: &str, stage: Stage, remark: &str) {
    if burst::admits(Kind::Remark) {
        info!(%session, "callout {name}: {}: {}", stage.as_str(), text(remark.as_bytes()));
    }
}
