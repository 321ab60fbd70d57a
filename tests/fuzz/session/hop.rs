//! A hop, as strict as any: what gatepost says to it, and what it has answered.
//!
//! **In**: octets that gatepost says, octets of the hop's that the session took. **Out**: what is still to be answered,
//! a fitting answer, how many messages were answered 2xx as a whole. **Never**: lets a line pass that is no command,
//! content that no 354 was said for, or a bare CR or LF in it.

use std::collections::VecDeque;

use gatepost::session::verdict::Stage;
use gatepost::smtp::{ChunkCounter, Command, ReplyFramer, ReplyLimits, Verb};

/// What a reply is owed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owed {
    Greeting,
    Line(Verb),
    /// A chunk, the last or not; whether all of it has come is known by [`Hearing`].
    Chunk {
        last: bool,
    },
    Message,
}

/// What the next octets are.
enum Hearing {
    Lines,
    /// The answer to a challenge.
    Secret,
    Chunk(ChunkCounter),
    Content,
}

/// One connection's far end.
pub struct Hop {
    hearing: Hearing,
    heard: Vec<u8>,
    said: Vec<u8>,
    framer: ReplyFramer,
    owed: VecDeque<Owed>,
    /// What it said was no reply, and nothing is heard from it any more.
    garbled: bool,
    /// The session took a reply to nothing.
    pub unasked: bool,
    /// Messages it has answered 2xx for, all of each having arrived.
    pub taken: usize,
}

const LIMITS: ReplyLimits = ReplyLimits { line: 4096, reply: 64 << 10 };

impl Hop {
    pub fn new() -> Hop {
        Hop {
            hearing: Hearing::Lines,
            heard: Vec::new(),
            said: Vec::new(),
            framer: ReplyFramer::default(),
            owed: VecDeque::from([Owed::Greeting]),
            garbled: false,
            unasked: false,
            taken: 0,
        }
    }

    /// Gatepost says octets.
    pub fn hears(&mut self, octets: &[u8]) {
        self.heard.extend_from_slice(octets);
        while !self.heard.is_empty() {
            let went = match &mut self.hearing {
                Hearing::Lines | Hearing::Secret => self.line(),
                Hearing::Chunk(chunk) => {
                    let went = chunk.take(self.heard.len());
                    if chunk.is_done() {
                        self.hearing = Hearing::Lines;
                    }
                    Some(went)
                }
                Hearing::Content => self.content(),
            };
            match went {
                Some(went) => drop(self.heard.drain(..went)),
                None => return,
            }
        }
    }

    fn line(&mut self) -> Option<usize> {
        let lf = self.heard.iter().position(|&octet| octet == b'\n')?;
        let line = self.heard[..lf].strip_suffix(b"\r");
        let line = line.unwrap_or_else(|| panic!("a bare LF: {}", self.heard.escape_ascii()));
        if matches!(self.hearing, Hearing::Secret) {
            self.hearing = Hearing::Lines;
            self.owed.push_back(Owed::Line(Verb::Auth));
            return Some(lf + 1);
        }
        let command = Command::parse(line);
        let command =
            command.unwrap_or_else(|fault| panic!("{fault:?} is said to a hop: {}", line.escape_ascii()));
        self.owed.push_back(match command {
            Command::Bdat { size, last } => {
                self.hearing = Hearing::Chunk(ChunkCounter::new(size));
                Owed::Chunk { last }
            }
            command => Owed::Line(command.verb()),
        });
        if matches!(&self.hearing, Hearing::Chunk(chunk) if chunk.is_done()) {
            self.hearing = Hearing::Lines;
        }
        Some(lf + 1)
    }

    fn content(&mut self) -> Option<usize> {
        let framed = [b"\r\n", &self.heard[..]].concat();
        let bare = |w: &[u8]| (w[0] == b'\r') != (w[1] == b'\n');
        let end = framed.windows(5).position(|window| window == b"\r\n.\r\n");
        let content = &framed[..end.map_or(framed.len(), |end| end + 5)];
        assert!(!content.windows(2).any(bare), "a bare CR or LF: {}", content.escape_ascii());
        let end = end?;
        self.hearing = Hearing::Lines;
        self.owed.push_back(Owed::Message);
        Some(end + 3)
    }

