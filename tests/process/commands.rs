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
        "rules[0].do.map: r.map:1: nothing stands behind \"a@example.net\"; write an address, @domain or upstream:NAME",
        "rules[0].do.map: r.map:2: no upstream is called \"mian\", did you mean \"main\"?",
        "rules[1].do.map: none.map: cannot be read: No such file or directory (os error 2)",
    ] {
        let here = |said: &str| said.contains("proxy.yaml:") && said.ends_with(line);
        assert!(ended.stderr.lines().any(here), "{line}\n{}", ended.stderr);
    }
    scratch.write("none.map", "");
    let ended = gatepost(&scratch, &["check"], &config);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.lines().any(|line| line.starts_with("r.map:1: nothing stands behind")),
        "{}",
        ended.stderr
    );
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
fn names_that_lead_nowhere_end_with_1_unless_offline() {
    let scratch = Scratch::new("names");
    let callout = "callouts:\n  - { name: d, type: http, url: \"http://callout.invalid/\", stages: rcpt }\n\
                   rules:\n  - { name: r, stages: rcpt-reply, do: { retry: [{ mx: domain.invalid }] } }\n";
    let hop = "{ hosts: [\"127.0.0.1:25\", \"nowhere.invalid\"] }";
    let config = scratch.write("proxy.yaml", yaml(&[free_address()], free_address(), hop, callout));
    let asked = gatepost(&scratch, &["check"], &config);
    assert_eq!(asked.status.code(), Some(1), "{}", asked.stderr);
    assert!(asked.stdout.contains("nowhere.invalid"), "it is printed all the same: {}", asked.stdout);
    for (key, name) in [
        ("upstreams.main.hosts[1]", "nowhere.invalid:25: "),
        ("callouts[0].url", "callout.invalid: "),
        ("rules[0].do.retry[0].mx", "mx domain.invalid: "),
    ] {
        let here = |line: &str| line.contains("proxy.yaml:") && line.contains(&format!("{key}: {name}"));
        assert!(asked.stderr.lines().any(here), "{key}\n{}", asked.stderr);
    }
    assert!(asked.stderr.contains("3 of the names lead nowhere"), "{}", asked.stderr);
    let offline = gatepost(&scratch, &["check", "--offline"], &config);
    assert_eq!(offline.status.code(), Some(0), "{}", offline.stderr);
    assert_eq!(offline.stdout, asked.stdout);
    assert!(!offline.stderr.contains("nowhere.invalid"), "{}", offline.stderr);
}

#[test]
fn check_tells_of_a_folder_for_messages_that_is_not_there() {
    let scratch = Scratch::new("no-spool");
    let folder = scratch.path().join("spool");
    let content = format!("content: {{ spool: \"{}\" }}\n", folder.display());
    let rule = "rules:\n  - { name: r, stages: message, do: { add_header: \"X: y\" } }\n";
    let checked = |more: &str| {
        let config =
            scratch.write("proxy.yaml", yaml(&[free_address()], free_address(), "{ sink: ./mail }", more));
        let checked = gatepost(&scratch, &["check", "--offline"], &config);
        assert_eq!(checked.status.code(), Some(0), "{}", checked.stderr);
        checked.stderr
    };
    let warning = format!("warning: content.spool: {}: No such file or directory", folder.display());
    assert!(checked(&format!("{content}{rule}")).contains(&warning));
    assert!(!checked(&content).contains("warning"), "nobody asks for it");
    std::fs::create_dir(&folder).unwrap();
    assert!(!checked(&format!("{content}{rule}")).contains("warning"));
}

/// In a network of its own, where no port is anybody's to take but root's.
#[test]
fn a_low_port_without_privilege_names_what_gives_it() {
    let scratch = Scratch::new("low");
    let low = std::net::SocketAddr::from(([0, 0, 0, 0], 25));
    let config = scratch.write("proxy.yaml", yaml(&[low], free_address(), SINK, ""));
    let mut command = Command::new("unshare");
    command.args([
        "-n",
        "setpriv",
        "--bounding-set=-all",
        "--inh-caps=-all",
        "--reuid=65534",
        "--clear-groups",
    ]);
    command.arg(env!("CARGO_BIN_EXE_gatepost")).args(["run", "--config"]).arg(config).current_dir("/");
    let ended = run(&scratch, &mut command, Stdio::null(), PATIENCE);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    for word in ["0.0.0.0:25: cannot listen", "CAP_NET_BIND_SERVICE", "deploy/gatepost.service"] {
        assert!(ended.stderr.contains(word), "{word}\n{}", ended.stderr);
    }
}

#[test]
fn ask_reads_sizes_as_the_file_does() {
    let scratch = Scratch::new("sizes");
    let rules = "rules:\n  - { name: big, stages: mail, match: { size: \">10MiB\" }, do: { reply: \"552 5.3.4 Too big\" } }\n";
    let config = scratch.write("proxy.yaml", yaml(&[free_address()], free_address(), SINK, rules));
    let ask = |size: &str| {
        gatepost(&scratch, &["ask", "--stage", "mail", "--sender", "a@example.org", "--size", size], &config)
    };
    for (size, hears) in
        [("11MiB", "552 5.3.4 Too big"), ("11534336", "552 5.3.4 Too big"), ("10MiB", "upstream main")]
    {
        let said = ask(size);
        assert_eq!(said.status.code(), Some(0), "{}", said.stderr);
        assert!(said.stdout.contains(hears), "{size}\n{}", said.stdout);
    }
    let wrong = ask("10M");
    assert_eq!(wrong.status.code(), Some(2), "{}", wrong.stdout);
    assert!(wrong.stderr.contains("found \"10M\", did you mean 10MiB?"), "{}", wrong.stderr);
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
