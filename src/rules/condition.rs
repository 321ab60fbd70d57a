//! `match`: what must hold for a rule to speak, and what is known when it is asked.
//!
//! **In**: a configured `match`, compiled once; the [`Facts`] of one question, kept up to date with the rewrites made
//! while it is asked. **Out**: whether all keys hold.
//! **Never**: holds a key against something the stage cannot know: a path, name, size or reply that is not there
//! fits no pattern (and therefore every `not`).
//!
//! Tests stand in the order of their cost. The canonical form of a path is made when the first rule needs it and
//! kept until that path is rewritten; nothing else is allocated. RFC 5321 section 4.2 (replies), RFC 3463 (enhanced
//! codes), RFC 1870 (SIZE).

use std::cell::OnceCell;
use std::io::Write;
use std::net::IpAddr;

use super::address::Addresses;
use super::message::{Header, Headers};
use super::pattern::Glob;
use super::tls::Tls;
use crate::config::types::{CodePattern, Match, SizeRange};
use crate::message::{Draft, Edit, Signature};
use crate::networks::Networks;
use crate::session::client::ClientFacts;
use crate::session::verdict::{Question, Rewrites, Stage};
use crate::smtp::{Canonical, EnhancedCode, Params, Path, ReplyRef};

/// The keys that hold addresses, most telling first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Recipient,
    RecipientGiven,
    Sender,
}

impl Field {
    pub(super) const ALL: [Self; 3] = [Self::Recipient, Self::RecipientGiven, Self::Sender];
}

/// A compiled `match`: all of these hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Condition(Vec<Test>);

/// One key.
#[derive(Debug, Clone)]
enum Test {
    Code(Vec<CodePattern>),
    Authenticated(bool),
    Tls(Tls),
    Size(Vec<SizeRange>),
    /// By the listener's place.
    Listener(Vec<bool>),
    Client(Networks),
    Verb(Vec<Glob>),
    EnhancedCode(Vec<Glob>),
    Helo(Vec<Glob>),
    Login(Vec<Glob>),
    Address(Field, Addresses),
    Text(Vec<Glob>),
    Header(Vec<Header>),
    Signed(Vec<Signature>),
    /// By name, by type.
    Attachment(Vec<Glob>, Vec<Glob>),
    MimeFault,
    Not(Condition),
}

impl Condition {
    /// Compiles a `match`. Errors are pairs of key and what is wrong with it.
    pub(super) fn new(config: &Match, listeners: &[Vec<String>], errors: &mut Vec<(String, String)>) -> Self {
        let mut tests = Vec::new();
        if !config.code.is_empty() {
            tests.push(Test::Code(config.code.clone()));
        }
        if let Some(authenticated) = config.authenticated {
            tests.push(Test::Authenticated(authenticated));
        }
        if let Some(tls) = &config.tls {
            tests.push(Test::Tls(Tls::new(tls)));
        }
        if !config.size.is_empty() {
            tests.push(Test::Size(config.size.clone()));
        }
        if !config.listener.is_empty() {
            let globs: Vec<_> = config.listener.iter().map(|pattern| Glob::text(pattern)).collect();
            let meant = |names: &Vec<String>| names.iter().any(|name| any(&globs, name.as_bytes()));
            tests.push(Test::Listener(listeners.iter().map(meant).collect()));
        }
        if !config.client.is_empty() {
            tests.push(Test::Client(config.client.clone()));
        }
        let mut globs = |patterns: &[String], test: fn(Vec<Glob>) -> Test| {
            if !patterns.is_empty() {
                tests.push(test(patterns.iter().map(|pattern| Glob::text(pattern)).collect()));
            }
        };
        globs(&config.verb, Test::Verb);
        globs(&config.enhanced_code, Test::EnhancedCode);
        globs(&config.helo, Test::Helo);
        globs(&config.login, Test::Login);
        let addresses = [
            ("recipient", &config.recipient, Field::Recipient),
            ("recipient_given", &config.recipient_given, Field::RecipientGiven),
            ("sender", &config.sender, Field::Sender),
        ];
        for (key, patterns, field) in addresses {
            if patterns.is_empty() {
                continue;
            }
            match Addresses::new(patterns) {
                Ok(addresses) => tests.push(Test::Address(field, addresses)),
                Err(error) => errors.push((key.to_owned(), error)),
            }
        }
        if !config.text.is_empty() {
            tests.push(Test::Text(config.text.iter().map(|pattern| Glob::text(pattern)).collect()));
        }
        if !config.signed.is_empty() {
            tests.push(Test::Signed(config.signed.clone()));
        }
        if config.mime_fault {
            tests.push(Test::MimeFault);
        }
        if !config.attachment.is_empty() {
            let globs = |types: bool| {
                let meant = config.attachment.iter().filter(|pattern| pattern.contains('/') == types);
                meant.map(|pattern| Glob::text(pattern)).collect()
            };
            tests.push(Test::Attachment(globs(false), globs(true)));
        }
        if !config.header.is_empty() {
            tests.push(Test::Header(config.header.iter().map(Header::new).collect()));
        }
        if let Some(not) = &config.not {
            let mut inner = Vec::new();
            tests.push(Test::Not(Self::new(not, listeners, &mut inner)));
            errors.extend(inner.into_iter().map(|(key, error)| (format!("not.{key}"), error)));
        }
        Self(tests)
    }

