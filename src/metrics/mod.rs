//! Every metric gatepost has: its name, its labels and their values, and what it means. Nowhere else is one named.
//!
//! In:    an [`Occurrence`], from a worker's [`Meter`].
//! Out:   where that event is counted; the table [`FAMILIES`], from which the metrics are registered and rendered,
//!        and which `docs/metrics.md` repeats (a test keeps them equal).
//! Never: takes a label from a client, a sender or a recipient: all values are written here, save the names of
//!        upstreams, hosts and callouts, which the configuration bounds.
//!
//! Counting is one atomic addition in the worker's own array: no look-up, no lock, no line shared with another
//! worker. Names and base units follow the Prometheus conventions.

mod callouts;
pub mod certificates;
mod hosts;
pub mod labels;
mod meter;
mod process;
mod render;
mod session;

use crate::message::Signature;
use crate::session::callout::FaultKind;
use crate::session::client::TlsFaultKind;
use crate::session::verdict::Stage;
use crate::smtp::Foreign;
pub use callouts::CalloutCounts;
pub use hosts::HostFigures;
use labels::*;
pub use meter::Meter;
pub use render::Metrics;

/// Something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occurrence {
    /// A client was let in.
    SessionOpened,
    /// A client was turned away.
    SessionRefused(Refusal),
    /// A session ended.
    SessionEnded(End),
    /// Accepting paused because descriptors ran out.
    AcceptPaused,
    /// What became of a command.
    Command(Verb, Fate),
    /// A reply: said to the client, or heard from a hop.
    Reply(Side, Class, Origin),
    /// What became of a message.
    Message(MessageFate),
    /// Octets of content received from clients.
    ContentOctets,
    /// Bare CRs and LFs that were mended.
    NewlinesMended,
    /// What a client heard about a recipient.
    Recipient(RecipientFate),
    /// An attempt at a recipient elsewhere, or under another name.
    Attempt(AttemptFate),
    /// A host whose part in a transaction another took over.
    FailedOver,
    /// A decision of a rule or callout.
    Verdict(VerdictKind),
    /// A reply of a hop in a form that may not be believed.
    MalformedReply,
    /// An EHLO keyword of a hop that clients are not shown, because nobody here knows it.
    HiddenKeyword,
    /// A SASL mechanism of a hop's that clients are not shown.
    HiddenMechanism,
    /// A client spoke another protocol.
    Foreign(Foreign),
    /// A TLS handshake.
    TlsHandshake(Side, TlsVersion, TlsSession),
    /// One that failed.
    TlsFailure(Side, TlsFaultKind),
    /// A handshake with a hop whose certificate was not verified.
    Unverified,
    /// One with a client whose certificate was not.
    ClientUnverified,
    /// A hop that could not be told who the client is.
    NotTold,
    /// Something thrown away.
    Dropped(Dropped),
    /// A session ended by a defect of gatepost's own.
    Panic,
    /// The configuration was read again.
    Reload(Reload),
    /// A PROXY header came, or did not.
    ProxyHeader(ProxyHeader),
    /// A command beyond a limit by the minute.
    Limited(Rated, Bound),
    /// TLS between client and hop begins to pass through.
    Passthrough,
    /// Octets of one side that passed through.
    PassthroughOctets(Side),
    /// Something done under stress.
    Relief(Relief),
    /// A message could not be kept, or not be read back.
    SpoolFailed,
    /// A signature that edits broke.
    SignatureBroken(Signature),
}

