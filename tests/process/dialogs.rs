//! `run --show-dialogs`: both dialogs in the terminal.
//!
//! In:    sessions before the embedded sink; a standard output that is a file, closed, or read by nobody.
//! Out:   rows in two columns, for the clients and recipients that are meant; no secret and no content.
//! Never: opens a terminal: colours are forced by the environment.

use std::io::Read;
use std::process::{Command, Stdio};

use super::gate::{Gate, SINK};
use crate::scratch::{PATIENCE, wait_for};

fn shown(arguments: &'static [&'static str]) -> Gate {
    Gate::start_as(SINK, "", |command: &mut Command| {
        command.args(["run", "--show-dialogs"]).args(arguments);
    })
}

/// A message to that recipient, and what is to be seen of it when the session is over.
fn send(gate: &Gate, recipient: &str) {
    let mut client = gate.client();
    client.ask("MAIL FROM:<a@example.org>", 250);
    client.ask(&format!("RCPT TO:<{recipient}>"), 250);
    client.ask("DATA", 354);
    client.say("Subject: private\r\n\r\n.\r\n");
    client.hear(250);
    client.say("AUTH PLAIN c2VjcmV0\r\n");
    client.reply();
    client.quit();
}

/// The output, when that many sessions are over.
fn output(gate: &Gate, over: usize) -> String {
    wait_for("the sessions to be over", PATIENCE, || {
        let output = gate.output();
        (output.lines().filter(|line| line.ends_with(" over")).count() >= over).then_some(output)
    })
}

#[test]
fn both_dialogs_stand_side_by_side() {
    let gate = shown(&[]);
    send(&gate, "b@example.net");
    let output = output(&gate, 1);
    for (left, right) in [
        ("session ", ""),
        ("C: EHLO client.example ", ""),
        ("", "\u{2502} [1] C: RCPT TO:<b@example.net>"),
        ("C: (20 octets of content) ", ""),
        ("", "\u{2502} [1] C: (20 octets of content)"),
        ("C: AUTH PLAIN (secret) ", ""),
        ("", "\u{2502} [1] C: (secret)"),
        ("S: 221 ", ""),
    ] {
        let found = output
            .lines()
            .any(|line| line.get(22..).is_some_and(|said| said.starts_with(left)) && line.ends_with(right));
        assert!(found, "{left:?} {right:?} is missing in\n{output}");
    }
    // As the README shows them, but for times and sessions.
    let readme = include_str!("../../README.md");
    let (_, block) = readme.split_once("<!-- dialogs -->\n```text\n").unwrap();
    for row in block.lines().take_while(|row| *row != "```") {
        let shown = output.lines().any(|line| line.get(22..) == row.get(22..));
        assert!(shown, "{row:?} is in the README, but not in\n{output}");
    }
    for secret in ["private", "c2VjcmV0", "\u{1b}"] {
        assert!(!output.contains(secret), "{secret:?} is in\n{output}");
    }
    assert!(!output.contains(" TRACE "), "the log stays as it was configured:\n{output}");
}

#[test]
fn only_the_clients_and_recipients_that_are_meant() {
    let gate = shown(&["--client", "192.0.2.0/24"]);
    send(&gate, "b@example.net");
    wait_for("the message to be counted", PATIENCE, || {
        (gate.metric("gatepost_sessions_ended_total", &[]) > 0.0).then_some(())
    });
    assert!(!gate.output().contains("C: "), "{}", gate.output());
    let gate = shown(&["--client", "127.0.0.0/8", "--recipient", "*@example.com"]);
    send(&gate, "b@example.net");
    send(&gate, "b@example.com");
    let output = output(&gate, 1);
    let rows: Vec<&str> = output.lines().filter(|line| line.contains(" C: ")).collect();
    assert!(rows.iter().any(|row| row.contains("C: EHLO client.example")), "{output}");
    assert!(!rows.iter().any(|row| row.contains("b@example.net")), "{output}");
}

#[test]
fn colours_where_they_are_wanted() {
    let gate = Gate::start_as(SINK, "", |command: &mut Command| {
        command.args(["run", "--show-dialogs"]).env("CLICOLOR_FORCE", "1");
    });
    gate.client().quit();
    wait_for("a green reply", PATIENCE, || gate.output().contains("\u{1b}[32mS: 221 ").then_some(()));
}

#[test]
fn a_terminal_nobody_reads_keeps_no_session_waiting() {
    let mut gate = Gate::start_as(SINK, "", |command: &mut Command| {
        command.args(["run", "--show-dialogs"]).stdout(Stdio::piped());
    });
    let mut client = gate.client();
    for _ in 0..100 {
        client.say("NOOP\r\n".repeat(100));
        for _ in 0..100 {
            client.hear(250);
        }
    }
    client.quit();
    let mut terminal = gate.stdout();
    let mut seen = String::new();
    let mut piece = [0; 4096];
    while !seen.contains(" lines are missing here: the terminal is too slow)") {
        let count = terminal.read(&mut piece).unwrap();
        assert!(count > 0, "nothing is said to be missing in\n{seen}");
        seen.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    // Nor does one that is closed.
    drop(terminal);
    send(&gate, "b@example.net");
    wait_for("the log to say so", PATIENCE, || {
        send(&gate, "b@example.net");
        gate.output().contains("dialogs are shown no more").then_some(())
    });
    gate.signal(rustix::process::Signal::TERM);
    assert_eq!(gate.status(), Some(0));
}

#[test]
fn options_without_dialogs_or_sense_are_refused() {
    for (arguments, said) in [
        (&["run", "--client", "192.0.2.1"][..], "--show-dialogs"),
        (&["run", "--show-dialogs", "--client", "example.com"], "such as 192.0.2.0/24"),
        (&["run", "--show-dialogs", "--recipient", "a@b@"], "is no address"),
    ] {
        let ended = Command::new(env!("CARGO_BIN_EXE_gatepost")).args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
}
