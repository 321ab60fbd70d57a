//! What only the whole configuration can tell: names that lead nowhere, addresses taken twice, loops.
//!
//! **In**: a decoded [`Config`] and the places it came from. **Out**: errors and warnings in the context.
//! **Never**: resolves a name; hosts given by name are checked with [`own_listener`] by whoever resolves them.
//!
//! A host that is one of our own listeners is an error. Whether strangers come to an MTA that takes them for us is
//! [`strangers`]' matter.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::error::suggestion;
use super::reach;
use super::scalar::print_duration;
use super::strangers;
use super::types::{Config, Decide, HostSpec, Intercept, Listener, Source, Target, UpstreamPool};
use super::walk::{Context, shown};
use crate::session::route::{HopTls, Identity};
use crate::session::settings::DoorTls;

/// Checks the sections against each other.
pub(super) fn check(config: &Config, context: &Context) {
    addresses(config, context);
    for (i, listener) in config.listeners.iter().enumerate() {
        let path = format!("listeners[{i}].upstream");
        names_pool(config, context, &path, &listener.upstream);
        knows_destination(config, context, &path, std::slice::from_ref(listener), &listener.upstream);
        patience(config, context, i);
        passes_through(config, context, i);
        trusts_all(listener, context, i);
    }
    if config.session_limits.exempt.iter().any(|network| network.prefix_len() == 0) {
        let text = "frees everybody from the bounds of each client: leave these out, or name networks";
        context.warning("limits.exempt", text.to_owned());
    }
    strangers::check(config, context);
    for (name, pool) in &config.upstreams {
        let Source::Hosts(hosts) = &pool.source else { continue };
        for (i, host) in hosts.iter().enumerate() {
            loops(config, context, &format!("upstreams.{name}.hosts[{i}]"), &host.target);
        }
    }
    for (i, rule) in config.rules.iter().enumerate() {
        match &rule.actions.decide {
            Some(Decide::Route { upstream }) => {
                let path = format!("rules[{i}].do.route.upstream");
                names_pool(config, context, &path, upstream);
                knows_destination(config, context, &path, &config.listeners, upstream);
            }
            Some(Decide::Retry(ladder)) => {
                let path = format!("rules[{i}].do.retry");
                for (j, rung) in ladder.iter().enumerate() {
                    let upstream = rung.upstream.as_deref().unwrap_or_default();
                    let path = format!("{path}[{j}].upstream");
                    names_pool(config, context, &path, upstream);
                    knows_destination(config, context, &path, &config.listeners, upstream);
                }
                let (most, given) = (config.limits.attempts, ladder.len());
                if given > most {
                    context
                        .warning(&path, format!("{given} attempts, of which limits.attempts allows {most}"));
                }
            }
            _ => {}
        }
    }
    callouts(config, context);
    nameless(config, context);
    // What could not be read holds nothing, which would look as if nobody had meant it.
    if context.errors.borrow().is_empty() {
        reach::check(config, context);
    }
}

/// Reports hosts that have no name which a certificate could be verified for.
fn nameless(config: &Config, context: &Context) {
    for (pool, upstream) in &config.upstreams {
        let Source::Hosts(hosts) = &upstream.source else { continue };
        let tls = &upstream.tls;
        let verifies = tls.verify && matches!(tls.mode, HopTls::Required | HopTls::Implicit);
        let unnamed = |(_, host): &(usize, &HostSpec)| {
            matches!(&host.target, Target::Unix(path) if !path.as_os_str().is_empty())
                && host.server_name.is_none()
        };
        if verifies && tls.server_name.is_none() && tls.pins.is_empty() {
            for (place, _) in hosts.iter().enumerate().filter(unnamed) {
                let text = "has no name to be verified: give it \"tls: { server_name: mx.example.com }\"";
                context.error(&format!("upstreams.{pool}.hosts[{place}]"), text.to_owned());
            }
        }
    }
}

