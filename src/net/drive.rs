//! One session's task: the turn.
//!
//! In:    a connected client, the configuration it came under, its place among the sessions.
//! Out:   octets moved both ways, hops dialled and closed, events counted, records written, until the session is
//!        over.
//! Never: decides anything about mail; holds a buffer, a future or a timer that nothing waits for; reads a source
//!        whose octets cannot be written on.
//!
//! Order of a turn: one write to each peer of what the last one left; timer; leaves; then hops before the client (what
//! a hop said early is known before more is sent to it), and the session's outputs. What came of it is written in the
//! next turn, right after the other sessions that are ready have been read: so their hops and clients are woken once
//! for many octets.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep_until};

use super::ask::{self, Asking};
use super::buffers::SIZE;
use super::link::Link;
use super::slots::{Slot, Slots};
use super::stream::Stream;
use super::worker::{self, Registered, Scratch, Tide};
use crate::hop::{self, Lease};
use crate::limits::Permit;
use crate::log;
use crate::metrics::labels::End;
use crate::metrics::{Event, Timing};
use crate::session::Session;
use crate::session::io::{self as session_io, HOPS, HopId, Input, Out, Output, Peer, SessionEnd};
use crate::session::route::Host;
use crate::session::settings::{Entrance, Settings};
use crate::show;
use crate::smtp::{SessionId, own};

/// Reads of one peer in one turn; then others have theirs.
const ROUNDS: usize = 4;

/// Octets that may wait for a peer before its source is not read any more.
const BACKLOG: usize = 64 << 10;

/// How long a client may take to read its last reply.
const CLOSING: Duration = Duration::from_secs(30);

/// How long, and for how much, a connection that is closed early is listened to, so that the reply is not lost to a
/// reset.
pub(super) const LINGER: (Duration, usize) = (Duration::from_secs(2), 64 << 10);

/// The task of one session.
pub struct Drive {
    session: Session,
    client: Option<Link>,
    hops: Slots,
    /// Questions to callouts, from the first on.
    asking: Option<Box<Asking>>,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: Option<Instant>,
    tide: Tide,
    /// The client is only listened to, for so many octets more.
    linger: Option<usize>,
    /// When its connection closes whether or not it has read everything.
    close_by: Option<Instant>,
    quit: bool,
    /// Octets wait to be written in the next turn, which has been asked for, since then.
    due: Option<Instant>,
    registered: Registered,
    reply_limit: usize,
    line_limit: usize,
    _permit: Permit,
}

/// Thousands of tasks are idle at once: what is rare is boxed, and leaves are there only while they run.
const _: () = assert!(size_of::<Drive>() <= 640);

