//! What a filter and gatepost agree upon before anything else.
//!
//! **In**: what a filter answers to what it is offered. **Out**: which steps it wants, which of them it answers, what it may
//! change, which macros it is told.
//! **Never**: sends a step that was not wanted, or takes a change that was not agreed upon.
//!
//! Sendmail's `mfapi.h` (SMFIF_*, SMFIP_*), libmilter's `smfi_setsymlist`. Postfix's `milter_*_macros` (postconf(5)) are
//! the macros of a filter that asks for none.

use super::frame::command as of;
use crate::config::types::{Occasion, macro_name};
use crate::session::callout::{Fault, FaultKind};

/// The version of the protocol.
const VERSION: u32 = 6;

/// What a filter may do.
pub(super) mod action {
    pub const ADD_FIELDS: u32 = 0x01;
    pub const CHANGE_BODY: u32 = 0x02;
    pub const ADD_RECIPIENTS: u32 = 0x04;
    pub const REMOVE_RECIPIENTS: u32 = 0x08;
    pub const CHANGE_FIELDS: u32 = 0x10;
    pub const QUARANTINE: u32 = 0x20;
    pub const CHANGE_SENDER: u32 = 0x40;
    pub const ADD_RECIPIENTS_WITH_PARAMETERS: u32 = 0x80;
    pub const CHOOSE_MACROS: u32 = 0x100;
    pub const ALL: u32 = 0x1ff;
}

/// It knows what became of recipients.
const REFUSED_RECIPIENTS: u32 = 0x800;
/// White space behind a colon is part of the value.
const LEADING_SPACE: u32 = 0x10_0000;
/// All that can be honoured.
const STEPS: u32 = 0x1f_ffff;

/// For each command: the step it is left out by, and the one that leaves its reply out.
const STEP: [(u8, u32, u32); 8] = [
    (of::CONNECT, 0x01, 0x1000),
    (of::HELO, 0x02, 0x2000),
    (of::MAIL, 0x04, 0x4000),
    (of::RCPT, 0x08, 0x8000),
    (of::DATA, 0x200, 0x1_0000),
    (of::HEADER, 0x20, 0x80),
    (of::END_OF_HEADER, 0x40, 0x4_0000),
    (of::BODY, 0x10, 0x8_0000),
];

/// What was agreed upon.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    version: u32,
    actions: u32,
    steps: u32,
    /// By [`Occasion`], where the filter has chosen them.
    macros: [Option<Vec<Box<str>>>; Occasion::ALL.len()],
}

/// What is offered. `refused`: recipients that were refused can be told of.
pub(super) fn offer(refused: bool) -> [u8; 12] {
    let mut data = [0; 12];
    let words = [VERSION, action::ALL, steps(refused)];
    data.as_chunks_mut().0.iter_mut().zip(words).for_each(|(at, word)| *at = word.to_be_bytes());
    data
}

fn steps(refused: bool) -> u32 {
    if refused { STEPS } else { STEPS & !REFUSED_RECIPIENTS }
}

impl Options {
    /// What the filter answers to the offer.
    pub(super) fn read(data: &[u8], refused: bool) -> Result<Self, Fault> {
        let wrong = |what: String| Err(Fault::new(FaultKind::Malformed, what));
        let words = data.as_chunks::<4>().0;
        let words: Vec<u32> = words.iter().map(|word| u32::from_be_bytes(*word)).collect();
        let [version, actions, wanted, ..] = words[..] else {
            return wrong(format!("options of {} octets, where 12 are the least", data.len()));
        };
        if !(2..=VERSION).contains(&version) {
            return wrong(format!("version {version} of the protocol, where 2 to {VERSION} are spoken"));
        }
        if actions & !action::ALL != 0 {
            return wrong(format!("wants leave for what was not offered: {:#x}", actions & !action::ALL));
        }
        let mut options =
            Self { version, actions, steps: wanted & steps(refused), macros: Default::default() };
        if actions & action::CHOOSE_MACROS != 0 {
            options.choose(&data[12..])?;
        }
        Ok(options)
    }

