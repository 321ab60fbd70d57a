//! The way of a line to standard error: through a bounded queue, to a thread of its own.
//!
//! In:    whole lines, from any thread.
//! Out:   the same lines, each in one piece; how many were lost, counted, and told in a line once that is possible.
//! Never: keeps whoever logs waiting, or fails it: a reader that stalls, a full disk and a closed pipe cost lines.
//!        Holds more than [`LINES`] lines or [`OCTETS`] octets.
//!
//! write(2). SIGPIPE is ignored by every Rust program, so that a closed pipe is an error like any other.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use super::{burst, cut, lists};
use crate::config::types::LogFormat;

/// Lines that wait to be written, at most.
const LINES: usize = 8192;
/// Their octets, at most; a line larger than that is let in where none waits.
const OCTETS: usize = 4 * 1024 * 1024;
/// How long the end of the process waits for them.
const LAST: Duration = Duration::from_secs(1);
/// How often what is owed is told, where no line comes that would do it.
const TICK: Duration = Duration::from_secs(1);

/// What the threads say to the one that writes.
enum Said {
    Line(Box<[u8]>),
    /// The process is over.
    End,
}

struct Queue {
    said: SyncSender<Said>,
    /// Of the lines that wait.
    octets: AtomicUsize,
    /// Lines that were lost since the process began.
    dropped: AtomicU64,
}

static QUEUE: OnceLock<Queue> = OnceLock::new();

