//! The embedded sink: a small SMTP server inside the process, where mail goes when no hop is configured.
//!
//! In:    a dialog, over one end of a socket pair.
//! Out:   each message as a file in a Maildir, octet for octet, on disk before its 250.
//! Never: keeps a message whose end it has not seen, adds a header, blocks the worker, relays, or judges a
//!        recipient. It waits without a deadline of its own, because its only client is the session that opened
//!        it: when that gives up, it closes its end.
//!
//! Linear: one thing is waited for at a time. RFC 5321 (the whole server side), RFC 2920 (replies are gathered
//! while commands wait), RFC 3030 (BDAT), RFC 1870, 6152, 6531, 3461, 2034 as far as a store needs them.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

mod command;
mod maildir;

use crate::config::types::Config;
use crate::smtp::{ChunkCounter, Keyword, Line, LineEnd, Own, Piece, Unstuffer, next_line};
use command::{Ask, Refused};
use maildir::Delivery;

/// A command line; longer than any gatepost sends.
const LINE: usize = 16 * 1024;
/// Read at once: while commands are expected, and while content is.
const READ: usize = 4 * 1024;
const READ_CONTENT: usize = 64 * 1024;
/// Recipients of one transaction. They are only counted, so this is no question of memory.
const RECIPIENTS: u32 = 100_000;

/// What the reply to EHLO offers, before ENHANCEDSTATUSCODES.
const OFFERED: &[Keyword] = &[
    Keyword::Pipelining,
    Keyword::Size,
    Keyword::EightBitMime,
    Keyword::SmtpUtf8,
    Keyword::Chunking,
    Keyword::Dsn,
];
static LINE_TOO_LONG: Own = Own { code: 500, enhanced: Some("5.5.2"), text: "Line too long" };

/// A new connection to the sink that stores into the Maildir at `path`. Called within a runtime, which serves it.
pub(super) fn open(path: &Arc<Path>) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let sink = Sink {
        wire: Wire { stream: theirs, input: Vec::new(), at: 0, output: Vec::new() },
        maildir: path.clone(),
        greeted: false,
        sender: false,
        recipients: 0,
        content: None,
    };
    tokio::spawn(async move {
        if let Err(error) = sink.serve().await {
            // The session broke off, and says so itself.
            tracing::debug!(%error, "sink: dialog ended early");
        }
    });
    Ok(ours)
}

/// One dialog.
#[derive(Debug)]
struct Sink {
    wire: Wire,
    maildir: Arc<Path>,
    greeted: bool,
    sender: bool,
    recipients: u32,
    /// What BDAT has brought so far.
    content: Option<Content>,
}

/// A message being received.
#[derive(Debug)]
enum Content {
    /// On its way to disk.
    Storing(Delivery),
    /// It cannot be stored; the rest is swallowed.
    Failed,
}

impl Sink {
    async fn serve(mut self) -> io::Result<()> {
        self.wire.say(&format!("220 {} ESMTP gatepost sink", host_name()));
        while let Some(line) = self.wire.line().await? {
            let asked = match line {
                Ok(line) => command::read(line),
                Err(TooLong) => Err(Refused::With(&LINE_TOO_LONG)),
            };
            match asked {
                Err(Refused::With(own)) => self.wire.say_own(own),
                Err(Refused::Unreadable) => {
                    self.wire.say("501 5.5.4 Syntax: BDAT size [LAST]");
                    return self.wire.flush().await;
                }
                Ok(Ask::Quit) => {
                    self.wire.say("221 2.0.0 Bye");
                    self.wire.flush().await?;
                    return self.wire.stream.shutdown().await;
                }
                Ok(Ask::Data) => self.data().await?,
                Ok(Ask::Bdat { size, last }) => self.bdat(size, last).await?,
                Ok(ask) => self.answer(ask),
            }
        }
        Ok(())
    }

    /// Answers what needs no waiting.
    fn answer(&mut self, ask: Ask) {
        let reply = match ask {
            Ask::Ehlo => {
                self.reset();
                self.greeted = true;
                self.wire.say(&format!("250-{}", host_name()));
                for keyword in OFFERED {
                    self.wire.say(&format!("250-{}", keyword.as_str()));
                }
                "250 ENHANCEDSTATUSCODES"
            }
            Ask::Helo => {
                self.reset();
                self.greeted = true;
                return self.wire.say(&format!("250 {}", host_name()));
            }
            Ask::Mail if !self.greeted => "503 5.5.1 Say EHLO first",
            Ask::Mail if self.sender => "503 5.5.1 Sender already given",
            Ask::Mail => {
                self.sender = true;
                "250 2.1.0 Sender ok"
            }
            Ask::Rcpt if !self.sender => "503 5.5.1 Say MAIL first",
            Ask::Rcpt if self.content.is_some() => "503 5.5.1 Content has begun",
            Ask::Rcpt if self.recipients >= RECIPIENTS => "452 4.5.3 Too many recipients",
            Ask::Rcpt => {
                self.recipients += 1;
                "250 2.1.5 Recipient ok"
            }
            Ask::Rset => {
                self.reset();
                "250 2.0.0 Ok"
            }
            Ask::Noop => "250 2.0.0 Ok",
            Ask::Vrfy => "252 2.5.0 Any recipient is taken",
            Ask::Help => "214 2.0.0 Every message is stored in a Maildir",
            Ask::Quit | Ask::Data | Ask::Bdat { .. } => return,
        };
        self.wire.say(reply);
    }

