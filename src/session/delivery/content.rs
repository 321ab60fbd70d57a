//! Content: what the client's octets are, where they go, and in which form.
//!
//! In:    what is known of both ends.
//! Out:   whether octets are wanted, lacked, or on their way to somebody.
//! Never: holds an octet.
//!
//! RFC 5321 4.5.2 (transparency), RFC 3030 (BDAT).

use crate::session::io::TraceSide;
use crate::session::peer::{HopId, Peer};
use crate::session::said::Said;
use crate::session::turn::Turn;
use crate::smtp::{BareNewline, DataScanner, Stuffer};

/// A message being received.
#[derive(Debug)]
pub struct Content {
    pub(super) intake: Intake,
    pub(super) outlet: Outlet,
    /// Octets received, unstuffed.
    pub(super) size: u64,
    /// Whether any of them was given to a hop: from then on no other can take over.
    pub(super) left: bool,
    /// Belongs to no transaction: read only to keep step.
    pub(super) stray: bool,
}

/// What the client's octets are.
#[derive(Debug)]
pub(super) enum Intake {
    Data(DataScanner),
    /// `announced`: the hop was told of this chunk, and takes just its octets now.
    Chunk {
        remaining: u64,
        last: bool,
        announced: bool,
    },
    Between,
}

/// Where they go.
#[derive(Debug)]
pub(super) enum Outlet {
    /// `ready`: the hop may be sent content.
    Hop { hop: HopId, form: Form, ready: bool },
    /// Swallowed; this is the answer.
    Nowhere(Said),
}

/// How the hop wants them.
#[derive(Debug)]
pub(super) enum Form {
    /// As they come under DATA, mended.
    Data,
    /// Counted.
    Chunks,
    /// Counted, for a hop that knows only DATA.
    Stuffed(Box<Stuffer>),
}

impl Content {
    pub(super) fn new(intake: Intake, outlet: Outlet) -> Content {
        Content { intake, outlet, size: 0, left: false, stray: false }
    }

    pub(super) fn data(bare: BareNewline, outlet: Outlet) -> Content {
        Content::new(Intake::Data(DataScanner::new(bare)), outlet)
    }

    /// The hop that it is for.
    pub fn hop(&self) -> Option<HopId> {
        if let Outlet::Hop { hop, .. } = self.outlet { Some(hop) } else { None }
    }

    /// Whether it belongs to no transaction.
    pub fn is_stray(&self) -> bool {
        self.stray
    }

    /// Whether the next octets are commands.
    pub fn is_between_chunks(&self) -> bool {
        matches!(self.intake, Intake::Between)
    }

    /// Whether more of it must come.
    pub(super) fn lacks_octets(&self) -> bool {
        match self.intake {
            Intake::Data(_) => true,
            Intake::Chunk { remaining, .. } => remaining > 0,
            Intake::Between => false,
        }
    }

    /// Whether a hop is in the midst of a DATA that the client knows nothing of.
    pub(super) fn is_stuffing(&self) -> bool {
        matches!(self.outlet, Outlet::Hop { form: Form::Stuffed(_), .. })
    }

    /// Whether a hop is in the midst of it: what that says now was not asked.
    pub(super) fn streams_to(&self, at: HopId) -> bool {
        match &self.outlet {
            Outlet::Hop { hop, form: Form::Chunks, ready: true } => {
                *hop == at && matches!(self.intake, Intake::Chunk { announced: true, .. })
            }
            Outlet::Hop { hop, ready, .. } => *hop == at && *ready,
            Outlet::Nowhere(_) => false,
        }
    }

    /// Whether a hop must take DATA, or be ready for chunks, before it can flow there.
    pub(super) fn awaits_go(&self, at: HopId) -> bool {
        matches!(&self.outlet, Outlet::Hop { hop, ready: false, .. } if *hop == at)
    }

    /// Whether chunks wait for the envelope to be in at this hop.
    pub(super) fn awaits_chunks(&self, at: HopId) -> bool {
        self.awaits_go(at)
            && matches!(&self.outlet, Outlet::Hop { form: Form::Chunks, .. })
            && matches!(self.intake, Intake::Chunk { .. })
    }

    /// It is not shown but counted; what came or goes in chunks has its size in its BDAT.
    pub(super) fn trace(&self, turn: &mut Turn<'_>) {
        if !turn.tracing {
            return;
        }
        let counted = format!("({} octets of content)", self.size);
        if matches!(self.intake, Intake::Data(_)) {
            turn.trace(Peer::Downstream, TraceSide::Client, counted.as_bytes());
        }
        if let Outlet::Hop { hop, form: Form::Data | Form::Stuffed(_), .. } = self.outlet {
            turn.trace(Peer::Upstream(hop), TraceSide::Client, counted.as_bytes());
        }
    }
}