/// The listener of ours that a connection to `address` would reach, as far as the address itself tells.
///
/// To be asked for every address a host name resolves to: a hop that is gatepost is a loop.
pub fn own_listener(config: &Config, address: SocketAddr) -> Option<SocketAddr> {
    let ip = address.ip().to_canonical();
    let here = ip.is_loopback() || ip.is_unspecified();
    let same = |own: &SocketAddr| {
        let own_ip = own.ip().to_canonical();
        let family = own_ip.is_ipv4() == ip.is_ipv4() || own_ip.is_ipv6();
        let any = own_ip.is_unspecified() && here && family;
        // A connection to 0.0.0.0 or :: goes to the loopback address.
        own.port() == address.port() && (own_ip == ip || any || ip.is_unspecified() && own_ip.is_loopback())
    };
    if address.port() == 0 {
        return None;
    }
    config.listeners.iter().flat_map(|listener| &listener.addresses).copied().find(same)
}

/// Reports an address that is listened on twice.
fn addresses(config: &Config, context: &Context) {
    let mut taken: BTreeMap<SocketAddr, String> = BTreeMap::new();
    let listeners = config.listeners.iter().enumerate();
    let own = listeners.flat_map(|(i, listener)| {
        listener.addresses.iter().map(move |address| (*address, format!("listeners[{i}].address")))
    });
    let admin = config.admin.address.map(|address| (address, "admin.address".to_owned()));
    for (address, path) in own.chain(admin).filter(|(address, _)| address.port() != 0) {
        if let Some(other) = taken.get(&address) {
            let text = match *other == path {
                true => format!("{address} stands there twice; name it once"),
                false => format!("{address} is taken by {other}"),
            };
            context.error(&path, text);
        } else {
            taken.insert(address, path);
        }
    }
}

/// Reports a callout that goes by a rule's name, since logs and metrics say by name who gave a verdict; warns of one
/// whose own time is longer than that of all of them.
fn callouts(config: &Config, context: &Context) {
    let all = config.timeouts.callouts;
    for (i, callout) in config.callouts.iter().enumerate().filter(|(_, callout)| !callout.name.is_empty()) {
        if let Some(rule) = config.rules.iter().find(|rule| rule.name == callout.name) {
            let text = format!("a rule is called {}, at line {}", shown(&callout.name), rule.mark.line);
            context.error(&format!("callouts[{i}].name"), text);
        }
        if callout.timeout > all {
            let (own, all) = (print_duration(callout.timeout), print_duration(all));
            let text = format!("{own} is more than all callouts have together, timeouts.callouts: {all}");
            context.warning(&format!("callouts[{i}].timeout"), text);
        }
    }
}

/// Reports an upstream that does not exist. An empty name was reported before, or none was given.
fn names_pool(config: &Config, context: &Context, path: &str, name: &str) {
    if name.is_empty() || config.upstreams.is_empty() || config.upstreams.contains_key(name) {
        return;
    }
    let names = || config.upstreams.keys().map(String::as_str);
    let mut near = suggestion(name, names());
    if near.is_empty() {
        near = format!("; known: {}", names().take(10).collect::<Vec<_>>().join(", "));
    }
    context.error(path, format!("no upstream is called {}{near}", shown(name)));
}

/// Reports a pool whose host is each client's own destination where none of these listeners knows of one.
fn knows_destination(config: &Config, context: &Context, path: &str, from: &[Listener], name: &str) {
    let original = |pool: &UpstreamPool| matches!(pool.source, Source::OriginalDestination);
    let knows = |one: &Listener| one.intercept != Intercept::Off || !one.proxy_protocol.from.is_empty();
    if config.upstreams.get(name).is_some_and(original) && !from.iter().any(knows) {
        let text = "has original_destination, which is known only at a listener with \"intercept\" or \
                    \"proxy_protocol\"";
        context.error(path, format!("{} {text}", shown(name)));
    }
}

