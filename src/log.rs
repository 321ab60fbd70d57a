//! Log lines: one record per transaction, and the dialogs' own lines at trace.
//!
//! In:    what happened in a session; a line of a dialog, secrets already masked.
//! Out:   one event each, fields as `key=value` or JSON, as `log.format` says, of 16 KiB at most.
//! Never: writes content, an AUTH exchange, or a control character of somebody else's. Keeps whoever logs waiting: lines
//!        go through a bounded queue to a thread of its own (`queue`), and what is lost there is counted.

pub mod burst;
mod callouts;
mod cut;
mod lists;
mod queue;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::panic;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Level, error, info, trace, warn};

use crate::config::types::{Log, LogFormat, LogLevel};
use crate::networks::Networks;
use crate::session::client::{TlsFacts, TlsFault, XforwardFacts};
use crate::session::io::{MessageEnd, Offer, Peer, TraceSide};
use crate::session::record::{Address, PassageRecord, Speaker};
use crate::session::unmet::Unmet;
use crate::session::verdict::Stage;
use crate::smtp::{Foreign, SessionId};

use self::burst::Kind;

pub use self::callouts::{callout_failed, disagreed, remarked, shadow_failed};
pub use self::queue::{Logging, dropped};
pub use self::record::transaction;

/// Octets of one text in a record, at most: a reply may have 64 KiB.
const TEXT: usize = 1024;

/// Octets of a list in a record, at most, so that what stands behind it is not cut off.
const LIST: usize = 5 * 1024;

/// Hidden keywords that are logged, and lacks of hosts that are kept apart, at most.
const HIDDEN: usize = 1000;

/// Ranges that one line names, at most.
const RANGES: usize = 10;

/// How records are written.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// How often a line is written that strangers could have written at will.
const SELDOM: Duration = Duration::from_secs(60);

/// A line that strangers could have written at will: once a minute at most, and then with how many there were.
#[derive(Debug)]
pub struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// One not written yet.
    pub const fn new() -> Self {
        Self(Mutex::new((None, 0)))
    }

    /// Whether to write it now; then how often it was not, since the last time.
    pub fn is_due(&self) -> Option<u64> {
        self.is_due_at(Instant::now())
    }

    fn is_due_at(&self, now: Instant) -> Option<u64> {
        // Two plain values: whatever a panic left there will do.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, kept_back) = &mut *state;
        if last.is_some_and(|last| now.saturating_duration_since(last) < SELDOM) {
            *kept_back += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(kept_back))
    }
}

impl Default for Seldom {
    fn default() -> Self {
        Self::new()
    }
}

