//! The connection to a filter: packets out, packets in.
//!
//! **In**: packets for the filter. **Out**: what it says to those that it answers.
//! **Never**: takes for an answer what was said before anybody asked; ends a connection in the midst of a packet as if it were
//! between two.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{SendFlags, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::coop::consume_budget;

use super::frame::{self, Frame, put};
use super::options::Options;
use super::said::Said;
use crate::callout::kept::{Heard, heard};
use crate::callout::place::Connection;
use crate::session::callout::{Fault, FaultKind};

/// Octets that gather before they are written.
const GATHERED: usize = 64 << 10;
/// Octets of one packet of a filter's: rspamd gives another body back in one.
const LONGEST: usize = super::BODY + 1;
/// How often a filter may say that it is at work while one answer is waited for.
const PROGRESS: usize = 10_000;

/// A connection.
pub(super) struct Wire {
    connection: Connection,
    /// What was heard; the packets before this place are read.
    unread: Vec<u8>,
    at: usize,
    unsaid: Vec<u8>,
    /// Something was heard since the question began.
    heard: bool,
    /// A question is under way.
    amid: bool,
}

impl Wire {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, unread: Vec::new(), at: 0, unsaid: Vec::new(), heard: false, amid: true }
    }

    /// A question begins.
    pub(super) fn begins(&mut self) {
        (self.heard, self.amid) = (false, true);
    }

    /// It is over, and all of it is written.
    pub(super) async fn ends(&mut self) -> Result<(), Fault> {
        self.flush().await?;
        if self.has_unread() {
            return Err(Fault::new(FaultKind::Malformed, "more was said than was asked for"));
        }
        // What is idle holds no buffer.
        (self.unread, self.at, self.unsaid) = (Vec::new(), 0, Vec::new());
        self.amid = false;
        Ok(())
    }

    /// Whether anything was heard since the question began.
    pub(super) fn has_heard(&self) -> bool {
        self.heard
    }

    /// A packet that is written with those behind it.
    pub(super) fn put(&mut self, code: u8, parts: &[&[u8]]) {
        put(&mut self.unsaid, code, parts);
    }

    /// Writes what has gathered, if that is much.
    pub(super) async fn relieve(&mut self) -> Result<(), Fault> {
        if self.unsaid.len() >= GATHERED { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        let written = self.connection.write_all(&self.unsaid).await;
        self.unsaid.clear();
        written.map_err(|_| Fault::new(FaultKind::Lost, "closed while it was told something"))
    }

    /// What it says to what was put last, and not before that.
    pub(super) async fn answer(&mut self, options: &Options) -> Result<Said, Fault> {
        if self.has_unread() || heard(&self.connection) == Heard::Octets {
            return Err(Fault::new(FaultKind::Malformed, "something was said unasked"));
        }
        self.said(options).await
    }

    /// The next thing it says, but that it is at work.
    pub(super) async fn said(&mut self, options: &Options) -> Result<Said, Fault> {
        for _ in 0..PROGRESS {
            let said = self.packet(|frame| Said::read(frame, options)).await?;
            if said != Said::Progress {
                return Ok(said);
            }
        }
        Err(Fault::new(FaultKind::Malformed, format!("said {PROGRESS} times that it is at work")))
    }

    /// The next packet, read.
    pub(super) async fn packet<T>(
        &mut self,
        read: impl Fn(Frame<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.flush().await?;
        // Of many that are there already each would be read at once: others are served meanwhile.
        consume_budget().await;
        loop {
            if let Some((frame, length)) = frame::first(&self.unread[self.at..], LONGEST)? {
                let read = read(frame)?;
                self.at += length;
                return Ok(read);
            }
            // Once for all that were read, however many and small: what is left is moved, and that is a part of one.
            self.unread.drain(..std::mem::take(&mut self.at));
            if self.connection.read_buf(&mut self.unread).await.unwrap_or_default() == 0 {
                let whole = self.unread.is_empty();
                let what =
                    if whole { "closed without an answer" } else { "closed in the midst of an answer" };
                return Err(Fault::new(FaultKind::Lost, what));
            }
            self.heard = true;
        }
    }

    fn has_unread(&self) -> bool {
        self.at < self.unread.len()
    }

    /// Says a packet that nobody answers, between two questions, without waiting; whether that was possible.
    pub(super) fn say_now(&self, code: u8) -> bool {
        let mut packet = Vec::with_capacity(5);
        put(&mut packet, code, &[]);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        !self.amid && send(&self.connection, &packet, flags).is_ok_and(|sent| sent == packet.len())
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}
