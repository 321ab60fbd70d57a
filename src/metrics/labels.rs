//! The labels of the metrics and their values.
//!
//! In:    what the engine knows about an event.
//! Out:   the text of the label in the output; the same words serve as fields of log records.
//! Never: a value that comes from outside; each label is an enum, so that its values are counted and known.

/// Declares the values of one label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$value_doc])* $variant,)* }

        impl $name {
            /// The label's values, in the order of the variants.
            pub const VALUES: &'static [&'static str] = &[$($text),*];

            /// Its value in the output, and in logs.
            pub fn as_str(self) -> &'static str {
                Self::VALUES[self as usize]
            }
        }
    };
}

label! {
    /// Why a client was not let in.
    Refusal {
        /// `limits.sessions`.
        Sessions = "sessions",
        /// `limits.sessions_per_client`.
        PerClient = "per_client",
        /// `sessions` of a range.
        PerRange = "per_range",
        /// `limits.new_sessions_per_minute`.
        ClientRate = "client_rate",
        /// `new_sessions_per_minute` of a range.
        RangeRate = "range_rate",
        /// gatepost is stopping.
        Draining = "draining",
        /// Its destination was gatepost itself.
        Loop = "loop",
        /// `proxy_protocol.required`, and an address that is not listed.
        Unlisted = "unlisted",
    }
}

label! {
    /// What is done under stress.
    Relief {
        /// A silent client was ended.
        ClientEnded = "client_ended",
        /// No hop was opened yet.
        HopWithheld = "hop_withheld",
    }
}

label! {
    /// What became of a PROXY header, or of waiting for one.
    ProxyHeader {
        /// It named the client.
        Proxied = "proxied",
        /// Whoever sent it speaks for itself.
        Local = "local",
        /// It knew of no address.
        Unknown = "unknown",
        /// The connection closed without an octet.
        Left = "left",
        /// None came in time, or not all of it.
        Late = "late",
        /// The connection closed in the midst of it.
        Torn = "torn",
        /// Other octets came.
        Missing = "missing",
        /// It could not be read.
        Malformed = "malformed",
        /// It was longer than one may be.
        TooLong = "too_long",
        /// Its checksum was another one.
        Checksum = "checksum",
        /// A second one.
        Second = "second",
        /// It came from somebody who is not listed.
        Unlisted = "unlisted",
    }
}

label! {
    /// Why a session ended.
    End {
        /// The client said QUIT.
        Quit = "quit",
        /// The client closed or broke the connection.
        ClientGone = "client_gone",
        /// The client was silent for too long.
        ClientTimeout = "client_timeout",
        /// Too many errors of syntax or sequence, or a limit that ends the dialog.
        Limit = "limit",
        /// Octets where none may be: behind STARTTLS, behind a refused DATA, a command that is none.
        Protocol = "protocol",
        /// Octets before the greeting, where that is to be waited for.
        EarlyTalker = "early_talker",
        /// The TLS handshake with the client failed.
        Tls = "tls",
        /// No hop could be reached, or the last one was lost.
        HopLost = "hop_lost",
        /// The hop's own word to this client: a refusing greeting, a 421.
        HopRefused = "hop_refused",
        /// A rule or a callout said so.
        Verdict = "verdict",
        /// Its TLS with the hop was passed through, until both had said all.
        Passed = "passed",
        /// gatepost was stopped.
        Shutdown = "shutdown",
        /// A defect in gatepost.
        Panic = "panic",
    }
}

label! {
    /// What a client said.
    Verb {
        /// EHLO
        Ehlo = "ehlo",
        /// HELO
        Helo = "helo",
        /// MAIL
        Mail = "mail",
        /// RCPT
        Rcpt = "rcpt",
        /// DATA
        Data = "data",
        /// BDAT
        Bdat = "bdat",
        /// RSET
        Rset = "rset",
        /// NOOP
        Noop = "noop",
        /// QUIT
        Quit = "quit",
        /// AUTH
        Auth = "auth",
        /// STARTTLS
        Starttls = "starttls",
        /// XCLIENT
        Xclient = "xclient",
        /// XFORWARD
        Xforward = "xforward",
        /// VRFY
        Vrfy = "vrfy",
        /// EXPN
        Expn = "expn",
        /// HELP
        Help = "help",
        /// ETRN
        Etrn = "etrn",
        /// One of `forward_verbs`.
        Forwarded = "forwarded",
        /// Any other.
        Unknown = "unknown",
    }
}

label! {
    /// What became of a command.
    Fate {
        /// It went to a hop, whose reply the client heard, as it was or replaced.
        Forwarded = "forwarded",
        /// gatepost answered it with 2xx or 3xx.
        Answered = "answered",
        /// gatepost refused it: a verdict, a limit, a hop that was not there.
        Refused = "refused",
        /// It could not be read, or not at this point of the dialog.
        Malformed = "malformed",
    }
}

