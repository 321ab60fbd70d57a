//! Warns where strangers may come to an MTA that takes them for gatepost: one that trusts gatepost is an open relay then.
//!
//! **In**: a decoded [`Config`]. **Out**: warnings, one for each way to a pool: a listener's own, and rules that lead there
//! whoever sends to whomever. **Never**: knows whom an MTA trusts; `gatepost check --probe` asks it.
//!
//! What an MTA sees depends on the pool's identity. XCLIENT, a PROXY header and the client's own address are what it
//! decides by; XFORWARD is for its log only (Postfix's XFORWARD_README), so it is as good as none here. What
//! `identity_required: false` lets pass nameless is seen as gatepost, too. LMTP delivers and does not relay (RFC 2033).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::types::{Config, Decide, Intercept, Listener, Match, Protocol, Rule, Source, UpstreamPool};
use super::walk::Context;
use crate::session::route::Identity;

/// Warns of each way by which strangers come to a pool that does not know them.
pub(super) fn check(config: &Config, context: &Context) {
    let mut known = BTreeSet::new();
    for (i, listener) in config.listeners.iter().enumerate() {
        let Some(address) = open_to_strangers(listener) else { continue };
        if let Some(text) = danger(config, &listener.upstream, address) {
            known.insert(listener.upstream.as_str());
            context.warning(&format!("listeners[{i}].address"), text);
        }
    }
    let Some(address) = config.listeners.iter().find_map(open_to_strangers) else { return };
    for (i, rule) in config.rules.iter().enumerate().filter(|(_, rule)| binds_nobody(rule)) {
        for (path, pool) in leads_to(rule) {
            if !known.contains(pool)
                && let Some(text) = danger(config, pool, address)
            {
                known.insert(pool);
                context.warning(&format!("rules[{i}].do.{path}"), text);
            }
        }
    }
}

/// The address at which a listener takes clients that are not of this machine: its own, or what proxies and
/// interception bring to it.
fn open_to_strangers(listener: &Listener) -> Option<SocketAddr> {
    let brought = !listener.proxy_protocol.from.is_empty()
        || !listener.xclient.is_empty()
        || listener.intercept != Intercept::Off;
    listener.addresses.iter().copied().find(|address| brought || !address.ip().to_canonical().is_loopback())
}

/// What is wrong with strangers who come through `address` to a pool.
fn danger(config: &Config, pool: &str, address: SocketAddr) -> Option<String> {
    let upstream = config.upstreams.get(pool)?;
    if matches!(upstream.source, Source::RecipientMx) {
        return Some(format!(
            "whoever reaches {address} can send to any domain through \"{pool}\" unless a rule forbids it: an open \
             relay"
        ));
    }
    let (when, remedy) = nameless(upstream)?;
    Some(format!(
        "the MTA behind \"{pool}\" sees gatepost's address for every client of {address}{when}; if it trusts that \
         address it is an open relay: {remedy}, and try gatepost check --probe"
    ))
}

/// When the hosts of a pool see gatepost's address instead of the client's, if ever, and what to do.
fn nameless(upstream: &UpstreamPool) -> Option<(&'static str, &'static str)> {
    if matches!(upstream.source, Source::Sink(_)) || upstream.protocol == Protocol::Lmtp {
        return None;
    }
    let tell = "let it know the client (identity: xclient), or have it trust nobody (docs/inserting.md)";
    let require = "require it, or have it trust nobody";
    match upstream.identity {
        Identity::None => Some(("", tell)),
        Identity::Xforward => Some((", since XFORWARD is for its log only", tell)),
        Identity::Xclient if !upstream.identity_required => {
            Some((" if it does not offer XCLIENT (identity_required: false)", require))
        }
        Identity::SourceAddress if !upstream.identity_required => {
            Some((" whose address cannot be used (identity_required: false)", require))
        }
        // A header comes before the greeting: a host that does not take it takes no mail either.
        Identity::Xclient | Identity::SourceAddress | Identity::ProxyV1 | Identity::ProxyV2 => None,
    }
}

/// Whether a rule holds for strangers and any recipient. One that says who may send, or to whom, or makes the recipient
/// another, was meant for those.
fn binds_nobody(rule: &Rule) -> bool {
    let Match { client, recipient, recipient_given, authenticated, login, .. } = &rule.matches;
    client.is_empty()
        && recipient.is_empty()
        && recipient_given.is_empty()
        && authenticated.is_none()
        && login.is_empty()
        && rule.actions.rewrites.recipient.is_none()
}

/// The pools a rule leads to, with the key that says so.
fn leads_to(rule: &Rule) -> Vec<(String, &str)> {
    match &rule.actions.decide {
        Some(Decide::Route { upstream }) => vec![("route.upstream".to_owned(), upstream)],
        Some(Decide::Retry(ladder)) => {
            let rungs = ladder.iter().enumerate().filter(|(_, rung)| rung.recipient.is_none());
            rungs
                .filter_map(|(j, rung)| Some((format!("retry[{j}].upstream"), rung.upstream.as_deref()?)))
                .collect()
        }
        _ => Vec::new(),
    }
}
