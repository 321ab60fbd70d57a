//! The log never stops the mail: a reader that stalls, one that is gone, a disk that is full.
//!
//! In:    standard error that takes nothing, from the start or after a while; more lines than wait for it.
//! Out:   mail that goes on; lines that are counted, and told of as soon as somebody reads again; an end in time.
//! Never: takes a log that was written for one that was not: each case fills pipe and queue first.
//!
//! pipe(7), fifo(7), full(4).

use std::fs::{File, OpenOptions};
use std::io::{PipeReader, Read, Write, pipe};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::gate::{Gate, SINK};
use super::hop::Hop;
use crate::scratch::{PATIENCE, Scratch, run, wait_for};

const TRACE: &str = "log: { level: trace }\nlimits: { errors: 100000 }\n";

/// Commands that are written down four times each, more than a pipe and the queue hold.
const MANY: usize = 6000;

fn lost(gate: &Gate) -> f64 {
    gate.metric("gatepost_log_lines_dropped_total", &[])
}

/// A message comes through, and the control thread answers.
fn serves(gate: &Gate) {
    let mut client = gate.client();
    for (command, code) in
        [("MAIL FROM:<a@example.org>", 250), ("RCPT TO:<b@example.net>", 250), ("DATA", 354)]
    {
        client.ask(command, code);
    }
    client.say("Subject: still here\r\n\r\n.\r\n");
    client.hear(250);
    client.quit();
    assert!(gate.http("/healthz").starts_with("HTTP/1.1 200"));
}

/// Has it log more than there is room for.
fn chatter(gate: &Gate) {
    let mut client = gate.client();
    for _ in 0..MANY / 100 {
        client.say("NOOP\r\n".repeat(100));
        (0..100).for_each(|_| drop(client.hear(250)));
    }
    client.quit();
}

/// A gatepost that logs into a pipe.
fn piped(more: &str) -> (Gate, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    (
        Gate::start_as(SINK, more, |command| {
            command.stderr(writer);
        }),
        reader,
    )
}

/// All that comes, until there is something in it.
fn read_until(reader: impl Read + Send + 'static, wanted: &'static str) -> String {
    let (lines, read) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for line in std::io::BufRead::lines(std::io::BufReader::new(reader)).map_while(Result::ok) {
            // Nobody waits any more once it was found.
            let _ = lines.send(line);
        }
    });
    let (mut text, until) = (String::new(), Instant::now() + PATIENCE);
    while !text.contains(wanted) {
        let rest = until.saturating_duration_since(Instant::now());
        match read.recv_timeout(rest) {
            Ok(line) => text.extend([&*line, "\n"]),
            Err(_) => panic!(
                "{wanted:?} did not come; the end of what did:\n{}",
                &text[text.len().saturating_sub(2000)..]
            ),
        }
    }
    text
}

#[test]
fn a_reader_that_stalls_costs_lines_and_is_told_how_many() {
    let (mut gate, reader) = piped(TRACE);
    chatter(&gate);
    serves(&gate);
    let counted = lost(&gate);
    assert!(counted > 0.0, "the queue is bounded");
    let text = read_until(reader, "log: lines were lost");
    let told = text.lines().last().unwrap();
    let told: f64 = told.rsplit_once("lines=").and_then(|(_, count)| count.trim().parse().ok()).unwrap();
    assert!((1.0..=lost(&gate)).contains(&told), "{told} of {counted}");
    gate.signal(Signal::TERM);
    assert_eq!(gate.status(), Some(0));
}

