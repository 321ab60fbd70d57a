//! `deploy/` and `docs/inserting.md`, judged by those they are written for: systemd, Prometheus, a linter of container
//! files, Grafana's types, Postfix.
//!
//! In:    nothing; filters and `--nocapture` as with any test.
//! Out:   one result for each case. A program that is not installed gives an *ignored* test with its reason, and with
//!        `CI=true` a failed one (`.ci/install-peers` installs them all).
//! Never: a system service, an address beyond loopback, an image that is pulled.

mod container;
mod gate;
mod grafana;
mod inserting;
mod prometheus;
mod systemd;
mod units;

#[allow(dead_code, reason = "shared with interop; not every test program uses all of it")]
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    trials.extend(units::trials());
    trials.extend(systemd::trials());
    trials.extend(container::trials());
    trials.extend(prometheus::trials());
    trials.extend(grafana::trials());
    trials.extend(inserting::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A file of the repository.
fn ours(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Its text.
fn text(path: &str) -> String {
    std::fs::read_to_string(ours(path)).unwrap()
}
