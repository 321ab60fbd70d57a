//! Content: DATA and BDAT on their way from the client to the hop.
//!
//! In:    the client's octets, from 354 or a BDAT command to the end that was announced.
//! Out:   pieces of them for the hop, in the form its dialog wants, and the end-of-data as an output of its own.
//! Never: ends content that did not end (law 2); says the last chunk before its octets are here; lets a bare CR or
//!        LF into DATA (law 4); keeps a copy.
//!
//! RFC 5321 4.5.2 (transparency), RFC 3030 (BDAT), RFC 1047 (after the end only the hop's word counts).

use super::io::{HopId, MessageEnd, Peer, SessionEnd, TraceSide};
use super::owed::{Answer, Said, What};
use super::upstreams::{Stand, Why};
use super::{Session, Turn};
use crate::dialog::{Expect, Say};
use crate::smtp::{DataScanner, END_OF_DATA, Fault, Keyword, Own, Piece, ReplyRef, Stuffer, own};

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
    Chunk { remaining: u64, last: bool, announced: bool },
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
    /// The hop that it is for.
    pub fn hop(&self) -> Option<HopId> {
        if let Outlet::Hop { hop, .. } = self.outlet { Some(hop) } else { None }
    }

    /// Whether the next octets are commands.
    pub fn is_between_chunks(&self) -> bool {
        matches!(self.intake, Intake::Between)
    }
}

impl Session {
    /// Whether the client's octets are content.
    pub(super) fn in_content(&self) -> bool {
        self.content.as_ref().is_some_and(|content| !content.is_between_chunks())
    }

    /// Whether content is under way and more of it must come.
    pub(super) fn lacks_octets(&self) -> bool {
        self.content.as_ref().is_some_and(|content| match content.intake {
            Intake::Data(_) => true,
            Intake::Chunk { remaining, .. } => remaining > 0,
            Intake::Between => false,
        })
    }

    /// Whether a hop is in the midst of a DATA that the client knows nothing of.
    pub(super) fn is_stuffing(&self) -> bool {
        self.content
            .as_ref()
            .is_some_and(|content| matches!(content.outlet, Outlet::Hop { form: Form::Stuffed(_), .. }))
    }

    /// Whether they can be taken now.
    pub(super) fn takes_content(&self) -> bool {
        let Some(content) = self.content.as_ref().filter(|content| !content.is_between_chunks()) else {
            return false;
        };
        match &content.outlet {
            Outlet::Nowhere(_) => true,
            Outlet::Hop { ready: false, .. } => false,
            Outlet::Hop { form: Form::Chunks, hop, .. } => {
                matches!(content.intake, Intake::Chunk { announced: true, .. })
                    || self.upstreams.get(*hop).is_some_and(|up| up.dialog.may_say())
            }
            Outlet::Hop { .. } => true,
        }
    }

    /// Whether a hop is in the midst of content: what it says now was not asked.
    pub(super) fn streams_to(&self, at: HopId) -> bool {
        self.content.as_ref().is_some_and(|content| match &content.outlet {
            Outlet::Hop { hop, form: Form::Chunks, ready: true } => {
                *hop == at && matches!(content.intake, Intake::Chunk { announced: true, .. })
            }
            Outlet::Hop { hop, ready, .. } => *hop == at && *ready,
            Outlet::Nowhere(_) => false,
        })
    }

    /// Whether a hop must take DATA, or be ready for chunks, before content can flow to it.
    pub(super) fn awaits_go(&self, at: HopId) -> bool {
        self.content.as_ref().is_some_and(
            |content| matches!(&content.outlet, Outlet::Hop { hop, ready: false, .. } if *hop == at),
        )
    }

    /// The client heard 354.
    pub(super) fn begin_data(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let outlet = Outlet::Hop { hop, form: Form::Data, ready: true };
        self.begin(turn, Intake::Data(DataScanner::new(self.settings.bare_newline)), outlet);
    }

