//! What the session wants done, done.
//!
//! In:    outputs and events of a turn.
//! Out:   hops dialled and closed, questions asked, records written, events counted.
//! Never: decides anything.

use std::any::Any;
use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use super::{CLOSING, Drive};
use crate::hop::{Introduction, Lease, connect as connect_to};
use crate::log;
use crate::net::ask;
use crate::net::slots::{Connecting, Slot};
use crate::net::worker::Scratch;
use crate::session::io::{self as session_io, HopId, Input, Output, Peer, Said, SessionEnd};
use crate::session::record::Speaker;
use crate::session::route::Host;
use crate::show;

impl Drive {
    /// Does what the session wants done.
    pub(super) fn carry_out(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: Instant) {
        if scratch.out.outputs.is_empty() && scratch.out.events.is_empty() {
            return;
        }
        for event in scratch.out.events.drain(..) {
            if let session_io::Event::Ended(end) = event {
                self.quit = end == SessionEnd::Quit;
            }
            if let Some(asking) = &mut self.asking {
                asking.note(event);
            }
            scratch.meter.note(event);
        }
        let mut exceeded = None;
        let mut outputs = std::mem::take(&mut scratch.out.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Open { hop, host } => self.dial(hop, &host, now),
                Output::StartTls(peer) => self.securing.set(peer.index()),
                Output::LookUp(domain) => ask::look_up(&mut self.asking, self.session.next_hops(), domain),
                Output::Close(Peer::Downstream) | Output::Abort(Peer::Downstream) => {
                    if let Some(link) = &mut self.client {
                        link.closing = true;
                        self.close_by = Some(now + CLOSING);
                    }
                    self.flush_client(cx, scratch, now);
                }
                Output::Recount(client) => exceeded = self.permit.move_to(client, now).err(),
                Output::Finish(peer) => {
                    let link = match peer {
                        Peer::Downstream => self.client.as_mut(),
                        Peer::Upstream(hop) => self.hops.link(hop.slot()),
                        Peer::Spool => None,
                    };
                    // In the next turn, behind what is written then.
                    link.into_iter().for_each(|link| link.finishing = true);
                    cx.waker().wake_by_ref();
                }
                Output::Spool(order) => self.order_spool(order),
                Output::Passed(record) => log::passage(&record),
                Output::Reset => {
                    scratch.out.tx[0].clear();
                    if let Some(link) = &self.client {
                        link.stream.reset_when_closed();
                    }
                    self.let_client_go(scratch);
                }
                Output::Close(Peer::Upstream(hop)) => {
                    let received = self.client.as_ref().map(|link| link.rx.whole()).unwrap_or_default();
                    let tx = &mut scratch.out.tx[Peer::Upstream(hop).index()];
                    if let Some(link) = self.hops.link(hop.slot()) {
                        // A courtesy (QUIT): whether it is taken at once or not, the connection closes.
                        let _ = link.poll_flush(cx, tx, received);
                        link.stream.take_leave();
                    }
                    tx.clear();
                    self.hops.vacate(hop.slot());
                }
                Output::Abort(Peer::Upstream(hop)) => {
                    scratch.out.tx[Peer::Upstream(hop).index()].clear();
                    self.hops.vacate(hop.slot());
                }
                // What is kept in no file and no buffer has no end that a peer could wait for.
                Output::Close(Peer::Spool) | Output::Abort(Peer::Spool) => {}
                Output::Ask(question) => {
                    let kept = self.spool.as_ref().and_then(|spool| spool.kept());
                    ask::ask(&mut self.asking, *question, kept);
                }
                Output::Shadow(shadow) => {
                    let kept = self.spool.as_ref().and_then(|spool| spool.kept());
                    ask::shadow(&mut self.asking, self.session.id(), *shadow, kept);
                }
                Output::Cancel(ticket) => ask::cancel(&mut self.asking, ticket),
                Output::NotSecured(fault) => log::not_secured(self.session.id(), &fault),
                Output::Unmet(host, unmet) => log::unmet(self.session.id(), host.name(), &unmet),
                Output::Malformed(host, what) => log::malformed(self.session.id(), host.name(), &what),
                Output::CalloutFailed(name, stage, fault) => {
                    log::callout_failed(self.session.id(), &name, stage, &fault);
                }
                Output::Remarked(name, stage, remark) => {
                    log::remarked(self.session.id(), &name, stage, &remark);
                }
                Output::Record(record) => log::transaction(&record),
                Output::Foreign(what) => log::foreign(self.session.id(), self.session.client(), what),
                Output::StrayHeader => {
                    let (peer, proxies) = self.session.proxies();
                    log::stray_header(self.session.id(), peer, proxies);
                }
                Output::Refused(said) => self.refused(&said),
                Output::HopRefused(hop, reply) => {
                    log::hop_refused(self.session.id(), self.session.entrance().client, &hop, &reply);
                }
                Output::Hidden(host, keyword) => log::hidden(host.name(), &keyword),
                Output::Trace(peer, side, line) => {
                    log::line(self.session.id(), peer, side, &line);
                    show::line(self.session.id(), self.session.client(), peer, side, line);
                }
            }
        }
        scratch.out.outputs = outputs;
        if let Some(exceeded) = exceeded {
            self.session.handle(now, Input::Exceeded(exceeded.reply()), &mut scratch.out);
            self.carry_out(cx, scratch, now);
        }
    }

    fn refused(&self, said: &Said) {
        let (id, client) = (self.session.id(), self.session.entrance().client);
        match said {
            Said::Own(own) => log::refused(id, client, &Speaker::Gatepost, None, own.reply(id).as_bytes()),
            Said::Written(written) => {
                let stage = written.author().map(|(_, stage)| stage);
                log::refused(id, client, &self.session.author(written), stage, written.as_bytes());
            }
            // Of a hop's words a record tells, or a line of their own.
            Said::Heard(..) => {}
        }
    }

    pub(super) fn dial(&mut self, hop: HopId, host: &Arc<dyn Host>, now: Instant) {
        self.securing.unset(Peer::Upstream(hop).index());
        let any: &dyn Any = &**host;
        if let Some(lease) = any.downcast_ref::<Lease>() {
            let target = lease.target().clone();
            let introduction = Introduction::of(target.terms(), self.session.entrance(), self.session.id());
            let name = ask::client_name(&self.session, target.terms());
            let connect = async move { connect_to(&target, &introduction).await };
            let connecting: Connecting = match name {
                None => Box::pin(async move { (hop, connect.await.map(|connected| (connected, None))) }),
                Some(name) => {
                    let name = async { Ok(Some(name.await)) };
                    Box::pin(async move { (hop, tokio::try_join!(connect, name)) })
                }
            };
            self.hops.put(hop.slot(), Slot::Connecting(connecting, now));
        }
    }
}
