//! The sink: the SMTP server behind every peer, and nginx's answer to "who may go where".
//!
//! In:    connections of the proxies (SMTP), and of nginx's `auth_http` (HTTP/1.0).
//! Out:   replies, one write per group of commands read; the counts of what came.
//! Never: keeps a message, allocates for one, or writes more than once a turn.
//!
//! One thread, one epoll, one buffer. It must be much faster than every proxy, or it is the sink that is
//! measured; the `direct` column shows how much faster it is. Its thread lives as long as the process.
//!
//! RFC 2920 3.2 (replies of a group in one write). What is said in a session: `receive`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use memchr::memmem;
use rustix::event::epoll;
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::SocketFlags;

use crate::peers::free_port;
use crate::receive::{Counts, END_OF_DATA, Expects, Session};

const GREETING: &[u8] = b"220 sink.test ESMTP\r\n";
const ON_SMTP: u64 = u64::MAX;
const ON_AUTH: u64 = u64::MAX - 1;

/// Where the sink listens, and what it has counted.
pub struct Sink {
    pub smtp_port: u16,
    pub auth_port: u16,
    counts: Arc<Counts>,
}

/// What the sink has taken so far: messages, octets of their content as sent (dots doubled, without the
/// line that ends them), and faults (an unknown command, content that never ended).
#[derive(Clone, Copy)]
pub struct Tally {
    pub messages: u64,
    pub octets: u64,
    pub faults: u64,
}

impl Sink {
    /// Listens on two free ports of loopback and serves them from a thread of its own.
    pub fn start() -> io::Result<Self> {
        let smtp = listen()?;
        let auth = listen()?;
        let smtp_port = smtp.local_addr()?.port();
        let auth_port = auth.local_addr()?.port();
        let counts = Arc::new(Counts::default());
        let answer = format!(
            "HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: 127.0.0.1\r\nAuth-Port: {smtp_port}\r\n\r\n"
        );
        let mut server = Server {
            smtp,
            auth,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            sessions: Vec::new(),
            free: Vec::new(),
            answer: answer.into_bytes(),
            counts: Arc::clone(&counts),
        };
        thread::Builder::new().name("sink".into()).spawn(move || {
            if let Err(error) = server.serve() {
                eprintln!("the sink broke: {error}");
                server.counts.faults.fetch_add(1, Ordering::Relaxed);
            }
        })?;
        Ok(Self { smtp_port, auth_port, counts })
    }

    /// Everything counted since the start.
    pub fn tally(&self) -> Tally {
        Tally {
            messages: self.counts.messages.load(Ordering::Acquire),
            octets: self.counts.octets.load(Ordering::Acquire),
            faults: self.counts.faults.load(Ordering::Acquire),
        }
    }
}

struct Server {
    smtp: TcpListener,
    auth: TcpListener,
    epoll: OwnedFd,
    sessions: Vec<Option<Session>>,
    free: Vec<usize>,
    answer: Vec<u8>,
    counts: Arc<Counts>,
}

impl Server {
    fn serve(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(1024);
        let mut input = vec![0; 256 * 1024];
        let mut replies = Vec::with_capacity(4096);
        let finder = memmem::Finder::new(END_OF_DATA);
        epoll::add(&self.epoll, &self.smtp, epoll::EventData::new_u64(ON_SMTP), epoll::EventFlags::IN)?;
        epoll::add(&self.epoll, &self.auth, epoll::EventData::new_u64(ON_AUTH), epoll::EventFlags::IN)?;
        loop {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    ON_SMTP => self.accept(false)?,
                    ON_AUTH => self.accept(true)?,
                    key => self.turn(key as usize, &mut input, &mut replies, &finder),
                }
            }
        }
    }

    fn accept(&mut self, auth: bool) -> io::Result<()> {
        let listener = if auth { self.auth.as_fd() } else { self.smtp.as_fd() };
        while let Ok(socket) =
            rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
        {
            let expects = if auth { Expects::Request } else { Expects::Command };
            // A peer that is gone already shows as an end of input.
            if !auth {
                let _ = rustix::io::write(&socket, GREETING);
            }
            let key = self.free.pop().unwrap_or(self.sessions.len());
            let data = epoll::EventData::new_u64(key as u64);
            epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
            let session = Some(Session::new(socket, expects));
            match self.sessions.get_mut(key) {
                Some(slot) => *slot = session,
                None => self.sessions.push(session),
            }
        }
        Ok(())
    }

    /// One read, everything in it, one write.
    fn turn(&mut self, key: usize, input: &mut [u8], replies: &mut Vec<u8>, finder: &memmem::Finder) {
        let Some(session) = self.sessions.get_mut(key).and_then(Option::as_mut) else { return };
        let open = match rustix::io::read(&session.socket, &mut *input) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            Ok(0) | Err(_) => {
                if session.in_content() {
                    self.counts.faults.fetch_add(1, Ordering::Release);
                }
                false
            }
            Ok(count) => {
                replies.clear();
                let open = session.take(&input[..count], replies, finder, &self.answer, &self.counts);
                let wrote =
                    replies.is_empty() || rustix::io::write(&session.socket, replies) == Ok(replies.len());
                open && wrote
            }
        };
        if !open {
            self.sessions[key] = None;
            self.free.push(key);
        }
    }
}

fn listen() -> io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket_with, sockopt};
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    // Accepted sockets inherit it (tcp(7) does not say so; Linux does it), which saves a call per session.
    sockopt::set_tcp_nodelay(&socket, true)?;
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)))?;
    listen(&socket, 4096)?;
    Ok(TcpListener::from(socket))
}
