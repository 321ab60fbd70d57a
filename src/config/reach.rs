//! Warns of rules that say something to nobody: those behind one that always decides before them, and those whose `match`
//! can never hold; of callouts whose `when` can never hold, too.
//!
//! **In**: a decoded [`Config`]. **Out**: warnings, each with what would be right.
//! **Never**: warns where a dialog could be thought of in which the rule is asked and holds: what is not certain is passed
//! over, such as patterns that differ but mean the same.
//!
//! Rules are asked in file order and the first verdict that decides ends the stage (semantics of verdicts:
//! `session/law.rs`). A rewrite between two rules may make the second one hold where the first did not.

use super::rule::{CodePattern, Match, Rule, SizeRange, TlsKeys, TlsMatch};
use super::types::{Config, Decide, Intercept, Listener};
use super::walk::{Context, shown};
use crate::session::settings::{AuthShown, DoorTls};
use crate::session::verdict::Stage;

/// Verbs that are asked about at `other` without being named in `forward_verbs`.
const SMTP_VERBS: [&str; 5] = ["VRFY", "EXPN", "HELP", "NOOP", "ETRN"];

/// How many deciding rules of a stage each later rule is held against, beside the first that always holds.
const MOST_HELD_AGAINST: usize = 100;

/// Warns of each.
pub(super) fn check(config: &Config, context: &Context) {
    reached(&config.rules, context);
    let matches = config
        .rules
        .iter()
        .enumerate()
        .map(|(i, rule)| (format!("rules[{i}].match"), &rule.matches, rule.stages.as_slice()));
    let whens = config
        .callouts
        .iter()
        .enumerate()
        .map(|(i, callout)| (format!("callouts[{i}].when"), &callout.when, callout.stages.as_slice()));
    for (path, matches, stages) in matches.chain(whens).filter(|(_, _, stages)| !stages.is_empty()) {
        if let Some((key, text)) = holds_never(config, matches, stages) {
            context.warning(&format!("{path}{key}"), format!("never holds: {text}"));
        }
    }
}

/// Warns of rules that others stand before at each of their stages.
fn reached(rules: &[Rule], context: &Context) {
    // Each with the number of rewriting rules before it.
    let mut deciding: Vec<Vec<(&Rule, usize)>> = vec![Vec::new(); Stage::ALL.len()];
    let mut always: Vec<Option<&Rule>> = vec![None; Stage::ALL.len()];
    let mut rewriting = 0_usize;
    for (i, rule) in rules.iter().enumerate() {
        let decides_before = |stage: Stage| {
            let stands = |(other, before): &&(&Rule, usize)| {
                (!only_retries(other) || only_retries(rule))
                    && covers(&other.matches, &rule.matches)
                    && (*before == rewriting || !is_rewritable(&other.matches))
            };
            always[stage as usize].or_else(|| Some(deciding[stage as usize].iter().find(stands)?.0))
        };
        let first: Option<Vec<&Rule>> = rule.stages.iter().map(|stage| decides_before(*stage)).collect();
        if let Some(first) = first.as_deref().and_then(<[&Rule]>::first)
            && !rule.name.is_empty()
        {
            let (name, line) = (&first.name, first.mark.line);
            let text = format!(
                "is never reached: rule \"{name}\", line {line}, decides before it whenever it would hold; put this one in \
                 front, or have that one match less"
            );
            context.warning(&format!("rules[{i}].name"), text);
        }
        let before = rewriting;
        let map = matches!(rule.actions.decide, Some(Decide::Map(_)));
        rewriting += usize::from(map || rule.actions.edits() || !rule.actions.rewrites.is_empty());
        if !decides(rule) {
            continue;
        }
        for &stage in &rule.stages {
            let place = stage as usize;
            if rule.matches == Match::default() && !only_retries(rule) {
                always[place].get_or_insert(rule);
            } else if deciding[place].len() < MOST_HELD_AGAINST {
                deciding[place].push((rule, before));
            }
        }
    }
}

/// Whether nobody is asked behind a rule that holds.
fn decides(rule: &Rule) -> bool {
    match &rule.actions.decide {
        // Who is not in it goes on to the next.
        None | Some(Decide::Map(_)) => false,
        Some(Decide::Retry(ladder)) => ladder.iter().all(|rung| rung.map.is_none()),
        Some(_) => true,
    }
}

/// Whether a rule decides for other ladders only: what became of its own is asked about again.
fn only_retries(rule: &Rule) -> bool {
    matches!(rule.actions.decide, Some(Decide::Retry(_)))
}