/// Reports a host that is one of our own listeners.
fn loops(config: &Config, context: &Context, path: &str, target: &Target) {
    let Target::Tcp { host, port } = target else { return };
    let ips = match host.parse::<IpAddr>() {
        Ok(ip) => vec![ip],
        Err(_) if host.eq_ignore_ascii_case("localhost") => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        Err(_) => return,
    };
    let own = ips.into_iter().find_map(|ip| own_listener(config, SocketAddr::new(ip, *port)));
    if let Some(own) = own {
        context.error(
            path,
            format!("{host}:{port} is gatepost's own listener {own}: mail would go round in a loop"),
        );
    }
}

/// Reports a greeting that would come when the client has been told that none comes.
fn patience(config: &Config, context: &Context, i: usize) {
    let (delay, answer) = (config.listeners[i].greeting_delay, config.timeouts.answer);
    if delay >= answer {
        let answer = print_duration(answer);
        let text = format!("must be less than timeouts.answer, {answer}: nobody waits longer for a greeting");
        context.error(&format!("listeners[{i}].greeting_delay"), text);
    }
}

/// Warns where anybody may say that it is somebody else.
fn trusts_all(listener: &Listener, context: &Context, i: usize) {
    for (key, from) in [("xclient", &listener.xclient), ("proxy_protocol", &listener.proxy_protocol.from)] {
        if from.iter().any(|network| network.prefix_len() == 0) {
            let text = "lets whoever connects say that it is any client: name the proxies alone";
            context.warning(&format!("listeners[{i}].{key}.from"), text.to_owned());
        }
    }
}

/// Reports TLS of ours towards a pool whose clients speak their own TLS with it.
fn passes_through(config: &Config, context: &Context, i: usize) {
    let listener = &config.listeners[i];
    let pool = &listener.upstream;
    let Some(upstream) = config.upstreams.get(pool) else { return };
    let implicit = match listener.tls.mode {
        DoorTls::Off | DoorTls::StartTls | DoorTls::Implicit => return,
        DoorTls::Passthrough => false,
        DoorTls::PassthroughImplicit => true,
    };
    let says = |text: String| context.error(&format!("listeners[{i}].tls"), text);
    let of_pool = format!("contradicts upstreams.{pool}");
    if upstream.tls.mode != HopTls::Off {
        says(format!("{of_pool}.tls: what is passed through is the client's TLS with the hop"));
    }
    if matches!(upstream.source, Source::RecipientMx) {
        says(format!("{of_pool}.recipient_mx: no hop is known whose TLS it could be"));
    }
    match upstream.identity {
        Identity::Xclient | Identity::Xforward if implicit => {
            says(format!(
                "{of_pool}.identity: nothing can be said before TLS that begins with the first octet"
            ));
        }
        Identity::Xforward if upstream.identity_required => {
            says(format!("{of_pool}.identity: XFORWARD cannot be said once TLS passes through"));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_our_own_listeners() {
        let table = [
            ("127.0.0.1:25", "127.0.0.1:25", true),
            ("127.0.0.1:25", "127.0.0.1:26", false),
            ("127.0.0.1:25", "127.0.0.2:25", false),
            ("127.0.0.1:25", "0.0.0.0:25", true),
            ("127.0.0.1:25", "[::ffff:127.0.0.1]:25", true),
            ("0.0.0.0:25", "127.0.0.2:25", true),
            ("0.0.0.0:25", "[::1]:25", false),
            ("0.0.0.0:25", "192.0.2.1:25", false),
            ("[::]:25", "127.0.0.1:25", true),
            ("[::]:25", "[::1]:25", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ];
        for (own, dialled, found) in table {
            let own: SocketAddr = own.parse().unwrap();
            let listener = Listener { addresses: vec![own], ..Listener::default() };
            let config = Config { listeners: vec![listener], ..Config::default() };
            let expected = found.then_some(own);
            assert_eq!(own_listener(&config, dialled.parse().unwrap()), expected, "{own} {dialled}");
        }
    }
}
