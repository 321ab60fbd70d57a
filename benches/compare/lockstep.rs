//! One client in lockstep: the time a peer adds to a command, and sessions that only wait.
//!
//! In:    an address to talk to, and how to enter there.
//! Out:   how long each command took until its reply was in; sockets of idle sessions.
//! Never: sends a command before the reply to the last one is whole.
//!
//! Times are taken with everything pinned to one CPU (see `measure::Pinned`): then a command costs what
//! every process on its way costs, and the scheduler's choice of CPU adds nothing.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use crate::entry::{self, Entry};
use crate::source::ReplyScan;

/// One SMTP session, blocking.
pub struct Dialog {
    stream: Stream,
    scan: ReplyScan,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Microseconds, sorted: `NOOP` inside a transaction, and the first `MAIL` and `RCPT` of a session together.
#[derive(Default)]
pub struct Times {
    pub noop: Vec<f64>,
    pub envelope: Vec<f64>,
}

impl Dialog {
    /// Connects and goes through the entry's opening, EHLO included.
    pub fn connect((address, entry): (SocketAddr, Entry)) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut dialog = Self { stream: Stream::Plain(socket), scan: ReplyScan::default() };
        if entry.is_tls_at_once() {
            dialog.secure()?;
        }
        for step in entry.opening() {
            dialog.say(&step.send)?;
            if step.then_tls {
                dialog.secure()?;
            }
        }
        Ok(dialog)
    }

    /// Sends `octets` and waits for one whole reply.
    pub fn say(&mut self, octets: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.write_all(octets)?,
            Stream::Tls(stream) => {
                stream.write_all(octets)?;
                stream.flush()?;
            }
        }
        self.reply()
    }

    fn secure(&mut self) -> io::Result<()> {
        if let Stream::Plain(socket) = &self.stream {
            self.stream = Stream::Tls(Box::new(StreamOwned::new(entry::client()?, socket.try_clone()?)));
        }
        Ok(())
    }

    fn reply(&mut self) -> io::Result<()> {
        let mut input = [0; 2048];
        loop {
            let read = match &mut self.stream {
                Stream::Plain(socket) => socket.read(&mut input),
                Stream::Tls(stream) => stream.read(&mut input),
            };
            match read? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count if self.scan.take(&input[..count])? > 0 => return Ok(()),
                _ => {}
            }
        }
    }
}

/// `sessions` fresh sessions one after the other, each with `noops` NOOPs.
pub fn time(door: (SocketAddr, Entry), sessions: usize, noops: usize) -> io::Result<Times> {
    let mut times = Times::default();
    for _ in 0..sessions {
        let mut dialog = Dialog::connect(door)?;
        let start = Instant::now();
        dialog.say(b"MAIL FROM:<sender@client.test>\r\n")?;
        dialog.say(b"RCPT TO:<recipient@sink.test>\r\n")?;
        times.envelope.push(microseconds(start));
        // After RCPT every peer has its hop: nginx answers NOOP itself before that.
        for _ in 0..noops {
            let start = Instant::now();
            dialog.say(b"NOOP\r\n")?;
            times.noop.push(microseconds(start));
        }
        dialog.say(b"QUIT\r\n")?;
    }
    times.noop.sort_by(f64::total_cmp);
    times.envelope.sort_by(f64::total_cmp);
    Ok(times)
}

/// Opens `count` sessions that wait after EHLO. With `pair` they go on to a recipient and back (RSET), for
/// a peer that connects to its hop no earlier. Several are opened at once: nginx under TLS lets Nagle's algorithm
/// wait for a delayed ACK in each.
pub fn idle(door: (SocketAddr, Entry), count: usize, pair: bool) -> io::Result<Vec<Dialog>> {
    const AT_ONCE: usize = 20;
    let open = |share: usize| -> io::Result<Vec<Dialog>> {
        (share..count)
            .step_by(AT_ONCE)
            .map(|_| {
                let mut dialog = Dialog::connect(door)?;
                if pair {
                    dialog.say(b"MAIL FROM:<sender@client.test>\r\n")?;
                    dialog.say(b"RCPT TO:<recipient@sink.test>\r\n")?;
                    dialog.say(b"RSET\r\n")?;
                }
                Ok(dialog)
            })
            .collect()
    };
    let shares: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|share| scope.spawn(move || open(share))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it opens, or says why it cannot")).collect()
    });
    let mut all = Vec::with_capacity(count);
    for share in shares {
        all.extend(share?);
    }
    Ok(all)
}

fn microseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}
