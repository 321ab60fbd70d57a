//! The sink: the SMTP server behind every peer, and nginx's answer to "who may go where".
//!
//! In:    connections of the proxies (SMTP), and of nginx's `auth_http` (HTTP/1.0).
//! Out:   replies, one write per group of commands read; the counts of what came.
//! Never: keeps a message, allocates for one, or takes anything but CRLF.CRLF (or the last octet of a
//!        `BDAT … LAST`) for the end of content.
//!
//! One thread, one epoll, one buffer. It must be much faster than every proxy, or it is the sink that is
//! measured; the `direct` column shows how much faster it is. Its thread lives as long as the process.
//!
//! RFC 5321 4.1.1, RFC 2920 3.2 (replies of a group in one write), RFC 3030 2 (BDAT).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use memchr::{memchr, memmem};
use rustix::event::epoll;
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::SocketFlags;

const GREETING: &[u8] = b"220 sink.test ESMTP\r\n";
const KEYWORDS: &[u8] = b"250-sink.test\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 ENHANCEDSTATUSCODES\r\n";
const END_OF_DATA: &[u8] = b"\r\n.\r\n";
const LONGEST_LINE: usize = 4096;
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

#[derive(Default)]
struct Counts {
    messages: AtomicU64,
    octets: AtomicU64,
    faults: AtomicU64,
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

struct Session {
    socket: OwnedFd,
    expects: Expects,
    /// The beginning of a line whose end has not been read yet.
    rest: Vec<u8>,
}

/// What the next octet belongs to.
enum Expects {
    Command,
    Content { matched: usize, octets: u64 },
    Chunk { left: u64, octets: u64, last: bool },
    Request,
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
            let session = Some(Session { socket, expects, rest: Vec::new() });
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
                if !matches!(session.expects, Expects::Command | Expects::Request) {
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

impl Session {
    /// Says whether the session stays open.
    fn take(
        &mut self,
        mut input: &[u8],
        replies: &mut Vec<u8>,
        finder: &memmem::Finder,
        answer: &[u8],
        counts: &Counts,
    ) -> bool {
        while !input.is_empty() {
            match &mut self.expects {
                Expects::Command => {
                    let Some(end) = memchr(b'\n', input) else {
                        self.rest.extend_from_slice(input);
                        return self.rest.len() <= LONGEST_LINE;
                    };
                    let (line, after) = input.split_at(end + 1);
                    input = after;
                    let open = if self.rest.is_empty() {
                        self.command(line, replies, counts)
                    } else {
                        let mut whole = std::mem::take(&mut self.rest);
                        whole.extend_from_slice(line);
                        self.command(&whole, replies, counts)
                    };
                    if !open {
                        return false;
                    }
                }
                Expects::Content { matched, octets } => {
                    let Some(end) = end_of_data(matched, input, finder) else {
                        *octets += input.len() as u64;
                        return true;
                    };
                    // The line with the dot is not content; the CRLF before it is.
                    let content = *octets + end as u64 - 3;
                    input = &input[end..];
                    self.accepted(content, replies, counts);
                }
                Expects::Chunk { left, octets, last } => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *left -= taken as u64;
                    *octets += taken as u64;
                    input = &input[taken..];
                    if *left == 0 {
                        let (content, last) = (*octets, *last);
                        self.chunk_done(content, last, replies, counts);
                    }
                }
                Expects::Request => {
                    self.rest.extend_from_slice(input);
                    if self.rest.ends_with(b"\r\n\r\n") {
                        replies.extend_from_slice(answer);
                        return false;
                    }
                    return self.rest.len() <= LONGEST_LINE;
                }
            }
        }
        true
    }

    fn command(&mut self, line: &[u8], replies: &mut Vec<u8>, counts: &Counts) -> bool {
        let mut verb = [0; 4];
        let known = line.len().min(4);
        verb[..known].copy_from_slice(&line[..known]);
        verb.make_ascii_uppercase();
        let reply: &[u8] = match &verb {
            b"EHLO" => KEYWORDS,
            b"HELO" => b"250 sink.test\r\n",
            b"MAIL" => b"250 2.1.0 Sender ok\r\n",
            b"RCPT" => b"250 2.1.5 Recipient ok\r\n",
            b"DATA" => {
                // A dot may follow at once: the CRLF of DATA's own line counts as the beginning.
                self.expects = Expects::Content { matched: 2, octets: 0 };
                b"354 Go ahead\r\n"
            }
            b"BDAT" => return self.chunk(line, replies, counts),
            b"RSET" | b"NOOP" => b"250 2.0.0 Ok\r\n",
            b"QUIT" => b"221 2.0.0 Bye\r\n",
            _ => {
                counts.faults.fetch_add(1, Ordering::Release);
                b"500 5.5.2 Unknown command\r\n"
            }
        };
        replies.extend_from_slice(reply);
        &verb != b"QUIT"
    }

    fn chunk(&mut self, line: &[u8], replies: &mut Vec<u8>, counts: &Counts) -> bool {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split_ascii_whitespace().skip(1);
        let Some(size) = words.next().and_then(|size| size.parse().ok()) else {
            counts.faults.fetch_add(1, Ordering::Release);
            return false;
        };
        let last = words.next().is_some_and(|word| word.eq_ignore_ascii_case("LAST"));
        // The octets of earlier chunks are counted as they come: only the last one makes a message.
        if size == 0 {
            self.chunk_done(0, last, replies, counts);
        } else {
            self.expects = Expects::Chunk { left: size, octets: 0, last };
        }
        true
    }

    fn chunk_done(&mut self, octets: u64, last: bool, replies: &mut Vec<u8>, counts: &Counts) {
        if last {
            return self.accepted(octets, replies, counts);
        }
        counts.octets.fetch_add(octets, Ordering::Release);
        self.expects = Expects::Command;
        replies.extend_from_slice(b"250 2.0.0 Chunk ok\r\n");
    }

    fn accepted(&mut self, octets: u64, replies: &mut Vec<u8>, counts: &Counts) {
        counts.messages.fetch_add(1, Ordering::Release);
        counts.octets.fetch_add(octets, Ordering::Release);
        self.expects = Expects::Command;
        replies.extend_from_slice(b"250 2.0.0 Message accepted\r\n");
    }
}

/// How many octets of `input` belong to the content, its end included; `None` when it goes on. `matched`
/// is how much of the end had been seen before `input`, whatever the split.
fn end_of_data(matched: &mut usize, input: &[u8], finder: &memmem::Finder) -> Option<usize> {
    let mut at = 0;
    while *matched > 0 && at < input.len() {
        *matched = step(*matched, input[at]);
        at += 1;
        if *matched == END_OF_DATA.len() {
            return Some(at);
        }
    }
    let rest = &input[at..];
    if let Some(found) = finder.find(rest) {
        return Some(at + found + END_OF_DATA.len());
    }
    let tail = &rest[rest.len().saturating_sub(END_OF_DATA.len() - 1)..];
    *matched = tail.iter().fold(*matched, |matched, octet| step(matched, *octet));
    None
}

fn step(matched: usize, octet: u8) -> usize {
    if octet == END_OF_DATA[matched] { matched + 1 } else { usize::from(octet == b'\r') }
}

fn listen() -> io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket_with, sockopt};
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    // Accepted sockets inherit it (tcp(7) does not say so; Linux does it), which saves a call per session.
    sockopt::set_tcp_nodelay(&socket, true)?;
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    listen(&socket, 4096)?;
    Ok(TcpListener::from(socket))
}
