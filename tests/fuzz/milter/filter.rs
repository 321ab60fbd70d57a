//! A filter that does everything wrong that octets can tell it to do.
//!
//! | of two octets for each command that it is told, and for each change | |
//! |---|---|
//! | the first: what it says | 00 to 9f CONTINUE, from there on a word of [`WORDS`]; at the end of a message first up to seven changes |
//! | the second: how | 00 to bf whole, from there on a way of [`Way`] |
//!
//! Without octets it goes on with everything. **In**: octets, and the packets of a conversation, over a real connection.
//! **Out**: packets, and what is none; word that nothing more will come. **Never**: says nothing without word of it.
//!
//! Sendmail's `mfdef.h`.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::words::{LAWFUL, OPTIONS, UNLAWFUL, WORDS};

/// How something is said, but whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// Octet by octet.
    Slowly,
    /// Half of it, and the end.
    Torn,
    /// Half of it, and no more.
    Stuck,
    Silent,
    Closed,
    Twice,
    /// As long as it is heard.
    Endless,
    /// With a length that is none.
    Short,
    Long,
    Huge,
    /// And more when it was taken.
    Later,
}

impl Way {
    const ALL: [Way; 11] = [
        Way::Slowly,
        Way::Torn,
        Way::Stuck,
        Way::Silent,
        Way::Closed,
        Way::Twice,
        Way::Endless,
        Way::Short,
        Way::Long,
        Way::Huge,
        Way::Later,
    ];

    fn chosen(by: u8) -> Option<Way> {
        by.checked_sub(0xc0).map(|by| Way::ALL[usize::from(by) % Way::ALL.len()])
    }
}

/// All filters at one port, which do the same.
pub struct Filter {
    port: u16,
    state: Arc<State>,
}

struct State {
    deeds: Mutex<Vec<u8>>,
    /// How often it fell silent.
    silences: watch::Sender<u64>,
}

impl Filter {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State { deeds: Mutex::default(), silences: watch::Sender::new(0) });
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = Arc::clone(&serving);
                // Whoever has heard enough closes.
                tokio::spawn(async move { drop(serving.serve(stream).await) });
            }
        });
        Self { port, state }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on it does this.
    pub fn is_to_do(&self, deeds: &[u8]) {
        *self.state.deeds.lock().unwrap() = deeds.iter().rev().copied().collect();
    }

    /// What comes of a question; `None`: it fell silent.
    pub async fn answers<T>(&self, question: impl Future<Output = T>) -> Option<T> {
        let mut silences = self.state.silences.subscribe();
        tokio::select! {
            biased;
            answer = question => Some(answer),
            _ = silences.changed() => None,
        }
    }
}

impl State {
    fn next(&self) -> u8 {
        self.deeds.lock().unwrap().pop().unwrap_or_default()
    }

    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut answers = true;
        loop {
            let length = stream.read_u32().await?;
            let mut packet = vec![0; length as usize];
            stream.read_exact(&mut packet).await?;
            let what = self.next_for(packet[0], answers);
            match packet[0] {
                b'O' => {
                    // As rspamd, which answers to nothing but the end.
                    answers = what != 0xff;
                    let silent = b"O\0\0\0\x06\0\0\0\xff\0\x0f\xf0\x80";
                    let options = usize::from(what.saturating_sub(0xa0)) % OPTIONS.len();
                    self.say(&mut stream, if answers { OPTIONS[options] } else { silent }).await?;
                }
                b'D' | b'A' => {}
                b'Q' => return Ok(()),
                b'E' => {
                    for _ in 0..what % 8 {
                        let change = self.change();
                        self.say(&mut stream, &change).await?;
                    }
                    let word = word(self.next());
                    self.say(&mut stream, word).await?;
                    if word[0] == b'h' {
                        // More is waited for behind a change.
                        self.falls_silent(&mut stream).await?;
                    }
                }
                _ if answers => self.say(&mut stream, word(what)).await?,
                _ => {}
            }
        }
    }

    /// What it does when it is told this, if anything is expected of it.
    fn next_for(&self, code: u8, answers: bool) -> u8 {
        let is_asked = matches!(code, b'O' | b'E') || (answers && !matches!(code, b'D' | b'A' | b'Q'));
        if is_asked { self.next() } else { 0 }
    }

    /// A change as it is written there, or with octets of its own.
    fn change(&self) -> Vec<u8> {
        let by = self.next();
        match by {
            0xf0.. => {
                let mut change = vec![b"hi+-m2eqb"[usize::from(by) % 9]];
                change.extend((0..self.next() % 16).map(|_| self.next()));
                change.push(0);
                change
            }
            _ => {
                let all = LAWFUL.len() + UNLAWFUL.len();
                let mut changes = LAWFUL.iter().chain(UNLAWFUL).skip(usize::from(by) % all);
                changes.next().map(|change| change.to_vec()).unwrap_or_default()
            }
        }
    }

    async fn say(&self, stream: &mut TcpStream, packet: &[u8]) -> io::Result<()> {
        let length = packet.len() as u32;
        let with = |length: u32| [&length.to_be_bytes()[..], packet].concat();
        let whole = with(length);
        let half = &whole[..whole.len() / 2];
        match Way::chosen(self.next()) {
            None => stream.write_all(&whole).await,
            Some(Way::Slowly) => {
                for octet in &whole {
                    stream.write_all(&[*octet]).await?;
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            Some(Way::Torn) => {
                stream.write_all(half).await?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Some(Way::Stuck) => {
                stream.write_all(half).await?;
                self.falls_silent(stream).await
            }
            Some(Way::Silent) => self.falls_silent(stream).await,
            Some(Way::Closed) => Err(io::ErrorKind::ConnectionAborted.into()),
            Some(Way::Twice) => stream.write_all(&[&whole[..], &whole].concat()).await,
            Some(Way::Endless) => {
                let longer = [packet, &vec![b'x'; if packet[0] == b'b' { 60_000 } else { 0 }]].concat();
                let whole = [&(longer.len() as u32).to_be_bytes()[..], &longer].concat();
                let many = whole.repeat(1 + 1_000 / whole.len());
                loop {
                    stream.write_all(&many).await?;
                }
            }
            Some(Way::Short) => {
                stream.write_all(&with(length - 1)).await?;
                self.falls_silent(stream).await
            }
            Some(Way::Long) => {
                stream.write_all(&with(length + 1)).await?;
                self.falls_silent(stream).await
            }
            Some(Way::Huge) => stream.write_all(&with(u32::MAX - u32::from(self.next()))).await,
            Some(Way::Later) => {
                stream.write_all(&whole).await?;
                tokio::task::yield_now().await;
                stream.write_all(&whole).await
            }
        }
    }

    /// Says nothing any more, until it is left.
    async fn falls_silent(&self, stream: &mut TcpStream) -> io::Result<()> {
        // What was said before is heard first.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        self.silences.send_modify(|silences| *silences += 1);
        while stream.read(&mut [0; 4096]).await? > 0 {}
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

fn word(by: u8) -> &'static [u8] {
    match by.checked_sub(0xa0) {
        None => b"c",
        Some(by) => WORDS[usize::from(by) % WORDS.len()],
    }
}