/// Whether a rewrite can change what a match is about.
fn is_rewritable(matches: &Match) -> bool {
    let Match { helo, sender, recipient, header, signed, not, .. } = matches;
    !(helo.is_empty() && sender.is_empty() && recipient.is_empty() && header.is_empty() && signed.is_empty())
        || not.as_deref().is_some_and(is_rewritable)
}

/// Whether `wide` holds wherever `narrow` does, as far as that can be told without matching anything.
fn covers(wide: &Match, narrow: &Match) -> bool {
    let same = |wide: &[String], narrow: &[String]| {
        let one = |pattern: &String| wide.iter().any(|other| other.eq_ignore_ascii_case(pattern));
        wide.is_empty() || !narrow.is_empty() && narrow.iter().all(one)
    };
    let code = |wide: &CodePattern, narrow: &CodePattern| {
        wide.digits.iter().zip(narrow.digits).all(|(wide, narrow)| wide.is_none() || *wide == narrow)
    };
    let size = |wide: &SizeRange, narrow: &SizeRange| wide.least <= narrow.least && narrow.most <= wide.most;
    let clients = || {
        let inside = |network: &ipnet::IpNet| wide.client.iter().any(|other| other.contains(network));
        wide.client.is_empty() || !narrow.client.is_empty() && narrow.client.iter().all(inside)
    };
    same(&wide.listener, &narrow.listener)
        && same(&wide.helo, &narrow.helo)
        && same(&wide.sender, &narrow.sender)
        && same(&wide.recipient, &narrow.recipient)
        && same(&wide.recipient_given, &narrow.recipient_given)
        && same(&wide.enhanced_code, &narrow.enhanced_code)
        && same(&wide.text, &narrow.text)
        && same(&wide.verb, &narrow.verb)
        && within(&wide.code, &narrow.code, code)
        && within(&wide.size, &narrow.size, size)
        && within(&wide.header, &narrow.header, PartialEq::eq)
        && within(&wide.signed, &narrow.signed, PartialEq::eq)
        && same(&wide.attachment, &narrow.attachment)
        && (!wide.mime_fault || narrow.mime_fault)
        && (wide.authenticated.is_none() || wide.authenticated == narrow.authenticated)
        && (wide.tls.is_none() || wide.tls == narrow.tls)
        && (wide.not.is_none() || wide.not == narrow.not)
        && clients()
}

fn within<T>(wide: &[T], narrow: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    let one = |narrow: &T| wide.iter().any(|wide| covers(wide, narrow));
    wide.is_empty() || !narrow.is_empty() && narrow.iter().all(one)
}

/// The key by which a match can never hold, and why.
fn holds_never(config: &Config, matches: &Match, stages: &[Stage]) -> Option<(&'static str, String)> {
    if let Some(not) =
        matches.not.as_deref().filter(|not| covers(not, &Match { not: None, ..matches.clone() }))
    {
        debug_assert!(*not != Match::default(), "that was an error");
        return Some((".not", "what must not hold is what must hold".to_owned()));
    }
    if let Some(text) = contradicting_codes(matches) {
        return Some((".enhanced_code", text));
    }
    if let Some(text) = foreign_verb(config, matches, stages) {
        return Some((".verb", text));
    }
    let most = config.limits.message_size;
    if !matches.size.is_empty() && matches.size.iter().all(|range| range.least > most) {
        let text = "gatepost itself refuses what is larger than limits.message_size";
        return Some((".size", format!("{text}, {}", super::scalar::print_size(most))));
    }
    let listeners: Vec<&Listener> =
        config.listeners.iter().filter(|listener| is_meant(&matches.listener, listener)).collect();
    if listeners.is_empty() && config.listeners.iter().any(|listener| !listener.addresses.is_empty()) {
        let all = config.listeners.iter().flat_map(|listener| &listener.addresses);
        let all: Vec<String> = all.take(10).map(ToString::to_string).collect();
        return Some((".listener", format!("the listeners are {}", all.join(", "))));
    }
    at_listeners(matches, &listeners)
}

