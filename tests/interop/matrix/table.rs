//! The table of the matrix: a line for each MTA, feature and client.
//!
//! In:    the runs, as they were found equal with and without gatepost.
//! Out:   the lines, compared with the file; the whole table once all of it has run.
//! Never: holds what is of one run only: queue ids, times, ports, versions.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::{BEHIND, Behind, CLIENTS, Client, Feature};
use crate::bench::{Run, is_left_out};

const HEAD: &str = include_str!("head.txt");

static KEPT: Mutex<Vec<(Behind, Client, Vec<String>)>> = Mutex::new(Vec::new());

/// What was stored, and the codes that were heard, in the order of their first coming.
pub fn cell(run: &Run, feature: Feature, message: &str) -> String {
    let mut codes: Vec<(&str, usize)> = Vec::new();
    for reply in run.replies() {
        let code = reply.get(..3).unwrap_or(reply);
        match codes.iter_mut().find(|(known, _)| *known == code) {
            Some((_, count)) => *count += 1,
            None => codes.push((code, 1)),
        }
    }
    let codes: Vec<String> = codes
        .iter()
        .map(|(code, count)| match count {
            1 => (*code).to_owned(),
            _ => format!("{code}*{count}"),
        })
        .collect();
    let stored = if feature == Feature::Dsn { "(held)".to_owned() } else { stored(run, message) };
    format!("{stored:<16} {}", codes.join(" "))
}

fn stored(run: &Run, message: &str) -> String {
    let mailboxes = run.mailboxes();
    let names = match mailboxes.len() {
        0 => "-".to_owned(),
        1..=5 => mailboxes.join(" "),
        many => format!("{many} messages"),
    };
    // Some clients end what they send with a line of their own.
    let sent = message.split_once("\r\n\r\n").map_or("", |(_, body)| body).replace("\r\n", "\n");
    let same = |body: &[u8]| body.trim_ascii_end() == sent.trim_ascii_end().as_bytes();
    let altered = if run.stored.iter().all(|stored| same(stored.body())) { "" } else { " (altered)" };
    names + altered
}

/// One line of the table. No name has a space in it.
pub fn line(behind: Behind, feature: Feature, client: Client, cell: &str, note: &str) -> String {
    let line = format!("{}{:<10} {cell:<62} {note}", beginning(behind, feature), client.name());
    line.trim_end().to_owned()
}

fn beginning(behind: Behind, feature: Feature) -> String {
    format!("{:<9} {:<10} ", behind.name(), feature.name())
}

/// Holds the lines of one trial against the file, and keeps them for the whole.
pub fn keep(behind: Behind, client: Client, lines: Vec<String>) {
    if is_left_out() {
        return;
    }
    if std::env::var_os("BLESS").is_none() {
        let table = fs::read_to_string(path()).unwrap_or_default();
        let mine = |line: &&str| {
            let mut words = line.split_whitespace();
            words.next() == Some(behind.name()) && words.nth(1) == Some(client.name())
        };
        let written: Vec<&str> = table.lines().filter(mine).collect();
        assert_eq!(written, lines, "left as in {}, right as it was (BLESS=1 rewrites it)", path().display());
    }
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).push((behind, client, lines));
}

/// Prints the table if all of it has run.
pub fn finish() {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() < BEHIND.len() * CLIENTS.len() {
        return;
    }
    kept.sort();
    let mut table = HEAD.to_owned();
    for behind in BEHIND {
        for feature in super::FEATURES {
            let begin = beginning(behind, feature);
            table.push('\n');
            for line in kept.iter().flat_map(|(_, _, lines)| lines).filter(|line| line.starts_with(&begin)) {
                let _ = writeln!(table, "{line}");
            }
        }
    }
    print!("{table}");
    if std::env::var_os("BLESS").is_some() {
        fs::write(path(), table).unwrap();
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interop/matrix/table.txt")
}
