//! A client: polite or not, lockstep or pipelining, and it may leave at any octet.
//!
//! **In**: the octets gatepost says. **Out**: octets to send. **Never**: takes an answer for another command's: replies are
//! counted, and the ids in them compared (law 1).

#[path = "plan.rs"]
mod plan;

use std::collections::VecDeque;

use super::bent::Bent;
use super::ledger::{Ledger, Message};
use super::rng::Rng;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Greeting,
    Hello,
    Mail,
    Rcpt,
    Data,
    Content,
    Chunk { last: bool },
    Reset,
    Auth,
    StartTls,
    Xclient,
    Other,
    Quit,
}

#[derive(Clone, Debug)]
struct Unit {
    kind: Kind,
    /// What a reply to it may name.
    id: String,
    octets: Vec<u8>,
    /// Nothing may be sent behind it before it is answered.
    last: bool,
}

/// What the client sends: octets, and the message that is whole when they have arrived.
pub struct Sent {
    /// The octets.
    pub octets: Vec<u8>,
    /// The sender's id of a message that ends with them.
    pub ends: Option<String>,
}

/// Where a client stands with TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tls {
    /// It speaks in plain, or has done its handshake.
    Quiet,
    /// It has heard that it may begin.
    Invited,
    /// Its handshake goes on.
    Begun,
}

/// The client of one session.
pub struct Client {
    rng: Rng,
    plan: VecDeque<Unit>,
    pending: VecDeque<Unit>,
    inbox: Vec<u8>,
    window: usize,
    polite: bool,
    /// Sends its content without waiting for 354.
    eager: bool,
    /// It was eager and DATA was refused: what it hears from here on answers what was never meant as a command.
    astray: bool,
    sender: Option<String>,
    /// The sender it named last.
    composing: String,
    /// A 421 or 521 was heard: nothing but the close may follow.
    pub parting: bool,
    /// It heard 235.
    pub authenticated: bool,
    /// Where it stands with TLS.
    tls: Tls,
    /// Hellos said again, so far.
    hellos: usize,
    /// Whether it goes away at the end of its plan, or stays silent.
    pub leaves: bool,
    /// It goes away in the midst, when it has said so many things; and whether without a FIN.
    goes: Option<(usize, bool)>,
    said: usize,
    bent: Bent,
}

impl Client {
    /// Plans a session.
    pub fn new(mut rng: Rng, bent: Bent, securing: bool) -> Client {
        let window = match rng.percent(if bent.groups { 0 } else { 50 }) {
            true => 1,
            false => 1 + rng.below(12),
        };
        let polite = rng.percent(85);
        let mut client = Client {
            window,
            polite,
            eager: rng.percent(5),
            astray: false,
            plan: VecDeque::new(),
            pending: VecDeque::new(),
            inbox: Vec::new(),
            sender: None,
            composing: String::new(),
            parting: false,
            authenticated: false,
            tls: if securing { Tls::Begun } else { Tls::Quiet },
            hellos: 0,
            leaves: rng.percent(80),
            goes: bent.fleeting.then(|| (rng.below(24), rng.percent(40))),
            said: 0,
            bent,
            rng,
        };
        client.pending.push_back(Unit {
            kind: Kind::Greeting,
            id: "connect".into(),
            octets: Vec::new(),
            last: true,
        });
        client.write_plan();
        client
    }

