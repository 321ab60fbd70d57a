//! The EHLO reply the client sees, made from the live hop's.
//!
//! In:    the hop's 250 reply; what policy allows.
//! Out:   the lines the client may see, in the hop's order, as one reply; what it then was offered.
//! Never: shows what gatepost cannot carry or serve; allocates beyond the buffer it writes to.
//!
//! RFC 5321 4.1.1.1; RFC 1870 (SIZE), RFC 2920 (PIPELINING), RFC 4954 (AUTH), RFC 9422 (LIMITS).

use smallvec::SmallVec;

use super::extension::{Extensions, Keyword, is_legacy_auth, split_line};
use super::reply::ReplyRef;
use super::told::TellingVerb;
use super::{read_decimal, write_decimal};

/// What policy allows the client to see.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// gatepost's own bound for a message, 0 for none.
    pub message_size: u64,
    /// gatepost's own bound for recipients, 0 for none.
    pub recipients: u32,
    /// Whether the hop's AUTH may be shown.
    pub auth: bool,
    /// Our name, where the first line is to be our own.
    pub hostname: Option<&'a str>,
    /// Keywords nobody here knows that may be shown all the same.
    pub forward: &'a [Box<str>],
    /// Whether STARTTLS is gatepost's to offer.
    pub starttls: bool,
    /// Whether this client may say XCLIENT and XFORWARD.
    pub tells: bool,
}

/// RFC 5321 4.5.3.1.8: as many recipients any client may expect to be taken.
const RECIPIENTS_EXPECTED: u32 = 100;

/// Unknown keywords that are never shown, even when listed: they fetch content past gatepost, turn the
/// dialog around, authenticate by other means, or change how many replies there are to the content.
const NEVER: &[&str] = &["BURL", "TURN", "ATRN", "X-EXPS", "X-ANONYMOUSTLS"];

/// SASL mechanisms that bind to the channel, or put a layer over the dialog (and any `-PLUS`).
const UNCARRIED: &[&str] = &["EXTERNAL", "GSSAPI", "GSS-SPNEGO", "NTLM", "DIGEST-MD5"];

/// So many mechanisms are shown; a hop that has more has made them up.
const MECHANISMS: usize = 64;

