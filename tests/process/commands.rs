//! The command line: `check`, and what ends a start.
//!
//! In:    files that are right and wrong, addresses that are taken.
//! Out:   exit statuses, the effective configuration, sentences that name the place or the address.
//! Never: compares whole help texts.

use std::path::Path;
use std::process::{Command, Stdio};

use super::gate::{Gate, SINK, free_address, yaml};
use crate::scratch::{Finished, PATIENCE, Scratch, run};

fn gatepost(scratch: &Scratch, arguments: &[&str], config: &Path) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(arguments).arg("--config").arg(config).current_dir(scratch.path());
    run(scratch, &mut command, Stdio::null(), PATIENCE)
}

#[test]
fn check_prints_what_loads_again() {
    let scratch = Scratch::new("check");
    let more = "limits: { sessions: 100, message_size: 10MiB }\nrules:\n  - name: moved\n    stages: [rcpt]\n    \
                match: { recipient: \"*@old.example\" }\n    do: { rewrite: { recipient: \"{local}@new.example\" } }\n";
    let config = scratch.write("first.yaml", yaml(&[free_address()], free_address(), SINK, more));
    let first = gatepost(&scratch, &["check"], &config);
    assert_eq!(first.status.code(), Some(0), "{}", first.stderr);
    assert!(first.stdout.contains("{local}@new.example"), "{}", first.stdout);
    let effective = scratch.write("second.yaml", &first.stdout);
    let second = gatepost(&scratch, &["check"], &effective);
    assert_eq!(second.status.code(), Some(0), "{}", second.stderr);
    let body = |text: &str| text.split_once('\n').map(|(_, body)| body.to_owned());
    assert!(first.stdout.starts_with("# the effective configuration, from "), "{}", first.stdout);
    assert_eq!(body(&first.stdout), body(&second.stdout));
}

#[test]
fn a_wrong_file_ends_with_2_and_its_place() {
    let scratch = Scratch::new("wrong");
    let config = scratch.write("proxy.yaml", "upstreams:\n  main: { hots: [\"127.0.0.1:25\"] }\n");
    for arguments in [&["check"][..], &["run"], &[]] {
        let ended = gatepost(&scratch, arguments, &config);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("proxy.yaml:2:11: upstreams.main.hots: unknown key"),
            "{}",
            ended.stderr
        );
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
}

#[test]
fn a_wrong_map_ends_with_2_and_its_lines() {
    let scratch = Scratch::new("map");
    let rules = "rules:\n  - { name: table, stages: rcpt, do: { map: r.map } }\n  \
                 - { name: other, stages: rcpt, do: { map: none.map } }\n";
    let config = scratch.write("proxy.yaml", yaml(&[free_address()], free_address(), SINK, rules));
    scratch.write("r.map", "a@example.net\nb@example.net upstream:mian\n");
    let ended = gatepost(&scratch, &["check"], &config);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    for line in [
        "r.map:1: nothing stands behind \"a@example.net\"; write an address, @domain or upstream:NAME",
        "r.map:2: no upstream is called \"mian\", did you mean \"main\"?",
        "none.map: cannot be read: No such file or directory (os error 2)",
    ] {
        assert!(ended.stderr.lines().any(|said| said == line), "{line}\n{}", ended.stderr);
    }
    scratch.write("r.map", "a@example.net upstream:main\n@example.org @example.net\n");
    scratch.write("none.map", "");
    let ended = gatepost(&scratch, &["check"], &config);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("map r.map: 2 entries\n"), "{}", ended.stderr);
    assert!(ended.stdout.contains("do: { map: \"r.map\" }"), "{}", ended.stdout);
}

#[test]
fn a_file_that_is_not_there_ends_with_2() {
    let scratch = Scratch::new("none");
    for command in ["check", "run"] {
        let ended = gatepost(&scratch, &[command], &scratch.path().join("none.yaml"));
        assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("none.yaml"), "{}", ended.stderr);
    }
}

