//! Octets as a play: who does what next.
//!
//! | octet | is |
//! |---|---|
//! | first of all | the configuration |
//! | 00 to 4f | the client sends what stands in that place of its words; 00 is nothing |
//! | 50 to 57 | the client sends so many octets: the next one, and as many as it says |
//! | 58 to 97 | everybody who owes something does it well, in the way the octet says, until nobody does |
//! | 98 to a7 | a hop answers well; the next octet: which one does not matter, the way |
//! | a8 to bf | a hop says something; the next two octets: which, what |
//! | c0 to c3 | a hop says so many octets: the next three: which, how many, and those |
//! | c4 to c7 | a hop sends a FIN; breaks; takes nothing; takes it again |
//! | c8 to cb | a connection stands; not; not the client's address, twice |
//! | cc to cf | a handshake is done; fails in one of three ways |
//! | d0 to db | a callout answers; the next octet: what, or that it fails |
//! | dc, dd | a callout answers late |
//! | de to e3 | hosts are found, one, two, or none for one of four reasons |
//! | e4 to eb | time passes, from a moment to minutes |
//! | ec to f5 | the deadline comes |
//! | f6 to ff | the client sends a FIN, breaks; the process wants to stop, must; too many sessions; else nothing |
//!
//! **In**: octets. **Out**: a session that was played to its end. **Never**: ends before the session does.

use std::time::Duration;

use gatepost::callout::answer::{Grants, decode};
use gatepost::session::callout::{CalloutAnswer, Fault, FaultKind};
use gatepost::session::client::TlsFaultKind;
use gatepost::session::route::{NotFound, PoolId};
use gatepost::session::verdict::Stage;

use super::shell::{Shell, Tally};
use super::words::{CALLOUT, CLIENT, HOP};
use super::worlds;

/// So often everybody does well at most.
const ROUNDS: usize = 24;

/// A play and how far it is.
pub struct Play<'a> {
    rest: &'a [u8],
    shell: Shell,
}

impl<'a> Play<'a> {
    pub fn new(octets: &'a [u8]) -> Play<'a> {
        let mut play = Play { rest: octets, shell: Shell::new(worlds::chosen(0)) };
        let by = play.next();
        play.shell = Shell::new(worlds::chosen(by));
        play
    }

    /// Plays it.
    pub fn play_on(mut self) -> Tally {
        while !self.rest.is_empty() && !self.shell.is_over() {
            self.step();
        }
        self.shell.finish()
    }

    fn next(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        first
    }

    fn octets(&mut self) -> &'a [u8] {
        let count = usize::from(self.next()).min(self.rest.len());
        let (octets, rest) = self.rest.split_at(count);
        self.rest = rest;
        octets
    }

    /// One of the hops whose connections stand.
    fn hop(&mut self) -> Option<usize> {
        let by = usize::from(self.next());
        let open = self.shell.open_hops();
        open.get(by % open.len().max(1)).copied()
    }

    fn step(&mut self) {
        match self.next() {
            at @ ..0x50 => self.shell.sends(0, CLIENT[usize::from(at) % CLIENT.len()]),
            0x50..0x58 => {
                let octets = self.octets();
                self.shell.sends(0, octets);
            }
            way @ 0x58..0x98 => self.goes_well(way),
            0x98..0xa8 => {
                let way = self.next();
                self.shell.replies(way);
            }
            0xa8..0xc0 => {
                let (hop, what) = (self.hop(), usize::from(self.next()));
                hop.into_iter().for_each(|hop| self.shell.sends(hop, HOP[what % HOP.len()]));
            }
            0xc0..0xc4 => {
                let (hop, octets) = (self.hop(), self.octets());
                hop.into_iter().for_each(|hop| self.shell.sends(hop, octets));
            }
            what @ 0xc4..0xc8 => {
                let Some(hop) = self.hop() else { return };
                match what {
                    0xc4 => self.shell.ends(hop),
                    0xc5 => self.shell.breaks(hop),
                    _ => self.shell.stalls(hop, what == 0xc6),
                }
            }
            what @ 0xc8..0xcc => drop(self.shell.connects(what & 1 == 0, what & 2 != 0)),
            what @ 0xcc..0xd0 => {
                let fault = [None, Some(TlsFaultKind::Lost), Some(TlsFaultKind::Certificate)];
                self.shell.secures(
                    fault.get(usize::from(what - 0xcc)).copied().unwrap_or(Some(TlsFaultKind::TimedOut)),
                );
            }
            0xd0..0xdc => {
                let answer = self.answer();
                self.shell.answers(answer);
            }
            0xdc..0xde => {
                let answer = self.answer();
                self.shell.answers_late(answer);
            }
            what @ 0xde..0xe4 => {
                let found = match what {
                    0xde => Ok(&["m"][..]),
                    0xdf => Ok(&["n", "m"][..]),
                    0xe0 => Err(NotFound::NoDomain),
                    0xe1 => Err(NotFound::NullMx),
                    0xe2 => Err(NotFound::Loop),
                    _ => Err(NotFound::Unknown),
                };
                self.shell.looks_up(found);
            }
            what @ 0xe4..0xec => self.shell.waits(Duration::from_millis(1 << (2 * (what - 0xe4)))),
            0xec..0xf6 => self.shell.deadline(),
            0xf6 => self.shell.ends(0),
            0xf7 => self.shell.breaks(0),
            0xf8 => self.shell.stops(false),
            0xf9 => self.shell.stops(true),
            0xfa => self.shell.exceeds(),
            0xfb.. => {}
        }
    }

    /// Whoever owes something does it well.
    fn goes_well(&mut self, way: u8) {
        for _ in 0..ROUNDS {
            let mut moved = self.shell.connects(true, false);
            moved |= self.shell.secures(None);
            moved |= self.shell.looks_up(Ok(&["m"]));
            if let Some(stage) = self.shell.question() {
                moved |= self.shell.answers(said("{}", stage));
            }
            moved |= self.shell.replies(way);
            if !moved {
                return;
            }
        }
    }

    fn answer(&mut self) -> Result<CalloutAnswer, Fault> {
        let what = usize::from(self.next());
        let Some(stage) = self.shell.question() else { return Ok(CalloutAnswer::Reply(None)) };
        match CALLOUT.get(what % (CALLOUT.len() + 2)) {
            Some(json) if what < 0xc0 => said(json, stage),
            // Of another stage: nobody should say that, and so somebody will.
            Some(json) => said(json, stage_of(what)),
            None => Err(Fault::new(FaultKind::Lost, "it says so")),
        }
    }
}

/// One of the stages at which services that speak HTTP are asked.
pub fn stage_of(number: usize) -> Stage {
    let asked = |stage: &Stage| *stage != Stage::Message;
    let mut stages = Stage::ALL.into_iter().filter(asked).cycle().skip(number % (Stage::ALL.len() - 1));
    stages.next().expect("it goes round")
}

/// An answer in JSON, under grants that allow anything.
pub fn said(json: &str, stage: Stage) -> Result<CalloutAnswer, Fault> {
    decode(json.as_bytes(), stage, &grants())
}

/// The pools are those of `worlds`.
pub fn grants() -> Grants {
    let names = ["branch", "domains", "lists", "main"];
    let pools = names.into_iter().zip(0..).map(|(name, at)| (name.into(), PoolId(at)));
    Grants { pools: pools.collect(), attempts: 4, line: 2048, discard: true }
}