    async fn data(&mut self) -> io::Result<()> {
        if self.recipients == 0 || self.content.is_some() {
            self.wire.say("503 5.5.1 DATA is not for here");
            return Ok(());
        }
        self.wire.say("354 End data with <CR><LF>.<CR><LF>");
        let mut content = Content::new(&self.maildir);
        let mut unstuffer = Unstuffer::new();
        loop {
            let octets = self.wire.octets(READ_CONTENT).await?;
            let scanned = unstuffer.scan(octets, &mut |piece| match piece {
                Piece::Received(range) => content.append(&octets[range]),
                Piece::Static(octets) => content.append(octets),
            });
            self.wire.take(scanned.taken);
            content.write().await;
            if scanned.ended {
                break;
            }
        }
        self.finish(content).await;
        Ok(())
    }

    async fn bdat(&mut self, size: u64, last: bool) -> io::Result<()> {
        let in_transaction = self.recipients > 0;
        let mut content = match self.content.take() {
            Some(content) => content,
            None if in_transaction => Content::new(&self.maildir),
            // RFC 3030 2: the chunk follows whatever the reply will be.
            None => Content::Failed,
        };
        let mut chunk = ChunkCounter::new(size);
        while !chunk.is_done() {
            let octets = self.wire.octets(READ_CONTENT).await?;
            let taken = chunk.take(octets.len());
            content.append(&octets[..taken]);
            self.wire.take(taken);
            content.write().await;
        }
        if !in_transaction {
            self.wire.say("503 5.5.1 BDAT is not for here");
        } else if last {
            self.finish(content).await;
        } else {
            match content {
                Content::Storing(_) => self.wire.say(&format!("250 2.0.0 {size} octets received")),
                Content::Failed => self.wire.say(CANNOT_STORE),
            }
            self.content = Some(content);
        }
        Ok(())
    }

    /// The content is complete: stores it and ends the transaction.
    async fn finish(&mut self, content: Content) {
        self.reset();
        let stored = match content {
            Content::Storing(delivery) => delivery.commit().await,
            Content::Failed => return self.wire.say(CANNOT_STORE),
        };
        match stored {
            Ok(name) => self.wire.say(&format!("250 2.0.0 Stored as {name}")),
            Err(error) => {
                tracing::error!(maildir = %self.maildir.display(), %error, "sink: cannot store a message");
                self.wire.say(CANNOT_STORE);
            }
        }
    }

    fn reset(&mut self) {
        self.sender = false;
        self.recipients = 0;
        self.content = None;
    }
}

const CANNOT_STORE: &str = "452 4.3.1 Cannot store the message";

impl Content {
    fn new(maildir: &Arc<Path>) -> Self {
        Self::Storing(Delivery::new(maildir))
    }

    fn append(&mut self, octets: &[u8]) {
        if let Self::Storing(delivery) = self {
            delivery.append(octets);
        }
    }

    /// Writes a block if there is one.
    async fn write(&mut self) {
        if let Self::Storing(delivery) = self
            && delivery.is_full()
            && let Err(error) = delivery.flush().await
        {
            tracing::error!(%error, "sink: cannot store a message");
            *self = Self::Failed;
        }
    }
}

/// The dialog's octets.
#[derive(Debug)]
struct Wire {
    stream: UnixStream,
    input: Vec<u8>,
    /// What of `input` has been used.
    at: usize,
    output: Vec<u8>,
}

/// A line over its limit, which was skipped.
struct TooLong;

impl Wire {
    /// The next command line without its end; None when the client has closed between commands.
    async fn line(&mut self) -> io::Result<Option<Result<&[u8], TooLong>>> {
        let mut too_long = false;
        let (from, length) = loop {
            match next_line(&self.input[self.at..], LINE) {
                Line::Whole { line, taken, end } => {
                    let (from, length) = (self.at, line.len());
                    self.at += taken;
                    if too_long {
                        return Ok(Some(Err(TooLong)));
                    }
                    // A bare LF is no line end: the grammar finds it in the line and refuses.
                    break (from, if end == LineEnd::BareLf { taken } else { length });
                }
                Line::TooLong => {
                    too_long = true;
                    self.at = self.input.len();
                }
                Line::Partial => {
                    if !self.fill(READ).await? {
                        return Ok(None);
                    }
                }
            }
        };
        Ok(Some(Ok(&self.input[from..from + length])))
    }

    /// Octets of content, at least one. That the client closes here is an error.
    async fn octets(&mut self, at_once: usize) -> io::Result<&[u8]> {
        if self.at == self.input.len() && !self.fill(at_once).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(&self.input[self.at..])
    }

    fn take(&mut self, count: usize) {
        self.at += count;
    }

    fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    fn say_own(&mut self, Own { code, enhanced, text }: &Own) {
        match enhanced {
            Some(enhanced) => self.say(&format!("{code} {enhanced} {text}")),
            None => self.say(&format!("{code} {text}")),
        }
    }

    /// Reads more, having said what was to be said; false at the end.
    async fn fill(&mut self, at_once: usize) -> io::Result<bool> {
        self.flush().await?;
        self.input.drain(..self.at);
        self.at = 0;
        if self.input.is_empty() && self.input.capacity() > 2 * at_once {
            // A dialog between messages gives back what the content needed.
            self.input = Vec::new();
        }
        self.input.reserve(at_once);
        Ok(self.stream.read_buf(&mut self.input).await? > 0)
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.output.clear();
        }
        Ok(())
    }
}

/// The system's name, asked for once.
fn host_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| Config::default().host_name())
}

#[cfg(test)]
mod tests;
