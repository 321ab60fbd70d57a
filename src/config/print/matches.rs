//! A `match` as it would be written.
//!
//! **In**: a [`Match`] of a rule or a callout. **Out**: one line of YAML that reads back as the same.
//! **Never**: leaves a key out that holds something.

use super::{list, mapping, name, quoted};
use crate::config::message::SIGNED;
use crate::config::rule::{HeaderMatch, Match, SizeRange, TlsMatch};
use crate::config::scalar::print_size;

pub(super) fn matching(matches: &Match) -> String {
    let mut keys = Vec::new();
    let mut key = |key: &str, values: Vec<String>| {
        if !values.is_empty() {
            keys.push(format!("{key}: {}", list(values)));
        }
    };
    key("listener", matches.listener.clone());
    key("client", matches.client.iter().map(ToString::to_string).collect());
    key("helo", matches.helo.clone());
    key("sender", matches.sender.clone());
    key("recipient", matches.recipient.clone());
    key("recipient_given", matches.recipient_given.clone());
    key("code", matches.code.iter().map(ToString::to_string).collect());
    key("enhanced_code", matches.enhanced_code.clone());
    key("text", matches.text.clone());
    key("verb", matches.verb.clone());
    key("login", matches.login.clone());
    key("size", matches.size.iter().copied().map(range).collect());
    if !matches.header.is_empty() {
        let headers: Vec<String> = matches.header.iter().map(header).collect();
        keys.push(format!("header: [{}]", headers.join(", ")));
    }
    if !matches.signed.is_empty() {
        keys.push(format!("signed: {}", list(matches.signed.iter().map(|signed| name(&SIGNED, *signed)))));
    }
    if !matches.attachment.is_empty() {
        keys.push(format!("attachment: {}", list(&matches.attachment)));
    }
    keys.extend(matches.mime_fault.then(|| "fault: mime".to_owned()));
    keys.extend(matches.authenticated.map(|flag| format!("authenticated: {flag}")));
    keys.extend(matches.tls.as_ref().map(|tls| format!("tls: {}", match_tls(tls))));
    keys.extend(matches.not.as_ref().map(|not| format!("not: {}", matching(not))));
    mapping(&keys)
}

fn header(header: &HeaderMatch) -> String {
    let mut keys = vec![format!("name: {}", quoted(&header.name))];
    if !header.value.is_empty() {
        keys.push(format!("value: {}", list(&header.value)));
    }
    mapping(&keys)
}

fn match_tls(tls: &TlsMatch) -> String {
    let keys = match tls {
        TlsMatch::Is(is) => return is.to_string(),
        TlsMatch::Of(keys) => keys,
    };
    let globs = [
        ("version", &keys.version),
        ("cipher", &keys.cipher),
        ("server_name", &keys.server_name),
        ("certificate", &keys.certificate),
    ];
    let given = globs.iter().filter(|(_, globs)| !globs.is_empty());
    let mut written: Vec<String> = given.map(|(key, globs)| format!("{key}: {}", list(*globs))).collect();
    written.extend(keys.verified.map(|flag| format!("verified: {flag}")));
    mapping(&written)
}

fn range(range: SizeRange) -> String {
    match (range.least, range.most) {
        (least, most) if least == most => print_size(least),
        (least, u64::MAX) => format!(">={}", print_size(least)),
        (0, most) => format!("<={}", print_size(most)),
        (least, most) => format!("{}..{}", print_size(least), print_size(most)),
    }
}