    /// What the client sends now, if it may send anything.
    pub fn next(&mut self, ledger: &mut Ledger) -> Option<Sent> {
        let may = match self.pending.back() {
            None => true,
            Some(unit) if unit.kind == Kind::Greeting => !self.polite && self.rng.percent(20),
            Some(unit) if unit.kind == Kind::Data => self.eager,
            Some(unit) if unit.kind == Kind::Auth => false,
            Some(unit) => self.pending.len() < self.window && (!unit.last || !self.polite),
        };
        if !may || self.parting || self.astray || self.tls != Tls::Quiet || self.goes().is_some() {
            return None;
        }
        if let Some(Unit { kind: Kind::Data, id, .. }) = self.pending.back()
            && ledger.messages.get(id).is_some_and(|message| message.sealed)
        {
            // It was eager before; whose content another would be nobody could tell.
            return None;
        }
        let mut unit = match self.pending.back().filter(|unit| unit.kind == Kind::Data).cloned() {
            Some(data) => self.content(data.id),
            None => self.plan.pop_front()?,
        };
        let is_over = |message: &Message| message.sealed || message.ended;
        if unit.kind == Kind::Mail && ledger.messages.get(&unit.id).is_some_and(is_over) {
            // The same id again, whose content was sent: whose another would be nobody could tell.
            unit = plan::reset();
        }
        let mut ends = None;
        match unit.kind {
            Kind::Mail | Kind::Rcpt => {
                if unit.kind == Kind::Mail {
                    self.composing.clone_from(&unit.id);
                }
                if let Some(message) = ledger.messages.get_mut(&self.composing)
                    && !message.sealed
                {
                    message.starts.insert(message.content.len());
                }
            }
            Kind::Content => {
                let message = ledger.messages.entry(unit.id.clone()).or_default();
                let content = unit.octets[..unit.octets.len() - 3].to_vec();
                message.before = std::mem::replace(&mut message.content, content);
                (message.sealed, message.starts) = (true, [0].into());
                ends = Some(unit.id.clone());
            }
            // Its message is over; this belongs to none.
            Kind::Chunk { .. } if ledger.messages.get(&unit.id).is_some_and(|message| message.sealed) => {
                unit.kind = Kind::Other;
            }
            Kind::Chunk { last } => {
                let message = ledger.messages.entry(unit.id.clone()).or_default();
                let start = unit.octets.iter().position(|&octet| octet == b'\n').map_or(0, |at| at + 1);
                message.content.extend_from_slice(&unit.octets[start..]);
                message.chunked = true;
                ends = last.then(|| unit.id.clone());
            }
            _ => {}
        }
        self.said += 1;
        let octets = unit.octets.clone();
        self.pending.push_back(unit);
        Some(Sent { octets, ends })
    }

    /// Whether it has had enough, and goes without a FIN.
    pub fn goes(&self) -> Option<bool> {
        self.goes.filter(|(after, _)| *after <= self.said).map(|(_, bare)| bare)
    }

    /// Gatepost waits for a handshake: it has said so, unless the listener begins with one.
    pub fn may_begin_tls(&mut self) {
        assert!(self.tls != Tls::Quiet, "gatepost begins TLS unasked");
        self.tls = Tls::Begun;
    }

    /// The handshake is done.
    pub fn is_under_tls(&mut self) {
        self.tls = Tls::Quiet;
    }

    /// Whether everything planned was said and answered.
    pub fn is_done(&self) -> bool {
        self.plan.is_empty() && self.pending.is_empty()
    }

    /// Whether it is to hear an answer to something that it has said as a whole.
    pub fn waits(&self) -> bool {
        let greeted = self.pending.front().is_some_and(|unit| unit.kind != Kind::Greeting);
        greeted && !self.parting && !self.astray && self.tls == Tls::Quiet
    }

    /// Octets from gatepost.
    pub fn hear(&mut self, octets: &[u8], ledger: &mut Ledger) {
        self.inbox.extend_from_slice(octets);
        let mut from = 0;
        let mut at = 0;
        while let Some(end) = self.inbox[at..].iter().position(|&octet| octet == b'\n').map(|end| at + end) {
            let line = &self.inbox[at..=end];
            let plain = String::from_utf8_lossy(line).into_owned();
            assert!(line.ends_with(b"\r\n") && line.len() >= 5, "law 4: a reply line {plain:?}");
            let text = &line[..line.len() - 2];
            assert!(!text.iter().any(|octet| matches!(octet, b'\r' | 0)), "law 4: a reply line {plain:?}");
            assert!(text[..3].iter().all(u8::is_ascii_digit), "law 4: a reply line {plain:?}");
            assert!(matches!(text.get(3), None | Some(b' ' | b'-')), "law 4: a reply line {plain:?}");
            let whole = text.get(3) != Some(&b'-');
            at = end + 1;
            if whole {
                let reply = String::from_utf8_lossy(&self.inbox[from..at]).into_owned();
                from = at;
                self.answered(&reply, ledger);
            }
        }
        self.inbox.drain(..from);
    }

