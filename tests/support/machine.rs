//! One machine of a network of one's own: a network namespace.
//!
//! In:    what is to be done on it.
//! Out:   its result. Whatever is started or connected there is on that machine's network alone.
//! Never: leaves a namespace behind: it is held by a process that ends when our pipe to it closes.
//!
//! network_namespaces(7), setns(2).

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::peers::found;
use super::scratch::{PATIENCE, wait_for};

/// One machine.
pub struct Machine {
    holder: Child,
}

impl Machine {
    /// With loopback up, and nothing else.
    pub fn new() -> Self {
        let mut command = Command::new(found("unshare"));
        let holder = command.args(["--net", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
        let machine = Self { holder };
        let ours = fs::read_link("/proc/self/ns/net").unwrap();
        wait_for("a network namespace", PATIENCE, || {
            fs::read_link(machine.namespace()).ok().filter(|theirs| *theirs != ours)
        });
        machine.run(|| ip(&["link", "set", "lo", "up"]));
        machine
    }

    /// Does something on this machine.
    pub fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(self.namespace()).unwrap();
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                task()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// An address of each family for one of its links.
    pub fn addresses(&self, link: &str, addresses: &[&str; 2]) {
        let [v4, v6] = [format!("{}/24", addresses[0]), format!("{}/64", addresses[1])];
        self.run(|| {
            ip(&["addr", "add", &v4, "dev", link]);
            // Nobody else has it: there is no need to ask around first.
            ip(&["addr", "add", &v6, "dev", link, "nodad"]);
            ip(&["link", "set", link, "up"]);
        });
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.pid())
    }

    /// Whose namespace it is.
    pub fn pid(&self) -> String {
        self.holder.id().to_string()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        // It ends by itself; nobody is left to hear that it did not.
        let _ = self.holder.wait();
    }
}

/// ip(8), on the machine of whoever calls.
pub fn ip(arguments: &[&str]) {
    must(Command::new(found("ip")).args(arguments));
}

/// Runs a program that is to succeed.
pub fn must(command: &mut Command) {
    let done = command.stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
