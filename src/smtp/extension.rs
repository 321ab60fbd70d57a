//! Extensions: the EHLO keywords gatepost knows, and which of them a hop offers.
//!
//! In:    a hop's 250 reply to EHLO; a parameter of MAIL or RCPT.
//! Out:   a set of keywords with the size; the keyword a parameter belongs to.
//! Never: keeps a keyword it does not know: an unknown extension may have verbs or framing of its own.
//!
//! RFC 5321 4.1.1.1 (ehlo-line); the extensions' RFCs stand beside their keywords.

use super::params::Param;
use super::read_decimal;
use super::reply::ReplyRef;

/// Makes the enum, the list and the names of the keywords from one table.
macro_rules! keywords {
    ($($(#[$doc:meta])* $keyword:ident $text:literal,)*) => {
        /// An EHLO keyword gatepost knows.
        #[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Keyword { $($(#[$doc])* $keyword,)* }

        impl Keyword {
            /// Each of them, in order.
            pub const ALL: &'static [Keyword] = &[$(Keyword::$keyword),*];

            /// As it stands on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Keyword::$keyword => $text),* }
            }
        }
    };
}

keywords! {
    /// RFC 1870
    Size "SIZE",
    /// RFC 6152
    EightBitMime "8BITMIME",
    /// RFC 3030
    BinaryMime "BINARYMIME",
    /// RFC 3030
    Chunking "CHUNKING",
    /// RFC 6531
    SmtpUtf8 "SMTPUTF8",
    /// RFC 3461
    Dsn "DSN",
    /// RFC 2034
    EnhancedStatusCodes "ENHANCEDSTATUSCODES",
    /// RFC 2920
    Pipelining "PIPELINING",
    /// RFC 3207
    StartTls "STARTTLS",
    /// RFC 4954
    Auth "AUTH",
    /// RFC 9422
    Limits "LIMITS",
    /// RFC 2852
    DeliverBy "DELIVERBY",
    /// RFC 4865
    FutureRelease "FUTURERELEASE",
    /// RFC 6710
    MtPriority "MT-PRIORITY",
    /// RFC 8689; never shown: gatepost cannot promise it for the next leg
    RequireTls "REQUIRETLS",
    /// RFC 5321
    Vrfy "VRFY",
    /// RFC 5321
    Expn "EXPN",
    /// RFC 5321
    Help "HELP",
    /// RFC 1985
    Etrn "ETRN",
    /// Postfix; for gatepost's own use, never shown
    XClient "XCLIENT",
    /// Postfix; for gatepost's own use, never shown
    XForward "XFORWARD",
    /// draft-hall-prdr; never shown: it changes how many replies there are to the content
    Prdr "PRDR",
}

impl Keyword {
    /// Whether its parameter makes the hop answer content otherwise than by one reply: nobody here could keep in step.
    pub const fn multiplies_replies(self) -> bool {
        matches!(self, Keyword::Prdr)
    }

    /// The keyword of this name, without regard to case.
    pub fn of(name: &[u8]) -> Option<Keyword> {
        Keyword::ALL.iter().find(|keyword| keyword.as_str().as_bytes().eq_ignore_ascii_case(name)).copied()
    }
}

/// A set of keywords, and the size that SIZE has.
#[derive(Clone, Copy, Default, Debug, Eq, PartialEq, Hash)]
pub struct Extensions {
    bits: u32,
    size: u64,
}

impl Extensions {
    /// What a hop's reply to EHLO offers.
    pub fn of(reply: ReplyRef<'_>) -> Extensions {
        let mut found = Extensions::default();
        for line in reply.lines().skip(1) {
            let (name, argument) = split_line(line);
            match Keyword::of(name) {
                // RFC 1870 4: no number, or one that cannot be read, says no more than that SIZE is there.
                Some(Keyword::Size) => found.set_size(read_decimal(argument).unwrap_or(0)),
                Some(keyword) => found.insert(keyword),
                None if is_legacy_auth(name) => found.insert(Keyword::Auth),
                None => {}
            }
        }
        found
    }

    /// Whether this one is offered.
    pub fn has(&self, keyword: Keyword) -> bool {
        self.bits & bit(keyword) != 0
    }

    /// The size offered; Some(0) without a bound, None if SIZE is not offered.
    pub fn size(&self) -> Option<u64> {
        self.has(Keyword::Size).then_some(self.size)
    }

    /// These, and others.
    #[must_use]
    pub fn with(&self, others: &Extensions) -> Extensions {
        Extensions { bits: self.bits | others.bits, ..*self }
    }

    /// Adds a keyword.
    pub fn insert(&mut self, keyword: Keyword) {
        self.bits |= bit(keyword);
    }

    /// Adds SIZE with this bound, 0 for none; or, among needs, with the size of the message.
    pub fn set_size(&mut self, size: u64) {
        self.insert(Keyword::Size);
        self.size = size;
    }

    /// Takes a keyword away.
    pub fn remove(&mut self, keyword: Keyword) {
        self.bits &= !bit(keyword);
        if keyword == Keyword::Size {
            self.size = 0;
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Keyword> + use<> {
        let set = *self;
        Keyword::ALL.iter().copied().filter(move |&keyword| set.has(keyword))
    }

    /// Whether a hop that offers this can take a transaction that needs that. PIPELINING and CHUNKING can be
    /// bridged. The size needed must be within the bound; a hop without SIZE has none that it says.
    pub fn covers(&self, needs: &Extensions) -> bool {
        let bridged = bit(Keyword::Pipelining) | bit(Keyword::Chunking) | bit(Keyword::Size);
        let fits = match (self.size(), needs.size()) {
            (None | Some(0), _) | (_, None) => true,
            (Some(bound), Some(size)) => size <= bound,
        };
        needs.bits & !bridged & !self.bits == 0 && fits
    }
}

fn bit(keyword: Keyword) -> u32 {
    1 << keyword as u8
}

/// `ehlo-line = ehlo-keyword *( SP ehlo-param )`
pub(super) fn split_line(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.trim_ascii();
    let end = line.iter().position(|octet| octet.is_ascii_whitespace()).unwrap_or(line.len());
    (&line[..end], line[end..].trim_ascii_start())
}

/// `AUTH=LOGIN` and the like, for clients older than RFC 2554.
pub(super) fn is_legacy_auth(name: &[u8]) -> bool {
    name.get(..5).is_some_and(|head| head.eq_ignore_ascii_case(b"AUTH="))
}

/// The extension that a MAIL or RCPT parameter of this name belongs to. For BODY, see [`needed_by`].
pub fn parameter_keyword(name: &[u8]) -> Option<Keyword> {
    const TABLE: &[(&str, Keyword)] = &[
        ("SIZE", Keyword::Size),
        ("BODY", Keyword::EightBitMime),
        ("SMTPUTF8", Keyword::SmtpUtf8),
        ("RET", Keyword::Dsn),
        ("ENVID", Keyword::Dsn),
        ("NOTIFY", Keyword::Dsn),
        ("ORCPT", Keyword::Dsn),
        ("AUTH", Keyword::Auth),
        ("BY", Keyword::DeliverBy),
        ("HOLDFOR", Keyword::FutureRelease),
        ("HOLDUNTIL", Keyword::FutureRelease),
        ("MT-PRIORITY", Keyword::MtPriority),
        ("REQUIRETLS", Keyword::RequireTls),
        ("PRDR", Keyword::Prdr),
    ];
    let row = TABLE.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
    row.map(|&(_, keyword)| keyword)
}

/// The extension that a parameter with its value belongs to: `BODY=BINARYMIME` has one of its own.
pub fn needed_by(param: Param<'_>) -> Option<Keyword> {
    let binary = |value: &[u8]| value.eq_ignore_ascii_case(b"BINARYMIME");
    if param.is(b"BODY") && param.value.is_some_and(binary) {
        return Some(Keyword::BinaryMime);
    }
    parameter_keyword(param.keyword)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::{Params, ReplyFramer, ReplyLimits};

    fn extensions(reply: &[u8]) -> Extensions {
        let limits = ReplyLimits { line: 512, reply: 4096 };
        Extensions::of(ReplyFramer::default().next(reply, limits).unwrap().unwrap())
    }

    #[test]
    fn of_a_reply() {
        let found = extensions(
            b"250-PIPELINING is my name\r\n250-size 1000 \r\n250-8bitmime\r\n250-X-NEW a\r\n250-AUTH=PLAIN\r\n250 DSN\r\n",
        );
        let keywords: Vec<Keyword> = found.iter().collect();
        assert_eq!(keywords, [Keyword::Size, Keyword::EightBitMime, Keyword::Dsn, Keyword::Auth]);
        assert_eq!(found.size(), Some(1000));
        assert_eq!(extensions(b"250-x\r\n250 SIZE\r\n").size(), Some(0));
        assert_eq!(extensions(b"250-x\r\n250 SIZE 0\r\n").size(), Some(0));
        assert_eq!(extensions(b"250-x\r\n250 SIZE many\r\n").size(), Some(0));
        assert_eq!(extensions(b"250 SIZE 10\r\n"), Extensions::default());
    }

    #[test]
    fn sets() {
        let mut set = Extensions::default();
        for &keyword in Keyword::ALL {
            assert_eq!(Keyword::of(keyword.as_str().to_lowercase().as_bytes()), Some(keyword));
            set.insert(keyword);
            assert!(set.has(keyword));
        }
        assert_eq!(set.iter().count(), Keyword::ALL.len());
        set.set_size(5);
        set.remove(Keyword::Size);
        assert_eq!(set.size(), None);
        for &keyword in Keyword::ALL {
            set.remove(keyword);
        }
        assert_eq!(set, Extensions::default());
    }

    #[test]
    fn covering() {
        let hop = extensions(b"250-x\r\n250-SIZE 1000\r\n250 8BITMIME\r\n");
        let needs = |keywords: &[Keyword], size: Option<u64>| {
            let mut needs = Extensions::default();
            keywords.iter().for_each(|&keyword| needs.insert(keyword));
            size.into_iter().for_each(|size| needs.set_size(size));
            needs
        };
        assert!(hop.covers(&needs(&[], None)));
        assert!(
            hop.covers(&needs(&[Keyword::EightBitMime, Keyword::Pipelining, Keyword::Chunking], Some(1000)))
        );
        assert!(!hop.covers(&needs(&[], Some(1001))));
        assert!(!hop.covers(&needs(&[Keyword::Dsn], None)));
        assert!(extensions(b"250-x\r\n250 SIZE\r\n").covers(&needs(&[], Some(u64::MAX))));
        assert!(extensions(b"250 x\r\n").covers(&needs(&[], Some(1001))));
    }

    #[test]
    fn parameters() {
        let all = b"SIZE=1 body=8BITMIME SMTPUTF8 RET=HDRS ENVID=x AUTH=<> BY=1;R HOLDFOR=1 MT-PRIORITY=3 REQUIRETLS X=1";
        let needed: Vec<_> = Params::parse(all).unwrap().iter().map(needed_by).collect();
        use Keyword::*;
        let expected =
            [Size, EightBitMime, SmtpUtf8, Dsn, Dsn, Auth, DeliverBy, FutureRelease, MtPriority, RequireTls];
        assert_eq!(needed[..10], expected.map(Some));
        assert_eq!(needed[10], None);
        let binary = Params::parse(b"BODY=BinaryMime").unwrap();
        assert_eq!(binary.iter().next().and_then(needed_by), Some(BinaryMime));
        assert_eq!(parameter_keyword(b"notify"), Some(Dsn));
    }
}