/// What none of these listeners' clients can be.
fn at_listeners(matches: &Match, listeners: &[&Listener]) -> Option<(&'static str, String)> {
    // Whoever speaks for clients can say anything of them.
    let spoken_for = |listener: &&Listener| {
        !listener.proxy_protocol.from.is_empty()
            || !listener.xclient.is_empty()
            || listener.addresses.is_empty()
    };
    if listeners.iter().any(spoken_for) {
        return None;
    }
    let mode = |wanted: &[DoorTls]| listeners.iter().any(|listener| wanted.contains(&listener.tls.mode));
    let nobody = |key, text: &str| Some((key, text.to_owned()));
    match &matches.tls {
        Some(TlsMatch::Is(false))
            if !mode(&[
                DoorTls::Off,
                DoorTls::StartTls,
                DoorTls::Passthrough,
                DoorTls::PassthroughImplicit,
            ]) =>
        {
            return nobody(".tls", "every client there comes through TLS (mode: implicit)");
        }
        Some(TlsMatch::Is(true) | TlsMatch::Of(_))
            if !mode(&[DoorTls::StartTls, DoorTls::Implicit, DoorTls::PassthroughImplicit]) =>
        {
            return nobody(".tls", "no listener has TLS of its own: give it tls: { mode: starttls, ... }");
        }
        Some(TlsMatch::Of(TlsKeys { certificate, verified, .. }))
            if (!certificate.is_empty() || *verified == Some(true))
                && listeners.iter().all(|listener| listener.tls.client_roots.is_none()) =>
        {
            return nobody(
                ".tls",
                "no listener asks clients for a certificate: give it tls: { client_roots: ... }",
            );
        }
        _ => {}
    }
    if matches.authenticated == Some(true) && listeners.iter().all(|listener| listener.auth == AuthShown::Off)
    {
        return nobody(".authenticated", "no listener lets clients authenticate (auth: off)");
    }
    // Each IPv6 socket takes IPv6 alone.
    let family = |v6: bool| {
        listeners.iter().flat_map(|listener| &listener.addresses).any(|address| address.ip().is_ipv6() == v6)
    };
    let intercepts = listeners.iter().any(|listener| listener.intercept != Intercept::Off);
    let of_family = |network: &ipnet::IpNet| family(network.addr().is_ipv6());
    if !matches.client.is_empty() && !intercepts && !matches.client.iter().any(of_family) {
        return nobody(".client", "no listener has an address of that family");
    }
    None
}

/// Whether a listener is one of those meant.
fn is_meant(patterns: &[String], listener: &Listener) -> bool {
    let any = |pattern: &String| {
        listener.addresses.iter().any(|address| glob(pattern.as_bytes(), address.to_string().as_bytes()))
    };
    patterns.is_empty() || patterns.iter().any(any)
}

/// A reply's code and its enhanced code are of one class (RFC 2034 section 4), which is 2, 4 or 5 (RFC 3463 section 2).
fn contradicting_codes(matches: &Match) -> Option<String> {
    let first =
        |pattern: &String| pattern.bytes().next().filter(u8::is_ascii_digit).map(|digit| digit - b'0');
    let classes: Option<Vec<u8>> = matches.enhanced_code.iter().map(first).collect();
    let classes = classes.filter(|classes| !classes.is_empty())?;
    if classes.iter().all(|class| !matches!(class, 2 | 4 | 5)) {
        return Some("enhanced codes begin with 2, 4 or 5".to_owned());
    }
    let codes = &matches.code;
    let meets = codes.is_empty() || codes.iter().any(|code| classes.contains(&code.class()));
    (!meets).then(|| "an enhanced code has the first digit of its reply's code".to_owned())
}

/// Verbs that no command of these stages has.
fn foreign_verb(config: &Config, matches: &Match, stages: &[Stage]) -> Option<String> {
    if matches.verb.is_empty() {
        return None;
    }
    let mut known: Vec<&str> = Vec::new();
    for stage in stages {
        match stage {
            Stage::Helo | Stage::HeloReply => known.extend(["EHLO", "HELO"]),
            Stage::Mail | Stage::MailReply => known.push("MAIL"),
            Stage::Rcpt | Stage::RcptReply => known.push("RCPT"),
            Stage::Data | Stage::DataReply => known.extend(["DATA", "BDAT"]),
            Stage::Other | Stage::OtherReply => {
                known.extend(SMTP_VERBS);
                known.extend(config.forward_verbs.iter().map(String::as_str));
            }
            // Where a verb is not known, which was an error.
            _ => return None,
        }
    }
    let holds = |pattern: &String| known.iter().any(|verb| glob(pattern.as_bytes(), verb.as_bytes()));
    (!matches.verb.iter().any(holds)).then(|| {
        let others = stages.iter().any(|stage| matches!(stage, Stage::Other | Stage::OtherReply));
        let more = if others { ", and those of forward_verbs" } else { "" };
        format!("verbs there are {}{more}, not {}", known.join(", "), shown(&matches.verb.join(", ")))
    })
}

