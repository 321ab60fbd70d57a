//! Listeners and pools: where clients come in and where they are taken to.
//!
//! **In**: the nodes `listeners` and `upstreams`. **Out**: [`Listener`]s and [`UpstreamPool`]s by name.
//! **Never**: resolves a name, opens a socket, or looks whether a listener's pool exists (that is `check`).
//!
//! TLS, PROXY headers, XCLIENT, interception and identity are decoded in `edges`. RFC 2033 5 (LMTP and port 25);
//! RFC 2782 (SRV).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::address::{self, domain, target};
use super::edges::{self, is_off};
use super::settings::count;
use super::types::{
    Balance, HostSpec, Listener, Protocol, SMTP_PORT, Source, Target, UpstreamPool, is_host_name,
};
use super::walk::{Node, Section};
use crate::session::route::{HopTls, Identity};
use crate::session::settings::{AuthShown, DoorTls};

/// Names of [`AuthShown`].
pub(super) const AUTH: [(&str, AuthShown); 3] =
    [("hop", AuthShown::Hop), ("tls", AuthShown::Tls), ("off", AuthShown::Off)];
/// Names of [`Balance`].
pub(super) const BALANCE: [(&str, Balance); 3] = [
    ("first", Balance::First),
    ("round_robin", Balance::RoundRobin),
    ("least_sessions", Balance::LeastSessions),
];

/// Names of [`Protocol`].
pub(super) const PROTOCOL: [(&str, Protocol); 2] = [("smtp", Protocol::Smtp), ("lmtp", Protocol::Lmtp)];

/// The shortest time between two probes of a host.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// Where a pool's hosts may come from, of which exactly one is given.
const SOURCES: [&str; 6] = ["hosts", "mx", "srv", "recipient_mx", "original_destination", "sink"];

/// Decodes `listeners`.
pub(super) fn listeners(node: &Node<'_>) -> Vec<Listener> {
    let entries = node.list_like("[{ address: % }]");
    if entries.is_empty() && node.is_list() {
        node.error("needs at least one listener, such as { address: 127.0.0.1:2525 }");
    }
    // One that cannot be read keeps its place, so that those behind it keep their numbers.
    let nothing = || Listener { addresses: Vec::new(), upstream: String::new(), ..Listener::default() };
    entries.iter().map(|node| listener(node).unwrap_or_else(nothing)).collect()
}

fn listener(node: &Node<'_>) -> Option<Listener> {
    let default = Listener::default();
    let mut section = node.section_like("{ address: % }", "127.0.0.1:2525", |text| text.contains(':'))?;
    let addresses = section.require("address", ", such as 127.0.0.1:2525").map(|node| {
        node.one_or_list().iter().filter_map(|node| address::socket_address(node, None)).collect::<Vec<_>>()
    });
    if let Some(node) = section.get("address").filter(|node| node.one_or_list().is_empty()) {
        node.error("needs at least one address, such as 127.0.0.1:2525");
    }
    let upstream = section.get_or("upstream", default.upstream, Node::text);
    let tls = edges::listener_tls(&mut section);
    let offers_tls = matches!(tls.mode, DoorTls::StartTls | DoorTls::Implicit);
    let default_auth = if offers_tls { AuthShown::Tls } else { default.auth };
    let auth = section.get_or("auth", default_auth, |node| node.choice(&AUTH));
    let proxy_protocol = edges::proxy_protocol(&mut section);
    if auth == AuthShown::Tls
        && !offers_tls
        && proxy_protocol.from.is_empty()
        && let Some(node) = section.get("auth")
    {
        node.warning("AUTH is never shown: without TLS on this listener there is nothing to show it under");
    }
    let xclient = edges::xclient(&mut section);
    let greeting_delay = edges::greeting_delay(&mut section);
    let intercept = section.get_or("intercept", default.intercept, |node| node.choice(&edges::INTERCEPT));
    section.end();
    let addresses = addresses.unwrap_or_default();
    Some(Listener { addresses, upstream, auth, tls, proxy_protocol, xclient, greeting_delay, intercept })
}

/// Decodes `upstreams`.
pub(super) fn upstreams(node: &Node<'_>) -> BTreeMap<String, UpstreamPool> {
    let mut pools = BTreeMap::new();
    let section = node.section_like("{ main: { hosts: [%] } }", "127.0.0.1:25", |_| true);
    let Some(mut section) = section else { return pools };
    let entries = section.all();
    if entries.is_empty() {
        node.error("needs at least one pool, such as main: { hosts: [127.0.0.1:25] }");
    }
    for (name, node) in entries {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(word) {
            node.key_error("the name of a pool is made of 1 to 64 letters, digits, - and _");
        }
        // A pool with errors is entered all the same: what names it must not be reported for that.
        pools.insert(name.to_owned(), upstream(&node).unwrap_or_default());
    }
    pools
}

