//! What visits have found, for people.
//!
//! In:    findings about each host, in the order they were made.
//! Out:   text: a title for each host, a line for each finding, what is wrong behind them, and a last line that counts.
//! Never: a character in it that a terminal would obey, or a line without end, whatever a host has said.

use std::fmt;

/// Characters of one finding that are shown.
const MOST: usize = 300;

/// Everything found.
#[derive(Debug)]
pub struct Report(Vec<Entry>);

/// One host, or a pool whose hosts are not known.
#[derive(Debug)]
pub(super) struct Entry {
    title: String,
    pub(super) findings: Findings,
}

/// What was found at one host.
#[derive(Debug, Default)]
pub(super) struct Findings {
    notes: Vec<(&'static str, String)>,
    wrong: Vec<String>,
}

impl Report {
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        Self(entries)
    }

    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.0.iter().all(|entry| entry.findings.wrong.is_empty())
    }
}

impl Entry {
    pub(super) fn new(pool: &str, host: &str) -> Self {
        Self { title: format!("upstreams.{pool}: {host}"), findings: Findings::default() }
    }
}

impl Findings {
    /// Notes what is so.
    pub(super) fn note(&mut self, what: &'static str, text: &str) {
        self.notes.push((what, shown(text)));
    }

    /// Takes back what was said to be wrong: something behind it is.
    pub(super) fn clear_wrong(&mut self) {
        self.wrong.clear();
    }

    /// Says what is wrong: what will come of it, and what to do.
    pub(super) fn wrong(&mut self, text: &str) {
        self.wrong.push(shown(text));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Entry { title, findings } in &self.0 {
            writeln!(f, "{title}")?;
            for (what, text) in &findings.notes {
                writeln!(f, "  {what:<12}{text}")?;
            }
            for text in &findings.wrong {
                writeln!(f, "  {:<12}{text}", "WRONG")?;
            }
        }
        match self.0.iter().filter(|entry| !entry.findings.wrong.is_empty()).count() {
            0 => writeln!(f, "nothing is wrong"),
            wrong => writeln!(f, "something is wrong at {wrong} of {}", self.0.len()),
        }
    }
}

fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(MOST).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_stands_last_and_is_counted() {
        let (mut good, mut bad) = (Entry::new("main", "a:25"), Entry::new("main", "b:25"));
        good.findings.note("greeting", "220 a \x1b[31m");
        bad.findings.wrong("nobody answers");
        bad.findings.note("reached", &"x".repeat(500));
        let report = Report::new(vec![good, bad]);
        assert!(!report.is_good());
        let expected = format!(
            "upstreams.main: a:25\n  greeting    220 a ?[31m\nupstreams.main: b:25\n  reached     {}…\n  \
             WRONG       nobody answers\nsomething is wrong at 1 of 2\n",
            "x".repeat(300)
        );
        assert_eq!(report.to_string(), expected);
        assert_eq!(
            Report::new(vec![Entry::new("main", "a:25")]).to_string(),
            "upstreams.main: a:25\nnothing is wrong\n"
        );
    }
}
