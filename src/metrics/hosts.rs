//! What is counted about hosts, by the pools themselves: dialogs, failures, ejections, STARTTLS withdrawn, probes; each by
//! pool and host.
//!
//! In:    the figures of every host there is, when somebody asks.
//! Out:   counters and gauges of the recorder's.
//! Never: forgets a host that a reload took out: its counters stay as they were, and it is down.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, Key, Label, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::render::METADATA;

/// What a pool tells of one of its hosts.
#[derive(Clone, Debug)]
pub struct HostFigures {
    /// The pool.
    pub upstream: Arc<str>,
    /// The host, with its port.
    pub host: Arc<str>,
    /// Whether it has an address that is not ejected.
    pub up: bool,
    /// Dialogs open with it.
    pub open: u32,
    /// Dialogs begun.
    pub connects: u64,
    /// Failures by reason: the same reasons in the same order every time.
    pub failures: Vec<(&'static str, u64)>,
    /// Times an address of it was ejected.
    pub ejections: u64,
    /// Times it offered STARTTLS no more, by what was done, as the failures.
    pub withdrawn: Vec<(&'static str, u64)>,
    /// Probes by result, as the failures.
    pub probes: Vec<(&'static str, u64)>,
}

/// All hosts there ever were.
#[derive(Default)]
pub(super) struct Hosts(Mutex<HashMap<HostKey, HostSeries>>);

/// An upstream's name and a host's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct HostKey(Arc<str>, Arc<str>);

/// The series of one host.
struct HostSeries {
    connects: Counter,
    failures: Vec<Counter>,
    ejections: Counter,
    withdrawn: Vec<Counter>,
    probes: Vec<Counter>,
    up: Gauge,
    open: Gauge,
}

impl Hosts {
    /// Takes the figures of those there are now.
    pub(super) fn set(&self, recorder: &PrometheusRecorder, hosts: &[HostFigures]) {
        // Nothing in here panics half-way.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A host that a reload has taken out stays, as one that is down.
        for series in known.values() {
            series.up.set(0.0);
            series.open.set(0.0);
        }
        for host in hosts {
            known
                .entry(HostKey(host.upstream.clone(), host.host.clone()))
                .or_insert_with(|| HostSeries::new(recorder, host))
                .set(host);
        }
    }
}

impl HostSeries {
    fn new(recorder: &PrometheusRecorder, host: &HostFigures) -> Self {
        let labels =
            || vec![Label::new("upstream", host.upstream.clone()), Label::new("host", host.host.clone())];
        let counter =
            |name: &'static str, labels| recorder.register_counter(&Key::from_parts(name, labels), &METADATA);
        let gauge = |name: &'static str| recorder.register_gauge(&Key::from_parts(name, labels()), &METADATA);
        let each = |name: &'static str, label: &'static str, figures: &[(&'static str, u64)]| {
            let with = |&(value, _): &(&'static str, u64)| {
                let mut labels = labels();
                labels.push(Label::new(label, value));
                counter(name, labels)
            };
            figures.iter().map(with).collect()
        };
        Self {
            connects: counter("gatepost_hop_connects_total", labels()),
            failures: each("gatepost_hop_failures_total", "reason", &host.failures),
            ejections: counter("gatepost_hop_ejections_total", labels()),
            withdrawn: each("gatepost_hop_starttls_missing_total", "outcome", &host.withdrawn),
            probes: each("gatepost_hop_probes_total", "result", &host.probes),
            up: gauge("gatepost_hop_up"),
            open: gauge("gatepost_hop_dialogs_open"),
        }
    }

    fn set(&self, host: &HostFigures) {
        self.connects.absolute(host.connects);
        self.ejections.absolute(host.ejections);
        for (counters, figures) in [
            (&self.failures, &host.failures),
            (&self.withdrawn, &host.withdrawn),
            (&self.probes, &host.probes),
        ] {
            counters.iter().zip(figures).for_each(|(counter, (_, value))| counter.absolute(*value));
        }
        self.up.set(if host.up { 1.0 } else { 0.0 });
        self.open.set(f64::from(host.open));
    }
}
