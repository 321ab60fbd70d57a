//! A network of three machines, each a namespace: a client, a router, a server.
//!
//! In:    what is to be done on which machine.
//! Out:   its result. Whatever is started or connected there is on that machine's network alone.
//! Never: leaves a namespace behind: each is held by a process that ends when our pipe to it closes.
//!
//! network_namespaces(7), veth(4), setns(2).

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::support::peers::found;
use crate::support::scratch::{PATIENCE, wait_for};

/// The machines' addresses. At `.3` and `::3` the server is there, and nobody listens.
pub const CLIENT: [&str; 2] = ["192.0.2.2", "2001:db8:1::2"];
pub const SERVER: [&str; 2] = ["198.51.100.2", "2001:db8:2::2"];
pub const DEAD: [&str; 2] = ["198.51.100.3", "2001:db8:2::3"];
pub const ROUTER: [&str; 2] = ["192.0.2.1", "2001:db8:1::1"];

pub struct Network {
    pub client: Machine,
    pub router: Machine,
    pub server: Machine,
}

impl Network {
    /// The three of them, connected; the router forwards, and does nothing else.
    pub fn new() -> Self {
        let [client, router, server] = [(); 3].map(|()| Machine::new());
        for (end, machine) in [("client", &client), ("server", &server)] {
            let (there, here) = (machine.pid(), router.pid());
            ip(&[
                "link", "add", "uplink", "netns", &there, "type", "veth", "peer", "name", end, "netns", &here,
            ]);
        }
        client.addresses("uplink", &CLIENT);
        router.addresses("client", &ROUTER);
        router.addresses("server", &["198.51.100.1", "2001:db8:2::1"]);
        server.addresses("uplink", &SERVER);
        server.addresses("uplink", &DEAD);
        for (machine, via) in [(&client, ROUTER), (&server, ["198.51.100.1", "2001:db8:2::1"])] {
            machine.run(|| via.map(|via| ip(&["route", "add", "default", "via", via])));
        }
        router.run(|| {
            for knob in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                fs::write(Path::new("/proc/sys/net").join(knob), "1").unwrap();
            }
        });
        Self { client, router, server }
    }
}

/// One machine.
pub struct Machine {
    holder: Child,
}

impl Machine {
    fn new() -> Self {
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

    fn addresses(&self, link: &str, addresses: &[&str; 2]) {
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

    fn pid(&self) -> String {
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
