//! A spool on paper: what a shell does with a message that is kept, without a disk.
//!
//! **In**: the orders of a session, and the octets for its spool. **Out**: that all is kept; what is given back.
//! **Never**: lets two messages run together: whatever is left of one is dropped before the next begins.

use std::sync::Arc;

use gatepost::message::{Scan, Strand};
use gatepost::session::io::{Input, SpoolFault, SpoolOrder};

/// A spool.
#[derive(Default)]
pub struct Paper {
    scan: Option<Scan>,
    octets: Vec<u8>,
    ending: bool,
    /// What is to be given back and was not taken.
    back: Vec<u8>,
    /// So many octets find room; `None`: any number do.
    room: Option<usize>,
}

impl Paper {
    /// One that has room for so many octets, or any number.
    pub fn of_room(room: Option<usize>) -> Paper {
        Paper { room, ..Paper::default() }
    }

    /// The session orders something.
    pub fn order(&mut self, order: SpoolOrder) {
        match order {
            SpoolOrder::Begin { structured } => {
                assert!(self.scan.is_none() && self.octets.is_empty(), "a message begins in another's place");
                self.scan = Some(if structured { Scan::structured() } else { Scan::default() });
            }
            SpoolOrder::End => self.ending = true,
            SpoolOrder::Pour(rope) => {
                self.back.clear();
                for strand in rope {
                    match strand {
                        Strand::Put(octets) => self.back.extend_from_slice(&octets),
                        Strand::Spool(range) => {
                            self.back
                                .extend_from_slice(&self.octets[range.start as usize..range.end as usize]);
                        }
                    }
                }
            }
            SpoolOrder::Drop => *self = Paper { room: self.room, ..Paper::default() },
        }
    }

    /// Octets come.
    pub fn take<'a>(&mut self, octets: impl Iterator<Item = &'a [u8]>) {
        // Those of a message that nobody wants any more are let go.
        let Some(scan) = &mut self.scan else { return };
        for octets in octets {
            scan.take(octets);
            self.octets.extend_from_slice(octets);
        }
    }

    /// What it has to tell the session.
    pub fn news(&mut self) -> Option<Input> {
        if self.room.is_some_and(|room| self.octets.len() > room) && self.scan.take().is_some() {
            self.octets.clear();
            return Some(Input::Spooled(Err(SpoolFault::NoRoom)));
        }
        if !std::mem::take(&mut self.ending) {
            return None;
        }
        Some(Input::Spooled(Ok(Arc::new(self.scan.take()?.finish()))))
    }

    /// What it keeps.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// What is to be given back; so much as was taken is forgotten.
    pub fn back(&self) -> &[u8] {
        &self.back
    }

    /// So many octets were taken.
    pub fn taken(&mut self, octets: usize) {
        self.back.drain(..octets);
    }
}