/// Whether a pattern of `*` and `?` means all of `text`, without regard to case. Compiled patterns are above this layer.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // Which parts of the text the pattern means so far: those that end at each place.
    let mut ends = vec![false; text.len() + 1];
    ends[0] = true;
    for octet in pattern {
        if *octet == b'*' {
            let first = ends.iter().position(|end| *end).unwrap_or(ends.len());
            ends[first..].fill(true);
            continue;
        }
        for place in (0..text.len()).rev() {
            let same = *octet == b'?' || octet.eq_ignore_ascii_case(&text[place]);
            ends[place + 1] = ends[place] && same;
        }
        ends[0] = false;
    }
    ends[text.len()]
}

#[cfg(test)]
mod tests {
    use super::super::load_text;

    /// What is warned of with these rules.
    fn said(rules: &str) -> String {
        let listeners = "listeners:\n  - { address: 127.0.0.1:2525 }\n";
        let text = format!("{listeners}upstreams:\n  main: {{ sink: ./mail }}\nrules:\n{rules}");
        let loaded = load_text("p", &text, []).unwrap();
        loaded.warnings.iter().map(|warning| format!("{}\n", warning.key)).collect()
    }

    #[test]
    fn what_stands_behind_another() {
        let reply = "do: { reply: \"550 5.7.1 No\" }";
        let rule = |name: &str, rest: &str| format!("  - {{ name: {name}, stages: rcpt, {rest} }}\n");
        let sorry = rule("sorry", reply);
        let joe = "match: { recipient: joe@a.example }";
        let at_a = "match: { recipient: [joe@a.example, \"ann@a.example\"] }";
        let wide = rule("wide", &format!("{at_a}, {reply}"));
        let narrow = rule("narrow", &format!("{joe}, {reply}"));
        let moved =
            rule("moved", "match: { recipient: x@a.example }, do: { rewrite: { recipient: joe@a.example } }");
        let map = rule("map", "do: { map: m }");
        let never = "rules[1].name\n";
        assert_eq!(said(&(sorry.clone() + &narrow)), never);
        assert_eq!(said(&(narrow.clone() + &sorry)), "");
        assert_eq!(said(&(wide.clone() + &narrow)), never);
        assert_eq!(said(&(narrow.clone() + &wide)), "", "it means others, too");
        assert_eq!(said(&(wide.clone() + &moved + &narrow)), "", "a rewrite leads there");
        assert_eq!(said(&(sorry.clone() + &moved + &narrow)), "rules[1].name\nrules[2].name\n");
        assert_eq!(said(&(map + &narrow)), "", "who is not in the map goes on");
        let both = format!("  - {{ name: both, stages: [rcpt, mail], {reply} }}\n");
        assert_eq!(said(&(sorry + &both)), "", "it is asked at mail");
    }

    #[test]
    fn a_ladder_stands_before_other_ladders_alone() {
        let rule = |name: &str, rest: &str| {
            format!("  - {{ name: {name}, stages: rcpt-reply, match: {{ code: 5xx }}, do: {{ {rest} }} }}\n")
        };
        let retry = |name| rule(name, "retry: [{ recipient: a@b.example }]");
        let words = rule("words", "substitute: \"550 5.1.1 No such mailbox\"");
        assert_eq!(said(&(retry("a") + &words)), "");
        assert_eq!(said(&(retry("a") + &retry("b"))), "rules[1].name\n");
        assert_eq!(said(&(words + &retry("b"))), "rules[1].name\n");
    }

    #[test]
    fn a_match_that_holds_may_look_strange() {
        for matches in [
            "stages: rcpt-reply, match: { code: [4xx, 550], enhanced_code: \"5.*\" }",
            "stages: rcpt-reply, match: { code: 550, enhanced_code: \"*.1.1\" }",
            "stages: other, match: { verb: \"V*\" }",
            "stages: mail, match: { size: \">10MiB\" }",
            "stages: rcpt, match: { listener: \"127.*\", client: [192.0.2.1, \"2001:db8::/32\"] }",
            "stages: rcpt, match: { sender: \"*@a.example\", not: { sender: \"joe@a.example\" } }",
        ] {
            assert_eq!(said(&format!("  - {{ name: a, {matches}, do: accept }}\n")), "", "{matches}");
        }
    }
}
