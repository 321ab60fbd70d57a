//! The EHLO reply the client sees, made from the live hop's.
//!
//! In:    the hop's 250 reply; what policy allows.
//! Out:   the lines the client may see, in the hop's order, as one reply; what it then was offered.
//! Never: shows what gatepost cannot carry or serve; allocates beyond the buffer it writes to.
//!
//! RFC 5321 4.1.1.1; RFC 1870 (SIZE), RFC 2920 (PIPELINING), RFC 4954 (AUTH), RFC 9422 (LIMITS).

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
const NEVER: &[&str] = &["BURL", "TURN", "ATRN", "X-EXPS", "X-ANONYMOUSTLS", "PRDR"];

/// SASL mechanisms that bind to the channel, or put a layer over the dialog (and any `-PLUS`).
const UNCARRIED: &[&str] = &["EXTERNAL", "GSSAPI", "GSS-SPNEGO", "NTLM", "DIGEST-MD5"];

/// Writes the EHLO reply the client sees. What is hidden because nobody here knows it, or because it never
/// is shown, is told to `hidden`; what policy hides is not. Returns what the client was shown.
pub fn present(
    hop: ReplyRef<'_>,
    shown: &Shown<'_>,
    out: &mut Vec<u8>,
    hidden: &mut dyn FnMut(&[u8]),
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
    };
    page.line(shown.hostname.map_or(first, str::as_bytes));
    for line in lines {
        let line = line.trim_ascii();
        let (name, argument) = split_line(line);
        if let Some(keyword) = Keyword::of(name) {
            page.known(keyword, line, argument, hidden);
        } else if is_legacy_auth(name) {
            page.auth(b"AUTH=", &line[5..]);
        } else if page.is_forwarded(name) {
            page.line(line);
        } else if !name.is_empty() {
            hidden(name);
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
}

impl Page<'_> {
    /// A line with a keyword gatepost knows. Each is shown once, however often the hop says it.
    fn known(&mut self, keyword: Keyword, line: &[u8], argument: &[u8], hidden: &mut dyn FnMut(&[u8])) {
        if self.shown.has(keyword) {
            return;
        }
        match keyword {
            Keyword::Size => self.size(),
            Keyword::Auth => self.auth(b"AUTH ", argument),
            Keyword::Limits => self.limits(argument),
            // The hop's TLS is not the client's; ours may stand in its place.
            Keyword::StartTls => self.start_tls(),
            // RFC 3030 3: BINARYMIME without CHUNKING could not be used.
            Keyword::BinaryMime if !self.offered.has(Keyword::Chunking) => {}
            Keyword::XClient | Keyword::XForward | Keyword::RequireTls => hidden(keyword.as_str().as_bytes()),
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

    /// The mechanisms that pass a proxy, if there are any.
    fn auth(&mut self, head: &[u8], mechanisms: &[u8]) {
        let mut carried = words(mechanisms).filter(|mechanism| carries_mechanism(mechanism)).peekable();
        if !self.policy.auth || carried.peek().is_none() {
            return;
        }
        self.begin(&head[..4]);
        for (index, mechanism) in carried.enumerate() {
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
mod tests {
    use super::*;
    use crate::smtp::{ReplyFramer, ReplyLimits};

    const POLICY: Shown<'_> = Shown {
        message_size: 1000,
        recipients: 500,
        auth: true,
        hostname: None,
        forward: &[],
        starttls: false,
        tells: false,
    };

    /// The lines shown, joined with `|`, and the keywords hidden.
    fn shown(hop: &[&str], policy: &Shown<'_>) -> (String, Vec<String>, Extensions) {
        let mut reply = String::new();
        for (index, line) in hop.iter().enumerate() {
            let mark = if index + 1 == hop.len() { ' ' } else { '-' };
            reply.push_str(&format!("250{mark}{line}\r\n"));
        }
        let limits = ReplyLimits { line: 512, reply: 4096 };
        let hop = ReplyFramer::default().next(reply.as_bytes(), limits).unwrap().unwrap();
        let mut out = b"220 before\r\n".to_vec();
        let mut hidden = Vec::new();
        let extensions =
            present(hop, policy, &mut out, &mut |name| hidden.push(String::from_utf8_lossy(name).into()));
        let written = out.strip_prefix(b"220 before\r\n").unwrap();
        let view = ReplyFramer::default().next(written, limits).unwrap().unwrap();
        assert_eq!(view.as_bytes(), written);
        assert_eq!(Extensions::of(view), extensions);
        let lines: Vec<String> = view.lines().map(|line| String::from_utf8_lossy(line).into()).collect();
        (lines.join("|"), hidden, extensions)
    }

    #[test]
    fn the_hops_own_cut_to_what_can_be_carried() {
        let table: &[(&[&str], &str)] = &[
            (&["mx.ex.test greets"], "mx.ex.test greets|PIPELINING|SIZE 1000"),
            (&["x", "SIZE 500", "pipelining"], "x|SIZE 500|pipelining"),
            (&["x", "SIZE 5000", "DSN", "PIPELINING"], "x|SIZE 1000|DSN|PIPELINING"),
            (&["x", "SIZE", "SIZE 7", "PIPELINING"], "x|SIZE 7|PIPELINING"),
            (&["x", "PIPELINING", "SIZE 0"], "x|PIPELINING|SIZE 1000"),
            (&["x", "SIZE 1", "BINARYMIME"], "x|SIZE 1|PIPELINING"),
            (&["x", "SIZE 1", "BINARYMIME", "CHUNKING"], "x|SIZE 1|BINARYMIME|CHUNKING|PIPELINING"),
            (&["x", "SIZE 1", "ENHANCEDSTATUSCODES"], "x|SIZE 1|ENHANCEDSTATUSCODES|PIPELINING"),
            (&["x", "STARTTLS", "SIZE 1", "PIPELINING"], "x|SIZE 1|PIPELINING"),
            (
                &[
                    "x",
                    "AUTH PLAIN  SCRAM-SHA-256-plus external LOGIN",
                    "AUTH=NTLM LOGIN",
                    "SIZE 1",
                    "PIPELINING",
                ],
                "x|AUTH PLAIN LOGIN|AUTH=LOGIN|SIZE 1|PIPELINING",
            ),
            (&["x", "AUTH GSSAPI NTLM DIGEST-MD5 GSS-SPNEGO", "AUTH=NTLM", "AUTH"], "x|PIPELINING|SIZE 1000"),
            (
                &["x", "LIMITS RCPTMAX=1000 MAILMAX=5 rcptmax=2", "SIZE 1", "PIPELINING"],
                "x|LIMITS RCPTMAX=500 MAILMAX=5|SIZE 1|PIPELINING",
            ),
            (&["x", "LIMITS RCPTMAX=20", "SIZE 1", "PIPELINING"], "x|LIMITS RCPTMAX=20|SIZE 1|PIPELINING"),
            (&["x", "LIMITS RCPTMAX=many", "SIZE 1", "PIPELINING"], "x|SIZE 1|PIPELINING"),
            (
                &["x", "VRFY", "HELP", "ETRN", "EXPN", "8BITMIME", "SMTPUTF8", "MT-PRIORITY MIXER"],
                "x|VRFY|HELP|ETRN|EXPN|8BITMIME|SMTPUTF8|MT-PRIORITY MIXER|PIPELINING|SIZE 1000",
            ),
            (&["", "", " DSN "], "|DSN|PIPELINING|SIZE 1000"),
        ];
        for (hop, expected) in table {
            let (lines, hidden, _) = shown(hop, &POLICY);
            assert_eq!(lines, *expected);
            assert!(hidden.is_empty(), "{hidden:?}");
        }
    }

    #[test]
    fn what_nobody_knows_is_hidden() {
        let hop = &[
            "x",
            "X-NEW 1",
            "XCLIENT NAME",
            "BURL imap",
            "xforward",
            "TURN",
            "ATRN",
            "x-exps",
            "REQUIRETLS",
            "SIZE 1",
        ];
        let (lines, hidden, _) = shown(hop, &POLICY);
        assert_eq!(lines, "x|SIZE 1|PIPELINING");
        assert_eq!(hidden, ["X-NEW", "XCLIENT", "BURL", "XFORWARD", "TURN", "ATRN", "x-exps", "REQUIRETLS"]);
        let forward: Vec<Box<str>> =
            ["x-new", "XCLIENT", "BURL", "XFORWARD", "TURN", "ATRN", "X-EXPS", "REQUIRETLS"]
                .map(Box::from)
                .into();
        let (lines, hidden, _) = shown(hop, &Shown { forward: &forward, ..POLICY });
        assert_eq!(lines, "x|X-NEW 1|SIZE 1|PIPELINING");
        assert_eq!(hidden.len(), 7);
    }

    #[test]
    fn what_policy_says() {
        let hop = &["hop.test", "AUTH PLAIN", "STARTTLS", "SIZE 5", "PIPELINING"];
        let policy = Shown { auth: false, starttls: true, hostname: Some("own.test"), ..POLICY };
        assert_eq!(shown(hop, &policy).0, "own.test|STARTTLS|SIZE 5|PIPELINING");
        let policy = Shown { message_size: 0, recipients: 0, starttls: true, ..POLICY };
        assert_eq!(shown(&["x"], &policy).0, "x|PIPELINING|STARTTLS");
        assert_eq!(
            shown(&["x", "SIZE", "LIMITS RCPTMAX=7"], &policy).0,
            "x|SIZE|LIMITS RCPTMAX=7|PIPELINING|STARTTLS"
        );
        let policy = Shown { tells: true, ..POLICY };
        assert_eq!(
            shown(&["x", "XCLIENT NAME", "SIZE 1"], &policy).0,
            "x|SIZE 1|PIPELINING|XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\
             |XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"
        );
        let policy = Shown { recipients: 1, ..POLICY };
        assert_eq!(shown(&["x"], &policy).0, "x|PIPELINING|SIZE 1000|LIMITS RCPTMAX=1");
        assert_eq!(
            shown(&["x", "LIMITS MAILMAX=9"], &policy).0,
            "x|LIMITS MAILMAX=9 RCPTMAX=1|PIPELINING|SIZE 1000"
        );
    }
}
