//! TLS, PROXY headers, XCLIENT, interception, identity: decoded for listeners, pools and single hosts.
//!
//! **In**: the section of a listener, of a pool, of a host, or of a callout. **Out**: the types of [`super::edge`].
//! **Never**: opens a certificate; whether it can be used is found out when it is loaded (`tls`).

use super::address;
use super::edge::{Intercept, KeyPair, ListenerTls, Pin, ProxyProtocol, UpstreamTls};
use super::network::network;
use super::types::is_host_name;
use super::walk::{Node, Section};
use crate::networks::Networks;
use crate::session::route::{HopTls, Identity};
use crate::session::settings::DoorTls;
use std::time::Duration;

/// Names of [`DoorTls`]; TLS passed through from the first octet is `passthrough`, too, with `implicit` beside it.
pub(super) const LISTENER_TLS: [(&str, DoorTls); 4] = [
    ("off", DoorTls::Off),
    ("starttls", DoorTls::StartTls),
    ("implicit", DoorTls::Implicit),
    ("passthrough", DoorTls::Passthrough),
];
/// Names of [`HopTls`].
pub(super) const UPSTREAM_TLS: [(&str, HopTls); 4] = [
    ("off", HopTls::Off),
    ("opportunistic", HopTls::Opportunistic),
    ("required", HopTls::Required),
    ("implicit", HopTls::Implicit),
];
/// Names of [`Intercept`].
pub(super) const INTERCEPT: [(&str, Intercept); 3] =
    [("off", Intercept::Off), ("redirect", Intercept::Redirect), ("tproxy", Intercept::Tproxy)];
/// Names of [`Identity`]; `none` is `off`, too.
pub(super) const IDENTITY: [(&str, Identity); 7] = [
    ("none", Identity::None),
    ("off", Identity::None),
    ("xclient", Identity::Xclient),
    ("xforward", Identity::Xforward),
    ("proxy_v1", Identity::ProxyV1),
    ("proxy_v2", Identity::ProxyV2),
    ("source_address", Identity::SourceAddress),
];

/// An identity, as it is written.
pub(crate) fn identity_name(identity: Identity) -> &'static str {
    IDENTITY.iter().find(|(_, other)| *other == identity).map_or("", |(name, _)| name)
}

/// `tls` of a listener: a mode alone, or a mapping.
pub(super) fn listener_tls(section: &mut Section<'_>) -> ListenerTls {
    let Some(node) = section.get("tls") else { return ListenerTls::default() };
    if let Some(mode) = alone(&node, &LISTENER_TLS) {
        if matches!(mode, Some(DoorTls::StartTls | DoorTls::Implicit)) {
            node.error("needs a certificate: { mode: starttls, certificate: cert.pem, key: key.pem }");
        }
        return ListenerTls { mode: mode.unwrap_or_default(), ..ListenerTls::default() };
    }
    let shape = "{ mode: starttls, certificate: cert.pem, key: key.pem }";
    let Some(mut tls) = node.section_like(shape, "", |_| false) else { return ListenerTls::default() };
    let given = tls
        .require("mode", "; write starttls, implicit, passthrough or off")
        .and_then(|node| node.choice(&LISTENER_TLS));
    let mode = given.unwrap_or_default();
    let mut certificates: Vec<KeyPair> = pair(&mut tls).into_iter().collect();
    if let Some(more) = tls.get("certificates") {
        certificates.extend(more.list().iter().filter_map(|node| {
            let mut section = node.section()?;
            let certificate = section.require("certificate", ", such as b.pem").and_then(|node| node.path());
            let key = section.require("key", ", such as b.key").and_then(|node| node.path());
            section.end();
            Some(KeyPair { certificate: certificate?, key: key? })
        }));
    }
    let implicit = tls.get_or("implicit", false, Node::flag);
    let decoded = ListenerTls {
        mode: if implicit && mode == DoorTls::Passthrough { DoorTls::PassthroughImplicit } else { mode },
        certificates,
        require: tls.get_or("require", false, Node::flag),
        client_roots: tls.get("client_roots").and_then(|node| node.path()),
    };
    tls_of_listener(&mut tls, given, implicit, &decoded);
    tls.end();
    decoded
}

