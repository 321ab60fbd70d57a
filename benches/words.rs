//! How fast octets become words: content through the scanner, commands, replies.
//!
//! In:    content of several shapes, clean and dirty, in blocks as a socket gives them.
//! Out:   octets per second.
//! Never: measures a socket.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use gatepost::smtp::{
    BareNewline, Command, DataScanner, Piece, ReplyFramer, ReplyLimits, Stuffer, Unstuffer,
};

const BLOCK: usize = 64 * 1024;

const BODIES: &[&str] =
    &["clean", "dotted", "one-octet lines", "all LF", "all LF, one octet", "stray CR", "all CR"];

fn main() {
    divan::main();
}

/// One MiB of content.
fn body(name: &str) -> Vec<u8> {
    let line: &[u8] = match name {
        "clean" => b"This is a line of text as long as the lines of messages use to be, wrapped.\r\n",
        "dotted" => b"A line of text.\r\n..and one that begins with a dot, which the client has stuffed.\r\n",
        "one-octet lines" => b"x\r\n",
        "all LF" => b"This is a line of text as long as the lines of messages use to be, wrapped.\n",
        "all LF, one octet" => b"x\n",
        "stray CR" => b"This is a line of text with a CR\rin it, as some broken programs send them.\r\n",
        _ => b"\r",
    };
    line.iter().copied().cycle().take(1024 * 1024).collect()
}

fn sum(total: &mut usize, piece: Piece) {
    *total += match piece {
        Piece::Received(range) => range.len(),
        Piece::Static(octets) => octets.len(),
    };
}

#[divan::bench(args = BODIES)]
fn data_scanner(bencher: Bencher<'_, '_>, name: &str) {
    let body = body(name);
    bencher.counter(BytesCount::of_slice(&body)).bench(|| {
        let mut scanner = DataScanner::new(BareNewline::Normalize);
        let mut total = 0;
        for block in black_box(&body).chunks(BLOCK) {
            scanner.scan(block, &mut |piece| sum(&mut total, piece));
        }
        total
    });
}

#[divan::bench(args = BODIES)]
fn stuffer(bencher: Bencher<'_, '_>, name: &str) {
    let body = body(name);
    bencher.counter(BytesCount::of_slice(&body)).bench(|| {
        let mut stuffer = Stuffer::new(BareNewline::Normalize);
        let mut total = 0;
        for block in black_box(&body).chunks(BLOCK) {
            stuffer.stuff(block, &mut |piece| sum(&mut total, piece));
        }
        total
    });
}

#[divan::bench(args = ["clean", "dotted", "one-octet lines"])]
fn unstuffer(bencher: Bencher<'_, '_>, name: &str) {
    let body = body(name);
    bencher.counter(BytesCount::of_slice(&body)).bench(|| {
        let mut reader = Unstuffer::new();
        let mut total = 0;
        for block in black_box(&body).chunks(BLOCK) {
            reader.scan(block, &mut |piece| sum(&mut total, piece));
        }
        total
    });
}

#[divan::bench(args = [
    "NOOP",
    "DATA",
    "EHLO mx.example.com",
    "MAIL FROM:<smith@example.org> SIZE=12345 BODY=8BITMIME",
    "RCPT TO:<jones@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;jones@example.net",
])]
fn command(line: &str) -> usize {
    let mut out = Vec::with_capacity(128);
    if let Ok(command) = Command::parse(black_box(line.as_bytes())) {
        command.write(&mut out);
    }
    out.len()
}

#[divan::bench(args = ["one line", "EHLO"])]
fn reply(bencher: Bencher<'_, '_>, name: &str) {
    let octets: &[u8] = match name {
        "EHLO" => b"250-mx.example.com\r\n250-PIPELINING\r\n250-SIZE 1024\r\n250-DSN\r\n250 8BITMIME\r\n",
        _ => b"250 2.1.0 Ok\r\n",
    };
    let limits = ReplyLimits { line: 4096, reply: 65536 };
    bencher.bench(|| {
        let framed = ReplyFramer::default().next(black_box(octets), limits);
        framed.ok().flatten().map(|reply| reply.as_bytes().len())
    });
}
