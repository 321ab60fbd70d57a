//! A PROXY header where none may be: from a client who is not listed, or behind the one that was taken.
//!
//! In:    the client's octets before its EHLO, at a listener that knows of proxies.
//! Out:   the dialog closed, and what is to be logged.
//! Never: reads what such a header says, or answers it line by line, as if it were commands.
//!
//! At other listeners it is what it looks like: unknown verbs and, in version 2, empty lines with a QUIT behind them.

use std::net::SocketAddr;

use super::io::{Event, Output, SessionEnd};
use super::owed::Said;
use super::{Session, Turn};
use crate::networks::Networks;
use crate::proxy_protocol::is_header;
use crate::smtp::own;

impl Session {
    /// Whether these octets of the client are such a header.
    pub(super) fn is_stray_header(&self, octets: &[u8]) -> bool {
        self.hello.is_none() && !self.door().proxies.is_empty() && is_header(octets)
    }

    /// Whoever sends one would be taken for somebody else elsewhere: not here.
    pub(super) fn take_stray_header(&mut self, turn: &mut Turn<'_>) {
        let (peer, proxies) = self.proxies();
        let second = proxies.contains(peer.ip());
        turn.out.count(Event::StrayHeader { second });
        turn.out.outputs.push(Output::StrayHeader);
        self.hang_up(turn, Some(Said::Own(&own::EARLY_INPUT)), SessionEnd::Protocol);
    }

    /// Who connected, and the ranges whose headers are taken there.
    pub fn proxies(&self) -> (SocketAddr, &Networks) {
        let via = self.entrance.facts.as_ref().and_then(|facts| facts.via);
        (via.unwrap_or(self.entrance.client), &self.door().proxies)
    }
}
