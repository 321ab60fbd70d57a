//! A milter as it was written: where it is, which macros it is told, what a quarantine comes to.
//!
//! **In**: nothing; the decoder fills these. **Out**: [`Milter`] and its parts, re-exported by [`super::types`].
//! **Never**: knows how a filter is spoken to.

use super::types::Target;

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Milter {
    /// Its addresses, never none.
    pub addresses: Vec<Target>,
    /// By [`Occasion`]: the macros it is told where it asks for none, by their names as they are sent.
    pub macros: [Vec<Box<str>>; Occasion::ALL.len()],
    /// Macros that have these values, whatever gatepost knows; by their names as they are sent.
    pub values: Vec<(Box<str>, String)>,
    /// What becomes of a message that it wants to be held back.
    pub on_quarantine: OnQuarantine,
}

impl Milter {
    /// One with what is usual.
    pub fn new(addresses: Vec<Target>) -> Self {
        let usual = |occasion: Occasion| occasion.usual().iter().map(|name| Box::from(*name)).collect();
        let (macros, values) = (Occasion::ALL.map(usual), Vec::new());
        Self { addresses, macros, values, on_quarantine: OnQuarantine::default() }
    }

    /// The macros of an occasion.
    pub fn macros(&self, occasion: Occasion) -> &[Box<str>] {
        &self.macros[occasion as usize]
    }
}

/// When a filter is told macros; the numbers are the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The connection.
    Connect,
    /// HELO or EHLO.
    Helo,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The end of the message.
    Eom,
    /// The end of the header.
    Eoh,
}

impl Occasion {
    /// All of them, in the order of their numbers.
    pub const ALL: [Occasion; 7] = [
        Occasion::Connect,
        Occasion::Helo,
        Occasion::Mail,
        Occasion::Rcpt,
        Occasion::Data,
        Occasion::Eom,
        Occasion::Eoh,
    ];

    /// Its key in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Occasion::Connect => "connect",
            Occasion::Helo => "helo",
            Occasion::Mail => "mail",
            Occasion::Rcpt => "rcpt",
            Occasion::Data => "data",
            Occasion::Eom => "eom",
            Occasion::Eoh => "eoh",
        }
    }

    /// What Postfix tells then (postconf(5), `milter_*_macros`).
    pub const fn usual(self) -> &'static [&'static str] {
        match self {
            Occasion::Connect => &["j", "{daemon_name}", "{daemon_addr}", "v", "_"],
            Occasion::Helo => {
                &["{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}"]
            }
            Occasion::Mail => &[
                "i",
                "{auth_type}",
                "{auth_authen}",
                "{auth_author}",
                "{mail_addr}",
                "{mail_host}",
                "{mail_mailer}",
            ],
            Occasion::Rcpt => &["i", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"],
            Occasion::Data | Occasion::Eom | Occasion::Eoh => &["i"],
        }
    }
}

/// A macro's name as it is sent: one letter as it is, more in braces.
pub fn macro_name(written: &str) -> Box<str> {
    let bare = written.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(written);
    if bare.chars().count() == 1 { bare.into() } else { format!("{{{bare}}}").into() }
}

/// What becomes of a message that a filter wants to be held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnQuarantine {
    /// It is refused.
    #[default]
    Reject,
    /// It is refused for now.
    Tempfail,
    /// It goes on, with a field `X-Quarantine` that says why.
    Header,
}