fn upstream(node: &Node<'_>) -> Option<UpstreamPool> {
    let default = UpstreamPool::default();
    let mut section = node.section_like("{ hosts: [%] }", "127.0.0.1:25", |_| true)?;
    let port = section
        .get_or("port", default.port, |node| node.number(1, 65535).and_then(|n| u16::try_from(n).ok()));
    let source = source(&mut section, port);
    let balance = section.get_or("balance", default.balance, |node| node.choice(&BALANCE));
    let sessions = section.get_or("sessions", default.sessions, |node| count(node, 0, 10_000_000));
    let protocol = section.get_or("protocol", default.protocol, |node| node.choice(&PROTOCOL));
    let health = section.get("health").map_or(Some(default.health), |node| health(&node));
    let upstream = UpstreamPool {
        source,
        port,
        balance,
        protocol,
        sessions,
        health: health.unwrap_or(default.health),
        tls: edges::upstream_tls(&mut section),
        identity: section.get_or("identity", default.identity, |node| node.choice(&edges::IDENTITY)),
        identity_required: section.get_or("identity_required", default.identity_required, Node::flag),
        identity_login: section.get_or("identity_login", default.identity_login, Node::flag),
    };
    contradictions(&mut section, &upstream);
    weights(&mut section, &upstream);
    section.end();
    Some(upstream)
}

/// Reports keys that make no sense with where the hosts come from.
fn contradictions(section: &mut Section<'_>, upstream: &UpstreamPool) {
    let sink = section.get("sink").is_some();
    let mut says = |key, text: &str| {
        if let Some(node) = section.get(key).filter(|node| !is_off(node)) {
            node.key_error(text);
        }
    };
    match &upstream.source {
        Source::Srv(_) => says("port", "contradicts \"srv\": the port stands in the record"),
        Source::RecipientMx => {
            says("health", "contradicts \"recipient_mx\": its hosts are not known before RCPT");
        }
        Source::OriginalDestination => {
            let text = "contradicts \"original_destination\": the client names the host";
            ["health", "port", "balance"].into_iter().for_each(|key| says(key, text));
        }
        Source::Hosts(_) | Source::Sink(_) | Source::Mx(_) => {}
    }
    if sink && upstream.tls.mode != HopTls::Off {
        says("tls", "contradicts \"sink\", which is a part of gatepost; leave it out");
    }
    if sink && upstream.identity != Identity::None {
        says("identity", "contradicts \"sink\", which is a part of gatepost; leave it out");
    }
    let unix = |host: &HostSpec| matches!(host.target, Target::Unix(_));
    if upstream.identity == Identity::SourceAddress
        && matches!(&upstream.source, Source::Hosts(hosts) if hosts.iter().any(unix))
    {
        says("identity", "contradicts a host at \"unix:\", which sees no address");
    }
    if upstream.identity == Identity::None && !upstream.identity_required {
        says("identity_required", "is of no use: with identity: none no host is told who the client is");
    }
    if upstream.identity_login && upstream.identity != Identity::Xclient {
        says("identity_login", "belongs to identity: xclient; leave it out, or set that");
    }
    if upstream.protocol == Protocol::Lmtp {
        match &upstream.source {
            // (It is also what stands for a source that could not be read.)
            Source::Sink(_) if sink => says("protocol", "contradicts \"sink\", which speaks SMTP"),
            Source::RecipientMx => says("protocol", "contradicts \"recipient_mx\": mail hosts speak SMTP"),
            Source::Mx(_) if upstream.port == SMTP_PORT => says("protocol", LMTP_PORT),
            Source::Hosts(hosts) => {
                let smtp = |host: &HostSpec| matches!(host.target, Target::Tcp { port: SMTP_PORT, .. });
                if hosts.iter().any(smtp) {
                    says("protocol", LMTP_PORT);
                }
            }
            Source::OriginalDestination => {
                says(
                    "protocol",
                    "contradicts \"original_destination\": clients that are intercepted speak SMTP",
                );
            }
            Source::Mx(_) | Source::Srv(_) | Source::Sink(_) => {}
        }
    }
}

/// Warns of weights where none is looked at.
fn weights(section: &mut Section<'_>, upstream: &UpstreamPool) {
    let Source::Hosts(hosts) = &upstream.source else { return };
    let Some(node) = section.get("hosts").filter(|_| upstream.balance == Balance::First) else { return };
    let entries = node.list();
    for (_, entry) in hosts.iter().zip(&entries).filter(|(host, entry)| host.weight > 1 && entry.is_section())
    {
        if let Some(weight) = entry.section().and_then(|mut host| host.get("weight")) {
            weight.warning("counts for nothing in file order; balance: round_robin goes by weight");
        }
    }
}