impl Occurrence {
    /// Which family, and which of its series.
    fn place(self) -> (usize, usize) {
        // The last label changes fastest, as in `Family::each_series`.
        match self {
            Self::SessionOpened => (0, 0),
            Self::SessionRefused(reason) => (1, reason as usize),
            Self::SessionEnded(reason) => (2, reason as usize),
            Self::AcceptPaused => (3, 0),
            Self::Command(verb, fate) => (4, verb as usize * Fate::VALUES.len() + fate as usize),
            Self::Reply(side, class, origin) => {
                let pair = side as usize * Class::VALUES.len() + class as usize;
                (5, pair * Origin::VALUES.len() + origin as usize)
            }
            Self::Message(fate) => (6, fate as usize),
            Self::ContentOctets => (7, 0),
            Self::NewlinesMended => (8, 0),
            Self::Recipient(fate) => (9, fate as usize),
            Self::Attempt(fate) => (10, fate as usize),
            Self::FailedOver => (11, 0),
            Self::Verdict(kind) => (12, kind as usize),
            Self::MalformedReply => (13, 0),
            Self::HiddenKeyword => (14, 0),
            Self::Dropped(what) => (15, what as usize),
            Self::Panic => (16, 0),
            Self::Reload(outcome) => (17, outcome as usize),
            Self::Limited(what, whose) => (18, what as usize * Bound::VALUES.len() + whose as usize),
            Self::TlsHandshake(side, version, session) => {
                let pair = side as usize * TlsVersion::VALUES.len() + version as usize;
                (19, pair * TlsSession::VALUES.len() + session as usize)
            }
            Self::TlsFailure(side, kind) => (20, side as usize * TLS_FAULTS.len() + kind as usize),
            Self::Unverified => (21, 0),
            Self::NotTold => (22, 0),
            Self::Passthrough => (23, 0),
            Self::PassthroughOctets(side) => (24, side as usize),
            Self::ProxyHeader(outcome) => (25, outcome as usize),
            Self::ClientUnverified => (26, 0),
            Self::HiddenMechanism => (27, 0),
            Self::Foreign(what) => (28, what as usize),
            Self::Relief(what) => (29, what as usize),
            Self::SpoolFailed => (30, 0),
            Self::SignatureBroken(how) => (31, how as usize),
        }
    }

    /// Its place in a worker's array.
    fn index(self) -> usize {
        let (family, series) = self.place();
        BASES[family] + series
    }
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name in the output.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels, each with its values; none means that the configuration names them.
    pub labels: &'static [(&'static str, &'static [&'static str])],
    /// What it means.
    pub help: &'static str,
}

impl Family {
    const fn series(&self) -> usize {
        let mut count = 1;
        let mut label = 0;
        while label < self.labels.len() {
            count *= self.labels[label].1.len();
            label += 1;
        }
        count
    }
}

/// Labels as the table writes them.
type Labels = &'static [(&'static str, &'static [&'static str])];

const fn counter(name: &'static str, labels: Labels, help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: Labels, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, labels, help }
}

/// The stages' names.
const STAGES: &[&str] = &{
    let mut names = [""; Stage::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = Stage::ALL[at].as_str();
        at += 1;
    }
    names
};

/// How a callout may fail.
const FAULTS: &[&str] = &{
    let mut names = [""; FaultKind::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = FaultKind::ALL[at].as_str();
        at += 1;
    }
    names
};

/// Other protocols.
const SIGNATURES: &[&str] = &{
    let [dkim, arc, smime, pgp] = Signature::ALL;
    [dkim.as_str(), arc.as_str(), smime.as_str(), pgp.as_str()]
};
const FOREIGN: &[&str] = &{
    let mut names = [""; Foreign::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = Foreign::ALL[at].as_str();
        at += 1;
    }
    names
};

/// How a TLS handshake may fail.
const TLS_FAULTS: &[&str] = &{
    let mut names = [""; TlsFaultKind::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = TlsFaultKind::ALL[at].as_str();
        at += 1;
    }
    names
};

/// The counters of events; `Occurrence::place` counts on their order.
const COUNTERS: usize = 32;

