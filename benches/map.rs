//! What a map of a million lines costs: memory for each line, time for a look-up.
//!
//! **In**: a file of a million recipients that is written first. **Out**: resident memory per line, the time to read
//! the file, and the time of a look-up: of recipients in no order, so that the caches hold little of the map.
//! **Never**: opens a socket. Run with `cargo bench --bench map`.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use divan::{Bencher, black_box};
use gatepost::config::types::{Action, Decide, Mark, Match, Rule};
use gatepost::rules::{Map, Maps};
use gatepost::session::verdict::Stage;
use gatepost::smtp::Canonical;

const LINES: u64 = 1_000_000;

/// Recipients that are asked for in turn: too many for the nearest cache.
const ASKED: usize = 1 << 16;

static MAP: LazyLock<Arc<Map>> = LazyLock::new(load);

fn main() {
    LazyLock::force(&MAP);
    divan::main();
}

fn load() -> Arc<Map> {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("million.map");
    write(&file).expect("the target directory can be written");
    let rule = Rule {
        name: "map".to_owned(),
        stages: vec![Stage::Rcpt],
        matches: Match::default(),
        actions: Action { decide: Some(Decide::Map(file.clone())), ..Action::default() },
        mark: Mark::default(),
    };
    let (before, started) = (resident(), Instant::now());
    let (maps, errors) = Maps::load(&[rule], &["main", "branch"]);
    let (took, after) = (started.elapsed(), resident());
    assert!(errors.is_empty(), "{errors:?}");
    let map = Arc::clone(maps.get(&file).expect("it was read"));
    let text = fs::metadata(&file).expect("it was written").len();
    println!(
        "{} lines, {} octets each in the file: read in {took:?}, {} octets of memory each",
        map.len(),
        text / LINES,
        after.saturating_sub(before) / LINES
    );
    map
}

fn write(file: &PathBuf) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(file)?);
    for number in 0..LINES {
        match number % 4 {
            0 => writeln!(out, "first.last{number}@example.com first.last{number}@store.example.net")?,
            1 => writeln!(out, "first.last{number}@example.com upstream:branch")?,
            2 => writeln!(out, "first.last{number}@example.com @new.example.net upstream:branch")?,
            _ => writeln!(out, "@customer{number}.example @hosting.example.net")?,
        }
    }
    writeln!(out, ".below.example upstream:main")?;
    out.flush()
}

/// Resident memory of this process, in octets.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages: u64 = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * 4096
}

fn look_up(bencher: Bencher<'_, '_>, recipient: impl Fn(u64) -> String) {
    let map = &*MAP;
    // A step that has no divisor in common with the number of lines visits them in no order.
    let numbers = (0..ASKED as u64).map(|n| n * 733_331 % LINES);
    let asked: Vec<_> =
        numbers.map(|n| Canonical::parse(&recipient(n)).expect("these are addresses")).collect();
    let mut next = 0;
    bencher.bench_local(|| {
        next = (next + 1) % ASKED;
        map.find(black_box(&asked[next]))
    });
}

/// A recipient that has a line.
#[divan::bench(sample_size = 20_000, sample_count = 50)]
fn address(bencher: Bencher<'_, '_>) {
    look_up(bencher, |number| format!("First.Last{}@Example.COM", number / 4 * 4));
}

/// A recipient whose domain has one.
#[divan::bench(sample_size = 20_000, sample_count = 50)]
fn domain(bencher: Bencher<'_, '_>) {
    look_up(bencher, |number| format!("joe@customer{}.example", number / 4 * 4 + 3));
}

/// A recipient that a domain far above has one for.
#[divan::bench(sample_size = 20_000, sample_count = 50)]
fn below(bencher: Bencher<'_, '_>) {
    look_up(bencher, |number| format!("joe@a.b.c{number}.below.example"));
}

/// A recipient nothing is said about.
#[divan::bench(sample_size = 20_000, sample_count = 50)]
fn nothing(bencher: Bencher<'_, '_>) {
    look_up(bencher, |number| format!("joe{number}@mail.example.org"));
}
