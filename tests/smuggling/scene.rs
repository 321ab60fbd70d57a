//! A session between a client that only sends and a strict hop that accepts everything.
//!
//! **In**: what the client says. **Out**: all octets the hop received, all octets the client heard.
//! **Never**: judges them.

use std::rc::Rc;

use super::lax::Lax;
use crate::script::parse::Party;
use crate::script::settings::World;
use crate::script::{Driver, Pure};

/// The hop.
pub fn host() -> Party {
    Party::Host(Rc::from("a"))
}

/// A session, a client that only sends, and a strict hop that accepts everything.
pub struct Scene {
    pub driver: Pure,
    /// All octets the hop received.
    pub received: Vec<u8>,
    /// Of them, those it has looked at.
    pub seen: usize,
    content: bool,
    /// All octets the client heard.
    pub heard: Vec<u8>,
    /// Whether the hop offers CHUNKING.
    pub chunking: bool,
}

impl Scene {
    /// Sets it: the hop has greeted, the client has said EHLO.
    pub fn new(world: &World, chunking: bool) -> Scene {
        let driver = Pure::new(world, usize::MAX);
        let mut scene =
            Scene { driver, received: Vec::new(), seen: 0, content: false, heard: Vec::new(), chunking };
        scene.turn();
        scene.driver.feed(&host(), b"220 a.example.net\r\n");
        scene.say(b"EHLO client.example.org\r\n");
        scene
    }

    /// The client says octets, and everybody answers.
    pub fn say(&mut self, octets: &[u8]) {
        if !self.driver.closed(&Party::Client, false) {
            self.driver.feed(&Party::Client, octets);
        }
        self.turn();
    }

    /// Everybody takes what was said, and the hop answers, until nothing moves.
    pub fn turn(&mut self) {
        loop {
            for party in self.driver.connecting() {
                self.driver.connect(&party, true);
            }
            self.heard.append(self.driver.heard(&Party::Client, &|_| true));
            let said = std::mem::take(self.driver.heard(&host(), &|_| true));
            self.received.extend(said);
            match self.answer() {
                Some(reply) if !self.driver.closed(&host(), false) => self.driver.feed(&host(), &reply),
                Some(_) => {}
                None => return,
            }
        }
    }

    /// The hop's reply to the next whole thing it received.
    fn answer(&mut self) -> Option<Vec<u8>> {
        let rest = &self.received[self.seen..];
        let strict = Lax::STRICT;
        let (line, after) = strict.line(rest)?;
        let went = rest.len() - after.len();
        if self.content {
            self.seen += went;
            self.content = line != b".";
            return if self.content { self.answer() } else { Some(b"250 2.0.0 queued\r\n".to_vec()) };
        }
        if let Some(words) = line.strip_prefix(b"BDAT ") {
            let words = String::from_utf8_lossy(words).into_owned();
            let size: usize = words.split(' ').next().and_then(|size| size.parse().ok())?;
            if after.len() < size {
                return None;
            }
            self.seen += went + size;
            return Some(b"250 2.0.0 chunk\r\n".to_vec());
        }
        let reply: &[u8] = match line {
            b"DATA" => b"354 go ahead\r\n",
            b"QUIT" => b"221 2.0.0 bye\r\n",
            _ if line.starts_with(b"EHLO") && self.chunking => {
                b"250-a.example.net\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-8BITMIME\r\n250 SIZE 0\r\n"
            }
            _ if line.starts_with(b"EHLO") => b"250-a.example.net\r\n250 8BITMIME\r\n",
            _ => b"250 2.0.0 ok\r\n",
        };
        self.content = line == b"DATA";
        self.seen += went;
        Some(reply.to_vec())
    }

    /// The replies the client heard, as a strict client reads them; `None` if they are not well formed.
    pub fn replies(&self) -> Option<Vec<(u16, bool)>> {
        let mut rest = &self.heard[..];
        let mut replies = Vec::new();
        let strict = Lax::STRICT;
        while !rest.is_empty() {
            let (line, after) = strict.line(rest)?;
            rest = after;
            let code: u16 = std::str::from_utf8(line.get(..3)?).ok()?.parse().ok()?;
            if line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
                return None;
            }
            if line.get(3) != Some(&b'-') {
                replies.push((code, String::from_utf8_lossy(line).contains("smuggled")));
            }
        }
        Some(replies)
    }
}