/// Begins to log as configured; only gatepost's own targets go below `warn`, because a dependency's trace would show
/// what must stay secret. What panics is logged, too, instead of written past the queue.
///
/// # Errors
///
/// Where the thread that writes cannot be had.
pub fn begin(log: &Log) -> io::Result<Logging> {
    let logging = queue::begin(log.format)?;
    // As for the queue, the first one's counts.
    let _ = FORMAT.set(log.format);
    let level = match log.level {
        LogLevel::Off => "off",
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::new(format!("warn,gatepost={level}"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(queue::Lines);
    // It would write to standard error itself, and wait there.
    let builder = builder.log_internal_errors(false);
    // A second call is a reload's: the first one's form stays.
    let _ = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(false).try_init(),
    };
    panic::set_hook(Box::new(|panicked| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let place = panicked.location().map(ToString::to_string).unwrap_or_default();
        let what = panicked.payload_as_str().unwrap_or("without words");
        error!(thread, place, "panicked: {}", text(what.as_bytes()));
    }));
    Ok(logging)
}

/// Says something to whoever started the process: lines as they are, whatever `log.level` says. Before the log has begun
/// nobody is served yet, and it is written at once.
pub fn say(text: &str) {
    for line in text.lines() {
        let line = format!("{line}\n");
        if !queue::put(line.as_bytes()) {
            // Nobody is left to be told if standard error is gone.
            let _ = io::stderr().lock().write_all(line.as_bytes());
        }
    }
}

/// A client heard a negative reply that is no hop's: whose it was, and what it was about.
pub fn refused(session: SessionId, client: SocketAddr, by: &Speaker, stage: Option<Stage>, reply: &[u8]) {
    if tracing::enabled!(Level::INFO) && burst::admits(Kind::Refused) {
        let reply = first_line(reply);
        info!(%session, %client, %by, stage = stage.map(Stage::as_str), "refused: {}", brief(reply));
    }
}

/// A client heard a hop's negative reply that no transaction's record tells of.
pub fn hop_refused(session: SessionId, client: SocketAddr, hop: &Speaker, reply: &[u8]) {
    if tracing::enabled!(Level::INFO) && burst::admits(Kind::HopRefused) {
        info!(%session, %client, by = %hop, "refused: {}", brief(reply));
    }
}

fn first_line(reply: &[u8]) -> &[u8] {
    reply.split(|&octet| octet == b'\r').next().unwrap_or_default()
}

/// TLS between client and hop that was passed through: nobody was asked about the mail in it.
pub fn passage(record: &PassageRecord) {
    info!(
        session = %record.session,
        client = %record.client,
        server_name = record.server_name.as_deref(),
        hop = &*record.hop,
        octets_in = record.octets_in,
        octets_out = record.octets_out,
        end = record.end.as_str(),
        milliseconds = u64::try_from(record.took.as_millis()).unwrap_or(u64::MAX),
        "passthrough: no rule or callout applied"
    );
}

/// One line of a dialog, as RFC 5321 appendix D writes them; the hop's side is the one further in.
pub fn line(session: SessionId, peer: Peer, side: TraceSide, line: &[u8]) {
    let who = match side {
        TraceSide::Client => "C",
        TraceSide::Server => "S",
    };
    match peer {
        Peer::Downstream => trace!(%session, "{who}: {}", text(line)),
        Peer::Upstream(hop) => trace!(%session, "    [{}] {who}: {}", hop.number(), text(line)),
        // It speaks no SMTP.
        Peer::Spool => {}
    }
}

/// A message that could not be kept, or not be read back, and why.
pub fn spool_failed(session: SessionId, folder: &std::path::Path, error: &std::io::Error) {
    if burst::admits(Kind::Spool) {
        warn!(%session, folder = %folder.display(), "spool: {error}");
    }
}

/// A PROXY header that is none, or that nobody there may send.
pub fn proxy_header(listener: SocketAddr, peer: SocketAddr, proxies: &Networks, what: &dyn fmt::Display) {
    if burst::admits(Kind::ProxyHeader) {
        warn!(%listener, %peer, range = range(peer, proxies), "closed: {what}");
    }
}

/// A PROXY header in the midst of a dialog.
pub fn stray_header(session: SessionId, peer: SocketAddr, proxies: &Networks) {
    if burst::admits(Kind::ProxyHeader) {
        warn!(%session, %peer, range = range(peer, proxies), "closed: a PROXY header where none may be");
    }
}

/// A client that spoke another protocol.
pub fn foreign(session: SessionId, client: IpAddr, what: Foreign) {
    if burst::admits(Kind::Foreign) {
        info!(%session, %client, "closed: no SMTP but {}", what.as_str());
    }
}

/// A client that came without a proxy where only proxies are let in. Strangers can do so at will.
pub fn not_proxied(listener: SocketAddr, peer: SocketAddr, proxies: &Networks) {
    static REFUSED: Seldom = Seldom::new();
    if let Some(more) = REFUSED.is_due() {
        warn!(%listener, %peer, range = range(peer, proxies), more, "refused: proxy_protocol.required");
    }
}

/// The range of `proxy_protocol.from` that an address is in, or all it is not in.
fn range(peer: SocketAddr, proxies: &Networks) -> String {
    match proxies.find(peer.ip()) {
        Some(range) => range.to_string(),
        None => {
            let all: Vec<String> = proxies.iter().take(RANGES).map(ToString::to_string).collect();
            let more = if proxies.len() > RANGES { ", ..." } else { "" };
            format!("none of {}{more}", all.join(", "))
        }
    }
}

/// A TLS handshake with a client that failed, and why: its own affair.
pub fn not_secured(session: SessionId, fault: &TlsFault) {
    if burst::admits(Kind::ClientTls) {
        info!(%session, reason = fault.kind.as_str(), "client: TLS: {}", text(fault.what.as_bytes()));
    }
}

/// A hop's reply that may not be believed, and why.
pub fn malformed(session: SessionId, host: &str, what: &[u8]) {
    if burst::admits(Kind::MalformedReply) {
        warn!(%session, "hop {host}: {}", text(what));
    }
}

/// A hop that did not meet the terms it is to be spoken to on: once a minute for each host and thing, since every
/// session finds it out anew.
pub fn unmet(session: SessionId, host: &str, unmet: &Unmet) {
    static SAID: Mutex<BTreeMap<(String, &str), Seldom>> = Mutex::new(BTreeMap::new());
    let due = {
        // An insertion is whole or did not happen: a poisoned map is as good as any.
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= HIDDEN {
            said.clear();
        }
        said.entry((host.to_owned(), unmet.lack.thing())).or_default().is_due()
    };
    if let Some(more) = due.filter(|_| burst::admits(Kind::Terms)) {
        warn!(%session, more, "hop {host}: {}", text(unmet.to_string().as_bytes()));
    }
}

/// A host whose probe found that it does not meet the terms it is to be spoken to on.
pub fn unfit(upstream: &str, host: &str, unmet: &Unmet) {
    error!(upstream, host, "hop: {}", text(unmet.to_string().as_bytes()));
}

/// What clients are not shown of a host's: once for each host and offer, as long as there are not too many.
pub fn hidden(host: &str, offer: &Offer) {
    static SEEN: Mutex<BTreeSet<(String, Offer)>> = Mutex::new(BTreeSet::new());
    // An insertion is whole or did not happen: a poisoned set is as good as any.
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.len() >= HIDDEN || !seen.insert((host.to_owned(), offer.clone())) {
        return;
    }
    match offer {
        Offer::Keyword(keyword) => {
            let keyword = text(keyword);
            info!(host, keyword, "an EHLO keyword is not shown to clients: see forward_extensions");
        }
        Offer::Mechanism(mechanism) => {
            let mechanism = text(mechanism);
            info!(host, mechanism, "a SASL mechanism is not shown to clients: it cannot pass a proxy");
        }
    }
}

fn address(address: &Address) -> String {
    match &address.sent {
        Some(sent) => format!("<{}> as <{}>", text(&address.given), text(sent)),
        None => format!("<{}>", text(&address.given)),
    }
}

/// `TLSv1.3 TLS_AES_256_GCM_SHA384`, and the other side's certificate if it has shown one.
fn tls(facts: &TlsFacts) -> String {
    let mut said = format!("{} {}", facts.version, facts.cipher);
    if let Some(shown) = &facts.certificate {
        said = format!("{said} {}", shown.subject);
        match &shown.fault {
            _ if shown.verified => {}
            Some(fault) => said.extend([" (not verified: ", fault, ")"]),
            None => said.push_str(" (not verified)"),
        }
    }
    text(said.as_bytes())
}

/// What XFORWARD told: `mail.example.com[192.0.2.1]:4711 helo=mail.example.com ident=4FDbR9`.
fn forwarded(facts: &XforwardFacts) -> String {
    let mut said = facts.name.as_deref().unwrap_or("unknown").to_owned();
    said.extend(facts.address.map(|address| format!("[{address}]")));
    said.extend(facts.port.map(|port| format!(":{port}")));
    said.extend(facts.helo.as_ref().map(|helo| format!(" helo={helo}")));
    said.extend(facts.ident.as_ref().map(|ident| format!(" ident={ident}")));
    text(said.as_bytes())
}

/// Octets as a terminal may be shown them, but no more than a record has room for.
fn brief(octets: &[u8]) -> String {
    let mut brief = text(&octets[..octets.len().min(TEXT)]);
    if octets.len() > TEXT {
        brief.push_str("...");
    }
    brief
}

/// As many as there is room for, and how many more there are.
fn list(mut values: impl ExactSizeIterator<Item = String>, room: usize) -> String {
    let mut list = String::new();
    while let Some(value) = values.next() {
        let between = if list.is_empty() { "" } else { ", " };
        if !list.is_empty() && list.len() + between.len() + value.len() > room {
            // Writing to a string does not fail.
            let _ = write!(list, ", ... and {} more", values.len() + 1);
            break;
        }
        list.extend([between, &value]);
    }
    list
}

/// Octets as a terminal may be shown them.
pub fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn end(end: MessageEnd) -> &'static str {
    match end {
        MessageEnd::Accepted => "accepted",
        MessageEnd::Refused => "refused",
        MessageEnd::Lost => "lost",
        MessageEnd::Discarded => "discarded",
        MessageEnd::DeliveredUnheard => "delivered_unheard",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_what_it_left_out() {
        let list = |count: usize, room| list((0..count).map(|number| format!("<{number}>")), room);
        assert_eq!(list(3, 100), "<0>, <1>, <2>");
        assert_eq!(list(3, 13), "<0>, <1>, <2>");
        assert_eq!(list(3, 12), "<0>, <1>, ... and 1 more");
        assert_eq!(list(2, 1), "<0>, ... and 1 more", "one at least");
        assert_eq!(list(0, 100), "");
        assert_eq!(brief(&[b'x'; TEXT]).len(), TEXT);
        assert_eq!(brief(&[b'x'; TEXT + 1]), format!("{}...", "x".repeat(TEXT)));
    }

    #[test]
    fn a_seldom_line_says_what_it_left_out() {
        let (line, now) = (Seldom::new(), Instant::now());
        assert_eq!(line.is_due_at(now), Some(0));
        assert_eq!(line.is_due_at(now + SELDOM / 2), None);
        assert_eq!(line.is_due_at(now + SELDOM / 2), None);
        assert_eq!(line.is_due_at(now + SELDOM), Some(2));
        assert_eq!(line.is_due_at(now + SELDOM * 2), Some(0));
    }
}
