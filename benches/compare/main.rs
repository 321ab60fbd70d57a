//! Compares gatepost with HAProxy (TCP mode) and nginx (mail proxy) on loopback.
//!
//! `cargo bench --bench compare -- [--smoke] [--rounds N] [--only short20,…] [--peers haproxy,…]`
//!
//! In:    the programs `haproxy` and `nginx` with its mail module; gatepost as cargo built it.
//! Out:   a Markdown table on stdout for `benches/RESULTS.md`, progress on stderr, status 1 on any failure.
//! Never: judges a ratio. It fails when a peer is missing, a dialog breaks or the counts disagree.
//!
//! One source and one sink, both in this process and faster than every peer (the `direct` column), drive
//! the same load through each peer in turn, round by round. `--smoke` does everything once and briefly.

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
    /// Only these: short20, short200, kept, pipelined-new, pipelined-kept, large, added, idle, calls
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these: haproxy, direct, relay, nginx, gatepost, gatepost-2, gatepost-bare
    #[arg(long, value_delimiter = ',', default_value = "haproxy,direct,relay,nginx,gatepost,gatepost-2")]
    peers: Vec<String>,
    /// Another gatepost than the one just built
    #[arg(long)]
    gatepost: Option<PathBuf>,
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
        let known = ["added", "idle", "calls"].contains(&name.as_str());
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
    }

    let start = Machine::now()?;
    let directory = tempfile::tempdir()?;
    let gatepost = options.gatepost.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_gatepost").into());
    // The peers are started in directories of their own.
    let gatepost =
        if kinds.iter().any(|kind| kind.is_gatepost()) { gatepost.canonicalize()? } else { gatepost };
    let place = Place { gatepost, directory: directory.path().to_owned(), sessions };
    let sink = Sink::start()?;
    let mut table = Table::default();
    let mut peers =
        kinds.iter().map(|kind| Peer::start(*kind, &sink, &place)).collect::<io::Result<Vec<_>>>()?;

    for load in loads.iter().filter(|load| wanted(load.name)) {
        for peer in &peers {
            load.run(peer, &sink, Effort::smoke())?;
        }
    }
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for load in loads.iter().filter(|load| wanted(load.name)) {
            for peer in &peers {
                load.measure(peer, &sink, effort, round, &mut table)?;
            }
        }
        if wanted("added") {
            for peer in &peers {
                workloads::added_time(peer, effort, round, &mut table)?;
            }
        }
        // Nobody is always the first, nor always behind the same one.
        peers.rotate_left(1);
    }
    if wanted("calls") {
        for peer in &peers {
            workloads::system_calls(peer, &sink, &place, effort, 0, &mut table)?;
        }
    }
    drop(peers);
    if wanted("idle") {
        for kind in kinds.iter().filter(|kind| **kind != Kind::Direct) {
            workloads::idle(*kind, &sink, &place, effort, 0, &mut table)?;
        }
    }
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // The children are waited for by now, and count as ours.
    let others = Machine::now()?.others_since(start);
    Ok(format!("{}\n{}", report::facts(&kinds, &place, &arguments, others)?, table.markdown(&kinds)))
}

impl Effort {
    fn full(seconds: f64) -> Self {
        Self {
            until: Until { time: Duration::from_secs_f64(seconds), messages: u64::MAX },
            large_messages: u64::MAX,
            timed_sessions: 200,
            timed_noops: 30,
            idle_sessions: 9_500,
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
