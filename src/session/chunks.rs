//! BDAT: content that comes in chunks.
//!
//! In:    `BDAT n [LAST]` and its octets.
//! Out:   chunks for the hop, or, for one without CHUNKING, stuffed lines under DATA.
//! Never: writes `LAST` before its octets are here (law 2), or reads a chunk's octets as commands, offered or not.
//!
//! RFC 3030 2.

use super::content::{Form, Intake, Outlet};
use super::inquiry::About;
use super::io::{HopId, Peer, SessionEnd, TraceSide};
use super::owed::{Answer, Said, What};
use super::upstreams::{Stand, Why};
use super::verdict::{CommandAnswer, CommandVerdict, Stage};
use super::{Phase, Session, Turn};
use crate::dialog::{Expect, Say};
use crate::smtp::{Keyword, Piece, ReplyRef, Verb, own};

impl Session {
    /// Whether chunks wait for the envelope to be in at this hop.
    pub(super) fn awaits_chunks(&self, at: HopId) -> bool {
        self.awaits_go(at)
            && self.content.as_ref().is_some_and(|content| {
                matches!(&content.outlet, Outlet::Hop { form: Form::Chunks, .. })
                    && matches!(content.intake, Intake::Chunk { .. })
            })
    }

    /// BDAT: its octets come next, whatever is said about it.
    pub(super) fn take_bdat(&mut self, turn: &mut Turn<'_>, size: u64, last: bool) {
        let most = self.settings.limits.message_size;
        let offered = self.shown.has(Keyword::Chunking);
        if !offered && size > most {
            return self.close_in_turn(turn, &own::MESSAGE_TOO_BIG, SessionEnd::Limit);
        }
        match &mut self.content {
            Some(content) => content.intake = Intake::Chunk { remaining: size, last, announced: false },
            None => return self.take_first_bdat(turn, size, last, offered),
        }
        self.bound_chunk(turn, size);
    }

    /// The first BDAT of a message is asked about as DATA would be.
    fn take_first_bdat(&mut self, turn: &mut Turn<'_>, size: u64, last: bool, offered: bool) {
        let recipients = self.transaction.as_ref().map(|with| with.recipients.len() + with.swallowed);
        let stray = match recipients {
            _ if self.phase == Phase::OnlyQuit => Some(&own::ONLY_QUIT),
            _ if self.flags.locked => Some(&own::TLS_REQUIRED),
            _ if !offered => Some(&own::BDAT_NOT_OFFERED),
            None => Some(&own::NEED_MAIL),
            Some(0) => Some(&own::NO_VALID_RECIPIENTS),
            Some(_) => None,
        };
        if let Some(own) = stray {
            self.begin_chunk(turn, size, last, Outlet::Nowhere(Said::Own(own)));
            if let Some(content) = &mut self.content {
                content.stray = true;
            }
            return;
        }
        let stage = Stage::Data;
        let question = self.question(stage, Verb::Bdat, b"");
        let answer = match self.settings.rules.stages().has(stage) {
            true => self.settings.rules.command(&question),
            false => CommandAnswer::default(),
        };
        let callout = answer.verdict.is_none()
            && self.settings.callouts.stages().has(stage)
            && self.settings.callouts.next(&question, None, None).is_some();
        self.note_command(turn, stage, &answer);
        if callout {
            return self.inquire_in_turn(turn, stage, What::Chunk, About::Chunks { size, last });
        }
        self.decide_chunks(turn, size, last, answer.verdict);
    }

    /// Does what was decided about the first BDAT. Its octets come whatever that is: a refusal is said when they are
    /// read, unless the dialog is closed with it.
    pub(super) fn decide_chunks(
        &mut self,
        turn: &mut Turn<'_>,
        size: u64,
        last: bool,
        verdict: Option<CommandVerdict>,
    ) {
        let swallowed = self.transaction.as_ref().is_some_and(|with| with.recipients.is_empty());
        let outlet = match verdict {
            Some(CommandVerdict::Reply(said)) => Outlet::Nowhere(Said::Written(said)),
            Some(CommandVerdict::Disconnect(said)) => {
                return self.owe(turn, What::Close(SessionEnd::Verdict), Said::disconnect(said));
            }
            Some(CommandVerdict::Route(_) | CommandVerdict::Accept) | None if swallowed => {
                Outlet::Nowhere(Said::Own(&own::DISCARDED))
            }
            Some(CommandVerdict::Route(_) | CommandVerdict::Accept) | None => {
                match self.current_or_open(turn) {
                    Ok(hop) => Outlet::Hop { hop, form: Form::Chunks, ready: false },
                    Err(_) => Outlet::Nowhere(Said::Own(&own::CONTENT_LOST)),
                }
            }
        };
        self.begin_chunk(turn, size, last, outlet);
        self.bound_chunk(turn, size);
    }

