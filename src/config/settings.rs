//! The sections of `proxy.yaml` that are plain settings, and the order in which everything is decoded.
//!
//! **In**: the top node. **Out**: a [`Config`]; it is whole even where errors were reported (defaults stand in), so that
//! one run finds everything, and it is used only if there were none. **Never**: compares one section with
//! another, that is `check`; decodes listeners, pools or rules, which have files of their own.
//!
//! Bounds of the limits: RFC 5321 section 4.5.3.1 says what must be taken at least; what is above the largest value
//! allowed here would only serve an attacker.

use std::time::Duration;

use super::address;
use super::callouts;
use super::edges::is_off;
use super::hops;
use super::network::network;
use super::rules;
use super::scalar::{is_keyword, print_size};
use super::types::{Admin, Config, Content, Dns, Greeting, Log, LogFormat, LogLevel, Range, SessionLimits};
use super::walk::{Node, shown};
use crate::dialog::{Limits, Timeouts};
use crate::networks::Networks;
use crate::session::settings::AddedRefused;
use crate::smtp::BareNewline;

/// Names of [`Greeting`].
pub(super) const GREETING: [(&str, Greeting); 2] = [("hop", Greeting::Hop), ("own", Greeting::Own)];
/// Names of [`AddedRefused`].
pub(super) const ADDED_REFUSED: [(&str, AddedRefused); 2] =
    [("reject", AddedRefused::Reject), ("ignore", AddedRefused::Ignore)];
/// Names of [`BareNewline`].
pub(super) const BARE_NEWLINE: [(&str, BareNewline); 2] =
    [("normalize", BareNewline::Normalize), ("reject", BareNewline::Reject)];