/// Reports keys that make no sense with the mode; without one it was reported already.
fn tls_of_listener(tls: &mut Section<'_>, mode: Option<DoorTls>, implicit: bool, decoded: &ListenerTls) {
    let Some(mode) = mode else { return };
    let ours = matches!(mode, DoorTls::StartTls | DoorTls::Implicit);
    if ours && decoded.certificates.is_empty() && tls.get("certificate").is_none() && tls.get("key").is_none()
    {
        tls.node().error("needs \"certificate\" and \"key\"");
    }
    let mut useless = |key, given: bool, text: &str| {
        if given && let Some(node) = tls.get(key) {
            node.key_error(text);
        }
    };
    let none_of_ours =
        "is of no use: with this mode gatepost itself speaks no TLS; write mode: starttls or implicit";
    for key in ["certificate", "key", "certificates", "client_roots"] {
        useless(key, !ours, none_of_ours);
    }
    useless("require", decoded.require && mode == DoorTls::Off, none_of_ours);
    useless(
        "require",
        decoded.require && mode == DoorTls::Passthrough,
        "contradicts \"passthrough\": whether a client uses TLS is between it and the hop",
    );
    useless(
        "implicit",
        implicit && mode != DoorTls::Passthrough,
        "belongs to \"passthrough\"; for gatepost's own TLS write mode: implicit",
    );
}

/// `tls` of a pool: a mode alone, or a mapping.
pub(super) fn upstream_tls(section: &mut Section<'_>) -> UpstreamTls {
    let default = UpstreamTls::default();
    let Some(node) = section.get("tls") else { return default };
    if let Some(mode) = alone(&node, &UPSTREAM_TLS) {
        return UpstreamTls { mode: mode.unwrap_or_default(), ..default };
    }
    let Some(mut tls) = node.section_like("{ mode: required }", "", |_| false) else { return default };
    let given = tls
        .require("mode", "; write opportunistic, required, implicit or off")
        .and_then(|node| node.choice(&UPSTREAM_TLS));
    let mode = given.unwrap_or_default();
    let decoded = towards(&mut tls, mode);
    for key in ["verify", "roots", "pin"] {
        if let Some(node) = tls.get(key)
            && mode == HopTls::Opportunistic
        {
            node.key_error("is of no use: \"opportunistic\" never verifies; write mode: required");
        }
    }
    for key in ["verify", "roots", "pin", "server_name", "certificate", "key"] {
        if let Some(node) = tls.get(key)
            && given == Some(HopTls::Off)
        {
            node.key_error("is of no use without TLS: set mode, or leave it out");
        }
    }
    tls.end();
    decoded
}

/// `tls` of a callout, whose URL says whether there is any; `None`: it could not be read.
pub(super) fn callout_tls(section: &mut Section<'_>, secure: Option<bool>) -> UpstreamTls {
    let mode = if secure == Some(true) { HopTls::Implicit } else { HopTls::Off };
    let default = UpstreamTls { mode, ..UpstreamTls::default() };
    let Some(node) = section.get("tls") else { return default };
    if is_off(&node) {
        if secure == Some(true) {
            node.error("contradicts \"https\" in \"url\": leave it out, or write http");
        }
        return default;
    }
    if secure == Some(false) {
        node.key_error("is of no use without TLS: write https:// in \"url\"");
    }
    let Some(mut tls) = node.section_like("{ roots: roots.pem }", "", |_| false) else { return default };
    if let Some(node) = tls.get("mode") {
        node.key_error("is of no use: \"url\" says it, by http or https");
    }
    let decoded = towards(&mut tls, mode);
    tls.end();
    decoded
}

/// What holds for TLS of which we are the client.
fn towards(tls: &mut Section<'_>, mode: HopTls) -> UpstreamTls {
    let decoded = UpstreamTls {
        mode,
        verify: tls.get_or("verify", true, Node::flag),
        roots: tls.get("roots").and_then(|node| node.path()),
        pins: pins(tls),
        server_name: server_name(tls),
        certificate: pair(tls),
    };
    if let Some(node) = tls.get("pin") {
        if !decoded.verify {
            node.key_error("contradicts \"verify: false\"");
        }
        if decoded.roots.is_some() {
            node.key_error("contradicts \"roots\": a key that is pinned needs nobody who vouches for it");
        }
    }
    if let Some(node) = tls.get("roots")
        && !decoded.verify
    {
        node.key_error("contradicts \"verify: false\": leave out one of them");
    }
    decoded
}

