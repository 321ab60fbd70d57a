//! Callouts: name, kind, stages, what must hold, and what holds when they fail.
//!
//! **In**: the node `callouts`. **Out**: [`Callout`]s in file order, each checked against what its stages can know.
//! **Never**: resolves the name in a URL or connects; takes a kind that this version does not speak for one it does.
//!
//! `stages` and `when` are read as a rule's `stages` and `match` are (`rules`): the same words mean the same.

use std::net::IpAddr;
use std::time::Duration;

use hyper::Uri;

use super::address::target;
use super::callout::{Callout, CalloutKind, Effect, Http, HttpUrl, MtaHooks, OnQuarantine};
use super::callout::{Policy, Serialization, Shows};
use super::edge::UpstreamTls;
use super::edges;
use super::milters::{ON_QUARANTINE, milter};
use super::rule::Match;
use super::rules::{matching, name, stages, unique};
use super::settings::{LATER, count};
use super::types::{Target, is_host_name};
use super::walk::{Node, Section, shown};
use crate::session::callout::OnError;
use crate::session::verdict::Stage;

/// Names of [`OnError`].
pub(super) const ON_ERROR: [(&str, OnError); 3] =
    [("pass", OnError::Pass), ("tempfail", OnError::Tempfail), ("reject", OnError::Reject)];
/// Names of [`Effect`].
pub(super) const EFFECT: [(&str, Effect); 1] = [("discard", Effect::Discard)];

/// Names of [`Shows`].
pub(super) const SHOWS: [(&str, Shows); 2] = [("header", Shows::Header), ("whole", Shows::Whole)];

/// Kinds of callouts; `None`: this version does not speak them.
const KINDS: [(&str, Option<Kind>); 5] = [
    ("http", Some(Kind::Http)),
    ("policy", Some(Kind::Policy)),
    ("milter", Some(Kind::Milter)),
    ("mta_hooks", Some(Kind::MtaHooks)),
    ("ocp", None),
];

/// A kind that is spoken.
#[derive(Clone, Copy)]
enum Kind {
    Http,
    Policy,
    Milter,
    MtaHooks,
}

/// Where a scanner may be asked: at one side of each command that MTA Hooks have a stage for.
const OF_HOOKS: [Stage; 9] = [
    Stage::Connect,
    Stage::ConnectReply,
    Stage::Helo,
    Stage::HeloReply,
    Stage::Mail,
    Stage::MailReply,
    Stage::Rcpt,
    Stage::RcptReply,
    Stage::Message,
];

/// Names of [`Serialization`].
pub(super) const SERIALIZATION: [(&str, Serialization); 2] =
    [("json", Serialization::Json), ("cbor", Serialization::Cbor)];

/// Where a policy server may be asked: the commands that Postfix's protocol has a state for.
const OF_POLICY: [Stage; 5] = [Stage::Connect, Stage::Helo, Stage::Mail, Stage::Rcpt, Stage::Data];

/// Longest URL.
const LONGEST_URL: usize = 2000;

/// Decodes `callouts`.
pub(super) fn callouts(node: &Node<'_>) -> Vec<Callout> {
    let entries = node.list();
    let callouts: Vec<Callout> =
        entries.iter().map(|entry| callout(entry).unwrap_or_else(|| unread(entry))).collect();
    unique("callout", &entries, callouts.iter().map(|callout| callout.name.as_str()));
    callouts
}

/// One that cannot be read keeps its place, so that those behind it keep their numbers; and the defaults.
fn unread(node: &Node<'_>) -> Callout {
    let port = HttpUrl::default_port(false);
    let nowhere = HttpUrl { secure: false, host: String::new(), port, path: String::new() };
    Callout {
        name: String::new(),
        kind: CalloutKind::Http(Http { urls: vec![nowhere], content: Shows::default() }),
        tls: UpstreamTls::default(),
        stages: Vec::new(),
        when: Match::default(),
        timeout: Duration::from_secs(30),
        per_mib: Duration::ZERO,
        on_error: OnError::Tempfail,
        concurrency: 100,
        effects: Vec::new(),
        refuse_postmaster: false,
        shadow: false,
        mark: node.mark(),
    }
}

