//! The container file.
//!
//! In:    `deploy/Containerfile`; hadolint.
//! Out:   the trials: a linter is content, what is copied is there, and the commands in it do what they are for.
//! Never: builds the image: that takes a registry.

use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::gate::{BINARY, SINK, configuration, free_address};
use crate::support::gatepost::Gatepost;
use crate::support::peers::{HADOLINT, Peer, found, trial};
use crate::support::scratch::{PATIENCE, Scratch, run};
use crate::{ours, text};

const FILE: &str = "deploy/Containerfile";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("container::a_linter_is_content", [Peer::Hadolint], a_linter_is_content),
        trial("container::what_is_copied_is_there", [], what_is_copied_is_there),
        trial("container::it_starts_and_is_healthy", [], it_starts_and_is_healthy),
    ]
}

fn a_linter_is_content() {
    let scratch = Scratch::new("hadolint");
    let mut command = Command::new(found(HADOLINT));
    // Without a file of options: neither ours nor the user's.
    command.args(["--no-color", "--config", "/dev/null", "--failure-threshold", "style"]).arg(ours(FILE));
    let said = run(&scratch, &mut command, Stdio::null(), PATIENCE);
    assert!(said.status.success() && said.stdout.is_empty(), "{}\n{}", said.stdout, said.stderr);
}

fn what_is_copied_is_there() {
    let file = text(FILE);
    let copied =
        file.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|rest| !rest.starts_with("--"));
    let copied: Vec<&str> = copied.flat_map(|rest| rest.rsplit_once(' ').unwrap().0.split(' ')).collect();
    assert!(copied.contains(&"src"), "{copied:?}");
    for path in &copied {
        assert!(ours(path).exists(), "{path}");
    }
    let rust = text("Cargo.toml");
    let rust = rust.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(file.contains(&format!("FROM rust:{rust}-")), "the image is built by Rust {rust}");
    // Cargo wants every target that Cargo.toml names, and the program its embedded default.
    for needed in ["Cargo.toml", "Cargo.lock", "tests", "benches", "proxy.yaml"] {
        assert!(copied.contains(&needed), "{needed} is not copied");
    }
}

/// The image's own words, with this machine's places.
fn it_starts_and_is_healthy() {
    let scratch = Scratch::new("container");
    let [listener, admin] = [free_address(), free_address()];
    let config = configuration(&scratch, &[listener], admin, SINK);
    let places =
        [("/usr/local/bin/gatepost", BINARY), ("/etc/gatepost/proxy.yaml", config.to_str().unwrap())];
    let start = [words("ENTRYPOINT ", &places), words("CMD ", &places)].concat();
    let health = words("  CMD ", &places);
    let command = |words: &[String]| {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command
    };
    let mut gatepost = Gatepost::start_with(scratch, command(&start), listener, admin);
    assert_eq!(command(&health).status().unwrap().code(), Some(0));
    gatepost.signal(Signal::TERM);
    assert_eq!(gatepost.ended(), Some(0));
    let said = command(&health).output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("/healthz: "), "{said:?}");
}

/// The words of the instruction that begins so, in exec form.
fn words(instruction: &str, places: &[(&str, &str)]) -> Vec<String> {
    let file = text(FILE);
    let list = file.lines().find_map(|line| line.strip_prefix(instruction)).unwrap();
    let words = list.trim_matches(['[', ']']).split(", ").map(|word| word.trim_matches('"'));
    words
        .map(|word| places.iter().find(|(was, _)| *was == word).map_or(word, |(_, is)| is).to_owned())
        .collect()
}
