//! A visit to one host: everything that its part of the configuration needs is tried once, but no mail is sent.
//!
//! In:    an address of a host, and its pool's part of the configuration.
//! Out:   [`Findings`].
//! Never: takes longer than [`PATIENCE`], or leaves a transaction open.
//!
//! [PROXY header,] greeting, EHLO (LHLO), TLS as its pool has it, whether it would relay for gatepost's own address, who clients are (XCLIENT, XFORWARD), whether it
//! would relay for a client that is nobody's (192.0.2.1, RFC 5737), QUIT.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::relay::{self, Relays};
use super::report::Findings;
use super::words;
use crate::config::types::{Config, Protocol, UpstreamPool};
use crate::dialog::Timeouts;
use crate::hop::dialog::Dialog;
use crate::hop::identity::may_come_from;
use crate::hop::{Address, Introduction, Target, connect};
use crate::session::client::ClientFacts;
use crate::session::route::{HopTerms, HopTls, Identity, PoolId};
use crate::session::settings::Entrance;
use crate::smtp::{Attribute, Names, Reply, ReplyRef, SessionId, Telling, TellingVerb};
use crate::tls::facts;

/// The time one host has.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A client that is nobody.
const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The same (RFC 3849).
const STRANGER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const STRANGERS_PORT: u16 = 50_000;

/// What is said, and how long is waited for answers.
#[derive(Debug)]
pub(super) struct Voice {
    pub(super) hostname: String,
    pub(super) timeouts: Timeouts,
}

impl Voice {
    pub(super) fn new(config: &Config) -> Self {
        Self { hostname: config.host_name(), timeouts: config.timeouts.clone() }
    }
}

/// Visits a host.
pub(super) async fn visit(voice: &Voice, upstream: &UpstreamPool, target: &Target) -> Findings {
    let headed = matches!(upstream.identity, Identity::ProxyV1 | Identity::ProxyV2);
    let mut visit = Visit { voice, upstream, target, findings: Findings::default(), headed, silent: false };
    if timeout(PATIENCE, visit.pay()).await.is_err() {
        visit.findings.wrong(&words::endless(PATIENCE.as_secs()));
    }
    visit.findings
}

pub(super) struct Visit<'a> {
    pub(super) voice: &'a Voice,
    pub(super) upstream: &'a UpstreamPool,
    pub(super) target: &'a Target,
    pub(super) findings: Findings,
    /// A PROXY header was sent, and it is not known yet whether it was taken.
    headed: bool,
    /// It was reached, and has not answered well yet.
    silent: bool,
}

/// The visit is over before its end: what is wrong has been said.
pub(super) struct Over;

