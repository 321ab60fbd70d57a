//! The transaction and its envelope: what must be kept to say it again to another hop (law 10).
//!
//! In:    MAIL and RCPT as parsed and rewritten; what became of each.
//! Out:   their wire form again, as often as needed; what the next hop must be able to take.
//! Never: holds a recipient that was not answered 2xx: a candidate lives in the answer that is owed for it.
//!
//! RFC 5321 3.3 and 4.1.1.2-3; RFC 3461 4.2 (ORCPT).

mod edits;
mod prepended;
#[cfg(test)]
mod tests;

use std::time::Instant;

pub use self::prepended::Prepended;
use super::events::VerdictKind;
use super::peer::HopId;
use super::record::{Address, AttemptRecord, LastWord, RecipientRecord, Speaker};
use super::route::{Place, PoolId};
use super::stage::{Giver, Stage};
use crate::message::Signature;
use crate::smtp::{Extensions, Keyword, Own, Params, Path, needed_by, own, write_utf8_xtext, write_xtext};

/// EHLO or HELO.
#[derive(Clone, Debug)]
pub struct Hello {
    /// EHLO, not HELO.
    pub extended: bool,
    /// The name as the client gave it.
    pub given: Box<[u8]>,
    /// The name as it goes upstream, where a rule changed it.
    pub sent: Option<Box<[u8]>>,
}

impl Hello {
    /// Writes the command; to an LMTP host it is always LHLO (RFC 2033 4.1).
    pub fn write(&self, lmtp: bool, line: &mut Vec<u8>) {
        line.extend_from_slice(match (lmtp, self.extended) {
            (true, _) => b"LHLO ",
            (false, true) => b"EHLO ",
            (false, false) => b"HELO ",
        });
        line.extend_from_slice(self.said());
        line.extend_from_slice(b"\r\n");
    }

    /// The name as it goes upstream.
    pub fn said(&self) -> &[u8] {
        self.sent.as_deref().unwrap_or(&self.given)
    }
}

/// A path and its parameters in one allocation, as they stand in a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    octets: Box<[u8]>,
    path: u32,
}

impl Spoken {
    /// Keeps what a client said; what stood between its parameters becomes single spaces.
    pub fn given(path: Path<'_>, params: Params<'_>) -> Spoken {
        let mut octets = Vec::with_capacity(path.as_bytes().len() + params.as_bytes().len());
        octets.extend_from_slice(path.as_bytes());
        params.write(&mut octets);
        Spoken { octets: octets.into_boxed_slice(), path: path.as_bytes().len() as u32 }
    }

    /// Keeps a path and its parameters, already joined by single spaces.
    pub fn new(path: &[u8], params: &[u8]) -> Spoken {
        let mut octets = Vec::with_capacity(path.len() + params.len());
        octets.extend_from_slice(path);
        octets.extend_from_slice(params);
        Spoken { octets: octets.into_boxed_slice(), path: path.len() as u32 }
    }

    /// The path without its brackets.
    pub fn path_octets(&self) -> &[u8] {
        &self.octets[..self.path as usize]
    }

    /// The parameters, joined by single spaces.
    pub fn params_octets(&self) -> &[u8] {
        &self.octets[self.path as usize..]
    }

    /// The path, parsed.
    pub fn path(&self) -> Option<Path<'_>> {
        Path::parse(self.path_octets()).ok()
    }

    /// Whether a command that says it has so many octets at most.
    pub fn fits(&self, line: usize) -> bool {
        self.octets.len() + FRAME <= line
    }

    fn write(&self, verb: &[u8], line: &mut Vec<u8>) {
        line.extend_from_slice(verb);
        line.extend_from_slice(self.path_octets());
        line.push(b'>');
        if !self.params_octets().is_empty() {
            line.push(b' ');
            line.extend_from_slice(self.params_octets());
        }
        line.extend_from_slice(b"\r\n");
    }
}

/// What a hop can be told that depends on what it is and offers.
#[derive(Clone, Copy, Debug)]
pub struct Carries {
    /// LHLO.
    pub lmtp: bool,
    /// SIZE=.
    pub size: bool,
    /// ORCPT=.
    pub dsn: bool,
    /// Octets of a line, with its end.
    pub line: usize,
}

/// Octets of a command line that are neither path nor parameters: verb, brackets, line end.
pub const FRAME: usize = b"MAIL FROM:<> \r\n".len();

/// RFC 3461 4: RCPT of 512 octets, and 500 more for what DSN adds.
const RCPT_LINE: usize = 512 + 500;

/// MAIL.
#[derive(Clone, Debug)]
pub struct Mail {
    /// As it goes upstream.
    pub sent: Spoken,
    /// The reverse-path as given, where a rule changed it.
    pub given: Option<Box<[u8]>>,
}

