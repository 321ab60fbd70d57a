//! Messages as a filter is told of them, and what it changes.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;
use crate::message::Edit;
use crate::session::verdict::{EnvelopeEdit, MessageAnswer, MessageVerdict};

const OPTIONS: [u8; 12] = *b"\0\0\0\x06\0\0\0\xff\0\0\0\0";
const LEADING_SPACE: [u8; 12] = *b"\0\0\0\x06\0\0\0\xff\0\x10\0\0";

fn answer(answer: Result<CalloutAnswer, Fault>) -> Result<MessageAnswer, String> {
    match answer {
        Ok(CalloutAnswer::Message(answer)) => Ok(*answer),
        Ok(other) => Err(format!("{other:?}")),
        Err(fault) => Err(fault.to_string()),
    }
}

/// What a filter with these options, that says this to the end of the message, makes of one.
async fn asked(
    options: [u8; 12],
    keys: &str,
    octets: &[u8],
    says: &[Says],
) -> (Filter, Result<MessageAnswer, String>) {
    let filter = Filter::with_options(options, says.iter().map(|says| ('E', *says))).await;
    let milter = filter.client(keys);
    let client = Client::default();
    let answered = answer(milter.ask(&client.message(&["c@d.example"], octets)).await);
    milter.leave(&client.session);
    filter.told().await;
    (filter, answered)
}

#[tokio::test]
async fn fields_and_body() {
    let octets =
        b"A: b\r\nX-Folded:  a\r\n\tb\r\nNone:\r\nTab:\tc\r\nNul: a\0b\r\nspaced : x\r\n\r\nbody\r\n.\r\n";
    let (filter, _) = asked(OPTIONS, "", octets, &[]).await;
    let fields = ["A\0b\0", "X-Folded\0 a\n\tb\0", "None\0\0", "Tab\0\tc\0", "Nul\0a b\0", "spaced\0x\0"];
    assert_eq!(filter.data("L"), fields);
    assert_eq!(filter.data("B"), ["body\r\n.\r\n"]);
    let (filter, _) = asked(LEADING_SPACE, "", octets, &[]).await;
    assert_eq!(filter.data("L")[..4], ["A\0 b\0", "X-Folded\0  a\n\tb\0", "None\0\0", "Tab\0\tc\0"]);
    assert_eq!(filter.data("E"), [""]);
}

#[tokio::test]
async fn bodies_in_pieces() {
    for octets in [0, 1, 65_534, 65_535, 65_536, 4 * 65_535, 4 * 65_535 + 1, 1_000_000] {
        let body = vec![b'x'; octets];
        let message = [&b"A: b\r\n\r\n"[..], &body].concat();
        let (filter, answer) = asked(OPTIONS, "", &message, &[]).await;
        assert_eq!(answer, Ok(MessageAnswer::default()));
        let pieces = filter.data("B");
        assert!(pieces.iter().all(|piece| piece.len() <= 65_535 && !piece.is_empty()));
        assert_eq!(pieces.concat().len(), octets);
    }
}

#[tokio::test]
async fn what_is_skipped() {
    let message = [&b"A: b\r\nC: d\r\n\r\n"[..], &vec![b'x'; 200_000]].concat();
    let filter = Filter::start([('L', Says::Packet(b's', b"")), ('B', Says::Packet(b's', b""))]).await;
    let milter = filter.client("");
    let client = Client::default();
    milter.ask(&client.message(&["c@d.example"], &message)).await.unwrap();
    milter.leave(&client.session);
    assert_eq!(filter.told().await, "O C H M R T L N B E Q");
    // A decision in the midst of it ends it.
    let filter = Filter::start([('B', Says::Packet(b'r', b""))]).await;
    let milter = filter.client("");
    let answered = answer(milter.ask(&client.message(&["c@d.example"], &message)).await).unwrap();
    assert!(matches!(answered.verdict, Some(MessageVerdict::Reply(_))));
    milter.leave(&client.session);
    assert_eq!(filter.told().await, "O C H M R T L L N B Q");
}