impl Visit<'_> {
    async fn pay(&mut self) {
        match self.talk().await {
            Ok(mut dialog) => {
                // A courtesy: that it cannot be written, or has no answer, concerns nobody.
                let _ = dialog.ask("QUIT", self.voice.timeouts.reply).await;
            }
            Err(Over) if self.silent => self.look_for_header().await,
            Err(Over) => {}
        }
    }

    async fn talk(&mut self) -> Result<Dialog, Over> {
        let mut dialog = self.reach().await?;
        self.silent = true;
        if self.upstream.tls.mode == HopTls::Implicit {
            dialog = self.shake_hands(dialog).await?;
        }
        let heard = dialog.hear(self.voice.timeouts.greeting).await;
        let greeting = self.positive("greeting", heard)?;
        self.findings.note("greeting", &lines(greeting.as_ref()));
        let mut offered = self.hello(&mut dialog).await?;
        self.findings.note("EHLO", &keywords(offered.as_ref()));
        (self.headed, self.silent) = (false, false);
        if matches!(self.upstream.tls.mode, HopTls::Opportunistic | HopTls::Required)
            && self.may_shake_hands(&mut dialog, &offered).await?
        {
            dialog = self.shake_hands(dialog).await?;
            offered = self.hello(&mut dialog).await?;
            self.findings.note("EHLO", &keywords(offered.as_ref()));
        }
        match self.upstream.identity {
            Identity::ProxyV1 | Identity::ProxyV2 => {
                self.findings.note("identity", &format!("PROXY header for {STRANGER}: taken"));
                self.relay(&mut dialog, Some(STRANGER), true).await?;
            }
            Identity::None | Identity::Xclient | Identity::Xforward | Identity::SourceAddress => {
                // In whose name no mail comes it may relay.
                let told = matches!(self.upstream.identity, Identity::Xclient | Identity::SourceAddress)
                    && self.upstream.identity_required;
                self.relay(&mut dialog, None, !told).await?;
                self.identify(&mut dialog, &offered).await?;
            }
        }
        Ok(dialog)
    }

    async fn reach(&mut self) -> Result<Dialog, Over> {
        let begun = Instant::now();
        let introduction = self.introduction();
        match timeout(self.voice.timeouts.connect, connect(self.target, &introduction)).await {
            Ok(Ok(connected)) => {
                self.findings.note("reached", &format!("in {} ms", begun.elapsed().as_millis()));
                Ok(Dialog::new(connected.stream))
            }
            Ok(Err(error)) => self.over(&words::unreachable(&error)),
            Err(_) => self.over(&words::unreachable(&"no answer in time")),
        }
    }

    /// What the host hears before its greeting, of the client that is nobody.
    fn introduction(&self) -> Introduction {
        let destination = match self.target.address() {
            Address::Ip(address) => Some(*address),
            Address::Unix(_) | Address::Sink(_) => None,
        };
        let facts = Some(Box::new(ClientFacts { destination, ..ClientFacts::default() }));
        let client = SocketAddr::from((STRANGER, STRANGERS_PORT));
        let entrance = Entrance { listener: 0, pool: PoolId(0), client, facts };
        match self.target.terms() {
            // From somebody else's address no answer would come back here.
            HopTerms { identity: Identity::SourceAddress, .. } => Introduction::None,
            terms => Introduction::of(terms, &entrance, SessionId::default()),
        }
    }

    /// Whether gatepost may take its clients' addresses, where the host is to see those.
    fn may_take_addresses(&mut self) {
        let stranger: IpAddr = match self.target.address() {
            Address::Ip(address) if address.is_ipv6() => STRANGER_V6.into(),
            _ => STRANGER.into(),
        };
        match may_come_from(stranger, self.target.address()) {
            Ok(()) => {
                self.findings.note("identity", "gatepost may take its clients' addresses; not tried with one")
            }
            Err(why) => {
                let what = format!("source_address: {why}");
                let remedy =
                    "Give gatepost CAP_NET_RAW (deploy/gatepost.service.d), or set identity to another";
                self.findings.wrong(&words::nameless(self.upstream, &what, remedy));
            }
        }
    }

    async fn hello(&mut self, dialog: &mut Dialog) -> Result<Reply, Over> {
        let verb = if self.upstream.protocol == Protocol::Lmtp { "LHLO" } else { "EHLO" };
        let heard = dialog.ask(&format!("{verb} {}", self.voice.hostname), self.voice.timeouts.reply).await;
        self.positive(verb, heard)
    }

    /// Tells the host of a client, and asks whether it would relay for it.
    async fn identify(&mut self, dialog: &mut Dialog, offered: &Reply) -> Result<(), Over> {
        let verb = match self.upstream.identity {
            Identity::Xclient => TellingVerb::Xclient,
            Identity::Xforward => TellingVerb::Xforward,
            Identity::SourceAddress => {
                self.may_take_addresses();
                return Ok(());
            }
            Identity::None | Identity::ProxyV1 | Identity::ProxyV2 => return Ok(()),
        };
        let names = Names::offered(verb, offered.as_ref()).filter(|names| names.has(Attribute::Addr));
        let Some(names) = names else {
            let what = format!("{} ADDR is not offered", verb.as_str());
            self.findings.wrong(&words::nameless(self.upstream, &what, &allow(verb)));
            return Ok(());
        };
        let mut telling = Telling::new(verb, names);
        telling.address(Attribute::Addr, Some(STRANGER.into()));
        let said = telling.end().concat();
        let said = String::from_utf8_lossy(said.trim_ascii_end());
        let heard = dialog.ask(&said, self.voice.timeouts.reply).await;
        let reply = heard.or_else(|error| self.over(&words::silent(verb.as_str(), &error)))?;
        self.findings.note("identity", &format!("{said}: {}", lines(reply.as_ref())));
        if !reply.code().is_positive() {
            let what = format!("{} is refused", verb.as_str());
            self.findings.wrong(&words::nameless(self.upstream, &what, &allow(verb)));
        } else if verb == TellingVerb::Xclient {
            self.hello(dialog).await?;
            self.relay(dialog, Some(STRANGER), true).await?;
        }
        Ok(())
    }

    /// Whether the host would relay for a client, or for gatepost itself; that is wrong where `matters`.
    async fn relay(
        &mut self,
        dialog: &mut Dialog,
        client: Option<Ipv4Addr>,
        matters: bool,
    ) -> Result<(), Over> {
        if self.upstream.protocol == Protocol::Lmtp {
            // It delivers here, and does not relay (RFC 2033).
            return Ok(());
        }
        let whom = client.map_or("gatepost itself".to_owned(), |client| client.to_string());
        let asked = relay::ask(dialog, self.voice.timeouts.reply).await;
        match asked.or_else(|error| self.over(&words::silent("the relay test", &error)))? {
            Relays::No(reply) => {
                self.findings.note("relay", &format!("not for {whom}: {}", lines(reply.as_ref())));
            }
            Relays::Unknown(reply) => {
                self.findings.note("relay", &format!("nothing said about {whom}: {}", lines(reply.as_ref())));
            }
            Relays::Yes(reply) => {
                self.findings.note("relay", &format!("for {whom}: {}", lines(reply.as_ref())));
                match client {
                    Some(client) => self.findings.wrong(&words::relays_for_all(&client)),
                    None if matters => self.findings.wrong(&words::relays_for_us()),
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// A reply that has to be positive for the visit to go on.
    fn positive(&mut self, what: &'static str, heard: std::io::Result<Reply>) -> Result<Reply, Over> {
        let wrong = match heard {
            Ok(reply) if reply.code().is_positive() => return Ok(reply),
            Ok(reply) => {
                self.findings.note(what, &lines(reply.as_ref()));
                words::refused(what)
            }
            Err(error) => match facts::refusal(&error) {
                Some(fault) => return self.refused_tls(&fault),
                None => words::silent(what, &error),
            },
        };
        self.over(&if self.headed { words::header_not_taken(what) } else { wrong })
    }

    pub(super) fn over<T>(&mut self, wrong: &str) -> Result<T, Over> {
        self.findings.wrong(wrong);
        Err(Over)
    }
}

/// Who has to allow `verb`, and how.
fn allow(verb: TellingVerb) -> String {
    let key = match verb {
        TellingVerb::Xclient => "smtpd_authorized_xclient_hosts",
        TellingVerb::Xforward => "smtpd_authorized_xforward_hosts",
    };
    format!(
        "Have the host take it from gatepost's address (Postfix: {key}), or set identity to what it can take"
    )
}

/// A reply in one line.
pub(super) fn lines(reply: ReplyRef<'_>) -> String {
    let text: Vec<_> = reply.lines().map(String::from_utf8_lossy).collect();
    format!("{} {}", reply.code(), text.join(" | "))
}

/// What a reply to EHLO offers.
fn keywords(reply: ReplyRef<'_>) -> String {
    let words: Vec<_> = reply.lines().skip(1).map(String::from_utf8_lossy).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}