/// All metrics: the counters of events first, then what is read when it is asked for.
#[rustfmt::skip] // A table: one row a metric.
pub const FAMILIES: &[Family] = &[
    counter("gatepost_sessions_opened_total", &[], "Clients let in."),
    counter("gatepost_sessions_refused_total", &[("reason", Refusal::VALUES)], "Clients answered 421 at once, by reason."),
    counter("gatepost_sessions_ended_total", &[("reason", End::VALUES)], "Sessions ended, by reason."),
    counter("gatepost_accept_pauses_total", &[], "Times a listener paused because file descriptors ran out."),
    counter("gatepost_commands_total", &[("verb", Verb::VALUES), ("outcome", Fate::VALUES)], "Commands of clients, by verb and what became of them."),
    counter("gatepost_replies_total", &[("side", Side::VALUES), ("class", Class::VALUES), ("origin", Origin::VALUES)], "Replies said to clients (downstream) and heard from hops (upstream), by class and by who spoke."),
    counter("gatepost_messages_total", &[("outcome", MessageFate::VALUES)], "Messages whose content had begun, by what became of them."),
    counter("gatepost_content_octets_total", &[], "Octets of content received from clients, of messages that ended in any way."),
    counter("gatepost_bare_newlines_mended_total", &[], "Bare CRs and LFs in content that were mended."),
    counter("gatepost_recipients_total", &[("outcome", RecipientFate::VALUES)], "Recipients, by what the client heard."),
    counter("gatepost_attempts_total", &[("outcome", AttemptFate::VALUES)], "Attempts of retry ladders and routes, by outcome."),
    counter("gatepost_failovers_total", &[], "Hosts whose part in a transaction another host took over."),
    counter("gatepost_verdicts_total", &[("verdict", VerdictKind::VALUES)], "Decisions of rules and callouts."),
    counter("gatepost_malformed_replies_total", &[], "Replies of hops in a form that may not be believed."),
    counter("gatepost_hidden_keywords_total", &[], "EHLO keywords of hops that clients are not shown because gatepost does not know them."),
    counter("gatepost_dropped_total", &[("what", Dropped::VALUES)], "Things thrown away."),
    counter("gatepost_panics_total", &[], "Sessions ended by a defect of gatepost's own."),
    counter("gatepost_reloads_total", &[("outcome", Reload::VALUES)], "Times the configuration was read again."),
    counter("gatepost_commands_limited_total", &[("verb", Rated::VALUES), ("bound", Bound::VALUES)], "Commands refused by a limit per minute, by whose limit it was."),
    counter("gatepost_tls_handshakes_total", &[("side", Side::VALUES), ("tls_version", TlsVersion::VALUES), ("session", TlsSession::VALUES)], "TLS handshakes with clients (downstream) and hops (upstream), by version and by whether an earlier session was taken up."),
    counter("gatepost_tls_failures_total", &[("side", Side::VALUES), ("reason", TLS_FAULTS)], "TLS handshakes that failed, by reason."),
    counter("gatepost_hop_certificates_unverified_total", &[], "TLS handshakes with hops whose certificate was not verified, and which were gone on with."),
    counter("gatepost_hops_not_told_total", &[], "Times a hop could not be told who the client is."),
    counter("gatepost_passthrough_sessions_total", &[], "Sessions whose TLS with the hop was passed through: no rule or callout applied to the mail in it, and no other metric counts it."),
    counter("gatepost_passthrough_octets_total", &[("side", Side::VALUES)], "Octets that passed through, by whose they were: the client's (downstream) or the hop's (upstream)."),
    counter("gatepost_proxy_headers_total", &[("outcome", ProxyHeader::VALUES)], "Connections from peers that must send a PROXY header, by what came; and headers where none may come (second, unlisted)."),
    counter("gatepost_client_certificates_unverified_total", &[], "TLS handshakes with clients whose certificate nobody in client_roots vouches for."),
    counter("gatepost_hidden_mechanisms_total", &[], "SASL mechanisms of hops that clients are not shown because they cannot pass a proxy (-PLUS, EXTERNAL, GSSAPI, NTLM, DIGEST-MD5)."),
    counter("gatepost_foreign_protocols_total", &[("protocol", FOREIGN)], "Clients that spoke another protocol than SMTP, and were closed, by protocol."),
    counter("gatepost_stress_relief_total", &[("what", Relief::VALUES)], "What was done under stress (80 % of limits.sessions or of a pool's dialogs used, until 60 %): clients that had not said MAIL ended after 10 s of silence, hops not opened for clients that had said nothing."),
    counter("gatepost_spool_failures_total", &[], "Messages that could not be kept while they were asked about (no room, no leave to write to content.spool), or not be read back; their clients heard 452 4.3.1 or 451 4.3.0."),
    counter("gatepost_signatures_broken_total", &[("signature", SIGNATURES)], "Signatures of messages that edits of rules and callouts broke, by kind."),
    gauge("gatepost_sessions_open", &[], "Sessions open now."),
    counter("gatepost_hop_connects_total", &[("upstream", &[]), ("host", &[])], "Dialogs begun with a host."),
    counter("gatepost_hop_failures_total", &[("upstream", &[]), ("host", &[]), ("reason", &["connect", "connect_timeout", "no_greeting", "greeting", "hello", "no_service", "tls"])], "Failures of a host that count towards its ejection, by reason."),
    counter("gatepost_hop_ejections_total", &[("upstream", &[]), ("host", &[])], "Times an address of a host was ejected."),
    counter("gatepost_hop_starttls_missing_total", &[("upstream", &[]), ("host", &[]), ("outcome", &["not_used", "plain"])], "Times a host did not offer STARTTLS and had within the last day, by what was done: not_used (whoever relies on TLS does not go on with it), plain. Of upstreams whose tls is opportunistic."),
    counter("gatepost_hop_probes_total", &[("upstream", &[]), ("host", &[]), ("result", &["good", "refused", "failed"])], "Probes of a host, by what they came to."),
    gauge("gatepost_hop_up", &[("upstream", &[]), ("host", &[])], "1 while a host has an address that is not ejected, else 0."),
    gauge("gatepost_hop_dialogs_open", &[("upstream", &[]), ("host", &[])], "Dialogs open with a host, those of other upstreams that name it included."),
    counter("gatepost_callout_questions_total", &[("callout", &[]), ("stage", STAGES), ("verdict", CalloutFate::VALUES)], "Questions to a callout, by stage and by what came of them."),
    counter("gatepost_callout_failures_total", &[("callout", &[]), ("reason", FAULTS)], "Questions to a callout that failed, by reason."),
    counter("gatepost_callout_disagreements_total", &[("callout", &[]), ("stage", STAGES)], "Questions to a callout in shadow of whose answers something else would have come than what was done."),
    gauge("gatepost_callout_up", &[("callout", &[])], "1 while a callout is asked; 0 while it is not, but for one question now and then, because it has failed too often of late."),
    Family { name: "gatepost_callout_seconds", kind: Kind::Histogram, labels: &[("callout", &[])], help: "Time from a question to its answer, its failure, or its end without either." },
    Family { name: "gatepost_command_added_seconds", kind: Kind::Histogram, labels: &[], help: "Time gatepost itself added to one command and its reply." },
    Family { name: "gatepost_answer_wait_seconds", kind: Kind::Histogram, labels: &[], help: "Time from a command to the reply the client heard, the hop's own time included." },
    Family { name: "gatepost_hop_connect_seconds", kind: Kind::Histogram, labels: &[], help: "Time from dialling a hop to the connection." },
    gauge("gatepost_certificate_expires_seconds", &[("listener", &[]), ("certificate", &[])], "When a certificate of a listener expires, or one of its chain that does so sooner, in seconds since 1970."),
    gauge("gatepost_client_certificate_expires_seconds", &[("key", &[]), ("certificate", &[])], "When a certificate expires that hosts or callouts are shown, or one of its chain that does so sooner, in seconds since 1970; the key is where the configuration names it."),
    counter("gatepost_log_lines_dropped_total", &[], "Lines of the log that were lost, because nobody took them."),
    gauge("gatepost_build_info", &[("version", &[env!("CARGO_PKG_VERSION")])], "Always 1; the version is a label."),
    counter("process_cpu_seconds_total", &[], "CPU time of the process, user and system."),
    gauge("process_resident_memory_bytes", &[], "Resident memory of the process."),
    gauge("process_open_fds", &[], "Open file descriptors."),
    gauge("process_max_fds", &[], "File descriptors the process may hold."),
    gauge("process_start_time_seconds", &[], "When the process started, in seconds since 1970."),
];

