//! TLS with the client: what a handshake changes in its dialog.
//!
//! In:    the client's STARTTLS; what came of the handshake.
//! Out:   a dialog that begins anew, under TLS; or none.
//! Never: keeps anything the client said before the handshake.
//!
//! RFC 3207 4.2, RFC 8314.

use super::client::{TlsFacts, TlsFault};
use super::io::SessionEnd;
use super::{Session, Turn};
use crate::smtp::Extensions;

impl Session {
    /// The client's octets come through TLS from now on.
    pub(super) fn client_secured(&mut self, turn: &mut Turn<'_>, facts: TlsFacts) {
        self.entrance.facts.get_or_insert_default().tls = Some(facts);
        self.downstream.begin_anew();
        self.hello = None;
        self.shown = Extensions::default();
        self.heard_at = turn.now;
    }

    /// There is nothing to be said any more, and nobody to say it to.
    pub(super) fn client_not_secured(&mut self, turn: &mut Turn<'_>, _fault: &TlsFault) {
        self.client_gone(turn, SessionEnd::Protocol);
    }
}
