//! What a session allocates: nothing for a command that carries nothing, nothing for content, a fixed few for MAIL
//! and RCPT. And what TLS adds to a line and to content.

#[allow(dead_code, reason = "shared with others; not every test program uses all of it")]
#[path = "support/certificates.rs"]
mod certificates;
mod memory;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;

use certificates::Authority;
use gatepost::config::types::{KeyPair, ListenerTls, UpstreamTls};
use gatepost::session::route::HopTls;
use gatepost::session::settings::DoorTls;
use gatepost::stream::{Handshake, Stream};
use gatepost::tls::{ClientTls, ServerTls};
use memory::Pair;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator as it came; counting touches no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted(what: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    what();
    ALLOCATIONS.get() - before
}

/// A pair whose queues have their size: what is counted from now on recurs with every message.
fn warmed() -> Pair {
    let mut pair = Pair::greeted();
    pair.message(b"Subject: x\r\n\r\nx\r\n.\r\n");
    pair
}

#[test]
fn noop_allocates_nothing() {
    let mut pair = warmed();
    let allocations = counted(|| {
        for _ in 0..100 {
            pair.client(b"NOOP\r\n");
            pair.hop(b"250 2.0.0 Ok\r\n");
        }
    });
    assert_eq!(allocations, 0);
}

#[test]
fn mail_and_rcpt_allocate_a_fixed_few() {
    let mut pair = warmed();
    let mail = counted(|| {
        pair.client(b"MAIL FROM:<smith@example.org> SIZE=4096\r\n");
        pair.hop(b"250 2.1.0 Ok\r\n");
    });
    let rcpt = |pair: &mut Pair| {
        counted(|| {
            pair.client(b"RCPT TO:<jones@example.net>\r\n");
            pair.hop(b"250 2.1.5 Ok\r\n");
        })
    };
    let rcpts: Vec<usize> = (0..4).map(|_| rcpt(&mut pair)).collect();
    assert!(mail <= 5, "MAIL: {mail}");
    assert!(rcpts.iter().all(|&rcpt| rcpt <= 4), "RCPT: {rcpts:?}");
}

#[test]
fn content_allocates_nothing_however_long() {
    let mut pair = warmed();
    pair.client(b"MAIL FROM:<smith@example.org>\r\n");
    pair.hop(b"250 2.1.0 Ok\r\n");
    pair.client(b"RCPT TO:<jones@example.net>\r\n");
    pair.hop(b"250 2.1.5 Ok\r\n");
    pair.client(b"DATA\r\n");
    pair.hop(b"354 go\r\n");
    let line = b"A line of content, seventy-eight octets long with its end, as mail has many.\r\n";
    let block: Vec<u8> = line.iter().copied().cycle().take(line.len() * 400).collect();
    pair.client(&block);
    let allocations = counted(|| (0..100).for_each(|_| pair.client(&block)));
    assert_eq!(allocations, 0);
}

/// Two streams under TLS, each with the other's octets.
async fn secured() -> (Stream, Stream) {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("Example Root"));
    let files = authority.server(&["127.0.0.1"]).write(dir.path(), "server");
    let server = ServerTls::load(&ListenerTls {
        mode: DoorTls::Implicit,
        certificates: vec![KeyPair { certificate: files.certificate, key: files.key }],
        ..ListenerTls::default()
    });
    let client = ClientTls::load(&UpstreamTls {
        mode: HopTls::Implicit,
        roots: Some(authority.write(dir.path(), "roots")),
        ..UpstreamTls::default()
    });
    let (server, client) = (server.unwrap(), client.unwrap());
    let (theirs, ours) = tokio::net::UnixStream::pair().unwrap();
    let name = client.name(None, Some("127.0.0.1"));
    let (theirs, ours) = tokio::join!(
        Handshake::with_client(Stream::Unix(theirs), server.now()),
        Handshake::with_hop(Stream::Unix(ours), client.now(), name)
    );
    (theirs.unwrap().0, ours.unwrap().0)
}

/// What it costs to write this and to read it, each.
async fn moved(to: &mut Stream, from: &mut Stream, octets: &[u8], room: &mut [u8]) -> (usize, usize) {
    let written = counted(|| assert_eq!(from.try_write(octets).unwrap(), octets.len()));
    let (mut read, mut left) = (0, octets.len());
    while left > 0 {
        std::future::poll_fn(|cx| to.watch(cx)).await.unwrap();
        read += counted(|| match to.try_read(|| &mut *room) {
            Ok(taken) => left -= taken,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        });
    }
    (written, read)
}

#[test]
fn tls_allocates_by_the_record() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut theirs, mut ours) = secured().await;
        let mut room = vec![0; 32 << 10];
        for _ in 0..2 {
            moved(&mut theirs, &mut ours, b"NOOP\r\n", &mut room).await;
        }
        let line = moved(&mut theirs, &mut ours, b"NOOP\r\n", &mut room).await;
        assert!(line.0 <= 2 && line.1 <= 2, "a line: {line:?}");
        // Four records of 16 KiB, each gathered in rustls before it is opened.
        let block = moved(&mut theirs, &mut ours, &[b'x'; 60 << 10], &mut room).await;
        assert!(block.0 <= 8 && block.1 <= 40, "60 KiB: {block:?}");
    });
}
