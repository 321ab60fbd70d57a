//! What becomes of a hop: which of its replies goes wrong, and how.
//!
//! **In**: the reply an honest hop would give. **Out**: what this one does instead, and when.
//! **Never**: says `unasked`, `malformed` or `wrong` where a client might rightly take it for an answer.

use super::{Act, Hop};
use crate::rng::Rng;

/// How a hop goes wrong, if it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Honest,
    Greeting,
    Dies,
    Silent,
    Malformed,
    Unasked,
    /// Goes when nobody wants anything of it.
    Leaves,
    Closing,
    WrongClass,
    Stalls,
    EarlyRefusal,
    EarlySuccess,
}

impl Fate {
    /// Mostly honest.
    pub fn draw(rng: &mut Rng) -> Fate {
        match rng.below(100) {
            0..=53 => Fate::Honest,
            54..=59 => Fate::Leaves,
            60..=64 => Fate::Greeting,
            65..=74 => Fate::Dies,
            75..=77 => Fate::Silent,
            78..=83 => Fate::Malformed,
            84..=88 => Fate::Unasked,
            89..=92 => Fate::Closing,
            93..=94 => Fate::WrongClass,
            95 => Fate::Stalls,
            96..=97 => Fate::EarlyRefusal,
            _ => Fate::EarlySuccess,
        }
    }
}

impl Hop {
    pub(super) fn say_early(&mut self, acts: &mut Vec<(u64, Act)>) {
        let words = match self.fate {
            Fate::EarlyRefusal => "552 5.3.4 early",
            Fate::EarlySuccess => "250 2.0.0 wrong",
            _ => return,
        };
        if !self.said_early && !self.inbox.is_empty() {
            self.said_early = true;
            let octets = format!("{words}\r\n").into_bytes();
            acts.push((1, Act::Early(octets)));
        }
    }

    /// The reply, as the hop's fate has it.
    pub(super) fn answer(&mut self, reply: String, of: Option<String>, greeting: bool) -> Vec<(u64, Act)> {
        let mut acts = self.fated(reply, of, greeting);
        if self.restless && self.rng.percent(12) {
            let last = acts.last().map_or(0, |(delay, _)| *delay);
            let later = if self.rng.percent(50) { 0 } else { self.rng.next() % 3_000 };
            acts.push((last + later, Act::Leave));
        }
        acts
    }

    fn fated(&mut self, reply: String, of: Option<String>, greeting: bool) -> Vec<(u64, Act)> {
        let delay = match self.rng.below(100) {
            0..=79 => self.rng.next() % 30,
            80..=97 => self.rng.next() % 2_000,
            _ => self.rng.next() % 90_000,
        };
        let answers = usize::from(!greeting);
        let due = self.step == 0;
        self.step = self.step.wrapping_sub(1);
        let say = |text: String, of: Option<String>| Act::Say {
            octets: format!("{text}\r\n").into_bytes(),
            answers,
            of,
        };
        let code: String = reply.chars().take(3).collect();
        match self.fate {
            Fate::Dies if due => {
                self.dead = true;
                vec![(delay, if self.rng.percent(50) { Act::Eof } else { Act::Lost })]
            }
            Fate::Stalls if due => {
                self.stalled = true;
                vec![(delay, say(reply, of))]
            }
            Fate::Silent if due => {
                self.dead = true;
                Vec::new()
            }
            Fate::Closing if due => {
                self.dead = true;
                let words = self.rng.pick(&["421 4.3.2 closing", "421 4.7.0 go away", "421 closing"]);
                vec![(delay, say(words.to_owned(), None)), (delay + 1, Act::Eof)]
            }
            Fate::Malformed if due => {
                self.dead = true;
                let octets = match self.rng.below(8) {
                    0 => format!("{code} malformed\n"),
                    1 => format!("{code} malformed\rmalformed\r\n"),
                    2 => format!("{code}-malformed\r\n299 malformed\r\n"),
                    3 => format!("{code} mal\0formed\r\n"),
                    4 => "malformed\r\n".to_owned(),
                    5 => "999 malformed\r\n".to_owned(),
                    // Longer than a line of AUTH, too.
                    6 => format!("{code} {}malformed\r\n", "x".repeat(13_000)),
                    _ => format!("{code}-malformed\r\n").repeat(5000),
                };
                vec![(delay, Act::Say { octets: octets.into_bytes(), answers, of: None })]
            }
            // (To a line of AUTH either is of the right class; one that is wrong already stays so.)
            Fate::WrongClass
                if due
                    && !greeting
                    && code.starts_with(['2', '3'])
                    && code != "334"
                    && code != "235"
                    && reply != "354 wrong" =>
            {
                let wrong = if code.starts_with('3') { "250 2.0.0 wrong" } else { "354 wrong" };
                vec![(delay, say(wrong.to_owned(), None))]
            }
            Fate::Leaves if due => {
                let later = if self.rng.percent(50) { 0 } else { self.rng.next() % 3_000 };
                vec![(delay, say(reply, of)), (delay + later, Act::Leave)]
            }
            Fate::Unasked if due => {
                let words =
                    self.rng.pick(&["250 2.0.0 unasked", "421 4.4.2 unasked", "550 unasked", "354 unasked"]);
                let more = format!("{words}\r\n").into_bytes();
                if !greeting && !code.starts_with('3') && self.rng.percent(50) {
                    let reply = format!("{reply}\r\n").into_bytes();
                    return vec![(delay, Act::Twice { reply, more, of })];
                }
                let later = if self.rng.percent(50) { 0 } else { self.rng.next() % 3_000 };
                vec![(delay, say(reply, of)), (delay + later, Act::Unasked(more))]
            }
            _ => vec![(delay, say(reply, of))],
        }
    }
}

/// A refusal of either class.
pub fn refusal(roll: usize, id: &str) -> String {
    if id.is_empty() {
        return "550 5.1.1 no".to_owned();
    }
    if roll.is_multiple_of(2) { format!("450 4.2.0 later [{id}]") } else { format!("550 5.1.1 no [{id}]") }
}