/// Names of [`LogFormat`].
pub(super) const LOG_FORMAT: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
/// Names of [`LogLevel`].
pub(super) const LOG_LEVEL: [(&str, LogLevel); 6] = [
    ("off", LogLevel::Off),
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

/// What a feature of a later version is answered with.
pub(super) const LATER: &str = "not supported by this version";

/// Verbs that gatepost serves itself or that may never pass: they would change what the connection is.
const NEVER_VERBS: [&str; 22] = [
    "HELO", "EHLO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "QUIT", "NOOP", "VRFY", "EXPN", "HELP",
    "ETRN", "AUTH", "STARTTLS", "XCLIENT", "XFORWARD", "PROXY", "BURL", "TURN", "ATRN",
];

/// Keywords that are never shown.
const NEVER_EXTENSIONS: [&str; 9] =
    ["XCLIENT", "XFORWARD", "BURL", "TURN", "ATRN", "X-EXPS", "X-ANONYMOUSTLS", "STARTTLS", "PROXY"];

/// Decodes the whole configuration.
pub(super) fn config(top: &Node<'_>) -> Config {
    let default = Config::default();
    let Some(mut section) = top.section() else { return default };
    let hostname = section.get("hostname").and_then(|node| node.host_name());
    let listeners = match section.get("listeners") {
        Some(node) => hops::listeners(&node),
        None => default.listeners,
    };
    let upstreams = match section.require("upstreams", "; name a pool and its hosts") {
        Some(node) => hops::upstreams(&node),
        None => default.upstreams,
    };
    let rules = section.get_or("rules", Vec::new(), |node| Some(rules::rules(node)));
    let callouts = section.get_or("callouts", Vec::new(), |node| Some(callouts::callouts(node)));
    let (limits, session_limits) = section.get_or("limits", Default::default(), limits);
    let config = Config {
        hostname,
        listeners,
        upstreams,
        rules,
        callouts,
        limits,
        session_limits,
        timeouts: section.get_or("timeouts", default.timeouts, timeouts),
        content: section.get_or("content", default.content, content),
        dns: section.get_or("dns", default.dns, dns),
        greeting: section.get_or("greeting", default.greeting, |node| node.choice(&GREETING)),
        forward_verbs: section.get_or("forward_verbs", default.forward_verbs, |node| {
            Some(keywords(node, "a verb, such as XADR", &NEVER_VERBS))
        }),
        forward_extensions: section.get_or("forward_extensions", default.forward_extensions, |node| {
            Some(keywords(node, "an EHLO keyword, such as XADR", &NEVER_EXTENSIONS))
        }),
        workers: section.get_or("workers", default.workers, |node| count(node, 0, 1024)),
        admin: section.get_or("admin", default.admin, admin),
        user: section.get("user").and_then(|node| user(&node)),
        log: section.get_or("log", default.log, log),
        shutdown_grace: section
            .get_or("shutdown_grace", default.shutdown_grace, |node| node.duration(Duration::ZERO)),
    };
    section.end();
    config
}

/// A number that counts things.
pub(super) fn count(node: &Node<'_>, least: u64, most: u64) -> Option<usize> {
    node.number(least, most).and_then(|n| usize::try_from(n).ok())
}

/// A size that fits in memory.
fn octets(node: &Node<'_>, least: u64, most: u64) -> Option<usize> {
    node.size(least, most).and_then(|n| usize::try_from(n).ok())
}

fn limits(node: &Node<'_>) -> Option<(Limits, SessionLimits)> {
    const KIB: u64 = 1024;
    let mut section = node.section_like("{ sessions: % }", "10000", |text| text.parse::<u32>().is_ok())?;
    let default = SessionLimits::default();
    let sessions = section.get("sessions");
    let session_limits = SessionLimits {
        sessions: sessions.as_ref().and_then(|node| count(node, 0, 10_000_000)).unwrap_or(default.sessions),
        sessions_configured: sessions.is_some(),
        sessions_per_client: section
            .get_or("sessions_per_client", default.sessions_per_client, |node| count(node, 0, 10_000_000)),
        new_sessions_per_minute: section.get_or("new_sessions_per_minute", 0, rate),
        messages_per_minute: section.get_or("messages_per_minute", 0, rate),
        recipients_per_minute: section.get_or("recipients_per_minute", 0, rate),
        exempt: section.get_or("exempt", default.exempt, networks),
        ranges: section
            .get_or("ranges", default.ranges, |node| Some(node.list().iter().filter_map(range).collect())),
    };
    let default = Limits::default();
    let limits = Limits {
        recipients: section.get_or("recipients", default.recipients, |node| count(node, 1, 100_000)),
        message_size: section.get_or("message_size", default.message_size, |node| node.size(1, 1 << 40)),
        // RFC 5321 sections 4.5.3.1.4 and 4.5.3.1.5: 512 octets are what everybody may say.
        command_line: section
            .get_or("command_line", default.command_line, |node| octets(node, 512, 64 * KIB)),
        auth_line: section.get_or("auth_line", default.auth_line, |node| octets(node, 512, 64 * KIB)),
        reply_line: section.get_or("reply_line", default.reply_line, |node| octets(node, 512, 64 * KIB)),
        reply: section.get_or("reply", default.reply, |node| octets(node, 512, 1024 * KIB)),
        errors: section.get_or("errors", default.errors, |node| number(node, 1, 1_000_000)),
        attempts: section.get_or("attempts", default.attempts, |node| count(node, 0, 100)),
    };
    if limits.reply < limits.reply_line {
        let (reply, line) = (print_size(limits.reply as u64), print_size(limits.reply_line as u64));
        let text =
            format!("\"reply\", {reply}, is smaller than \"reply_line\", {line}: a reply has a line or more");
        section.node().error(text);
    }
    section.end();
    Some((limits, session_limits))
}

/// So many a minute; 0 is no bound.
fn rate(node: &Node<'_>) -> Option<u32> {
    number(node, 0, 1_000_000)
}

fn number(node: &Node<'_>, least: u64, most: u64) -> Option<u32> {
    node.number(least, most).and_then(|n| u32::try_from(n).ok())
}

fn networks(node: &Node<'_>) -> Option<Networks> {
    Some(node.list().iter().filter_map(network).collect())
}

fn range(node: &Node<'_>) -> Option<Range> {
    let mut section = node.section_like("{ from: [%], sessions: 100 }", "192.0.2.0/24", |_| true)?;
    let from = section.require("from", "; list the networks, such as [192.0.2.0/24]");
    if let Some(from) = from.as_ref().filter(|from| from.value().as_array().is_some_and(<[_]>::is_empty)) {
        from.error("a range needs at least one network");
    }
    let range = Range {
        from: from.and_then(|from| networks(&from)).unwrap_or_default(),
        sessions: section.get_or("sessions", 0, |node| count(node, 0, 10_000_000)),
        new_sessions_per_minute: section.get_or("new_sessions_per_minute", 0, rate),
        messages_per_minute: section.get_or("messages_per_minute", 0, rate),
        recipients_per_minute: section.get_or("recipients_per_minute", 0, rate),
    };
    section.end();
    Some(range)
}

fn timeouts(node: &Node<'_>) -> Option<Timeouts> {
    let default = Timeouts::default();
    let mut section = node.section_like("{ command: % }", "5m", |text| text.ends_with(['s', 'm', 'h']))?;
    let mut get = |key, default| section.get_or(key, default, |node| node.duration(Duration::from_millis(1)));
    let timeouts = Timeouts {
        command: get("command", default.command),
        content: get("content", default.content),
        connect: get("connect", default.connect),
        tls: get("tls", default.tls),
        greeting: get("greeting", default.greeting),
        reply: get("reply", default.reply),
        answer: get("answer", default.answer),
        attempts: get("attempts", default.attempts),
        end_of_data: get("end_of_data", default.end_of_data),
        callouts: get("callouts", default.callouts),
    };
    section.end();
    Some(timeouts)
}

fn content(node: &Node<'_>) -> Option<Content> {
    let default = Content::default();
    let word = |text: &str| BARE_NEWLINE.iter().any(|(name, _)| *name == text);
    let mut section = node.section_like("{ bare_newline: % }", "normalize", word)?;
    let content = Content {
        memory: section.get_or("memory", default.memory, |node| octets(node, 0, 1 << 30)),
        spool: section.get_or("spool", default.spool, Node::path),
        keepalive: section
            .get_or("keepalive", default.keepalive, |node| node.duration(Duration::from_secs(1))),
        on_added_recipient_refused: section.get_or(
            "on_added_recipient_refused",
            default.on_added_recipient_refused,
            |node| node.choice(&ADDED_REFUSED),
        ),
        bare_newline: section.get_or("bare_newline", default.bare_newline, |node| node.choice(&BARE_NEWLINE)),
    };
    section.end();
    Some(content)
}

fn dns(node: &Node<'_>) -> Option<Dns> {
    let mut section = node.section_like("{ servers: [%] }", "127.0.0.1:53", |_| true)?;
    let servers = section.get_or("servers", Vec::new(), |node| {
        let servers = node.list();
        Some(servers.iter().filter_map(|node| address::socket_address(node, Some(53))).collect())
    });
    section.end();
    Some(Dns { servers })
}

/// `off`, or `{ address: 127.0.0.1:9025 }`.
fn admin(node: &Node<'_>) -> Option<Admin> {
    if is_off(node) {
        return Some(Admin { address: None });
    }
    let mut section = node.section_like("{ address: % }", "127.0.0.1:9025", |text| text.contains(':'))?;
    let address =
        section.get_or("address", Admin::default().address, |node| Some(address::socket_address(node, None)));
    section.end();
    Some(Admin { address })
}

/// `off`, or the name of an account.
fn user(node: &Node<'_>) -> Option<String> {
    if is_off(node) {
        return None;
    }
    if node.scalar().is_some_and(|text| text.bytes().all(|octet| octet.is_ascii_digit())) {
        node.error("expected the name of an account, not its number");
        return None;
    }
    node.text()
}

fn log(node: &Node<'_>) -> Option<Log> {
    let default = Log::default();
    let level = |text: &str| LOG_LEVEL.iter().any(|(name, _)| *name == text);
    let mut section = node.section_like("{ level: % }", "info", level)?;
    let log = Log {
        format: section.get_or("format", default.format, |node| node.choice(&LOG_FORMAT)),
        level: section.get_or("level", default.level, |node| node.choice(&LOG_LEVEL)),
    };
    section.end();
    Some(log)
}

/// Verbs or keywords in upper case, each once, none of which may be in `never`.
fn keywords(node: &Node<'_>, wanted: &str, never: &[&str]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for entry in node.list() {
        let Some(word) = entry.keyword(wanted) else { continue };
        debug_assert!(is_keyword(&word), "keyword() returns nothing else");
        if never.contains(&word.as_str()) {
            entry.error(format!("{} is gatepost's own and cannot be forwarded", shown(&word)));
        } else if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}
