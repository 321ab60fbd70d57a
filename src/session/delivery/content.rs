//! Content: what the client's octets are, where they go, and in which form.
//!
//! In:    what is known of both ends.
//! Out:   whether octets are wanted, lacked, or on their way to somebody.
//! Never: holds an octet.
//!
//! RFC 5321 4.5.2 (transparency), RFC 3030 (BDAT).

use crate::message::Draft;
use crate::session::io::TraceSide;
use crate::session::peer::{HopId, Peer};
use crate::session::said::Said;
use crate::session::turn::Turn;
use crate::session::verdict::EnvelopeEdit;
use crate::smtp::{BareNewline, DataScanner, Stuffer, Unstuffer};

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
    /// What is kept of it to be asked about, where somebody is.
    pub(super) spooled: Option<Box<Spooled>>,
}

/// A message that is kept until everybody was asked about it.
#[derive(Debug, Default)]
pub(super) struct Spooled {
    /// It came by BDAT, and may be any octets.
    pub(super) counted: bool,
    /// As it is edited so far; `None`: it is not whole yet.
    pub(super) draft: Option<Draft>,
    /// What is to be changed of the envelope.
    pub(super) envelope: Vec<EnvelopeEdit>,
    /// It is given back, to go to a hop.
    pub(super) poured: bool,
}

/// What the octets are that come next.
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
    /// None: the spool has all of them.
    Whole,
}

/// Where they go.
#[derive(Debug)]
pub(super) enum Outlet {
    /// `ready`: the hop may be sent content.
    Hop { hop: HopId, form: Form, ready: bool },
    /// Kept, unstuffed, to be asked about.
    Spool(Unstuffer),
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
        Content { intake, outlet, size: 0, left: false, stray: false, spooled: None }
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

    /// Whether the client has sent all of it, and it is asked about or given back.
    pub fn is_asked_about(&self) -> bool {
        self.is_poured() || matches!(self.intake, Intake::Whole)
    }

    /// Whether it comes from the spool.
    pub fn is_poured(&self) -> bool {
        self.spooled.as_ref().is_some_and(|spooled| spooled.poured)
    }

    /// Whether more of it must come from the client.
    pub(super) fn lacks_octets(&self) -> bool {
        match self.intake {
            _ if self.is_poured() => false,
            Intake::Data(_) => true,
            Intake::Chunk { remaining, .. } => remaining > 0,
            Intake::Between | Intake::Whole => false,
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
            Outlet::Spool(_) | Outlet::Nowhere(_) => false,
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
        let came_here = matches!(&self.spooled, Some(spooled) if !spooled.counted);
        if came_here || matches!(self.intake, Intake::Data(_)) {
            turn.trace(Peer::Downstream, TraceSide::Client, counted.as_bytes());
        }
        if let Outlet::Hop { hop, form: Form::Data | Form::Stuffed(_), .. } = self.outlet {
            turn.trace(Peer::Upstream(hop), TraceSide::Client, counted.as_bytes());
        }
    }
}
