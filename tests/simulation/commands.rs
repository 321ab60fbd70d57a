//! What a hop answers to commands, and where it stands then: in a transaction, in content, in an AUTH exchange.
//!
//! **In**: a command's line. **Out**: its reply; what the hop is inside of is what it answered, not what it was told.
//! **Never**: ends a transaction by an EHLO that it refuses, or begins one in another.

use super::fate::refusal;
use super::{Act, Hop};
use crate::rng::hash;

impl Hop {
    pub(super) fn command(&mut self, line: &[u8], acts: &mut Vec<(u64, Act)>, handshakes: u64) {
        let text = String::from_utf8_lossy(line).into_owned();
        assert!(
            !line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)),
            "law 4: a command with a control octet: {text:?}"
        );
        let upper = text.to_ascii_uppercase();
        let mut verb = upper.split(' ').next().unwrap_or_default().to_owned();
        let hello = matches!(verb.as_str(), "LHLO" | "EHLO" | "HELO");
        assert!(!(self.lmtp && hello) || verb == "LHLO", "an LMTP host hears {text:?}");
        if verb == "LHLO" {
            (self.lmtp, verb) = (true, "EHLO".to_owned());
        }
        let known = [
            "EHLO", "HELO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "HELP", "AUTH", "QUIT",
            "EXPN", "ETRN", "STARTTLS", "XCLIENT", "XFORWARD",
        ];
        assert!(known.contains(&verb.as_str()), "a command nobody may forward: {text:?}");
        self.assert_terms(&verb, &text);
        assert!(self.pipelining || self.owed.is_empty(), "a group to a hop without PIPELINING: {text:?}");
        let last = !matches!(verb.as_str(), "MAIL" | "RCPT" | "RSET" | "BDAT" | "XFORWARD");
        let id = id(&text);
        let roll = match self.fair.filter(|_| matches!(verb.as_str(), "MAIL" | "RCPT")) {
            Some(seed) => (hash(seed, &[verb.as_bytes(), id.as_bytes()]) % 100) as usize,
            None => self.rng.below(100),
        };
        let reply = match verb.as_str() {
            "EHLO" if roll < (if id.starts_with("en") { 15 } else { 97 }) => {
                (self.sender, self.content, self.chunked) = (None, None, false);
                self.rcpts.clear();
                if let Some(reply) = self.own_hello(&text) {
                    // It is none of the client's.
                    self.owed.push_back(last);
                    return acts.extend(self.answer(reply, None, false));
                }
                self.hello_at = Some(handshakes);
                let mut lines = vec!["250-hop.example.net greets".to_owned()];
                lines.extend(self.keywords.iter().map(|keyword| format!("250-{keyword}")));
                let end = lines.len() - 1;
                lines[end].replace_range(3..4, " ");
                lines.join("\r\n")
            }
            // Refused: whatever transaction there is goes on.
            "EHLO" if roll.is_multiple_of(2) => format!("501 5.5.4 what [{id}]"),
            "EHLO" => format!("451 4.3.0 not now [{id}]"),
            "HELO" if id.starts_with("en") => format!("501 5.5.4 what [{id}]"),
            "HELO" => {
                self.hello_at = Some(handshakes);
                (self.sender, self.content, self.chunked) = (None, None, false);
                self.rcpts.clear();
                "250 hop.example.net".to_owned()
            }
            // Said in one group with the RSET: nobody could know.
            "MAIL" if self.sender.is_some() && self.keeps && !self.owed.is_empty() => {
                "503 5.5.1 nested".to_owned()
            }
            "MAIL" => {
                let stale = self.hello_at.is_some_and(|at| at < handshakes);
                assert!(!stale, "law 5: MAIL under TLS behind an EHLO from before it");
                assert!(self.sender.is_none(), "a nested MAIL: {text:?}");
                if roll < if self.easy { 70 } else { 88 } {
                    self.rcpts.clear();
                    self.sender = Some(id.clone());
                    format!("250 2.1.0 sender ok [{id}]")
                } else {
                    refusal(roll, &id)
                }
            }
            "RCPT" if self.sender.is_none() && !self.easy => format!("503 5.5.1 need mail [{id}]"),
            "RCPT" if roll < 70 => {
                let second = self.sender.is_some() && !self.rcpts.is_empty();
                assert!(!self.lmtp || !second || self.keeps, "law 1: LMTP would answer the content twice");
                self.rcpts.push(id.clone());
                format!("250 2.1.5 recipient ok [{id}]")
            }
            "RCPT" => refusal(roll, &id),
            "DATA" | "BDAT"
                if (self.sender.is_none() && !(self.easy && verb == "DATA"))
                    || (self.rcpts.is_empty() && (verb == "BDAT" || (roll < 50 && !self.easy))) =>
            {
                self.discard = chunk(&text).map_or(0, |(size, _)| size);
                "503 5.5.1 no valid recipients".to_owned()
            }
            "DATA" if roll < 92 => {
                self.content = Some(Vec::new());
                "354 go ahead".to_owned()
            }
            "DATA" => refusal(roll, self.sender.as_deref().unwrap_or_default()),
            "BDAT" => {
                self.chunk = chunk(&text);
                assert!(self.chunk.is_some(), "an unreadable BDAT: {text:?}");
                self.chunked = true;
                self.owed.push_back(false);
                return;
            }
            "RSET" if roll < 3 => {
                self.keeps = true;
                "502 5.5.1 what is rset".to_owned()
            }
            "RSET" => {
                self.keeps = false;
                (self.sender, self.content, self.chunked) = (None, None, false);
                self.rcpts.clear();
                "250 2.0.0 reset".to_owned()
            }
            "AUTH" => {
                self.auth = Some(self.rng.below(3));
                self.owed.push_back(last);
                return self.challenge(b"", acts);
            }
            "STARTTLS" | "XCLIENT" | "XFORWARD" => self.terms_reply(&verb, roll),
            "QUIT" => "221 2.0.0 bye".to_owned(),
            _ => format!("250 2.0.0 fine [{id}]"),
        };
        self.owed.push_back(last);
        acts.extend(self.answer(reply, None, false));
        if verb == "QUIT" {
            self.dead = true;
            acts.push((5, Act::Eof));
        }
    }

    /// A line of an AUTH exchange, which is no command whatever it looks like.
    pub(super) fn challenge(&mut self, line: &[u8], acts: &mut Vec<(u64, Act)>) {
        let more = self.auth.take().unwrap_or(0);
        let reply = match (line, more) {
            (b"*", _) => "501 5.7.0 cancelled",
            (_, 0) if self.rng.percent(70) => "235 2.7.0 welcome",
            (_, 0) => "535 5.7.8 no",
            _ => {
                self.auth = Some(more - 1);
                "334 VXNlcm5hbWU6"
            }
        };
        acts.extend(self.answer(reply.to_owned(), None, false));
    }
}

/// The id in a command: the local part of its path, or its argument.
fn id(text: &str) -> String {
    match text.split_once('<') {
        Some((_, path)) => path.split(['@', '>']).next().unwrap_or_default().to_owned(),
        None => text.split(' ').nth(1).unwrap_or_default().to_owned(),
    }
}

fn chunk(text: &str) -> Option<(usize, bool)> {
    let mut words = text.strip_prefix("BDAT ")?.split(' ');
    Some((words.next()?.parse().ok()?, words.next() == Some("LAST")))
}
