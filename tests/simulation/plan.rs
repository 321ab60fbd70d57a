//! What a client has in mind: transactions, and whatever may come between any two of their commands.
//!
//! **In**: the client's generator. **Out**: its commands in order, with the ids that replies to them may name.
//! **Never**: plans what could end one transaction and begin the next under another id while the client does not know: a
//! MAIL with a new id stands only where no transaction is, whatever was answered.
//!
//! The ids say what is likely to become of a command: of `eb…` that rules refuse what the hop said, of `en…` that the hop
//! refuses it; see [`super::super::rules`] and [`super::super::hop`].

use super::{Client, Kind, Unit};

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

/// Ids, each given once.
#[derive(Default)]
struct Ids(usize);

impl Ids {
    fn id(&mut self, letters: &str) -> String {
        self.0 += 1;
        format!("{letters}{}", self.0)
    }
}

fn unit(kind: Kind, id: &str, line: String, last: bool) -> Unit {
    Unit { kind, id: id.to_owned(), octets: line.into_bytes(), last }
}

pub(super) fn reset() -> Unit {
    unit(Kind::Reset, "", "RSET\r\n".to_owned(), false)
}

impl Client {
    pub(super) fn write_plan(&mut self) {
        let mut ids = Ids::default();
        let mut plan = Vec::new();
        self.plan_opening(&mut ids, &mut plan);
        for _ in 0..1 + self.rng.below(6) {
            let sender = ids.id("s");
            self.plan_envelope(&mut ids, &mut plan, &sender);
            self.plan_content(&mut ids, &mut plan, &sender);
        }
        if self.rng.percent(70) {
            plan.push(unit(Kind::Quit, "", "QUIT\r\n".to_owned(), true));
        }
        self.plan = plan.into();
    }

