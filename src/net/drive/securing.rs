//! The turn's handshakes: begun when all that was said in plain is in the kernel, and polled until they end.
//!
//! In:    peers with whom TLS is to begin; what the listener and the hop's pool go by.
//! Out:   their connections under TLS, or closed; the news for the session.
//! Never: reads what a peer sends in plain once TLS was asked for, or uses what it sent before (RFC 3207 4.2; the
//!        injection of CVE-2011-0411). The deadline is the session's.

use std::any::Any;
use std::task::{Context, Poll};
use std::time::Instant;

use super::Drive;
use crate::hop::Lease;
use crate::net::link::Link;
use crate::net::worker::Scratch;
use crate::session::io::{Input, Peer};
use crate::stream::{Handshake, Outcome, Stream};
use crate::tls::facts;

impl Drive {
    /// Goes on with handshakes; whether one has ended.
    pub(super) fn secure(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: Instant) -> bool {
        let mut any = false;
        for place in self.securing {
            let link =
                if place == 0 { self.client.as_ref() } else { self.hops.link(place - 1).map(|link| &*link) };
            let Some(peer) = link.map(|link| link.peer) else { continue };
            let unsaid = !scratch.out.tx[place].is_empty();
            let Some(ended) = self.secure_peer(cx, peer, unsaid) else { continue };
            any = true;
            self.securing.unset(place);
            let input = match ended {
                Ok((stream, facts)) => {
                    if let Some(link) = self.link(peer) {
                        link.secured(stream);
                    }
                    if unsaid {
                        // It waited for this.
                        cx.waker().wake_by_ref();
                    }
                    Input::Secured(peer, facts)
                }
                Err(fault) => {
                    match peer {
                        Peer::Downstream => self.let_client_go(scratch),
                        Peer::Upstream(hop) => self.hops.vacate(hop.slot()),
                        Peer::Spool => {}
                    }
                    scratch.out.tx[place].clear();
                    Input::TlsFailed(peer, fault)
                }
            };
            self.session.handle(now, input, &mut scratch.out);
        }
        any
    }

    /// What came of a handshake, once it is over. `unsaid`: there is something to be said in plain before it.
    fn secure_peer(&mut self, cx: &mut Context<'_>, peer: Peer, unsaid: bool) -> Option<Outcome> {
        let link = self.link(peer)?;
        if !matches!(link.stream, Stream::Securing(_)) {
            if unsaid {
                return None;
            }
            if !link.rx.is_empty() {
                return Some(Err(Box::new(facts::injected())));
            }
            let stream = std::mem::replace(&mut link.stream, Stream::Securing(None));
            let handshake = self.begin(peer, stream);
            self.link(peer)?.stream = Stream::Securing(handshake);
        }
        match &mut self.link(peer)?.stream {
            Stream::Securing(Some(handshake)) => match handshake.poll(cx) {
                Poll::Ready(outcome) => Some(outcome),
                Poll::Pending => None,
            },
            _ => Some(Err(Box::new(facts::not_configured()))),
        }
    }

    fn begin(&self, peer: Peer, stream: Stream) -> Option<Handshake> {
        match peer {
            Peer::Downstream => Some(Handshake::with_client(stream, self.tls.as_ref()?.now())),
            Peer::Spool => None,
            Peer::Upstream(hop) => {
                let host: &dyn Any = &**self.session.host(hop)?;
                let (client, name) = host.downcast_ref::<Lease>()?.target().tls()?;
                Some(Handshake::with_hop(stream, client, name))
            }
        }
    }

    fn link(&mut self, peer: Peer) -> Option<&mut Link> {
        match peer {
            Peer::Downstream => self.client.as_mut(),
            Peer::Upstream(hop) => self.hops.link(hop.slot()),
            Peer::Spool => None,
        }
    }
}
