//! All metrics as Prometheus text.
//!
//! In:    the meters of the workers, the pools, figures of the process.
//! Out:   the exposition text; nothing a scrape does not ask for is computed.
//! Never: stands in a worker's way: counting goes on while this reads.
//!
//! Counters and gauges are registered once with a recorder of the exporter's, never installed globally, and set
//! when rendered. The histograms are our own arrays, written beside: a recorder's would allocate per sample.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::meter::{Meter, Sums};
use super::{
    BUCKETS, COUNTERS, Event, FAMILIES, Family, Kind, SERIES, Timing, callouts, certificates, process,
};
use crate::hop::{HostHealth, Pools, Probe, Why};

static METADATA: Metadata<'static> = Metadata::new("gatepost", Level::INFO, None);

/// Every metric of the process. Lives as long as it does; the control thread renders.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    meters: Box<[Meter]>,
    series: Vec<Counter>,
    hosts: Mutex<HashMap<HostKey, HostSeries>>,
}

/// An upstream's name and a host's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct HostKey(Arc<str>, Arc<str>);

/// The series of one host.
#[derive(Clone)]
struct HostSeries {
    connects: Counter,
    failures: [Counter; Why::ALL.len()],
    ejections: Counter,
    probes: [Counter; Probe::ALL.len()],
    up: Gauge,
    open: Gauge,
}

impl Metrics {
    /// All series at zero, with a meter for each of `workers` and one for the control thread.
    pub fn new(workers: usize) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for family in FAMILIES {
            match family.kind {
                Kind::Counter => recorder.describe_counter(family.name.into(), None, family.help.into()),
                Kind::Gauge => recorder.describe_gauge(family.name.into(), None, family.help.into()),
                Kind::Histogram => {}
            }
        }
        let series: Vec<Counter> = FAMILIES[..COUNTERS]
            .iter()
            .flat_map(|family| family.each_series().into_iter().map(|labels| (family.name, labels)))
            .map(|(name, labels)| recorder.register_counter(&Key::from_parts(name, labels), &METADATA))
            .collect();
        debug_assert_eq!(series.len(), SERIES);
        let build =
            Key::from_parts("gatepost_build_info", vec![Label::new("version", env!("CARGO_PKG_VERSION"))]);
        recorder.register_gauge(&build, &METADATA).set(1.0);
        let meters = (0..=workers).map(|_| Meter::new()).collect();
        Self { handle: recorder.handle(), recorder, meters, series, hosts: Mutex::default() }
    }

    /// The meter of worker `index`, counted from 0; one past the last is the control thread's, as is any beyond.
    pub fn meter(&self, index: usize) -> Meter {
        self.meters[index.min(self.meters.len() - 1)].clone()
    }

    /// The control thread's meter.
    pub fn control(&self) -> Meter {
        self.meter(usize::MAX)
    }

    /// How often `event` has happened.
    pub fn total(&self, event: Event) -> u64 {
        Sums::new(&self.meters).series[event.index()]
    }

    /// To be called every few seconds: keeps the recorder from growing when nobody scrapes.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// Everything, as Prometheus text.
    pub fn render(&self, pools: &Pools) -> String {
        let sums = Sums::new(&self.meters);
        for (counter, sum) in self.series.iter().zip(&sums.series) {
            counter.absolute(*sum);
        }
        let (opened, ended) = (Event::SessionOpened, Event::SessionEnded(super::labels::End::Quit));
        let open = sums.of_family(opened.place().0).saturating_sub(sums.of_family(ended.place().0));
        self.gauge("gatepost_sessions_open").set(open as f64);
        let figures = process::figures();
        for &(name, value) in figures.iter().filter(|(name, _)| *name != CPU) {
            self.gauge(name).set(value);
        }
        self.set_hosts(pools);
        let mut text = self.handle.render();
        callouts::render(&mut text);
        certificates::render(&mut text);
        for timing in Timing::ALL {
            histogram(timing, &sums.timings[timing as usize], &mut text);
        }
        // The recorder counts in whole numbers, so CPU seconds are written beside, too.
        if let Some((_, value)) = figures.iter().find(|(name, _)| *name == CPU) {
            head(family(CPU), &mut text);
            line(&mut text, format_args!("{CPU} {value}\n"));
        }
        text
    }

    fn gauge(&self, name: &'static str) -> Gauge {
        self.recorder.register_gauge(&Key::from_name(name), &METADATA)
    }

    fn set_hosts(&self, pools: &Pools) {
        // Nothing in here panics half-way.
        let mut known = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        // A host that a reload has taken out stays, as one that is down.
        for series in known.values() {
            series.up.set(0.0);
            series.open.set(0.0);
        }
        for pool in pools.iter() {
            for HostHealth { host, up, open, counts } in pool.health() {
                let series = known
                    .entry(HostKey(pool.name().clone(), host.clone()))
                    .or_insert_with(|| HostSeries::new(&self.recorder, pool.name(), &host));
                series.connects.absolute(counts.connects());
                for (why, counter) in Why::ALL.into_iter().zip(&series.failures) {
                    counter.absolute(counts.failures(why));
                }
                series.ejections.absolute(counts.ejections());
                for (result, counter) in Probe::ALL.into_iter().zip(&series.probes) {
                    counter.absolute(counts.probes(result));
                }
                series.up.set(if up { 1.0 } else { 0.0 });
                series.open.set(f64::from(open));
            }
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("meters", &self.meters.len()).finish_non_exhaustive()
    }
}

