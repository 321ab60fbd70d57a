//! What clients are called: names that their addresses have and that have their addresses.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use gatepost::config::types::Dns;
use gatepost::hop::Resolver;
use gatepost::session::client::ClientName;
use libtest_mimic::Trial;

use crate::HOSTS;
use crate::nsd::Nsd;
use crate::peers::{Peer, trial};
use crate::scratch::PATIENCE;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_client_has_a_name_that_has_its_address", [Peer::Nsd], named),
        trial("a_silent_server_leaves_a_client_without_a_name_for_now", [], silent),
    ]
}

const REVERSE: &str = "\
$ORIGIN 2.0.192.in-addr.arpa.
$TTL 5
@ SOA ns.example. hostmaster.example. 1 60 60 60 5
@ NS ns.example.
1 PTR one.example.
2 PTR one.example.
3 PTR none.example.
4 PTR forged.example.
4 PTR Four.example.
5 PTR a\\032b.example.
6 PTR -six.example.
7 PTR seven.broken.
8 PTR seven.broken.
8 PTR eight.example.
9 CNAME 9.of.example.
";

fn ask(server: SocketAddr, address: &str, bound: Duration) -> ClientName {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let resolver = Resolver::new(&Dns { servers: vec![server] }).unwrap();
        resolver.client_name(address.parse().unwrap(), bound).await
    })
}

fn named() {
    let zone = "one A 192.0.2.1\nfour A 192.0.2.4\nforged A 192.0.2.1\neight A 192.0.2.8\n\
                a\\032b A 192.0.2.5\n-six A 192.0.2.6\n9.of PTR nine\nnine A 192.0.2.9\n";
    let nsd = Nsd::start_with(&format!("{HOSTS}{zone}"), REVERSE);
    let is = |name: &str| ClientName::Is(name.into());
    for (address, expected, why) in [
        ("192.0.2.1", is("one.example"), "it is that host"),
        ("192.0.2.2", ClientName::None, "the name is another host's"),
        ("192.0.2.3", ClientName::None, "there is no such host"),
        ("192.0.2.4", is("four.example"), "one of its names is its own"),
        ("192.0.2.5", ClientName::None, "no host is called that"),
        ("192.0.2.6", ClientName::None, "nor that"),
        ("192.0.2.7", ClientName::Unknown, "nobody can say now"),
        ("192.0.2.8", is("eight.example"), "another name can be had"),
        ("192.0.2.9", is("nine.example"), "by way of an alias (RFC 2317)"),
        ("192.0.2.10", ClientName::None, "it has no name"),
        ("198.51.100.1", ClientName::Unknown, "the server does not want to say"),
    ] {
        assert_eq!(ask(nsd.address, address, PATIENCE), expected, "{address}: {why}");
    }
}

fn silent() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    assert_eq!(ask(address, "192.0.2.1", Duration::from_millis(50)), ClientName::Unknown);
}
