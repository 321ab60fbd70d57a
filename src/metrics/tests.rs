//! The table, the document and the output say the same; the output is read by a strict parser.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::config::types::Config;
use crate::hop::{Pick, Pools, Registry, Why};
use crate::session::route::{Host as _, HostNews};
use crate::tls::TlsSet;

/// All events, by way of the enums' own discriminants: a new variant that is not here fails `indices_are_dense`.
fn all_events() -> Vec<Occurrence> {
    use Occurrence::*;
    let mut events = vec![
        SessionOpened,
        AcceptPaused,
        NewlinesMended,
        Panic,
        FailedOver,
        MalformedReply,
        HiddenKeyword,
        HiddenMechanism,
        Unverified,
        ClientUnverified,
        NotTold,
        ContentOctets,
        SpoolFailed,
    ];
    events.extend(
        [Refusal::Sessions, Refusal::PerClient, Refusal::PerRange, Refusal::Loop].map(SessionRefused),
    );
    events.extend([Refusal::ClientRate, Refusal::RangeRate, Refusal::Draining].map(SessionRefused));
    events.push(SessionRefused(Refusal::Unlisted));
    events.extend(
        [End::Quit, End::ClientGone, End::ClientTimeout, End::Limit, End::Protocol].map(SessionEnded),
    );
    events.extend([End::EarlyTalker, End::Tls, End::Passed].map(SessionEnded));
    events.extend([Side::Downstream, Side::Upstream].map(PassthroughOctets));
    events.push(Passthrough);
    events.extend(crate::smtp::Foreign::ALL.map(Foreign));
    events.extend(crate::message::Signature::ALL.map(SignatureBroken));
    events.extend([TlsVersion::Tls12, TlsVersion::Tls13, TlsVersion::Other].into_iter().flat_map(
        |version| {
            let sides = [Side::Downstream, Side::Upstream].into_iter();
            sides.flat_map(move |side| {
                [TlsSession::New, TlsSession::Resumed].map(|session| TlsHandshake(side, version, session))
            })
        },
    ));
    events.extend(
        TlsFaultKind::ALL
            .into_iter()
            .flat_map(|kind| [Side::Downstream, Side::Upstream].map(|side| TlsFailure(side, kind))),
    );
    events.extend([End::HopLost, End::HopRefused, End::Verdict, End::Shutdown, End::Panic].map(SessionEnded));
    let verbs = [
        Verb::Ehlo,
        Verb::Helo,
        Verb::Mail,
        Verb::Rcpt,
        Verb::Data,
        Verb::Bdat,
        Verb::Rset,
        Verb::Noop,
        Verb::Quit,
        Verb::Auth,
        Verb::Starttls,
        Verb::Xclient,
        Verb::Xforward,
        Verb::Vrfy,
        Verb::Expn,
        Verb::Help,
        Verb::Etrn,
        Verb::Forwarded,
        Verb::Unknown,
    ];
    for verb in verbs {
        let fates = [Fate::Forwarded, Fate::Answered, Fate::Refused, Fate::Malformed];
        events.extend(fates.map(|fate| Command(verb, fate)));
    }
    for side in [Side::Downstream, Side::Upstream] {
        for class in [Class::Positive, Class::Intermediate, Class::Transient, Class::Permanent] {
            events.extend([Origin::Hop, Origin::Gatepost].map(|origin| Reply(side, class, origin)));
        }
    }
    use MessageFate as M;
    events.extend([M::Accepted, M::Refused, M::Lost, M::Discarded, M::DeliveredUnheard].map(Message));
    events.extend([RecipientFate::Accepted, RecipientFate::Refused, RecipientFate::Deferred].map(Recipient));
    use AttemptFate as A;
    events.extend([A::Accepted, A::OtherHop, A::Refused, A::Failed].map(Attempt));
    use VerdictKind as V;
    events.extend(
        [
            V::Rewrite,
            V::Reply,
            V::Route,
            V::Substitute,
            V::Retry,
            V::Accept,
            V::Disconnect,
            V::Discard,
            V::Skipped,
            V::Edit,
        ]
        .map(Verdict),
    );
    events.extend([labels::Dropped::UnaskedReply, labels::Dropped::LateAnswer].map(Occurrence::Dropped));
    use labels::ProxyHeader as H;
    events.extend([H::Proxied, H::Local, H::Unknown, H::Left, H::Late, H::Torn].map(Occurrence::ProxyHeader));
    events.extend(
        [H::Missing, H::Malformed, H::TooLong, H::Checksum, H::Second, H::Unlisted]
            .map(Occurrence::ProxyHeader),
    );
    events.extend([labels::Relief::ClientEnded, labels::Relief::HopWithheld].map(Occurrence::Relief));
    events.extend([labels::Reload::Done, labels::Reload::Refused].map(Occurrence::Reload));
    for what in [Rated::Mail, Rated::Rcpt] {
        events.extend([Bound::Client, Bound::Range].map(|whose| Occurrence::Limited(what, whose)));
    }
    events
}

