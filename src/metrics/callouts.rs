//! What is counted about callouts: questions by stage and outcome, failures by kind, durations; each by name.
//!
//! In:    questions that ended, from whichever worker asked.
//! Out:   their sums as Prometheus text.
//! Never: forgets a callout that a reload took out: counters begin at zero when the process starts, and only grow.
//!
//! A question takes as long as a network does, so that these counters may be shared by the workers. Series that were
//! never counted are not written: most stages never see most verdicts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::labels::CalloutFate;
use super::render::{family, head, line, seconds};
use super::{BUCKETS, Timing};
use crate::session::callout::FaultKind;
use crate::session::io::{CalloutEnd, VerdictKind};
use crate::session::verdict::Stage;

/// All callouts that were ever configured in this process.
static ALL: Mutex<BTreeMap<Box<str>, Arc<CalloutCounts>>> = Mutex::new(BTreeMap::new());

/// One callout's counters.
#[derive(Debug)]
pub struct CalloutCounts {
    questions: [[AtomicU64; CalloutFate::VALUES.len()]; Stage::ALL.len()],
    failures: [AtomicU64; FaultKind::ALL.len()],
    /// Each bucket by itself; the last one is unbounded.
    buckets: [AtomicU64; BUCKETS + 1],
    nanos: AtomicU64,
    /// It has failed too often of late.
    shut: AtomicBool,
    /// In shadow, it would have had it otherwise.
    disagreements: [AtomicU64; Stage::ALL.len()],
}

impl CalloutCounts {
    /// Those of the callout with this name, whichever configuration names it.
    pub fn of(name: &str) -> Arc<CalloutCounts> {
        // Nothing in here panics half-way.
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(name.into()).or_insert_with(|| Arc::new(CalloutCounts::new())))
    }

    fn new() -> CalloutCounts {
        let zero = |_| AtomicU64::new(0);
        CalloutCounts {
            questions: std::array::from_fn(|_| std::array::from_fn(zero)),
            failures: std::array::from_fn(zero),
            buckets: std::array::from_fn(zero),
            nanos: AtomicU64::new(0),
            shut: AtomicBool::new(false),
            disagreements: std::array::from_fn(zero),
        }
    }

    /// Whether it is asked from now on.
    pub fn is_asked(&self, asked: bool) {
        self.shut.store(!asked, Relaxed);
    }

    /// Counts that, in shadow, it would have had it otherwise.
    pub fn disagreed(&self, stage: Stage) {
        self.disagreements[stage as usize].fetch_add(1, Relaxed);
    }

    /// Counts a question that ended.
    pub fn ended(&self, stage: Stage, end: CalloutEnd, took: Duration) {
        self.questions[stage as usize][fate(end) as usize].fetch_add(1, Relaxed);
        if let CalloutEnd::Failed(kind) = end {
            self.failures[kind as usize].fetch_add(1, Relaxed);
        }
        // What was not asked took no time.
        if took.is_zero() || end == CalloutEnd::Failed(FaultKind::NotAsked) {
            return;
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = Timing::Waited.bounds().partition_point(|&bound| bound < nanos);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }
}

fn fate(end: CalloutEnd) -> CalloutFate {
    match end {
        CalloutEnd::Passed => CalloutFate::Pass,
        CalloutEnd::Failed(_) => CalloutFate::Failed,
        CalloutEnd::Cancelled => CalloutFate::Cancelled,
        CalloutEnd::Verdict(kind) => match kind {
            VerdictKind::Rewrite => CalloutFate::Rewrite,
            VerdictKind::Reply => CalloutFate::Reply,
            VerdictKind::Route => CalloutFate::Route,
            VerdictKind::Substitute => CalloutFate::Substitute,
            VerdictKind::Retry => CalloutFate::Retry,
            VerdictKind::Accept => CalloutFate::Accept,
            VerdictKind::Disconnect => CalloutFate::Disconnect,
            VerdictKind::Discard => CalloutFate::Discard,
            VerdictKind::Skipped => CalloutFate::Skipped,
            VerdictKind::Edit => CalloutFate::Edit,
            VerdictKind::Failed => CalloutFate::Failed,
        },
    }
}