/// `tls: { server_name: NAME }` of one host.
pub(super) fn host_tls(section: &mut Section<'_>) -> Option<String> {
    let mut tls = section.get("tls")?.section()?;
    let name = server_name(&mut tls);
    tls.end();
    name
}

/// `proxy_protocol` of a listener.
pub(super) fn proxy_protocol(section: &mut Section<'_>) -> ProxyProtocol {
    let Some(node) = section.get("proxy_protocol").filter(|node| !is_off(node)) else {
        return ProxyProtocol::default();
    };
    let Some(mut peers) = peers(&node) else { return ProxyProtocol::default() };
    let from = from(&mut peers);
    let required = peers.get_or("required", false, Node::flag);
    if required && from.is_empty() {
        peers.node().error("\"required\" without anybody in \"from\" refuses every client");
    }
    peers.end();
    ProxyProtocol { from, required }
}

/// `xclient` of a listener: who may say it.
pub(super) fn xclient(section: &mut Section<'_>) -> Networks {
    let Some(node) = section.get("xclient").filter(|node| !is_off(node)) else { return Networks::default() };
    let Some(mut peers) = peers(&node) else { return Networks::default() };
    let from = from(&mut peers);
    peers.end();
    from
}

/// `greeting_delay` of a listener.
pub(super) fn greeting_delay(section: &mut Section<'_>) -> Duration {
    section
        .get("greeting_delay")
        .filter(|node| !is_off(node))
        .and_then(|node| node.duration(Duration::ZERO))
        .unwrap_or_default()
}

/// Whether a value says "off" in one word.
pub(super) fn is_off(node: &Node<'_>) -> bool {
    node.value().to_bool() == Some(false) || node.scalar().is_some_and(|text| text == "off")
}

/// A mode written without a mapping; the inner `None`: a word that is no mode, which was reported.
fn alone<T: Copy + Default>(node: &Node<'_>, modes: &[(&'static str, T)]) -> Option<Option<T>> {
    if is_off(node) {
        return Some(Some(T::default()));
    }
    node.scalar().is_some().then(|| node.choice(modes))
}

/// `{ from: [NETWORK, ...] }`, of which people write a network alone.
fn peers<'a>(node: &Node<'a>) -> Option<Section<'a>> {
    node.section_like("{ from: [%] }", "10.0.0.0/8", |text| text.contains(['.', ':']))
}

fn from(peers: &mut Section<'_>) -> Networks {
    let from = peers.require("from", "; list who is trusted, such as [10.0.0.0/8]");
    from.map(|node| node.list().iter().filter_map(network).collect()).unwrap_or_default()
}

/// `certificate` and `key`, which come together.
fn pair(tls: &mut Section<'_>) -> Option<KeyPair> {
    match (tls.get("certificate"), tls.get("key")) {
        (Some(certificate), Some(key)) => {
            Some(KeyPair { certificate: certificate.path()?, key: key.path()? })
        }
        (Some(node), None) => {
            node.key_error("needs \"key\" beside it");
            None
        }
        (None, Some(node)) => {
            node.key_error("needs \"certificate\" beside it");
            None
        }
        (None, None) => None,
    }
}

/// `pin`: one or a list.
fn pins(tls: &mut Section<'_>) -> Vec<Pin> {
    let Some(node) = tls.get("pin") else { return Vec::new() };
    let pin = |node: &Node<'_>| {
        let text = node.text()?;
        Pin::parse(&text).or_else(|| {
            node.expected("sha256: and the SHA-256 of a public key, in 64 hexadecimal digits or in base64")
        })
    };
    let pins = node.one_or_list();
    if pins.is_empty() {
        node.error("is empty: nobody could be verified");
    }
    pins.iter().filter_map(pin).collect()
}

fn server_name(tls: &mut Section<'_>) -> Option<String> {
    let node = tls.get("server_name")?;
    let name = node.text()?;
    if is_host_name(&name) {
        return Some(name);
    }
    node.expected_near("a host name, such as mx.example.com", &address::instead(&name).unwrap_or_default())
}