impl Drive {
    /// A session for a client, begun.
    pub fn new(
        stream: Stream,
        settings: Arc<Settings>,
        entrance: Entrance,
        id: SessionId,
        permit: Permit,
    ) -> Drive {
        Drive {
            line_limit: settings.limits.command_line.max(settings.limits.auth_line),
            reply_limit: settings.limits.reply + settings.limits.reply_line,
            session: Session::new(settings, entrance, id, Instant::now()),
            client: Some(Link::new(stream)),
            hops: Slots::default(),
            asking: None,
            sleep: None,
            armed: None,
            tide: Tide::Flood,
            linger: None,
            close_by: None,
            quit: false,
            due: None,
            registered: Registered::default(),
            _permit: permit,
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        let now = Instant::now();
        self.bring_unsent(scratch);
        if let Some(since) = self.due.take() {
            scratch.meter.time(Timing::Added, now.saturating_duration_since(since));
        }
        let first = self.registered.first(cx);
        if first {
            self.session.start(now, &mut scratch.out);
        }
        self.heed_tide(now, scratch);
        self.flush(cx, scratch, now);
        let before = waiting(&scratch.out);
        let fired = self.timer_fired(cx, now);
        if self.close_by.is_some_and(|until| until <= now) {
            self.let_client_go(scratch);
        }
        if fired {
            let stalled =
                scratch.out.spoken.into_iter().any(|peer| peer > 0 && !scratch.out.tx[peer].is_empty());
            self.session.handle(now, Input::Deadline { stalled }, &mut scratch.out);
        }
        self.carry_out(cx, scratch, now);
        for round in 0.. {
            let mut busy = self.connect(cx, scratch, now);
            while let Some(told) = self.asking.as_mut().and_then(|asking| asking.poll(cx)) {
                busy = true;
                self.session.handle(now, told, &mut scratch.out);
            }
            for place in self.hops.taken() {
                busy |= self.read_hop(scratch, now, place);
            }
            self.carry_out(cx, scratch, now);
            // A client that was just accepted has said nothing yet, and a hop's connection brings the next turn.
            if !(first && self.hops.awaits_connection()) {
                busy |= self.read_client(scratch, now);
            }
            self.carry_out(cx, scratch, now);
            if waiting(&scratch.out) != before {
                // Written when the others who are ready have been read, too: their hops wake up once for all.
                self.due = Some(now);
                cx.waker().wake_by_ref();
                break;
            }
            if !busy {
                self.watch(cx);
                break;
            }
            if round == ROUNDS {
                cx.waker().wake_by_ref();
                break;
            }
        }
        if self.client.is_none() && self.session.is_over() {
            return Poll::Ready(());
        }
        if self.client.is_some() && self.linger.is_some() {
            self.linger_on(cx, scratch, now);
            if self.client.is_none() && self.session.is_over() {
                return Poll::Ready(());
            }
        }
        self.put_away(scratch);
        scratch.reset();
        self.arm(cx);
        Poll::Pending
    }

    /// Connections that are being made; whether one was.
    fn connect(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: Instant) -> bool {
        let mut any = false;
        for place in self.hops.taken() {
            let Slot::Connecting(future, since) = self.hops.at(place) else { continue };
            let Poll::Ready(connected) = future.as_mut().poll(cx) else { continue };
            any = true;
            let hop = HopId(place as u8);
            let input = match connected {
                Ok(stream) => {
                    scratch.meter.time(Timing::HopConnect, now.saturating_duration_since(*since));
                    self.hops.put(place, Slot::Linked(Box::new(Link::new(stream))));
                    Input::Opened(hop)
                }
                Err(error) => {
                    tracing::debug!(session = %self.session.id(), %error, "hop: connect");
                    self.hops.vacate(place);
                    Input::OpenFailed(hop)
                }
            };
            self.session.handle(now, input, &mut scratch.out);
        }
        any
    }

    /// Reads a hop and hands its octets in; whether there were any.
    fn read_hop(&mut self, scratch: &mut Scratch, now: Instant, place: usize) -> bool {
        let peer = Peer::Upstream(HopId(place as u8));
        let Some(link) = self.hops.link(place) else { return false };
        if link.ended
            || scratch.out.tx[0].len() > BACKLOG
            || !link.rx.has_room(self.reply_limit)
            || !self.session.wants_read(peer)
        {
            return false;
        }
        match link.read(&mut scratch.pool, self.reply_limit) {
            Poll::Pending => {
                link.rx.settle(&mut scratch.pool);
                false
            }
            Poll::Ready(Ok(0)) => {
                link.ended = true;
                self.session.handle(now, Input::Eof(peer), &mut scratch.out);
                true
            }
            Poll::Ready(Ok(_)) => {
                let taken = self.session.receive(now, peer, link.rx.octets(), &mut scratch.out);
                link.rx.take(taken);
                link.rx.settle(&mut scratch.pool);
                true
            }
            Poll::Ready(Err(_)) => {
                link.ended = true;
                self.session.handle(now, Input::Lost(peer), &mut scratch.out);
                true
            }
        }
    }

    /// Offers the client's waiting octets, or reads more; whether anything went on.
    fn read_client(&mut self, scratch: &mut Scratch, now: Instant) -> bool {
        if is_choked(scratch) {
            return false;
        }
        let offered = self.offer(scratch, now);
        let Some(link) = &mut self.client else { return offered };
        if link.closing
            || link.ended
            || !link.rx.has_room(self.line_limit)
            || !self.session.wants_read(Peer::Downstream)
        {
            return offered;
        }
        if is_choked(scratch) {
            return offered;
        }
        match link.read(&mut scratch.pool, self.line_limit) {
            Poll::Pending => offered,
            Poll::Ready(Ok(0)) => {
                link.ended = true;
                self.session.handle(now, Input::Eof(Peer::Downstream), &mut scratch.out);
                true
            }
            Poll::Ready(Ok(_)) => {
                self.offer(scratch, now);
                true
            }
            Poll::Ready(Err(_)) => {
                link.ended = true;
                self.session.handle(now, Input::Lost(Peer::Downstream), &mut scratch.out);
                true
            }
        }
    }

    /// Hands the client's octets in; whether any were taken.
    fn offer(&mut self, scratch: &mut Scratch, now: Instant) -> bool {
        let Some(link) = &mut self.client else { return false };
        if link.rx.is_empty() || link.closing {
            return false;
        }
        scratch.out.base = link.rx.start();
        let taken = self.session.receive(now, Peer::Downstream, link.rx.octets(), &mut scratch.out);
        link.rx.take(taken);
        taken > 0
    }

    /// Writes each peer once.
    fn flush(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: Instant) {
        let received = self.client.as_ref().map(|link| link.rx.whole()).unwrap_or_default();
        let mut broken: Option<HopId> = None;
        for peer in scratch.out.spoken.filter(|peer| *peer > 0) {
            let tx = &mut scratch.out.tx[peer];
            match self.hops.at(peer - 1) {
                Slot::Linked(link) => {
                    if let Poll::Ready(Err(_)) = link.poll_flush(cx, tx, received) {
                        tx.clear();
                        broken = Some(HopId(peer as u8 - 1));
                    }
                }
                Slot::Connecting(..) => {}
                Slot::Vacant => tx.clear(),
            }
        }
        if let Some(hop) = broken {
            self.session.handle(now, Input::Lost(Peer::Upstream(hop)), &mut scratch.out);
        }
        self.flush_client(cx, scratch, now);
    }

    fn flush_client(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: Instant) {
        let tx = &mut scratch.out.tx[0];
        let Some(link) = &mut self.client else { return tx.clear() };
        match link.poll_flush(cx, tx, &[]) {
            Poll::Ready(Ok(())) if link.closing && self.linger.is_none() => self.close_client(scratch, now),
            Poll::Pending | Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => {
                tx.clear();
                let closing = link.closing;
                self.let_client_go(scratch);
                if !closing {
                    self.session.handle(now, Input::Lost(Peer::Downstream), &mut scratch.out);
                }
            }
        }
    }

    /// All is written: the connection is closed, at once where the client expects it.
    fn close_client(&mut self, scratch: &mut Scratch, now: Instant) {
        let Some(link) = &mut self.client else { return };
        if link.ended || (self.quit && link.rx.is_empty()) || link.stream.shutdown_write().is_err() {
            self.let_client_go(scratch);
        } else {
            own_all(scratch, link.rx.whole());
            self.linger = Some(LINGER.1);
            self.close_by = Some(now + LINGER.0);
        }
    }

    /// The client's connection closes; what a hop has not been sent yet of its octets is kept.
    fn let_client_go(&mut self, scratch: &mut Scratch) {
        if let Some(link) = self.client.take() {
            own_all(scratch, link.rx.whole());
        }
        (self.linger, self.close_by) = (None, None);
    }

    /// Reads and drops what a client still sends, so that it can read why it was closed.
    fn linger_on(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: Instant) {
        while let (Some(link), Some(left)) = (&mut self.client, &mut self.linger) {
            link.rx.drop_all();
            let read = link.read(&mut scratch.pool, SIZE);
            link.rx.drop_all();
            match read {
                Poll::Pending => {
                    link.watch(cx);
                    break;
                }
                Poll::Ready(Ok(read)) if read > 0 && read < *left => *left -= read,
                Poll::Ready(_) => self.let_client_go(scratch),
            }
        }
        if self.close_by.is_some_and(|until| until <= now) {
            self.let_client_go(scratch);
        }
    }

    /// Does what the session wants done.
    fn carry_out(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: Instant) {
        if scratch.out.outputs.is_empty() && scratch.out.events.is_empty() {
            return;
        }
        for event in scratch.out.events.drain(..) {
            if let session_io::Event::Ended(end) = event {
                self.quit = end == SessionEnd::Quit;
            }
            if let Some(asking) = &self.asking {
                asking.note(event);
            }
            scratch.meter.note(event);
        }
        let mut outputs = std::mem::take(&mut scratch.out.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Open { hop, host } => self.dial(hop, &host, now),
                Output::LookUp(domain) => ask::look_up(&mut self.asking, self.session.hops(), domain),
                Output::Close(Peer::Downstream) | Output::Abort(Peer::Downstream) => {
                    if let Some(link) = &mut self.client {
                        link.closing = true;
                        self.close_by = Some(now + CLOSING);
                    }
                    self.flush_client(cx, scratch, now);
                }
                Output::Close(Peer::Upstream(hop)) => {
                    let received = self.client.as_ref().map(|link| link.rx.whole()).unwrap_or_default();
                    let tx = &mut scratch.out.tx[Peer::Upstream(hop).index()];
                    if let Some(link) = self.hops.link(usize::from(hop.0)) {
                        // A courtesy (QUIT): whether it is taken at once or not, the connection closes.
                        let _ = link.poll_flush(cx, tx, received);
                    }
                    tx.clear();
                    self.hops.vacate(usize::from(hop.0));
                }
                Output::Abort(Peer::Upstream(hop)) => {
                    scratch.out.tx[Peer::Upstream(hop).index()].clear();
                    self.hops.vacate(usize::from(hop.0));
                }
                Output::Ask(question) => ask::ask(&mut self.asking, *question),
                Output::Cancel(ticket) => ask::cancel(&mut self.asking, ticket),
                Output::CalloutFailed(name, stage, fault) => {
                    log::callout_failed(self.session.id(), &name, stage, &fault);
                }
                Output::Record(record) => log::transaction(&record),
                Output::Hidden(host, keyword) => log::hidden(host.name(), &keyword),
                Output::Trace(peer, side, line) => {
                    log::line(self.session.id(), peer, side, &line);
                    show::line(self.session.id(), self.session.client(), peer, side, line);
                }
            }
        }
        scratch.out.outputs = outputs;
    }