    /// Whether all keys hold.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        self.0.iter().all(|test| test.holds(facts))
    }

    /// Whether any key looks at the structure of a message's MIME.
    pub(super) fn wants_structure(&self) -> bool {
        self.any(&|test| matches!(test, Test::Attachment(..) | Test::MimeFault))
    }

    /// Whether any key looks at a message.
    pub(super) fn looks_at_message(&self) -> bool {
        let of_message = |test: &Test| matches!(test, Test::Header(_) | Test::Signed(_) | Test::Size(_));
        self.wants_structure() || self.any(&of_message)
    }

    fn any(&self, of: &dyn Fn(&Test) -> bool) -> bool {
        self.0.iter().any(|test| match test {
            Test::Not(condition) => condition.any(of),
            test => of(test),
        })
    }

    /// The keys that do not hold, in the order they are tested.
    pub(super) fn unmet(&self, facts: &Facts<'_>) -> Vec<&'static str> {
        self.0.iter().filter(|test| !test.holds(facts)).map(Test::key).collect()
    }

    /// The patterns of an address key, if it is demanded.
    pub(super) fn addresses(&self, field: Field) -> Option<&Addresses> {
        self.0.iter().find_map(|test| match test {
            Test::Address(of, addresses) if *of == field => Some(addresses),
            _ => None,
        })
    }

    /// The classes of replies that may fit, bit by first digit.
    pub(super) fn reply_classes(&self) -> u16 {
        let codes = self.0.iter().find_map(|test| match test {
            Test::Code(codes) => Some(codes),
            _ => None,
        });
        codes.map_or(u16::MAX, |codes| codes.iter().fold(0, |set, code| set | class_bit(code.class())))
    }
}

