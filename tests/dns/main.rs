//! Hops found by a real name server: NSD, authoritative for `example`, on loopback.
//!
//! In:    zones written by each test; hops played here, one loopback address each, all at one port.
//! Out:   which hop a client reaches, what it hears of domains that have none, what metrics say of dead hosts.
//! Never: asks a name server beyond loopback. Without NSD the tests are *ignored* with the reason, and with `CI=true`
//!        they fail (`.ci/install-peers` installs it).
//!
//! RFC 5321 5.1 (MX), RFC 7505 (null MX), RFC 2782 (SRV).

mod clients;
mod pools;
mod recipients;

#[path = "../process/gate.rs"]
#[allow(dead_code, reason = "shared with process; not every test program uses all of it")]
mod gate;
#[path = "../process/hop.rs"]
#[allow(dead_code, reason = "shared with process; not every test program uses all of it")]
mod hop;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with interop; not every test program uses all of it")]
mod support;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use libtest_mimic::Arguments;

use self::hop::Hop;
use self::support::{nsd, peers, raw, scratch};

/// The zone of every test, and the hosts that hops are played at. `dead` is where nobody listens.
const HOSTS: &str = "\
$ORIGIN example.
$TTL 5
@ SOA ns hostmaster 1 60 60 60 5
@ NS ns
ns A 127.0.0.1
a A 127.0.0.2
b A 127.0.0.3
c A 127.0.0.4
dead A 127.0.0.9
";

fn at(ip: &str, port: u16) -> SocketAddr {
    let ip: IpAddr = ip.parse().unwrap();
    SocketAddr::new(ip, port)
}

/// The hops `a`, `b` and `c`.
fn hops(port: u16) -> [Hop; 3] {
    let hop = |ip, name| Hop::start_at(at(ip, port), name, true);
    [hop("127.0.0.2", "a.example"), hop("127.0.0.3", "b.example"), hop("127.0.0.4", "c.example")]
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = pools::trials();
    trials.extend(recipients::trials());
    trials.extend(clients::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}
