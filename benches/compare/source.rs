//! The source: many SMTP clients on one thread, speaking one precomputed script.
//!
//! In:    where to connect, how many sessions at once, the script, when to stop.
//! Out:   how many messages and octets of content were accepted, and how long it took.
//! Never: allocates for a message, thinks about a reply beyond its class, or hides a refusal: the first
//!        reply that is not 2xx or 3xx ends the run with its text.
//!
//! Like the sink it must be much faster than every proxy: one epoll, edge-triggered, a write per step and
//! a read per group of replies.
//!
//! RFC 5321 4.2 (replies), RFC 2920 (a step of several commands is a pipelined group).

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::channel::Channel;
use crate::entry::{self, Entry};

/// A peer that moves nothing for so long is broken.
const STALLED: rustix::time::Timespec = rustix::time::Timespec { tv_sec: 15, tv_nsec: 0 };

/// The most that one write takes: clients write buffers, not whole messages.
const BUFFER: usize = 64 * 1024;

/// Octets sent in one go and how many replies they are owed.
pub struct Step {
    pub send: Vec<u8>,
    pub replies: u32,
    /// TLS begins once it is answered.
    pub then_tls: bool,
}

/// What every session says after its entry's opening.
pub struct Script {
    pub message: Vec<Step>,
    pub closing: Vec<Step>,
    /// Octets of content in one message, for the count.
    pub octets: u64,
    /// Whether a session sends message after message.
    pub kept: bool,
}

/// When no further message is begun: whichever comes first.
#[derive(Clone, Copy)]
pub struct Until {
    pub time: Duration,
    pub messages: u64,
}

/// What was sent and accepted.
#[derive(Clone, Copy)]
pub struct Sent {
    pub messages: u64,
    pub octets: u64,
    pub elapsed: Duration,
}

impl Step {
    pub fn new(text: &str, replies: u32) -> Self {
        Self { send: text.into(), replies, then_tls: false }
    }
}

/// Runs `script` against `target` in `at_once` sessions until `until`, and finishes what was begun.
pub fn run(
    (target, entry): (SocketAddr, Entry),
    at_once: usize,
    script: &Script,
    until: Until,
) -> io::Result<Sent> {
    let opening = entry.opening();
    let mut source = Source {
        target,
        entry,
        steps: opening.iter().chain(&script.message).chain(&script.closing).collect(),
        message: opening.len()..opening.len() + script.message.len(),
        kept: script.kept,
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        begun: 0,
        accepted: 0,
        budget: until.messages,
        stopping: false,
        records: vec![0; 16 * 1024],
        input: vec![0; 16 * 1024],
    };
    let start = Instant::now();
    let mut clients = Vec::with_capacity(at_once);
    for key in 0..at_once {
        clients.push(source.open(key)?);
    }
    let mut events = Vec::with_capacity(at_once);
    let mut open = clients.iter().filter(|client| client.is_some()).count();
    while open > 0 {
        events.clear();
        match epoll::wait(&source.epoll, rustix::buffer::spare_capacity(&mut events), Some(&STALLED)) {
            Ok(0) => return Err(io::Error::other("nothing moved for 15 s")),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        source.stopping |= start.elapsed() >= until.time;
        for event in &events {
            let key = event.data.u64() as usize;
            let Some(client) = clients[key].as_mut() else { continue };
            if !source.turn(client, event.flags)? {
                // Closed before the next one opens, so that descriptors and sessions stay bounded.
                if let Some(client) = clients[key].take() {
                    client.channel.close();
                }
                clients[key] = source.open(key)?;
                open -= usize::from(clients[key].is_none());
            }
        }
    }
    let elapsed = start.elapsed();
    Ok(Sent { messages: source.accepted, octets: source.accepted * script.octets, elapsed })
}

struct Source<'a> {
    target: SocketAddr,
    entry: Entry,
    steps: Vec<&'a Step>,
    /// Which of the steps make a message.
    message: std::ops::Range<usize>,
    kept: bool,
    epoll: OwnedFd,
    begun: u64,
    accepted: u64,
    budget: u64,
    stopping: bool,
    records: Vec<u8>,
    input: Vec<u8>,
}

struct Client {
    channel: Channel,
    key: usize,
    step: usize,
    sent: usize,
    owed: u32,
    reply: ReplyScan,
    watches_output: bool,
}

