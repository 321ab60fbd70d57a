//! Content taken: the client's octets, or the spool's, as pieces for whoever has them.
//!
//! In:    octets, split anywhere.
//! Out:   pieces in the form that the hop or the spool wants; what was taken, ended, or is a reason to refuse.
//! Never: ends a message; writes `LAST` before its octets are here.
//!
//! RFC 5321 4.5.2 (transparency), RFC 3030 2 (BDAT).

use super::content::{Form, Intake, Outlet};
use super::{Delivery, Took};
use crate::dialog::Tx;
use crate::session::io::TraceSide;
use crate::session::peer::Peer;
use crate::session::transaction::Transaction;
use crate::session::turn::Turn;
use crate::smtp::{ContentFault, Own, Piece, Unstuffer, own};

impl Delivery {
    /// Takes content from `octets[offset..]`. `most`: octets a message may have; `strayed`: octets before it that belonged
    /// to none.
    pub fn take(
        &mut self,
        turn: &mut Turn<'_>,
        octets: &[u8],
        offset: usize,
        most: u64,
        strayed: u64,
    ) -> Took {
        let mut took = match self.content.as_ref().map(|content| &content.intake) {
            Some(Intake::Data(_)) => self.take_data(turn, octets, offset),
            Some(Intake::Chunk { .. }) => self.take_chunk(turn, octets, offset),
            Some(Intake::Between | Intake::Whole) | None => return Took::default(),
        };
        let Some(content) = self.content.as_ref().filter(|content| !content.is_poured()) else { return took };
        let bound = most.saturating_mul(2);
        if content.stray {
            took.flood = content.size.saturating_add(strayed) > bound;
        } else {
            let over = took.ended && !matches!(content.intake, Intake::Chunk { last: false, .. });
            took.flood = content.size > bound && !over;
        }
        if content.size > most && !matches!(content.outlet, Outlet::Nowhere(_)) {
            took.refusal.get_or_insert(&own::MESSAGE_TOO_BIG);
        }
        took
    }

    fn take_data(&mut self, turn: &mut Turn<'_>, octets: &[u8], offset: usize) -> Took {
        let Some(content) = self.content.as_deref_mut() else { return Took::default() };
        let Intake::Data(scanner) = &mut content.intake else { return Took::default() };
        let scanned = match &mut content.outlet {
            Outlet::Hop { hop, .. } => {
                let tx = turn.to(Peer::Upstream(*hop));
                let (left, prepended) = (&mut content.left, prepended(self.transaction.as_deref()));
                scanner.scan(&octets[offset..], &mut |piece| {
                    if !std::mem::replace(left, true) {
                        tx.put(prepended);
                    }
                    tx.piece(piece, octets, offset);
                })
            }
            Outlet::Spool(unstuffer) => {
                let tx = turn.to(Peer::Spool);
                scanner.scan(&octets[offset..], &mut |piece| unstuff(unstuffer, piece, tx, octets, offset))
            }
            Outlet::Nowhere(_) => scanner.scan(&octets[offset..], &mut |_| {}),
        };
        content.size = scanner.size();
        let (mended, fault) = (scanner.mended(), scanner.fault());
        let refusal = self.mended(mended, fault);
        Took { taken: scanned.taken, ended: scanned.ended, refusal, ..Took::default() }
    }

    fn take_chunk(&mut self, turn: &mut Turn<'_>, octets: &[u8], offset: usize) -> Took {
        let Some(content) = self.content.as_deref_mut() else { return Took::default() };
        let Intake::Chunk { remaining, last, announced } = &mut content.intake else {
            return Took::default();
        };
        let here = usize::try_from(*remaining).unwrap_or(usize::MAX).min(octets.len() - offset);
        let (whole, last) = (here as u64 == *remaining, *last);
        let (mut mends, mut part) = ((0, None), None);
        let prepended = if content.left { &[] } else { prepended(self.transaction.as_deref()) };
        match &mut content.outlet {
            Outlet::Nowhere(_) => {}
            Outlet::Spool(_) => turn.to(Peer::Spool).piece(Piece::Received(0..here), octets, offset),
            Outlet::Hop { hop, form: Form::Stuffed(stuffer), .. } => {
                let tx = turn.to(Peer::Upstream(*hop));
                if here > 0 || (whole && last) {
                    tx.put(prepended);
                }
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
                let peer = Peer::Upstream(*hop);
                if let Some((size, last)) = announce {
                    let command = format!("BDAT {}{last}\r\n", size.saturating_add(prepended.len() as u64));
                    turn.to(peer).put(command.as_bytes());
                    turn.to(peer).put(prepended);
                    turn.trace(peer, TraceSide::Client, command.as_bytes());
                }
                turn.to(peer).piece(Piece::Received(0..here), octets, offset);
                content.left |= announce.is_some();
                *announced = !last;
                part = (last && !whole).then_some(*hop);
            }
        }
        *remaining -= here as u64;
        if !content.is_poured() {
            content.size += here as u64;
        }
        let refusal = if mends != (0, None) { self.mended(mends.0, mends.1) } else { None };
        Took { taken: here, ended: whole, part, refusal, flood: false }
    }

    /// Notes what was mended; what cannot be is a reason to refuse.
    fn mended(&mut self, mended: u64, fault: Option<ContentFault>) -> Option<&'static Own> {
        if let Some(transaction) = &mut self.transaction {
            transaction.mended = mended;
        }
        let open = self.content.as_ref().is_some_and(|content| !matches!(content.outlet, Outlet::Nowhere(_)));
        let own = match fault? {
            ContentFault::NulDot => &own::NUL_DOT,
            ContentFault::BareNewline => &own::BARE_NEWLINE,
        };
        open.then_some(own)
    }
}

/// What goes before the message's own octets.
fn prepended(transaction: Option<&Transaction>) -> &[u8] {
    transaction.map_or(&[], |transaction| transaction.prepended.octets())
}

/// Puts a piece of stuffed content into the spool as the text that it is.
fn unstuff(unstuffer: &mut Unstuffer, piece: Piece, tx: &mut Tx, octets: &[u8], offset: usize) {
    match piece {
        Piece::Received(part) => {
            let start = part.start;
            unstuffer.scan(&octets[offset + start..offset + part.end], &mut |piece| {
                tx.piece(
                    match piece {
                        Piece::Received(range) => Piece::Received(range.start + start..range.end + start),
                        held => held,
                    },
                    octets,
                    offset,
                );
            });
        }
        Piece::Static(held) => {
            unstuffer.scan(held, &mut |piece| match piece {
                Piece::Received(range) => tx.put(&held[range]),
                Piece::Static(octets) => tx.put(octets),
            });
        }
    }
}
