//! The suites: how each is run, in whole or in part, and how its outcomes are read.
//!
//! In:    which of its tests.
//! Out:   a command; from the report it has written, what became of each test, by the suite's own name for it.
//! Never: looks into a test.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::peers::{Peer, found};
use crate::support::room;
use crate::support::scratch::Scratch;

/// A suite.
#[derive(Clone, Copy, Debug)]
pub enum Suite {
    Aiosmtpd,
    SmtpServer,
}

pub const SUITES: [Suite; 2] = [Suite::Aiosmtpd, Suite::SmtpServer];

/// Which of its tests.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    AllBut(&'a [&'a str]),
    Only(&'a [&'a str]),
}

/// By name: nothing, or what made it fail.
pub type Outcomes = BTreeMap<String, Option<String>>;

impl Suite {
    pub fn name(self) -> &'static str {
        match self {
            Self::Aiosmtpd => "aiosmtpd",
            Self::SmtpServer => "smtp-server",
        }
    }

    /// How many tests that differ one process may run: mocha leaves out what comes behind a hook that failed.
    pub fn together(self) -> usize {
        match self {
            Self::Aiosmtpd => 50,
            Self::SmtpServer => 1,
        }
    }

    pub fn needs(self) -> [Peer; 2] {
        [
            Peer::Namespaces,
            match self {
                Self::Aiosmtpd => Peer::AiosmtpdSuite,
                Self::SmtpServer => Peer::SmtpServerSuite,
            },
        ]
    }

    /// Runs tests, and writes what became of them to a file.
    pub fn command(self, which: Which, scratch: &Scratch, report: &Path) -> Command {
        match self {
            Self::Aiosmtpd => pytest(which, scratch, report),
            Self::SmtpServer => mocha(which, report),
        }
    }

    /// What became of the tests; nothing where the suite ended before it could say.
    pub fn outcomes(self, report: &Path) -> Outcomes {
        let Ok(text) = fs::read(report) else { return Outcomes::new() };
        let report: Value = serde_json::from_slice(&text).unwrap_or_default();
        match self {
            Self::Aiosmtpd => pytest_outcomes(&report),
            Self::SmtpServer => mocha_outcomes(&report),
        }
    }
}

/// Names are node ids below this, which all of them have.
const BELOW: &str = "aiosmtpd/tests/";

fn pytest(which: Which, scratch: &Scratch, report: &Path) -> Command {
    let site = room::cache().join("aiosmtpd");
    scratch.write("outcomes.py", include_str!("outcomes.py"));
    let mut command = Command::new(found("python3"));
    let plugins = std::env::join_paths([site.as_path(), scratch.path()]).unwrap();
    command.env("PYTHONPATH", plugins).env("PYTHONDONTWRITEBYTECODE", "1").env("OUTCOMES", report);
    command.args([
        "-m",
        "pytest",
        "--quiet",
        "-p",
        "outcomes",
        "-p",
        "no:cacheprovider",
        "-o",
        "asyncio_mode=auto",
    ]);
    // No file of settings; a test that waits for somebody in vain has a deadline, as it has none of its own.
    command.args(["-c", "/dev/null", "--timeout=10", "--rootdir"]).arg(&site);
    match which {
        Which::AllBut(tests) => {
            command.arg(site.join(BELOW));
            tests.iter().for_each(|test| _ = command.arg(format!("--deselect={BELOW}{test}")));
        }
        Which::Only(tests) => {
            command.args(tests.iter().map(|test| format!("{}/{BELOW}{test}", site.display())));
        }
    }
    command
}

fn pytest_outcomes(report: &Value) -> Outcomes {
    let tests = report.as_object().into_iter().flatten();
    tests
        .map(|(name, why)| (name.trim_start_matches(BELOW).to_owned(), why.as_str().map(str::to_owned)))
        .collect()
}

fn mocha(which: Which, report: &Path) -> Command {
    let modules = room::cache().join("smtp-server/node_modules");
    let mut command = Command::new(found("node"));
    command.arg(modules.join("mocha/bin/_mocha")).args(["--exit", "--reporter", "json"]);
    command.arg("--reporter-option").arg(format!("output={}", report.display()));
    let (tests, inverted) = match which {
        Which::AllBut(tests) => (tests, true),
        Which::Only(tests) => (tests, false),
    };
    if !tests.is_empty() {
        let names: Vec<String> = tests.iter().map(|test| escaped(test)).collect();
        command.arg("--grep").arg(format!("^({})$", names.join("|")));
    }
    if inverted && !tests.is_empty() {
        command.arg("--invert");
    }
    let tests = fs::read_dir(modules.join("smtp-server/test")).unwrap();
    let mut tests: Vec<_> = tests.map(|entry| entry.unwrap().path()).collect();
    tests.retain(|path| path.to_string_lossy().ends_with("-test.js"));
    tests.sort();
    command.args(tests);
    command
}

/// For a regular expression of JavaScript.
fn escaped(text: &str) -> String {
    let special = |c: char| ".*+?^${}()|[]\\/".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// A test passed if it, and each other of its name, did; what went wrong in a hook is the next test's, which is not run.
fn mocha_outcomes(report: &Value) -> Outcomes {
    let name = |test: &Value| test["fullTitle"].as_str().unwrap_or_default().to_owned();
    let list = |key: &str| report[key].as_array().into_iter().flatten();
    let mut outcomes: Outcomes = list("passes").map(|test| (name(test), None)).collect();
    for test in list("failures") {
        let why = test["err"]["message"].as_str().unwrap_or("no reason given").to_owned();
        let title = name(test);
        let of_hook = title.split_once("\" hook for \"").and_then(|(before, test)| {
            let (suite, _) = before.rsplit_once(" \"")?;
            Some(format!("{suite} {}", test.trim_end_matches('"')))
        });
        outcomes.insert(of_hook.unwrap_or(title), Some(why));
    }
    outcomes
}
