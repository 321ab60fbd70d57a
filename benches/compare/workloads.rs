//! The workloads: what is said in each, and how one run of one of them through one peer is measured.
//!
//! In:    a peer, the sink, how much to do.
//! Out:   figures for the table: rates, CPU, added time, memory, system calls.
//! Never: reports a run whose messages or octets the source and the sink count differently.
//!
//! `short`: one 4 KiB message per connection. `kept`: message after message on 20 connections. `pipelined`:
//! MAIL, RCPT and DATA in one packet (RFC 2920). `large`: 10 MiB messages, kept, on 20. `tls` and `starttls`: as
//! `short20`, with a full handshake in each session; `tls-large`: as `large`.

use std::io;
use std::iter;
use std::thread;
use std::time::Duration;

use crate::entry::Entry;
use crate::lockstep;
use crate::measure::{self, Cpu, Pinned};
use crate::peers::{Kind, Peer, Place};
use crate::report::{Row, Table};
use crate::sink::Sink;
use crate::source::{self, Script, Sent, Step, Until};

const SHORT: usize = 4 * 1024;
const LARGE: usize = 10 * 1024 * 1024;

/// One kind of load that is measured by its rate and the peer's CPU time.
pub struct Load {
    pub name: &'static str,
    pub entry: Entry,
    at_once: usize,
    size: usize,
    script: Script,
}

/// How much is done in one run.
#[derive(Clone, Copy)]
pub struct Effort {
    pub until: Until,
    pub large_messages: u64,
    pub timed_sessions: usize,
    pub timed_noops: usize,
    pub idle_sessions: usize,
    pub idle_tls_sessions: usize,
    pub traced_messages: u64,
}

impl Load {
    /// All loads, in the order of the table.
    pub fn all() -> Vec<Self> {
        let load = |name, entry, at_once, size, kept, pipelined| Self {
            name,
            entry,
            at_once,
            size,
            script: script(size, kept, pipelined),
        };
        vec![
            load("short20", Entry::Plain, 20, SHORT, false, false),
            load("short200", Entry::Plain, 200, SHORT, false, false),
            load("kept", Entry::Plain, 20, SHORT, true, false),
            load("pipelined-new", Entry::Plain, 20, SHORT, false, true),
            load("pipelined-kept", Entry::Plain, 20, SHORT, true, true),
            load("large", Entry::Plain, 20, LARGE, true, false),
            load("tls", Entry::Tls, 20, SHORT, false, false),
            load("starttls", Entry::StartTls, 20, SHORT, false, false),
            load("tls-ecdsa", Entry::TlsEcdsa, 20, SHORT, false, false),
            load("tls-large", Entry::Tls, 20, LARGE, true, false),
        ]
    }

    /// One run through `peer`; its figures go into `table`.
    pub fn measure(
        &self,
        peer: &Peer,
        sink: &Sink,
        effort: Effort,
        round: u32,
        table: &mut Table,
    ) -> io::Result<()> {
        let before = peer.pid().map(Cpu::of).transpose()?;
        let sent = self.run(peer, sink, effort)?;
        // Closing the last sessions is part of their cost.
        thread::sleep(Duration::from_millis(20));
        let after = peer.pid().map(Cpu::of).transpose()?;
        let (amount, unit, per) = if self.size == LARGE {
            (sent.octets as f64 / 1e6, "MB/s", (1e3, "s per GB"))
        } else {
            (sent.messages as f64, "messages/s", (1e3, "s per 1,000"))
        };
        let rate = amount / sent.elapsed.as_secs_f64();
        eprintln!("{:>14} {:>14} {rate:>9.0} {unit}", self.name, peer.kind.name());
        table.add(Row::ratio(self.name, "rate", unit), peer.kind, round, rate);
        if let (Some(before), Some(after)) = (before, after) {
            let used = after - before;
            table.add(Row::ratio(self.name, "CPU", per.1), peer.kind, round, used.total / amount * per.0);
            table.add(
                Row::absolute(self.name, "user CPU", per.1),
                peer.kind,
                round,
                used.user() / amount * per.0,
            );
        }
        Ok(())
    }

    /// The same without measuring.
    pub fn run(&self, peer: &Peer, sink: &Sink, effort: Effort) -> io::Result<Sent> {
        let mut until = effort.until;
        if self.size == LARGE {
            until.messages = effort.large_messages;
        }
        checked(self.name, peer.kind, sink, || source::run(peer.door(), self.at_once, &self.script, until))
    }
}

/// Added time per command, everything on one CPU. What `direct` took is taken off in the report.
pub fn added_time(peer: &Peer, effort: Effort, round: u32, table: &mut Table) -> io::Result<()> {
    let pinned = Pinned::to_one_cpu(peer.pid())?;
    let times = lockstep::time(peer.door(), effort.timed_sessions, effort.timed_noops)?;
    drop(pinned);
    for (what, sorted) in [("NOOP", &times.noop), ("first MAIL+RCPT", &times.envelope)] {
        for (name, percent) in [("p50", 50), ("p99", 99)] {
            let value = sorted[(sorted.len() - 1) * percent / 100];
            table.add(Row::absolute(what, name, "µs added").beyond_direct(), peer.kind, round, value);
        }
    }
    eprintln!("{:>14} {:>14} {:>9.1} µs a NOOP", "added", peer.kind.name(), times.noop[times.noop.len() / 2]);
    Ok(())
}