label! {
    /// Which command met a limit by the minute.
    Rated {
        /// MAIL
        Mail = "mail",
        /// RCPT
        Rcpt = "rcpt",
    }
}

label! {
    /// Whose limit it met.
    Bound {
        /// That of the client alone.
        Client = "client",
        /// That of a range, for all its clients together.
        Range = "range",
    }
}

label! {
    /// Which dialog.
    Side {
        /// With the client.
        Downstream = "downstream",
        /// With a hop.
        Upstream = "upstream",
    }
}

label! {
    /// The first digit of a reply.
    Class {
        /// Positive completion.
        Positive = "2xx",
        /// Positive intermediate.
        Intermediate = "3xx",
        /// Transient negative.
        Transient = "4xx",
        /// Permanent negative.
        Permanent = "5xx",
    }
}

label! {
    /// Who spoke.
    Origin {
        /// A hop.
        Hop = "hop",
        /// gatepost itself, or a verdict.
        Gatepost = "gatepost",
    }
}

label! {
    /// What became of a message, once its content had begun.
    MessageFate {
        /// A hop accepted it, and the client heard so.
        Accepted = "accepted",
        /// It was refused, by a hop, a verdict or a limit.
        Refused = "refused",
        /// The client or the hop was lost before its end.
        Lost = "lost",
        /// A verdict swallowed it on purpose.
        Discarded = "discarded",
        /// A hop accepted it after the client had left.
        DeliveredUnheard = "delivered_unheard",
    }
}

label! {
    /// What a client heard about a recipient.
    RecipientFate {
        /// A 2xx.
        Accepted = "accepted",
        /// A 4xx.
        Deferred = "deferred",
        /// A 5xx.
        Refused = "refused",
    }
}

label! {
    /// How one attempt at a recipient ended.
    AttemptFate {
        /// A 2xx, and it joined the transaction.
        Accepted = "accepted",
        /// A 2xx at another hop than the transaction's: `452 4.5.3`.
        OtherHop = "other_hop",
        /// A 4xx or 5xx.
        Refused = "refused",
        /// No host, or no time.
        Failed = "failed",
    }
}

label! {
    /// What a rule or callout decided.
    VerdictKind {
        /// `rewrite`
        Rewrite = "rewrite",
        /// `reply`
        Reply = "reply",
        /// `route`
        Route = "route",
        /// `substitute`
        Substitute = "substitute",
        /// `retry`
        Retry = "retry",
        /// `accept`
        Accept = "accept",
        /// `disconnect`
        Disconnect = "disconnect",
        /// A recipient or message swallowed on purpose.
        Discard = "discard",
        /// A route or rung not taken after AUTH.
        Skipped = "skipped",
        /// A message or its envelope changed.
        Edit = "edit",
    }
}

label! {
    /// What came of a question to a callout.
    CalloutFate {
        /// It had nothing to say.
        Pass = "pass",
        /// `rewrite`, and nothing that decides.
        Rewrite = "rewrite",
        /// `reply`
        Reply = "reply",
        /// `route`
        Route = "route",
        /// `substitute`
        Substitute = "substitute",
        /// `retry`
        Retry = "retry",
        /// `accept`
        Accept = "accept",
        /// `disconnect`
        Disconnect = "disconnect",
        /// A recipient swallowed on purpose.
        Discard = "discard",
        /// A refusal of `<postmaster>`, or a second ladder: not carried out.
        Skipped = "skipped",
        /// A message or its envelope changed.
        Edit = "edit",
        /// None came that can be used.
        Failed = "failed",
        /// The session did not wait for it any more.
        Cancelled = "cancelled",
    }
}

label! {
    /// The version of TLS that a handshake came to.
    TlsVersion {
        /// RFC 5246
        Tls12 = "1.2",
        /// RFC 8446
        Tls13 = "1.3",
        /// Another.
        Other = "other",
    }
}

label! {
    /// Whether a handshake was a whole one.
    TlsSession {
        /// It was.
        New = "new",
        /// It took up an earlier session.
        Resumed = "resumed",
    }
}

label! {
    /// Something thrown away.
    Dropped {
        /// What a hop said with no command outstanding.
        UnaskedReply = "unasked_reply",
        /// What a callout said to a question that nobody waited for any more.
        LateAnswer = "late_answer",
    }
}

label! {
    /// How a reload ended.
    Reload {
        /// The new configuration is in use.
        Done = "done",
        /// It was refused; the old one stays.
        Refused = "refused",
    }
}