fn pools() -> (Pools, Registry) {
    let registry = Registry::new(std::time::Instant::now());
    (Pools::new(&Config::default(), &TlsSet::default(), &registry), registry)
}

#[test]
fn indices_are_dense() {
    let indices: BTreeSet<usize> = all_events().into_iter().map(Occurrence::index).collect();
    assert_eq!(indices.len(), all_events().len());
    assert_eq!(indices, (0..SERIES).collect());
}

#[test]
fn every_event_is_counted_under_its_own_labels() {
    let (pools, _registry) = pools();
    for event in [
        Occurrence::Command(Verb::Rcpt, Fate::Refused),
        Occurrence::Reply(Side::Upstream, Class::Permanent, Origin::Hop),
        Occurrence::Message(MessageFate::DeliveredUnheard),
        Occurrence::Panic,
    ] {
        let metrics = Metrics::new(2);
        metrics.meter(0).count(event);
        metrics.meter(1).add(event, 2);
        metrics.control().count(event);
        let output = parse(&metrics.render(&pools.figures())).unwrap();
        let counted: Vec<_> = output
            .samples
            .iter()
            .filter(|(name, value)| name.starts_with("gatepost_") && **value == 4.0)
            .collect();
        assert_eq!(counted.len(), 1, "{event:?}");
        assert_eq!(metrics.total(event), 4);
        let expected = match event {
            Occurrence::Command(..) => "gatepost_commands_total{verb=\"rcpt\",outcome=\"refused\"}",
            Occurrence::Reply(..) => "gatepost_replies_total{side=\"upstream\",class=\"5xx\",origin=\"hop\"}",
            Occurrence::Message(..) => "gatepost_messages_total{outcome=\"delivered_unheard\"}",
            _ => "gatepost_panics_total",
        };
        assert_eq!(counted[0].0, expected);
    }
}

#[test]
fn the_output_is_prometheus_text_and_holds_every_metric() {
    let (pools, _registry) = pools();
    let metrics = Metrics::new(1);
    let meter = metrics.meter(0);
    meter.count(Occurrence::SessionOpened);
    meter.count(Occurrence::SessionOpened);
    meter.count(Occurrence::SessionEnded(End::Quit));
    meter.time(Timing::Added, Duration::from_micros(10));
    meter.time(Timing::Added, Duration::from_micros(11));
    meter.time(Timing::Added, Duration::from_secs(9));
    let pool = pools.get("main").unwrap();
    let Pick::Host(picked) = pool.next(&[], std::time::Instant::now()) else { panic!("no host") };
    for _ in 0..3 {
        picked.lease.failed(Why::Greeting, std::time::Instant::now());
    }
    for plain in [true, true, false] {
        picked.lease.news(HostNews::TlsWithdrawn { plain }, std::time::Instant::now());
    }
    let output = parse(&metrics.render(&pools.figures())).unwrap();
    let sample = |name: &str| output.samples.get(name).copied().unwrap_or_else(|| panic!("{name}"));
    assert_eq!(sample("gatepost_sessions_open"), 1.0);
    assert_eq!(sample("gatepost_command_added_seconds_bucket{le=\"0.00001\"}"), 1.0);
    assert_eq!(sample("gatepost_command_added_seconds_bucket{le=\"0.00002\"}"), 2.0);
    assert_eq!(sample("gatepost_command_added_seconds_count"), 3.0);
    assert_eq!(sample("gatepost_command_added_seconds_sum"), 9.000021);
    let host = "upstream=\"main\",host=\"sink:./mail\"";
    assert_eq!(sample(&format!("gatepost_hop_connects_total{{{host}}}")), 1.0);
    assert_eq!(sample(&format!("gatepost_hop_failures_total{{{host},reason=\"greeting\"}}")), 3.0);
    assert_eq!(sample(&format!("gatepost_hop_ejections_total{{{host}}}")), 1.0);
    let missing =
        |outcome| sample(&format!("gatepost_hop_starttls_missing_total{{{host},outcome=\"{outcome}\"}}"));
    assert_eq!((missing("plain"), missing("not_used")), (2.0, 1.0));
    assert_eq!(sample(&format!("gatepost_hop_up{{{host}}}")), 0.0);
    assert_eq!(sample(&format!("gatepost_hop_dialogs_open{{{host}}}")), 1.0);
    for family in FAMILIES {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // CPU seconds and the start time are the kernel's; everything is there on Linux.
        assert_eq!(output.families.get(family.name).map(String::as_str), Some(kind), "{}", family.name);
    }
    assert_eq!(output.families.len(), FAMILIES.len(), "a metric that is not in the table");
}

#[test]
fn a_host_taken_out_by_a_reload_is_down_and_keeps_its_counts() {
    let (pools, registry) = pools();
    let metrics = Metrics::new(1);
    drop(pools.get("main").unwrap().next(&[], std::time::Instant::now()));
    metrics.render(&pools.figures());
    let output = parse(&metrics.render(&[])).unwrap();
    let host = "{upstream=\"main\",host=\"sink:./mail\"}";
    assert_eq!(output.samples[&format!("gatepost_hop_up{host}")], 0.0);
    drop(pools);
    let output =
        parse(&metrics.render(&Pools::new(&Config::default(), &TlsSet::default(), &registry).figures()))
            .unwrap();
    assert_eq!(output.samples[&format!("gatepost_hop_up{host}")], 1.0);
    assert_eq!(output.samples[&format!("gatepost_hop_connects_total{host}")], 1.0);
}

