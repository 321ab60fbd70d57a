//! Every script of `tests/dialogs`, run in every manner.
//!
//! `BLESS=1` rewrites the words of gatepost's own replies (never their codes); `DIALOG=name` runs those whose name
//! contains it. The notation: `docs/dialogs.md`.

#[allow(dead_code, unused_imports, reason = "each test crate uses its own part of it")]
mod script;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

use gatepost::session::verdict::{Stage, Stages};
use script::run::Mismatch;
use script::settings::Asked;
use script::sockets::{self, Sockets};
use script::{Driver, Manner, Pure, Script, run, settings};

fn scripts() -> Vec<Script> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs");
    let only = std::env::var("DIALOG").unwrap_or_default();
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "txt"));
    paths.retain(|path| path.file_stem().unwrap().to_string_lossy().contains(&only));
    paths.sort();
    paths.iter().map(|path| Script::read(path).unwrap_or_else(|error| panic!("{error}"))).collect()
}

/// Runs all scripts that may be run in this manner.
fn all(manner: Manner, piece: usize, wanted: impl Fn(&Script) -> bool) {
    all_asking(manner, piece, Asked::Written, wanted);
}

fn all_asking(manner: Manner, piece: usize, asked: Asked, wanted: impl Fn(&Script) -> bool) {
    let bless = std::env::var_os("BLESS").is_some() && manner == Manner::Written && piece > 1;
    let mut failed = Vec::new();
    let (mut count, mut blessings) = (0, Vec::new());
    for script in scripts().iter().filter(|script| wanted(script)) {
        count += 1;
        let outcome = settings::world_asking(&script.yaml, asked)
            .map_err(|error| format!("{}: {error}", script.name))
            .and_then(|world| {
                world.stress.store(script.stressed, Relaxed);
                let script = script.clone();
                // A panic of the session is one script's failure.
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                    let mut driver: Box<dyn Driver> = match manner {
                        Manner::Sockets => Box::new(Sockets::new(&script).map_err(Mismatch)?),
                        Manner::Written | Manner::Early | Manner::Asked => Box::new(Pure::new(&world, piece)),
                    };
                    run(&script, manner, &mut *driver, bless)
                }))
                .map_err(|_| "panicked".to_owned())
                .and_then(|outcome| outcome.map_err(|mismatch| mismatch.0))
            });
        match outcome {
            Ok(more) => blessings.extend(more),
            Err(text) => failed.push(format!("{} {text}", script.name)),
        }
    }
    rewrite(blessings);
    assert!(
        failed.is_empty(),
        "{} of {count} scripts went another way\n\n{}",
        failed.len(),
        failed.join("\n")
    );
}

fn rewrite(blessings: Vec<script::run::Blessing>) {
    let mut files: BTreeMap<PathBuf, BTreeMap<usize, String>> = BTreeMap::new();
    for script::run::Blessing(file, line, text) in blessings {
        files.entry(file.to_path_buf()).or_default().insert(line, text);
    }
    for (file, lines) in files {
        let text = fs::read_to_string(&file).unwrap();
        let new = text
            .lines()
            .enumerate()
            .map(|(at, old)| lines.get(&(at + 1)).map_or(old, String::as_str).to_owned() + "\n");
        fs::write(&file, new.collect::<String>()).unwrap();
    }
}

#[test]
fn as_written() {
    all(Manner::Written, usize::MAX, |_| true);
}

#[test]
fn one_octet_at_a_time() {
    all(Manner::Written, 1, |script| script.split);
}

#[test]
fn with_client_lines_early() {
    all(Manner::Early, usize::MAX, |script| script.early);
}

#[test]
fn over_sockets() {
    all(Manner::Sockets, usize::MAX, sockets::suits);
}

/// Nothing about a verdict depends on who gave it.
#[test]
fn with_callouts_in_the_rules_place() {
    all_asking(Manner::Asked, usize::MAX, Asked::Ruled, |script| {
        script.asked && script.yaml.contains("rules:") && !script.yaml.contains("callouts:")
    });
}

/// A callout that has nothing to say changes nothing.
#[test]
fn with_a_callout_that_passes() {
    // (Whoever is asked about a message has it kept first, which a hop notices.)
    let all = Stage::ALL.into_iter().filter(|stage| *stage != Stage::Message);
    let stages = all.fold(Stages::default(), Stages::with);
    all_asking(Manner::Asked, usize::MAX, Asked::Passing(stages), |script| {
        script.asked && !script.yaml.contains("callouts:")
    });
}

/// A callout in shadow at every stage changes nothing, nor what is sent together.
#[test]
fn with_a_callout_in_shadow() {
    all_asking(Manner::Written, usize::MAX, Asked::Shadowed, |_| true);
}

/// A callout at each stage alone is asked there, and nowhere else; about each recipient once.
#[test]
fn each_stage_alone_is_asked() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs/every-stage.txt");
    let script = Script::read(&script).unwrap();
    for stage in Stage::ALL.into_iter().filter(|stage| *stage != Stage::Message) {
        let asked = Asked::Passing(Stages::default().with(stage));
        let world = settings::world_asking(&script.yaml, asked).unwrap();
        let mut driver = Pure::new(&world, usize::MAX);
        run(&script, Manner::Asked, &mut driver, false).unwrap_or_else(|mismatch| panic!("{}", mismatch.0));
        let about: &[&[u8]] = match stage {
            Stage::Rcpt | Stage::RcptReply => &[b"jones@example.com", b"brown@example.com"],
            _ => &[b""],
        };
        let expected: Vec<_> = about.iter().map(|about| (stage, about.to_vec())).collect();
        assert_eq!(*world.prompt.unwrap().asked.lock().unwrap(), expected);
    }
}

/// A callout that is asked about the message, and passes, is asked once; nothing else is as if it were not there but
/// that the hop hears of content when all of it is here.
#[test]
fn the_message_alone_is_asked() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs/message-kept.txt");
    let script = Script::read(&script).unwrap();
    let yaml = "upstreams: { main: { hosts: [a] } }\n";
    let asked = Asked::Passing(Stages::default().with(Stage::Message));
    let world = settings::world_asking(yaml, asked).unwrap();
    for piece in [usize::MAX, 1] {
        let mut driver = Pure::new(&world, piece);
        run(&script, Manner::Written, &mut driver, false).unwrap_or_else(|mismatch| panic!("{}", mismatch.0));
    }
    let expected = vec![(Stage::Message, Vec::new()); 2];
    assert_eq!(*world.prompt.unwrap().asked.lock().unwrap(), expected);
}
