//! A suite by itself and with gatepost in between, and the table of what differs.
//!
//! In:    a suite.
//! Out:   nothing, or a failure that says what is not as the table has it.
//! Never: believes what it did not expect before it has seen it `TRIES` times: these suites have deadlines of tenths of a
//!        second, and a busy machine misses some. Those the table lists are run apart, since one that fails may leave its
//!        server behind, at which others then fail.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::gate::Gate;
use crate::suite::{Outcomes, Suite, Which};
use crate::support::machine::Machine;
use crate::support::scratch::{Scratch, run as finish};
use crate::table::{Table, seen};

const TRIES: usize = 3;

/// A whole suite takes a minute, one test at most some seconds.
const WHOLE: Duration = Duration::from_secs(300);
const ALONE: Duration = Duration::from_secs(60);

/// Machines on which the listed tests are run.
const LANES: usize = 8;

pub fn run(suite: Suite) {
    let table = Table::of(suite);
    let groups = table.groups();
    let groups: Vec<&[&str]> = groups.iter().flat_map(|tests| tests.chunks(suite.together())).collect();
    let listed = groups.concat();
    let (direct, mut inserted) = thread::scope(|scope| {
        let direct = scope.spawn(|| directly(suite));
        let others = scope.spawn(|| through(|| execute(suite, Which::AllBut(&listed), WHOLE)));
        let lanes: Vec<_> = (0..LANES.min(groups.len()))
            .map(|lane| groups.iter().skip(lane).step_by(LANES))
            .map(|lane| {
                scope.spawn(|| through(|| lane.flat_map(|tests| some(suite, tests, WHOLE)).collect()))
            })
            .collect();
        let mut inserted: Outcomes = others.join().expect("the suite with gatepost");
        lanes.into_iter().for_each(|lane| inserted.extend(lane.join().expect("a test alone")));
        (direct.join().expect("the suite by itself"), inserted)
    });
    let unexpected = |test: &&String, inserted: &Outcomes| {
        inserted.get(*test).is_none_or(|outcome| !table.expects(test, outcome.as_deref()))
    };
    let again: Vec<&String> = direct.keys().filter(|test| unexpected(test, &inserted)).collect();
    if !again.is_empty() {
        let gate = Gate::new();
        for test in again {
            for _ in 1..TRIES {
                inserted.extend(gate.run(|| alone(suite, test)));
                if !unexpected(&test, &inserted) {
                    break;
                }
            }
        }
    }
    let differs = direct.keys().filter_map(|test| Some((test.clone(), seen(inserted[test].as_ref()?))));
    table.hold(direct.len(), differs.collect());
}

/// Without gatepost. All of it must pass, or it is no measure.
fn directly(suite: Suite) -> Outcomes {
    let machine = Machine::new();
    let mut outcomes = machine.run(|| execute(suite, Which::AllBut(&[]), WHOLE));
    let failed: Vec<String> = failed(&outcomes).cloned().collect();
    for test in &failed {
        for _ in 1..TRIES {
            outcomes.extend(machine.run(|| alone(suite, test)));
            if outcomes[test].is_none() {
                break;
            }
        }
    }
    let failed: Vec<_> = failed.iter().filter_map(|test| Some((test, outcomes[test].as_ref()?))).collect();
    assert!(failed.is_empty(), "{suite:?} does not pass here by itself: {failed:#?}");
    outcomes
}

fn failed(outcomes: &Outcomes) -> impl Iterator<Item = &String> {
    outcomes.iter().filter(|(_, why)| why.is_some()).map(|(test, _)| test)
}

/// With gatepost in between.
fn through(tests: impl FnOnce() -> Outcomes + Send) -> Outcomes {
    let gate = Gate::new();
    let outcomes = gate.run(tests);
    // A redirection that does not work would leave no difference at all.
    assert!(gate.sessions() > 0.0, "nothing went through gatepost");
    outcomes
}

fn alone(suite: Suite, test: &str) -> Outcomes {
    some(suite, &[test], ALONE)
}

/// These tests. One that another kept from running is run alone; one that does not run even so has not passed.
fn some(suite: Suite, tests: &[&str], patience: Duration) -> Outcomes {
    let mut outcomes = execute(suite, Which::Only(tests), patience);
    outcomes.retain(|name, _| tests.contains(&name.as_str()));
    for test in tests {
        if !outcomes.contains_key(*test) && tests.len() > 1 {
            outcomes.extend(alone(suite, test));
        }
        outcomes.entry((*test).to_owned()).or_insert_with(|| Some("not run".to_owned()));
    }
    outcomes
}

/// Runs it where the thread that calls is.
fn execute(suite: Suite, which: Which, patience: Duration) -> Outcomes {
    let scratch = Scratch::new(suite.name());
    let report = scratch.path().join("outcomes.json");
    let mut command = suite.command(which, &scratch, &report);
    command.current_dir(scratch.make_dir("cwd"));
    let finished = finish(&scratch, &mut command, Stdio::null(), patience);
    let outcomes = suite.outcomes(&report);
    assert!(!outcomes.is_empty(), "{command:?}: {}\n{}", finished.stdout, finished.stderr);
    outcomes
}