    fn begin_chunk(&mut self, turn: &mut Turn<'_>, size: u64, last: bool, outlet: Outlet) {
        self.begin(turn, Intake::Chunk { remaining: size, last, announced: false }, outlet);
        let ready = |hop: HopId| self.upstreams.get(hop).is_some_and(|up| up.stand == Stand::Ready);
        if let Some(hop) = self.upstreams.current().filter(|&hop| self.awaits_go(hop) && ready(hop)) {
            if self.fits(hop) {
                self.open_content(turn, hop);
            } else {
                self.lost_because(turn, hop, Why::Unfit, None);
            }
        }
    }

    /// A chunk beyond what is left of `limits.message_size` is swallowed, and the message refused.
    fn bound_chunk(&mut self, turn: &mut Turn<'_>, size: u64) {
        let most = self.settings.limits.message_size;
        if let Some(content) = &self.content
            && content.size.saturating_add(size) > most
            && !content.stray
        {
            self.refuse_content(turn, Said::Own(&own::MESSAGE_TOO_BIG));
        }
    }

    pub(super) fn take_chunk_octets(
        &mut self,
        turn: &mut Turn<'_>,
        octets: &[u8],
        offset: usize,
    ) -> (usize, bool) {
        let Some(content) = self.content.as_deref_mut() else { return (0, false) };
        let Intake::Chunk { remaining, last, announced } = &mut content.intake else { return (0, false) };
        let here = usize::try_from(*remaining).unwrap_or(usize::MAX).min(octets.len() - offset);
        let (whole, last) = (here as u64 == *remaining, *last);
        let piece = || Piece::Received(0..here);
        let mut mends = (0, None);
        match &mut content.outlet {
            Outlet::Nowhere(_) => {}
            Outlet::Hop { hop, form: Form::Stuffed(stuffer), .. } => {
                let tx = turn.out.to(Peer::Upstream(*hop));
                stuffer.stuff(&octets[offset..offset + here], &mut |piece| tx.piece(piece, octets, offset));
                if whole && last {
                    stuffer.finish(&mut |piece| tx.piece(piece, &[], 0));
                }
                mends = (stuffer.mended(), stuffer.fault());
                content.left |= here > 0;
            }
            Outlet::Hop { hop, .. } => {
                // Law 2: `LAST` is written only with octets that are here; until then plain chunks (RFC 3030 2).
                let announce = match (last, whole) {
                    (false, _) if *announced => None,
                    (false, _) => Some((*remaining, "")),
                    (true, false) => Some((here as u64, "")),
                    (true, true) => Some((here as u64, " LAST")),
                };
                let tx = turn.out.to(Peer::Upstream(*hop));
                if let Some((size, last)) = announce {
                    let command = format!("BDAT {size}{last}\r\n");
                    tx.put(command.as_bytes());
                    if self.settings.trace {
                        let line = command.trim_ascii_end().as_bytes().into();
                        turn.out.outputs.push(super::Output::Trace(
                            Peer::Upstream(*hop),
                            TraceSide::Client,
                            line,
                        ));
                    }
                }
                if here > 0 {
                    turn.out.to(Peer::Upstream(*hop)).piece(piece(), octets, offset);
                }
                content.left |= announce.is_some() || here > 0;
                *announced = !last;
                if last
                    && !whole
                    && let Some(up) = self.upstreams.get_mut(*hop)
                {
                    up.said(turn.now);
                    up.dialog.expect_along(Expect::Part, Say::Chunk);
                }
            }
        }
        *remaining -= here as u64;
        content.size += here as u64;
        if mends != (0, None) {
            self.mended(turn, mends.0, mends.1);
        }
        (here, whole)
    }

    /// A chunk of no octets needs none to be taken.
    pub(super) fn finish_empty_chunk(&mut self, turn: &mut Turn<'_>) {
        let empty = self
            .content
            .as_ref()
            .is_some_and(|content| matches!(content.intake, Intake::Chunk { remaining: 0, .. }));
        if empty && self.takes_content() {
            self.take_content(turn, &[], 0);
        }
    }

    /// The hop answered a part of a larger chunk.
    pub(super) fn part_answered(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        if reply.code().is_negative() {
            let said = Said::Written(reply.to_owned().into());
            // Where the last part has left too, its answer is this one.
            for (_, owed) in self.owed.iter_mut() {
                if matches!((&owed.what, &owed.answer), (What::Message(_), Answer::Hop(at)) if *at == hop) {
                    owed.answer = Answer::Own(said.clone());
                }
            }
            self.refuse_content(turn, said);
            self.drop_current(turn, hop);
        } else if !reply.code().is_positive() {
            self.lost_because(turn, hop, Why::Malformed, None);
        }
    }

    /// A chunk was refused: those that follow are swallowed and hear the same (RFC 3030 2).
    pub(super) fn refuse_chunks(&mut self, turn: &mut Turn<'_>, hop: HopId, said: Said) {
        let mut more = false;
        for (_, owed) in self.owed.iter_mut() {
            if matches!((&owed.what, &owed.answer), (What::Chunk | What::Message(_), Answer::Hop(_))) {
                owed.answer = Answer::Own(said.clone());
                more = true;
            }
        }
        self.refuse_content(turn, said);
        if more {
            // What it makes of the chunks it has already is not known.
            self.drop_current(turn, hop);
        }
    }
}