/// All of it as Prometheus text.
pub(super) fn render(text: &mut String) {
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let counts = || all.iter().map(|(name, counts)| (quoted(name), counts));
    let questions = family("gatepost_callout_questions_total");
    head(questions, text);
    for (name, counts) in counts() {
        for (stage, row) in Stage::ALL.into_iter().zip(&counts.questions) {
            for (verdict, count) in CalloutFate::VALUES.iter().zip(row) {
                let stage = stage.as_str();
                let labels = format!("callout=\"{name}\",stage=\"{stage}\",verdict=\"{verdict}\"");
                counted(questions.name, &labels, count, text);
            }
        }
    }
    let failures = family("gatepost_callout_failures_total");
    head(failures, text);
    for (name, counts) in counts() {
        for (kind, count) in FaultKind::ALL.into_iter().zip(&counts.failures) {
            counted(failures.name, &format!("callout=\"{name}\",reason=\"{}\"", kind.as_str()), count, text);
        }
    }
    let disagreements = family("gatepost_callout_disagreements_total");
    head(disagreements, text);
    for (name, counts) in counts() {
        for (stage, count) in Stage::ALL.into_iter().zip(&counts.disagreements) {
            counted(
                disagreements.name,
                &format!("callout=\"{name}\",stage=\"{}\"", stage.as_str()),
                count,
                text,
            );
        }
    }
    let up = family("gatepost_callout_up");
    head(up, text);
    for (name, counts) in counts() {
        let asked = u8::from(!counts.shut.load(Relaxed));
        line(text, format_args!("{}{{callout=\"{name}\"}} {asked}\n", up.name));
    }
    let durations = family("gatepost_callout_seconds");
    head(durations, text);
    for (name, counts) in counts() {
        let family = durations.name;
        let mut sum = 0;
        for (bound, bucket) in Timing::Waited.bounds().iter().zip(&counts.buckets) {
            sum += bucket.load(Relaxed);
            line(
                text,
                format_args!("{family}_bucket{{callout=\"{name}\",le=\"{}\"}} {sum}\n", seconds(*bound)),
            );
        }
        sum += counts.buckets[BUCKETS].load(Relaxed);
        let nanos = seconds(counts.nanos.load(Relaxed));
        line(text, format_args!("{family}_bucket{{callout=\"{name}\",le=\"+Inf\"}} {sum}\n"));
        line(text, format_args!("{family}_sum{{callout=\"{name}\"}} {nanos}\n"));
        line(text, format_args!("{family}_count{{callout=\"{name}\"}} {sum}\n"));
    }
}

fn counted(name: &str, labels: &str, count: &AtomicU64, text: &mut String) {
    let count = count.load(Relaxed);
    if count > 0 {
        line(text, format_args!("{name}{{{labels}}} {count}\n"));
    }
}

/// A label's value as the exposition format has it.
pub(super) fn quoted(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '\\' | '"' => {
                let _ = write!(quoted, "\\{letter}");
            }
            '\n' => quoted.push_str("\\n"),
            letter => quoted.push(letter),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_counted_by_name_stage_and_verdict() {
        let counts = CalloutCounts::of("count\"me");
        let second = Duration::from_secs(1);
        counts.ended(Stage::Rcpt, CalloutEnd::Passed, second);
        counts.ended(Stage::Rcpt, CalloutEnd::Verdict(VerdictKind::Rewrite), second);
        CalloutCounts::of("count\"me").ended(
            Stage::RcptReply,
            CalloutEnd::Failed(FaultKind::TimedOut),
            second,
        );
        let mut text = String::new();
        render(&mut text);
        for wanted in [
            r#"gatepost_callout_questions_total{callout="count\"me",stage="rcpt",verdict="pass"} 1"#,
            r#"gatepost_callout_questions_total{callout="count\"me",stage="rcpt",verdict="rewrite"} 1"#,
            r#"gatepost_callout_questions_total{callout="count\"me",stage="rcpt-reply",verdict="failed"} 1"#,
            r#"gatepost_callout_failures_total{callout="count\"me",reason="timed_out"} 1"#,
            r#"gatepost_callout_seconds_bucket{callout="count\"me",le="0.5"} 0"#,
            r#"gatepost_callout_seconds_bucket{callout="count\"me",le="2"} 3"#,
            r#"gatepost_callout_seconds_sum{callout="count\"me"} 3"#,
            r#"gatepost_callout_seconds_count{callout="count\"me"} 3"#,
        ] {
            assert!(text.lines().any(|line| line == wanted), "{wanted}\n{text}");
        }
    }
}