thread_local! {
    /// Where the writing thread's own lines go: they have no queue to stand in.
    static OWN: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// The thread that writes; to be told when the process ends.
#[derive(Debug)]
pub struct Logging(Option<Receiver<()>>);

impl Logging {
    /// Waits a moment for what is left to be written.
    pub fn finish(self) {
        let Some(over) = self.0 else { return };
        let until = Instant::now() + LAST;
        let Some(queue) = QUEUE.get() else { return };
        while let Err(TrySendError::Full(_)) = queue.said.try_send(Said::End)
            && Instant::now() < until
        {
            thread::sleep(Duration::from_millis(10));
        }
        // Nothing is ever sent: the thread has ended, or the time is over. Then nobody is left to be told.
        let _ = over.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// Begins to write. A second call changes nothing.
///
/// # Errors
///
/// Where the thread cannot be had.
pub(super) fn begin(format: LogFormat) -> io::Result<Logging> {
    let (said, hears) = sync_channel(LINES);
    let queue = Queue { said, octets: AtomicUsize::new(0), dropped: AtomicU64::new(0) };
    if QUEUE.set(queue).is_err() {
        return Ok(Logging(None));
    }
    // Without the lock of `io::stderr()`, which others would wait for as long as a reader stalls.
    let out = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let (done, over) = sync_channel::<()>(0);
    thread::Builder::new().name("log".to_owned()).spawn(move || {
        Writer { out, format, torn: false, told: 0, last_told: None }.run(&hears);
        drop(done);
    })?;
    Ok(Logging(Some(over)))
}

/// How many lines were lost since the process began.
pub fn dropped() -> u64 {
    QUEUE.get().map_or(0, |queue| queue.dropped.load(Relaxed))
}

/// Puts a line in, with its line end, and returns whether there is a queue at all.
pub(super) fn put(line: &[u8]) -> bool {
    let keep = |own: &RefCell<Option<Vec<u8>>>| match &mut *own.borrow_mut() {
        Some(own) => {
            own.extend_from_slice(line);
            true
        }
        None => false,
    };
    // A thread that is ending has none any more.
    let own = OWN.try_with(keep).unwrap_or(false);
    let Some(queue) = QUEUE.get() else { return false };
    if !own {
        queue.put(line);
    }
    true
}

impl Queue {
    fn put(&self, line: &[u8]) {
        let waiting = self.octets.fetch_add(line.len(), Relaxed);
        let fits = waiting == 0 || waiting + line.len() <= OCTETS;
        if !fits || self.said.try_send(Said::Line(line.into())).is_err() {
            self.octets.fetch_sub(line.len(), Relaxed);
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// Where the formatter writes: each event comes as one piece.
#[derive(Debug)]
pub(super) struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Lines;

    fn make_writer(&self) -> Lines {
        Lines
    }
}

struct Writer<W> {
    out: W,
    format: LogFormat,
    /// A line broke off in its midst: the next one begins anew.
    torn: bool,
    /// Of the lines that were lost, so many are told of.
    told: u64,
    last_told: Option<Instant>,
}

impl<W: Write> Writer<W> {
    fn run(&mut self, hears: &Receiver<Said>) {
        OWN.set(Some(Vec::new()));
        let Some(queue) = QUEUE.get() else { return };
        loop {
            let next = hears.recv_timeout(TICK);
            burst::sum_up(Instant::now());
            self.own();
            self.owed(&queue.dropped, false);
            match next {
                Ok(Said::Line(line)) => {
                    queue.octets.fetch_sub(line.len(), Relaxed);
                    self.write(&line, &queue.dropped);
                }
                Ok(Said::End) | Err(RecvTimeoutError::Disconnected) => {
                    burst::end();
                    self.own();
                    return self.owed(&queue.dropped, true);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Writes what this thread itself has logged.
    fn own(&mut self) {
        let own = OWN.with_borrow_mut(|own| own.as_mut().map(std::mem::take)).unwrap_or_default();
        if let Some(queue) = QUEUE.get() {
            own.split_inclusive(|&octet| octet == b'\n').for_each(|line| self.write(line, &queue.dropped));
        }
    }

    /// Tells how many lines were lost, if any were and it is time. It is told once: what cannot be told stays owed.
    fn owed(&mut self, dropped: &AtomicU64, now: bool) {
        let lost = dropped.load(Relaxed) - self.told;
        if lost == 0 || (!now && self.last_told.is_some_and(|last| last.elapsed() < TICK)) {
            return;
        }
        self.last_told = Some(Instant::now());
        tracing::warn!(lines = lost, "log: lines were lost, because nobody took them");
        let line = OWN.with_borrow_mut(|own| own.as_mut().map(std::mem::take)).unwrap_or_default();
        // Below `warn` nobody wants to know.
        if line.is_empty() || self.out_with(&line).is_ok() {
            self.told += lost;
        }
    }

    /// Writes a line, or loses it.
    fn write(&mut self, line: &[u8], dropped: &AtomicU64) {
        let line = lists::unfold(line, self.format);
        if self.out_with(&cut::cut(&line, self.format)).is_err() {
            dropped.fetch_add(1, Relaxed);
        }
    }

    fn out_with(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.piece(b"\n")?;
            self.torn = false;
        }
        self.piece(line)
    }

    /// Writes all of it, or says that it could not; then a part may have been written.
    fn piece(&mut self, mut octets: &[u8]) -> io::Result<()> {
        let whole = octets.len();
        while !octets.is_empty() {
            match self.out.write(octets) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    octets = &octets[written..];
                    self.torn = whole > 1 && !octets.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever shares the pipe or terminal has made it so.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many octets, then none until it is emptied.
    struct Disk {
        holds: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let taken = octets.len().min(self.room - self.holds.len());
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.holds.extend_from_slice(&octets[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_breaks_off_does_not_spoil_the_next() {
        let dropped = AtomicU64::new(0);
        let out = Disk { holds: Vec::new(), room: 10 };
        let mut writer = Writer { out, format: LogFormat::Text, torn: false, told: 0, last_told: None };
        for line in ["first\n", "second\n", "third\n"] {
            writer.write(line.as_bytes(), &dropped);
        }
        assert_eq!((&*writer.out.holds, dropped.load(Relaxed)), (&b"first\nseco"[..], 2));
        writer.out.room = 100;
        writer.write(b"fourth\n", &dropped);
        assert_eq!((&*writer.out.holds, dropped.load(Relaxed)), (&b"first\nseco\nfourth\n"[..], 2));
    }

    #[test]
    fn what_waits_is_bounded_in_lines_and_in_octets() {
        let queue = |lines| {
            let (said, hears) = sync_channel(lines);
            (Queue { said, octets: AtomicUsize::new(0), dropped: AtomicU64::new(0) }, hears)
        };
        let (few, _hears) = queue(2);
        (0..5).for_each(|_| few.put(b"line\n"));
        assert_eq!((few.octets.load(Relaxed), few.dropped.load(Relaxed)), (10, 3));
        let (many, _hears) = queue(LINES);
        let large = vec![b'x'; OCTETS / 2];
        (0..4).for_each(|_| many.put(&large));
        assert_eq!((many.octets.load(Relaxed), many.dropped.load(Relaxed)), (OCTETS / 2 * 2, 2));
    }
}
