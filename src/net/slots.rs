//! The hops of a session, as its turn sees them: few places, most of them vacant.
//!
//! In:    connections being made, and made.
//! Out:   which places are taken, without looking at the others.
//! Never: says anything to a hop, or decides when one is closed.

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use super::link::Link;
use crate::hop::{Connected, NotConnected};
use crate::session::client::ClientName;
use crate::session::io::{Bits, HOPS, HopId};

/// A connection that is being made, for whom, and the client's name where the host is to be told it.
pub type Connecting =
    Pin<Box<dyn Future<Output = (HopId, Result<(Connected, Option<ClientName>), NotConnected>)> + Send>>;

/// A hop's place in the shell.
#[derive(Default)]
pub enum Slot {
    /// No hop has it.
    #[default]
    Vacant,
    /// Its connection is being made, since then.
    Connecting(Connecting, Instant),
    /// It is connected.
    Linked(Box<Link>),
}

/// A session's hops.
#[derive(Default)]
pub struct Slots {
    places: [Slot; HOPS],
    taken: Bits,
}

impl Slots {
    /// The places that are taken.
    pub fn taken(&self) -> Bits {
        self.taken
    }

    /// What is at a place.
    pub fn at(&mut self, place: usize) -> &mut Slot {
        &mut self.places[place]
    }

    /// The connection at a place, if there is one.
    pub fn link(&mut self, place: usize) -> Option<&mut Link> {
        if let Slot::Linked(link) = &mut self.places[place] { Some(link) } else { None }
    }

    /// Whether a connection is being made.
    pub fn awaits_connection(&self) -> bool {
        self.taken.into_iter().any(|place| matches!(self.places[place], Slot::Connecting(..)))
    }

    /// Puts something at a place; what was there is dropped, and with it its connection closed.
    pub fn put(&mut self, place: usize, slot: Slot) {
        self.taken.set(place);
        self.places[place] = slot;
    }

    /// Makes a place vacant.
    pub fn vacate(&mut self, place: usize) {
        self.taken.unset(place);
        self.places[place] = Slot::Vacant;
    }
}
