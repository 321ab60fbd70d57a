//! Loss accounting: twenty thousand messages through gatepost to four hops that are killed and restarted all the while.
//!
//! In:    `LOSS_SEED` (how the hops die and what clients say), `LOSS_MESSAGES`.
//! Out:   an account: what clients were told 250 for, what hops had stored and answered. The trial fails on any message
//!        lost, altered, or told without a hop's word, and on any duplicate but those of a hop that died between
//!        storing and answering.
//! Never: repeats a run exactly: the deaths come at the seed's octets, but what is in flight then is the scheduler's.
//!
//! RFC 5321 4.1.1.4 and 6.1: a 250 to content is a promise; without the reply a client must send again. RFC 1047.

#[path = "loss/account.rs"]
mod account;
#[path = "loss/client.rs"]
mod client;
#[path = "loss/hop.rs"]
mod hop;
#[path = "loss/hops.rs"]
mod hops;

#[allow(dead_code, reason = "shared with other test programs, which use more of it")]
#[path = "process/gate.rs"]
mod gate;
#[allow(dead_code, reason = "a part of gate")]
#[path = "support/raw.rs"]
mod raw;
#[allow(dead_code, reason = "shared with other test programs, which use more of it")]
#[path = "simulation/rng.rs"]
mod rng;
#[allow(dead_code, reason = "shared with other test programs, which use more of it")]
#[path = "support/scratch.rs"]
mod scratch;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use account::Account;
use client::{Told, send_all};
use gate::Gate;
use hops::Hops;
use libtest_mimic::{Arguments, Trial};
use rng::Rng;

const CLIENTS: usize = 100;
const HOPS: usize = 4;

/// All of it must be done by then; some seconds suffice where nobody else is working.
const PATIENCE: Duration = Duration::from_secs(170);

fn main() -> ExitCode {
    // A hop is this program, started again.
    if let Some(life) = hop::Life::from_environment() {
        hop::live(life);
        return ExitCode::SUCCESS;
    }
    let trial = |name: &str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let trials = vec![
        trial("account::finds_what_is_wrong", account::finds_what_is_wrong),
        trial("loss::twenty_thousand_messages", account_for_all),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn account_for_all() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |value| value.parse().expect("a number in the environment"))
    };
    let (seed, messages) = (number("LOSS_SEED", 1), number("LOSS_MESSAGES", 20_000) as usize);
    let began = Instant::now();
    let mut rng = Rng::new(seed);
    let hops = Hops::start(HOPS, &mut rng);
    let gate = Gate::start(
        &hops.upstream(),
        "limits: { sessions_per_client: 1000 }\nlog: { level: off }\nworkers: 2\n",
    );
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (rng, listener) = (rng.fork(), gate.listener);
            let share = messages / CLIENTS + usize::from(number < messages % CLIENTS);
            thread::spawn(move || send_all(listener, number, share, rng, began + PATIENCE))
        })
        .collect();
    let told: Vec<Told> =
        clients.into_iter().map(|client| client.join().expect("a client does not panic")).collect();
    let (records, deaths) = hops.stop();
    let account = Account::of(&told, &records);
    println!(
        "seed {seed}: {CLIENTS} clients, {messages} messages, {HOPS} hops, {:.1} s\n{deaths}\n{account}",
        began.elapsed().as_secs_f64()
    );
    assert!(account.is_clean(), "seed {seed}:\n{account}");
    assert_eq!(account.told, messages, "every message was accepted in the end");
    assert!(deaths.total() > messages / 200, "the hops did die");
    assert!(account.duplicates <= deaths.total(), "no death leaves more than one");
}
