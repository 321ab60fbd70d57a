//! A real Prometheus: its tool judges our files and our metrics, and it scrapes a gatepost that has had known traffic.
//!
//! In:    `deploy/prometheus/`; promtool; prometheus with our own configuration, its target and its pace moved.
//! Out:   the trials: files are in order, every alert is tested, what Prometheus has counted is what happened.
//! Never: takes a figure from gatepost to compare with: the expected ones are of this file's own making.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::gate::{SINK, free_address, plain, start};
use crate::support::gatepost::Gatepost;
use crate::support::peers::{Peer, found, trial};
use crate::support::raw::Raw;
use crate::support::scratch::{Finished, PATIENCE, Scratch, run, wait_for};
use crate::{ours, text};

pub const RULES: &str = "deploy/prometheus/gatepost.rules.yml";
const RULE_TESTS: &str = "deploy/prometheus/gatepost.rules.test.yml";
const CONFIG: &str = "deploy/prometheus/prometheus.yml";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("prometheus::files_are_in_order", [Peer::Prometheus], files_are_in_order),
        trial("prometheus::every_alert_is_tested", [], every_alert_is_tested),
        trial(
            "prometheus::the_counters_are_what_happened",
            [Peer::Prometheus],
            the_counters_are_what_happened,
        ),
    ]
}

fn promtool(scratch: &Scratch, arguments: &[&str], input: Stdio) -> Finished {
    run(scratch, Command::new(found("promtool")).args(arguments), input, PATIENCE)
}

fn files_are_in_order() {
    let scratch = Scratch::new("promtool");
    for (words, file) in
        [(["check", "config"], CONFIG), (["check", "rules"], RULES), (["test", "rules"], RULE_TESTS)]
    {
        let file = ours(file);
        let arguments = [&words[..], &[file.to_str().unwrap()]].concat();
        let said = promtool(&scratch, &arguments, Stdio::null());
        assert!(said.status.success(), "promtool {arguments:?}: {}\n{}", said.stdout, said.stderr);
        assert!(!said.stdout.contains("FAILED"), "{}", said.stdout);
    }
}

fn every_alert_is_tested() {
    let rules = text(RULES);
    let tests = text(RULE_TESTS);
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 5);
    for alert in alerts {
        assert!(tests.contains(&format!("alertname: {alert} }}")), "no test shows {alert} keep still");
        let fires = tests.split(&format!("alertname: {alert}\n")).nth(1);
        assert!(
            fires.is_some_and(|rest| rest.trim_start().starts_with("exp_alerts:")),
            "none shows {alert} fire"
        );
    }
}

fn the_counters_are_what_happened() {
    let rule = "rules: [{ name: unknown, stages: rcpt, match: { recipient: \"unknown@*\" }, \
                do: { reply: \"550 5.1.1 Unknown here\" } }]\n";
    let gatepost = start(Scratch::new("scraped"), plain(), &[free_address()], &format!("{SINK}{rule}"));
    let prometheus = Prometheus::start(gatepost.admin());
    let told = traffic(&gatepost);
    // Counted a moment after the client has heard it; then scraped.
    prometheus.wait("sum(gatepost_sessions_ended_total)", 4.0);
    prometheus.wait("gatepost_reloads_total{outcome=\"refused\"}", 1.0);
    for (query, expected) in told {
        prometheus.wait(&query, expected);
    }
    prometheus.wait("up{job=\"gatepost\"}", 1.0);

    let scratch = gatepost.scratch();
    let page = gatepost.http("/metrics");
    let (_, body) = page.split_once("\r\n\r\n").unwrap();
    let page = scratch.write("metrics", body);
    let said = promtool(scratch, &["check", "metrics"], fs::File::open(page).unwrap().into());
    assert!(said.status.success() && said.stdout.is_empty() && said.stderr.is_empty(), "{said:?}");
    assert_eq!(unknown(&text(RULES), body), BTreeSet::new(), "{RULES} names what is not measured");
}

