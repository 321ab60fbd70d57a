//! The table of the tests that differ with gatepost in between, each below the reason why.
//!
//! In:    the file; what differed in fact, and what each test saw.
//! Out:   nothing, or a failure with what the file should say; with `BLESS=1` the file, rewritten.
//! Never: makes up a reason: a test that has none stands at the end, and fails.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::suite::Suite;

const NO_REASON: &str = "no reason yet";

/// How a reason begins that makes a test differ in one run, and not in the next.
const BY_CHANCE: &str = "by chance: ";

pub struct Table {
    path: PathBuf,
    text: String,
    head: String,
    /// In the order of the file: why, and below it each test with what it saw.
    reasons: Vec<(String, BTreeMap<String, String>)>,
}

impl Table {
    pub fn of(suite: Suite) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites");
        let path = folder.join(format!("{}.txt", suite.name()));
        let text = fs::read_to_string(&path).unwrap_or_default();
        let head = include_str!("head.txt").replace("SUITE", suite.name());
        let mut reasons: Vec<(String, BTreeMap<String, String>)> = Vec::new();
        let mut test = String::new();
        for line in text.lines() {
            if let Some(reason) = line.strip_prefix("= ") {
                reasons.push((reason.to_owned(), BTreeMap::new()));
            } else if let Some(saw) = line.strip_prefix("    ") {
                let (_, tests) = reasons.last_mut().expect("a reason comes first");
                tests.insert(std::mem::take(&mut test), saw.to_owned());
            } else if !line.starts_with('#') {
                test = line.to_owned();
            }
        }
        Self { path, text, head, reasons }
    }

    /// Those listed, for each reason.
    pub fn groups(&self) -> Vec<Vec<&str>> {
        self.reasons.iter().map(|(_, tests)| tests.keys().map(String::as_str).collect()).collect()
    }

    /// Whether this is what is to become of a test.
    pub fn expects(&self, test: &str, why: Option<&str>) -> bool {
        let reason = self.reasons.iter().find(|(_, tests)| tests.contains_key(test));
        reason.is_some_and(|(reason, _)| reason.starts_with(BY_CHANCE)) || reason.is_some() == why.is_some()
    }

    /// Compares it with what differed in fact.
    pub fn hold(mut self, ran: usize, mut differs: BTreeMap<String, String>) {
        let mut count = differs.len();
        for (reason, tests) in &mut self.reasons {
            if reason.starts_with(BY_CHANCE) {
                count -= tests.keys().filter(|test| differs.remove(*test).is_some()).count();
                continue;
            }
            let listed = std::mem::take(tests).into_iter();
            // What a test says depends on versions and on who is faster: it is for whoever reads it.
            let kept = |(test, said): (String, String)| {
                let (test, says) = differs.remove_entry(&test)?;
                Some((test, if is_blessed() { says } else { said }))
            };
            *tests = listed.filter_map(kept).collect();
        }
        let unexplained = !differs.is_empty();
        match self.reasons.iter_mut().find(|(reason, _)| reason == NO_REASON) {
            Some((_, tests)) => tests.extend(differs),
            None => self.reasons.push((NO_REASON.to_owned(), differs)),
        }
        let mut text = format!("{}#\n# {ran} tests, of which {count} differ.\n", self.head);
        for (reason, tests) in self.reasons.iter().filter(|(_, tests)| !tests.is_empty()) {
            let _ = writeln!(text, "\n= {reason}");
            tests.iter().for_each(|(test, saw)| _ = writeln!(text, "{test}\n    {saw}"));
        }
        if is_blessed() {
            fs::write(&self.path, &text).unwrap();
        } else if text != self.text {
            let news = |from: &str, than: &str| {
                let lines = from.lines().filter(|line| !than.lines().any(|other| other == *line));
                lines.fold(String::new(), |all, line| all + line + "\n")
            };
            let (more, less) = (news(&text, &self.text), news(&self.text, &text));
            panic!("{} does not say:\n{more}and says in vain:\n{less}", self.path.display());
        }
        let has_some = text.lines().any(|line| line.strip_prefix("= ") == Some(NO_REASON));
        assert!(!unexplained && !has_some, "{}: tests differ without a reason", self.path.display());
    }
}

fn is_blessed() -> bool {
    env::var_os("BLESS").is_some()
}

/// What a test says it saw, less what is another each time: its first line, without ids, ports and addresses.
pub fn seen(why: &str) -> String {
    const LONGEST: usize = 160;
    let line = why.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("nothing");
    // mocha says which file a test stands in, and an object where it is in memory.
    let line = line.split(" (/").next().unwrap_or(line);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut words = String::new();
    for word in line.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_cut = word.ends_with([']', '…']);
        let is_id = (bare.len() >= 12 || is_cut) && bare.chars().all(|c| c.is_ascii_hexdigit());
        let is_port = bare.len() == 5 && bare.chars().all(|c| c.is_ascii_digit());
        words.push_str(if is_id || is_port || bare == host.trim() && !bare.is_empty() { "*" } else { bare });
        words.push_str(&word[bare.len()..]);
    }
    words.chars().take(LONGEST).collect()
}
