//! Asks hosts whether they would serve, before a client has to find out.
//!
//! In:    the pools of one configuration, each with how often its hosts are probed.
//! Out:   the same reports that sessions make: failures eject an address, a good probe brings it back.
//! Never: runs on a worker, sends mail, counts what a host says to us alone (a 5xx), or probes an ejected address before
//!        it is due for a trial.
//!
//! A probe is a dialog: greeting, EHLO (to an LMTP host LHLO) with our own name, QUIT. One task per pool; a round
//! begins when the interval is over and the one before has ended.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, timeout};

use super::connect::connect;
use super::health::{Lease, Probe, Why};
use super::identity::Introduction;
use super::pool::Pool;
use super::resolve::Pools;
use super::serve::tell;
use super::target::Target;
use crate::config::types::Config;
use crate::net::stream::Stream;
use crate::session::route::PoolKind;
use crate::smtp::{Code, ReplyFramer, ReplyLimits};

/// Probes of one pool at a time.
const AT_ONCE: usize = 32;
/// What a host may say in a probe: more is no reply to EHLO.
const LIMITS: ReplyLimits = ReplyLimits { line: 4096, reply: 16 << 10 };

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
    loop {
        rounds.tick().await;
        round(&pool, &voice).await;
    }
}

/// Probes every target of a pool once.
async fn round(pool: &Pool, voice: &Arc<Voice>) {
    let lmtp = pool.kind() == PoolKind::Lmtp;
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut probes = JoinSet::new();
    for target in pool.targets() {
        let (voice, room) = (Arc::clone(voice), Arc::clone(&room));
        probes.spawn(async move {
            let _room = room.acquire().await;
            if let Some(lease) = Lease::probe(&target, Instant::now()) {
                report(&lease, voice.ask(&target, lmtp).await);
            }
        });
    }
    // Each has its deadlines, so a round ends.
    while probes.join_next().await.is_some() {}
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
    async fn ask(&self, target: &Target, lmtp: bool) -> Result<Probe, Why> {
        let introduction = Introduction::of_probe(target.terms().identity);
        let connected =
            timeout(self.connect, connect(target, &introduction)).await.map_err(|_| Why::ConnectTimeout)?;
        let mut dialog = Dialog { stream: connected.map_err(|_| Why::Connect)?.stream, heard: Vec::new() };
        let greeting = dialog.hear(self.greeting).await.map_err(|_| Why::NoGreeting)?;
        if !greeting.is_positive() {
            return if greeting.is_transient() { Err(Why::Greeting) } else { Ok(Probe::Refused) };
        }
        let verb = if lmtp { "LHLO" } else { "EHLO" };
        let said = dialog.say(&format!("{verb} {}\r\n", self.hostname), self.reply).await;
        let answer = match said {
            Ok(()) => dialog.hear(self.reply).await,
            Err(error) => Err(error),
        };
        let answer = answer.map_err(|_| Why::NoService)?;
        if answer.get() == 421 {
            return Err(Why::NoService);
        }
        // A courtesy: the answer is not waited for, nor that it can be written.
        let _ = dialog.say("QUIT\r\n", self.reply).await;
        Ok(if answer.is_positive() { Probe::Good } else { Probe::Refused })
    }
}

/// A dialog in lockstep.
struct Dialog {
    stream: Stream,
    heard: Vec<u8>,
}

impl Dialog {
    async fn say(&mut self, line: &str, patience: Duration) -> io::Result<()> {
        let mut octets = line.as_bytes();
        let written = async {
            while !octets.is_empty() {
                poll_fn(|cx| self.stream.watch_room(cx)).await?;
                match self.stream.try_write(octets) {
                    Ok(written) => octets = &octets[written..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        timeout(patience, written).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The code of the next reply.
    async fn hear(&mut self, patience: Duration) -> io::Result<Code> {
        let heard = async {
            let mut framer = ReplyFramer::default();
            loop {
                let reply = framer.next(&self.heard, LIMITS).map_err(|_| io::ErrorKind::InvalidData)?;
                if let Some((code, length)) = reply.map(|reply| (reply.code(), reply.as_bytes().len())) {
                    self.heard.drain(..length);
                    return Ok(code);
                }
                let mut octets = [0; 4096];
                poll_fn(|cx| self.stream.watch(cx)).await?;
                match self.stream.try_read(|| &mut octets) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(read) => self.heard.extend_from_slice(&octets[..read]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        };
        timeout(patience, heard).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests;