impl Test {
    /// Its key in `match`.
    fn key(&self) -> &'static str {
        match self {
            Self::Code(_) => "code",
            Self::Authenticated(_) => "authenticated",
            Self::Tls(_) => "tls",
            Self::Size(_) => "size",
            Self::Listener(_) => "listener",
            Self::Client(_) => "client",
            Self::Verb(_) => "verb",
            Self::EnhancedCode(_) => "enhanced_code",
            Self::Helo(_) => "helo",
            Self::Login(_) => "login",
            Self::Address(Field::Recipient, _) => "recipient",
            Self::Address(Field::RecipientGiven, _) => "recipient_given",
            Self::Address(Field::Sender, _) => "sender",
            Self::Text(_) => "text",
            Self::Header(_) => "header",
            Self::Signed(_) => "signed",
            Self::Attachment(..) => "attachment",
            Self::MimeFault => "fault",
            Self::Not(_) => "not",
        }
    }

    fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Code(codes) => facts.reply.is_some_and(|reply| {
                let code = reply.code().get();
                codes.iter().any(|pattern| pattern.matches(code))
            }),
            Self::Authenticated(wanted) => facts.question.authenticated == *wanted,
            Self::Tls(tls) => tls.holds(facts.question.facts.and_then(ClientFacts::tls)),
            Self::Size(ranges) => {
                facts.size().is_some_and(|size| ranges.iter().any(|range| range.contains(size)))
            }
            Self::Listener(meant) => {
                meant.get(usize::from(facts.question.listener)).copied().unwrap_or(false)
            }
            Self::Client(networks) => networks.contains(facts.client()),
            Self::Verb(globs) => any(globs, facts.question.verb.as_str().as_bytes()),
            Self::EnhancedCode(globs) => facts.enhanced_code(|code| any(globs, code)),
            Self::Helo(globs) => facts.helo().is_some_and(|name| any(globs, name)),
            Self::Login(globs) => {
                let login = facts.question.facts.and_then(ClientFacts::login);
                login.is_some_and(|login| any(globs, login.as_bytes()))
            }
            Self::Address(field, addresses) if facts.stage() == Stage::Message && *field != Field::Sender => {
                facts.recipients(*field).iter().any(|a| addresses.matches(a))
            }
            Self::Address(field, addresses) => facts.address(*field).is_some_and(|a| addresses.matches(a)),
            Self::Header(wanted) => facts.message().is_some_and(|draft| {
                let headers = facts.headers.get_or_init(|| Headers::of(draft));
                wanted.iter().any(|header| headers.have(header))
            }),
            Self::Signed(wanted) => {
                facts.message().is_some_and(|draft| wanted.iter().any(|how| draft.is_signed(*how)))
            }
            Self::Text(globs) => {
                facts.reply.is_some_and(|reply| reply.lines().any(|line| any(globs, text(line))))
            }
            Self::Attachment(names, types) => facts.message().is_some_and(|draft| {
                draft.message().parts().iter().any(|part| {
                    any(types, part.media.as_bytes())
                        || part.names.iter().any(|name| any(names, name.as_bytes()))
                })
            }),
            Self::MimeFault => facts.message().is_some_and(|draft| draft.message().has_mime_fault()),
            Self::Not(condition) => !condition.holds(facts),
        }
    }
}

/// The bit of a reply class, for [`Condition::reply_classes`].
pub(super) fn class_bit(first_digit: u8) -> u16 {
    1 << (first_digit & 15)
}

/// What a reply line says to a person: without the enhanced code it may begin with (RFC 2034 section 4).
fn text(line: &[u8]) -> &[u8] {
    if EnhancedCode::parse(line).is_none() {
        return line;
    }
    memchr::memchr(b' ', line).map_or(&[], |space| &line[space + 1..])
}

pub(super) fn any(globs: &[Glob], text: &[u8]) -> bool {
    globs.iter().any(|glob| glob.matches(text))
}

/// What is known when rules are asked.
#[derive(Debug)]
pub(super) struct Facts<'q> {
    question: &'q Question<'q>,
    reply: Option<ReplyRef<'q>>,
    rewrites: Rewrites,
    addresses: [OnceCell<Option<Canonical>>; Field::ALL.len()],
    /// At `message`: all recipients of the envelope, as they were sent and as they were given.
    recipients: [OnceCell<Vec<Canonical>>; 2],
    /// The message as it is now, where a rule has edited it.
    draft: Option<Draft>,
    /// Its header fields as they are compared.
    headers: OnceCell<Headers>,
}

impl<'q> Facts<'q> {
    pub(super) fn new(question: &'q Question<'q>, reply: Option<ReplyRef<'q>>) -> Self {
        Self {
            question,
            reply,
            rewrites: Rewrites::default(),
            addresses: Default::default(),
            recipients: Default::default(),
            draft: None,
            headers: OnceCell::new(),
        }
    }