    fn dial(&mut self, hop: HopId, host: &Arc<dyn Host>, now: Instant) {
        let any: &dyn Any = &**host;
        if let Some(lease) = any.downcast_ref::<Lease>() {
            let target = lease.target().clone();
            let connecting = Box::pin(async move { hop::connect(&target).await });
            self.hops.put(usize::from(hop.0), Slot::Connecting(connecting, now));
        }
    }

    fn heed_tide(&mut self, now: Instant, scratch: &mut Scratch) {
        let tide = worker::tide();
        if tide != self.tide {
            self.tide = tide;
            let input = if tide == Tide::Ebb { Input::Shutdown } else { Input::Stop };
            self.session.handle(now, input, &mut scratch.out);
        }
    }

    /// Octets that could not be written last time come first.
    fn bring_unsent(&mut self, scratch: &mut Scratch) {
        if let Some(unsent) = self.client.as_mut().and_then(|link| link.unsent.take()) {
            scratch.bring(0, unsent);
        }
        for place in self.hops.taken() {
            if let Some(unsent) = self.hops.link(place).and_then(|link| link.unsent.take()) {
                scratch.bring(1 + place, unsent);
            }
        }
    }

    /// What could not be written is kept here; buffers that nothing refers to go back.
    fn put_away(&mut self, scratch: &mut Scratch) {
        let borrowed = scratch.out.borrows();
        if let Some(link) = &mut self.client
            && !borrowed
        {
            link.rx.settle(&mut scratch.pool);
        }
        for peer in scratch.out.spoken.drain() {
            let link = if peer == 0 { self.client.as_mut() } else { self.hops.link(peer - 1) };
            match link {
                Some(link) if !scratch.out.tx[peer].is_empty() => link.unsent = Some(scratch.put_away(peer)),
                _ => scratch.out.tx[peer].clear(),
            }
        }
    }

