//! Compares gatepost with HAProxy (TCP mode) and nginx (mail proxy) on loopback, in plaintext and under TLS.
//!
//! `cargo bench --bench compare -- [--smoke] [--rounds N] [--only short20,…] [--peers haproxy,…]`
//!
//! In:    the programs `haproxy` and `nginx` with its mail module; gatepost as cargo built it.
//! Out:   a Markdown table on stdout for `benches/RESULTS.md`, progress on stderr, status 1 on any failure.
//! Never: judges a ratio. It fails when a peer is missing, a dialog breaks or the counts disagree.
//!
//! One source and one sink, both in this process and faster than every peer (the `direct` column), drive
//! the same load through each peer in turn, round by round. `--smoke` does everything once and briefly.

#[allow(dead_code, reason = "shared with the tests, which want wrong certificates, too")]
#[path = "../../tests/support/certificates.rs"]
mod certificates;
mod channel;
mod configurations;
mod entry;
mod lockstep;
mod measure;
mod peers;
mod receive;
mod relay;
mod report;
mod sink;
mod source;
mod workloads;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::entry::{Certificates, Entry};
use crate::measure::Machine;
use crate::peers::{Kind, Peer, Place};
use crate::report::Table;
use crate::sink::Sink;
use crate::source::Until;
use crate::workloads::{Effort, Load};

