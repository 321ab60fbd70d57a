//! Who is at the ends of a session's connections, by small names.
//!
//! In:    numbers.
//! Out:   [`Peer`], [`HopId`], [`Ticket`]; who said a reply, why a dialog ended.
//! Never: gives the name of one that is closed to another.

use std::num::NonZeroU32;

/// How many upstream dialogs one session may hold at once: the listener's pool's, the transaction's, and
/// those where a recipient was just and is now being tried.
pub const HOPS: usize = 4;

/// One of the session's upstream dialogs, by its number, which no other has: the id of a closed one never names
/// another. It tells the slot, too, which is free to be used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct HopId(NonZeroU32);

impl HopId {
    /// The dialog with a number; none has the number 0.
    pub fn numbered(number: u32) -> Option<HopId> {
        NonZeroU32::new(number).map(HopId)
    }

    /// Its number, counted from 1 in the order in which they are opened; some may be left out.
    pub fn number(self) -> u32 {
        self.0.get()
    }

    /// Its place in arrays of `HOPS` places, while it is open.
    pub fn slot(self) -> usize {
        self.0.get() as usize % HOPS
    }
}

/// Places in arrays of what there is for each peer.
pub const PEERS: usize = HOPS + 2;

/// Who said a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// This hop, which may be closed since.
    Hop(HopId),
    /// Gatepost, in its own words or a verdict's.
    Gatepost,
}

/// One end of one of the session's connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Peer {
    /// The client.
    Downstream,
    /// A hop.
    Upstream(HopId),
    /// What keeps a message while it is asked about: its octets go there as they would to a hop, and come from there.
    Spool,
}

impl Peer {
    /// A small number for arrays of [`PEERS`] places.
    pub fn index(self) -> usize {
        match self {
            Peer::Downstream => 0,
            Peer::Upstream(hop) => 1 + hop.slot(),
            Peer::Spool => 1 + HOPS,
        }
    }
}

/// A question to a callout, and so its answer. No two of a session's questions have the same one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct Ticket(pub u32);

/// Small numbers, as bits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Bits(u16);

impl Bits {
    /// With this number, below sixteen, too.
    pub fn set(&mut self, number: usize) {
        self.0 |= 1 << number;
    }

    /// Without it.
    pub fn unset(&mut self, number: usize) {
        self.0 &= !(1 << number);
    }

    /// Whether this number is among them.
    pub fn has(self, number: usize) -> bool {
        self.0 & (1 << number) != 0
    }

    /// Without any; those that were there are returned.
    pub fn drain(&mut self) -> Bits {
        std::mem::take(self)
    }
}

impl Iterator for Bits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let lowest = (self.0 != 0).then(|| self.0.trailing_zeros() as usize)?;
        self.0 &= self.0 - 1;
        Some(lowest)
    }
}

/// Why a dialog with a hop ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The connection, or the hop's patience.
    Broken,
    /// It said what cannot be believed.
    Malformed,
    /// It cannot take this transaction.
    Unfit,
    /// It refused a command that makes it forget what the client does not know of; it may do better when it begins anew.
    Unwilling,
}

#[cfg(test)]
mod tests;
