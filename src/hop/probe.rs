//! Asks hosts whether they would serve, before a client has to find out.
//!
//! In:    the pools of one configuration, each with how often its hosts are probed.
//! Out:   the same reports that sessions make: failures eject an address, a good probe brings it back. Once for each host
//!        that does not offer what its pool needs to tell it who clients are, an error in the log.
//! Never: runs on a worker, sends mail, counts what a host says to us alone (a 5xx), or probes an ejected address before
//!        it is due for a trial.
//!
//! A probe is a dialog: greeting, EHLO (to an LMTP host LHLO) with our own name, QUIT. One task per pool; a round
//! begins when the interval is over and the one before has ended.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, timeout};

use super::connect::connect;
use super::dialog::Dialog;
use super::health::{Lease, Probe, Why};
use super::pool::Pool;
use super::resolve::Pools;
use super::serve::tell;
use super::target::Target;
use crate::config::types::Config;
use crate::session::route::{HopTerms, Identity, PoolKind, TargetId};
use crate::smtp::{Extensions, Keyword};

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
            report(&lease, heard.map(|heard| heard.probe));
            Some((target, heard.ok()?.lacks))
        });
    }
    // Each has its deadlines, so a round ends.
    while let Some(probed) = probes.join_next().await {
        let Ok(Some((target, lacks))) = probed else { continue };
        match lacks {
            Some(keyword) if unfit.insert(target.id()) => {
                let (upstream, host, keyword) = (&**pool.name(), target.name(), keyword.as_str());
                tracing::error!(
                    upstream,
                    host,
                    keyword,
                    "hop: does not offer what upstreams.*.identity needs"
                );
            }
            None if unfit.remove(&target.id()) => {
                tracing::info!(host = target.name(), "hop: can be told who clients are");
            }
            _ => {}
        }
    }
}

/// What a probe came to where the host spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heard {
    probe: Probe,
    /// What the pool needs and it does not offer.
    lacks: Option<Keyword>,
}

impl Heard {
    fn refused() -> Self {
        Self { probe: Probe::Refused, lacks: None }
    }
}

/// What a host lacks to be told who clients are.
fn lacks(terms: HopTerms, offered: Extensions) -> Option<Keyword> {
    let needed = match terms.identity {
        Identity::Xclient => Keyword::XClient,
        Identity::Xforward => Keyword::XForward,
        // Told by the connection itself.
        Identity::None | Identity::ProxyV1 | Identity::ProxyV2 | Identity::SourceAddress => return None,
    };
    (!offered.has(needed)).then_some(needed)
}

fn report(lease: &Lease, answer: Result<Probe, Why>) {
    let now = Instant::now();
    let change = match answer {
        Ok(Probe::Good) => lease.succeeded(now),
        Ok(_) => super::Change::None,
        Err(why) => lease.failed(why, now),
    };
    lease.probed(answer.unwrap_or(Probe::Failed));
    tell(change, lease.target().name());
}

impl Voice {
    /// One probe.
    async fn ask(&self, target: &Target, lmtp: bool) -> Result<Heard, Why> {
        let connected = timeout(self.connect, connect(target)).await.map_err(|_| Why::ConnectTimeout)?;
        let mut dialog = Dialog::new(connected.map_err(|_| Why::Connect)?);
        let greeting = dialog.hear(self.greeting).await.map_err(|_| Why::NoGreeting)?.code();
        if !greeting.is_positive() {
            return if greeting.is_transient() { Err(Why::Greeting) } else { Ok(Heard::refused()) };
        }
        let verb = if lmtp { "LHLO" } else { "EHLO" };
        let answer = dialog.ask(&format!("{verb} {}", self.hostname), self.reply).await;
        let answer = answer.map_err(|_| Why::NoService)?;
        if answer.code().get() == 421 {
            return Err(Why::NoService);
        }
        // A courtesy: the answer is not waited for, nor that it can be written.
        let _ = dialog.say(b"QUIT\r\n", self.reply).await;
        if !answer.code().is_positive() {
            return Ok(Heard::refused());
        }
        Ok(Heard { probe: Probe::Good, lacks: lacks(target.terms(), Extensions::of(answer.as_ref())) })
    }
}

#[cfg(test)]
mod tests;