    fn answered(&mut self, reply: &str, ledger: &mut Ledger) {
        let code: u16 = reply[..3].parse().expect("the digits were looked at");
        assert!((200..600).contains(&code), "law 4: {reply:?}");
        for word in ["unasked", "malformed", "wrong", "nested"] {
            assert!(!reply.contains(word), "law 1: the client hears what was never said to it: {reply:?}");
        }
        assert!(!self.parting, "a reply behind a 421: {reply:?}");
        if code == 421 || code == 521 {
            self.parting = true;
        }
        if self.astray {
            return;
        }
        let Some(unit) = self.pending.pop_front() else {
            assert!(code == 421, "law 1: a reply to nothing: {reply:?}");
            return;
        };
        let of_rset = reply.contains("what is rset");
        assert!(!of_rset || unit.kind == Kind::Reset, "law 1: {:?} is answered by {reply:?}", unit.kind);
        // A 421 may come instead of an answer, or on its own.
        if let Some(id) = named(reply)
            && !(code == 421 && reply.contains("rule"))
        {
            // The envelope said again elsewhere may be refused with a word about the sender, or about EHLO.
            let again = Some(id) == self.sender.as_deref() || id.starts_with('e');
            // And so may a recipient that a callout added, in the message's place.
            let of_added = id.strip_prefix('x').is_some_and(|rest| rest.get(1..) == Some(&*unit.id));
            let ours = id == unit.id || ((again || of_added) && code >= 400);
            assert!(ours, "law 1: {:?} {} is answered by {reply:?}", unit.kind, unit.id);
        }
        assert!(
            code / 100 != 3 || matches!(unit.kind, Kind::Data | Kind::Auth),
            "a 3xx to {:?}: {reply:?}",
            unit.kind
        );
        let good = code / 100 == 2;
        match unit.kind {
            // Only QUIT is served now (RFC 5321 3.1).
            Kind::Greeting if !good => self.plan.retain(|unit| unit.kind == Kind::Quit),
            Kind::Mail if good => {
                ledger.forget(&unit.id);
                self.sender = Some(unit.id);
            }
            Kind::Rcpt if good => {
                let sender = self.sender.clone().unwrap_or_else(|| panic!("law 3: 2xx to RCPT without MAIL"));
                let message = ledger.messages.entry(sender).or_default();
                let of =
                    if reply.contains("swallowed") { &mut message.swallowed } else { &mut message.accepted };
                of.insert(unit.id);
            }
            Kind::Data if self.eager => (self.astray, ledger.astray) = (code != 354, code != 354),
            Kind::Data if code != 354 => {
                self.plan.push_front(plan::reset());
            }
            Kind::Data => {
                let content = self.content(unit.id);
                self.plan.push_front(content);
            }
            Kind::Content | Kind::Chunk { last: true } => {
                ledger.told(&unit.id, code);
                self.sender = None;
                if unit.kind != Kind::Content && !good && self.window == 1 {
                    self.plan.push_front(plan::reset());
                }
            }
            Kind::Auth if code == 334 => {
                let octets =
                    self.rng.pick(&["c2VjcmV0\r\n", "QUIT\r\n", "*\r\n", "\r\n"]).as_bytes().to_vec();
                self.plan.push_front(Unit { kind: Kind::Auth, id: unit.id, octets, last: true });
            }
            Kind::Auth => self.authenticated |= code == 235,
            Kind::StartTls if good => {
                assert!(code == 220 && reply.contains("Ready to start TLS"), "to STARTTLS: {reply:?}");
                (self.tls, self.sender) = (Tls::Invited, None);
                self.plan_hello();
            }
            Kind::Xclient if good => {
                assert!(code == 220, "a greeting comes back for XCLIENT: {reply:?}");
                ledger.tally.renamed += 1;
                self.sender = None;
                self.plan_hello();
            }
            // Refused as one that connects is.
            Kind::Xclient if named(reply).is_some() => self.plan.retain(|unit| unit.kind == Kind::Quit),
            Kind::Hello | Kind::Reset if good => {
                if let Some(sender) = self.sender.take() {
                    ledger.forget(&sender);
                }
            }
            _ => {}
        }
    }
}

/// The id a hop or a rule put into a reply; gatepost's own name the session.
fn named(reply: &str) -> Option<&str> {
    let id = reply.rsplit_once('[')?.1.split_once(']')?.0;
    (id.len() < 16).then_some(id)
}
