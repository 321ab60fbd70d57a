//! Content taken, refused, ended: what the delivery says of it, told to the hop that has it and to the client.
//!
//! In:    the client's octets where they are content; BDAT; what a hop answers to DATA of gatepost's own, to a part of a
//!        chunk, or in the midst of it.
//! Out:   an answer owed at the end, by the hop or by gatepost; hops in the midst of content that must be closed.
//! Never: reads a chunk's octets as commands, offered or not; leaves a hop inside content that nobody goes on with.
//!
//! RFC 5321 4.1.1.4 (DATA), RFC 3030 2 (BDAT).

use super::super::client::Phase;
use super::super::delivery::{By, End, Go};
use super::super::events::SessionEnd;
use super::super::io::{Output, SpoolOrder};
use super::super::owed::{Answer, What};
use super::super::peer::HopId;
use super::super::peer::Why;
use super::super::said::{Said, Written};
use super::super::stage::{Giver, Stage};
use super::super::turn::Turn;
use super::super::verdict::CommandVerdict;
use super::Conductor;
use super::asking::Subject;
use crate::dialog::{Expect, Say};
use crate::smtp::{Keyword, ReplyRef, own};

impl Conductor {
    /// The client heard 354: its octets are content for this hop.
    pub(super) fn begin_data(&mut self, turn: &Turn<'_>, hop: HopId) {
        self.client.was_active(turn.now);
        self.delivery.begin_data(self.settings.bare_newline, hop);
    }

    /// The client heard a 354 of ours: every recipient was swallowed.
    pub(super) fn begin_discard(&mut self, turn: &Turn<'_>) {
        self.client.was_active(turn.now);
        self.delivery.begin_discard(self.settings.bare_newline);
    }

    /// BDAT: its octets come next, whatever is said about it.
    pub(super) fn take_bdat(&mut self, turn: &mut Turn<'_>, size: u64, last: bool) {
        let most = self.settings.limits.message_size;
        let offered = self.client.shown().has(Keyword::Chunking);
        if !offered && size > most {
            return self.close_in_turn(turn, &own::MESSAGE_TOO_BIG, SessionEnd::Limit);
        }
        if self.delivery.is_beyond(size, most) {
            // Beyond what is left of the message: swallowed, and the message refused.
            self.refuse_content(turn, Said::Own(&own::MESSAGE_TOO_BIG));
        }
        if !self.delivery.next_chunk(size, last) {
            self.take_first_bdat(turn, size, last, offered);
        }
    }

    /// The first BDAT of a message is asked about as DATA would be.
    fn take_first_bdat(&mut self, turn: &mut Turn<'_>, size: u64, last: bool, offered: bool) {
        let recipients = self.delivery.transaction().map(|with| with.recipients.len() + with.swallowed);
        let stray = match recipients {
            _ if self.client.phase() == Phase::OnlyQuit => Some(&own::ONLY_QUIT),
            _ if self.client.is_locked() => Some(&own::TLS_REQUIRED),
            _ if !offered => Some(&own::BDAT_NOT_OFFERED),
            None => Some(&own::NEED_MAIL),
            Some(0) => Some(&own::NO_VALID_RECIPIENTS),
            Some(_) => None,
        };
        match stray {
            Some(own) => {
                self.client.was_active(turn.now);
                self.delivery.begin_stray(size, last, own);
            }
            None => self.ask(turn, Stage::Data, What::Chunk, Subject::Chunks { size, last }),
        }
    }

    /// Does what was decided about the first BDAT. Its octets come whatever that is: a refusal is said when they are
    /// read, unless the dialog is closed with it.
    pub(super) fn decide_chunks(
        &mut self,
        turn: &mut Turn<'_>,
        size: u64,
        last: bool,
        verdict: Option<CommandVerdict>,
        by: Option<Giver>,
    ) {
        let swallowed = self.delivery.transaction().is_some_and(|with| with.recipients.is_empty());
        let asks = self.asks_about_message();
        let by = match verdict {
            Some(CommandVerdict::Reply(said)) => By::Own(Said::Written(Written::by(by, Stage::Data, said))),
            Some(CommandVerdict::Disconnect(said)) => {
                let said = Said::disconnect(said, by, Stage::Data, self.client.id());
                return self.owe(turn, What::Close(SessionEnd::Verdict), said);
            }
            Some(CommandVerdict::Route(_) | CommandVerdict::Accept) | None if swallowed => {
                By::Own(Said::Own(&own::DISCARDED))
            }
            Some(CommandVerdict::Route(_) | CommandVerdict::Accept) | None if asks => By::Asked,
            Some(CommandVerdict::Route(_) | CommandVerdict::Accept) | None => {
                self.current_or_open(turn).map_or(By::Own(Said::Own(&own::CONTENT_LOST)), By::Hop)
            }
        };
        self.client.was_active(turn.now);
        self.delivery.begin_chunks(size, last, by);
        self.tend_spool(turn);
        if let Some(hop) = self.delivery.content().and_then(|content| content.hop())
            && self.hops.is_ready(hop)
        {
            if self.fits(hop) {
                self.open_content(turn, hop);
            } else {
                self.lost_because(turn, hop, Why::Unfit, None);
            }
        }
        if self.delivery.is_beyond(size, self.settings.limits.message_size) {
            self.refuse_content(turn, Said::Own(&own::MESSAGE_TOO_BIG));
        }
    }

    /// The hop is ready for the transaction's content: chunks may go, or DATA is said first.
    pub(super) fn open_content(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let Some(open) = self.hops.get_mut(hop) else { return };
        if self.delivery.open(open, self.settings.bare_newline) {
            open.say(turn, Expect::Go, Say::Data, |line| line.extend_from_slice(b"DATA\r\n"));
        }
    }