    /// The client heard a 354 of ours: every recipient was swallowed.
    pub(super) fn begin_discard(&mut self, turn: &mut Turn<'_>) {
        let outlet = Outlet::Nowhere(Said::Own(&own::DISCARDED));
        self.begin(turn, Intake::Data(DataScanner::new(self.settings.bare_newline)), outlet);
    }

    pub(super) fn begin(&mut self, turn: &Turn<'_>, intake: Intake, outlet: Outlet) {
        self.heard_at = turn.now;
        self.content = Some(Box::new(Content { intake, outlet, size: 0, left: false, stray: false }));
    }

    /// The hop is ready for the transaction's content: chunks may go, or DATA is said first.
    pub(super) fn open_content(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let Some(up) = self.upstreams.get(hop) else { return };
        let chunking = up.dialog.extensions.has(Keyword::Chunking);
        // Nothing but these replies holds a chunk back, as 354 holds DATA: the whole envelope must be in first.
        let whole = !up.dialog.awaits(Expect::Replayed);
        let mode = self.settings.bare_newline;
        let Some(content) = &mut self.content else { return };
        let Outlet::Hop { form, ready, .. } = &mut content.outlet else { return };
        match content.intake {
            Intake::Data(_) => *form = Form::Data,
            _ if chunking => {
                *form = Form::Chunks;
                *ready = whole;
                return;
            }
            _ => *form = Form::Stuffed(Box::new(Stuffer::new(mode))),
        }
        self.say(turn, hop, Expect::Go, Say::Data, |line| line.extend_from_slice(b"DATA\r\n"));
    }

    /// The hop answered a DATA said on gatepost's own account.
    pub(super) fn content_may_flow(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        let Some(content) = self.content.as_mut().filter(|_| !reply.code().is_positive()) else {
            return self.lost_because(turn, hop, Why::Malformed, None);
        };
        if reply.code().is_negative() {
            content.outlet = Outlet::Nowhere(Said::Written(reply.to_owned().into()));
        } else if let Outlet::Hop { ready, .. } = &mut content.outlet {
            *ready = true;
        }
    }

    /// Takes content from `octets[offset..]`; `None`: the hop is not ready.
    pub(super) fn take_content(
        &mut self,
        turn: &mut Turn<'_>,
        octets: &[u8],
        offset: usize,
    ) -> Option<usize> {
        self.heard_at = turn.now;
        let content = self.content.as_ref()?;
        let (taken, ended) = match content.intake {
            Intake::Data(_) => self.take_data_octets(turn, octets, offset),
            Intake::Chunk { .. } => self.take_chunk_octets(turn, octets, offset),
            Intake::Between => return None,
        };
        let most = self.settings.limits.message_size;
        let Some(content) = &self.content else { return Some(taken) };
        let (size, refused) = (content.size, matches!(content.outlet, Outlet::Nowhere(_)));
        if size > most.saturating_mul(2) && !ended {
            self.hang_up(turn, Some(Said::Own(&own::SWALLOW_LIMIT)), SessionEnd::Limit);
            return Some(octets.len() - offset);
        }
        if size > most && !refused {
            self.refuse_content(turn, Said::Own(&own::MESSAGE_TOO_BIG));
        }
        if ended {
            self.end_of_intake(turn, &octets[..offset + taken]);
        }
        Some(taken)
    }

    pub(super) fn take_data_octets(
        &mut self,
        turn: &mut Turn<'_>,
        octets: &[u8],
        offset: usize,
    ) -> (usize, bool) {
        let Some(content) = self.content.as_deref_mut() else { return (0, false) };
        let Intake::Data(scanner) = &mut content.intake else { return (0, false) };
        let scanned = match &content.outlet {
            Outlet::Hop { hop, .. } => {
                let tx = turn.out.to(Peer::Upstream(*hop));
                let left = &mut content.left;
                scanner.scan(&octets[offset..], &mut |piece| {
                    *left = true;
                    tx.piece(piece, octets, offset);
                })
            }
            Outlet::Nowhere(_) => scanner.scan(&octets[offset..], &mut |_| {}),
        };
        content.size = scanner.size();
        let (mended, fault) = (scanner.mended(), scanner.fault());
        self.mended(turn, mended, fault);
        (scanned.taken, scanned.ended)
    }