#[derive(Parser)]
#[command(name = "compare")]
struct Options {
    /// Every workload once and tiny: does it work at all?
    #[arg(long)]
    smoke: bool,
    /// How often each workload runs through each peer
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// How long one run of one workload through one peer takes
    #[arg(long, default_value_t = 2.5)]
    seconds: f64,
    /// Only these: short20, short200, kept, pipelined-new, pipelined-kept, large, tls, starttls, tls-ecdsa, tls-large,
    /// added, idle, idle-tls, calls
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these: haproxy, direct, relay, nginx, gatepost, gatepost-2, gatepost-bare, gatepost-before
    #[arg(long, value_delimiter = ',', default_value = "haproxy,direct,relay,nginx,gatepost,gatepost-2")]
    peers: Vec<String>,
    /// Another gatepost than the one just built
    #[arg(long)]
    gatepost: Option<PathBuf>,
    /// The gatepost of before a change, measured as gatepost-before
    #[arg(long)]
    before: Option<PathBuf>,
    /// Be the bare relay: from this port to that one
    #[arg(long, hide = true, num_args = 2)]
    relay: Option<Vec<u16>>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        // `cargo test --all-targets` starts benches without --bench, and minutes of load are no test.
        println!("compare measures under `cargo bench --bench compare` only");
        return ExitCode::SUCCESS;
    }
    let done = match options.relay.as_deref() {
        Some(&[port, to]) => relay::run(port, to),
        _ => compare(options).map(|report| println!("{report}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: Options) -> io::Result<String> {
    let kinds = kinds(&options.peers)?;
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let loads = Load::all();
    for name in &options.only {
        let known = ["added", "idle", "idle-tls", "calls"].contains(&name.as_str());
        if !known && !loads.iter().any(|load| load.name == name) {
            return Err(io::Error::other(format!("no workload is called {name}")));
        }
    }
    let mut effort = if options.smoke { Effort::smoke() } else { Effort::full(options.seconds) };
    let rounds = if options.smoke { 1 } else { options.rounds.max(1) };
    // Children inherit it: 9,500 pairs need 19,000 descriptors.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let descriptors = limit.maximum.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let sessions = (descriptors.saturating_sub(400) / 2).min(9_800);
    if sessions < effort.idle_sessions {
        eprintln!("{descriptors} descriptors allow {sessions} sessions, not {}", effort.idle_sessions);
        effort.idle_sessions = sessions;
        effort.idle_tls_sessions = effort.idle_tls_sessions.min(sessions);
    }

    let start = Machine::now()?;
    let directory = tempfile::tempdir()?;
    let gatepost = options.gatepost.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_gatepost").into());
    // The peers are started in directories of their own.
    let gatepost =
        if kinds.iter().any(|kind| kind.is_gatepost()) { gatepost.canonicalize()? } else { gatepost };
    let before = options.before.as_ref().map(|before| before.canonicalize()).transpose()?;
    if before.is_none() && kinds.contains(&Kind::GatepostBefore) {
        return Err(io::Error::other("gatepost-before is the program that --before names"));
    }
    let certificates = Certificates::make(directory.path());
    let place = Place { gatepost, before, directory: directory.path().to_owned(), certificates, sessions };
    let sink = Sink::start()?;
    let mut table = Table::default();
    let mut entries: Vec<_> = loads.iter().filter(|load| wanted(load.name)).map(|load| load.entry).collect();
    if wanted("added") || wanted("calls") {
        entries.push(Entry::Plain);
    }
    let mut peers = Peers::default();
    for kind in &kinds {
        for entry in entries.iter().filter_map(|entry| entry.at(*kind)) {
            if peers.at(entry).all(|peer| peer.kind != *kind) {
                peers.0.push(Peer::start(*kind, entry, &sink, &place)?);
            }
        }
    }

    for load in loads.iter().filter(|load| wanted(load.name)) {
        for peer in peers.at(load.entry) {
            load.run(peer, &sink, Effort::smoke())?;
        }
    }
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for load in loads.iter().filter(|load| wanted(load.name)) {
            for peer in peers.at(load.entry) {
                load.measure(peer, &sink, effort, round, &mut table)?;
            }
        }
        if wanted("added") {
            for peer in peers.at(Entry::Plain) {
                workloads::added_time(peer, effort, round, &mut table)?;
            }
        }
        peers.rotate();
    }
    if wanted("calls") {
        for peer in peers.at(Entry::Plain) {
            workloads::system_calls(peer, &sink, &place, effort, 0, &mut table)?;
        }
    }
    drop(peers);
    for (name, entry) in [("idle", Entry::Plain), ("idle-tls", Entry::Tls), ("idle-tls", Entry::StartTls)] {
        for kind in kinds.iter().filter(|_| wanted(name)) {
            workloads::idle((*kind, entry), &sink, &place, effort, 0, &mut table)?;
        }
    }
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // The children are waited for by now, and count as ours.
    let others = Machine::now()?.others_since(start);
    Ok(format!("{}\n{}", report::facts(&kinds, &place, &arguments, others)?, table.markdown(&kinds)))
}

/// All that run, in the order of their turns.
#[derive(Default)]
struct Peers(Vec<Peer>);

impl Peers {
    /// Those that are entered so when this is asked for.
    fn at(&self, entry: Entry) -> impl Iterator<Item = &Peer> {
        self.0.iter().filter(move |peer| entry.at(peer.kind) == Some(peer.entry))
    }

    /// Nobody is always the first, nor always behind the same one: the first kind goes last.
    fn rotate(&mut self) {
        let first = self.0.first().map(|peer| peer.kind);
        let count = self.0.iter().take_while(|peer| Some(peer.kind) == first).count();
        self.0.rotate_left(count);
    }
}

impl Effort {
    fn full(seconds: f64) -> Self {
        Self {
            until: Until { time: Duration::from_secs_f64(seconds), messages: u64::MAX },
            large_messages: u64::MAX,
            timed_sessions: 200,
            timed_noops: 30,
            idle_sessions: 9_500,
            idle_tls_sessions: 4_000,
            traced_messages: 1_000,
        }
    }

    fn smoke() -> Self {
        Self {
            until: Until { time: Duration::from_millis(200), messages: 400 },
            large_messages: 8,
            timed_sessions: 5,
            timed_noops: 10,
            idle_sessions: 50,
            idle_tls_sessions: 20,
            traced_messages: 40,
        }
    }
}

/// The peers asked for, in the order of the table.
fn kinds(names: &[String]) -> io::Result<Vec<Kind>> {
    if let Some(name) = names.iter().find(|name| Kind::ALL.iter().all(|kind| kind.name() != *name)) {
        return Err(io::Error::other(format!("no peer is called {name}")));
    }
    Ok(Kind::ALL.into_iter().filter(|kind| names.iter().any(|name| name == kind.name())).collect())
}
