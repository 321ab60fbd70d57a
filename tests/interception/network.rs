//! A network of three machines, each a namespace: a client, a router, a server.
//!
//! In:    what is to be done on which machine.
//! Out:   its result. Whatever is started or connected there is on that machine's network alone.
//! Never: says what runs on them.
//!
//! veth(4).

use std::fs;
use std::path::Path;

use crate::support::machine::{Machine, ip};

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