    /// The hop answered a DATA said on gatepost's own account.
    pub(super) fn content_may_flow(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        if self.delivery.heard_go(reply) == Go::Malformed {
            self.spoke_out_of_class(turn, hop, reply);
        } else if reply.code().is_intermediate() && !self.delivery.streams_to(hop) {
            // The content was refused in the meantime: nobody ends what the hop takes now.
            self.drop_hop(turn, hop);
        }
    }

    /// Takes content from `octets[offset..]`; `None`: there is none to take.
    pub(super) fn take_content(
        &mut self,
        turn: &mut Turn<'_>,
        octets: &[u8],
        offset: usize,
    ) -> Option<usize> {
        self.client.was_active(turn.now);
        if !self.delivery.in_content() {
            return None;
        }
        let most = self.settings.limits.message_size;
        let took = self.delivery.take(turn, octets, offset, most, self.client.strayed());
        if let Some(open) = took.part.and_then(|hop| self.hops.get_mut(hop)) {
            open.end_part(turn);
        }
        if took.flood {
            self.hang_up(turn, Some(Said::Own(&own::SWALLOW_LIMIT)), SessionEnd::Limit);
            return Some(octets.len() - offset);
        }
        if let Some(own) = took.refusal {
            self.refuse_content(turn, Said::Own(own));
        }
        if took.ended {
            self.end_of_intake(turn, &octets[..offset + took.taken]);
        }
        Some(took.taken)
    }

    /// A chunk of no octets needs none to be taken; nor does a message of none that is given back.
    pub(super) fn finish_empty_chunk(&mut self, turn: &mut Turn<'_>) {
        let takes = self.delivery.takes_content(&self.hops) || self.delivery.takes_poured(&self.hops);
        if self.delivery.has_empty_chunk() && takes {
            self.take_content(turn, &[], 0);
        }
    }

    /// All octets of the message, or of a chunk that is not its last, are in.
    fn end_of_intake(&mut self, turn: &mut Turn<'_>, octets: &[u8]) {
        let end = self.delivery.end(turn, octets);
        self.tend_spool(turn);
        let (what, by) = match end {
            Some(End::Stray(Said::Own(own), octets)) => {
                self.client.strays(octets);
                return self.reply_error(turn, own);
            }
            Some(End::Stray(..)) | None => return,
            Some(End::Kept) => return turn.wish(Output::Spool(SpoolOrder::End)),
            Some(End::Chunk(by)) => (What::Chunk, by),
            Some(End::Message(transaction, by)) => {
                self.client.ends_group();
                match &by {
                    // The dialog that has the message is no more the next transaction's, unless it is home.
                    By::Hop(_) | By::Asked => drop(self.hops.come_home()),
                    // Nothing of it went there, or the dialog was closed: the envelope is taken back.
                    By::Own(_) => {
                        if let Some(hop) = self.hops.current().filter(|&hop| self.hops.is_ready(hop)) {
                            self.reset_if_in_mail(turn, hop);
                        }
                    }
                }
                (What::Message(transaction), by)
            }
        };
        let say = what.say();
        match by {
            // Nobody is asked about a message twice.
            By::Asked => {}
            By::Own(said) => drop(self.owed.push(turn.now, what, Answer::Own(said))),
            By::Hop(hop) => {
                let number = self.owed.push(turn.now, what, Answer::Hop(hop));
                if let Some(open) = self.hops.get_mut(hop) {
                    open.end_content(turn, Expect::Owed(number), say);
                }
            }
        }
        self.settle(turn);
    }

    /// The hop spoke in the midst of content: a refusal is the answer, anything else is not to be believed.
    pub(super) fn early_reply(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        let said =
            if reply.code().is_negative() { Said::heard(hop, reply) } else { Said::Own(&own::HOP_PROTOCOL) };
        self.refuse_content(turn, said);
        self.drop_hop(turn, hop);
    }

    /// The rest of the content is swallowed, and this is the answer. A hop in its midst is closed bare.
    pub(super) fn refuse_content(&mut self, turn: &mut Turn<'_>, said: Said) {
        if let Some(hop) = self.delivery.refuse(said) {
            self.drop_hop(turn, hop);
        }
    }

    /// No hop was ready for the content, or the spool kept still, in all the time a client waits for: the rest is
    /// swallowed.
    pub(super) fn content_waited_enough(&mut self, turn: &mut Turn<'_>) {
        let hop = self.delivery.content().and_then(|content| content.hop());
        self.client.was_active(turn.now);
        self.refuse_content(turn, Said::Own(&own::CONTENT_LOST));
        if let Some(hop) = hop {
            self.drop_hop(turn, hop);
        }
    }

    /// The hop answered a part of a larger chunk.
    pub(super) fn part_answered(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        if reply.code().is_negative() {
            let said = Said::heard(hop, reply);
            // Where the last part has left too, its answer is this one.
            self.owed.refuse_message(hop, &said);
            self.refuse_content(turn, said);
            self.drop_hop(turn, hop);
        } else if !reply.code().is_positive() {
            self.spoke_out_of_class(turn, hop, reply);
        }
    }

    /// A chunk was refused: those that follow are swallowed and hear the same (RFC 3030 2).
    pub(super) fn refuse_chunks(&mut self, turn: &mut Turn<'_>, hop: HopId, said: Said) {
        let more = self.owed.refuse_content(&said);
        self.refuse_content(turn, said);
        if more {
            // What it makes of the chunks it has already is not known.
            self.drop_hop(turn, hop);
        }
    }

    /// The client abandons a message between chunks. A hop that is in the midst of DATA is closed bare.
    pub(super) fn leave_content(&mut self, turn: &mut Turn<'_>) {
        if let Some(hop) = self.delivery.leave_content() {
            self.drop_hop(turn, hop);
        }
    }
}