fn callout(node: &Node<'_>) -> Option<Callout> {
    let default = unread(node);
    let shape = "{ name: directory, type: http, url: %, stages: rcpt }";
    let url_like = |text: &str| text.contains("://");
    let mut section = node.section_like(shape, "\"http://127.0.0.1:8080/\"", url_like)?;
    let name = section
        .require("name", ", such as directory")
        .and_then(|node| name(&node, "callout"))
        .unwrap_or_default();
    let Some(kind) = kind(&mut section) else {
        // Its other keys are its kind's, which is not known here; it was reported and nothing of it is used.
        return None;
    };
    let (kind, tls, stages) = match kind {
        Kind::Http => {
            let urls =
                section.require("url", ", such as http://127.0.0.1:8080/").and_then(|node| urls(&node));
            let secure = urls.as_ref().and_then(|urls| urls.first()).map(|url| url.secure);
            let tls = edges::callout_tls(&mut section, secure);
            let stages = section.require("stages", ", such as rcpt").map(|node| stages(&node));
            let stages = stages.unwrap_or_default();
            let content = section.get_or("content", Shows::default(), |node| shows(node, &stages));
            (urls.map(|urls| CalloutKind::Http(Http { urls, content })), tls, stages)
        }
        Kind::Policy => {
            let addresses = required_addresses(&mut section, 10023);
            let context = section.get_or("policy_context", String::new(), |node| node.text());
            let stages = section.get_or("stages", vec![Stage::Rcpt], |node| Some(of_policy(node)));
            (Some(CalloutKind::Policy(Policy { addresses, context })), default.tls, stages)
        }
        Kind::Milter => {
            let addresses = required_addresses(&mut section, 11332);
            let (milter, stages) = milter(&mut section, addresses);
            (Some(CalloutKind::Milter(milter)), default.tls, stages)
        }
        Kind::MtaHooks => {
            let urls =
                section.require("url", ", such as https://scanner.example/").and_then(|node| private(&node));
            let secure = urls.as_ref().and_then(|urls| urls.first()).map(|url| url.secure);
            let tls = edges::callout_tls(&mut section, secure);
            let stages = section.get_or("stages", vec![Stage::Message], |node| Some(of_hooks(node)));
            let token_file = section.get("token_file").and_then(|node| node.path());
            let serialization = section.get("serialization").and_then(|node| node.choice(&SERIALIZATION));
            let quarantine = OnQuarantine::default();
            let on_quarantine =
                section.get_or("on_quarantine", quarantine, |node| node.choice(&ON_QUARANTINE));
            let hooks = |urls| MtaHooks { urls, token_file, serialization, on_quarantine };
            (urls.map(|urls| CalloutKind::MtaHooks(hooks(urls))), tls, stages)
        }
    };
    // A filter has a connection for each client, whether it is asked or not.
    let concurrency = if matches!(kind, Some(CalloutKind::Milter(_))) { 1000 } else { default.concurrency };
    let (timeout, per_mib) =
        section.get_or("timeout", (default.timeout, default.per_mib), |node| patience(node, default.timeout));
    let callout = Callout {
        name,
        kind: kind.unwrap_or(default.kind),
        tls,
        when: section.get_or("when", default.when, |node| matching(node, &stages, 0)),
        stages,
        timeout,
        per_mib,
        on_error: section.get_or("on_error", default.on_error, |node| node.choice(&ON_ERROR)),
        concurrency: section.get_or("concurrency", concurrency, |node| count(node, 1, 10_000)),
        effects: section.get("effects").map(|node| effects(&node)).unwrap_or_default(),
        refuse_postmaster: section.get_or("refuse_postmaster", default.refuse_postmaster, |node| node.flag()),
        shadow: section.get_or("shadow", default.shadow, |node| node.flag()),
        mark: default.mark,
    };
    section.end();
    Some(callout)
}

/// The `type`, if it is one this version speaks.
fn kind(section: &mut Section<'_>) -> Option<Kind> {
    let node = section.require("type", ", such as http")?;
    let spoken = node.choice(&KINDS)?;
    if spoken.is_none() {
        let kind = shown(&node.scalar().unwrap_or_default());
        node.error(format!(
            "{kind} is {LATER}, which speaks http, policy, milter and mta_hooks (docs/callout.md)"
        ));
    }
    spoken
}

/// Where a service is: there is no port that all of a kind have; `port`: one that is usual.
fn required_addresses(section: &mut Section<'_>, port: u16) -> Vec<Target> {
    let Some(node) = section.require("address", &format!(", such as \"127.0.0.1:{port}\"")) else {
        return Vec::new();
    };
    let entries = node.one_or_list();
    if entries.is_empty() {
        node.error(format!("needs at least one address, such as \"127.0.0.1:{port}\""));
    }
    let address = |node: Node<'_>| match target(&node, 0)? {
        Target::Tcp { host, port: 0 } => {
            node.error(format!("{} needs a port, such as {port}", shown(&host)));
            None
        }
        found => Some(found),
    };
    entries.into_iter().filter_map(address).collect()
}

/// How long a question may take: a duration, or `{ base: 30s, per_mib: 1s }`.
fn patience(node: &Node<'_>, usual: Duration) -> Option<(Duration, Duration)> {
    let least = Duration::from_millis(1);
    if !node.is_section() {
        return Some((node.duration(least)?, Duration::ZERO));
    }
    let mut section = node.section()?;
    let base = section.get_or("base", usual, |node| node.duration(least));
    let per_mib = section.get_or("per_mib", Duration::ZERO, |node| node.duration(Duration::ZERO));
    section.end();
    Some((base, per_mib))
}

/// What is shown of a message, by one that is asked about messages.
fn shows(node: &Node<'_>, stages: &[Stage]) -> Option<Shows> {
    if !stages.contains(&Stage::Message) {
        node.error("is shown at message, which is not among the stages");
    }
    node.choice(&SHOWS)
}

