//! The table: figures by row, peer and round; ratios to HAProxy in the same round; Markdown.
//!
//! In:    single figures, in any order.
//! Out:   one Markdown table with medians and spreads, and the facts it needs to mean something.
//! Never: compares figures of different rounds: the machine's speed drifts more than the peers differ.

use std::fmt::Write;
use std::fs;
use std::io;

use crate::peers::{Kind, Place};

/// What a row shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    name: String,
    unit: &'static str,
    shows: Shows,
    beyond_direct: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shows {
    Ratio,
    Absolute,
    Both,
}

/// All figures of one comparison.
#[derive(Default)]
pub struct Table {
    rows: Vec<(Row, Vec<Figure>)>,
}

struct Figure {
    kind: Kind,
    round: u32,
    value: f64,
}

impl Row {
    /// HAProxy's figure, the others' divided by it.
    pub fn ratio(load: &str, what: &str, unit: &'static str) -> Self {
        Self { name: format!("{load}: {what}"), unit, shows: Shows::Ratio, beyond_direct: false }
    }

    /// Everybody's figure.
    pub fn absolute(load: &str, what: &str, unit: &'static str) -> Self {
        Self { shows: Shows::Absolute, ..Self::ratio(load, what, unit) }
    }

    /// Everybody's figure and its ratio.
    pub fn both(load: &str, what: &str, unit: &'static str) -> Self {
        Self { shows: Shows::Both, ..Self::ratio(load, what, unit) }
    }

    /// What `direct` measured in the same round is taken off.
    pub fn beyond_direct(self) -> Self {
        Self { beyond_direct: true, ..self }
    }
}

impl Table {
    pub fn add(&mut self, row: Row, kind: Kind, round: u32, value: f64) {
        let figure = Figure { kind, round, value };
        match self.rows.iter_mut().find(|(known, _)| *known == row) {
            Some((_, figures)) => figures.push(figure),
            None => self.rows.push((row, vec![figure])),
        }
    }

    /// The table in Markdown, a column per peer.
    pub fn markdown(&self, kinds: &[Kind]) -> String {
        let mut text = "| workload | unit |".to_owned();
        for kind in kinds {
            let _ = write!(text, " {} |", kind.name());
        }
        let _ = write!(text, "\n|---|---|{}\n", "---|".repeat(kinds.len()));
        for (row, figures) in &self.rows {
            let _ = write!(text, "| {} | {} |", row.name, row.unit);
            for kind in kinds {
                let _ = write!(text, " {} |", cell(row, figures, *kind));
            }
            text.push('\n');
        }
        text
    }
}

/// The machine and the programs, as a Markdown list.
pub fn facts(kinds: &[Kind], place: &Place, arguments: &[String], others: f64) -> io::Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown");
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut text = format!("* Machine: {model}, {cores} cores, Linux {}", kernel.trim());
    let mut seen = Vec::new();
    for kind in kinds.iter().filter(|kind| !matches!(kind, Kind::Direct | Kind::Relay)) {
        let version = kind.version(place)?;
        if !seen.contains(&version) {
            seen.push(version);
        }
    }
    let _ = write!(text, "\n* Programs: {}", seen.join("; "));
    let _ = write!(text, "\n* Command: `cargo bench --bench compare -- {}`", arguments.join(" ").trim());
    let _ = write!(text, "\n* Other load during the run: {others:.0} % of the machine");
    text.push_str(
        "\n* Read: a figure with × is a ratio to HAProxy in the same round, any other is absolute. \
         Median [lowest..highest] of the rounds. What is added is added to `direct`.\n",
    );
    Ok(text)
}

fn cell(row: &Row, figures: &[Figure], kind: Kind) -> String {
    let values = values(row, figures, kind);
    if values.is_empty() || (row.beyond_direct && kind == Kind::Direct) {
        return "-".to_owned();
    }
    let reference = self::values(row, figures, Kind::Haproxy);
    let ratios: Vec<_> = values
        .iter()
        .filter_map(|(round, value)| {
            let (_, reference) = reference.iter().find(|(other, _)| other == round)?;
            Some((*round, value / reference))
        })
        .collect();
    if kind == Kind::Haproxy || row.shows == Shows::Absolute || ratios.is_empty() {
        return spread(&values, "");
    }
    match row.shows {
        Shows::Both => format!("{}, {}", spread(&values, ""), spread(&ratios, " ×")),
        _ => spread(&ratios, " ×"),
    }
}

/// The figures of `kind` by round, what `direct` measured taken off where the row says so.
fn values(row: &Row, figures: &[Figure], kind: Kind) -> Vec<(u32, f64)> {
    let of = |kind| figures.iter().filter(move |figure| figure.kind == kind);
    of(kind)
        .map(|figure| {
            let direct = of(Kind::Direct).find(|direct| direct.round == figure.round);
            let base = direct.filter(|_| row.beyond_direct).map_or(0.0, |direct| direct.value);
            (figure.round, figure.value - base)
        })
        .collect()
}

fn spread(values: &[(u32, f64)], suffix: &str) -> String {
    let mut sorted: Vec<_> = values.iter().map(|(_, value)| *value).collect();
    sorted.sort_by(f64::total_cmp);
    let median = f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    let mut text = format!("{}{suffix}", number(median));
    if let [lowest, .., highest] = sorted[..] {
        let _ = write!(text, " [{}..{}]", number(lowest), number(highest));
    }
    text
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
