//! A dialog of gatepost's own with a host, in lockstep: what probes speak.
//!
//! In:    a connection; octets to say; how long to wait.
//! Out:   whole replies, one at a time; the same dialog under TLS.
//! Never: sends mail, pipelines, goes on reading a reply beyond 16 KiB, or uses under TLS what was read before it.
//!
//! RFC 5321 4.2 (replies), RFC 3207 4.2.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::time::timeout;

use crate::session::client::{TlsFacts, TlsFault, TlsFaultKind};
use crate::smtp::{Reply, ReplyFramer, ReplyLimits};
use crate::stream::{Handshake, Stream};
use crate::tls::client::TlsClient;
use crate::tls::facts;

/// What a host may say to one command: more is no reply to what is asked here.
const LIMITS: ReplyLimits = ReplyLimits { line: 4096, reply: 16 << 10 };

/// A dialog in lockstep.
#[derive(Debug)]
pub struct Dialog {
    stream: Stream,
    heard: Vec<u8>,
}

impl Dialog {
    /// One over this connection.
    pub fn new(stream: Stream) -> Self {
        Self { stream, heard: Vec::new() }
    }

    /// Writes `octets`.
    ///
    /// # Errors
    ///
    /// What the kernel says, or `TimedOut`.
    pub async fn say(&mut self, mut octets: &[u8], patience: Duration) -> io::Result<()> {
        let written = async {
            while !octets.is_empty() {
                match self.stream.try_write(octets) {
                    Ok(written) => octets = &octets[written..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        poll_fn(|cx| self.stream.watch_room(cx)).await?;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        timeout(patience, written).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The next reply.
    ///
    /// # Errors
    ///
    /// What the kernel says, `UnexpectedEof`, `TimedOut`, or `InvalidData` for what is no reply.
    pub async fn hear(&mut self, patience: Duration) -> io::Result<Reply> {
        let heard = async {
            let mut framer = ReplyFramer::default();
            loop {
                let whole = framer.next(&self.heard, LIMITS).map_err(|_| io::ErrorKind::InvalidData)?;
                if let Some(reply) = whole.map(|reply| reply.to_owned()) {
                    self.heard.drain(..reply.as_bytes().len());
                    return Ok(reply);
                }
                let mut octets = [0; 4096];
                match self.stream.try_read(|| &mut octets) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(read) => self.heard.extend_from_slice(&octets[..read]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        poll_fn(|cx| self.stream.watch(cx)).await?;
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        timeout(patience, heard).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Goes on under TLS.
    ///
    /// # Errors
    ///
    /// What became of the handshake instead.
    pub async fn secure(
        self,
        client: Arc<TlsClient>,
        name: ServerName<'static>,
        patience: Duration,
    ) -> Result<(Self, Box<TlsFacts>), Box<TlsFault>> {
        if !self.heard.is_empty() {
            return Err(Box::new(facts::injected()));
        }
        let shaken = timeout(patience, Handshake::with_hop(self.stream, client, name)).await;
        let (stream, facts) = shaken.unwrap_or_else(|_| {
            let what = format!("no handshake within {patience:?}").into();
            Err(Box::new(TlsFault { kind: TlsFaultKind::TimedOut, what }))
        })?;
        Ok((Self::new(stream), facts))
    }

    /// The certificate that the host has shown under TLS, in DER.
    pub fn certificate(&self) -> Option<&[u8]> {
        match &self.stream {
            Stream::Tls(secured) => secured.certificate(),
            _ => None,
        }
    }

    /// Says a command and hears its reply, each in its time.
    ///
    /// # Errors
    ///
    /// As [`Dialog::say`] and [`Dialog::hear`].
    pub async fn ask(&mut self, command: &str, patience: Duration) -> io::Result<Reply> {
        self.say(format!("{command}\r\n").as_bytes(), patience).await?;
        self.hear(patience).await
    }
}
