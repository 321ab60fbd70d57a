//! Clients that send without a pause, and the account of what they were told.
//!
//! In:    a door, and in which way to send; at which step to wait for a while.
//! Out:   of each message, to whom it was accepted and when it was under way; every refusal, with its time.
//! Never: sends on what was refused; counts as accepted what was not told so by the last word.
//!
//! RFC 5321 4.1.4 (order of commands), RFC 3030 2 (BDAT).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::messages;
use crate::rng::Rng;
use crate::support::raw::Raw;

/// At each of them a filter is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Connect,
    Helo,
    Mail,
    Rcpt,
    /// With half of the content.
    Data,
    /// The rest of it.
    Message,
}

impl Step {
    pub const ALL: [Step; 6] = [Step::Connect, Step::Helo, Step::Mail, Step::Rcpt, Step::Data, Step::Message];

    /// As metrics name it.
    pub fn stage(self) -> &'static str {
        ["connect", "helo", "mail", "rcpt", "data", "message"][self as usize]
    }
}

/// How a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Data,
    /// In chunks, more than is kept in memory.
    Bdat,
    /// To many, pipelined.
    Many,
}

impl Way {
    pub const ALL: [Way; 3] = [Way::Data, Way::Bdat, Way::Many];

    fn mailboxes(self) -> Vec<String> {
        match self {
            Way::Data => vec!["ann".to_owned()],
            Way::Bdat => vec!["bob".to_owned()],
            Way::Many => (1..=20).map(|number| format!("user{number:02}")).collect(),
        }
    }

    /// A body that is nobody else's.
    fn body(self, number: usize) -> String {
        let lines = if self == Way::Bdat { 6_000 } else { 1 };
        let text = "the quick brown fox jumps over the lazy dog\r\n".repeat(lines);
        format!("{number} begins\r\n{text}{number} ends\r\n")
    }
}

/// A message that was begun.
#[derive(Clone, Debug)]
pub struct Sent {
    pub way: Way,
    pub number: usize,
    /// Mailboxes whose RCPT heard 250.
    pub to: Vec<String>,
    pub is_accepted: bool,
    /// From its session's beginning until its last word.
    pub under_way: (Instant, Instant),
}

impl Sent {
    /// As Postfix stores it.
    pub fn body(&self) -> String {
        self.way.body(self.number).replace("\r\n", "\n")
    }
}

/// Something that was refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub step: Step,
    pub reply: String,
    /// From when it was asked for until it was heard.
    pub under_way: (Instant, Instant),
}

/// What the clients of one door were told.
pub struct Account {
    door: SocketAddr,
    /// Stands in each subject.
    pub name: &'static str,
    numbers: AtomicUsize,
    sent: Mutex<Vec<Sent>>,
    refusals: Mutex<Vec<Refusal>>,
}

impl Account {
    pub fn new(name: &'static str, door: SocketAddr) -> Self {
        Self { door, name, numbers: AtomicUsize::new(0), sent: Mutex::default(), refusals: Mutex::default() }
    }

    /// What was sent so far, in any order.
    pub fn sent(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn refusals(&self) -> MutexGuard<'_, Vec<Refusal>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many messages were accepted that were sent so.
    pub fn accepted(&self, way: Way) -> usize {
        self.sent().iter().filter(|sent| sent.is_accepted && sent.way == way).count()
    }

    /// Sends until all is over.
    pub fn load(&self, way: Way, mut rng: Rng, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            let mut client = Client::new(self, way);
            for _ in 0..=rng.below(3) {
                client.goes_on(Step::Message);
            }
            client.leaves();
            // Whoever is refused comes back a little later.
            thread::park_timeout(Duration::from_millis(20 + rng.below(30) as u64));
        }
    }
}

/// A client in the midst of its session.
pub struct Client<'a> {
    account: &'a Account,
    way: Way,
    raw: Option<Raw>,
    began: Instant,
    /// The next one.
    step: Step,
    refused: Option<Step>,
    number: usize,
    to: Vec<String>,
}

impl<'a> Client<'a> {
    /// One that has not connected yet.
    pub fn new(account: &'a Account, way: Way) -> Self {
        let (step, began) = (Step::Connect, Instant::now());
        Self { account, way, raw: None, began, step, refused: None, number: 0, to: Vec::new() }
    }