    /// Takes new values; what is `None` stays. `false`: one of them is no path, so nothing more can be asked about it.
    pub(super) fn rewrite(&mut self, new: Rewrites) -> bool {
        let Rewrites { sender, recipient, helo, parameters } = new;
        let mut paths = true;
        if sender.is_some() {
            self.rewrites.sender = sender;
            self.addresses[Field::Sender as usize] = OnceCell::new();
            paths &= self.path(Field::Sender).is_some();
        }
        if recipient.is_some() {
            self.rewrites.recipient = recipient;
            self.addresses[Field::Recipient as usize] = OnceCell::new();
            paths &= self.path(Field::Recipient).is_some();
        }
        self.rewrites.helo = helo.or(self.rewrites.helo.take());
        self.rewrites.parameters = parameters.or(self.rewrites.parameters.take());
        paths
    }

    /// The message as it is now.
    pub(super) fn message(&self) -> Option<&Draft> {
        self.draft.as_ref().or(self.question.message)
    }

    /// Makes those of the changes that change anything, and says which.
    pub(super) fn edit(&mut self, edits: &[Edit]) -> Vec<Edit> {
        let Some(asked) = self.question.message else { return Vec::new() };
        let mut made = Vec::new();
        for edit in edits {
            let there = |name: &str| self.message().is_some_and(|draft| draft.fields().any(|f| f.is(name)));
            if matches!(edit, Edit::DeleteAll(name) if !there(name)) {
                continue;
            }
            self.draft.get_or_insert_with(|| asked.clone()).apply(edit);
            self.headers = OnceCell::new();
            made.push(edit.clone());
        }
        made
    }

    /// All new values.
    pub(super) fn into_rewrites(self) -> Rewrites {
        self.rewrites
    }

    pub(super) fn client(&self) -> IpAddr {
        self.question.client
    }

    pub(super) fn stage(&self) -> Stage {
        self.question.stage
    }

    /// A path as it is now, as it was spelled.
    pub(super) fn path(&self, field: Field) -> Option<Path<'_>> {
        let (rewritten, asked) = match field {
            Field::Recipient => (&self.rewrites.recipient, self.question.recipient),
            Field::RecipientGiven => (&None, self.question.recipient_given),
            Field::Sender => (&self.rewrites.sender, self.question.sender),
        };
        match rewritten {
            Some(octets) => Path::parse(octets).ok(),
            None => asked,
        }
    }

    /// A path as it is now, as it is compared.
    pub(super) fn address(&self, field: Field) -> Option<&Canonical> {
        let cell = &self.addresses[field as usize];
        cell.get_or_init(|| self.path(field).map(|path| Canonical::of(&path))).as_ref()
    }

    /// At `message`: the recipients of the envelope, as they are compared.
    fn recipients(&self, field: Field) -> &[Canonical] {
        let given = field == Field::RecipientGiven;
        self.recipients[usize::from(given)].get_or_init(|| {
            let all = self.question.envelope.into_iter().flat_map(|envelope| envelope.recipients());
            let all = all.map(|one| if given { one.given } else { one.sent });
            let all = all.filter_map(|path| Path::parse(path).ok());
            all.chain(self.path(field)).map(|path| Canonical::of(&path)).collect()
        })
    }

    /// The parameters as they are now.
    pub(super) fn parameters(&self) -> &[u8] {
        match &self.rewrites.parameters {
            Some(octets) => octets,
            None => self.question.params.as_bytes(),
        }
    }

    /// The client's name as it is now.
    pub(super) fn helo(&self) -> Option<&[u8]> {
        self.rewrites.helo.as_deref().or(self.question.helo)
    }

    fn size(&self) -> Option<u64> {
        if let Some(draft) = self.message() {
            return Some(draft.message().size());
        }
        match &self.rewrites.parameters {
            Some(octets) if self.stage() == Stage::Mail => {
                Params::parse(octets).ok().and_then(|params| params.size())
            }
            _ => self.question.size,
        }
    }

    fn enhanced_code(&self, fits: impl FnOnce(&[u8]) -> bool) -> bool {
        let Some(code) = self.reply.and_then(|reply| reply.enhanced()) else { return false };
        let mut written = [0; 16];
        let mut room = &mut written[..];
        // At most 5.999.999, so there is room.
        if write!(room, "{code}").is_err() {
            return false;
        }
        let length = 16 - room.len();
        fits(&written[..length])
    }
}
