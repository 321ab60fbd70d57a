//! What waits for a peer, as it is written: whole, in part, and beyond the life of a receive buffer.

use super::{Tx, WORTH_A_SLICE};
use crate::smtp::Piece;

/// A receive buffer in which every octet is another one, more or less.
fn buffer() -> Vec<u8> {
    (0..1000u32).map(|at| (at % 251) as u8).collect()
}

/// Something of each kind: a reply, content that is worth a slice, a dot of ours, content that is not.
fn mixed(received: &[u8]) -> (Tx, Vec<u8>) {
    let mut tx = Tx::default();
    tx.receive_at(Some(0));
    tx.put(b"250 2.0.0 Ok\r\n");
    tx.piece(Piece::Received(10..400), received, 0);
    tx.piece(Piece::Static(b"."), received, 0);
    tx.piece(Piece::Received(400..420), received, 0);
    tx.piece(Piece::Received(500..900), received, 0);
    let said = [b"250 2.0.0 Ok\r\n", &received[10..400], b".", &received[400..420], &received[500..900]];
    (tx, said.concat())
}

fn octets(tx: &Tx, received: &[u8]) -> Vec<u8> {
    tx.slices(received).collect::<Vec<_>>().concat()
}

fn runs(tx: &Tx) -> Vec<usize> {
    tx.slices(&buffer()).map(<[u8]>::len).collect()
}

#[test]
fn what_is_said_comes_out_in_order() {
    let received = buffer();
    let (tx, said) = mixed(&received);
    assert_eq!(octets(&tx, &received), said);
    assert_eq!(tx.len(), said.len());
    assert!(tx.borrows() && !tx.is_empty());
}

#[test]
fn however_much_of_it_is_written_the_rest_follows() {
    let received = buffer();
    let said = mixed(&received).1;
    for first in 0..=said.len() {
        for second in [0, 1, 14, 300, said.len()] {
            let mut tx = mixed(&received).0;
            tx.advance(first);
            assert_eq!((octets(&tx, &received), tx.len()), (said[first..].to_vec(), said.len() - first));
            let second = second.min(said.len() - first);
            tx.advance(second);
            assert_eq!(octets(&tx, &received), said[first + second..], "{first}, then {second}");
            assert_eq!(tx.is_empty(), first + second == said.len());
            tx.put(b"more");
            assert_eq!(octets(&tx, &received), [&said[first + second..], b"more"].concat());
        }
    }
}

#[test]
fn neighbours_are_one_run() {
    let received = buffer();
    let mut tx = Tx::default();
    tx.receive_at(Some(0));
    tx.put(b"250-gate\r\n");
    tx.put(b"");
    tx.put(b"250 HELP\r\n");
    assert_eq!(runs(&tx), [20], "what is copied");
    tx.piece(Piece::Received(0..500), &received, 0);
    tx.piece(Piece::Received(500..501), &received, 0);
    tx.piece(Piece::Received(501..900), &received, 0);
    assert_eq!(runs(&tx), [20, 900], "content without a gap, however short");
    tx.piece(Piece::Received(901..910), &received, 0);
    tx.put(b".");
    assert_eq!(runs(&tx), [20, 900, 10], "short content behind a gap is copied, and so is its neighbour");
    // A run that was written in part is not the one that grew.
    tx.advance(925);
    tx.put(b"ab");
    assert_eq!(octets(&tx, &received), [&received[906..910], b".ab"].concat());
}

#[test]
fn nothing_is_no_run() {
    let mut tx = Tx::default();
    tx.receive_at(Some(0));
    tx.put(b"");
    assert!(tx.is_empty() && !tx.borrows());
    assert_eq!((tx.len(), runs(&tx)), (0, vec![]));
}

#[test]
fn content_is_copied_if_it_is_shorter_than_a_slice_is_worth() {
    let received = buffer();
    for (len, borrows) in [(1, false), (WORTH_A_SLICE - 1, false), (WORTH_A_SLICE, true), (500, true)] {
        let mut tx = Tx::default();
        tx.receive_at(Some(0));
        tx.piece(Piece::Received(0..len), &received[100..], 0);
        assert_eq!(tx.borrows(), borrows, "{len}");
        assert_eq!(tx.len(), len);
    }
}

#[test]
fn pieces_are_of_where_the_scanner_stood() {
    let received = buffer();
    let mut tx = Tx::default();
    tx.receive_at(Some(0));
    // The scanner was given what stands behind 300 octets, and had taken 50 of them.
    tx.receive_at(Some(300));
    tx.piece(Piece::Received(0..200), &received[300..], 50);
    tx.piece(Piece::Received(210..220), &received[300..], 50);
    assert_eq!(octets(&tx, &received), [&received[350..550], &received[560..570]].concat());
}

#[test]
fn what_it_owns_outlives_the_buffer() {
    let received = buffer();
    let (mut tx, said) = mixed(&received);
    tx.advance(5);
    tx.own(&received);
    assert!(!tx.borrows());
    assert_eq!(octets(&tx, &[]), said[5..]);
}