/// Where each family of events begins in a worker's array.
const BASES: [usize; COUNTERS] = {
    let mut bases = [0; COUNTERS];
    let mut family = 1;
    while family < COUNTERS {
        bases[family] = bases[family - 1] + FAMILIES[family - 1].series();
        family += 1;
    }
    bases
};

/// How many series of events there are.
const SERIES: usize = BASES[COUNTERS - 1] + FAMILIES[COUNTERS - 1].series();

/// A duration that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// What gatepost itself added to a command and its reply.
    Added,
    /// From a command to the reply the client heard.
    Waited,
    /// From dialling a hop to the connection.
    HopConnect,
}

impl Timing {
    const ALL: [Self; 3] = [Self::Added, Self::Waited, Self::HopConnect];

    fn name(self) -> &'static str {
        match self {
            Self::Added => "gatepost_command_added_seconds",
            Self::Waited => "gatepost_answer_wait_seconds",
            Self::HopConnect => "gatepost_hop_connect_seconds",
        }
    }

    /// The upper ends of its buckets in nanoseconds.
    fn bounds(self) -> &'static [u64; BUCKETS] {
        const MICRO: u64 = 1000;
        const MILLI: u64 = 1000 * MICRO;
        match self {
            Self::Added => &[
                5 * MICRO,
                10 * MICRO,
                20 * MICRO,
                50 * MICRO,
                100 * MICRO,
                200 * MICRO,
                500 * MICRO,
                MILLI,
                5 * MILLI,
                20 * MILLI,
                100 * MILLI,
                1000 * MILLI,
            ],
            Self::Waited | Self::HopConnect => &[
                200 * MICRO,
                500 * MICRO,
                MILLI,
                2 * MILLI,
                5 * MILLI,
                20 * MILLI,
                100 * MILLI,
                500 * MILLI,
                2000 * MILLI,
                5000 * MILLI,
                10_000 * MILLI,
                30_000 * MILLI,
            ],
        }
    }
}

/// Buckets of a histogram, the unbounded one apart.
const BUCKETS: usize = 12;

#[cfg(test)]
mod tests;
