//! What a session allocates: nothing for a command that carries nothing, nothing for content, a fixed few for MAIL
//! and RCPT.

mod memory;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

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
