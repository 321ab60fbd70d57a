//! `gatepost run --show-dialogs`: both dialogs of each session in the terminal, side by side, as they happen.
//!
//! **In**: the traced lines of sessions, from every worker; which clients and recipients are meant.
//! **Out**: rows on standard output, written by a thread of their own.
//! **Never**: keeps a session waiting: lines go through a bounded queue, and those that a slow terminal has no room for
//! are counted and said to be missing. Shows no content and no secret, for the trace has none. Costs nothing when it is
//! off, but for one look at whether it is on, at the end of a session.
//!
//! One process has one terminal: like the log, it is begun once and reached from everywhere.

mod page;
mod row;

#[cfg(test)]
mod tests;

use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anstream::AutoStream;
use clap::Args;
use ipnet::IpNet;

use crate::networks::Networks;
use crate::rules::Addresses;
use crate::session::io::{Peer, TraceSide};
use crate::smtp::SessionId;

use page::Page;

/// Lines that wait for the terminal.
const QUEUE: usize = 4096;

/// How long the end of the process waits for it.
const LAST: Duration = Duration::from_secs(1);

/// Which dialogs are shown, if any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Show {
    /// Print both dialogs of each session side by side, as they happen: the client's left, the hops' right
    #[arg(long)]
    show_dialogs: bool,
    /// Only the dialogs of clients in this network; may be given again
    #[arg(long, value_name = "CIDR", requires = "show_dialogs", value_parser = network)]
    client: Vec<IpNet>,
    /// Only the dialogs with a recipient like this, such as "*@example.com", from their begin; may be given again
    #[arg(long, value_name = "GLOB", requires = "show_dialogs", value_parser = recipient)]
    recipient: Vec<String>,
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>());
    network.map_err(|_| "expected an address or a network, such as 192.0.2.0/24".to_owned())
}

fn recipient(text: &str) -> Result<String, String> {
    Addresses::new(&[text.to_owned()]).map(|_| text.to_owned())
}

/// What workers say to the thread that writes.
#[derive(Debug)]
enum Said {
    Line(Line),
    /// The session is over.
    Over(SessionId, SystemTime),
    /// The process is.
    End,
}

/// A line of a dialog.
#[derive(Debug)]
struct Line {
    session: SessionId,
    client: IpAddr,
    time: SystemTime,
    peer: Peer,
    side: TraceSide,
    octets: Box<[u8]>,
}

struct Showing {
    /// Empty: all.
    clients: Networks,
    queue: SyncSender<Said>,
    /// Lines the queue had no room for.
    missed: AtomicU64,
}

static SHOWING: OnceLock<Showing> = OnceLock::new();

/// The thread that writes; to be told when the process ends.
#[derive(Debug)]
pub struct Writer(Receiver<()>);

/// Begins to show dialogs, if that is wanted.
///
/// # Errors
///
/// Where the thread cannot be had.
pub fn begin(show: &Show) -> io::Result<Option<Writer>> {
    if !show.show_dialogs {
        return Ok(None);
    }
    let recipients = match show.recipient.as_slice() {
        [] => None,
        // Each was tried when the option was read.
        patterns => Some(Addresses::new(patterns).map_err(io::Error::other)?),
    };
    let (queue, said) = sync_channel(QUEUE);
    let (done, over) = sync_channel::<()>(0);
    let showing =
        Showing { clients: show.client.iter().copied().collect(), queue, missed: AtomicU64::new(0) };
    if SHOWING.set(showing).is_ok() {
        thread::Builder::new().name("dialogs".to_owned()).spawn(move || {
            let mut page = Page::new(recipients, row::width);
            let out = BufWriter::new(AutoStream::auto(io::stdout()));
            if let Err(error) = write(&said, &mut page, out) {
                tracing::warn!(%error, "dialogs are shown no more: standard output");
            }
            drop(done);
        })?;
    }
    Ok(Some(Writer(over)))
}

impl Writer {
    /// Waits a moment for what is left to be written.
    pub fn finish(self) {
        let until = Instant::now() + LAST;
        if let Some(showing) = SHOWING.get() {
            while let Err(TrySendError::Full(_)) = showing.queue.try_send(Said::End)
                && Instant::now() < until
            {
                thread::sleep(Duration::from_millis(10));
            }
        }
        // Nothing is ever sent: the thread has ended, or the time is over.
        let ended = self.0.recv_timeout(until.saturating_duration_since(Instant::now()));
        if ended == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("dialogs: the last lines were not written, the terminal is too slow");
        }
    }
}

/// Whether dialogs are shown, so that sessions trace them.
pub fn is_on() -> bool {
    SHOWING.get().is_some()
}

/// A line of a dialog.
pub fn line(session: SessionId, client: IpAddr, peer: Peer, side: TraceSide, octets: Box<[u8]>) {
    if let Some(showing) = SHOWING.get().filter(|showing| showing.means(client)) {
        let line = Line { session, client, time: SystemTime::now(), peer, side, octets };
        showing.say(Said::Line(line));
    }
}

/// A session is over.
pub fn over(session: SessionId, client: IpAddr) {
    if let Some(showing) = SHOWING.get().filter(|showing| showing.means(client)) {
        showing.say(Said::Over(session, SystemTime::now()));
    }
}

impl Showing {
    fn means(&self, client: IpAddr) -> bool {
        self.clients.is_empty() || self.clients.contains(client)
    }

    fn say(&self, said: Said) {
        // Where nobody reads any more, because standard output is closed, there is nothing to miss.
        if let Err(TrySendError::Full(_)) = self.queue.try_send(said) {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes what is said until the end; what has come is seen before the next is waited for.
fn write(said: &Receiver<Said>, page: &mut Page, mut out: impl Write) -> io::Result<()> {
    loop {
        let next = match said.try_recv() {
            Err(TryRecvError::Empty) => {
                out.flush()?;
                said.recv().ok()
            }
            next => next.ok(),
        };
        let missed = SHOWING.get().map_or(0, |showing| showing.missed.swap(0, Ordering::Relaxed));
        if missed > 0 {
            page.missed(missed, &mut out)?;
        }
        match next {
            Some(Said::Line(line)) => page.line(line, &mut out)?,
            Some(Said::Over(session, time)) => page.over(session, time, &mut out)?,
            Some(Said::End) | None => return out.flush(),
        }
    }
}
