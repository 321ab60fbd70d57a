//! The bare relay: octets from one socket to another and nothing else. What no proxy can do with less.
//!
//! In:    a port to listen on, a port to connect to.
//! Out:   every octet, in order, each read written at once.
//! Never: parses, logs, counts, times out or limits anything. It is a process of its own, one thread, one epoll,
//!        edge-triggered, and stops when it is killed.
//!
//! It is the floor of the comparison: a peer that reads commands, asks rules and counts has all of this to do, too.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

const LISTENER: u64 = u64::MAX;

/// One end of a pair: its socket, and what the other end could not take yet.
struct End {
    socket: OwnedFd,
    unsent: Vec<u8>,
}

/// Serves until it is killed.
pub fn run(port: u16, to: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    rustix::net::listen(&listener, 4096)?;
    sockopt::set_tcp_nodelay(&listener, true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut relay =
        Relay { epoll, to: (Ipv4Addr::LOCALHOST, to).into(), pairs: Vec::new(), free: Vec::new() };
    let mut events = Vec::with_capacity(256);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        events.clear();
        match epoll::wait(&relay.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => relay.accept(&listener)?,
                key => relay.turn(key as usize / 2, key as usize % 2, event.flags, &mut buffer),
            }
        }
    }
}

struct Relay {
    epoll: OwnedFd,
    to: SocketAddr,
    pairs: Vec<Option<[End; 2]>>,
    free: Vec<usize>,
}

impl Relay {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Ok(client) = rustix::net::accept_with(listener, flags) {
            let hop = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
            sockopt::set_tcp_nodelay(&hop, true)?;
            match rustix::net::connect(&hop, &self.to) {
                Ok(()) | Err(Errno::INPROGRESS) => {}
                Err(error) => return Err(error.into()),
            }
            let place = self.free.pop().unwrap_or(self.pairs.len());
            let wanted = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            for (side, socket) in [&client, &hop].into_iter().enumerate() {
                let key = (2 * place + side) as u64;
                epoll::add(&self.epoll, socket, epoll::EventData::new_u64(key), wanted)?;
            }
            let pair = [client, hop].map(|socket| End { socket, unsent: Vec::new() });
            match self.pairs.get_mut(place) {
                Some(slot) => *slot = Some(pair),
                None => self.pairs.push(Some(pair)),
            }
        }
        Ok(())
    }

    /// Writes what the end could not take before, then reads it dry into the other. Either end's end is both ends'.
    fn turn(&mut self, place: usize, side: usize, flags: epoll::EventFlags, buffer: &mut [u8]) {
        let Some(pair) = self.pairs.get_mut(place).and_then(Option::as_mut) else { return };
        let mut open = true;
        if flags.contains(epoll::EventFlags::OUT) && !pair[side].unsent.is_empty() {
            open = pair[side].write_unsent() && pass(pair, 1 - side, buffer);
        }
        if open && flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            open = pass(pair, side, buffer);
        }
        if !open {
            self.pairs[place] = None;
            self.free.push(place);
        }
    }
}

impl End {
    /// Whether the connection stands.
    fn write_unsent(&mut self) -> bool {
        match rustix::net::send(&self.socket, &self.unsent, rustix::net::SendFlags::NOSIGNAL) {
            Ok(sent) => {
                self.unsent.drain(..sent);
                true
            }
            Err(error) => matches!(error, Errno::AGAIN | Errno::NOTCONN),
        }
    }
}

/// From one end to the other while the other takes it; whether both stand.
fn pass(pair: &mut [End; 2], from: usize, buffer: &mut [u8]) -> bool {
    while pair[1 - from].unsent.is_empty() {
        let read = match rustix::net::recv(&pair[from].socket, &mut *buffer, rustix::net::RecvFlags::empty())
        {
            Ok((0, _)) => return false,
            Ok((read, _)) => read,
            Err(error) => return error == Errno::AGAIN,
        };
        pair[1 - from].unsent.extend_from_slice(&buffer[..read]);
        if !pair[1 - from].write_unsent() {
            return false;
        }
        if read < buffer.len() {
            break;
        }
    }
    true
}