    /// Lists of macros: the number of an occasion, and names with white space between them.
    fn choose(&mut self, mut lists: &[u8]) -> Result<(), Fault> {
        let broken = || Fault::new(FaultKind::Malformed, "a list of macros that does not end");
        while !lists.is_empty() {
            let (number, rest) = lists.split_first_chunk::<4>().ok_or_else(broken)?;
            let end = memchr::memchr(0, rest).ok_or_else(broken)?;
            let names = String::from_utf8_lossy(&rest[..end]);
            let number = u32::from_be_bytes(*number) as usize;
            // What a later libmilter may have more is not known here.
            if let Some(list) = self.macros.get_mut(number) {
                *list = Some(names.split_ascii_whitespace().map(macro_name).collect());
            }
            lists = &rest[end + 1..];
        }
        Ok(())
    }

    /// The macros of an occasion, where the filter has chosen them.
    pub(super) fn macros(&self, occasion: Occasion) -> Option<&[Box<str>]> {
        self.macros[occasion as usize].as_deref()
    }

    /// Whether it is told of this command.
    pub(super) fn wants(&self, command: u8) -> bool {
        let known = command != of::DATA || self.version >= 4;
        known && step(command).is_none_or(|(without, _)| self.steps & without == 0)
    }

    /// Whether it answers to this command.
    pub(super) fn answers(&self, command: u8) -> bool {
        step(command).is_none_or(|(_, silently)| self.steps & silently == 0)
    }

    /// Whether it may do this.
    pub(super) fn may(&self, action: u32) -> bool {
        self.actions & action != 0
    }

    /// Whether white space behind a colon is part of the value, both ways.
    pub(super) fn has_leading_space(&self) -> bool {
        self.steps & LEADING_SPACE != 0
    }

    /// Whether it is told of recipients that were refused.
    pub(super) fn wants_refused(&self) -> bool {
        self.steps & REFUSED_RECIPIENTS != 0
    }
}

fn step(command: u8) -> Option<(u32, u32)> {
    STEP.iter().find(|(code, ..)| *code == command).map(|(_, without, silently)| (*without, *silently))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(words: [u32; 3], lists: &[u8]) -> Result<Options, Fault> {
        let mut data: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        data.extend_from_slice(lists);
        Options::read(&data, false)
    }

    #[test]
    fn offered() {
        assert_eq!(offer(true), *b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff");
        assert_eq!(offer(false), *b"\0\0\0\x06\0\0\x01\xff\0\x1f\xf7\xff");
    }

    #[test]
    fn agreed() {
        // As rspamd answers, whatever it is offered.
        let silent = answer([6, 0x1ff, 0x0f_f080], b"").unwrap();
        for (command, ..) in STEP {
            assert!(silent.wants(command) && !silent.answers(command), "{}", command as char);
        }
        assert!(silent.answers(of::END_OF_MESSAGE) && silent.wants(of::END_OF_MESSAGE));
        let old = answer([2, 0x3f, 0], b"").unwrap();
        assert!(!old.wants(of::DATA) && old.wants(of::BODY));
        assert!(old.may(action::QUARANTINE) && !old.may(action::CHANGE_SENDER));
        let choosy =
            answer([6, 0x101, 0x11_0002], b"\0\0\0\x06i {msg_id} j\0\0\0\0\x09x\0\0\0\0\0\0").unwrap();
        assert!(!choosy.wants(of::HELO) && choosy.has_leading_space() && !choosy.answers(of::DATA));
        let names: Vec<&str> = choosy.macros(Occasion::Eoh).unwrap().iter().map(|name| &**name).collect();
        assert_eq!(names, ["i", "{msg_id}", "j"]);
        assert_eq!(choosy.macros(Occasion::Connect), Some(&[][..]));
        assert_eq!(choosy.macros(Occasion::Mail), None);
        // What was not offered is not done.
        assert!(!answer([6, 0, 0x800], b"").unwrap().wants_refused());
    }

    #[test]
    fn not_agreed() {
        let fault = |data: &[u8]| Options::read(data, false).unwrap_err().what;
        assert_eq!(&*fault(b"\0\0\0\x06"), "options of 4 octets, where 12 are the least");
        let fault = |words, lists: &[u8]| answer(words, lists).unwrap_err().what;
        assert_eq!(&*fault([7, 0, 0], b""), "version 7 of the protocol, where 2 to 6 are spoken");
        assert_eq!(&*fault([1, 0, 0], b""), "version 1 of the protocol, where 2 to 6 are spoken");
        assert_eq!(&*fault([6, 0x201, 0], b""), "wants leave for what was not offered: 0x200");
        assert_eq!(&*fault([6, 0x100, 0], b"\0\0\0\x01i"), "a list of macros that does not end");
        assert_eq!(&*fault([6, 0x100, 0], b"\0\0"), "a list of macros that does not end");
    }
}
