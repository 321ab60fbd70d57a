//! The terms a hop is spoken to on: TLS, and being told who the client is.
//!
//! In:    a hop that was connected to, its terms, what came of a handshake.
//! Out:   a hop that is ready to hear the client's dialog, or is none for it.
//! Never: says anything of the client's before the hop's terms are met.
//!
//! RFC 3207; XCLIENT and XFORWARD of Postfix.

use super::client::{TlsFacts, TlsFault};
use super::io::HopId;
use super::{Session, Turn};

impl Session {
    /// The hop's octets come through TLS from now on.
    pub(super) fn hop_secured(&mut self, turn: &mut Turn<'_>, hop: HopId, _facts: TlsFacts) {
        self.opened(turn, hop);
    }

    /// There is no TLS with this hop, and no connection any more.
    pub(super) fn hop_not_secured(&mut self, turn: &mut Turn<'_>, hop: HopId, _fault: &TlsFault) {
        self.lost(turn, hop, None);
    }
}
