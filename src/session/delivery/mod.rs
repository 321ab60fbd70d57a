//! The delivery of one transaction: its envelope, and its content on the way from the client to whoever takes it.
//!
//! In:    the client's octets, from 354 or a BDAT command to the end that was announced; a hop that takes them, leaves,
//!        or is lost.
//! Out:   pieces of them for the hop, in the form its dialog wants, and the end-of-data by itself; that the intake ended.
//! Never: ends content that did not end (law 2); writes `LAST` before its octets are here; lets a bare CR or LF into
//!        DATA (law 4); keeps a copy; names a hop that is closed.
//!
//! RFC 5321 4.5.2 (transparency), RFC 3030 2 (BDAT), RFC 1047 (after the end only the hop's word counts).

mod content;
mod known;

mod spooled;
mod taking;

pub use self::content::Content;
use self::content::{Form, Intake, Outlet, Spooled};
use super::hop::Hop;
use super::peer::{HopId, Peer};
use super::said::Said;
use super::transaction::Transaction;
use super::turn::Turn;
use crate::dialog::Expect;
use crate::smtp::{BareNewline, END_OF_DATA, Keyword, Own, Piece, ReplyRef, Stuffer, Unstuffer, own};

/// Envelope and content, as far as there are any.
#[derive(Default, Debug)]
pub struct Delivery {
    transaction: Option<Box<Transaction>>,
    content: Option<Box<Content>>,
}

/// What came of octets of content.
#[derive(Default, Debug)]
pub struct Took {
    /// So many were taken.
    pub taken: usize,
    /// All of the message, or of a chunk, is in.
    pub ended: bool,
    /// A part of a larger chunk went to this hop, which answers it.
    pub part: Option<HopId>,
    /// The rest is to be swallowed, and this is why.
    pub refusal: Option<&'static Own>,
    /// More was swallowed than anybody must swallow.
    pub flood: bool,
}

/// What was said to DATA on gatepost's own account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Go {
    /// Content flows, or is swallowed for its refusal.
    Settled,
    /// That is no answer to DATA.
    Malformed,
}

/// What is owed at the end of an intake.
#[derive(Debug)]
pub enum End {
    /// Nothing was a transaction's: a chunk read to keep step.
    Stray(Said, u64),
    /// A chunk that was not the last.
    Chunk(By),
    /// The message.
    Message(Box<Transaction>, By),
    /// The message, which is kept to be asked about.
    Kept,
}

/// Who answers for content.
#[derive(Debug)]
pub enum By {
    /// This hop, which has all of it.
    Hop(HopId),
    /// Gatepost.
    Own(Said),
    /// Whoever will be asked about it.
    Asked,
}

impl Delivery {
    /// MAIL came.
    pub fn begin(&mut self, transaction: Transaction) {
        self.transaction = Some(Box::new(transaction));
    }

    /// The transaction is over before its content, or without any.
    pub fn take_transaction(&mut self) -> Option<Box<Transaction>> {
        self.transaction.take()
    }

    /// The transaction, to change it.
    pub fn transaction_mut(&mut self) -> Option<&mut Transaction> {
        self.transaction.as_deref_mut()
    }

    /// The client heard 354: its octets are for this hop, which has taken DATA.
    pub fn begin_data(&mut self, bare: BareNewline, hop: HopId) {
        let outlet = Outlet::Hop { hop, form: Form::Data, ready: true };
        self.content = Some(Box::new(Content::data(bare, outlet)));
    }

    /// The client heard a 354 of ours: every recipient was swallowed.
    pub fn begin_discard(&mut self, bare: BareNewline) {
        self.content = Some(Box::new(Content::data(bare, Outlet::Nowhere(Said::Own(&own::DISCARDED)))));
    }

    /// The first BDAT of a message; its octets are for this hop when it is ready, or are swallowed.
    pub fn begin_chunks(&mut self, size: u64, last: bool, by: By) {
        let outlet = match by {
            By::Hop(hop) => Outlet::Hop { hop, form: Form::Chunks, ready: false },
            By::Own(said) => Outlet::Nowhere(said),
            By::Asked => Outlet::Spool(Unstuffer::new()),
        };
        let intake = Intake::Chunk { remaining: size, last, announced: false };
        self.content = Some(Box::new(Content::new(intake, outlet)));
        self.is_to_be_kept(true);
    }

    /// BDAT where there is no message: its octets are read only to keep step.
    pub fn begin_stray(&mut self, size: u64, last: bool, own: &'static Own) {
        self.begin_chunks(size, last, By::Own(Said::Own(own)));
        if let Some(content) = &mut self.content {
            content.stray = true;
        }
    }

    /// Another BDAT of the message; false: there is none yet.
    pub fn next_chunk(&mut self, size: u64, last: bool) -> bool {
        match &mut self.content {
            Some(content) => content.intake = Intake::Chunk { remaining: size, last, announced: false },
            None => return false,
        }
        true
    }

    /// Whether a chunk of this size goes beyond what a message may have.
    pub fn is_beyond(&self, size: u64, most: u64) -> bool {
        self.content
            .as_ref()
            .is_some_and(|content| content.size.saturating_add(size) > most && !content.stray)
    }

    /// The hop is ready for the transaction's content: chunks may go, or DATA must be said first, which is returned.
    pub fn open(&mut self, hop: &Hop, bare: BareNewline) -> bool {
        // Nothing but these replies holds a chunk back, as 354 holds DATA: the whole envelope must be in first.
        let whole = !hop.awaits(Expect::Replayed) && !hop.awaits(Expect::Added);
        let Some(content) = &mut self.content else { return false };
        let counted = content.spooled.as_ref().is_none_or(|spooled| spooled.counted);
        let Outlet::Hop { form, ready, .. } = &mut content.outlet else { return false };
        match content.intake {
            Intake::Data(_) => *form = Form::Data,
            _ if hop.offers().has(Keyword::Chunking) && counted => {
                *form = Form::Chunks;
                *ready = whole;
                return false;
            }
            _ => *form = Form::Stuffed(Box::new(Stuffer::new(bare))),
        }
        true
    }