impl HostSeries {
    fn new(recorder: &PrometheusRecorder, pool: &Arc<str>, host: &Arc<str>) -> Self {
        let labels = || vec![Label::new("upstream", pool.clone()), Label::new("host", host.clone())];
        let counter =
            |name: &'static str, labels| recorder.register_counter(&Key::from_parts(name, labels), &METADATA);
        let gauge = |name: &'static str| recorder.register_gauge(&Key::from_parts(name, labels()), &METADATA);
        let failures = Why::ALL.map(|why| {
            let mut labels = labels();
            labels.push(Label::new("reason", why.as_str()));
            counter("gatepost_hop_failures_total", labels)
        });
        let probes = Probe::ALL.map(|result| {
            let mut labels = labels();
            labels.push(Label::new("result", result.as_str()));
            counter("gatepost_hop_probes_total", labels)
        });
        Self {
            probes,
            connects: counter("gatepost_hop_connects_total", labels()),
            failures,
            ejections: counter("gatepost_hop_ejections_total", labels()),
            up: gauge("gatepost_hop_up"),
            open: gauge("gatepost_hop_dialogs_open"),
        }
    }
}

impl Family {
    /// The labels of each of its series, the last label changing fastest, as `Event::place` counts.
    pub(super) fn each_series(&self) -> Vec<Vec<Label>> {
        let mut all = vec![Vec::new()];
        for &(label, values) in self.labels {
            let with = |labels: &Vec<Label>, value: &'static str| {
                let mut labels = labels.clone();
                labels.push(Label::new(label, value));
                labels
            };
            all = all.iter().flat_map(|labels| values.iter().map(|value| with(labels, value))).collect();
        }
        all
    }
}

const CPU: &str = "process_cpu_seconds_total";

pub(super) fn family(name: &str) -> &'static Family {
    FAMILIES
        .iter()
        .find(|family| family.name == name)
        .expect("every metric rendered here stands in the table")
}

pub(super) fn head(family: &Family, text: &mut String) {
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    line(text, format_args!("# HELP {} {}\n", family.name, family.help));
    line(text, format_args!("# TYPE {} {kind}\n", family.name));
}

fn histogram(timing: Timing, (buckets, nanos): &([u64; BUCKETS + 1], u64), text: &mut String) {
    let name = timing.name();
    head(family(name), text);
    let mut count = 0;
    for (bound, bucket) in timing.bounds().iter().zip(buckets) {
        count += bucket;
        line(text, format_args!("{name}_bucket{{le=\"{}\"}} {count}\n", seconds(*bound)));
    }
    count += buckets[BUCKETS];
    line(text, format_args!("{name}_bucket{{le=\"+Inf\"}} {count}\n"));
    line(text, format_args!("{name}_sum {}\n{name}_count {count}\n\n", seconds(*nanos)));
}

pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

pub(super) fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line).expect("a string takes any text");
}
