//! The sockets that are listened on: opened by the control thread, served by the workers.
//!
//! In:    the doors of a configuration; sockets that systemd has opened.
//! Out:   for each worker, how it comes by each of its doors; where the doors are; why one cannot be opened, and what
//!        would help.
//! Never: accepts a client, or shuts a door that stays.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustix::io::Errno;
use tokio::net::TcpListener;

use super::Control;
use crate::net::intercept;
use crate::net::listen::{self, Entry};
use crate::net::share::Share;
use crate::net::worker::{Opening, Order, Serving};

/// Doors that are open, but that nobody serves through yet.
pub(super) struct Opened {
    /// As configured, and as the kernel has it.
    listening: Vec<(SocketAddr, SocketAddr)>,
    /// For each worker.
    orders: Vec<Vec<(Entry, Opening)>>,
}

impl Control {
    /// Opens these doors and no others: for each worker, those it is to serve through. All that is new is bound before
    /// any is used; what is not stays as it is, so that nobody who is just connecting is turned away.
    pub(super) fn open(&mut self, doors: &[Entry]) -> Result<Opened, String> {
        let mut listening = Vec::new();
        let mut orders: Vec<Vec<(Entry, Opening)>> = Vec::new();
        orders.resize_with(self.workers.len(), Vec::new);
        for door in doors {
            let known = self.listening.iter().find(|(configured, _)| *configured == door.address);
            let mut actual = known.map_or(door.address, |&(_, actual)| actual);
            let mut activated = self.activated.take(door.address);
            if let Some(socket) = &activated {
                let enabled = intercept::enable(socket.into(), door.address, door.intercept);
                enabled.map_err(|error| cannot_listen(door.address, &error))?;
            }
            for order in &mut orders {
                let opening = if known.is_some() || self.activated.has(door.address) {
                    // The first worker has it for all.
                    activated.take().map_or(Opening::Known, |socket| Opening::Shared(socket, self.share()))
                } else {
                    let socket = listen::bind(actual, door.intercept);
                    let socket = socket.map_err(|error| cannot_listen(actual, &error))?;
                    // Where the kernel chose the port, the other workers take the same.
                    let bound = socket.local_addr().ok().and_then(|address| address.as_socket());
                    actual = bound.unwrap_or(actual);
                    Opening::Own(socket)
                };
                order.push((*door, opening));
            }
            listening.push((door.address, actual));
        }
        Ok(Opened { listening, orders })
    }

    /// Has every worker serve this through its doors, and says where they are.
    pub(super) fn serve_through(
        &mut self,
        serving: &Arc<Serving>,
        opened: Opened,
    ) -> Result<Vec<SocketAddr>, String> {
        for ((worker, _), order) in self.workers.iter().zip(opened.orders) {
            worker
                .send(Order::Serve(Arc::clone(serving), order))
                .map_err(|_| "a worker has ended".to_owned())?;
        }
        self.listening = opened.listening;
        Ok(self.listening.iter().map(|&(_, actual)| actual).collect())
    }

    fn share(&self) -> Share {
        Share::among(self.workers.iter().map(|(orders, _)| orders.clone()).collect())
    }
}

/// Whether all of these can be listened on, or why one cannot.
pub(super) fn are_free<'d>(mut doors: impl Iterator<Item = &'d Entry>) -> Result<(), String> {
    doors.try_for_each(|door| {
        listen::is_free(door.address, door.intercept).map_err(|error| cannot_listen(door.address, &error))
    })
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> String {
    let remedy = match error.raw_os_error().map(Errno::from_raw_os_error) {
        // The one thing bind(2) says so about: IP_TRANSPARENT is answered EPERM.
        Some(Errno::ACCESS) => {
            ": a port this low takes CAP_NET_BIND_SERVICE: start gatepost by deploy/gatepost.service, which gives it, have \
             systemd open the socket (deploy/gatepost.socket), or take a port from 1024 on"
        }
        Some(Errno::ADDRINUSE) => ": somebody else listens there (ss -ltnp says who)",
        Some(Errno::ADDRNOTAVAIL) => ": no interface of this machine has that address",
        _ => "",
    };
    format!("{address}: cannot listen: {error}{remedy}")
}

/// A port that another gatepost has is the likeliest reason, and it would be that one whose metrics are read.
pub(super) async fn listen_for_admin(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::AddrInUse => {
                ", perhaps another gatepost: give each its own admin.address, or say admin: off"
            }
            _ => "",
        };
        format!("admin.address: {}{what}", cannot_listen(address, &error))
    })
}
