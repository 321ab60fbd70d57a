//! What is wrong with a host, what will come of it, and what to do: one sentence each.
//!
//! In:    what a visit found, and what the configuration wants.
//! Out:   text, in the words of the configuration's keys and of Postfix's, by which most MTAs can be found their own.
//! Never: decides whether something is wrong: `visit` and `relay` do.

use std::fmt::Display;
use std::io;

use crate::config::{self, types::UpstreamPool};
use crate::session::route::{HopTls, Identity};

pub(super) fn unresolved(error: &dyn Display) -> String {
    format!("{error}: no mail goes there. Correct the name, or DNS")
}

pub(super) fn unreachable(error: &dyn Display) -> String {
    format!("not connected: {error}: no mail goes there. Start it, open the way to it, or correct the host")
}

pub(super) fn silent(at: &str, error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
        io::ErrorKind::InvalidData => "its answer is no SMTP".to_owned(),
        _ => error.to_string(),
    };
    format!("{at}: {what}: no mail goes there. See its own log, and that SMTP is spoken at this port")
}

pub(super) fn refused(at: &str) -> String {
    format!("{at} is refused: no mail goes there. See its own log for why it refuses gatepost")
}

pub(super) fn endless(seconds: u64) -> String {
    format!("not done within {seconds}s: clients would wait as long. See its own log for what it waits for")
}

/// A host without the TLS that its pool asks for.
pub(super) fn insecure(upstream: &UpstreamPool, what: &str, remedy: &str) -> String {
    let comes = match upstream.tls.mode {
        HopTls::Opportunistic => "mail goes to it in plain, where that may be",
        _ => "all mail for it is put off (tls)",
    };
    format!("{what}: {comes}. {remedy}")
}

/// A host that does not take what its pool says by `identity`.
pub(super) fn nameless(upstream: &UpstreamPool, what: &str, remedy: &str) -> String {
    let comes = match upstream.identity_required {
        true => "all mail for it is put off (identity_required)",
        false => "mail goes to it in gatepost's own name (identity_required: false)",
    };
    format!("{what}: {comes}. {remedy}")
}

/// A host that spoke otherwise than it should once a PROXY header was sent.
pub(super) fn header_not_taken(at: &str) -> String {
    format!(
        "{at}: no good answer behind the PROXY header: no mail goes there. Have the host take one from gatepost's address \
         (Postfix: smtpd_upstream_proxy_protocol = haproxy), or set identity to what it can take"
    )
}

/// A host that answers to a PROXY header which its pool does not send.
pub(super) fn wants_header(sent: Identity, wanted: Identity) -> String {
    let name = |identity| config::identity_name(identity);
    let (sent, wanted, version) = (name(sent), name(wanted), if wanted == Identity::ProxyV1 { 1 } else { 2 });
    format!(
        "it waits for a PROXY header (it answers to one of version {version}), which identity: {sent} does not send: no mail \
         goes there. Set identity to {wanted}, or have the host wait for none (Postfix: smtpd_upstream_proxy_protocol, \
         postscreen_upstream_proxy_protocol)"
    )
}

/// A host that relays for gatepost's address, where that is what it sees.
pub(super) fn relays_for_us() -> String {
    "it relays for gatepost's address, and so for whoever reaches gatepost: an open relay. Have it trust that address no \
     more (Postfix: mynetworks), or tell it who clients are (identity)"
        .to_owned()
}

/// A host that relays for somebody it knows nothing of.
pub(super) fn relays_for_all(client: &dyn Display) -> String {
    format!(
        "it relays for {client}, and so for anybody: an open relay. Have it relay for none but your own clients (Postfix: \
         mynetworks, smtpd_relay_restrictions)"
    )
}
