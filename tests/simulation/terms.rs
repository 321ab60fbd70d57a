//! A hop's side of the terms it is spoken to on: TLS with its faults, and being told who the client is.
//!
//! **In**: what gatepost says before, and beside, the client's dialog. **Out**: the hop's replies, most of them fair.
//! **Never**: lets gatepost say in plain what must be under TLS, or MAIL before the hop was told whose it is. What the
//! hop says in plain, or to gatepost's own EHLO, has `wrong` in it: nobody may ever hear that.

use std::net::IpAddr;

use gatepost::session::client::{Certificate, TlsFacts, TlsFault, TlsFaultKind};
use gatepost::session::route::{HopTerms, HopTls, Identity};
use gatepost::smtp::{Attributes, TellingVerb};

use super::{Act, Hop};
use crate::rng::Rng;

/// What gatepost calls itself.
const OWN_NAME: &str = "gate.example.org";

/// Draws the terms of a pool: most have none.
pub fn terms(rng: &mut Rng) -> HopTerms {
    if rng.percent(72) {
        return HopTerms::default();
    }
    HopTerms {
        tls: [HopTls::Off, HopTls::Opportunistic, HopTls::Required, HopTls::Implicit][rng.below(4)],
        identity: [Identity::None, Identity::Xclient, Identity::Xforward, Identity::ProxyV1][rng.below(4)],
        identity_required: rng.percent(50),
        identity_login: rng.percent(50),
        is_loopback: rng.percent(20),
    }
}

/// How far the hop and its terms have come.
#[derive(Debug)]
pub struct Terms {
    asked: HopTerms,
    /// It offers STARTTLS.
    offers_tls: bool,
    /// It offers XCLIENT and XFORWARD, and these attributes.
    names: Option<&'static str>,
    secured: bool,
    told: bool,
    /// XCLIENT was accepted: whoever says it again is not heard any more.
    impersonated: bool,
    /// It heard EHLO in gatepost's own name, and began nothing anew since.
    heard_ours: bool,
}

impl Terms {
    pub fn draw(asked: HopTerms, rng: &mut Rng) -> Terms {
        let names = ["ADDR", "NAME ADDR PORT", "NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN", "NAME HELO"];
        Terms {
            asked,
            offers_tls: rng.percent(94),
            names: rng.percent(94).then(|| rng.pick(&names)),
            secured: false,
            told: false,
            impersonated: false,
            heard_ours: false,
        }
    }

    /// Whether it knows who the client is when it greets.
    pub fn is_told_first(&self) -> bool {
        self.asked.identity == Identity::ProxyV1
    }

    /// Whether the hop waits for a handshake before it greets.
    pub fn begins_with_tls(&self) -> bool {
        self.asked.tls == HopTls::Implicit && !self.secured
    }
}

impl Hop {
    /// How a handshake goes, and how long it takes; `None`: it never ends.
    pub fn handshake(&mut self) -> Option<(u64, Result<TlsFacts, TlsFault>)> {
        let delay = self.rng.next() % 200;
        match self.rng.below(100) {
            0..=84 => {
                let certificate = Certificate { verified: self.rng.percent(50), ..Certificate::default() };
                let version = self.rng.pick(&["TLSv1.2", "TLSv1.3"]).into();
                Some((delay, Ok(TlsFacts { version, certificate: Some(certificate), ..TlsFacts::default() })))
            }
            85..=96 => {
                let kind = TlsFaultKind::ALL[self.rng.below(4)];
                Some((delay, Err(TlsFault { kind, what: kind.as_str().into() })))
            }
            _ => None,
        }
    }

    /// Whether it refuses us behind a handshake that is done, before it says a word.
    pub fn refuses_behind(&mut self, facts: &TlsFacts) -> bool {
        &*facts.version == "TLSv1.3" && self.rng.percent(8)
    }

    /// The handshake is done: all begins anew, and after an implicit one the hop greets.
    pub fn secured(&mut self) -> Vec<(u64, Act)> {
        assert!(self.inbox.is_empty(), "law 5: said before TLS, and not to be heard any more");
        self.terms.secured = true;
        self.terms.heard_ours = false;
        match self.terms.asked.tls {
            HopTls::Implicit => self.greet(),
            _ => Vec::new(),
        }
    }

    /// What must hold before a command is heard.
    pub(super) fn assert_terms(&mut self, verb: &str, text: &str) {
        let Terms { asked, secured, told, .. } = self.terms;
        let own_hello = verb == "EHLO" && text.ends_with(OWN_NAME);
        if matches!(asked.tls, HopTls::Required | HopTls::Implicit) && !secured {
            let may = own_hello || matches!(verb, "STARTTLS" | "QUIT");
            assert!(may, "law 5: said in plain where TLS is required: {text:?}");
        }
        if verb == "STARTTLS" {
            assert!(self.terms.offers_tls && !secured, "STARTTLS that was not offered");
        }
        let must_be_told =
            asked.identity_required && matches!(asked.identity, Identity::Xclient | Identity::Xforward);
        if matches!(verb, "MAIL" | "AUTH" | "VRFY") {
            let ours = self.terms.heard_ours && self.hello_at.is_none();
            assert!(!ours, "an EHLO that the client never said stands in for it: {text:?}");
        }
        if verb == "MAIL" && must_be_told {
            assert!(told, "MAIL to a hop that was not told whose it is: {text:?}");
        }
        if verb == "MAIL" && asked.identity == Identity::Xforward {
            // It holds for one transaction.
            self.terms.told = false;
        }
        for telling in [TellingVerb::Xclient, TellingVerb::Xforward] {
            if verb == telling.as_str() {
                self.assert_telling(telling, text);
            }
        }
    }

