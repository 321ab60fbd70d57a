//! Asks hosts whether they would serve, before a client has to find out.
//!
//! In:    the pools of one configuration, each with how often its hosts are probed.
//! Out:   the same reports that sessions make: failures eject an address, a good probe brings it back. Of a host that
//!        does not meet its pool's terms (TLS, who clients are) an error in the log, once until it does.
//! Never: runs on a worker, sends mail, counts what a host says to us alone (a 5xx), or probes an ejected address before
//!        it is due for a trial.
//!
//! A probe is a dialog: greeting, EHLO (to an LMTP host LHLO) with our own name, QUIT, with the TLS that the pool
//! requires. One task per pool; a round begins when the interval is over and the one before has ended.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, timeout};

use super::connect::connect;
use super::dialog::Dialog;
use super::health::{Lease, Probe, Why};
use super::identity::Introduction;
use super::pool::Pool;
use super::resolve::Pools;
use super::serve::tell;
use super::target::Target;
use crate::config::types::Config;
use crate::log;
use crate::session::client::TlsFault;
use crate::session::route::{HopTerms, HopTls, Identity, PoolKind, TargetId};
use crate::session::unmet::{Instead, Lack, Unmet};
use crate::smtp::{Extensions, Keyword, Reply};
use crate::tls::facts;

/// Probes of one pool at a time.
const AT_ONCE: usize = 32;

/// Probes the hosts of a set of pools. Lives on the control thread; dropped with its configuration.
#[derive(Debug)]
pub struct Prober {
    pools: Arc<Pools>,
    voice: Arc<Voice>,
}

/// What is said, and how long is waited for the answer.
#[derive(Debug)]
struct Voice {
    hostname: String,
    connect: Duration,
    tls: Duration,
    greeting: Duration,
    reply: Duration,
}

impl Prober {
    /// One for the pools that want to be probed.
    pub fn new(config: &Config, pools: Arc<Pools>) -> Self {
        let timeouts = &config.timeouts;
        let voice = Voice {
            hostname: config.host_name(),
            connect: timeouts.connect,
            tls: timeouts.tls,
            greeting: timeouts.greeting,
            reply: timeouts.reply,
        };
        Self { pools, voice: Arc::new(voice) }
    }

    /// Probes until dropped. Returns at once if no pool wants it.
    pub async fn run(self) {
        let mut watches = JoinSet::new();
        for pool in self.pools.iter() {
            let Some(every) = pool.probed() else { continue };
            watches.spawn(watch(Arc::clone(pool), every, Arc::clone(&self.voice)));
        }
        // None of them ends by itself; one that a defect ended is not missed silently.
        while let Some(ended) = watches.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "probes of a pool ended");
            }
        }
    }
}

async fn watch(pool: Arc<Pool>, every: Duration, voice: Arc<Voice>) {
    let mut rounds = interval_at(tokio::time::Instant::now() + every, every);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unfit = BTreeSet::new();
    loop {
        rounds.tick().await;
        round(&pool, &voice, &mut unfit).await;
    }
}

/// Probes every target of a pool once. `unfit` are those that were told of, since they lack something.
async fn round(pool: &Pool, voice: &Arc<Voice>, unfit: &mut BTreeSet<TargetId>) {
    let lmtp = pool.kind() == PoolKind::Lmtp;
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut probes = JoinSet::new();
    for target in pool.targets() {
        let (voice, room) = (Arc::clone(voice), Arc::clone(&room));
        probes.spawn(async move {
            let _room = room.acquire().await;
            let lease = Lease::probe(&target, Instant::now())?;
            let heard = voice.ask(&target, lmtp).await;
            report(&lease, heard.as_ref().map(|heard| heard.probe).map_err(|why| *why));
            Some((target, heard.ok()?.unmet))
        });
    }
    // Each has its deadlines, so a round ends.
    while let Some(probed) = probes.join_next().await {
        let Ok(Some((target, unmet))) = probed else { continue };
        let (upstream, host) = (&**pool.name(), target.name());
        match unmet {
            Some(unmet) if unfit.insert(target.id()) => {
                log::unfit(upstream, host, &unmet);
            }
            None if unfit.remove(&target.id()) => {
                tracing::info!(upstream, host, "hop: meets its pool's terms");
            }
            _ => {}
        }
    }
}

/// What a probe came to where the host spoke.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    probe: Probe,
    /// What the pool needs and did not find there.
    unmet: Option<Unmet>,
}

impl Heard {
    /// TLS could not be had; a host that may do without serves all the same.
    fn insecure(terms: HopTerms, lack: Lack) -> Self {
        let (probe, instead) = match terms.tls {
            HopTls::Opportunistic => (Probe::Good, Instead::Plain),
            HopTls::Off | HopTls::Required | HopTls::Implicit => (Probe::Refused, Instead::NotUsed),
        };
        Self { probe, unmet: Some(Unmet { lack, instead }) }
    }
}

