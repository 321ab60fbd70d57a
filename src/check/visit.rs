//! A visit to one host: everything that its part of the configuration needs is tried once, but no mail is sent.
//!
//! In:    an address of a host, and its pool's part of the configuration.
//! Out:   [`Findings`].
//! Never: takes longer than [`PATIENCE`], or leaves a transaction open.
//!
//! Greeting, EHLO (LHLO), TLS as its pool has it, whether it would relay for gatepost's own address, who clients are (XCLIENT, XFORWARD), whether it
//! would relay for a client that is nobody's (192.0.2.1, RFC 5737), QUIT.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::relay::{self, Relays};
use super::report::Findings;
use super::words;
use crate::config::types::{Config, Identity, Protocol, Timeouts, Upstream, UpstreamTlsMode};
use crate::hop::dialog::Dialog;
use crate::hop::{Target, connect};
use crate::smtp::{Attribute, Names, Reply, ReplyRef, Telling, TellingVerb};

/// The time one host has.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A client that is nobody.
const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// What is said, and how long is waited for answers.
#[derive(Debug)]
pub(super) struct Voice {
    hostname: String,
    pub(super) timeouts: Timeouts,
}

impl Voice {
    pub(super) fn new(config: &Config) -> Self {
        Self { hostname: config.host_name(), timeouts: config.timeouts.clone() }
    }
}

/// Visits a host.
pub(super) async fn visit(voice: &Voice, upstream: &Upstream, target: &Target) -> Findings {
    let mut visit = Visit { voice, upstream, target, findings: Findings::default() };
    if timeout(PATIENCE, visit.pay()).await.is_err() {
        visit.findings.wrong(&words::endless(PATIENCE.as_secs()));
    }
    visit.findings
}

pub(super) struct Visit<'a> {
    pub(super) voice: &'a Voice,
    pub(super) upstream: &'a Upstream,
    pub(super) target: &'a Target,
    pub(super) findings: Findings,
}

/// The visit is over before its end: what is wrong has been said.
pub(super) struct Over;

impl Visit<'_> {
    async fn pay(&mut self) {
        if let Ok(mut dialog) = self.talk().await {
            // A courtesy: that it cannot be written, or has no answer, concerns nobody.
            let _ = dialog.ask("QUIT", self.voice.timeouts.reply).await;
        }
    }

    async fn talk(&mut self) -> Result<Dialog, Over> {
        let mut dialog = self.reach().await?;
        if self.upstream.tls.mode == UpstreamTlsMode::Implicit {
            dialog = self.shake_hands(dialog).await?;
        }
        let heard = dialog.hear(self.voice.timeouts.greeting).await;
        let greeting = self.positive("greeting", heard)?;
        self.findings.note("greeting", &lines(greeting.as_ref()));
        let mut offered = self.hello(&mut dialog).await?;
        self.findings.note("EHLO", &keywords(offered.as_ref()));
        if matches!(self.upstream.tls.mode, UpstreamTlsMode::Opportunistic | UpstreamTlsMode::Required)
            && self.may_shake_hands(&mut dialog, &offered).await?
        {
            dialog = self.shake_hands(dialog).await?;
            offered = self.hello(&mut dialog).await?;
            self.findings.note("EHLO", &keywords(offered.as_ref()));
        }
        if self.upstream.protocol == Protocol::Smtp && !self.is_told_by_connection() {
            let for_us = self.upstream.identity != Identity::Xclient || !self.upstream.identity_required;
            self.relay(&mut dialog, None, for_us).await?;
        }
        self.identify(&mut dialog, &offered).await?;
        Ok(dialog)
    }

    async fn reach(&mut self) -> Result<Dialog, Over> {
        let begun = Instant::now();
        match timeout(self.voice.timeouts.connect, connect(self.target)).await {
            Ok(Ok(stream)) => {
                self.findings.note("reached", &format!("in {} ms", begun.elapsed().as_millis()));
                Ok(Dialog::new(stream))
            }
            Ok(Err(error)) => self.over(&words::unreachable(&error)),
            Err(_) => self.over(&words::unreachable(&"no answer in time")),
        }
    }

    async fn hello(&mut self, dialog: &mut Dialog) -> Result<Reply, Over> {
        let verb = if self.upstream.protocol == Protocol::Lmtp { "LHLO" } else { "EHLO" };
        let heard = dialog.ask(&format!("{verb} {}", self.voice.hostname), self.voice.timeouts.reply).await;
        self.positive(verb, heard)
    }

    /// Whether the host is told who the client is before it greets.
    fn is_told_by_connection(&self) -> bool {
        matches!(self.upstream.identity, Identity::ProxyV1 | Identity::ProxyV2 | Identity::SourceAddress)
    }

    /// Tells the host of a client, and asks whether it would relay for it.
    async fn identify(&mut self, dialog: &mut Dialog, offered: &Reply) -> Result<(), Over> {
        let verb = match self.upstream.identity {
            Identity::Xclient => TellingVerb::Xclient,
            Identity::Xforward => TellingVerb::Xforward,
            Identity::None | Identity::ProxyV1 | Identity::ProxyV2 | Identity::SourceAddress => return Ok(()),
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
        let reply = heard.or_else(|error| self.over(&words::silent(what, &error)))?;
        if reply.code().is_positive() {
            return Ok(reply);
        }
        self.findings.note(what, &lines(reply.as_ref()));
        self.over(&words::refused(what))
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
