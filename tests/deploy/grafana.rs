//! The dashboard.
//!
//! In:    `deploy/grafana/gatepost.json`; Grafana's published types with the TypeScript compiler; promtool.
//! Out:   the trials: Grafana would take it, its queries are PromQL, what they name is measured and documented.
//! Never: runs a Grafana; `tests/deploy/dashboard.ts` says what of its understanding is checked.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::gate::{SINK, free_address, plain, start};
use crate::prometheus::{RULES, named, unknown};
use crate::support::peers::{Peer, TSC, found, trial};
use crate::support::scratch::{Finished, PATIENCE, Scratch, run};
use crate::text;

const FILE: &str = "deploy/grafana/gatepost.json";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("grafana::it_is_a_dashboard", [Peer::Grafana], it_is_a_dashboard),
        trial("grafana::panels_have_their_places", [], panels_have_their_places),
        trial("grafana::queries_are_promql", [Peer::Prometheus], queries_are_promql),
        trial("grafana::what_it_names_is_measured", [], what_it_names_is_measured),
        trial("grafana::it_shows_what_alerts_go_by", [], it_shows_what_alerts_go_by),
    ]
}

fn it_is_a_dashboard() {
    let dashboard = text(FILE);
    let said = compile(&dashboard);
    assert!(said.status.success(), "{}\n{}", said.stdout, said.stderr);
    // And the compiler would have seen a slip.
    for (right, wrong) in
        [("\"lineWidth\"", "\"lineWidht\""), ("\"drawStyle\": \"line\"", "\"drawStyle\": \"lime\"")]
    {
        assert!(dashboard.contains(right), "{right}");
        let said = compile(&dashboard.replacen(right, wrong, 1));
        assert!(!said.status.success() && said.stdout.contains("dashboard.ts("), "{wrong}: {said:?}");
    }
}

/// The dashboard as a literal of Grafana's type.
fn compile(dashboard: &str) -> Finished {
    let scratch = Scratch::new("dashboard");
    scratch.write("dashboard.ts", format!("{}{dashboard};\n", text("tests/deploy/dashboard.ts")));
    let tsc = found(TSC);
    let modules = tsc.ancestors().find(|path| path.ends_with("node_modules")).unwrap();
    symlink(modules, scratch.path().join("node_modules")).unwrap();
    let mut command = Command::new(found("node"));
    command.arg(&tsc).args(["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022"]);
    command.args(["--module", "nodenext", "--moduleResolution", "nodenext", "dashboard.ts"]);
    run(&scratch, command.current_dir(scratch.path()), Stdio::null(), PATIENCE + Duration::from_secs(60))
}

fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&text(FILE)).unwrap();
    dashboard["panels"].as_array().unwrap().clone()
}

fn panels_have_their_places() {
    let mut ids = HashSet::new();
    let mut taken = BTreeMap::new();
    for panel in panels() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{} twice", panel["id"]);
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(x + w <= 24, "{} is wider than the page", panel["title"]);
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            let other = taken.insert(place, panel["title"].clone());
            assert_eq!(other, None, "{} lies upon another", panel["title"]);
        }
    }
}

fn queries() -> Vec<String> {
    let panels = panels();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries: Vec<String> = targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    assert!(queries.len() > 20, "{queries:?}");
    queries
}

fn queries_are_promql() {
    let scratch = Scratch::new("queries");
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (number, query) in queries().iter().enumerate() {
        // What Grafana puts in.
        let query = query.replace("$instance", ".*").replace("$__rate_interval", "1m");
        assert!(!query.contains('$'), "{query}");
        let _ = writeln!(rules, "  - {{ record: 'query:{number}', expr: '{query}' }}");
    }
    let rules = scratch.write("rules.yml", rules);
    let mut command = Command::new(found("promtool"));
    let said = run(&scratch, command.args(["check", "rules"]).arg(rules), Stdio::null(), PATIENCE);
    assert!(said.status.success(), "{}\n{}", said.stdout, said.stderr);
}

fn what_it_names_is_measured() {
    let named = format!("{}\n{}", queries().join("\n"), text(FILE));
    let gatepost = start(Scratch::new("dashboard"), plain(), &[free_address()], SINK);
    assert_eq!(unknown(&named, &gatepost.http("/metrics")), BTreeSet::new(), "not in /metrics");
    // The table of the document, as a page that declares each name.
    let document = text("docs/metrics.md");
    let documented: String = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(|name| format!("# TYPE {name} x\n"))
        .collect();
    assert_eq!(unknown(&named, &documented), BTreeSet::new(), "not in docs/metrics.md");
}

/// Whoever is called looks there first.
fn it_shows_what_alerts_go_by() {
    let (rules, shown) = (text(RULES), queries().join("\n"));
    let missing: Vec<_> = named(&rules).difference(&named(&shown)).copied().collect();
    assert!(missing.is_empty(), "{missing:?}");
}
