//! Where a message is kept while it is asked about: in memory, and from a size on in a file without a name.
//!
//! In:    its octets, as they arrive; then what is wanted back, as a [`Rope`].
//! Out:   the [`Message`] when all of it is kept; [`Kept`], to read any part of it; the rope's octets, piece by piece.
//! Never: blocks the worker for a disk: whatever a file has to do with is done elsewhere, one thing at a time; takes more
//!        while that goes on than it has room for; leaves a file behind, whatever ends it.

mod kept;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::task::{JoinHandle, spawn_blocking};

pub use self::kept::Kept;
use crate::message::{Message, Rope, Scan, Strand};

/// Octets that are read back at once.
const PIECE: u64 = 64 << 10;

/// One message.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    /// Octets that are kept in memory.
    memory: usize,
    scan: Option<Scan>,
    /// What is not in the file: all of it, where there is none.
    tail: Vec<u8>,
    file: Option<Arc<File>>,
    /// Octets that are in the file.
    written: u64,
    writing: Option<JoinHandle<io::Result<Arc<File>>>>,
    ending: bool,
    kept: Option<Kept>,
    pouring: Option<Pouring>,
}

/// What is read back.
#[derive(Debug)]
struct Pouring {
    /// What is still to come; the last of it first.
    rope: Rope,
    piece: Vec<u8>,
    /// Octets of it that were taken.
    taken: usize,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl Spool {
    /// One of which nothing is here yet. `memory`: octets of it that are not given to a file in `folder`.
    pub fn new(folder: PathBuf, memory: usize, scan: Scan) -> Spool {
        Spool {
            folder,
            memory,
            scan: Some(scan),
            tail: Vec::new(),
            file: None,
            written: 0,
            writing: None,
            ending: false,
            kept: None,
            pouring: None,
        }
    }

    /// Whether more can be taken now.
    pub fn has_room(&self) -> bool {
        self.writing.is_none() || self.tail.len() < self.memory
    }

    /// Takes octets.
    pub fn take<'a>(&mut self, octets: impl Iterator<Item = &'a [u8]>) {
        for octets in octets {
            if let Some(scan) = &mut self.scan {
                scan.take(octets);
            }
            self.tail.extend_from_slice(octets);
        }
    }

    /// Nothing follows.
    pub fn end(&mut self) {
        self.ending = true;
    }

    /// Goes on with what a file has to do with. Ready: all of the message is kept, once, or it cannot be.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Arc<Message>>> {
        loop {
            if let Some(writing) = &mut self.writing {
                let file = ready!(Pin::new(writing).poll(cx));
                self.writing = None;
                self.file = Some(file.map_err(io::Error::other).flatten()?);
            }
            let over = self.tail.len() > self.memory;
            if over || (self.ending && self.file.is_some() && !self.tail.is_empty()) {
                self.write();
            } else if self.ending
                && let Some(scan) = self.scan.take()
            {
                self.kept = Some(match self.file.take() {
                    Some(file) => Kept::of_file(file),
                    None => Kept::of_memory(std::mem::take(&mut self.tail)),
                });
                return Poll::Ready(Ok(Arc::new(scan.finish())));
            } else {
                return Poll::Pending;
            }
        }
    }

    fn write(&mut self) {
        let (tail, at) = (std::mem::take(&mut self.tail), self.written);
        self.written += tail.len() as u64;
        let (file, folder) = (self.file.take(), self.folder.clone());
        self.writing = Some(spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(tempfile::tempfile_in(folder)?),
            };
            file.write_all_at(&tail, at)?;
            Ok(file)
        }));
    }

    /// What reads any part of it, once all is kept.
    pub fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// This is wanted back; [`Spool::poll_piece`] has it.
    pub fn pour(&mut self, mut rope: Rope) {
        rope.reverse();
        self.pouring = Some(Pouring { rope, piece: Vec::new(), taken: 0, reading: None });
    }

    /// What is wanted back and not taken, as far as it is here. Ready with nothing: that was all.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let (Some(pouring), Some(kept)) = (&mut self.pouring, &self.kept) else {
            return Poll::Ready(Ok(&[]));
        };
        if pouring.taken < pouring.piece.len() {
            return Poll::Ready(Ok(&pouring.piece[pouring.taken..]));
        }
        if pouring.taken > 0 {
            pouring.piece.clear();
            pouring.taken = 0;
        }
        // As much at once as there is: a hop is told of each piece that comes in chunks.
        while (pouring.piece.len() as u64) < PIECE {
            if let Some(reading) = &mut pouring.reading {
                let read = ready!(Pin::new(reading).poll(cx));
                pouring.reading = None;
                pouring.piece.extend_from_slice(&read.map_err(io::Error::other).flatten()?);
                continue;
            }
            match pouring.rope.pop() {
                None => break,
                Some(Strand::Put(octets)) => pouring.piece.extend_from_slice(&octets),
                Some(Strand::Spool(range)) => {
                    let end = range.end.min(range.start + PIECE);
                    if end < range.end {
                        pouring.rope.push(Strand::Spool(end..range.end));
                    }
                    match kept.read_now(range.start..end) {
                        Ok(octets) => pouring.piece.extend_from_slice(&octets?),
                        Err(reading) => pouring.reading = Some(spawn_blocking(reading)),
                    }
                }
            }
        }
        Poll::Ready(Ok(&pouring.piece))
    }

    /// So many octets of it were taken.
    pub fn taken(&mut self, octets: usize) {
        if let Some(pouring) = &mut self.pouring {
            pouring.taken += octets;
        }
    }
}

#[cfg(test)]
mod tests;