const LMTP_PORT: &str = "LMTP is never spoken on port 25 (RFC 2033 5): name the port, such as 24";

/// `off`, or `{ interval: 10s }`.
fn health(node: &Node<'_>) -> Option<Option<Duration>> {
    if is_off(node) {
        return Some(None);
    }
    let mut section = node.section_like("{ interval: % }", "10s", |text| text.ends_with(['s', 'm', 'h']))?;
    let interval =
        section.require("interval", ", such as 10s").and_then(|node| node.duration(SHORTEST_INTERVAL));
    section.end();
    interval.map(Some)
}

/// Exactly one of [`SOURCES`].
fn source(section: &mut Section<'_>, port: u16) -> Source {
    let given: Vec<_> = SOURCES.iter().filter_map(|key| section.get(key).map(|node| (*key, node))).collect();
    // `recipient_mx: false` says no more than leaving it out.
    let given: Vec<_> = given
        .into_iter()
        .filter(|(key, node)| !(matches!(*key, "recipient_mx" | "original_destination") && is_off(node)))
        .collect();
    match given.as_slice() {
        [] if section.misspelt(&SOURCES) => {}
        [] => section.node().error(format!("needs one of {}", SOURCES.join(", "))),
        [_] => {}
        [(first, _), (second, node), ..] => {
            node.key_error(format!("contradicts \"{first}\": a pool has only one of {}", SOURCES.join(", ")));
            debug_assert_ne!(first, second, "keys of one mapping differ");
        }
    }
    let mut source = UpstreamPool::default().source;
    for (key, node) in &given {
        match *key {
            "hosts" => source = Source::Hosts(hosts(node, port)),
            "sink" => source = Source::Sink(node.path().unwrap_or_default()),
            "mx" => source = Source::Mx(mail_domain(node).unwrap_or_default()),
            "srv" => source = Source::Srv(service(node).unwrap_or_default()),
            "recipient_mx" if node.flag() == Some(true) => source = Source::RecipientMx,
            "original_destination" if node.flag() == Some(true) => source = Source::OriginalDestination,
            _ => {}
        }
    }
    source
}

/// `_smtp._tcp.example.com` (RFC 2782).
fn service(node: &Node<'_>) -> Option<String> {
    let name = node.text()?;
    let mut labels = name.split('.');
    let underscored =
        |label: Option<&str>| label.is_some_and(|label| label.len() > 1 && label.starts_with('_'));
    let good = underscored(labels.next()) && underscored(labels.next()) && labels.next().is_some();
    if good && is_host_name(name.strip_suffix('.').unwrap_or(&name)) {
        return Some(name.strip_suffix('.').unwrap_or(&name).to_owned());
    }
    node.expected_near(
        "a service and its domain, such as _smtp._tcp.example.com",
        &address::instead(&name).unwrap_or_default(),
    )
}

/// `mx: example.com`; its port stands apart.
fn mail_domain(node: &Node<'_>) -> Option<String> {
    let (name, port) = domain(node, 0)?;
    if port != 0 {
        node.error("the port stands under \"port\"");
    }
    Some(name)
}

fn hosts(node: &Node<'_>, port: u16) -> Vec<HostSpec> {
    let entries = node.list();
    if entries.is_empty() && node.is_list() {
        node.error("needs at least one host, such as 127.0.0.1:25");
    }
    let mut hosts: Vec<HostSpec> = Vec::new();
    for entry in entries {
        // One that cannot be read keeps its place, so that those behind it keep their numbers.
        let nothing = || HostSpec { target: Target::Unix(PathBuf::new()), weight: 0, server_name: None };
        let host = host(&entry, port).unwrap_or_else(nothing);
        if host.weight > 0 && hosts.iter().any(|other| other.target == host.target) {
            entry.error("the same host twice; give it a weight instead");
        }
        hosts.push(host);
    }
    hosts
}

fn host(node: &Node<'_>, port: u16) -> Option<HostSpec> {
    if !node.is_section() {
        return Some(HostSpec { target: target(node, port)?, weight: 1, server_name: None });
    }
    let mut section = node.section()?;
    let target =
        section.require("address", ", such as mail.example.com:25").and_then(|node| target(&node, port));
    let weight = section.get_or("weight", 1, |node| node.number(1, 1000).and_then(|n| u32::try_from(n).ok()));
    let server_name = edges::host_tls(&mut section);
    section.end();
    Some(HostSpec { target: target?, weight, server_name })
}