#[test]
fn the_document_says_what_the_table_says() {
    let mut rows = String::new();
    for family in FAMILIES {
        let kind = format!("{:?}", family.kind).to_lowercase();
        let labels: Vec<String> = family
            .labels
            .iter()
            .map(|(label, values)| match (*label, values) {
                ("version", _) | (_, []) => format!("`{label}`"),
                (_, values) => {
                    let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
                    format!("`{label}`: {}", values.join(" "))
                }
            })
            .collect();
        rows.push_str(&format!("| `{}` | {kind} | {} | {} |\n", family.name, labels.join("; "), family.help));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let document = std::fs::read_to_string(path).unwrap();
    let written: String =
        document.lines().filter(|line| line.starts_with("| `")).map(|line| format!("{line}\n")).collect();
    if written != rows && std::env::var_os("BLESS").is_some() {
        let (before, after) = document.split_once(&written).unwrap();
        std::fs::write(path, [before, &rows, after].concat()).unwrap();
        return;
    }
    assert_eq!(written, rows, "docs/metrics.md: run the test with BLESS=1");
}

/// What a scrape holds.
struct Scrape {
    families: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

/// Reads Prometheus text strictly: HELP and TYPE before samples, each family once and in one piece, no series
/// twice, names and labels well formed, counters named `_total`, histograms cumulative and complete.
fn parse(text: &str) -> Result<Scrape, String> {
    let mut scrape = Scrape { families: BTreeMap::new(), samples: BTreeMap::new() };
    let (mut help, mut current) = (None, String::new());
    let mut buckets: Vec<f64> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let fault = |what: &str| Err(format!("{what}: {line}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let Some((name, words)) = rest.split_once(' ') else { return fault("no help") };
            if words.is_empty() || help.replace(name.to_owned()).is_some() {
                return fault("help without type, or empty");
            }
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else { return fault("no type") };
            if help.take().as_deref() != Some(name) {
                return fault("type without help");
            }
            if (kind == "counter") != name.ends_with("_total") {
                return fault("counters, and only they, end in _total");
            }
            current = name.to_owned();
            if scrape.families.insert(current.clone(), kind.to_owned()).is_some() {
                return fault("family in two pieces");
            }
        } else {
            let Some((series, value)) = line.rsplit_once(' ') else { return fault("no value") };
            let Ok(value) = value.parse::<f64>() else { return fault("value") };
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let Some(labels) = labels.strip_suffix('}') else { return fault("labels") };
            if !well_formed_name(name) || !well_formed_labels(labels) {
                return fault("form");
            }
            let suffix = name.strip_prefix(current.as_str());
            let histogram = scrape.families.get(&current).is_some_and(|kind| kind == "histogram");
            match suffix {
                Some("") if !histogram => {}
                Some("_bucket") if histogram => {
                    if buckets.last().is_some_and(|&last| last > value) {
                        return fault("buckets shrink");
                    }
                    buckets.push(value);
                }
                Some("_sum") if histogram => {}
                Some("_count") if histogram => {
                    if buckets.last() != Some(&value) {
                        return fault("count is not +Inf");
                    }
                    buckets.clear();
                }
                _ => return fault("sample outside its family"),
            }
            if scrape.samples.insert(series.to_owned(), value).is_some() {
                return fault("series twice");
            }
        }
    }
    Ok(scrape)
}

fn well_formed_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn well_formed_labels(mut labels: &str) -> bool {
    while !labels.is_empty() {
        let Some((name, rest)) = labels.split_once("=\"") else { return false };
        let mut escaped = false;
        let end = rest.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let Some(end) = end else { return false };
        if !well_formed_name(name) || name.starts_with("__") {
            return false;
        }
        labels = &rest[end + 1..];
        labels = labels.strip_prefix(',').unwrap_or(labels);
    }
    true
}

#[test]
fn the_parser_is_strict() {
    let good = "# HELP a_total x\n# TYPE a_total counter\na_total{b=\"c\\\"d\"} 1\n";
    assert!(parse(good).is_ok());
    for bad in [
        "a_total 1\n",
        "# TYPE a_total counter\na_total 1\n",
        "# HELP a x\n# TYPE a counter\na 1\n",
        "# HELP a_total x\n# TYPE a_total counter\na_total 1\na_total 2\n",
        "# HELP a_total x\n# TYPE a_total counter\nb_total 1\n",
        "# HELP a_total x\n# TYPE a_total counter\na_total{b=c} 1\n",
        "# HELP a_s x\n# TYPE a_s histogram\na_s_bucket{le=\"1\"} 2\na_s_bucket{le=\"+Inf\"} 1\na_s_sum 1\na_s_count 1\n",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}