#[test]
fn the_end_does_not_wait_for_a_reader_that_stalls() {
    let (mut gate, _reader) = piped(TRACE);
    chatter(&gate);
    let told = Instant::now();
    gate.signal(Signal::TERM);
    assert_eq!(gate.status(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
}

#[test]
fn a_pipe_that_is_full_from_the_start() {
    let (_reader, mut writer) = pipe().unwrap();
    let mut full = writer.try_clone().unwrap();
    // It stays in the write for as long as the pipe lives, as whatever has filled it did.
    thread::spawn(move || full.write_all(&vec![b'\n'; 1024 * 1024]));
    let taken = || rustix::io::ioctl_fionread(&_reader).unwrap();
    wait_for("the pipe to be full", PATIENCE, || (taken() >= 64 * 1024).then_some(()));
    writer.flush().unwrap();
    // A warning is said at the start, too: nobody but the hop's own loopback is told who the client is.
    let gate = Gate::start_as(SINK, "limits: { exempt: [0.0.0.0/0] }\n", |command| {
        command.stderr(writer);
    });
    serves(&gate);
}

#[test]
fn a_reader_that_is_gone_costs_lines_only() {
    let (mut gate, reader) = piped("");
    drop(reader);
    serves(&gate);
    serves(&gate);
    wait_for("lines to be counted", PATIENCE, || (lost(&gate) >= 2.0).then_some(()));
    gate.signal(Signal::TERM);
    assert_eq!(gate.status(), Some(0));
}

#[test]
fn a_reader_that_comes_back_is_told() {
    let scratch = Scratch::new("fifo");
    let fifo = scratch.path().join("log");
    let done = run(&scratch, Command::new("mkfifo").arg(&fifo), Stdio::null(), PATIENCE);
    assert!(done.status.success(), "{}", done.stderr);
    // Reading, so that the writing end can be had.
    let read = |fifo: &Path| {
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits();
        OpenOptions::new().read(true).custom_flags(nonblocking.cast_signed()).open(fifo).unwrap()
    };
    let reader = read(&fifo);
    let writer = OpenOptions::new().write(true).open(&fifo).unwrap();
    let gate = Gate::start_as(SINK, "log: { format: json }\n", |command| {
        command.stderr(writer);
    });
    drop(reader);
    serves(&gate);
    wait_for("lines to be counted", PATIENCE, || (lost(&gate) >= 1.0).then_some(()));
    let mut again = read(&fifo);
    let mut text = Vec::new();
    wait_for("the loss to be told", PATIENCE, || {
        // Nothing may be there yet.
        let _ = again.read_to_end(&mut text);
        String::from_utf8_lossy(&text).contains("log: lines were lost").then_some(())
    });
    let text = String::from_utf8(text).unwrap();
    let told = text.lines().find(|line| line.contains("log: lines were lost")).unwrap();
    let told: serde_json::Value = serde_json::from_str(told).unwrap();
    assert_eq!(told["lines"].as_f64(), Some(lost(&gate)), "{told}");
    serves(&gate);
}

#[test]
fn a_full_disk_costs_lines_only() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut gate = Gate::start_as(SINK, TRACE, |command| {
        command.stderr(full);
    });
    serves(&gate);
    wait_for("lines to be counted", PATIENCE, || (lost(&gate) >= 10.0).then_some(()));
    gate.signal(Signal::TERM);
    assert_eq!(gate.status(), Some(0));
}

#[test]
fn a_record_is_at_most_16_kib_and_can_be_read() {
    let hop = Hop::start("hop.example");
    for format in ["json", "text"] {
        let more = format!("log: {{ format: {format} }}\n");
        let gate = Gate::start(&hop.upstream(), &more);
        let mut client = gate.client();
        client.ask("MAIL FROM:<a@example.org>", 250);
        for number in 0..900 {
            client.ask(&format!("RCPT TO:<{}{number}@example.net>", "r".repeat(100)), 250);
        }
        client.ask("DATA", 354);
        client.ask(".", 250);
        client.quit();
        let record = wait_for("the record", PATIENCE, || {
            let output = gate.output();
            output.lines().find(|line| line.contains("sender")).map(ToOwned::to_owned)
        });
        assert!(record.len() < 16 * 1024 && record.len() > 4 * 1024, "{format}: {}", record.len());
        if format == "json" {
            let record: serde_json::Value = serde_json::from_str(&record).unwrap();
            assert_eq!(record["outcome"], "accepted");
            let recipients = record["recipients"].as_array().unwrap();
            let (more, told) = recipients.split_last().unwrap();
            assert_eq!(told.len() as u64 + more["more"].as_u64().unwrap(), 900);
            assert_eq!(told[0]["heard"], "250 2.0.0 Ok");
        } else {
            assert!(record.contains("and 8") && record.contains(" more"), "{record}");
            assert!(record.contains("outcome=\"accepted\""), "{record}");
        }
    }
}