impl Mail {
    /// Writes the command. The client was shown SIZE whether or not the hop has it.
    pub fn write(&self, carries: Carries, line: &mut Vec<u8>) {
        if carries.size || !self.declares_size() {
            return self.sent.write(b"MAIL FROM:<", line);
        }
        let params: Vec<&[u8]> = self
            .sent
            .params_octets()
            .split(|&octet| octet == b' ')
            .filter(|param| !param.is_empty() && !is_size(param))
            .collect();
        Spoken::new(self.sent.path_octets(), &params.join(&b' ')).write(b"MAIL FROM:<", line);
    }

    /// Whether it says SMTPUTF8, without which no address goes beyond ASCII (RFC 6531 3.4).
    pub fn is_utf8(&self) -> bool {
        Params::parse(self.sent.params_octets()).is_ok_and(|params| params.value("SMTPUTF8").is_some())
    }

    fn declares_size(&self) -> bool {
        self.sent.params_octets().split(|&octet| octet == b' ').any(is_size)
    }

    /// The reverse-path as the client gave it.
    pub fn given_octets(&self) -> &[u8] {
        self.given.as_deref().unwrap_or(self.sent.path_octets())
    }

    /// For the record.
    pub fn address(&self) -> Address {
        address(&self.sent, self.given.as_deref())
    }
}

/// RCPT.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// As it goes upstream.
    pub sent: Spoken,
    /// The forward-path as given, where a rule changed it.
    pub given: Option<Box<[u8]>>,
    /// Nobody gave it: it was added behind the content, and no hop has answered it 2xx yet.
    pub added: bool,
}

impl Recipient {
    /// Writes the command.
    pub fn write(&self, carries: Carries, line: &mut Vec<u8>) {
        match self.given.as_deref() {
            // RFC 3461 5.2.1: what a verdict rewrote keeps the name it came under.
            Some(given) if carries.dsn && !self.names_original() => {
                let start = line.len();
                let mut params = self.sent.params_octets().to_vec();
                if !params.is_empty() {
                    params.push(b' ');
                }
                write_orcpt(given, &mut params);
                Spoken::new(self.sent.path_octets(), &params).write(b"RCPT TO:<", line);
                if line.len() - start > carries.line.min(RCPT_LINE) {
                    // It goes without.
                    line.truncate(start);
                    self.sent.write(b"RCPT TO:<", line);
                }
            }
            _ => self.sent.write(b"RCPT TO:<", line),
        }
    }

    /// Octets of it that are kept.
    pub fn octets(&self) -> usize {
        self.sent.octets.len() + self.given.as_ref().map_or(0, |given| given.len())
    }

    fn names_original(&self) -> bool {
        Params::parse(self.sent.params_octets()).is_ok_and(|params| params.value("ORCPT").is_some())
    }

    /// The forward-path as the client gave it.
    pub fn given_octets(&self) -> &[u8] {
        self.given.as_deref().unwrap_or(self.sent.path_octets())
    }

    /// For the record.
    pub fn address(&self) -> Address {
        address(&self.sent, self.given.as_deref())
    }

    /// The same recipient at another address.
    pub fn rewritten(&self, path: &[u8]) -> Recipient {
        let given = self.given_octets();
        let given = (given != path).then(|| given.into());
        Recipient { sent: Spoken::new(path, self.sent.params_octets()), given, added: false }
    }
}

/// ORCPT of an address; of one beyond ASCII as RFC 6533 3 has it, in the form that any hop takes.
fn write_orcpt(given: &[u8], params: &mut Vec<u8>) {
    match std::str::from_utf8(given).ok().filter(|given| !given.is_ascii()) {
        None => {
            params.extend_from_slice(b"ORCPT=rfc822;");
            write_xtext(given, params);
        }
        Some(given) => {
            params.extend_from_slice(b"ORCPT=utf-8;");
            write_utf8_xtext(given, params);
        }
    }
}

fn is_size(param: &[u8]) -> bool {
    param.get(..5).is_some_and(|head| head.eq_ignore_ascii_case(b"SIZE="))
}

fn address(sent: &Spoken, given: Option<&[u8]>) -> Address {
    match given {
        Some(given) => Address { given: given.into(), sent: Some(sent.path_octets().into()) },
        None => Address { given: sent.path_octets().into(), sent: None },
    }
}

/// What a transaction has used, and so what a host that takes it over must offer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// The extensions.
    pub extensions: Extensions,
    /// SIZE= as declared.
    pub size: Option<u64>,
}

impl Needs {
    /// Adds what parameters use, as far as the client was shown it.
    pub fn add(&mut self, params: Params<'_>, shown: &Extensions) {
        for param in params.iter() {
            if let Some(keyword) = needed_by(param)
                && shown.has(keyword)
                && keyword != Keyword::Size
            {
                self.extensions.insert(keyword);
            }
        }
    }