/// What a host lacks to be told who clients are.
fn nameless(terms: HopTerms, offered: Extensions) -> Option<Unmet> {
    let needed = match terms.identity {
        Identity::Xclient => Keyword::XClient,
        Identity::Xforward => Keyword::XForward,
        // Told by the connection itself.
        Identity::None | Identity::ProxyV1 | Identity::ProxyV2 | Identity::SourceAddress => return None,
    };
    let instead = if terms.identity_required { Instead::NotUsed } else { Instead::Nameless };
    (!offered.has(needed)).then(|| Unmet { lack: Lack::NotOffered(needed.as_str()), instead })
}

fn report(lease: &Lease, answer: Result<Probe, Why>) {
    let now = Instant::now();
    let change = match answer {
        Ok(Probe::Good) => lease.succeeded(now),
        Ok(_) => super::Change::None,
        Err(why) => lease.failed(why, now),
    };
    lease.probed(answer.unwrap_or(Probe::Failed));
    tell(change, lease.target().name(), answer.err());
}

impl Voice {
    /// One probe.
    async fn ask(&self, target: &Target, lmtp: bool) -> Result<Heard, Why> {
        let terms = target.terms();
        let introduction = Introduction::of_probe(terms.identity);
        let connected = timeout(self.connect, connect(target, &introduction)).await;
        let connected = connected.map_err(|_| Why::ConnectTimeout)?.map_err(|_| Why::Connect)?;
        let mut dialog = Dialog::new(connected.stream);
        if terms.tls == HopTls::Implicit {
            dialog = match self.secure(dialog, target).await {
                Ok(dialog) => dialog,
                Err(fault) => return Ok(Heard::insecure(terms, Lack::Tls(fault))),
            };
        }
        let greeting = match dialog.hear(self.greeting).await {
            Ok(greeting) => greeting.code(),
            Err(error) => return refused_behind(terms, &error).ok_or(Why::NoGreeting),
        };
        if !greeting.is_positive() {
            return Err(Why::Greeting);
        }
        let hello = format!("{} {}", if lmtp { "LHLO" } else { "EHLO" }, self.hostname);
        let mut answer = self.hello(&mut dialog, &hello).await?;
        if offers(&answer).has(Keyword::StartTls) {
            target.offers_tls(Instant::now());
        }
        // What is opportunistic is tried where more may be offered under it.
        let by_starttls = match terms.tls {
            HopTls::Required => true,
            HopTls::Opportunistic => nameless(terms, offers(&answer)).is_some(),
            HopTls::Off | HopTls::Implicit => false,
        };
        if by_starttls {
            match self.starttls(dialog, &answer, target).await? {
                Ok(secured) => dialog = secured,
                Err(lack) => return Ok(Heard::insecure(terms, lack)),
            }
            answer = match dialog.ask(&hello, self.reply).await {
                Ok(answer) => serves(answer)?,
                Err(error) => return refused_behind(terms, &error).ok_or(Why::NoService),
            };
        }
        // A courtesy: the answer is not waited for, nor that it can be written.
        let _ = dialog.say(b"QUIT\r\n", self.reply).await;
        Ok(Heard { probe: Probe::Good, unmet: nameless(terms, offers(&answer)) })
    }

    async fn hello(&self, dialog: &mut Dialog, hello: &str) -> Result<Reply, Why> {
        dialog.ask(hello, self.reply).await.map_err(|_| Why::NoService).and_then(serves)
    }

    async fn starttls(
        &self,
        mut dialog: Dialog,
        offered: &Reply,
        target: &Target,
    ) -> Result<Result<Dialog, Lack>, Why> {
        if !offers(offered).has(Keyword::StartTls) {
            return Ok(Err(Lack::NotOffered("STARTTLS")));
        }
        let answer = dialog.ask("STARTTLS", self.reply).await.map_err(|_| Why::NoService)?;
        if answer.code().get() != 220 {
            return Ok(Err(Lack::Refused("STARTTLS", first_line(&answer))));
        }
        Ok(self.secure(dialog, target).await.map_err(Lack::Tls))
    }

    async fn secure(&self, dialog: Dialog, target: &Target) -> Result<Dialog, TlsFault> {
        let Some((client, name)) = target.tls() else { return Err(facts::not_configured()) };
        match dialog.secure(client, name, self.tls).await {
            Ok((dialog, _)) => Ok(dialog),
            Err(fault) => Err(*fault),
        }
    }
}

/// An answer to EHLO of a host that goes on with us.
fn serves(answer: Reply) -> Result<Reply, Why> {
    match answer.code().get() {
        421 => Err(Why::NoService),
        // It does not know EHLO (RFC 5321 4.2.4), and serves those who say HELO.
        500 | 502 => Ok(answer),
        _ if answer.code().is_positive() => Ok(answer),
        _ => Err(Why::Hello),
    }
}

/// The host refused us right behind a handshake of TLS 1.3: as if that had failed.
fn refused_behind(terms: HopTerms, error: &io::Error) -> Option<Heard> {
    facts::refusal(error).map(|fault| Heard::insecure(terms, Lack::Tls(fault)))
}

fn first_line(reply: &Reply) -> Box<[u8]> {
    reply.as_bytes().trim_ascii_end().split(|&octet| octet == b'\r').next().unwrap_or_default().into()
}

fn offers(reply: &Reply) -> Extensions {
    Extensions::of(reply.as_ref())
}

#[cfg(test)]
mod tests;
