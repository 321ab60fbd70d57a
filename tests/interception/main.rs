//! gatepost in the path of others: a client, a router with gatepost, a server, each in a network namespace of its own,
//! and the very files of `deploy/intercept/`.
//!
//! In:    nothing; filters and `--nocapture` as with any test.
//! Out:   one result for each case: who a real Postfix saw, what its client heard, what gatepost refused. Where no
//!        namespace can be made the tests are *ignored* with the reason, and with `CI=true` they fail.
//! Never: touches the network of the machine: what is set up is in namespaces that end with this process.

mod network;
mod passing;

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with interop; not every test program uses all of it")]
mod support;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), passing::trials()).exit_code()
}
