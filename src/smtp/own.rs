//! Every reply gatepost can say itself. Each has a name, and all of them live in this file.
//!
//! (The greeting and the reply to EHLO name a host; they are composed where that is known.)
//!
//! In:    the session's id, for the negative ones.
//! Out:   one line of reply, with CRLF.
//! Never: a 3xx but the 354 to content that gatepost itself takes in; a negative reply without the
//!        session's id; text that came from anywhere but this file.
//!
//! RFC 5321 4.2, 4.3.2; RFC 3463 and 2034 (enhanced codes).

use std::fmt;

use super::reply::{Code, Reply};
use super::write_decimal;

/// A reply of gatepost's own.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub struct Own {
    /// The three digits.
    pub code: u16,
    /// The enhanced code (RFC 3463), in every 2xx, 4xx and 5xx.
    pub enhanced: Option<&'static str>,
    /// What a person reads.
    pub text: &'static str,
}

/// What a session is called in logs and negative replies.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

impl Own {
    /// Writes the reply as one line. A negative one ends with the session's id, for whoever asks about it.
    pub fn write(&self, session: SessionId, out: &mut Vec<u8>) {
        write_decimal(u64::from(self.code), out);
        if let Some(enhanced) = self.enhanced {
            out.push(b' ');
            out.extend_from_slice(enhanced.as_bytes());
        }
        out.push(b' ');
        out.extend_from_slice(self.text.as_bytes());
        if self.code().is_negative() {
            out.extend_from_slice(b" [");
            session.write(out);
            out.push(b']');
        }
        out.extend_from_slice(b"\r\n");
    }

    /// The reply as a value.
    pub fn reply(&self, session: SessionId) -> Reply {
        let mut octets = Vec::with_capacity(self.text.len() + 40);
        self.write(session, &mut octets);
        Reply::of_line(self.code(), octets)
    }

    /// Its code.
    pub fn code(&self) -> Code {
        Code::new(self.code).expect("every code in this file is one: a test reads them all")
    }
}

