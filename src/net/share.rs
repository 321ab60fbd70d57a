//! A listening socket there is only one of, because systemd has opened it: one worker accepts, all have the clients.
//!
//! In:    clients that the accepting worker has admitted.
//! Out:   each of them to the next worker in turn, itself among them.
//! Never: lets a client fall between two workers: one that has just ended gives its guest back.
//!
//! docs/decisions/0012-one-worker-accepts-for-systemd.md

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::error::SendError;

use super::listen::{self, Arrival, Ids, Opens};
use super::worker::Order;
use crate::limits::Permit;
use crate::session::client::ClientFacts;

/// The workers that have the clients of one socket.
pub struct Share {
    workers: Vec<UnboundedSender<Order>>,
    turn: AtomicUsize,
}

impl Share {
    /// Shares among these.
    pub fn among(workers: Vec<UnboundedSender<Order>>) -> Share {
        Share { workers, turn: AtomicUsize::new(0) }
    }

    /// Gives a guest to the worker whose turn it is.
    pub(super) fn hand_out(&self, guest: Guest, ids: &Ids) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        // A worker has ended already when gatepost is told to stop.
        if let Err(SendError(Order::Take(guest))) = self.workers[turn].send(Order::Take(guest)) {
            guest.enter(ids);
        }
    }
}

/// A client that one worker has admitted for another to serve.
pub struct Guest {
    /// Its connection, on no worker's runtime.
    pub(super) stream: std::net::TcpStream,
    /// Its address, or that of whom a proxy speaks for.
    pub(super) client: SocketAddr,
    /// What else is known of it.
    pub(super) facts: Option<Box<ClientFacts>>,
    /// What it finds behind the door.
    pub(super) opens: Arc<Opens>,
    /// Its place among the sessions.
    pub(super) permit: Permit,
}

impl Guest {
    /// Begins its session on this worker.
    pub(super) fn enter(self, ids: &Ids) {
        let Guest { stream, client, facts, opens, permit } = self;
        match TcpStream::from_std(stream) {
            Ok(stream) => listen::begin(Arrival { stream, client, facts }, &opens, permit, ids),
            // The kernel has no room to watch it: nor could it be told so.
            Err(error) => tracing::warn!(%error, "accept: a client could not be handed to its worker"),
        }
    }
}
