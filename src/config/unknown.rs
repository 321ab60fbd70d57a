//! What is said of a key that nobody asked for: the one that was likely meant, where it belongs, or those that are known.
//!
//! **In**: the key, and the keys known where it stands. **Out**: the end of a sentence.
//! **Never**: takes the key for the one it suggests.

use std::collections::BTreeSet;

use super::error::suggestion;

/// What other programs call it, and what it is called here; several names where it depends on the section.
const OTHERWISE: [(&str, &[&str]); 41] = [
    ("address", &["url"]),
    ("loglevel", &["log"]),
    ("log_level", &["log"]),
    ("listen", &["listeners", "address"]),
    ("bind", &["listeners", "address"]),
    ("frontend", &["listeners"]),
    ("backend", &["upstreams", "upstream", "hosts"]),
    ("backends", &["upstreams", "hosts"]),
    ("pools", &["upstreams"]),
    ("pool", &["upstream"]),
    ("relayhost", &["hosts", "upstreams"]),
    ("nexthop", &["hosts", "upstreams"]),
    ("servers", &["hosts", "upstreams"]),
    ("server", &["hosts", "upstreams"]),
    ("ssl", &["tls"]),
    ("starttls", &["tls", "mode"]),
    ("cert", &["certificate"]),
    ("crt", &["certificate"]),
    ("cert_file", &["certificate"]),
    ("private_key", &["key"]),
    ("key_file", &["key"]),
    ("ca", &["client_roots", "roots"]),
    ("ca_file", &["client_roots", "roots"]),
    ("sni", &["server_name"]),
    ("to", &["recipient"]),
    ("rcpt", &["recipient"]),
    ("from", &["sender"]),
    ("mail_from", &["sender"]),
    ("ehlo", &["helo"]),
    ("ip", &["client"]),
    ("network", &["client"]),
    ("action", &["do"]),
    ("then", &["do"]),
    ("if", &["match", "when"]),
    ("condition", &["match", "when"]),
    ("match", &["when"]),
    ("when", &["match"]),
    ("event", &["stages"]),
    ("reject", &["reply"]),
    ("redirect", &["rewrite", "route"]),
    ("metrics", &["admin"]),
];

/// Keys that people write one section too high, too low or beside, and where they belong.
const ELSEWHERE: [(&str, &[&str]); 9] = [
    (
        "limits",
        &[
            "sessions_per_client",
            "new_sessions_per_minute",
            "messages_per_minute",
            "recipients_per_minute",
            "exempt",
            "ranges",
            "recipients",
            "message_size",
            "command_line",
            "auth_line",
            "reply_line",
            "errors",
        ],
    ),
    ("timeouts", &["command", "connect", "answer", "end_of_data"]),
    ("content", &["memory", "spool", "bare_newline"]),
    ("log", &["level", "format"]),
    (
        "upstreams.NAME",
        &[
            "hosts",
            "mx",
            "srv",
            "recipient_mx",
            "original_destination",
            "sink",
            "balance",
            "protocol",
            "identity",
            "identity_required",
            "identity_login",
            "health",
            "port",
        ],
    ),
    ("listeners", &["address", "auth", "proxy_protocol", "xclient", "greeting_delay", "intercept"]),
    (
        "\"tls\"",
        &["certificate", "key", "certificates", "require", "client_roots", "verify", "roots", "server_name"],
    ),
    (
        "\"do\" of a rule",
        &["reply", "route", "rewrite", "substitute", "retry", "map", "accept", "disconnect"],
    ),
    (
        "the top, beside \"listeners\" and \"upstreams\"",
        &[
            "hostname",
            "listeners",
            "upstreams",
            "rules",
            "callouts",
            "limits",
            "timeouts",
            "dns",
            "greeting",
            "forward_verbs",
            "forward_extensions",
            "workers",
            "admin",
            "log",
            "shutdown_grace",
        ],
    ),
];

/// What is said of `key` where `known` are.
pub(super) fn instead(key: &str, known: &[&str]) -> String {
    let near = suggestion(key, known.iter().copied());
    if !near.is_empty() {
        return near;
    }
    let lower = key.to_ascii_lowercase().replace('-', "_");
    let called = OTHERWISE.iter().find(|(other, _)| *other == lower);
    if let Some(here) = called.and_then(|(_, names)| names.iter().find(|name| known.contains(name))) {
        return format!(", did you mean \"{here}\"?");
    }
    let belongs = ELSEWHERE.iter().filter(|(_, keys)| keys.contains(&lower.as_str()));
    if let Some((place, _)) = belongs.into_iter().next() {
        return format!("; it belongs to {place}");
    }
    // The same key may have been asked for twice.
    let known: BTreeSet<&str> = known.iter().copied().collect();
    format!("; known here: {}", known.into_iter().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_first_then_other_words_then_other_places() {
        let known = ["address", "tls", "upstream"];
        assert_eq!(instead("adress", &known), ", did you mean \"address\"?");
        assert_eq!(instead("SSL", &known), ", did you mean \"tls\"?");
        assert_eq!(instead("bind", &known), ", did you mean \"address\"?");
        assert_eq!(instead("identity", &known), "; it belongs to upstreams.NAME");
        assert_eq!(instead("colour", &known), "; known here: address, tls, upstream");
    }
}
