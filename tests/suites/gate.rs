//! A machine on which every connection over loopback goes through gatepost.
//!
//! In:    what is to be run there.
//! Out:   its result; and, when it is over, that connections did go through, and that gatepost is done with all of them.
//! Never: has a suite wait for more than what it began.

use std::process::Command;

use crate::support::gatepost::Gatepost;
use crate::support::machine::{Machine, must};
use crate::support::peers::found;
use crate::support::scratch::{PATIENCE, Scratch, wait_for};

/// Whose connections `redirect.nft` leaves alone.
const GROUP: &str = "65533";

pub struct Gate {
    gatepost: Gatepost,
    machine: Machine,
}

impl Gate {
    pub fn new() -> Self {
        let machine = Machine::new();
        let gatepost = machine.run(|| {
            let scratch = Scratch::new("suites");
            let rule = scratch.write("redirect.nft", include_str!("redirect.nft"));
            must(Command::new(found("nft")).arg("-f").arg(rule));
            let config = scratch.write("proxy.yaml", include_str!("proxy.yaml"));
            let mut command = Command::new(found("setpriv"));
            command.args(["--regid", GROUP, "--clear-groups", env!("CARGO_BIN_EXE_gatepost"), "--config"]);
            command.arg(config);
            let (listener, admin) = ("127.0.0.1:2525".parse().unwrap(), "127.0.0.1:19025".parse().unwrap());
            Gatepost::start_with(scratch, command, listener, admin)
        });
        Self { gatepost, machine }
    }

    /// Does something on this machine.
    pub fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        self.machine.run(task)
    }

    /// Nobody is there any more: how many sessions there were, each of them over, none by a defect.
    pub fn sessions(&self) -> f64 {
        self.machine.run(|| {
            wait_for("all sessions to be over", PATIENCE, || {
                (self.gatepost.metric("gatepost_sessions_open", &[]) == 0.0).then_some(())
            });
            assert_eq!(self.gatepost.metric("gatepost_panics_total", &[]), 0.0, "{}", self.gatepost.output());
            self.gatepost.metric("gatepost_sessions_opened_total", &[])
        })
    }
}
