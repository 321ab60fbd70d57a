//! A whole session in memory: what gatepost's own code costs without sockets.

#[path = "../tests/memory/mod.rs"]
mod memory;

use divan::Bencher;
use memory::Pair;

fn main() {
    divan::main();
}

#[divan::bench]
fn noop(bencher: Bencher<'_, '_>) {
    let mut pair = Pair::greeted();
    bencher.bench_local(|| {
        pair.client(b"NOOP\r\n");
        pair.hop(b"250 2.0.0 Ok\r\n");
    });
}

#[divan::bench]
fn message_4_kib(bencher: Bencher<'_, '_>) {
    let mut pair = Pair::greeted();
    let mut content = b"Subject: a message\r\n\r\n".to_vec();
    while content.len() < 4096 {
        content.extend_from_slice(
            b"A line of content, seventy-eight octets long with its end, as mail has many.\r\n",
        );
    }
    content.extend_from_slice(b".\r\n");
    bencher.bench_local(|| pair.message(&content));
}

#[divan::bench]
fn session_with_one_message() {
    let mut pair = Pair::greeted();
    pair.message(b"Subject: x\r\n\r\nx\r\n.\r\n");
    pair.client(b"QUIT\r\n");
    pair.hop(b"221 2.0.0 Bye\r\n");
}