#[test]
fn ask_tells_without_a_hop_or_a_name_to_resolve() {
    let scratch = Scratch::new("ask");
    let rules = "rules:\n  - { name: table, stages: rcpt, do: { map: r.map } }\n  \
                 - { name: closed, stages: rcpt, match: { recipient: \"*@example.org\" }, do: { reply: \"550 5.7.1 No\" } }\n";
    let hop = "{ hosts: [\"nowhere.invalid\"] }";
    let config = scratch.write("proxy.yaml", yaml(&[free_address()], free_address(), hop, rules));
    scratch.write("r.map", "@example.com @example.org\n");
    let ask =
        |recipient: &str| gatepost(&scratch, &["ask", "--stage", "rcpt", "--recipient", recipient], &config);
    let known = ask("a@example.com");
    assert_eq!((known.status.code(), known.stderr.as_str()), (Some(0), ""));
    for line in [
        "rule table (*): rewrite recipient <a@example.org>",
        "rule closed (*): reply 550 5.7.1 No",
        "  the client hears 550 5.7.1 No",
    ] {
        let parts: Vec<&str> = line.split('*').collect();
        let found = known.stdout.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "{line}\n{}", known.stdout);
    }
    let unknown = ask("a@example.net");
    assert!(
        unknown.stdout.contains("matches, but its map does not know the recipient\n"),
        "{}",
        unknown.stdout
    );
    let wrong = ask("a@@b");
    assert_eq!((wrong.status.code(), wrong.stdout.as_str()), (Some(2), ""));
    assert_eq!(wrong.stderr, "--recipient \"a@@b\" is no address\n");
    scratch.write("r.map", "@example.com\n");
    let broken = ask("a@example.com");
    assert_eq!(broken.status.code(), Some(2), "{}", broken.stdout);
    assert!(broken.stderr.starts_with("r.map:1: nothing stands behind"), "{}", broken.stderr);
}

#[test]
fn a_second_one_at_the_same_address_ends_with_2() {
    let gate = Gate::start(SINK, "");
    let scratch = Scratch::new("second");
    let places = [(gate.listener, free_address(), gate.listener), (free_address(), gate.admin, gate.admin)];
    for (listener, admin, taken) in places {
        let config = scratch.write("proxy.yaml", yaml(&[listener], admin, SINK, ""));
        let ended = gatepost(&scratch, &["run"], &config);
        assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("{taken}: cannot listen")), "{}", ended.stderr);
    }
    gate.client().quit();
}

#[test]
fn the_environment_overrides_values_and_is_named_when_wrong() {
    let scratch = Scratch::new("environment");
    let config = scratch.write("proxy.yaml", yaml(&[free_address()], free_address(), SINK, ""));
    let check = |value: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.args(["check", "--config"]).arg(&config).env("GATEPOST__LIMITS__RECIPIENTS", value);
        run(&scratch, &mut command, Stdio::null(), PATIENCE)
    };
    let good = check("17");
    assert_eq!(good.status.code(), Some(0), "{}", good.stderr);
    assert!(good.stdout.contains("recipients: 17"), "{}", good.stdout);
    let wrong = check("many");
    assert_eq!(wrong.status.code(), Some(2), "{}", wrong.stdout);
    assert!(wrong.stderr.contains("GATEPOST__LIMITS__RECIPIENTS"), "{}", wrong.stderr);
}

#[test]
fn sessions_beyond_the_descriptors() {
    let scratch = Scratch::new("descriptors");
    let check = |more: &str| {
        let config = scratch.write("proxy.yaml", yaml(&[free_address()], free_address(), SINK, more));
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 400 && exec \"$0\" check --config \"$1\""]);
        command.arg(env!("CARGO_BIN_EXE_gatepost")).arg(config);
        run(&scratch, &mut command, Stdio::null(), PATIENCE)
    };
    // The default is lowered and both numbers are named; what was asked for is not.
    let default = check("");
    assert_eq!(default.status.code(), Some(0), "{}", default.stderr);
    let warned = default.stderr.lines().find(|line| line.contains("limits.sessions")).unwrap_or_default();
    assert!(warned.contains("10000") && warned.contains("400"), "{}", default.stderr);
    let configured = check("limits: { sessions: 5000 }\n");
    assert_eq!(configured.status.code(), Some(2), "{}", configured.stderr);
    assert!(configured.stderr.contains("limits.sessions"), "{}", configured.stderr);
}

/// Whoever just tries it out has made no mistake; whoever wrote a file is warned.
#[test]
fn few_descriptors_are_told_of_once() {
    let scratch = Scratch::new("descriptors");
    let said = |arguments: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 1024; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_gatepost"), "check"]);
        command.args(arguments).current_dir(scratch.path());
        let done = run(&scratch, &mut command, Stdio::null(), PATIENCE);
        assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
        let lines =
            done.stderr.lines().filter(|line| line.contains("limits.sessions: lowered from 10000 to 448"));
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        assert_eq!(lines.len(), 1, "{}", done.stderr);
        lines[0].clone()
    };
    assert!(said(&[]).contains(" INFO "));
    let config = scratch.write("mine.yaml", yaml(&[free_address()], free_address(), SINK, ""));
    assert!(said(&["--config", config.to_str().unwrap()]).contains(" WARN "));
}
