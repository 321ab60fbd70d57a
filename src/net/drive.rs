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
//!
//! | file | is |
//! |---|---|
//! | `drive` | the order of a turn |
//! | `reading`, `writing` | octets in and out |
//! | `outputs` | what the session wants done |
//! | `securing` | TLS handshakes |
//! | `spooling` | messages that are kept |
//! | `timer`, `closing` | deadlines; the end of a client's connection |

mod closing;
mod outputs;
mod reading;
mod securing;
mod spooling;
mod timer;
mod writing;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

pub(super) use self::closing::LINGER;
use self::spooling::Spooling;
use self::writing::waiting;
use super::ask::Asking;
use super::link::Link;
use super::slots::{Slot, Slots};
use super::worker::{self, Registered, Scratch, Stopping};
use crate::hop::{Connected, NotConnected};
use crate::limits::Permit;
use crate::metrics::labels::End;
use crate::metrics::{Occurrence, Timing};
use crate::session::Session;
use crate::session::io::{Bits, Input, Peer};
use crate::session::settings::{Entrance, Settings};
use crate::show;
use crate::smtp::{SessionId, own};
use crate::stream::Stream;
use crate::tls::ServerTls;

/// Reads of one peer in one turn; then others have theirs.
const ROUNDS: usize = 4;

/// Octets that may wait for a peer before its source is not read any more.
const BACKLOG: usize = 64 << 10;

/// How long a client may take to read its last reply.
const CLOSING: Duration = Duration::from_secs(30);

/// The task of one session.
pub struct Drive {
    session: Session,
    client: Option<Link>,
    hops: Slots,
    /// Questions to callouts, from the first on.
    asking: Option<Box<Asking>>,
    /// A message that is kept.
    spool: Option<Box<Spooling>>,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: Option<Instant>,
    stopping: Stopping,
    /// The client is only listened to, for so many octets more.
    linger: Option<u32>,
    /// When its connection closes whether or not it has read everything.
    close_by: Option<Instant>,
    quit: bool,
    /// Peers with whom TLS is to begin, or is being agreed upon.
    securing: Bits,
    /// The listener's TLS.
    tls: Option<Arc<ServerTls>>,
    /// Octets wait to be written in the next turn, which has been asked for, since then.
    due: Option<Instant>,
    registered: Registered,
    reply_limit: usize,
    line_limit: usize,
    permit: Permit,
}

/// Thousands of tasks are idle at once: what is rare is boxed, and leaves are there only while they run.
const _: () = assert!(size_of::<Drive>() <= 664);

impl Drive {
    /// A session for a client, begun.
    pub fn new(
        stream: Stream,
        settings: Arc<Settings>,
        entrance: Entrance,
        id: SessionId,
        tls: Option<Arc<ServerTls>>,
        permit: Permit,
    ) -> Drive {
        Drive {
            line_limit: settings.limits.command_line.max(settings.limits.auth_line),
            // The whole of a reply, and the beginning of the next.
            reply_limit: settings.limits.reply.max(settings.limits.auth_line) + settings.limits.reply_line,
            session: Session::new(settings, entrance, id, Instant::now()),
            client: Some(Link::new(Peer::Downstream, stream)),
            hops: Slots::default(),
            asking: None,
            spool: None,
            sleep: None,
            armed: None,
            stopping: Stopping::No,
            linger: None,
            close_by: None,
            quit: false,
            securing: Bits::default(),
            tls,
            due: None,
            registered: Registered::default(),
            permit,
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
        self.heed_stopping(now, scratch);
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
            busy |= self.secure(cx, scratch, now);
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
            busy |= self.tend_spool(cx, scratch, now);
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
            let Poll::Ready((hop, connected)) = future.as_mut().poll(cx) else { continue };
            any = true;
            let input = match connected {
                Ok((Connected { stream, untold }, name)) => {
                    if let Some(name) = name {
                        self.session.handle(now, Input::Named(name), &mut scratch.out);
                    }
                    if let Some(why) = untold {
                        self.session.handle(
                            now,
                            Input::Untold(hop, why.to_string().into()),
                            &mut scratch.out,
                        );
                    }
                    scratch.meter.time(Timing::HopConnect, now.saturating_duration_since(*since));
                    self.hops.put(place, Slot::Linked(Box::new(Link::new(Peer::Upstream(hop), stream))));
                    Input::Opened(hop)
                }
                Err(NotConnected::Untold(why)) => {
                    self.hops.vacate(place);
                    Input::Untold(hop, why.to_string().into())
                }
                Err(NotConnected::Failed(error)) => {
                    tracing::debug!(session = %self.session.id(), %error, "hop: connect");
                    self.hops.vacate(place);
                    Input::OpenFailed(hop)
                }
            };
            self.session.handle(now, input, &mut scratch.out);
        }
        any
    }

    fn heed_stopping(&mut self, now: Instant, scratch: &mut Scratch) {
        let stopping = worker::stopping();
        if stopping != self.stopping {
            self.stopping = stopping;
            let input = if stopping == Stopping::Soon { Input::Shutdown } else { Input::Stop };
            self.session.handle(now, input, &mut scratch.out);
        }
    }

    /// A defect ended this session: it hears 421 if that cannot be taken for something else, and no other does.
    fn panicked(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) {
        let whole = scratch.out.tx[0].is_empty();
        scratch.reset();
        scratch.meter.count(Occurrence::Panic);
        scratch.meter.count(Occurrence::SessionEnded(End::Panic));
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