    pub(super) fn mended(&mut self, turn: &mut Turn<'_>, mended: u64, fault: Option<Fault>) {
        if let Some(transaction) = &mut self.transaction {
            transaction.mended = mended;
        }
        let open = self.content.as_ref().is_some_and(|content| matches!(content.outlet, Outlet::Hop { .. }));
        if fault.is_some() && open {
            self.refuse_content(turn, Said::Own(&own::BARE_NEWLINE));
        }
    }

    /// All octets of the message, or of a chunk that is not its last, are in.
    pub(super) fn end_of_intake(&mut self, turn: &mut Turn<'_>, octets: &[u8]) {
        let Some(mut content) = self.content.take() else { return };
        let last = !matches!(content.intake, Intake::Chunk { last: false, .. });
        if content.stray {
            if let Outlet::Nowhere(Said::Own(own)) = content.outlet {
                self.reply_error(turn, own);
            }
            return;
        }
        if !last {
            let answer = match &content.outlet {
                Outlet::Hop { form: Form::Stuffed(_), .. } => Answer::Own(Said::Own(&own::CHUNK_OK)),
                Outlet::Hop { hop, .. } => Answer::Hop(*hop),
                Outlet::Nowhere(said) => Answer::Own(said.clone()),
            };
            content.intake = Intake::Between;
            self.content = Some(content);
            return self.owe_content(turn, What::Chunk, answer);
        }
        let Some(mut transaction) = self.transaction.take() else { return };
        transaction.octets = content.size;
        self.trace_content(turn, &content);
        let answer = match content.outlet {
            Outlet::Hop { hop, form, .. } => {
                let tx = turn.out.to(Peer::Upstream(hop));
                match form {
                    // Its own octets where they are whole: one slice with the content before them.
                    Form::Data if octets.ends_with(END_OF_DATA) => {
                        let start = octets.len() - END_OF_DATA.len();
                        tx.piece(Piece::Received(start..octets.len()), octets, 0);
                    }
                    Form::Data | Form::Stuffed(_) => tx.put(END_OF_DATA),
                    Form::Chunks => {}
                }
                Answer::Hop(hop)
            }
            Outlet::Nowhere(said) => {
                // Nothing of it went there, or the dialog was closed: the envelope is taken back.
                if let Some(hop) = self.upstreams.current()
                    && self.may_be_in_mail(hop)
                    && self.upstreams.get(hop).is_some_and(|up| up.stand == Stand::Ready)
                {
                    self.reset_hop(turn, hop);
                }
                Answer::Own(said)
            }
        };
        if matches!(answer, Answer::Hop(_)) {
            // The dialog that has the message is no more the next transaction's, unless it is home.
            self.upstreams.set_away(None);
        }
        self.owe_content(turn, What::Message(transaction), answer);
    }

    /// Content is not shown but counted; what came or goes in chunks has its size in its BDAT.
    fn trace_content(&self, turn: &mut Turn<'_>, content: &Content) {
        if !self.settings.trace {
            return;
        }
        let counted = format!("({} octets of content)", content.size);
        if matches!(content.intake, Intake::Data(_)) {
            self.trace(turn, Peer::Downstream, TraceSide::Client, counted.as_bytes());
        }
        if let Outlet::Hop { hop, form: Form::Data | Form::Stuffed(_), .. } = content.outlet {
            self.trace(turn, Peer::Upstream(hop), TraceSide::Client, counted.as_bytes());
        }
    }