    /// Whoever has nothing to be read now wakes the session when there is.
    fn watch(&mut self, cx: &mut Context<'_>) {
        if let Some(link) = &mut self.client {
            link.watch(cx);
        }
        for place in self.hops.taken() {
            if let Some(link) = self.hops.link(place) {
                link.watch(cx);
            }
        }
    }

    fn timer_fired(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.armed.is_none_or(|armed| now < armed) {
            return false;
        }
        if let Some(sleep) = &mut self.sleep
            && sleep.as_mut().poll(cx).is_ready()
        {
            self.armed = None;
        }
        self.session.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// One timer, re-armed only for something earlier; a later deadline waits until it fires.
    fn arm(&mut self, cx: &mut Context<'_>) {
        if let Some(deadline) = self.session.deadline().into_iter().chain(self.close_by).min() {
            self.arm_at(cx, deadline);
        }
    }

    fn arm_at(&mut self, cx: &mut Context<'_>, deadline: Instant) {
        if self.armed.is_some_and(|armed| armed <= deadline) {
            return;
        }
        self.armed = Some(deadline);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(deadline.into()),
            None => self.sleep = Some(Box::pin(sleep_until(deadline.into()))),
        }
        if let Some(sleep) = &mut self.sleep
            && sleep.as_mut().poll(cx).is_ready()
        {
            self.armed = None;
            cx.waker().wake_by_ref();
        }
    }