/// What a hop offers and a client is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden<'a> {
    /// A keyword that nobody here knows, or that is never shown.
    Keyword(&'a [u8]),
    /// A SASL mechanism that cannot pass a proxy.
    Mechanism(&'a [u8]),
}

/// Writes the EHLO reply the client sees. What is hidden because nobody here knows it, or because it never
/// is shown, is told to `hidden`; what policy hides is not. Returns what the client was shown.
pub fn present(
    hop: ReplyRef<'_>,
    shown: &Shown<'_>,
    out: &mut Vec<u8>,
    hidden: &mut dyn FnMut(Hidden<'_>),
) -> Extensions {
    let mut lines = hop.lines();
    let first = lines.next().unwrap_or_default();
    let mut page = Page {
        out,
        last: 0,
        begun: 0,
        offered: Extensions::of(hop),
        policy: shown,
        shown: Extensions::default(),
        mechanisms: SmallVec::new(),
        shows_auth: false,
        shows_legacy_auth: false,
    };
    if shown.auth {
        page.mechanisms = mechanisms(hop, hidden);
    }
    page.line(shown.hostname.map_or(first, str::as_bytes));
    for line in lines {
        let line = line.trim_ascii();
        let (name, argument) = split_line(line);
        if let Some(keyword) = Keyword::of(name) {
            page.known(keyword, line, argument, hidden);
        } else if is_legacy_auth(name) {
            if !std::mem::replace(&mut page.shows_legacy_auth, true) {
                page.auth(b"AUTH=");
            }
        } else if page.is_forwarded(name) {
            page.line(line);
        } else if !name.is_empty() {
            hidden(Hidden::Keyword(name));
        }
    }
    page.own();
    page.out[page.last + 3] = b' ';
    page.shown
}

/// The reply as far as it is written.
struct Page<'p> {
    out: &'p mut Vec<u8>,
    /// Where its last line begins: every line is written as if another followed.
    last: usize,
    /// Where the line being written begins; it may yet be taken back.
    begun: usize,
    offered: Extensions,
    policy: &'p Shown<'p>,
    shown: Extensions,
    /// Those that pass a proxy.
    mechanisms: SmallVec<[&'p [u8]; 8]>,
    /// A line with them is written.
    shows_auth: bool,
    /// One in the older form is.
    shows_legacy_auth: bool,
}

impl Page<'_> {
    /// A line with a keyword gatepost knows. Each is shown once, however often the hop says it.
    fn known(&mut self, keyword: Keyword, line: &[u8], argument: &[u8], hidden: &mut dyn FnMut(Hidden<'_>)) {
        if self.shown.has(keyword) && keyword != Keyword::Auth {
            return;
        }
        match keyword {
            Keyword::Size => self.size(),
            Keyword::Auth if self.shows_auth => {}
            Keyword::Auth => {
                self.shows_auth = true;
                self.auth(b"AUTH ");
            }
            Keyword::Limits => self.limits(argument),
            // The hop's TLS is not the client's; ours may stand in its place.
            Keyword::StartTls => self.start_tls(),
            // RFC 3030 3: BINARYMIME without CHUNKING could not be used.
            Keyword::BinaryMime if !self.offered.has(Keyword::Chunking) => {}
            Keyword::XClient | Keyword::XForward | Keyword::RequireTls | Keyword::Prdr => {
                hidden(Hidden::Keyword(keyword.as_str().as_bytes()));
            }
            _ => {
                self.line(line);
                self.shown.insert(keyword);
            }
        }
    }

    /// What holds whether or not the hop says it.
    fn own(&mut self) {
        // RFC 2920: served by gatepost; to a hop without it, commands go one by one.
        if !self.shown.has(Keyword::Pipelining) {
            self.line(b"PIPELINING");
            self.shown.insert(Keyword::Pipelining);
        }
        if !self.shown.has(Keyword::Size) && self.policy.message_size > 0 {
            self.size();
        }
        if !self.shown.has(Keyword::StartTls) {
            self.start_tls();
        }
        if self.policy.tells {
            for (verb, keyword) in
                [(TellingVerb::Xclient, Keyword::XClient), (TellingVerb::Xforward, Keyword::XForward)]
            {
                self.begin(b"");
                verb.announce(self.out);
                self.end();
                self.shown.insert(keyword);
            }
        }
        // RFC 9422 4.2: who takes fewer recipients than expected has to say so.
        if !self.shown.has(Keyword::Limits) && (1..RECIPIENTS_EXPECTED).contains(&self.policy.recipients) {
            self.limits(b"");
        }
    }

    /// The lower of both bounds, where 0 is none.
    fn size(&mut self) {
        let bound = match (self.policy.message_size, self.offered.size().unwrap_or(0)) {
            (0, bound) | (bound, 0) => bound,
            (own, hop) => own.min(hop),
        };
        self.begin(b"SIZE");
        if bound > 0 {
            self.out.push(b' ');
            write_decimal(bound, self.out);
        }
        self.end();
        self.shown.set_size(bound);
    }

    fn start_tls(&mut self) {
        if self.policy.starttls {
            self.line(b"STARTTLS");
            self.shown.insert(Keyword::StartTls);
        }
    }

    /// The mechanisms that pass a proxy, if there are any, in the form that the hop has.
    fn auth(&mut self, head: &[u8; 5]) {
        if self.mechanisms.is_empty() {
            return;
        }
        self.begin(&head[..4]);
        for (index, mechanism) in self.mechanisms.iter().enumerate() {
            self.out.push(if index == 0 { head[4] } else { b' ' });
            self.out.extend_from_slice(mechanism);
        }
        self.end();
        self.shown.insert(Keyword::Auth);
    }

    /// RFC 9422 3: `name=value` each; RCPTMAX is lowered to our own bound, or put in if that is low.
    fn limits(&mut self, limits: &[u8]) {
        let own = u64::from(self.policy.recipients);
        let mut any = false;
        let mut named = false;
        self.begin(b"LIMITS");
        for limit in words(limits) {
            let mut parts = limit.splitn(2, |&octet| octet == b'=');
            let (name, value) = (parts.next().unwrap_or_default(), parts.next());
            if is(name, "RCPTMAX") {
                // RFC 9422 4: what has no good syntax is ignored.
                let Some(hop) = value.and_then(read_decimal).filter(|&hop| hop > 0 && !named) else {
                    continue;
                };
                named = true;
                self.recipients(if own == 0 { hop } else { own.min(hop) });
            } else {
                self.out.push(b' ');
                self.out.extend_from_slice(limit);
            }
            any = true;
        }
        if !named && (1..u64::from(RECIPIENTS_EXPECTED)).contains(&own) {
            any = true;
            self.recipients(own);
        }
        if any {
            self.end();
            self.shown.insert(Keyword::Limits);
        } else {
            self.out.truncate(self.begun);
        }
    }

    fn recipients(&mut self, bound: u64) {
        self.out.extend_from_slice(b" RCPTMAX=");
        write_decimal(bound, self.out);
    }

    fn is_forwarded(&self, name: &[u8]) -> bool {
        self.policy.forward.iter().any(|keyword| is(name, keyword))
            && !NEVER.iter().any(|never| is(name, never))
    }

    fn line(&mut self, text: &[u8]) {
        self.begin(text);
        self.end();
    }

    fn begin(&mut self, head: &[u8]) {
        self.begun = self.out.len();
        self.out.extend_from_slice(b"250-");
        self.out.extend_from_slice(head);
    }

    fn end(&mut self) {
        self.last = self.begun;
        self.out.extend_from_slice(b"\r\n");
    }
}

/// The mechanisms that pass a proxy: all lines of a reply that name some are one list, each mechanism once in it.
fn mechanisms<'a>(hop: ReplyRef<'a>, hidden: &mut dyn FnMut(Hidden<'_>)) -> SmallVec<[&'a [u8]; 8]> {
    let of_line = |line: &'a [u8]| {
        let line = line.trim_ascii();
        match split_line(line) {
            (name, argument) if is(name, Keyword::Auth.as_str()) => argument,
            (name, _) if is_legacy_auth(name) => &line[5..],
            _ => b"",
        }
    };
    let (mut carried, mut taken_out) = (SmallVec::new(), SmallVec::<[&[u8]; 8]>::new());
    for mechanism in hop.lines().skip(1).flat_map(|line| words(of_line(line))) {
        let list = if carries_mechanism(mechanism) { &mut carried } else { &mut taken_out };
        if list.len() < MECHANISMS
            && !list.iter().any(|listed: &&[u8]| listed.eq_ignore_ascii_case(mechanism))
        {
            list.push(mechanism);
        }
    }
    taken_out.into_iter().for_each(|mechanism| hidden(Hidden::Mechanism(mechanism)));
    carried
}

fn is(name: &[u8], keyword: &str) -> bool {
    name.eq_ignore_ascii_case(keyword.as_bytes())
}

/// Whether an AUTH mechanism can pass a proxy: it neither binds to the channel nor puts a layer over the dialog.
pub fn carries_mechanism(mechanism: &[u8]) -> bool {
    let plus = mechanism.len() >= 5 && is(&mechanism[mechanism.len() - 5..], "-PLUS");
    !plus && !UNCARRIED.iter().any(|uncarried| is(mechanism, uncarried))
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|octet| octet.is_ascii_whitespace()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests;
