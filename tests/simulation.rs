//! Sessions by chance: random clients, hops, rules, callouts, delays and deaths on a virtual clock, every law asserted.
//!
//! `SIM_SESSIONS` says how many (2,000 by default, more in CI), `SIM_SEED=N` replays one and prints its transcript,
//! `SIM_FROM=N` begins elsewhere. A failing seed prints its transcript by itself.

#[allow(dead_code, unused_imports, reason = "each test crate uses its own part of it")]
mod script;

#[path = "simulation/bent.rs"]
mod bent;
#[path = "simulation/callouts.rs"]
mod callouts;
#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/hop.rs"]
mod hop;
#[path = "simulation/ledger.rs"]
mod ledger;
#[path = "simulation/rng.rs"]
mod rng;
#[path = "simulation/rules.rs"]
mod rules;
#[path = "simulation/setting.rs"]
mod setting;
#[path = "simulation/stage.rs"]
mod stage;

use std::panic::{AssertUnwindSafe, catch_unwind};

use ledger::Tally;
use stage::Stage;

#[test]
fn the_laws_hold() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SIM_SEED") {
        let mut transcript = String::new();
        let outcome = catch_unwind(AssertUnwindSafe(|| Stage::new(seed, &mut transcript, true).play()));
        println!("{transcript}");
        return assert!(outcome.is_ok(), "seed {seed} breaks a law, see above");
    }
    let from = number("SIM_FROM").unwrap_or(1);
    let sessions = number("SIM_SESSIONS").unwrap_or(2_000);
    let mut broken: Vec<(u64, String)> = Vec::new();
    let mut tally = Tally::default();
    for seed in from..from + sessions {
        let played = catch_unwind(|| Stage::new(seed, &mut String::new(), false).play());
        match played {
            Ok(more) => tally += more,
            Err(panic) => {
                let what = panic.downcast_ref::<String>().cloned();
                let what = what.or_else(|| panic.downcast_ref::<&str>().map(|&what| what.to_owned()));
                broken.push((seed, what.unwrap_or_default()));
            }
        }
    }
    if let Some((seed, _)) = broken.first() {
        let mut transcript = String::new();
        let _ = catch_unwind(AssertUnwindSafe(|| Stage::new(*seed, &mut transcript, true).play()));
        let all: Vec<String> = broken.iter().map(|(seed, what)| format!("seed {seed}: {what}")).collect();
        panic!(
            "{} of {sessions} sessions broke a law:\n{}\n\nSIM_SEED={seed} replays the first:\n{transcript}",
            broken.len(),
            all.join("\n")
        );
    } // What never happens is not tested.
    println!("{sessions} sessions: {tally:?}");
    assert!(tally.accepted > sessions * 2 / 5 && tally.refused > sessions / 10, "{tally:?}");
    assert!(tally.chunked > sessions / 50 && tally.mended > sessions / 50, "{tally:?}");
    assert!(
        tally.asked > sessions / 2 && tally.failed > sessions / 20 && tally.late > sessions / 50,
        "{tally:?}"
    );
    assert!(tally.prepended > sessions / 100 && tally.edited > sessions / 100, "{tally:?}");
    assert!(tally.secured > sessions / 10 && tally.renamed > sessions / 100, "{tally:?}");
    assert!(tally.hops_secured > sessions / 10 && tally.unsecured > sessions / 50, "{tally:?}");
    assert!(tally.completed >= tally.accepted / 2 && tally.connections > sessions, "{tally:?}");
}