    /// A defect ended this session: it hears 421 if that cannot be taken for something else, and no other does.
    fn panicked(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) {
        let whole = scratch.out.tx[0].is_empty();
        scratch.reset();
        scratch.meter.count(Event::Panic);
        scratch.meter.count(Event::SessionEnded(End::Panic));
        tracing::error!(session = %self.session.id(), "session: panicked");
        if let Some(link) = self.client.as_mut().filter(|link| whole && link.unsent.is_none())
            && self.session.is_between_replies()
        {
            let id = self.session.id();
            scratch.out.to(Peer::Downstream).write(|line| own::PANIC.write(id, line));
            let _ = link.poll_flush(cx, &mut scratch.out.tx[0], &[]);
            scratch.reset();
        }
    }
}

/// Nothing refers to the client's buffer any more.
fn own_all(scratch: &mut Scratch, received: &[u8]) {
    scratch.out.tx.iter_mut().for_each(|tx| tx.own(received));
}

/// Octets that wait, by peer: one may lose as many as another is told.
fn waiting(out: &Out) -> [usize; 1 + HOPS] {
    let mut waiting = [0; 1 + HOPS];
    out.spoken.into_iter().for_each(|peer| waiting[peer] = out.tx[peer].len());
    waiting
}

/// Whether the client may not be read: content that could not be written on still refers to its buffer, or too much
/// waits for somebody.
fn is_choked(scratch: &Scratch) -> bool {
    scratch.out.borrows() || scratch.out.spoken.into_iter().any(|peer| scratch.out.tx[peer].len() > BACKLOG)
}

impl Future for Drive {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        worker::with_scratch(|scratch| {
            let this = &mut *self;
            let turn = catch_unwind(AssertUnwindSafe(|| this.turn(cx, scratch)));
            match turn {
                Ok(turn) => {
                    ready!(turn);
                    scratch.reset();
                }
                Err(_) => this.panicked(cx, scratch),
            }
            show::over(this.session.id(), this.session.client());
            Poll::Ready(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lost_hop_was_not_told_hides_nothing_that_the_client_is() {
        let mut out = Out::default();
        out.to(Peer::Upstream(HopId(0))).put(b"NOOP\r\n");
        let before = waiting(&out);
        out.tx[1].clear();
        out.to(Peer::Downstream).put(b"250 -\n");
        assert_ne!(waiting(&out), before);
    }
}