/// Four sessions and two reloads; what Prometheus should have counted then.
fn traffic(gatepost: &Gatepost) -> Vec<(String, f64)> {
    let content = "Subject: counted\r\n\r\nOnce.\r\n";
    let message = |client: &mut Raw| {
        client.ask("MAIL FROM:<a@example.org>", 250);
        client.ask("RCPT TO:<b@example.net>", 250);
        client.ask("RCPT TO:<c@example.net>", 250);
        client.ask("RCPT TO:<unknown@example.net>", 550);
        client.ask("DATA", 354);
        client.say(format!("{content}.\r\n"));
        client.hear(250);
    };
    for messages in [1, 3] {
        let mut client = Raw::connect(gatepost.listener());
        client.ask("EHLO client.example", 250);
        (0..messages).for_each(|_| message(&mut client));
        client.quit();
    }
    let mut confused = Raw::connect(gatepost.listener());
    confused.ask("HELO client.example", 250);
    confused.ask("NOOP", 250);
    confused.ask("WHAT", 500);
    confused.ask("RCPT TO:<b@example.net>", 503);
    confused.quit();
    let mut hasty = Raw::connect(gatepost.listener());
    hasty.ask("EHLO client.example", 250);
    hasty.ask("MAIL FROM:<a@example.org>", 250);
    hasty.ask("RCPT TO:<b@example.net>", 250);
    hasty.ask("DATA", 354);
    hasty.say("Subject: half\r\n");
    hasty.leave();

    let config = gatepost.scratch().path().join("proxy.yaml");
    let right = fs::read_to_string(&config).unwrap();
    for (text, outcome) in [("nonsense: 1\n", "refused"), (&right, "done")] {
        fs::write(&config, text).unwrap();
        gatepost.signal(Signal::HUP);
        let label = format!("outcome=\"{outcome}\"");
        wait_for("the reload", PATIENCE, || {
            (gatepost.metric("gatepost_reloads_total", &[&label]) == 1.0).then_some(())
        });
    }

    let octets = 4.0 * content.len() as f64 + "Subject: half\r\n".len() as f64;
    [
        ("gatepost_sessions_opened_total", 4.0),
        ("gatepost_sessions_open", 0.0),
        ("gatepost_sessions_ended_total{reason=\"quit\"}", 3.0),
        ("gatepost_sessions_ended_total{reason=\"client_gone\"}", 1.0),
        ("sum(gatepost_sessions_refused_total)", 0.0),
        ("sum(gatepost_commands_total{verb=\"ehlo\"})", 3.0),
        ("sum(gatepost_commands_total{verb=\"helo\"})", 1.0),
        ("sum(gatepost_commands_total{verb=\"mail\"})", 5.0),
        ("gatepost_commands_total{verb=\"rcpt\",outcome=\"forwarded\"}", 9.0),
        ("gatepost_commands_total{verb=\"rcpt\",outcome=\"refused\"}", 5.0),
        ("sum(gatepost_commands_total{verb=\"data\"})", 5.0),
        ("sum(gatepost_commands_total{verb=\"unknown\"})", 1.0),
        ("sum(gatepost_commands_total{verb=\"quit\"})", 3.0),
        ("gatepost_recipients_total{outcome=\"accepted\"}", 9.0),
        ("gatepost_recipients_total{outcome=\"refused\"}", 4.0),
        ("gatepost_verdicts_total{verdict=\"reply\"}", 4.0),
        ("gatepost_messages_total{outcome=\"accepted\"}", 4.0),
        ("gatepost_messages_total{outcome=\"lost\"}", 1.0),
        ("gatepost_content_octets_total", octets),
        // By session, the greeting first: 1 + 1 + 4 + 1, 1 + 1 + 12 + 1, 1 + 2 + 1, 1 + 3.
        ("sum(gatepost_replies_total{side=\"downstream\",class=\"2xx\"})", 30.0),
        ("sum(gatepost_replies_total{side=\"downstream\",class=\"3xx\"})", 5.0),
        ("sum(gatepost_replies_total{side=\"downstream\",class=\"5xx\"})", 6.0),
        ("gatepost_reloads_total{outcome=\"done\"}", 1.0),
        ("gatepost_reloads_total{outcome=\"refused\"}", 1.0),
        ("gatepost_panics_total", 0.0),
        ("count(gatepost_build_info)", 1.0),
    ]
    .map(|(query, value)| (query.to_owned(), value))
    .into()
}

/// What a text names as a metric.
pub fn named(text: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let ours = ["gatepost_", "process_"];
    let names = text.split(|c| !is_name(c));
    names.filter(|word| ours.iter().any(|start| word.starts_with(start))).collect()
}

/// What a text names as a metric and a page of /metrics does not have.
pub fn unknown(text: &str, page: &str) -> BTreeSet<String> {
    let known: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let family = |name: &str| {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        of_histogram.filter(|name| known.contains(name)).unwrap_or(name).to_owned()
    };
    named(text).into_iter().map(family).filter(|name| !known.contains(name.as_str())).collect()
}

struct Prometheus {
    child: Child,
    address: SocketAddr,
    scratch: Scratch,
}

impl Prometheus {
    /// Runs it with our files: another target, and no patience.
    fn start(target: SocketAddr) -> Self {
        let scratch = Scratch::new("prometheus");
        let config = text(CONFIG);
        for ours in ["127.0.0.1:9025", "interval: 15s"] {
            assert!(config.contains(ours), "{ours} in {CONFIG}");
        }
        let config =
            config.replace("127.0.0.1:9025", &target.to_string()).replace("interval: 15s", "interval: 200ms");
        let config = scratch.write("prometheus.yml", config);
        scratch.write("gatepost.rules.yml", text(RULES));
        let address = free_address();
        let log = fs::File::create(scratch.path().join("log")).unwrap();
        let child = Command::new(found("prometheus"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", scratch.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, address, scratch }
    }

    /// Waits until a query has this one value.
    fn wait(&self, query: &str, expected: f64) {
        let mut last = None;
        let deadline = std::time::Instant::now() + PATIENCE;
        while std::time::Instant::now() < deadline {
            last = self.query(query);
            if last == Some(expected) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        panic!("{query}: expected {expected}, Prometheus has {last:?}");
    }

    /// The value of a query that gives one; none while Prometheus is starting or has no such series.
    fn query(&self, query: &str) -> Option<f64> {
        let encoded: String = query.bytes().map(|octet| format!("%{octet:02x}")).collect();
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "GET /api/v1/query?query={encoded} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let answer: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        let [series] = answer["data"]["result"].as_array()?.as_slice() else { return None };
        series["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already. Its data is thrown away with the directory.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default();
            eprintln!("--- Prometheus at {}\n{log}", self.address);
        }
    }
}