/// Memory per idle pair, in a peer started for it: what an earlier load left behind would hide some.
pub fn idle(
    (kind, entry): (Kind, Entry),
    sink: &Sink,
    place: &Place,
    effort: Effort,
    round: u32,
    table: &mut Table,
) -> io::Result<()> {
    let Some(way) = entry.at(kind) else { return Ok(()) };
    let peer = Peer::start(kind, way, sink, place)?;
    let Some(pid) = peer.pid() else { return Ok(()) };
    let (name, count) = match entry {
        Entry::Plain => ("idle pair".to_owned(), effort.idle_sessions),
        _ => (format!("idle {} pair", entry.name()), effort.idle_tls_sessions),
    };
    // What the first session of each kind costs once is not a session's cost.
    drop(lockstep::idle(peer.door(), 20, kind == Kind::Nginx)?);
    thread::sleep(Duration::from_millis(200));
    let before = measure::pss_kib(pid)?;
    let sessions = lockstep::idle(peer.door(), count, kind == Kind::Nginx)?;
    let after = measure::pss_kib(pid)?;
    let each = (after - before) / sessions.len() as f64;
    eprintln!("{name:>18} {:>10} {each:>9.2} KiB a pair", kind.name());
    table.add(Row::both(&name, "PSS", "KiB"), kind, round, each);
    Ok(())
}

/// System calls per message, short, 20 at once.
pub fn system_calls(
    peer: &Peer,
    sink: &Sink,
    place: &Place,
    effort: Effort,
    round: u32,
    table: &mut Table,
) -> io::Result<()> {
    let Some(pid) = peer.pid() else { return Ok(()) };
    let script = script(SHORT, false, false);
    let until = Until { time: Duration::from_secs(60), messages: effort.traced_messages };
    let traced = measure::system_calls(pid, &place.directory, || {
        let sent = checked("calls", peer.kind, sink, || source::run(peer.door(), 20, &script, until))?;
        thread::sleep(Duration::from_millis(100));
        Ok(sent)
    })?;
    match traced {
        Some((calls, sent)) => {
            let each = calls / sent.messages as f64;
            eprintln!("{:>14} {:>14} {each:>9.1} calls a message", "calls", peer.kind.name());
            table.add(Row::both("short20", "system calls", "per message"), peer.kind, round, each);
        }
        None => eprintln!(
            "{:>14} {:>14} not counted: strace is missing or may not attach",
            "calls",
            peer.kind.name()
        ),
    }
    Ok(())
}

/// Runs `load` and holds what the source says against what the sink counted.
fn checked(name: &str, kind: Kind, sink: &Sink, load: impl FnOnce() -> io::Result<Sent>) -> io::Result<Sent> {
    let before = sink.tally();
    let sent =
        load().map_err(|error| io::Error::other(format!("{name} through {}: {error}", kind.name())))?;
    let after = sink.tally();
    let (messages, octets) = (after.messages - before.messages, after.octets - before.octets);
    let faults = after.faults - before.faults;
    if (messages, octets, faults) == (sent.messages, sent.octets, 0) && messages > 0 {
        return Ok(sent);
    }
    Err(io::Error::other(format!(
        "{name} through {}: {} messages and {} octets went in, {messages} and {octets} came out, {faults} faults",
        kind.name(),
        sent.messages,
        sent.octets
    )))
}

fn script(size: usize, kept: bool, pipelined: bool) -> Script {
    let (mail, rcpt) = ("MAIL FROM:<sender@client.test>\r\n", "RCPT TO:<recipient@sink.test>\r\n");
    let mut message = if pipelined {
        vec![Step::new(&format!("{mail}{rcpt}DATA\r\n"), 3)]
    } else {
        vec![Step::new(mail, 1), Step::new(rcpt, 1), Step::new("DATA\r\n", 1)]
    };
    let mut content = content(size);
    let octets = content.len() as u64;
    content.extend_from_slice(b".\r\n");
    message.push(Step { send: content, ..Step::new("", 1) });
    Script { message, closing: vec![Step::new("QUIT\r\n", 1)], octets, kept }
}

/// A header and lines of 76 octets, `size` octets in all.
fn content(size: usize) -> Vec<u8> {
    let header = b"From: <sender@client.test>\r\nTo: <recipient@sink.test>\r\nSubject: compare\r\n\r\n";
    let line = b"the quick brown fox jumps over the lazy dog and 0123456789 other lazy dogs!\r\n";
    let mut content = header.to_vec();
    content.extend(iter::repeat_n(line, size / line.len() + 1).flatten());
    content.truncate(size - 2);
    // A cut within a CRLF would leave a bare CR.
    if let Some(last) = content.last_mut().filter(|last| **last == b'\r') {
        *last = b'.';
    }
    content.extend_from_slice(b"\r\n");
    content
}
