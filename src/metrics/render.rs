//! All metrics as Prometheus text.
//!
//! In:    the meters of the workers, figures of the hosts and of the process.
//! Out:   the exposition text; nothing a scrape does not ask for is computed.
//! Never: stands in a worker's way: counting goes on while this reads.
//!
//! Counters and gauges are registered once with a recorder of the exporter's, never installed globally, and set
//! when rendered. The histograms are our own arrays, written beside: a recorder's would allocate per sample.

use std::fmt::Write;

use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::hosts::{HostFigures, Hosts};
use super::meter::{Meter, Sums};
use super::{
    BUCKETS, COUNTERS, FAMILIES, Family, Kind, Occurrence, SERIES, Timing, callouts, certificates, process,
};

pub(super) static METADATA: Metadata<'static> = Metadata::new("gatepost", Level::INFO, None);

/// Every metric of the process. Lives as long as it does; the control thread renders.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    meters: Box<[Meter]>,
    series: Vec<Counter>,
    hosts: Hosts,
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
        Self { handle: recorder.handle(), recorder, meters, series, hosts: Hosts::default() }
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
    pub fn total(&self, event: Occurrence) -> u64 {
        Sums::new(&self.meters).series[event.index()]
    }

    /// To be called every few seconds: keeps the recorder from growing when nobody scrapes.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// Everything, as Prometheus text.
    pub fn render(&self, hosts: &[HostFigures]) -> String {
        let sums = Sums::new(&self.meters);
        for (counter, sum) in self.series.iter().zip(&sums.series) {
            counter.absolute(*sum);
        }
        let (opened, ended) = (Occurrence::SessionOpened, Occurrence::SessionEnded(super::labels::End::Quit));
        let open = sums.of_family(opened.place().0).saturating_sub(sums.of_family(ended.place().0));
        self.gauge("gatepost_sessions_open").set(open as f64);
        let dropped = Key::from_name("gatepost_log_lines_dropped_total");
        self.recorder.register_counter(&dropped, &METADATA).absolute(crate::log::dropped());
        let figures = process::figures();
        for &(name, value) in figures.iter().filter(|(name, _)| *name != CPU) {
            self.gauge(name).set(value);
        }
        self.hosts.set(&self.recorder, hosts);
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
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("meters", &self.meters.len()).finish_non_exhaustive()
    }
}

impl Family {
    /// The labels of each of its series, the last label changing fastest, as `Occurrence::place` counts.
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
