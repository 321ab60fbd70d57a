//! The table of TLS: what happened, section by section, held against the file.
//!
//! In:    the lines of each section, as one trial found them.
//! Out:   a failed trial where the file says something else; the whole table once all of it has run.
//! Never: holds what is of one run only: ports, times, ids.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

const HEAD: &str = include_str!("head.txt");

static KEPT: Mutex<Vec<(String, Vec<String>)>> = Mutex::new(Vec::new());

/// Holds a section against the file, and keeps it for the whole.
pub fn keep(title: &str, lines: Vec<String>) {
    if std::env::var_os("BLESS").is_none() {
        let table = fs::read_to_string(path()).unwrap_or_default();
        let written = table.lines().skip_while(|line| *line != title).skip(1);
        let written: Vec<&str> = written.take_while(|line| !line.is_empty()).collect();
        assert_eq!(written, lines, "left as in {}, right as it was (BLESS=1 rewrites it)", path().display());
    }
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).push((title.to_owned(), lines));
}

/// Prints the table if all these sections have run; with `BLESS=1` it is the file from now on.
pub fn finish(titles: &[String]) {
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let mut table = HEAD.to_owned();
    for title in titles {
        let Some((_, lines)) = kept.iter().find(|(known, _)| known == title) else { return };
        let _ = writeln!(table, "\n{title}\n{}", lines.join("\n"));
    }
    print!("{table}");
    if std::env::var_os("BLESS").is_some() {
        fs::write(path(), table).unwrap();
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interop/tls/table.txt")
}
