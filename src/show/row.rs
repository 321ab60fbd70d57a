//! One line as it stands in the terminal: when, whose, and in which of two columns.
//!
//! **In**: a line of a dialog, the width of the terminal. **Out**: one or more rows, with colours; the stream that is
//! written to takes them out where there is no terminal or nobody wants them (`NO_COLOR`, `TERM=dumb`).
//! **Never**: lets an octet through that the terminal would obey.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anstyle::{AnsiColor, Style};

use super::Line;
use crate::log::text;
use crate::session::io::{Peer, TraceSide};
use crate::smtp::SessionId;

/// Where there is no terminal to ask.
const USUAL_WIDTH: usize = 132;

/// Time and session, with a space behind each.
const MARGIN: usize = 12 + 1 + 8 + 1;

/// What stands between the columns.
const GAP: usize = 3;

/// No column is narrower, however narrow the terminal is.
const NARROWEST: usize = 20;

const DIM: Style = Style::new().dimmed();

/// Sessions are told apart by these.
const SESSIONS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Magenta,
    AnsiColor::Yellow,
    AnsiColor::BrightBlue,
    AnsiColor::Green,
    AnsiColor::BrightRed,
];

/// How wide the terminal is.
pub(super) fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(USUAL_WIDTH)
}

/// A line, ready to be written.
pub(super) struct Row {
    session: SessionId,
    time: SystemTime,
    hop: bool,
    words: String,
    style: Style,
}

impl Row {
    pub(super) fn of(line: &Line) -> Self {
        let who = match line.side {
            TraceSide::Client => 'C',
            TraceSide::Server => 'S',
        };
        let said = text(&line.octets);
        let (hop, words) = match line.peer {
            Peer::Downstream | Peer::Spool => (false, format!("{who}: {said}")),
            Peer::Upstream(hop) => (true, format!("[{}] {who}: {said}", hop.number())),
        };
        let style = match (line.side, line.octets.first()) {
            (TraceSide::Client, _) => Style::new().bold(),
            (TraceSide::Server, Some(b'2' | b'3')) => color(AnsiColor::Green),
            (TraceSide::Server, Some(b'4')) => color(AnsiColor::Yellow),
            (TraceSide::Server, _) => color(AnsiColor::Red),
        };
        Self { session: line.session, time: line.time, hop, words, style }
    }

    /// Writes it; words that are wider than their column go on in the next row.
    pub(super) fn write(&self, width: usize, out: &mut impl Write) -> io::Result<()> {
        let column = (width.saturating_sub(MARGIN + GAP) / 2).max(NARROWEST);
        let (style, mut rest) = (self.style, self.words.as_str());
        let mut first = true;
        while first || !rest.is_empty() {
            let end = rest.char_indices().nth(column).map_or(rest.len(), |(end, _)| end);
            let (here, behind) = rest.split_at(end);
            if first {
                margin(self.session, self.time, out)?;
            } else {
                write!(out, "{:MARGIN$}", "")?;
            }
            let space = column - here.chars().count();
            match self.hop {
                true => writeln!(out, "{:column$} {DIM}\u{2502}{DIM:#} {style}{here}{style:#}", "")?,
                false => writeln!(out, "{style}{here}{style:#}{:space$} {DIM}\u{2502}{DIM:#}", "")?,
            }
            (first, rest) = (false, behind);
        }
        Ok(())
    }
}

/// Words about a session, across both columns.
pub(super) fn note(
    session: SessionId,
    time: SystemTime,
    words: &str,
    out: &mut impl Write,
) -> io::Result<()> {
    margin(session, time, out)?;
    writeln!(out, "{DIM}{words}{DIM:#}")
}

fn margin(session: SessionId, time: SystemTime, out: &mut impl Write) -> io::Result<()> {
    let short = (session.0 >> 32) as u32;
    let style = color(SESSIONS[short as usize % SESSIONS.len()]);
    write!(out, "{DIM}{}{DIM:#} {style}{short:08x}{style:#} ", clock(time))
}

/// The time of day, UTC, as the log has it.
fn clock(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since.as_secs() % 86400;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:03}", seconds % 60, since.subsec_millis())
}

const fn color(color: AnsiColor) -> Style {
    color.on_default()
}