#[tokio::test]
async fn changes() {
    let says = [
        Says::Packet(b'p', b""),
        Says::Packet(b'h', b"X-Spam\0no\0"),
        Says::Packet(b'm', b"\0\0\0\x01Subject\0**\0"),
        Says::Packet(b'b', b"one\r"),
        Says::Packet(b'b', b"\ntwo\r\n"),
        Says::Packet(b'+', b"<x@y.example>\0"),
        Says::Packet(b'-', b"<c@d.example>\0"),
        Says::Packet(b'e', b"<>\0"),
    ];
    let (_, answered) = asked(OPTIONS, "", b"A: b\r\n\r\n", &says).await;
    let changed = answered.unwrap();
    assert_eq!(
        changed.edits,
        [
            Edit::Append(b"X-Spam: no\r\n"[..].into()),
            Edit::Change { name: "Subject".into(), nth: 1, field: b"Subject: **\r\n"[..].into() },
            Edit::Body(b"one\r\ntwo\r\n"[..].into()),
        ]
    );
    let empty = Box::<[u8]>::default;
    assert_eq!(
        changed.envelope,
        [
            EnvelopeEdit::Add { path: b"x@y.example"[..].into(), parameters: empty() },
            EnvelopeEdit::Remove(b"c@d.example"[..].into()),
            EnvelopeEdit::Sender { path: empty(), parameters: None },
        ]
    );
    // What is refused is not changed.
    let refused = [Says::Packet(b'h', b"X-Spam\0yes\0"), Says::Packet(b'r', b"")];
    let (_, answered) = asked(OPTIONS, "", b"A: b\r\n\r\n", &refused).await;
    assert!(answered.unwrap().edits.is_empty());
    let mixed = [Says::Packet(b'b', b"a"), Says::Packet(b'h', b"X\0y\0"), Says::Packet(b'b', b"b")];
    let (_, answered) = asked(OPTIONS, "", b"A: b\r\n\r\n", &mixed).await;
    assert_eq!(answered.unwrap_err(), "malformed: another body, with other changes between its parts");
}

#[tokio::test]
async fn quarantines() {
    let says = [Says::Packet(b'q', b"Virus\r\nX: y\0")];
    for (keys, verdict, edits) in [
        ("", "550 5.7.1 Message refused by a filter\r\n", vec![]),
        (
            ", on_quarantine: tempfail",
            "451 4.7.1 Message held back by a filter - try again later\r\n",
            vec![],
        ),
        (
            ", on_quarantine: header",
            "",
            vec![Edit::Insert { at: 0, field: b"X-Quarantine: Virus  X: y\r\n"[..].into() }],
        ),
    ] {
        let (_, answered) = asked(OPTIONS, keys, b"A: b\r\n\r\n", &says).await;
        let answered = answered.unwrap();
        let said = match &answered.verdict {
            Some(MessageVerdict::Reply(reply)) => String::from_utf8_lossy(reply.as_bytes()).into_owned(),
            other => format!("{other:?}").replace("None", ""),
        };
        assert_eq!((&*said, &answered.edits), (verdict, &edits), "{keys}");
    }
}

/// Another body: a large packet, and many small ones behind it that are all there already.
#[tokio::test]
async fn others_are_served_while_a_body_comes_in_crumbs() {
    static CRUMBS: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut packets = Vec::new();
        put(&mut packets, b'b', &[&vec![b'x'; 16 << 20]]);
        (0..200_000).for_each(|_| put(&mut packets, b'b', &[b"y"]));
        packets
    });
    let turns = Arc::new(AtomicUsize::new(0));
    let others = tokio::spawn({
        let turns = Arc::clone(&turns);
        async move {
            loop {
                turns.fetch_add(1, Relaxed);
                tokio::task::yield_now().await;
            }
        }
    });
    let (_, answered) = asked(OPTIONS, "", b"A: b\r\n\r\n", &[Says::Octets(&CRUMBS)]).await;
    others.abort();
    let [Edit::Body(body)] = &answered.unwrap().edits[..] else { panic!("no body") };
    assert_eq!(body.len(), (16 << 20) + 200_000);
    assert!(turns.load(Relaxed) > 1_000, "{turns:?} turns");
}
