//! Walks a script: feeds what the parties say, compares what gatepost says.
//!
//! **In**: a [`Script`] and a [`Driver`]. **Out**: the lines `BLESS=1` would rewrite, or a [`Mismatch`] that shows
//! the dialog as a diff.
//! **Never**: lets gatepost speak before its turn: whenever a party is about to speak, everything gatepost has
//! said so far must have been written down above (except with all client lines early, where only each
//! party's own order can be compared).

use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::handshake::Handshake;
use super::parse::{Action, LookUp, Party, Script, Step};

/// How octets, ends and time get into gatepost, and what it said gets out.
pub trait Driver {
    /// A party says something.
    fn feed(&mut self, party: &Party, octets: &[u8]);
    /// A party sends its FIN.
    fn eof(&mut self, party: &Party);
    /// A party's connection breaks.
    fn lost(&mut self, party: &Party);
    /// What becomes of the connection asked for.
    fn connect(&mut self, party: &Party, accepted: bool);
    /// Accepts it, but not from the client's address. Sockets have no other.
    fn untold(&mut self, _: &Party) {}
    /// The hosts to which a connection was asked for and nothing became of it yet.
    fn connecting(&mut self) -> Vec<Party>;
    /// A host takes no more octets.
    fn stall(&mut self, party: &Party);
    /// What comes of the handshake with a party; an error if gatepost did not ask for one.
    fn secure(&mut self, party: &Party, outcome: &Handshake) -> Result<(), String>;
    /// Whether gatepost had this to log, where that can be seen.
    fn logged(&mut self, line: &str) -> Result<(), String>;
    /// What becomes of a lookup that gatepost asked for; an error if it did not.
    fn look_up(&mut self, domain: &str, answer: &LookUp) -> Result<(), String>;
    /// A callout answers its latest question; `late`: nobody waits for that any more.
    fn tell(&mut self, callout: &Party, answer: &str, late: bool) -> Result<(), String>;
    /// Time passes.
    fn pass(&mut self, time: Duration);
    /// The process is asked to stop.
    fn shutdown(&mut self);
    /// Dialogs with hosts are running out, or are not any more. Sockets have the real pools.
    fn stress(&mut self, _: bool) {}
    /// What gatepost said to a party and nobody took yet; waits for `enough` of it where waiting is needed.
    fn heard(&mut self, party: &Party, enough: &dyn Fn(&[u8]) -> bool) -> &mut Vec<u8>;
    /// Whether gatepost has closed the connection; waits for it where waiting is needed and `expected`.
    fn closed(&mut self, party: &Party, expected: bool) -> bool;
    /// Whether gatepost has sent its FIN there.
    fn finished(&mut self, party: &Party) -> bool;
    /// Everybody to whom gatepost said something that nobody took yet. Never waits.
    fn unheard(&mut self) -> Vec<(Party, Vec<u8>)>;
    /// What is wrong when the script is over, if anything is.
    fn finish(&mut self) -> Option<String>;
}

/// How a script is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// As written: consecutive lines of a party in one piece.
    Written,
    /// All the client's lines at the start; those behind a handshake of its, right behind that.
    Early,
    /// As written, over sockets: who speaks first is not compared.
    Sockets,
    /// As written, with callouts that the script knows nothing of: a group of commands is asked about one by one, so
    /// that who speaks first is not compared either.
    Asked,
}

/// A line to be rewritten: file, line, new text.
#[derive(Debug)]
pub struct Blessing(pub Rc<Path>, pub usize, pub String);

/// A script that went another way.
#[derive(Debug)]
pub struct Mismatch(pub String);

/// Runs a script. `bless`: a reply of gatepost's with the code that was expected and other words is taken as right
/// and given back.
pub fn run(
    script: &Script,
    manner: Manner,
    driver: &mut dyn Driver,
    bless: bool,
) -> Result<Vec<Blessing>, Mismatch> {
    let steps = arranged(script, manner);
    let mut walk = Walk {
        steps: &steps,
        at: 0,
        driver,
        bless,
        strict: manner == Manner::Written,
        blessings: Vec::new(),
    };
    while walk.at < steps.len() {
        walk.step().map_err(|what| walk.mismatch(script, manner, &what))?;
        walk.at += 1;
    }
    walk.connections()
        .and_then(|()| walk.nothing_unheard())
        .map_err(|what| walk.mismatch(script, manner, &what))?;
    match walk.driver.finish() {
        Some(what) => Err(walk.mismatch(script, manner, &what)),
        None => Ok(walk.blessings),
    }
}

