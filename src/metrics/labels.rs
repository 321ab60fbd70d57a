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
        /// gatepost is stopping.
        Draining = "draining",
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
        /// No hop could be reached, or the last one was lost.
        HopLost = "hop_lost",
        /// The hop's own word to this client: a refusing greeting, a 421.
        HopRefused = "hop_refused",
        /// A rule or a callout said so.
        Verdict = "verdict",
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
        /// Accepted by a hop.
        Accepted = "accepted",
        /// A 5xx.
        Refused = "refused",
        /// A 4xx, except the next one.
        Deferred = "deferred",
        /// `452 4.5.3`: accepted at another hop than the transaction's.
        OtherHop = "other_hop",
        /// Swallowed on purpose by a verdict.
        Discarded = "discarded",
    }
}

label! {
    /// How one attempt of a ladder ended.
    AttemptFate {
        /// A 2xx: the ladder won.
        Accepted = "accepted",
        /// A 5xx.
        Refused = "refused",
        /// A 4xx.
        Deferred = "deferred",
        /// No hop was reached.
        Unreachable = "unreachable",
        /// Not made: it had been tried, or the budget was spent.
        Skipped = "skipped",
    }
}

label! {
    /// How replacing a hop ended.
    FailoverFate {
        /// Another host took the envelope.
        Replaced = "replaced",
        /// No other host was left that fits.
        Exhausted = "exhausted",
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
    }
}

label! {
    /// A limit a client or a hop has met.
    Limit {
        /// `limits.command_line`
        CommandLine = "command_line",
        /// `limits.auth_line`
        AuthLine = "auth_line",
        /// `limits.message_size`
        MessageSize = "message_size",
        /// `limits.recipients`
        Recipients = "recipients",
        /// `limits.errors`
        Errors = "errors",
        /// `limits.reply_line`
        ReplyLine = "reply_line",
        /// `limits.reply`
        Reply = "reply",
        /// `upstreams.*.sessions`
        HopSessions = "hop_sessions",
    }
}

label! {
    /// Something thrown away.
    Dropped {
        /// What a hop said with no command outstanding.
        UnaskedReply = "unasked_reply",
        /// The answer to a question that was no longer open.
        LateVerdict = "late_verdict",
        /// A log record that could not be written.
        LogRecord = "log_record",
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
