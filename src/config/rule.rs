//! Rules as they were written and checked: when a rule is asked, what must hold, what it then does.
//!
//! **In**: nothing; the decoder fills these. **Out**: [`Rule`] and its parts, from which `rules/` compiles its index.
//! **Never**: no matching of addresses and no compiled globs here; patterns stay the text that was written
//! (verbs in upper case), because how an address is compared is one decision in one place, and not this one.
//!
//! What a loaded rule keeps: its stages are not empty; every `match` key can be known at each of them; its verdict is
//! allowed at each of them; its replies are complete reply lines (RFC 5321 section 4.2) without
//! CRLF; the upstreams it names exist.

use std::path::PathBuf;

use crate::message::Signature;
use crate::networks::Networks;
use crate::session::law::{Part, Verdict};
use crate::session::verdict::Stage;

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name, for logs and metrics; no other rule has it.
    pub name: String,
    /// When it is asked; never empty, each stage once.
    pub stages: Vec<Stage>,
    /// What must hold; the default holds always.
    pub matches: Match,
    /// What is then done.
    pub actions: Action,
    /// Where in the file it stands.
    pub mark: Mark,
}

impl Rule {
    /// The files of the maps it names, in the order they stand there.
    pub fn maps(&self) -> impl Iterator<Item = &PathBuf> {
        let (map, ladder) = match &self.actions.decide {
            Some(Decide::Map(file)) => (Some(file), &[][..]),
            Some(Decide::Retry(ladder)) => (None, ladder.as_slice()),
            _ => (None, &[][..]),
        };
        map.into_iter().chain(ladder.iter().filter_map(|rung| rung.map.as_ref()))
    }
}

/// A place in the configuration file, both counted from 1; 0 where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mark {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// What must hold: every key that is not empty, by at least one of its patterns, and `not` must not hold.
///
/// Globs are kept as written. `*` stands for any run of characters, none included; `?` stands for one, but not in
/// addresses, where it is a character like `{` and `}` (RFC 5321 section 4.1.2, atext). Nothing else is special.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Match {
    /// Globs over the address the listener was configured with, such as `127.0.0.1:2525`.
    pub listener: Vec<String>,
    /// Networks of the client's address; an address is its /32 or /128.
    pub client: Networks,
    /// Globs over the argument of EHLO or HELO.
    pub helo: Vec<String>,
    /// Globs over the reverse-path; `<>` is the null path.
    pub sender: Vec<String>,
    /// Globs over the recipient as rewritten so far, at `message` over any; one without `@` is the recipient without a
    /// domain.
    pub recipient: Vec<String>,
    /// Globs over the recipient as the client gave it.
    pub recipient_given: Vec<String>,
    /// Reply codes.
    pub code: Vec<CodePattern>,
    /// Globs over the enhanced code of the reply, such as `5.1.*`.
    pub enhanced_code: Vec<String>,
    /// Globs over the text of the reply, of each line behind its code and enhanced code.
    pub text: Vec<String>,
    /// Globs over the command's verb, in upper case.
    pub verb: Vec<String>,
    /// Whether the client has authenticated: through to the hop, or as a trusted peer told by XCLIENT.
    pub authenticated: Option<bool>,
    /// Globs over as whom it has authenticated, where a trusted peer told that.
    pub login: Vec<String>,
    /// TLS between the client and gatepost, or the balancer in front of it.
    pub tls: Option<TlsMatch>,
    /// Ranges of the SIZE declared at MAIL, at `message` of the size it has; a message that declares none is in no range.
    pub size: Vec<SizeRange>,
    /// Header fields, as the message is edited so far.
    pub header: Vec<HeaderMatch>,
    /// What the message is signed by.
    pub signed: Vec<Signature>,
    /// Globs over the file names of its parts, or with a slash over their types.
    pub attachment: Vec<String>,
    /// Its MIME goes beyond what gatepost reads of one.
    pub mime_fault: bool,
    /// What must not hold.
    pub not: Option<Box<Match>>,
}

/// A header field there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Its name.
    pub name: String,
    /// Globs over its value, unfolded and decoded; none: whatever it says.
    pub value: Vec<String>,
}

/// `match.tls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsMatch {
    /// There is some, or none.
    Is(bool),
    /// There is some, of which all of these hold.
    Of(TlsKeys),
}

/// The keys of `match.tls`; what is empty or `None` always holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsKeys {
    /// Globs over the version, such as `TLSv1.3`.
    pub version: Vec<String>,
    /// Globs over the cipher suite, by its IANA name.
    pub cipher: Vec<String>,
    /// Globs over the name the client asked for (SNI).
    pub server_name: Vec<String>,
    /// Globs over the subject of the client's certificate.
    pub certificate: Vec<String>,
    /// Whether it has shown one that `client_roots` vouch for.
    pub verified: Option<bool>,
}

/// A reply code with holes: `550`, `55x`, `5xx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodePattern {
    /// The three digits, `None` for `x`. The first is never `None`.
    pub digits: [Option<u8>; 3],
}

impl CodePattern {
    /// Whether `code` is one of those meant.
    pub fn matches(self, code: u16) -> bool {
        let parts = [code / 100, code / 10 % 10, code % 10];
        code < 1000 && self.digits.iter().zip(parts).all(|(d, p)| d.is_none_or(|d| u16::from(d) == p))
    }

    /// The first digit: 2, 3, 4 or 5.
    pub fn class(self) -> u8 {
        self.digits[0].unwrap_or(0)
    }
}

impl std::fmt::Display for CodePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.digits.iter().try_for_each(|d| match d {
            Some(d) => write!(f, "{d}"),
            None => f.write_str("x"),
        })
    }
}

