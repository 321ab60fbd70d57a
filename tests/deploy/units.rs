//! The units, by systemd's own judgement and by what gatepost does.
//!
//! In:    `deploy/gatepost.service` and `deploy/gatepost.socket`; `systemd-analyze`; strace around gatepost.
//! Out:   the trials: the units are in order and tight, what gatepost calls is allowed, a drain has its time.
//! Never: starts a unit: there need not be a systemd that runs here.
//!
//! systemd.exec(5), systemd.service(5).

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use gatepost::config::types::Config;
use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::gate::{BINARY, SINK, free_address, plain, start};
use crate::support::gatepost::Gatepost;
use crate::support::peers::{Peer, found, trial};
use crate::support::raw::Raw;
use crate::support::scratch::{Finished, PATIENCE, Scratch, run, wait_for};
use crate::{ours, text};

pub fn trials() -> Vec<Trial> {
    let needs = [Peer::Systemd, Peer::Namespaces];
    vec![
        trial("units::units_are_in_order", [Peer::Systemd], units_are_in_order),
        trial("units::the_path_of_others_is_in_order", needs, the_path_of_others),
        trial("units::the_service_is_tight", [Peer::Systemd], the_service_is_tight),
        trial("units::the_service_allows_what_is_called", [Peer::Systemd, Peer::Strace], calls_are_allowed),
        trial("units::stop_waits_longer_than_a_drain", [], stop_waits_longer_than_a_drain),
    ]
}

fn analyze(scratch: &Scratch, arguments: &[&str]) -> Finished {
    run(scratch, Command::new(found("systemd-analyze")).args(arguments), Stdio::null(), PATIENCE)
}

fn units_are_in_order() {
    let scratch = Scratch::new("units");
    // The one thing verify cannot find on this machine.
    let installed = text("deploy/gatepost.service").replace("/usr/local/bin/gatepost", BINARY);
    let service = scratch.write("gatepost.service", installed);
    let socket = scratch.write("gatepost.socket", text("deploy/gatepost.socket"));
    let said = analyze(&scratch, &["verify", service.to_str().unwrap(), socket.to_str().unwrap()]);
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
    // The same with what it says of private keys taken up.
    let unit = std::fs::read_to_string(&service).unwrap();
    let keyed = unit.replace("\n#LoadCredential=", "\nLoadCredential=");
    assert_eq!(keyed.matches("\nLoadCredential=").count(), 2);
    let service = scratch.write("gatepost.service", keyed);
    let said = analyze(&scratch, &["verify", service.to_str().unwrap()]);
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
}

/// The drop-in fits the unit, which stays as tight; nftables takes its rules.
fn the_path_of_others() {
    let scratch = Scratch::new("path");
    let installed = text("deploy/gatepost.service").replace("/usr/local/bin/gatepost", BINARY);
    let service = scratch.write("gatepost.service", installed);
    scratch.make_dir("gatepost.service.d");
    scratch.write("gatepost.service.d/intercept.conf", text("deploy/gatepost.service.d/intercept.conf"));
    let service = service.to_str().unwrap();
    let said = analyze(&scratch, &["verify", service]);
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
    let said = analyze(&scratch, &["security", "--offline=true", "--threshold=19", service]);
    assert!(said.status.success(), "{}\n{}", said.stdout, said.stderr);
    for rules in ["redirect.nft", "tproxy.nft"] {
        let rules = ours("deploy/intercept").join(rules);
        let mut command = Command::new(found("unshare"));
        command.args(["--net", "nft", "--check", "--file"]).arg(rules);
        let said = run(&scratch, &mut command, Stdio::null(), PATIENCE);
        assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
    }
}

fn the_service_is_tight() {
    let scratch = Scratch::new("security");
    let service = ours("deploy/gatepost.service");
    // In tenths: exposure below 2.0.
    let said =
        analyze(&scratch, &["security", "--offline=true", "--threshold=19", service.to_str().unwrap()]);
    assert!(said.status.success(), "{}\n{}", said.stdout, said.stderr);
}