    /// The session took octets of the hop's.
    pub fn said(&mut self, octets: &[u8]) {
        self.said.extend_from_slice(octets);
        while !self.garbled {
            let (code, went) = match self.framer.next(&self.said, LIMITS) {
                Ok(None) => return,
                Ok(Some(reply)) => (reply.code().get(), reply.as_bytes().len()),
                Err(_) => {
                    self.garbled = true;
                    return;
                }
            };
            self.said.drain(..went);
            let arrived = !matches!(self.hearing, Hearing::Chunk(_));
            match self.owed.pop_front() {
                Some(Owed::Line(Verb::Data)) if code / 100 == 3 => self.hearing = Hearing::Content,
                Some(Owed::Line(Verb::Auth)) if code / 100 == 3 => self.hearing = Hearing::Secret,
                Some(Owed::Message) if code / 100 == 2 => self.taken += 1,
                Some(Owed::Chunk { last: true }) if code / 100 == 2 && arrived => self.taken += 1,
                // Before the end of what is sent to it a hop may give up on it.
                None if !matches!(self.hearing, Hearing::Content) => self.unasked = true,
                _ => {}
            }
        }
    }

    /// A handshake went well: what was said in plain is nobody's.
    pub fn secured(&mut self) {
        assert!(self.heard.is_empty(), "said during a handshake: {}", self.heard.escape_ascii());
        self.said.clear();
        self.framer = ReplyFramer::default();
    }

    /// Whether the answer it owes first is what this stage is about.
    pub fn owes(&self, stage: Stage) -> bool {
        self.owed.front().is_some_and(|owed| {
            matches!(
                (stage, owed),
                (Stage::AuthReply, Owed::Line(Verb::Auth))
                    | (Stage::MailReply, Owed::Line(Verb::Mail))
                    | (Stage::RcptReply, Owed::Line(Verb::Rcpt))
                    | (Stage::DataReply, Owed::Line(Verb::Data))
                    | (Stage::OtherReply, Owed::Line(Verb::Noop))
                    | (Stage::MessageReply, Owed::Message)
            )
        })
    }

    /// A fitting answer to what is owed first, of one kind or another.
    pub fn answer(&self, kind: u8) -> Option<Vec<u8>> {
        let hello = [
            "250-h.example.net\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-DSN\r\n250-SIZE 1000000\r\n250-AUTH PLAIN LOGIN\r\n250-STARTTLS\r\n250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN\r\n250-XFORWARD NAME ADDR PORT PROTO HELO SOURCE\r\n250-XEXT\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n",
            "250-h.example.net\r\n250-8BITMIME\r\n250-XCLIENT NAME ADDR\r\n250 STARTTLS\r\n",
            "250 h.example.net\r\n",
            "250-h.example.net\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250-XFORWARD NAME HELO\r\n250-STARTTLS\r\n250-SIZE\r\n250 CHUNKING\r\n",
        ];
        let refused = kind & 0xc == 0xc;
        Some(match self.owed.front()? {
            _ if self.garbled => return None,
            Owed::Line(Verb::Rcpt) if refused => "550 5.1.1 Unknown\r\n".into(),
            Owed::Line(Verb::Ehlo | Verb::Other) => hello[usize::from(kind & 3)].into(),
            Owed::Line(Verb::Auth) if refused => "334 UGFzc3dvcmQ6\r\n".into(),
            Owed::Line(Verb::Auth) => "235 2.7.0 Welcome\r\n".into(),
            Owed::Line(Verb::Data) => "354 Go ahead\r\n".into(),
            Owed::Line(Verb::Quit) => "221 2.0.0 Bye\r\n".into(),
            Owed::Line(Verb::Starttls) => "220 2.0.0 Go ahead\r\n".into(),
            Owed::Greeting | Owed::Line(Verb::Xclient) => "220 h.example.net ESMTP\r\n".into(),
            Owed::Line(_) | Owed::Chunk { .. } | Owed::Message => "250 2.0.0 Ok\r\n".into(),
        })
    }
}
