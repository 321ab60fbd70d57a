//! Tests: messages around every size that makes a difference, kept and read back.

use std::future::poll_fn;

use super::*;

async fn keep(spool: &mut Spool, octets: &[u8], piece: usize) -> io::Result<Arc<Message>> {
    for octets in octets.chunks(piece) {
        while !spool.has_room() {
            poll_fn(|cx| {
                let _ = spool.poll(cx);
                if spool.has_room() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
        spool.take(std::iter::once(octets));
        poll_fn(|cx| Poll::Ready(spool.poll(cx).is_ready())).await;
    }
    spool.end();
    poll_fn(|cx| spool.poll(cx)).await
}

async fn read_back(spool: &mut Spool, rope: Rope) -> Vec<u8> {
    let mut all = Vec::new();
    spool.pour(rope);
    loop {
        let taken = poll_fn(|cx| {
            spool.poll_piece(cx).map(|piece| {
                let piece = piece.unwrap();
                let most = piece.len().min(1000);
                all.extend_from_slice(&piece[..most]);
                most
            })
        })
        .await;
        if taken == 0 {
            return all;
        }
        spool.taken(taken);
    }
}

#[tokio::test]
async fn whatever_its_size_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    for size in [0, 1, 99, 100, 101, 5000, 200_000] {
        let octets: Vec<u8> = (0..size).map(|at| at as u8).collect();
        let mut spool = Spool::new(folder.path().to_owned(), 100, Scan::default());
        let message = keep(&mut spool, &octets, 70).await.unwrap();
        assert_eq!(message.size(), size as u64);
        let end = size as u64;
        let rope = vec![
            Strand::Put(b"before"[..].into()),
            Strand::Spool(end / 2..end),
            Strand::Spool(0..end / 2),
            Strand::Put(b"behind"[..].into()),
        ];
        let half = size / 2;
        let expected = [b"before", &octets[half..], &octets[..half], b"behind"].concat();
        assert_eq!(read_back(&mut spool, rope.clone()).await, expected, "{size}");
        assert_eq!(read_back(&mut spool, rope).await, expected, "{size}");
        let kept = spool.kept().unwrap();
        assert_eq!(kept.read(0..end).await.unwrap(), octets);
        assert!(kept.read(0..end + 1).await.is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a file has a name");
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::new(folder.path().join("none"), 10, Scan::default());
    assert!(keep(&mut spool, &[b'x'; 100], 50).await.is_err());
    // What fits into memory needs none.
    let mut spool = Spool::new(folder.path().join("none"), 10, Scan::default());
    assert!(keep(&mut spool, b"0123456789", 3).await.is_ok());
}