impl Source<'_> {
    /// A new session, unless enough messages were begun.
    fn open(&mut self, key: usize) -> io::Result<Option<Client>> {
        if !self.begin() {
            return Ok(None);
        }
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        match rustix::net::connect(&socket, &self.target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let mut channel = Channel::new(socket);
        let mut interest = epoll::EventFlags::IN | epoll::EventFlags::ET;
        if self.entry.is_tls_at_once() {
            channel.secure(entry::client()?);
        }
        // A handshake may have to wait for the socket at any time.
        let watches_output = self.entry != Entry::Plain;
        interest.set(epoll::EventFlags::OUT, watches_output);
        epoll::add(&self.epoll, &channel, epoll::EventData::new_u64(key as u64), interest)?;
        let owed = self.steps[0].replies;
        Ok(Some(Client { channel, key, step: 0, sent: 0, owed, reply: ReplyScan::default(), watches_output }))
    }

    fn begin(&mut self) -> bool {
        if self.stopping || self.begun >= self.budget {
            return false;
        }
        self.begun += 1;
        true
    }

    /// Everything one readiness event allows. False when the session is over.
    fn turn(&mut self, client: &mut Client, ready: epoll::EventFlags) -> io::Result<bool> {
        client.channel.flush()?;
        if client.sent < self.steps[client.step].send.len() {
            self.write(client)?;
        }
        if !ready.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            return Ok(true);
        }
        let count = match client.channel.read(&mut self.records, &mut self.input) {
            Ok(0) => return Err(io::Error::other(format!("closed early, at step {}", client.step))),
            Ok(count) => count,
            Err(error) if is_for_later(&error) => return Ok(true),
            Err(error) => return Err(error),
        };
        let finished = client.reply.take(&self.input[..count])?;
        let Some(owed) = client.owed.checked_sub(finished) else {
            return Err(io::Error::other(format!("more replies than commands, at step {}", client.step)));
        };
        client.owed = owed;
        if owed > 0 {
            return Ok(true);
        }
        if client.sent < self.steps[client.step].send.len() {
            return Err(io::Error::other("answered before everything was sent"));
        }
        self.next(client)
    }

    fn next(&mut self, client: &mut Client) -> io::Result<bool> {
        if self.steps[client.step].then_tls {
            client.channel.secure(entry::client()?);
        }
        client.step += 1;
        if client.step == self.message.end {
            self.accepted += 1;
            if self.kept && self.begin() {
                client.step = self.message.start;
            }
        }
        let Some(step) = self.steps.get(client.step) else { return Ok(false) };
        client.sent = 0;
        client.owed = step.replies;
        self.write(client)?;
        Ok(true)
    }

    fn write(&self, client: &mut Client) -> io::Result<()> {
        let octets = &self.steps[client.step].send;
        while client.sent < octets.len() {
            let buffer = &octets[client.sent..octets.len().min(client.sent + BUFFER)];
            match client.channel.write(buffer) {
                Ok(count) => client.sent += count,
                Err(error) if !is_for_later(&error) => return Err(error),
                Err(_) if client.watches_output => return Ok(()),
                Err(_) => {
                    // Only large messages get here: watching from the start would cost every session.
                    let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
                    let data = epoll::EventData::new_u64(client.key as u64);
                    epoll::modify(&self.epoll, &client.channel, data, interest)?;
                    client.watches_output = true;
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn is_for_later(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Counts whole replies over any split. RFC 5321 4.2.1: the last line of a reply has no hyphen.
#[derive(Default)]
pub struct ReplyScan {
    column: usize,
    last: bool,
}

impl ReplyScan {
    /// How many replies end in `input`; an error with the text for one that refuses.
    pub fn take(&mut self, input: &[u8]) -> io::Result<u32> {
        let mut finished = 0;
        for octet in input {
            match (self.column, *octet) {
                (_, b'\n') => {
                    finished += u32::from(self.last);
                    self.column = 0;
                    continue;
                }
                (0, b'2' | b'3') => self.last = true,
                (0, _) => return Err(io::Error::other(format!("refused: {}", input.escape_ascii()))),
                (3, b'-') => self.last = false,
                _ => {}
            }
            self.column += 1;
        }
        Ok(finished)
    }
}