/// The stages of a policy server.
fn of_policy(node: &Node<'_>) -> Vec<Stage> {
    let stages = stages(node);
    for stage in stages.iter().filter(|stage| !OF_POLICY.contains(stage)) {
        node.error(format!(
            "a policy server is asked at connect, helo, mail, rcpt and data, not at {}",
            stage.as_str()
        ));
    }
    stages
}

/// The stages of a scanner.
fn of_hooks(node: &Node<'_>) -> Vec<Stage> {
    let stages = stages(node);
    for stage in stages.iter().filter(|stage| !OF_HOOKS.contains(stage)) {
        node.error(format!(
            "a scanner is asked at connect, helo, mail, rcpt (or connect-reply, helo-reply, mail-reply, \
             rcpt-reply) and message, not at {}",
            stage.as_str()
        ));
    }
    for (command, reply) in [
        (Stage::Connect, Stage::ConnectReply),
        (Stage::Helo, Stage::HeloReply),
        (Stage::Mail, Stage::MailReply),
        (Stage::Rcpt, Stage::RcptReply),
    ] {
        if stages.contains(&command) && stages.contains(&reply) {
            let (command, reply) = (command.as_str(), reply.as_str());
            node.error(format!("{command} and {reply}: a scanner has one stage for both, and is asked once"));
        }
    }
    stages
}

/// URLs of scanners, which are shown mail and a token: under TLS, or on this machine.
fn private(node: &Node<'_>) -> Option<Vec<HttpUrl>> {
    let urls = urls(node)?;
    let is_here = |url: &HttpUrl| url.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if urls.iter().any(|url| !url.secure && !is_here(url)) {
        node.error("a scanner is spoken to under TLS (https), or at a loopback address such as 127.0.0.1");
    }
    Some(urls)
}

fn effects(node: &Node<'_>) -> Vec<Effect> {
    let mut effects = Vec::new();
    for node in node.one_or_list() {
        match node.choice(&EFFECT) {
            Some(effect) if effects.contains(&effect) => node.error("the same effect twice; name it once"),
            Some(effect) => effects.push(effect),
            None => {}
        }
    }
    effects
}

/// The same with a scheme in front, where that makes it a URL.
fn with_scheme(text: &str) -> String {
    let url = format!("http://{}", text.split_once("://").map_or(text, |(_, rest)| rest));
    let uri = url.parse::<Uri>().ok().filter(|_| !text.starts_with('/') && text.contains(['.', ':']));
    let host = uri.as_ref().and_then(Uri::host).filter(|host| is_host_name(host));
    host.map(|_| format!(", did you mean \"{url}\"?")).unwrap_or_default()
}

/// One URL or several; `None`: none can be read.
fn urls(node: &Node<'_>) -> Option<Vec<HttpUrl>> {
    let entries = node.one_or_list();
    let urls: Vec<HttpUrl> = entries.iter().filter_map(url).collect();
    if entries.is_empty() {
        node.error("needs at least one URL, such as http://127.0.0.1:8080/");
    }
    if urls.iter().any(|url| url.secure != urls[0].secure) {
        node.error("http and https in one list: what may be read on the way may be read by anybody");
    }
    (!urls.is_empty()).then_some(urls)
}

/// `http://host:port/path?query`, or `https:`.
fn url(node: &Node<'_>) -> Option<HttpUrl> {
    const WANTED: &str = "a URL, such as http://127.0.0.1:8080/";
    let text = node.text()?;
    if text.len() > LONGEST_URL {
        node.error(format!("a URL has at most {LONGEST_URL} octets"));
        return None;
    }
    let fault = |text: &str| {
        node.error(text);
        None
    };
    let Ok(uri) = text.parse::<Uri>() else { return node.expected_near(WANTED, &with_scheme(&text)) };
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return node.expected_near(WANTED, &with_scheme(&text)),
    };
    let (Some(authority), Some(path)) = (uri.authority(), uri.path_and_query()) else {
        return node.expected(WANTED);
    };
    if authority.as_str().contains('@') {
        return fault("a name and password in a URL are not sent; leave them out");
    }
    if text.contains('#') {
        return fault("a fragment is not sent; leave out what stands behind #");
    }
    let literal = authority.host().strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = literal.unwrap_or(authority.host());
    let digits = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let good = match literal {
        Some(literal) => literal.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()),
        None => {
            is_host_name(host.strip_suffix('.').unwrap_or(host))
                && (!digits || host.parse::<IpAddr>().is_ok())
        }
    };
    // What stands behind the host; a port too large for one is no port to `Uri`, and none is given.
    let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
        None => HttpUrl::default_port(secure),
        Some(digits) => match digits.parse() {
            Ok(port) if port > 0 => port,
            _ => return fault("ports are from 1 to 65535"),
        },
    };
    if !good {
        return node.expected(WANTED);
    }
    // Displayed, an empty path is "/", as it is sent (RFC 9112 section 3.2.1).
    Some(HttpUrl { secure, host: host.to_owned(), port, path: path.to_string() })
}
