//! What the two dialogs of a session may take: how much, and how long.
//!
//! In:    nothing; the configuration is decoded into these.
//! Out:   [`Limits`] and [`Timeouts`], with the defaults that `proxy.yaml` shows.
//! Never: counts or measures, or speaks of more than one session: those limits are the configuration's own.
//!
//! RFC 5321 4.5.3.1 (sizes), 4.5.3.2 (time-outs). What each is for stands in `proxy.yaml`.

use std::time::Duration;

/// How much: `limits:`, as far as a session checks them. Octets are counted with the CRLF.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Accepted recipients in one transaction.
    pub recipients: usize,
    /// Octets of content.
    pub message_size: u64,
    /// Octets of a command line with its end.
    pub command_line: usize,
    /// Octets of a line of an AUTH exchange with its end, whoever says it: AUTH, a step of the client's, a step of the
    /// hop's.
    pub auth_line: usize,
    /// Octets of one line of a hop's reply.
    pub reply_line: usize,
    /// Octets of a hop's reply.
    pub reply: usize,
    /// Syntax and sequence errors of one client.
    pub errors: u32,
    /// Attempts of one ladder.
    pub attempts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            recipients: 1000,
            message_size: 50 << 20,
            command_line: 2048,
            auth_line: 12288,
            reply_line: 4096,
            reply: 64 << 10,
            errors: 20,
            attempts: 4,
        }
    }
}

/// How long: `timeouts:`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// The client's next whole command.
    pub command: Duration,
    /// The next octets of content, from the client or into the hop.
    pub content: Duration,
    /// A hop's connection.
    pub connect: Duration,
    /// A TLS handshake, on either side.
    pub tls: Duration,
    /// A hop's 220.
    pub greeting: Duration,
    /// One host's reply while another host remains.
    pub reply: Duration,
    /// All the client waits for on one command or greeting.
    pub answer: Duration,
    /// One ladder.
    pub attempts: Duration,
    /// A hop's reply to the content.
    pub end_of_data: Duration,
    /// All callouts of one question together.
    pub callouts: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            command: Duration::from_secs(300),
            content: Duration::from_secs(180),
            connect: Duration::from_secs(10),
            tls: Duration::from_secs(10),
            greeting: Duration::from_secs(30),
            reply: Duration::from_secs(60),
            answer: Duration::from_secs(240),
            attempts: Duration::from_secs(60),
            end_of_data: Duration::from_secs(600),
            callouts: Duration::from_secs(60),
        }
    }
}