    fn plan_opening(&mut self, ids: &mut Ids, plan: &mut Vec<Unit>) {
        let hello = ids.id("e");
        let verb = self.hello_verb();
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
            let exchange = ids.id("a");
            let line = self.rng.pick(&["AUTH PLAIN AGEAYg==\r\n", "AUTH LOGIN\r\n", "AUTH GSSAPI\r\n"]);
            plan.push(unit(Kind::Auth, &exchange, line.to_owned(), true));
        }
    }

    fn plan_envelope(&mut self, ids: &mut Ids, plan: &mut Vec<Unit>, sender: &str) {
        let params = self.rng.pick(&["", "", " SIZE=1000", " X-ODD=1", " SIZE=10 BODY=7BIT"]);
        plan.push(unit(Kind::Mail, sender, format!("MAIL FROM:<{sender}@example.org>{params}\r\n"), false));
        for at in 0..1 + self.rng.below(4) {
            if self.rng.percent(6) {
                self.plan_noise(ids, plan, sender);
            }
            let hellos = match (self.bent.hellos, self.bent.ways && at == 0) {
                (true, true) => 60,
                (true, false) => 20,
                (false, _) => 3,
            };
            if self.rng.percent(hellos) {
                self.plan_hellos(ids, plan);
            }
            let recipient = ids.id("r");
            let line = format!("RCPT TO:<{recipient}@{}>\r\n", self.rng.pick(&DOMAINS));
            plan.push(unit(Kind::Rcpt, &recipient, line, false));
        }
        if self.rng.percent(if self.bent.hellos { 20 } else { 3 }) {
            self.plan_hellos(ids, plan);
        }
    }

    fn plan_noise(&mut self, ids: &mut Ids, plan: &mut Vec<Unit>, sender: &str) {
        let noise = ids.id("n");
        let line = match self.rng.below(16) {
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
            11 => format!("EXPN {noise}\r\n"),
            12 => format!("ETRN {noise}\r\n"),
            13 => format!("BDAT 5\r\n{noise:5}"),
            14 => "DATA\r\n".to_owned(),
            // It bears the same id: if the first was refused, this one begins the transaction.
            _ => format!("MAIL FROM:<{sender}@nested.example>\r\n"),
        };
        let (kind, id) = match &line[..line.len().min(4)] {
            "DATA" => (Kind::Data, sender),
            "BDAT" if line.starts_with("BDAT 5") => (Kind::Chunk { last: false }, sender),
            "MAIL" => (Kind::Mail, sender),
            "AUTH" => (Kind::Auth, &*noise),
            _ => (Kind::Other, &*noise),
        };
        plan.push(unit(kind, id, line, true));
    }

    /// EHLO in a transaction: whoever refuses it lets the transaction be, again and again.
    fn plan_hellos(&mut self, ids: &mut Ids, plan: &mut Vec<Unit>) {
        if self.rng.percent(if self.bent.hellos { 75 } else { 50 }) {
            // The same name each time: what rules say of it is the same, too.
            let bad = ids.id("eb");
            let times = if self.bent.hellos && self.rng.percent(75) { 4 } else { 1 + self.rng.below(5) };
            for _ in 0..times {
                let line = format!("{} {bad}\r\n", self.hello_verb());
                plan.push(unit(Kind::Hello, &bad, line, true));
            }
        }
        if self.rng.percent(65) {
            let id = ids.id(if self.rng.percent(85) { "en" } else { "e" });
            let line = format!("{} {id}\r\n", self.hello_verb());
            plan.push(unit(Kind::Hello, &id, line, true));
        }
    }

    fn plan_content(&mut self, ids: &mut Ids, plan: &mut Vec<Unit>, sender: &str) {
        let kind = if (self.bent.chunks || self.bent.hellos) && self.rng.percent(50) {
            6
        } else {
            self.rng.below(20)
        };
        match kind {
            0..=1 => plan.push(reset()),
            2..=6 => {
                let chunks = 1 + self.rng.below(3) + usize::from(self.bent.hellos);
                let mut done = false;
                for at in 0..chunks {
                    done = at + 1 == chunks && self.rng.percent(90);
                    let octets = self.text(true);
                    let words = if done { " LAST" } else { "" };
                    let line = [format!("BDAT {}{words}\r\n", octets.len()).as_bytes(), &octets].concat();
                    let kind = Kind::Chunk { last: done };
                    plan.push(Unit { kind, id: sender.to_owned(), octets: line, last: false });
                    if at + 1 < chunks {
                        match self.rng.below(if self.bent.hellos { 10 } else { 60 }) {
                            0..=5 => self.plan_hellos(ids, plan),
                            6 => plan.push(reset()),
                            7 => plan.push(unit(Kind::Other, "", "NOOP\r\n".to_owned(), true)),
                            _ => {}
                        }
                    }
                }
                // One that waits for each answer says it only where the last chunk was refused.
                if !done || self.window > 1 {
                    plan.push(reset());
                }
            }
            _ => plan.push(unit(Kind::Data, sender, "DATA\r\n".to_owned(), true)),
        }
        if self.rng.percent(5) {
            plan.push(reset());
        }
    }

    fn hello_verb(&mut self) -> &'static str {
        if self.rng.percent(92) { "EHLO" } else { "HELO" }
    }

    /// Content without its end; never holding one.
    pub(super) fn text(&mut self, chunk: bool) -> Vec<u8> {
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
                    // No two lines are likely to begin alike: whose octets they are can be told.
                    let from = self.rng.below(26);
                    text.extend((from..from + length).map(|at| b'a' + (at % 26) as u8));
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

    pub(super) fn content(&mut self, id: String) -> Unit {
        let mut octets = self.text(false);
        octets.extend_from_slice(b".\r\n");
        Unit { kind: Kind::Content, id, octets, last: false }
    }

    /// Everything begins anew.
    pub(super) fn plan_hello(&mut self) {
        if self.rng.percent(90) {
            self.hellos += 1;
            let id = format!("e9{}", self.hellos);
            let octets = format!("EHLO {id}\r\n").into_bytes();
            self.plan.push_front(Unit { kind: Kind::Hello, id, octets, last: true });
        }
    }
}
