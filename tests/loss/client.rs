//! A client that sends its messages one after the other, each until it is told 250.
//!
//! In:    the listener, how many messages, a generator: how long they are, by DATA or BDAT, pipelined or not.
//! Out:   what it sent, with the sum of the octets, and how often it had to try again and why.
//! Never: sends a message again that it was told 250 for, or gives one up.
//!
//! RFC 5321 4.5.4.1 (sending again), RFC 2920 (groups), RFC 3030 (BDAT).

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::rng::{Rng, hash};

/// What a client has to say in the end.
#[derive(Debug, Default)]
pub struct Told {
    /// Each message it was told 250 for: its name, its length and sum.
    pub accepted: Vec<(String, usize, u64)>,
    /// Refused for the time being, told to go, left without a word.
    pub deferred: usize,
    pub closing: usize,
    pub gone: usize,
}

/// Why a transaction came to nothing.
enum Failure {
    /// This code, and the session goes on.
    Reply(u16),
    /// The connection is gone.
    Gone,
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

/// Sends so many messages; stops short at the deadline, so that the account shows it.
pub fn send_all(
    listener: SocketAddr,
    number: usize,
    messages: usize,
    mut rng: Rng,
    deadline: Instant,
) -> Told {
    let mut told = Told::default();
    let mut session = None;
    for message in 0..messages {
        let id = format!("m{number}-{message}");
        let content = content(&id, &mut rng);
        while Instant::now() < deadline {
            let manner = Manner { chunks: rng.percent(30), pipelined: rng.percent(50) };
            match attempt(&mut session, listener, &id, &content, manner) {
                Ok(()) => {
                    told.accepted.push((id, content.len(), hash(0, &[&content])));
                    break;
                }
                Err(Failure::Reply(421)) => told.closing += 1,
                Err(Failure::Reply(_)) => told.deferred += 1,
                Err(Failure::Gone) => told.gone += 1,
            }
        }
    }
    if let Some(mut session) = session {
        // Whether it hears the 221 is nobody's concern any more.
        let _ = session.ask("QUIT");
    }
    told
}

/// How a message is said.
#[derive(Clone, Copy)]
struct Manner {
    chunks: bool,
    pipelined: bool,
}

/// One try, in the session that is open or in a new one. The session is kept if it can still be used.
fn attempt(
    session: &mut Option<Session>,
    listener: SocketAddr,
    id: &str,
    content: &[u8],
    manner: Manner,
) -> Result<(), Failure> {
    let mut open = match session.take() {
        Some(open) => open,
        None => Session::open(listener)?,
    };
    let outcome = open.transaction(id, content, manner);
    match outcome {
        Err(Failure::Gone | Failure::Reply(421)) => {}
        Err(_) if open.ask("RSET").is_err() => {}
        _ => *session = Some(open),
    }
    outcome
}

/// A message of that name: mostly short, now and then long, with dots at the beginning of some lines.
fn content(id: &str, rng: &mut Rng) -> Vec<u8> {
    let lines = if rng.percent(2) { 200 + rng.below(600) } else { rng.below(30) };
    let mut content = format!("Subject: {id}\r\n\r\n").into_bytes();
    for line in 0..lines {
        let dots = ["", "", "", ".", ".."][rng.below(5)];
        content
            .extend(format!("{dots}line {line} of {id}: {:016x}{:016x}\r\n", rng.next(), rng.next()).bytes());
    }
    content
}

struct Session {
    reader: BufReader<TcpStream>,
}

impl Session {
    fn open(listener: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(listener)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        let mut session = Self { reader: BufReader::new(stream) };
        session.positive(2)?;
        session.ask("EHLO client.example")?;
        Ok(session)
    }

    fn transaction(&mut self, id: &str, content: &[u8], manner: Manner) -> Result<(), Failure> {
        let mut commands =
            vec!["MAIL FROM:<sender@client.example>".to_owned(), format!("RCPT TO:<{id}@a.example>")];
        if !manner.chunks {
            commands.push("DATA".to_owned());
        }
        if manner.pipelined {
            self.say(format!("{}\r\n", commands.join("\r\n")).as_bytes())?;
        }
        let mut refusal = None;
        for command in &commands {
            if !manner.pipelined {
                self.say(format!("{command}\r\n").as_bytes())?;
            }
            let class = if command == "DATA" { 3 } else { 2 };
            match self.positive(class) {
                // In a group the other replies come all the same.
                Err(Failure::Reply(code)) if manner.pipelined && code != 421 => {
                    refusal = refusal.or(Some(code));
                }
                // Without an accepted recipient content is an empty affair, but has to be ended (RFC 2920 3.1).
                Ok(()) if class == 3 && refusal.is_some() => {
                    self.say(b".\r\n")?;
                    self.positive(2)?;
                }
                heard => heard?,
            }
        }
        match refusal {
            Some(code) => Err(Failure::Reply(code)),
            None if manner.chunks => self.in_chunks(content, manner),
            None => {
                self.say(&stuffed(content))?;
                self.positive(2)
            }
        }
    }

    /// Two chunks. A refused one ends the transaction; what was said behind it is answered, too.
    fn in_chunks(&mut self, content: &[u8], manner: Manner) -> Result<(), Failure> {
        let (one, two) = content.split_at(content.len() / 2);
        let one = [format!("BDAT {}\r\n", one.len()).as_bytes(), one].concat();
        let two = [format!("BDAT {} LAST\r\n", two.len()).as_bytes(), two].concat();
        if manner.pipelined {
            self.say(&[one, two].concat())?;
            let first = self.positive(2);
            if matches!(first, Err(Failure::Gone | Failure::Reply(421))) {
                return first;
            }
            return first.and(self.positive(2));
        }
        self.say(&one)?;
        self.positive(2)?;
        self.say(&two)?;
        self.positive(2)
    }

    fn ask(&mut self, command: &str) -> Result<(), Failure> {
        self.say(format!("{command}\r\n").as_bytes())?;
        self.positive(2)
    }

    fn say(&mut self, octets: &[u8]) -> Result<(), Failure> {
        Ok(self.reader.get_mut().write_all(octets)?)
    }

    /// Reads one reply, which should be of that class.
    fn positive(&mut self, class: u16) -> Result<(), Failure> {
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            if !line.ends_with("\r\n") {
                return Err(Failure::Gone);
            }
            if line.as_bytes()[3] != b'-' {
                let code: u16 = line[..3].parse().expect("gatepost's replies begin with a code");
                return if code / 100 == class { Ok(()) } else { Err(Failure::Reply(code)) };
            }
        }
    }
}

/// RFC 5321 4.5.2, with the end behind it.
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(content.len() + 100);
    for line in content.split_inclusive(|&octet| octet == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed.extend_from_slice(b".\r\n");
    stuffed
}
