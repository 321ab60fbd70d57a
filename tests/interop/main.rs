//! gatepost before real MTAs, with real clients in front.
//!
//! In:    nothing; filters and `--nocapture` as with any test.
//! Out:   one result for each case. A program that is not installed gives an *ignored* test with its reason, and with
//!        `CI=true` a failed one (`.ci/install-peers` installs them all).
//! Never: a mock where a real program can be had, a system service, an address beyond loopback.
//!
//! `matrix` puts every client before every MTA and prints the table of it, `tls` does so under TLS on either side; the other
//! cases are Postfix's alone.
//! `INTEROP_FRONT=direct` leaves gatepost out of the comparisons: the harness is then compared with itself.
//! `INTEROP_KEEP=1` keeps the temporary directories.

mod bare;
mod bench;
mod callouts;
mod cases;
mod corpora;
mod extensions;
mod failover;
mod identity;
mod identity_others;
mod lmtp;
mod matrix;
mod messages;
mod milter;
mod passthrough;
mod policy;
mod probe;
mod tls;
mod verdicts;

#[allow(dead_code, reason = "shared with other test programs, which use more of it")]
#[path = "../simulation/rng.rs"]
mod rng;
#[allow(dead_code, reason = "shared with deploy; not every test program uses all of it")]
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Starting and stopping MTAs is mostly waiting: thrice two cores are kept busy.
    arguments.test_threads = arguments.test_threads.or(Some(6));
    let mut trials = Vec::new();
    trials.extend(cases::trials());
    trials.extend(corpora::trials());
    trials.extend(extensions::trials());
    trials.extend(verdicts::trials());
    trials.extend(callouts::trials());
    trials.extend(failover::trials());
    trials.extend(identity::trials());
    trials.extend(identity_others::trials());
    trials.extend(lmtp::trials());
    trials.extend(milter::trials());
    trials.extend(passthrough::trials());
    trials.extend(policy::trials());
    trials.extend(probe::trials());
    trials.extend(bare::trials());
    trials.extend(matrix::trials());
    trials.extend(tls::trials());
    trials.push(support::peers::trial(
        "room::accounts_take_the_place_of_others",
        [support::peers::Peer::Exim],
        support::room::accounts_take_the_place_of_others,
    ));
    let conclusion = libtest_mimic::run(&arguments, trials);
    matrix::finish();
    tls::finish();
    conclusion.exit_code()
}