/// Has gatepost do what a service does, under strace, and compares what it called with what the unit allows.
fn calls_are_allowed() {
    let scratch = Scratch::new("calls");
    let allowed = allowed_calls(&scratch);
    let trace = scratch.path().join("trace");
    let mut command = Command::new(found("strace"));
    let hop = start(Scratch::new("hop"), plain(), &[free_address()], SINK);
    // -D: the process we hold is gatepost, and strace stands beside it.
    command.args(["-D", "-f", "-qq", "-o"]).arg(&trace).args([BINARY, "run"]);
    let mut gatepost = start(scratch, command, &[free_address()], &to(&hop));
    let mut client = Raw::connect(gatepost.listener());
    client.ask("EHLO client.example", 250);
    client.ask("MAIL FROM:<a@example.org>", 250);
    client.ask("RCPT TO:<b@example.net>", 250);
    client.ask("DATA", 354);
    client.say("Subject: x\r\n\r\nx\r\n.\r\n");
    client.hear(250);
    gatepost.signal(Signal::HUP);
    wait_for("the reload", PATIENCE, || {
        (gatepost.metric("gatepost_reloads_total", &["outcome=\"done\""]) == 1.0).then_some(())
    });
    gatepost.signal(Signal::TERM);
    client.hear(421);
    assert_eq!(gatepost.ended(), Some(0));
    let traced = wait_for("strace to have written all", PATIENCE, || {
        let traced = std::fs::read_to_string(&trace).unwrap_or_default();
        traced.contains("exit_group(").then_some(traced)
    });
    let called: BTreeSet<&str> = traced.lines().filter_map(call).collect();
    assert!(called.contains("accept4") && called.contains("connect"), "{called:?}");
    let refused: Vec<&&str> = called.iter().filter(|call| !allowed.contains(**call)).collect();
    assert!(refused.is_empty(), "deploy/gatepost.service does not let gatepost call {refused:?}");
}

/// Mail goes to that gatepost.
fn to(hop: &Gatepost) -> String {
    format!("upstreams: {{ main: {{ hosts: [\"{}\"] }} }}\n", hop.listener())
}

/// The call of a line of strace's, `PID name(...`; ends, signals and resumed calls have no such name.
fn call(line: &str) -> Option<&str> {
    let (name, _) = line.split_once(' ')?.1.trim_start().split_once('(')?;
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then_some(name)
}

/// What `SystemCallFilter=` comes to: the first line allows, those with `~` take away. `@default` is always allowed.
fn allowed_calls(scratch: &Scratch) -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for filter in
        text("deploy/gatepost.service").lines().filter_map(|line| line.strip_prefix("SystemCallFilter="))
    {
        match filter.strip_prefix('~') {
            None => filter.split(' ').for_each(|name| allowed.extend(calls_of(scratch, name))),
            Some(without) => {
                for call in without.split(' ').flat_map(|name| calls_of(scratch, name)) {
                    allowed.remove(&call);
                }
            }
        }
    }
    allowed.extend(calls_of(scratch, "@default"));
    assert!(allowed.len() > 100, "{allowed:?}");
    allowed
}

fn calls_of(scratch: &Scratch, name: &str) -> Vec<String> {
    if !name.starts_with('@') {
        return vec![name.to_owned()];
    }
    let said = analyze(scratch, &["syscall-filter", name]);
    assert!(said.status.success(), "{said:?}");
    let members = said.stdout.lines().skip(1).map(str::trim);
    let members = members.filter(|member| !member.is_empty() && !member.starts_with('#'));
    members.flat_map(|member| calls_of(scratch, member)).collect()
}

/// systemd would kill what is still being finished.
fn stop_waits_longer_than_a_drain() {
    let unit = text("deploy/gatepost.service");
    let minutes = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.strip_suffix("min"));
    let patience = Duration::from_secs(60 * minutes.unwrap().parse::<u64>().unwrap());
    let defaults = Config::default();
    assert!(patience > defaults.shutdown_grace + defaults.timeouts.end_of_data);
}