impl SessionId {
    fn write(self, out: &mut Vec<u8>) {
        for octet in self.0.to_be_bytes() {
            for nibble in [octet >> 4, octet & 15] {
                out.push(b"0123456789abcdef"[usize::from(nibble)]);
            }
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Makes a constant of each row, and the list of all of them.
macro_rules! own {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $enhanced:expr, $text:literal;)*) => {
        $($(#[$doc])* pub const $name: Own = Own { code: $code, enhanced: $enhanced, text: $text };)*

        /// All of them with their names, for tests and documentation.
        pub const ALL: &[(&str, Own)] = &[$((stringify!($name), $name)),*];
    };
}

own! {
    // Positive, where gatepost answers in a hop's place.

    /// A command that needed nothing.
    OK = 250, Some("2.0.0"), "Ok";
    /// RSET with no hop open.
    RSET_OK = 250, Some("2.0.0"), "Flushed";
    /// NOOP with no hop open.
    NOOP_OK = 250, Some("2.0.0"), "Ok";
    /// MAIL answered before a hop is chosen.
    SENDER_OK = 250, Some("2.1.0"), "Sender ok";
    /// A recipient that a verdict swallows on purpose.
    RECIPIENT_OK = 250, Some("2.1.5"), "Recipient ok";
    /// A chunk that was taken in.
    CHUNK_OK = 250, Some("2.0.0"), "Octets received";
    /// Content that a verdict discarded on purpose.
    DISCARDED = 250, Some("2.6.0"), "Message accepted";
    /// VRFY with no hop open.
    VRFY = 252, Some("2.5.2"), "Send some mail, I will try my best";
    /// HELP with no hop open.
    HELP = 214, Some("2.0.0"), "This is an SMTP proxy; see RFC 5321";
    /// QUIT.
    BYE = 221, Some("2.0.0"), "Bye";
    /// STARTTLS accepted (RFC 3207).
    START_TLS = 220, Some("2.0.0"), "Ready to start TLS";
    /// DATA whose content gatepost takes in before a hop is asked.
    START_INPUT = 354, None, "End data with <CR><LF>.<CR><LF>";

    // Syntax and sequence.

    /// A command that cannot be read.
    SYNTAX = 500, Some("5.5.2"), "Syntax error";
    /// A verb nobody here knows.
    UNKNOWN_VERB = 500, Some("5.5.1"), "Command not recognized";
    /// A command line beyond its limit.
    LINE_TOO_LONG = 500, Some("5.5.2"), "Line too long";
    /// A bare CR, NUL or other control octet in a command, or an LF alone where that is rejected.
    BARE_OCTET = 500, Some("5.5.2"), "Control character or bare line end in command";
    /// An argument is missing, too many, or cannot be read.
    BAD_ARGUMENT = 501, Some("5.5.4"), "Syntax error in argument";
    /// A parameter of MAIL or RCPT cannot be read, or is given twice (RFC 3461 4).
    BAD_PARAMETER = 501, Some("5.5.4"), "Syntax error in parameters";
    /// The path of MAIL cannot be read.
    BAD_SENDER = 501, Some("5.1.7"), "Bad sender address syntax";
    /// The path of RCPT cannot be read.
    BAD_RECIPIENT = 501, Some("5.1.3"), "Bad recipient address syntax";
    /// BDAT whose size cannot be read.
    CHUNK_BAD = 501, Some("5.5.4"), "Syntax: BDAT count [LAST]";
    /// A verb that is known and not served.
    NOT_IMPLEMENTED = 502, Some("5.5.1"), "Command not implemented";
    /// BDAT where CHUNKING was not offered.
    BDAT_NOT_OFFERED = 502, Some("5.5.1"), "CHUNKING was not offered";
    /// A command that cannot stand here.
    BAD_SEQUENCE = 503, Some("5.5.1"), "Bad sequence of commands";
    /// A transaction's command before EHLO or HELO.
    NEED_HELLO = 503, Some("5.5.1"), "Say EHLO or HELO first";
    /// MAIL inside a transaction.
    NESTED_MAIL = 503, Some("5.5.1"), "Nested MAIL command";
    /// RCPT outside of a transaction.
    NEED_MAIL = 503, Some("5.5.1"), "Need MAIL command";
    /// DATA after BDAT in one transaction (RFC 3030 3).
    DATA_AFTER_BDAT = 503, Some("5.5.1"), "DATA after BDAT";
    /// DATA for a message declared BINARYMIME (RFC 3030 3).
    BINARYMIME_DATA = 503, Some("5.5.1"), "BODY=BINARYMIME requires BDAT";
    /// Anything but QUIT after a 554 greeting (RFC 5321 3.1).
    ONLY_QUIT = 503, Some("5.5.1"), "Only QUIT is served";
    /// STARTTLS under TLS (RFC 3207 4.2).
    TLS_TWICE = 503, Some("5.5.1"), "TLS is already active";
    /// AUTH before TLS where it is taken under TLS only (RFC 4954 4: 504 where a mechanism "requires an encryption layer"; 538
    /// stands in its section 6 for historical purposes only).
    AUTH_NEEDS_TLS = 504, Some("5.5.4"), "Encryption required for requested authentication mechanism";
    /// An AUTH mechanism that was taken out of the list.
    AUTH_MECHANISM = 504, Some("5.5.4"), "Authentication mechanism not offered";
    /// A parameter of an extension that was not offered.
    PARAMETER_NOT_OFFERED = 555, Some("5.5.4"), "Parameter not recognized or not offered";
    /// DATA when every recipient was refused.
    NO_VALID_RECIPIENTS = 554, Some("5.5.1"), "No valid recipients";

    // Content.

    /// Declared or real size beyond `message_size`.
    MESSAGE_TOO_BIG = 552, Some("5.3.4"), "Message too big";
    /// More content swallowed than anybody needs to send.
    SWALLOW_LIMIT = 421, Some("4.3.4"), "Message far too big, closing";

    /// A bare CR or LF where those are rejected.
    BARE_NEWLINE = 550, Some("5.5.2"), "Bare <CR> or <LF> in content";
    /// NULs that alone part a dot from a line end, in both modes.
    NUL_DOT = 550, Some("5.5.2"), "NUL beside a lone dot in content";

    // Policy and TLS.

    /// A command that asks for TLS first.
    TLS_REQUIRED = 530, Some("5.7.0"), "Must issue a STARTTLS command first";
    /// XCLIENT or XFORWARD from somebody not listed for it, where others are.
    NOT_AUTHORIZED = 550, Some("5.7.0"), "Insufficient authorization";
    /// A callout that did not answer, where that is to be temporary.
    CALLOUT_FAILED = 451, Some("4.3.0"), "Try again later";
    /// The same where the connection is in question.
    CALLOUT_FAILED_CLOSING = 421, Some("4.3.0"), "Try again later, closing";
    /// A callout that did not answer, where that is to be a refusal.
    CALLOUT_REJECTED = 554, Some("5.3.0"), "Cannot be checked";
    /// A verdict that refuses without words of its own.
    REFUSED = 550, Some("5.7.1"), "Refused";
    /// A verdict whose new value is no address, name or parameter.
    BAD_VERDICT = 451, Some("4.3.5"), "A rule's value is not valid here";
    /// A verdict that ends the session without words of its own.
    DISCONNECTED = 421, Some("4.7.0"), "Closing";
    /// Octets before the greeting where that is to be waited for (RFC 5321 3.1, 4.3.1).
    EARLY_TALKER = 554, Some("5.5.1"), "You spoke before the greeting, closing";
    /// Another protocol.
    NOT_SMTP = 554, Some("5.5.1"), "This port speaks SMTP, closing";
    /// Octets behind a command that must be the last of its group.
    EARLY_INPUT = 421, Some("4.7.0"), "Input out of turn, closing";

    // Limits.

    /// More recipients than one transaction may have (RFC 5321 4.5.3.1.10).
    TOO_MANY_RECIPIENTS = 452, Some("4.5.3"), "Too many recipients";
    /// A recipient that belongs to another hop than the transaction's.
    OTHER_HOP = 452, Some("4.5.3"), "Send this recipient in another transaction";
    /// More sessions than there is room for.
    TOO_MANY_SESSIONS = 421, Some("4.3.2"), "Too many sessions, try again later";
    /// More sessions than one client may have.
    TOO_MANY_FROM_CLIENT = 421, Some("4.7.0"), "Too many sessions from your address";
    /// More sessions than the clients of one range may have together.
    TOO_MANY_FROM_RANGE = 421, Some("4.7.0"), "Too many sessions from your network";
    /// More new sessions a minute than a client, or its range, may have.
    SESSION_RATE = 421, Some("4.7.0"), "Too many new sessions, try again later";
    /// More messages a minute than a client, or its range, may send.
    MESSAGE_RATE = 451, Some("4.7.1"), "Too many messages, try again later";
    /// More recipients a minute than a client, or its range, may name.
    RECIPIENT_RATE = 451, Some("4.7.1"), "Too many recipients, try again later";
    /// Somebody whom no proxy stands in for, where only proxies are let in.
    PROXIES_ONLY = 421, Some("4.7.0"), "Not reached this way";
    /// More errors than a session may have.
    TOO_MANY_ERRORS = 421, Some("4.7.0"), "Too many errors, closing";
    /// A line beyond its limit that does not end.
    LINE_ENDLESS = 421, Some("4.7.0"), "Line far too long, closing";
    /// A client's silence.
    IDLE = 421, Some("4.4.2"), "Timeout, closing";
    /// gatepost is stopping.
    SHUTTING_DOWN = 421, Some("4.3.2"), "Shutting down";
    /// gatepost has failed.
    PANIC = 421, Some("4.3.0"), "Internal error, closing";

    // Hops.

    /// No hop was ever reached in this session.
    HOP_UNREACHABLE = 421, Some("4.4.1"), "No next hop can be reached";
    /// A client whose connection was intercepted on its way to gatepost itself.
    LOOPED = 421, Some("4.4.6"), "Your connection would come back here";
    /// A hop was reached and is lost.
    HOP_LOST = 421, Some("4.4.2"), "Connection to the next hop lost";
    /// The hop was lost while content was under way.
    CONTENT_LOST = 451, Some("4.4.2"), "Connection to the next hop lost, message not sent";
    /// A message cannot be kept while it is asked about (RFC 3463 X.3.1).
    SPOOL_FULL = 452, Some("4.3.1"), "Insufficient system storage";
    /// What was kept of it cannot be read.
    SPOOL_UNREADABLE = 451, Some("4.3.0"), "The message could not be read back";
    /// What the hop said to the content cannot be understood.
    HOP_PROTOCOL = 451, Some("4.5.0"), "Protocol error at the next hop";
    /// No host that is left has the TLS that it must have (RFC 3463 X.7.4).
    HOP_NOT_SECURED = 421, Some("4.7.4"), "No next hop can be reached under TLS";
    /// No host that is left can be told who the client is, and must be.
    HOP_NOT_TOLD = 421, Some("4.7.1"), "No next hop can be told who you are";
    /// No host that was reached takes mail of gatepost's, whoever's it is.
    HOP_REFUSES = 421, Some("4.3.2"), "No next hop takes mail now";
    /// A hop that was told who the client is closed the connection without a word.
    HOP_HUNG_UP = 421, Some("4.7.0"), "The next hop closed the connection";
    /// Every host has as many sessions as it may.
    HOP_BUSY = 421, Some("4.3.2"), "All next hops are busy";
    /// No hop's answer to a command within the time for it.
    ANSWER_TIMEOUT = 451, Some("4.4.1"), "No answer in time";
    /// No hop's greeting within the time for it.
    ANSWER_TIMEOUT_GREETING = 421, Some("4.4.1"), "No answer in time, closing";
    /// A ladder of attempts in which one failed for now.
    ATTEMPTS_FAILED = 451, Some("4.4.1"), "Recipient cannot be tried now";
    /// The hop was lost in an AUTH exchange (RFC 4954 4).
    AUTH_LOST = 454, Some("4.7.0"), "Temporary authentication failure";
    /// No hop is known before a recipient is, and what it has to offer only then (RFC 6531 3.5).
    HOP_LACKS_SMTPUTF8 = 550, Some("5.6.7"), "The recipient's host does not take SMTPUTF8";
    /// The same for 8BITMIME: gatepost converts nothing (RFC 6152 3).
    HOP_LACKS_8BITMIME = 550, Some("5.6.3"), "The recipient's host does not take 8BITMIME";
    /// The same for SIZE (RFC 1870 6.1).
    HOP_LACKS_SIZE = 552, Some("5.3.4"), "Message too big for the recipient's host";
    /// The same for any other extension that MAIL uses.
    HOP_LACKS_EXTENSION = 550, Some("5.5.4"), "The recipient's host does not take a parameter of MAIL";
    /// The hop was lost when it was to begin TLS with the client (RFC 3207 4).
    TLS_LOST = 454, Some("4.7.0"), "TLS not available for now";
    /// A recipient without a domain, where the domain names the hop.
    NO_DOMAIN = 550, Some("5.1.2"), "The recipient has no domain to send it to";
    /// A recipient's domain that does not exist.
    NO_SUCH_DOMAIN = 550, Some("5.1.2"), "The recipient's domain does not exist or has no hosts";
    /// A recipient's domain that takes no mail (RFC 7505 4.2).
    NULL_MX = 556, Some("5.1.10"), "The recipient's domain takes no mail (null MX)";
    /// A recipient's domain whose host is gatepost.
    MAIL_LOOP = 550, Some("5.4.6"), "Mail for the recipient's domain would come back here";
    /// A recipient's domain that DNS says nothing about for now.
    DNS_UNKNOWN = 451, Some("4.4.3"), "The recipient's domain cannot be looked up now";
    /// A rule or callout wants an address beyond ASCII in a transaction whose MAIL did not say SMTPUTF8 (RFC 6531 3.4).
    NOT_SMTPUTF8 = 553, Some("5.6.7"), "The new address needs SMTPUTF8";
    /// MAIL needs SMTPUTF8 and the hop has not got it (RFC 6531 3.5).
    NEED_SMTPUTF8 = 553, Some("5.6.7"), "SMTPUTF8 is not supported by the next hop";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::{ReplyFramer, ReplyLimits};

    const SESSION: SessionId = SessionId(0x0123_4567_89ab_cdef);

    fn written(own: Own) -> String {
        let mut out = Vec::new();
        own.write(SESSION, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn wire_form() {
        assert_eq!(written(SYNTAX), "500 5.5.2 Syntax error [0123456789abcdef]\r\n");
        assert_eq!(written(HOP_LOST), "421 4.4.2 Connection to the next hop lost [0123456789abcdef]\r\n");
        assert_eq!(written(BYE), "221 2.0.0 Bye\r\n");
        assert_eq!(written(START_INPUT), "354 End data with <CR><LF>.<CR><LF>\r\n");
        assert_eq!(SESSION.to_string(), "0123456789abcdef");
        assert_eq!(SessionId(1).to_string(), "0000000000000001");
    }

    #[test]
    fn every_reply_is_well_formed() {
        for (name, own) in ALL {
            let line = written(*own);
            let limits = ReplyLimits { line: 512, reply: 512 };
            let reply = ReplyFramer::default().next(line.as_bytes(), limits).unwrap().unwrap();
            assert_eq!(reply.as_bytes(), line.as_bytes(), "{name}");
            assert_eq!(reply.code(), own.code(), "{name}");
            assert_eq!(reply.enhanced().map(|code| code.to_string()).as_deref(), own.enhanced, "{name}");
            assert_eq!(own.enhanced.is_none(), own.code().is_intermediate(), "{name}");
            assert_eq!(own.reply(SESSION).as_bytes(), line.as_bytes(), "{name}");
        }
    }
}
