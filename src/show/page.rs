//! Which sessions are shown: all, or those that have named a recipient who is meant.
//!
//! **In**: lines in the order of each session's; the ends of sessions. **Out**: rows; a dialog that was held back comes
//! whole, each line with the time at which it was said.
//! **Never**: holds more than so many sessions, lines of one, and octets of all; what is let go for that is counted.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::SystemTime;

use super::Line;
use super::row::{self, Row};
use crate::rules::Addresses;
use crate::session::io::TraceSide;
use crate::smtp::{Canonical, Command, SessionId};

/// Sessions that are known at once; of the oldest one nothing is known then.
const SESSIONS: usize = 1000;

/// Lines that are held back of one session: the last ones.
const LINES: usize = 200;

/// Octets that are held back of all.
const OCTETS: usize = 8 << 20;

/// What is on the terminal, or waits to be.
pub(super) struct Page {
    /// `None`: everybody is meant.
    recipients: Option<Addresses>,
    /// How wide the terminal is.
    width: fn() -> usize,
    /// Oldest first.
    sessions: VecDeque<(SessionId, State)>,
    octets: usize,
}

enum State {
    Shown,
    Held { lines: VecDeque<Line>, dropped: usize },
}

impl Page {
    pub(super) fn new(recipients: Option<Addresses>, width: fn() -> usize) -> Self {
        Self { recipients, width, sessions: VecDeque::new(), octets: 0 }
    }

    /// A line was said.
    pub(super) fn line(&mut self, line: Line, out: &mut impl Write) -> io::Result<()> {
        let meant = self.recipients.as_ref().is_none_or(|recipients| names(recipients, &line));
        let at = self.find(line.session);
        let (session, client, time) = (line.session, line.client, line.time);
        match &mut self.sessions[at].1 {
            State::Shown => {}
            held @ State::Held { .. } if meant => {
                let State::Held { lines, dropped } = std::mem::replace(held, State::Shown) else {
                    return Ok(());
                };
                let began = lines.front().map_or(time, |line| line.time);
                let mut words = format!("session {session}, client {client}");
                if dropped > 0 {
                    words.push_str(&format!("; {dropped} earlier lines were let go"));
                }
                row::note(session, began, &words, out)?;
                for line in lines {
                    self.octets -= line.octets.len();
                    self.put(&line, out)?;
                }
            }
            State::Held { lines, dropped } => {
                self.octets += line.octets.len();
                lines.push_back(line);
                if lines.len() > LINES
                    && let Some(first) = lines.pop_front()
                {
                    *dropped += 1;
                    self.octets -= first.octets.len();
                }
                self.bound(at);
                return Ok(());
            }
        }
        self.put(&line, out)
    }

    /// A session is over.
    pub(super) fn over(
        &mut self,
        session: SessionId,
        time: SystemTime,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let Some(at) = self.sessions.iter().rposition(|(known, _)| *known == session) else { return Ok(()) };
        match self.forget(at) {
            Some(State::Shown) => row::note(session, time, "over", out),
            _ => Ok(()),
        }
    }

    /// Lines were lost on their way here.
    pub(super) fn missed(&mut self, count: u64, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "({count} lines are missing here: the terminal is too slow)")
    }

    fn put(&self, line: &Line, out: &mut impl Write) -> io::Result<()> {
        Row::of(line).write((self.width)(), out)
    }

    /// The place of a session; it is new if it has none.
    fn find(&mut self, session: SessionId) -> usize {
        if let Some(at) = self.sessions.iter().rposition(|(known, _)| *known == session) {
            return at;
        }
        if self.sessions.len() == SESSIONS {
            self.forget(0);
        }
        self.sessions.push_back((session, State::Held { lines: VecDeque::new(), dropped: 0 }));
        self.sessions.len() - 1
    }

    /// Lets the oldest dialogs go that are held back, until the others fit.
    fn bound(&mut self, newest: usize) {
        for (_, state) in self.sessions.iter_mut().take(newest) {
            if self.octets <= OCTETS {
                return;
            }
            if let State::Held { lines, dropped } = state {
                *dropped += lines.len();
                self.octets -= lines.drain(..).map(|line| line.octets.len()).sum::<usize>();
            }
        }
    }

    fn forget(&mut self, at: usize) -> Option<State> {
        let (_, state) = self.sessions.remove(at)?;
        if let State::Held { lines, .. } = &state {
            self.octets -= lines.iter().map(|line| line.octets.len()).sum::<usize>();
        }
        Some(state)
    }
}

/// Whether the line is a RCPT, on either side, for one who is meant.
fn names(recipients: &Addresses, line: &Line) -> bool {
    let is_rcpt = line.octets.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"RCPT"));
    if line.side != TraceSide::Client || !is_rcpt {
        return false;
    }
    match Command::parse(&line.octets) {
        Ok(Command::Rcpt { path, .. }) => recipients.matches(&Canonical::of(&path)),
        _ => false,
    }
}