    /// One that has done all before this step.
    pub fn before(account: &'a Account, way: Way, step: Step) -> Self {
        let mut client = Self::new(account, way);
        if let Some(last) = Step::ALL.into_iter().rfind(|before| *before < step) {
            assert!(client.goes_on(last), "{:?}", account.refusals());
        }
        client
    }

    /// Goes on until this step is done, or one is refused; whether it is done. What was refused before is begun anew, as far
    /// as that can be.
    pub fn goes_on(&mut self, last: Step) -> bool {
        if self.refused.is_some_and(|step| step >= Step::Mail) {
            self.raw().ask("RSET", 250);
            (self.refused, self.step) = (None, Step::Mail);
        }
        while self.refused.is_none() && self.step <= last {
            let step = self.step;
            self.refused = Some(step).filter(|_| !self.does(step));
            self.step = Step::ALL.into_iter().find(|next| *next > step).unwrap_or(Step::Mail);
            if step == last {
                break;
            }
        }
        self.refused.is_none()
    }

    /// QUIT, unless it was sent away.
    pub fn leaves(self) {
        if let Some(raw) = self.raw.filter(|_| self.refused != Some(Step::Connect)) {
            raw.quit();
        }
    }

    fn does(&mut self, step: Step) -> bool {
        let said = match step {
            Step::Connect => {
                self.raw = Some(Raw::open(self.account.door));
                String::new()
            }
            Step::Helo => "EHLO client.example\r\n".to_owned(),
            Step::Mail => {
                self.number = self.account.numbers.fetch_add(1, Ordering::Relaxed);
                "MAIL FROM:<sender@client.example>\r\n".to_owned()
            }
            Step::Rcpt => return self.names_recipients(),
            Step::Data if self.way == Way::Bdat => {
                let (half, _) = self.halves();
                format!("BDAT {}\r\n{half}", half.len())
            }
            Step::Data => "DATA\r\n".to_owned(),
            Step::Message if self.way == Way::Bdat => {
                let (_, half) = self.halves();
                format!("BDAT {} LAST\r\n{half}", half.len())
            }
            Step::Message => self.halves().1 + ".\r\n",
        };
        let is_done = self.hears(step, &said, 1)[0];
        if step == Step::Data && self.way != Way::Bdat && is_done {
            let (half, _) = self.halves();
            self.raw().say(half);
        }
        if step == Step::Message {
            let (way, number, is_accepted) = (self.way, self.number, is_done);
            let (to, under_way) = (std::mem::take(&mut self.to), (self.began, Instant::now()));
            self.account.sent().push(Sent { way, number, to, is_accepted, under_way });
        }
        is_done
    }

    /// All in one group; whether any was accepted.
    fn names_recipients(&mut self) -> bool {
        let mailboxes = self.way.mailboxes();
        let said: String = mailboxes.iter().map(|to| format!("RCPT TO:<{to}@a.example>\r\n")).collect();
        let heard = self.hears(Step::Rcpt, &said, mailboxes.len());
        let accepted = mailboxes.into_iter().zip(heard).filter(|(_, is_accepted)| *is_accepted);
        self.to = accepted.map(|(mailbox, _)| mailbox).collect();
        !self.to.is_empty()
    }

    /// Says something, and hears so many replies: which of them go on.
    fn hears(&mut self, step: Step, said: &str, replies: usize) -> Vec<bool> {
        let began = Instant::now();
        self.raw().say(said);
        let mut heard = Vec::new();
        for _ in 0..replies {
            let reply = self.raw().reply();
            let goes_on = reply.starts_with(['2', '3']);
            if !goes_on {
                let under_way = (began, Instant::now());
                self.account.refusals().push(Refusal { step, reply, under_way });
            }
            heard.push(goes_on);
        }
        heard
    }

    fn raw(&mut self) -> &mut Raw {
        self.raw.as_mut().expect("it has connected")
    }

    fn halves(&self) -> (String, String) {
        let subject = format!("{} {}", self.account.name, self.number);
        let mut message = messages::message(&subject, &self.way.body(self.number));
        let half = message.split_off(message.len() / 2);
        (message, half)
    }
}
