//! Other people's test suites, through gatepost.
//!
//! In:    the suites of aiosmtpd and of Nodemailer's smtp-server, as PyPI and npm have them; `proxy.yaml` and
//!        `redirect.nft` beside this file.
//! Out:   one trial for each suite. It is run directly, where all of it must pass, and with gatepost in between, of which
//!        the suite knows nothing. Each test that then differs stands in a table (`aiosmtpd.txt`, `smtp-server.txt`) below
//!        the law or decision that makes it differ, with what it said; any other difference is a failure. `BLESS=1`
//!        rewrites the tables; what has no reason yet comes last, and fails until it is given one.
//! Never: changes a suite, or believes a single run: what is not as the table says is run again, alone.

mod compare;
mod gate;
mod suite;
mod table;

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with interop; not every test program uses all of it")]
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use suite::SUITES;
use support::peers::trial;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They sleep most of the time.
    arguments.test_threads = arguments.test_threads.or(Some(SUITES.len()));
    let trials: Vec<Trial> = SUITES
        .into_iter()
        .map(|suite| trial(suite.name(), suite.needs(), move || compare::run(suite)))
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
