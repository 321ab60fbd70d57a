//! A client: polite or not, lockstep or pipelining, and it may leave at any octet.
//!
//! **In**: the octets gatepost says. **Out**: octets to send. **Never**: takes an answer for another command's: replies are
//! counted, and the ids in them compared (law 1).

use std::collections::VecDeque;

use super::ledger::Ledger;
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
}

const NASTY: [&[u8]; 14] = [
    b"\n.\n",
    b"\n.\r",
    b"\r.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n..\r\n",
    b"\n",
    b"\r",
    b"\xff\xfe",
];

/// Where recipients are: most at one place.
const DOMAINS: [&str; 4] = ["example.com", "example.com", "example.com", "other.example"];

impl Client {
    /// Plans a session.
    pub fn new(mut rng: Rng, securing: bool) -> Client {
        let window = if rng.percent(50) { 1 } else { 1 + rng.below(12) };
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
            parting: false,
            authenticated: false,
            tls: if securing { Tls::Begun } else { Tls::Quiet },
            hellos: 0,
            leaves: rng.percent(80),
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

    fn write_plan(&mut self) {
        let mut number = 0;
        let mut id = |letter: char| {
            number += 1;
            format!("{letter}{number}")
        };
        let mut plan = Vec::new();
        let unit = |kind, id: &str, line: String, last| Unit {
            kind,
            id: id.to_owned(),
            octets: line.into_bytes(),
            last,
        };
        let hello = id('e');
        let verb = if self.rng.percent(92) { "EHLO" } else { "HELO" };
        if self.rng.percent(97) {
            plan.push(unit(Kind::Hello, &hello, format!("{verb} {hello}\r\n"), true));
        }
        if self.rng.percent(15) {
            let line = self.rng.pick(&[
                "XCLIENT ADDR=203.0.113.7 PORT=4711\r\n",
                "XCLIENT NAME=spike.example.com ADDR=IPV6:2001:db8::7 LOGIN=jones\r\n",
                "XCLIENT COLOUR=red\r\n",
                "XFORWARD ADDR=203.0.113.7 SOURCE=LOCAL\r\n",
            ]);
            let kind = if line.starts_with("XCLIENT") { Kind::Xclient } else { Kind::Other };
            plan.push(unit(kind, "connect", line.to_owned(), true));
        }
        if self.rng.percent(40) {
            plan.push(unit(Kind::StartTls, "", "STARTTLS\r\n".to_owned(), true));
        }
        if self.rng.percent(20) {
            let exchange = id('a');
            let line = self.rng.pick(&["AUTH PLAIN AGEAYg==\r\n", "AUTH LOGIN\r\n", "AUTH GSSAPI\r\n"]);
            plan.push(unit(Kind::Auth, &exchange, line.to_owned(), true));
        }
        for _ in 0..1 + self.rng.below(4) {
            let sender = id('s');
            let params = self.rng.pick(&["", "", " SIZE=1000", " X-ODD=1", " SIZE=10 BODY=7BIT"]);
            plan.push(unit(
                Kind::Mail,
                &sender,
                format!("MAIL FROM:<{sender}@example.org>{params}\r\n"),
                false,
            ));
            for _ in 0..1 + self.rng.below(4) {
                if self.rng.percent(6) {
                    let noise = id('n');
                    let line = match self.rng.below(12) {
                        0 => format!("NOOP {noise}\r\n"),
                        1 => format!("VRFY {noise}\r\n"),
                        2 => format!("HELP {noise}\r\n"),
                        3 => "RCPT TO:<broken\r\n".to_owned(),
                        4 => format!("FROB {noise}\r\n"),
                        5 => format!("NOOP {}\r\n", "x".repeat(3000)),
                        6 => format!("VRFY {noise}\0\r\n"),
                        7 => format!("VRFY {noise}\rQUIT\r\n"),
                        8 => "\r\n".to_owned(),
                        9 => "BDAT many LAST\r\n".to_owned(),
                        10 => "AUTH LOGIN\r\n".to_owned(),
                        // It bears the same id: if the first was refused, this one begins the transaction.
                        _ => format!("MAIL FROM:<{sender}@nested.example>\r\n"),
                    };
                    let (kind, id) = match &line[..line.len().min(4)] {
                        "MAIL" => (Kind::Mail, &sender),
                        "AUTH" => (Kind::Auth, &noise),
                        _ => (Kind::Other, &noise),
                    };
                    plan.push(unit(kind, id, line, true));
                }
                let recipient = id('r');
                plan.push(unit(
                    Kind::Rcpt,
                    &recipient,
                    format!("RCPT TO:<{recipient}@{}>\r\n", self.rng.pick(&DOMAINS)),
                    false,
                ));
            }
            match self.rng.below(20) {
                0 => plan.push(unit(Kind::Reset, "", "RSET\r\n".to_owned(), false)),
                1..=5 => {
                    let chunks = 1 + self.rng.below(3);
                    for at in 0..chunks {
                        let last = at + 1 == chunks && self.rng.percent(90);
                        let octets = self.text(true);
                        let words = if last { " LAST" } else { "" };
                        let line = [format!("BDAT {}{words}\r\n", octets.len()).as_bytes(), &octets].concat();
                        plan.push(Unit {
                            kind: Kind::Chunk { last },
                            id: sender.clone(),
                            octets: line,
                            last: false,
                        });
                    }
                    plan.push(unit(Kind::Reset, "", "RSET\r\n".to_owned(), false));
                }
                _ => plan.push(unit(Kind::Data, &sender, "DATA\r\n".to_owned(), true)),
            }
        }
        if self.rng.percent(70) {
            plan.push(unit(Kind::Quit, "", "QUIT\r\n".to_owned(), true));
        }
        self.plan = plan.into();
    }

    /// Content without its end; never holding one.
    fn text(&mut self, chunk: bool) -> Vec<u8> {
        let mut text = Vec::new();
        let most = match self.rng.below(100) {
            0 => 3000,
            1..=4 => 400,
            _ => 8,
        };
        for _ in 0..self.rng.below(most) {
            match self.rng.below(12) {
                0 => text.extend_from_slice(b"..dots\r\n"),
                1 if self.rng.percent(40) => text.extend_from_slice(self.rng.pick(&NASTY)),
                2 => text.extend_from_slice(b"MAIL FROM:<evil@example.org>\r\n"),
                3 => text.extend_from_slice(b"\r\n"),
                _ => {
                    let length = self.rng.below(90);
                    text.extend((0..length).map(|at| b'a' + (at % 26) as u8));
                    text.extend_from_slice(b"\r\n");
                }
            }
        }
        if !chunk {
            if !text.is_empty() && !text.ends_with(b"\r\n") {
                text.extend_from_slice(b"\r\n");
            }
            let ends =
                |text: &[u8]| text.starts_with(b".\r\n") || text.windows(5).any(|five| five == b"\r\n.\r\n");
            if ends(&text) {
                text.clear();
            }
        }
        text
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
        if !may || self.parting || self.astray || self.tls != Tls::Quiet {
            return None;
        }
        let unit = match self.pending.back().filter(|unit| unit.kind == Kind::Data).cloned() {
            Some(data) => self.content(data.id),
            None => self.plan.pop_front()?,
        };
        let mut ends = None;
        match unit.kind {
            Kind::Content => {
                let message = ledger.messages.entry(unit.id.clone()).or_default();
                message.content = unit.octets[..unit.octets.len() - 3].to_vec();
                ends = Some(unit.id.clone());
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
        let octets = unit.octets.clone();
        self.pending.push_back(unit);
        Some(Sent { octets, ends })
    }

    fn content(&mut self, id: String) -> Unit {
        let mut octets = self.text(false);
        octets.extend_from_slice(b".\r\n");
        Unit { kind: Kind::Content, id, octets, last: false }
    }

    /// Everything begins anew.
    fn plan_hello(&mut self) {
        if self.rng.percent(90) {
            self.hellos += 1;
            let id = format!("e9{}", self.hellos);
            let octets = format!("EHLO {id}\r\n").into_bytes();
            self.plan.push_front(Unit { kind: Kind::Hello, id, octets, last: true });
        }
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
        assert!((200..560).contains(&code), "law 4: {reply:?}");
        for word in ["unasked", "malformed", "wrong"] {
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
        // A 421 may come instead of an answer, or on its own.
        if let Some(id) = named(reply)
            && !(code == 421 && reply.contains("rule"))
        {
            // The envelope said again elsewhere may be refused with a word about the sender, or about EHLO.
            let again = Some(id) == self.sender.as_deref() || id.starts_with('e');
            let ours = id == unit.id || (again && code >= 400);
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
            Kind::Mail if good => self.sender = Some(unit.id),
            Kind::Rcpt if good => {
                let sender = self.sender.clone().unwrap_or_else(|| panic!("law 3: 2xx to RCPT without MAIL"));
                let message = ledger.messages.entry(sender).or_default();
                let of =
                    if reply.contains("swallowed") { &mut message.swallowed } else { &mut message.accepted };
                of.insert(unit.id);
            }
            Kind::Data if self.eager => (self.astray, ledger.astray) = (code != 354, code != 354),
            Kind::Data if code != 354 => {
                let octets = b"RSET\r\n".to_vec();
                self.plan.push_front(Unit { kind: Kind::Reset, id: String::new(), octets, last: false });
            }
            Kind::Data => {
                let content = self.content(unit.id);
                self.plan.push_front(content);
            }
            Kind::Content | Kind::Chunk { last: true } => {
                ledger.told(&unit.id, code);
                self.sender = None;
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
            Kind::Hello | Kind::Reset if good => self.sender = None,
            _ => {}
        }
    }
}

/// The id a hop or a rule put into a reply; gatepost's own name the session.
fn named(reply: &str) -> Option<&str> {
    let id = reply.rsplit_once('[')?.1.split_once(']')?.0;
    (id.len() < 16).then_some(id)
}