    pub(super) fn owe_content(&mut self, turn: &mut Turn<'_>, what: What, answer: Answer) {
        if self.owed.is_empty() {
            self.head_since = turn.now;
        }
        let hop = if let Answer::Hop(hop) = answer { Some(hop) } else { None };
        let say = what.say();
        let number = self.owed.push(what, answer);
        if let Some(up) = hop.and_then(|hop| self.upstreams.get_mut(hop)) {
            up.since = turn.now;
            up.dialog.expect_along(Expect::Owed(number), say);
        }
        self.settle(turn);
    }

    /// The hop spoke in the midst of content: a refusal is the answer, anything else is not to be believed.
    pub(super) fn early_reply(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        let said = if reply.code().is_negative() {
            Said::Written(reply.to_owned().into())
        } else {
            Said::Own(&own::HOP_PROTOCOL)
        };
        self.refuse_content(turn, said);
        self.drop_current(turn, hop);
    }

    /// The rest of the content is swallowed, and this is the answer. A hop in its midst is closed bare.
    pub(super) fn refuse_content(&mut self, turn: &mut Turn<'_>, said: Said) {
        let streaming = match self.content.as_ref().map(|content| &content.outlet) {
            Some(Outlet::Hop { hop, .. }) if self.streams_to(*hop) => Some(*hop),
            Some(Outlet::Nowhere(_)) | None => return,
            _ => None,
        };
        if let Some(content) = &mut self.content {
            content.outlet = Outlet::Nowhere(said);
        }
        if let Some(hop) = streaming {
            self.drop_current(turn, hop);
        }
    }

    /// No hop was ready for the content in all the time a client waits for: the rest is swallowed.
    pub(super) fn content_waited_enough(&mut self, turn: &mut Turn<'_>) {
        let Some(hop) = self.content.as_ref().and_then(|content| content.hop()) else { return };
        self.heard_at = turn.now;
        self.refuse_content(turn, Said::Own(&own::CONTENT_LOST));
        self.drop_current(turn, hop);
    }

    /// The hop that content was for is lost.
    pub(super) fn content_hop_lost(&mut self, lost: HopId, own: &'static Own) {
        if let Some(content) = &mut self.content
            && let Outlet::Hop { hop, ready, .. } = &mut content.outlet
            && *hop == lost
        {
            if content.left {
                content.outlet = Outlet::Nowhere(Said::Own(own));
            } else {
                *ready = false;
            }
        }
    }

    /// The hop that content is for is closed by gatepost itself, and no other takes its place: what is to come is
    /// swallowed, and the message refused.
    pub(super) fn content_left_alone(&mut self, closed: HopId) {
        if let Some(content) = &mut self.content
            && content.hop() == Some(closed)
        {
            content.outlet = Outlet::Nowhere(Said::Own(&own::CONTENT_LOST));
        }
    }

    /// Another hop takes its place; nothing had left.
    pub(super) fn content_moves(&mut self, lost: HopId, to: HopId) {
        if let Some(content) = &mut self.content
            && let Outlet::Hop { hop, ready, .. } = &mut content.outlet
            && *hop == lost
        {
            (*hop, *ready) = (to, false);
        }
    }

    /// The client abandons a message between chunks. A hop that is in the midst of DATA is closed bare.
    pub(super) fn leave_content(&mut self, turn: &mut Turn<'_>) {
        let Some(content) = self.content.take() else { return };
        if let Outlet::Hop { hop, form, ready } = content.outlet
            && (!ready || matches!(form, Form::Stuffed(_)))
        {
            self.drop_current(turn, hop);
        }
    }

    /// The session ends in the midst of content: no end-of-data, ever.
    pub(super) fn abandon_content(&mut self, turn: &mut Turn<'_>) -> Option<MessageEnd> {
        let content = self.content.take()?;
        if let Outlet::Hop { hop, .. } = content.outlet {
            self.drop_current(turn, hop);
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.octets = content.size;
        }
        Some(MessageEnd::Lost)
    }
}