    fn assert_telling(&self, verb: TellingVerb, text: &str) {
        let named = self.terms.names.unwrap_or_default();
        assert!(text.len() + 2 <= 512, "law 7: {} octets of {}", text.len(), verb.as_str());
        let excused = self.keeps && !self.owed.is_empty();
        assert!(self.sender.is_none() || excused, "told in a transaction: {text:?}");
        assert!(!self.terms.impersonated, "XCLIENT from somebody else: {text:?}");
        let pairs = &text[verb.as_str().len() + 1..];
        for pair in pairs.split(' ') {
            let name = pair.split('=').next().unwrap_or_default();
            assert!(named.split(' ').any(|known| known == name), "told what was not named: {text:?}");
        }
        // REVERSE_NAME is said to hops and never taken from anybody.
        let known = pairs.split(' ').filter(|pair| !pair.starts_with("REVERSE_NAME=")).collect::<Vec<_>>();
        let known = known.join(" ");
        let told = Attributes::parse(verb, known.as_bytes());
        let told = told.unwrap_or_else(|(fault, _)| panic!("{fault:?}: {text:?}")).told();
        let clients: [IpAddr; 3] =
            ["192.0.2.1", "203.0.113.7", "2001:db8::7"].map(|client| client.parse().expect("an address"));
        assert!(told.addr.flatten().is_some_and(|told| clients.contains(&told)), "{text:?}");
    }

    /// The reply to EHLO in gatepost's own name, which is to know what is offered, no more.
    pub(super) fn own_hello(&mut self, text: &str) -> Option<String> {
        if !text.ends_with(OWN_NAME) {
            return None;
        }
        self.terms.heard_ours = true;
        let asks = self.terms.asked.tls != HopTls::Off || self.terms.asked.identity != Identity::None;
        assert!(asks, "EHLO in our own name, for nothing");
        let mut lines = vec!["wrong".to_owned(), "PIPELINING".to_owned(), "X-WRONG wrong".to_owned()];
        if self.terms.offers_tls && !self.terms.secured {
            lines.push("STARTTLS".to_owned());
        }
        for verb in ["XCLIENT", "XFORWARD"] {
            lines.extend(self.terms.names.map(|names| format!("{verb} {names}")));
        }
        let last = lines.len() - 1;
        let line = |(at, line): (usize, &String)| format!("250{}{line}", if at == last { ' ' } else { '-' });
        Some(lines.iter().enumerate().map(line).collect::<Vec<_>>().join("\r\n"))
    }

    /// The reply to STARTTLS, XCLIENT or XFORWARD.
    pub(super) fn terms_reply(&mut self, verb: &str, roll: usize) -> String {
        let reply = match (verb, roll) {
            ("STARTTLS", 0..=84) => "220 2.0.0 wrong",
            ("STARTTLS", 85..=89) => "220 wrong\r\n250-wrong\r\n250 AUTH PLAIN",
            ("STARTTLS", 90..=94) if self.terms.is_told_first() => "454 4.7.0 not for you",
            ("STARTTLS", 90..=94) => "454 4.7.0 wrong",
            ("STARTTLS", 95..=97) => "502 5.5.1 wrong",
            ("XCLIENT", 0..=76) => "220 hop.example.net ESMTP, and told",
            ("XCLIENT", 77..=79) => "250 2.0.0 wrong",
            ("XCLIENT", 80..=84) => "550 5.7.0 wrong",
            ("XCLIENT", 85..=88) => "501 5.5.4 wrong",
            ("XCLIENT", 89..=92) => "554 5.7.1 you are not welcome",
            ("XCLIENT", 93) => "550 5.7.1 you are not welcome",
            ("XCLIENT", 94) => "550 you are not welcome",
            ("XCLIENT", 95..=96) => "421 4.7.0 you are not welcome now",
            ("XFORWARD", 0..=89) => "250 2.0.0 wrong",
            ("XFORWARD", 90..=96) => "550 5.7.0 wrong",
            _ => "354 wrong",
        };
        if reply.starts_with('2') {
            match verb {
                "XCLIENT" => {
                    (self.terms.told, self.terms.impersonated) = (true, reply.starts_with("220"));
                    self.terms.heard_ours = false;
                }
                "XFORWARD" => self.terms.told = true,
                _ => {}
            }
        }
        reply.to_owned()
    }
}