    /// What is said to a client whose transaction needs more than is offered, where no hop was known before.
    pub fn missed_by(&self, offered: &Extensions) -> &'static Own {
        let missed = |keyword| self.extensions.has(keyword) && !offered.has(keyword);
        if missed(Keyword::SmtpUtf8) {
            &own::HOP_LACKS_SMTPUTF8
        } else if missed(Keyword::EightBitMime) {
            &own::HOP_LACKS_8BITMIME
        } else if self.extensions.iter().any(missed) {
            &own::HOP_LACKS_EXTENSION
        } else {
            &own::HOP_LACKS_SIZE
        }
    }

    /// Whether a hop that offers this will do. PIPELINING and CHUNKING are bridged.
    pub fn met_by(&self, offered: &Extensions) -> bool {
        let size = match (self.size, offered.size()) {
            (Some(declared), Some(limit)) => limit == 0 || declared <= limit,
            // A hop without SIZE has no limit that it says; it is not told the size.
            _ => true,
        };
        let binary = !self.extensions.has(Keyword::BinaryMime) || offered.has(Keyword::Chunking);
        size && binary && offered.covers(&self.extensions)
    }
}

/// Octets of one transaction's addresses, parameters and notes.
pub const ENVELOPE: usize = 256 << 10;

/// A transaction from MAIL to its end.
#[derive(Debug)]
pub struct Transaction {
    /// MAIL as it goes upstream.
    pub mail: Mail,
    /// What tells it from the session's other transactions, to those who are asked about it.
    pub instance: u32,
    /// Where its recipients go unless a verdict says otherwise.
    pub pool: PoolId,
    /// Where the hop is that accepted the first recipient: the transaction stays there.
    pub pinned: Option<Place>,
    /// Whether MAIL was answered 2xx.
    pub accepted: bool,
    /// Octets of its addresses, parameters and notes.
    pub held: usize,
    /// Header fields that go before the message's own.
    pub prepended: Prepended,
    /// The recipients answered 2xx by the transaction's hop, in order.
    pub recipients: Vec<Recipient>,
    /// Recipients swallowed on purpose.
    pub swallowed: usize,
    /// What a hop must offer.
    pub needs: Needs,
    /// SIZE=, as declared.
    pub size: Option<u64>,
    /// When MAIL came.
    pub since: Instant,
    /// Octets of content and mended line ends, for the record.
    pub octets: u64,
    /// Bare CRs and LFs mended.
    pub mended: u64,
    /// What the log record will say; only where records are wanted.
    pub notes: Option<Box<Notes>>,
}

impl Transaction {
    /// Octets of its addresses, parameters, notes and prepended fields.
    pub fn held(&self) -> usize {
        self.held + self.prepended.octets().len()
    }

    /// A recipient was answered 2xx by its hop.
    pub fn accepts(&mut self, recipient: Recipient) {
        self.held += recipient.octets();
        self.recipients.push(recipient);
    }

    /// MAIL was given new values: what it uses is what it says now. `known`: what the client was shown, or the hop offers.
    pub fn takes(&mut self, mail: Mail, known: &Extensions) {
        let params = Params::parse(mail.sent.params_octets()).unwrap_or_default();
        self.needs = Needs::default();
        self.needs.add(params, known);
        self.size = params.size();
        self.mail = mail;
    }

    /// A recipient was answered, or will not be: it takes the tries so far with it, where records are wanted.
    pub fn notes_recipient(
        &mut self,
        recipient: &Recipient,
        heard: Option<(Box<[u8]>, Speaker)>,
        most: usize,
    ) {
        let Some(notes) = &mut self.notes else { return };
        let attempts: Vec<_> = notes.tried.drain(..).map(|(_, tried)| tried).collect();
        if notes.recipients.len() < most {
            let tried = |tried: &AttemptRecord| {
                tried.sent.len() + tried.reply.as_ref().map_or(0, |reply| reply.len())
            };
            let heard_octets = heard.as_ref().map_or(0, |(heard, _)| heard.len());
            // The first is as long as what is counted for the recipient.
            let tried = attempts.iter().skip(1).map(tried).sum::<usize>();
            self.held += recipient.octets() + heard_octets + tried;
            notes.recipients.push(RecipientRecord { address: recipient.address(), heard, attempts });
        }
    }
}

/// What is kept for the record alone.
#[derive(Debug, Default)]
pub struct Notes {
    /// Every recipient and its reply.
    pub recipients: Vec<RecipientRecord>,
    /// Where the recipient at the head was tried so far.
    pub tried: Vec<(HopId, AttemptRecord)>,
    /// What was decided.
    pub verdicts: Vec<(Stage, Giver, VerdictKind)>,
    /// Signatures of the message that edits broke.
    pub broken: Vec<Signature>,
    /// The latest refusal of DATA.
    pub refusal: Option<LastWord>,
}