/// Octets from `least` to `most`, both included: `">10MiB"`, `"<=64KiB"`, `"1MiB..10MiB"`, `"0"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeRange {
    /// The smallest size meant.
    pub least: u64,
    /// The largest size meant.
    pub most: u64,
}

impl SizeRange {
    /// Whether `octets` is in it.
    pub fn contains(self, octets: u64) -> bool {
        (self.least..=self.most).contains(&octets)
    }
}

/// What a rule does: all its rewrites, then at most one verdict that decides.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Action {
    /// What is rewritten in the command.
    pub rewrites: Rewrites,
    /// At `message`: the names of header fields that go, all of a name.
    pub remove_header: Vec<String>,
    /// At `message`: whole header fields, without line end, put before all others in this order.
    pub add_header: Vec<String>,
    /// At `message`: addresses that are no recipients any more, as they were given or sent.
    pub remove_recipient: Vec<String>,
    /// At `message`: addresses that are recipients, too.
    pub add_recipient: Vec<String>,
    /// What ends the stage; `None` leaves it to those asked next.
    pub decide: Option<Decide>,
}

impl Action {
    /// Whether a message is changed besides its sender.
    pub fn edits(&self) -> bool {
        [&self.remove_header, &self.add_header, &self.remove_recipient, &self.add_recipient]
            .into_iter()
            .any(|edits| !edits.is_empty())
    }
}

/// Rewrites of a command; all that are set are made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rewrites {
    /// At `mail` and `message`: the reverse-path, without angle brackets; `<>` is the null path.
    pub sender: Option<Template>,
    /// At `rcpt`: the recipient, without angle brackets.
    pub recipient: Option<Template>,
    /// At `helo`: the argument of EHLO or HELO.
    pub helo: Option<Template>,
    /// At `mail` and `rcpt`: the ESMTP parameters.
    pub parameters: Option<Parameters>,
}

impl Rewrites {
    /// Whether nothing is rewritten.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is rewritten.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(|part| match part {
            Part::Sender => self.sender.is_some(),
            Part::Recipient => self.recipient.is_some(),
            Part::Helo => self.helo.is_some(),
            Part::Parameters => self.parameters.is_some(),
        })
    }
}

/// Changes to the ESMTP parameters of MAIL or RCPT (RFC 5321 section 4.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parameters {
    /// Keywords taken out, in upper case, whatever their value.
    pub remove: Vec<String>,
    /// Parameters put in, `KEYWORD` or `KEYWORD=value`; one of the same keyword is replaced.
    pub add: Vec<String>,
}

/// The verdict that ends a stage.
#[derive(Debug, Clone, PartialEq)]
pub enum Decide {
    /// Answer in the hop's place; whole reply lines without CRLF. A 2xx at `rcpt` swallows the recipient.
    Reply(Vec<String>),
    /// Send this session or recipient to another pool.
    Route {
        /// A key of the configuration's upstreams.
        upstream: String,
    },
    /// Look the recipient up in this file: it is rewritten, routed, or both. One that is not in it is not meant, and
    /// one that is only rewritten does not end the stage.
    Map(PathBuf),
    /// Put these lines in place of the hop's reply.
    Substitute(Vec<String>),
    /// Try a refused recipient again; never empty.
    Retry(Vec<Rung>),
    /// End the asking without changing anything.
    Accept,
    /// Close the client, with these lines or the default `421 4.7.0`.
    Disconnect(Option<Vec<String>>),
    /// Take the message and give it to nobody.
    Discard,
}

impl Decide {
    /// Which verdict it is.
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Reply(_) => Verdict::Reply,
            Self::Route { .. } => Verdict::Route,
            Self::Map(_) => Verdict::Map,
            Self::Substitute(_) => Verdict::Substitute,
            Self::Retry(_) => Verdict::Retry,
            Self::Accept => Verdict::Accept,
            Self::Disconnect(_) => Verdict::Disconnect,
            Self::Discard => Verdict::Discard,
        }
    }
}

/// One attempt of a ladder; `map` is set, or at least one of the others, and not both `upstream` and `mx`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rung {
    /// The recipient to try, made from the one first sent to a hop.
    pub recipient: Option<Template>,
    /// The pool to try, a key of the configuration's upstreams.
    pub upstream: Option<String>,
    /// The domain whose hosts are tried, and the port they are dialled at.
    pub mx: Option<(String, u16)>,
    /// The file in which recipient, pool or both are looked up; for a recipient that is not in it there is no attempt.
    pub map: Option<PathBuf>,
}

/// A value with variables in it, such as `{local}@new.example`. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(pub Vec<TemplatePiece>);

/// One piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePiece {
    /// Text as it is; `{{` and `}}` have become single braces.
    Text(String),
    /// A variable.
    Variable(Variable),
}

/// What may stand between braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// The recipient's local part (at `mail` the sender's), its quoting kept.
    Local,
    /// The recipient's domain (at `mail` the sender's).
    Domain,
    /// The recipient as rewritten so far, without angle brackets.
    Recipient,
    /// The recipient as the client gave it, without angle brackets.
    RecipientGiven,
    /// The reverse-path, without angle brackets.
    Sender,
    /// The client's address.
    Client,
}

impl Variable {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Local, Self::Domain, Self::Recipient, Self::RecipientGiven, Self::Sender, Self::Client];

    /// The name between the braces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Domain => "domain",
            Self::Recipient => "recipient",
            Self::RecipientGiven => "recipient_given",
            Self::Sender => "sender",
            Self::Client => "client",
        }
    }
}