    /// The hop answered a DATA said on gatepost's own account.
    pub fn heard_go(&mut self, reply: ReplyRef<'_>) -> Go {
        let Some(content) = self.content.as_mut().filter(|_| !reply.code().is_positive()) else {
            return Go::Malformed;
        };
        if let Outlet::Hop { hop, ready, .. } = &mut content.outlet {
            if reply.code().is_negative() {
                content.outlet = Outlet::Nowhere(Said::heard(*hop, reply));
            } else {
                *ready = true;
            }
        }
        Go::Settled
    }

    /// All octets of the message, or of a chunk that is not its last, are in; `octets` are the last of them. The
    /// end-of-data leaves with this.
    pub fn end(&mut self, turn: &mut Turn<'_>, octets: &[u8]) -> Option<End> {
        let mut content = self.content.take()?;
        if content.stray {
            return match content.outlet {
                Outlet::Nowhere(said) => Some(End::Stray(said, content.size)),
                Outlet::Hop { .. } | Outlet::Spool(_) => None,
            };
        }
        if matches!(content.intake, Intake::Chunk { last: false, .. }) {
            let by = match &content.outlet {
                Outlet::Hop { form: Form::Stuffed(_), .. } | Outlet::Spool(_) => {
                    By::Own(Said::Own(&own::CHUNK_OK))
                }
                Outlet::Hop { hop, .. } => By::Hop(*hop),
                Outlet::Nowhere(said) => By::Own(said.clone()),
            };
            content.intake = Intake::Between;
            self.content = Some(content);
            return Some(End::Chunk(by));
        }
        if matches!(content.outlet, Outlet::Spool(_)) {
            content.intake = Intake::Whole;
            self.content = Some(content);
            return Some(End::Kept);
        }
        let mut transaction = self.transaction.take()?;
        transaction.octets = content.size;
        content.trace(turn);
        let by = match content.outlet {
            Outlet::Hop { hop, form, .. } => {
                let tx = turn.to(Peer::Upstream(hop));
                if matches!(form, Form::Data) && !content.left {
                    tx.put(transaction.prepended.octets());
                }
                match form {
                    // Its own octets where they are whole: one slice with the content before them.
                    Form::Data if octets.ends_with(END_OF_DATA) => {
                        let start = octets.len() - END_OF_DATA.len();
                        tx.piece(Piece::Received(start..octets.len()), octets, 0);
                    }
                    Form::Data | Form::Stuffed(_) => tx.put(END_OF_DATA),
                    Form::Chunks => {}
                }
                By::Hop(hop)
            }
            Outlet::Nowhere(said) => By::Own(said),
            // Returned above.
            Outlet::Spool(_) => By::Asked,
        };
        Some(End::Message(transaction, by))
    }

    /// The rest of the content is swallowed, and this is the answer. Returns the hop that was in its midst, which must
    /// be closed bare.
    pub fn refuse(&mut self, said: Said) -> Option<HopId> {
        let content =
            self.content.as_mut().filter(|content| !matches!(content.outlet, Outlet::Nowhere(_)))?;
        let streaming = content.hop().filter(|hop| content.streams_to(*hop));
        content.outlet = Outlet::Nowhere(said);
        streaming
    }

    /// The hop that content was for is lost: the rest is swallowed if any of it had left.
    pub fn hop_lost(&mut self, lost: HopId, own: &'static Own) {
        if let Some(content) = self.content.as_mut().filter(|content| content.hop() == Some(lost)) {
            match &mut content.outlet {
                Outlet::Hop { ready, .. } if !content.left => *ready = false,
                outlet => *outlet = Outlet::Nowhere(Said::Own(own)),
            }
        }
    }

    /// The hop that content is for is closed by gatepost itself, and no other takes its place: what is to come is
    /// swallowed, and the message refused.
    pub fn hop_closed(&mut self, closed: HopId) {
        if let Some(content) = self.content.as_mut().filter(|content| content.hop() == Some(closed)) {
            content.outlet = Outlet::Nowhere(Said::Own(&own::CONTENT_LOST));
        }
    }

    /// Another hop takes a lost one's place; nothing had left.
    pub fn moves(&mut self, lost: HopId, to: HopId) {
        if let Some(content) = &mut self.content
            && let Outlet::Hop { hop, ready, .. } = &mut content.outlet
            && *hop == lost
        {
            (*hop, *ready) = (to, false);
        }
    }

    /// The client abandons a message between chunks. Returns the hop that is in the midst of DATA, which must be closed
    /// bare.
    pub fn leave_content(&mut self) -> Option<HopId> {
        match self.content.take()?.outlet {
            Outlet::Hop { hop, form, ready } if !ready || matches!(form, Form::Stuffed(_)) => Some(hop),
            Outlet::Hop { .. } | Outlet::Spool(_) | Outlet::Nowhere(_) => None,
        }
    }

    /// The session ends in the midst of content: no end-of-data, ever. `None`: there was none; else the hop that was to
    /// have it, if one was.
    pub fn abandon_content(&mut self) -> Option<Option<HopId>> {
        let content = self.content.take()?;
        if let Some(transaction) = &mut self.transaction {
            transaction.octets = content.size;
        }
        Some(content.hop())
    }
}