/// The steps, consecutive lines of a party put together, in the order they are taken.
fn arranged(script: &Script, manner: Manner) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let early = manner == Manner::Early;
    let speaks = |step: &&Step| early && matches!(step.action, Action::Feed(Party::Client, _));
    // No line of the client's can come before a handshake that it stands behind.
    let handshake = |step: &Step| matches!(step.action, Action::Secure(Party::Client, _));
    for steps_between in script.steps.split_inclusive(handshake) {
        let lines = steps_between.iter().filter(speaks);
        for step in lines.chain(steps_between.iter().filter(|step| !speaks(step))) {
            if let (Action::Feed(party, more), Some(last)) = (&step.action, steps.last_mut())
                && let Action::Feed(before, octets) = &mut last.action
                && before == party
                && (!step.apart || early)
            {
                octets.extend_from_slice(more);
                let _ = write!(last.text, "\n{}", step.text);
                continue;
            }
            steps.push(step.clone());
        }
    }
    steps
}

struct Walk<'a> {
    steps: &'a [Step],
    at: usize,
    driver: &'a mut dyn Driver,
    bless: bool,
    strict: bool,
    blessings: Vec<Blessing>,
}

impl Walk<'_> {
    fn step(&mut self) -> Result<(), String> {
        self.connections()?;
        let step = &self.steps[self.at];
        if !step.action.compares() && self.strict {
            self.nothing_unheard()?;
        }
        match &step.action {
            Action::Feed(party, octets) => {
                if self.driver.closed(party, false) {
                    return Err(format!("gatepost has closed the connection with {party}"));
                }
                self.driver.feed(party, octets);
            }
            Action::Line(party, line) => {
                let said = self.line(party)?;
                if &said != line {
                    self.words(party, line, &said)?;
                }
            }
            Action::Begins(party, start) => {
                let said = self.line(party)?;
                if !said.starts_with(start) {
                    return Err(differs(party, start, &said));
                }
                if self.bless {
                    self.rewritten(&said);
                }
            }
            Action::Octets(party, octets) => {
                let heard = self.driver.heard(party, &|heard| heard.len() >= octets.len());
                if !heard.starts_with(octets) {
                    let said = heard[..heard.len().min(octets.len())].to_vec();
                    return Err(differs(party, octets, &said));
                }
                heard.drain(..octets.len());
            }
            Action::Eof(party) => self.driver.eof(party),
            Action::Lost(party) => self.driver.lost(party),
            Action::Finished(party) => {
                if !self.driver.finished(party) {
                    return Err(format!("gatepost has not sent its FIN to {party}"));
                }
            }
            Action::Closed(party) => {
                if !self.driver.closed(party, true) {
                    return Err(format!("gatepost has not closed the connection with {party}"));
                }
            }
            Action::Refused(party) => {
                self.asked(party)?;
                self.driver.connect(party, false);
            }
            Action::Silent(party) => self.asked(party)?,
            Action::Untold(party) => {
                self.asked(party)?;
                self.driver.untold(party);
            }
            Action::Opened(_) => {}
            Action::Stalls(party) => self.driver.stall(party),
            Action::Logged(line) => self.driver.logged(line)?,
            Action::Secure(party, outcome) => self.driver.secure(party, outcome)?,
            Action::Anything(party) => self.driver.heard(party, &|_| true).clear(),
            Action::LookUp(domain, answer) => self.driver.look_up(domain, answer)?,
            Action::Told { callout, answer, late } => self.driver.tell(callout, answer, *late)?,
            Action::Pass(time) => self.driver.pass(*time),
            Action::Shutdown => self.driver.shutdown(),
            Action::Stress(on) => self.driver.stress(*on),
        }
        Ok(())
    }

    /// Accepts the connections gatepost asks for, as far as the script knows of them.
    fn connections(&mut self) -> Result<(), String> {
        loop {
            let mut accepted = false;
            for party in self.driver.connecting() {
                match self.steps[self.at.min(self.steps.len())..]
                    .iter()
                    .find(|step| step.action.party() == Some(&party))
                {
                    Some(Step {
                        action: Action::Refused(_) | Action::Silent(_) | Action::Untold(_), ..
                    }) => {}
                    Some(_) => {
                        self.driver.connect(&party, true);
                        accepted = true;
                    }
                    // A host that was silent stays so.
                    None if self.silent(&party) => {}
                    None => return Err(format!("gatepost asks for a connection with {party}")),
                }
            }
            if !accepted {
                return Ok(());
            }
        }
    }

    fn silent(&self, party: &Party) -> bool {
        self.steps.iter().any(|step| matches!(&step.action, Action::Silent(silent) if silent == party))
    }

    fn asked(&mut self, party: &Party) -> Result<(), String> {
        match self.driver.connecting().contains(party) {
            true => Ok(()),
            false => Err(format!("gatepost does not ask for a connection with {party}")),
        }
    }

    fn nothing_unheard(&mut self) -> Result<(), String> {
        let unheard = self.driver.unheard();
        // A parting QUIT is like the close it comes with: one that is not written down is not compared.
        let parting = |party: &Party, said: &[u8], driver: &mut dyn Driver| {
            *party != Party::Client && said == b"QUIT\r\n" && driver.closed(party, false)
        };
        match unheard.iter().find(|(party, said)| !parting(party, said, self.driver)) {
            None => Ok(()),
            Some((party, said)) => {
                Err(format!("to {party}, not expected here:\n{}", shown('+', party, said)))
            }
        }
    }

    /// The next line gatepost said to a party, with the session's id made the same everywhere.
    fn line(&mut self, party: &Party) -> Result<Vec<u8>, String> {
        let heard = self.driver.heard(party, &|heard| heard.contains(&b'\n'));
        let Some(end) = heard.iter().position(|&octet| octet == b'\n') else {
            let said = heard.clone();
            let expected = &self.steps[self.at].text;
            return Err(format!("nothing said to {party}:\n- {expected}\n{}", shown('+', party, &said)));
        };
        let mut line: Vec<u8> = heard.drain(..=end).collect();
        // A session's id is 16 hex digits in brackets at the end of gatepost's own negative replies.
        if let Some(text) = line.strip_suffix(b"]\r\n")
            && text.len() > 17
            && text[text.len() - 17] == b'['
            && text[text.len() - 16..].iter().all(u8::is_ascii_hexdigit)
        {
            line = [&text[..text.len() - 16], b"id]\r\n"].concat();
        }
        Ok(line)
    }

    /// Other words: fine while blessing, if the codes agree.
    fn words(&mut self, party: &Party, line: &[u8], said: &[u8]) -> Result<(), String> {
        if self.bless && *party == Party::Client && codes(line) == codes(said) && said.ends_with(b"[id]\r\n")
        {
            self.rewritten(said);
            return Ok(());
        }
        Err(differs(party, line, said))
    }

    fn rewritten(&mut self, said: &[u8]) {
        let step = &self.steps[self.at];
        let text = format!("S: {}", String::from_utf8_lossy(said).trim_end_matches("\r\n"));
        self.blessings.push(Blessing(step.file.clone(), step.line, text));
    }

    fn mismatch(&mut self, script: &Script, manner: Manner, what: &str) -> Mismatch {
        let mut text = format!("{} ({manner:?}): {}\n", script.name, script.title);
        for (index, step) in self.steps.iter().enumerate() {
            if index == self.at {
                let _ = writeln!(text, "> {}:{}: {what}", step.file.display(), step.line);
            }
            let from = self.at.saturating_sub(12);
            if index >= from && index <= self.at + 3 {
                let clipped: String = step.text.chars().take(300).collect();
                let _ = writeln!(text, "  {clipped}");
            }
        }
        if self.at >= self.steps.len() {
            let _ = writeln!(text, "> at the end: {what}");
        }
        for (party, said) in self.driver.unheard() {
            let _ = writeln!(text, "  still unheard by {party}:\n{}", shown('+', &party, &said));
        }
        Mismatch(text)
    }
}

/// Code and enhanced code: what must not change unseen.
fn codes(line: &[u8]) -> Vec<&[u8]> {
    line.splitn(3, |&octet| octet == b' ').take(2).collect()
}

fn differs(party: &Party, expected: &[u8], said: &[u8]) -> String {
    format!("to {party}:\n{}{}", shown('-', party, expected), shown('+', party, said))
}

fn shown(sign: char, party: &Party, octets: &[u8]) -> String {
    let mut text = String::new();
    for line in octets.split_inclusive(|&octet| octet == b'\n').take(12) {
        let side = if *party == Party::Client { 'S' } else { 'C' };
        let end = if line.ends_with(b"\r\n") { line.len() - 2 } else { line.len() };
        let plain: String =
            line[..end].escape_ascii().to_string().replace("\\\"", "\"").chars().take(300).collect();
        let mark = if end == line.len() { "=" } else { ":" };
        let _ = writeln!(text, "{sign} {side}{mark} {plain}");
    }
    text
}
