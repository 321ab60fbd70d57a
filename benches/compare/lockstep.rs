//! One client in lockstep: the time a peer adds to a command, and sessions that only wait.
//!
//! In:    an address to talk to.
//! Out:   how long each command took until its reply was in; sockets of idle sessions.
//! Never: sends a command before the reply to the last one is whole.
//!
//! Times are taken with everything pinned to one CPU (see `measure::Pinned`): then a command costs what
//! every process on its way costs, and the scheduler's choice of CPU adds nothing.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::source::ReplyScan;

/// One SMTP session, blocking.
pub struct Dialog {
    socket: TcpStream,
    scan: ReplyScan,
}

/// Microseconds, sorted: `NOOP` inside a transaction, and the first `MAIL` and `RCPT` of a session together.
#[derive(Default)]
pub struct Times {
    pub noop: Vec<f64>,
    pub envelope: Vec<f64>,
}

impl Dialog {
    /// Connects and takes the greeting.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut dialog = Self { socket, scan: ReplyScan::default() };
        dialog.reply()?;
        Ok(dialog)
    }

    /// Sends `octets` and waits for one whole reply.
    pub fn say(&mut self, octets: &[u8]) -> io::Result<()> {
        self.socket.write_all(octets)?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<()> {
        let mut input = [0; 2048];
        loop {
            match self.socket.read(&mut input)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count if self.scan.take(&input[..count])? > 0 => return Ok(()),
                _ => {}
            }
        }
    }
}

/// `sessions` fresh sessions one after the other, each with `noops` NOOPs.
pub fn time(address: SocketAddr, sessions: usize, noops: usize) -> io::Result<Times> {
    let mut times = Times::default();
    for _ in 0..sessions {
        let mut dialog = Dialog::connect(address)?;
        dialog.say(b"EHLO client.test\r\n")?;
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
/// a peer that connects to its hop no earlier.
pub fn idle(address: SocketAddr, count: usize, pair: bool) -> io::Result<Vec<Dialog>> {
    (0..count)
        .map(|_| {
            let mut dialog = Dialog::connect(address)?;
            dialog.say(b"EHLO client.test\r\n")?;
            if pair {
                dialog.say(b"MAIL FROM:<sender@client.test>\r\n")?;
                dialog.say(b"RCPT TO:<recipient@sink.test>\r\n")?;
                dialog.say(b"RSET\r\n")?;
            }
            Ok(dialog)
        })
        .collect()
}

fn microseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}
