//! Tests: messages of every form, split anywhere, edited in every way.

use std::sync::Arc;

use super::*;

fn read(octets: &[u8], piece: usize) -> Message {
    let mut scan = Scan::default();
    octets.chunks(piece).for_each(|octets| scan.take(octets));
    scan.finish()
}

/// What a draft is as octets.
fn written(draft: &Draft, spool: &[u8]) -> String {
    let mut out = Vec::new();
    for strand in draft.rope() {
        match strand {
            Strand::Spool(range) => out.extend_from_slice(&spool[range.start as usize..range.end as usize]),
            Strand::Put(octets) => out.extend_from_slice(&octets),
        }
    }
    String::from_utf8(out).unwrap()
}

fn shown(message: &Message) -> Vec<(String, String)> {
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    message.fields().map(|field| (text(field.name()), text(field.value()))).collect()
}

/// Octets, the fields, where the body is.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], u64);

#[test]
fn headers() {
    let table: &[Row<'_>] = &[
        ("", &[], 0),
        ("\r\n", &[], 2),
        ("\r\nbody", &[], 2),
        ("body\r\n", &[], 0),
        ("A: b\r\n\r\nbody\r\n", &[("A", " b")], 8),
        ("A: b\nC:d\n\nbody\n", &[("A", " b"), ("C", "d")], 10),
        ("A: b\r\n c\r\n\td\r\n\r\n", &[("A", " b\r\n c\r\n\td")], 16),
        ("A : b\r\n\r\n", &[("A", " b")], 9),
        ("A: b", &[("A", " b")], 4),
        ("A: b\r\nbody\r\n", &[("A", " b")], 6),
        (" A: b\r\n\r\n", &[], 0),
        ("From me\r\nA: b\r\n", &[], 0),
    ];
    for (octets, fields, body) in table {
        let fields: Vec<_> = fields.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        for piece in [1, 2, 3, 1000] {
            let message = read(octets.as_bytes(), piece);
            assert_eq!(shown(&message), fields, "{octets:?}");
            assert_eq!(message.body(), *body..octets.len() as u64, "{octets:?}");
            let draft = Arc::new(message).draft();
            assert_eq!(written(&draft, octets.as_bytes()), *octets);
        }
    }
}

#[test]
fn a_header_without_end_is_cut() {
    let octets = "A: b\r\n".repeat(HEADER);
    for piece in [7, 4096, octets.len()] {
        let message = read(octets.as_bytes(), piece);
        assert_eq!(message.fields().len(), HEADER / 6);
        assert_eq!(message.body(), (HEADER / 6 * 6) as u64..octets.len() as u64);
    }
}

#[test]
fn edits() {
    let spool = b"A: 1\r\nB: 2\r\na: 3\r\n\r\nbody\r\n";
    let field = |text: &str| text.as_bytes().into();
    let name = |text: &str| text.into();
    let table: Vec<(Edit, &str)> = vec![
        (Edit::Insert { at: 0, field: field("X: y\r\n") }, "X: y\r\nA: 1\r\nB: 2\r\na: 3\r\n\r\nbody\r\n"),
        (Edit::Insert { at: 2, field: field("X: y\r\n") }, "A: 1\r\nB: 2\r\nX: y\r\na: 3\r\n\r\nbody\r\n"),
        (Edit::Insert { at: 9, field: field("X: y\r\n") }, "A: 1\r\nB: 2\r\na: 3\r\nX: y\r\n\r\nbody\r\n"),
        (Edit::Append(field("X: y\r\n")), "A: 1\r\nB: 2\r\na: 3\r\nX: y\r\n\r\nbody\r\n"),
        (
            Edit::Change { name: name("A"), nth: 2, field: field("A: 4\r\n") },
            "A: 1\r\nB: 2\r\nA: 4\r\n\r\nbody\r\n",
        ),
        (
            Edit::Change { name: name("A"), nth: 0, field: field("A: 4\r\n") },
            "A: 4\r\nB: 2\r\na: 3\r\n\r\nbody\r\n",
        ),
        (
            Edit::Change { name: name("A"), nth: 3, field: field("A: 4\r\n") },
            "A: 1\r\nB: 2\r\na: 3\r\nA: 4\r\n\r\nbody\r\n",
        ),
        (Edit::Delete { name: name("a"), nth: 1 }, "B: 2\r\na: 3\r\n\r\nbody\r\n"),
        (Edit::Delete { name: name("a"), nth: 3 }, "A: 1\r\nB: 2\r\na: 3\r\n\r\nbody\r\n"),
        (Edit::DeleteAll(name("A")), "B: 2\r\n\r\nbody\r\n"),
        (Edit::Body(field("other\r\n").into()), "A: 1\r\nB: 2\r\na: 3\r\n\r\nother\r\n"),
    ];
    let message = Arc::new(read(spool, 5));
    for (edit, expected) in &table {
        let mut draft = message.draft();
        draft.apply(edit);
        assert_eq!(written(&draft, spool), *expected, "{edit:?}");
        assert_eq!(edit.fault(), None);
    }
    // Each sees what those before it made.
    let mut draft = message.draft();
    draft.apply(&Edit::Insert { at: 0, field: field("A: 0\r\n") });
    draft.apply(&Edit::Delete { name: name("A"), nth: 2 });
    assert_eq!(written(&draft, spool), "A: 0\r\nB: 2\r\na: 3\r\n\r\nbody\r\n");
}

#[test]
fn ten_thousand_fields_of_a_name_go_at_once() {
    let spool = "A:\r\nB:\r\n".repeat(HEADER / 8);
    let mut draft = Arc::new(read(spool.as_bytes(), spool.len())).draft();
    let since = std::time::Instant::now();
    draft.apply(&Edit::DeleteAll("A".into()));
    assert!(since.elapsed() < std::time::Duration::from_secs(2), "{:?}", since.elapsed());
    assert_eq!(draft.fields().count(), HEADER / 8);
}

#[test]
fn a_field_never_joins_a_body_that_nothing_parted() {
    for (spool, expected) in [
        ("hello\r\n", "X: y\r\n\r\nhello\r\n"),
        ("", "X: y\r\n"),
        ("A: b\r\nhello\r\n", "A: b\r\nX: y\r\n\r\nhello\r\n"),
        ("\r\nhello", "X: y\r\n\r\nhello"),
    ] {
        let mut draft = Arc::new(read(spool.as_bytes(), 3)).draft();
        draft.apply(&Edit::Append(b"X: y\r\n"[..].into()));
        assert_eq!(written(&draft, spool.as_bytes()), expected);
    }
}

#[test]
fn a_field_that_is_none_is_a_fault() {
    for field in [&b"X: y"[..], b"X y\r\n", b"X: y\r\nZ: q\r\n", b"X: y\r\n\r\n"] {
        assert!(Edit::Append(field.into()).fault().is_some());
    }
}

#[test]
fn another_message_in_its_place() {
    let came = "A: b\r\nB : c\r\n\r\nbody\r\n";
    for whole in [
        "A: b\r\nB : c\r\n\r\nbody\r\n",
        "Subject: x\r\n y\r\nX: \r\n\r\n.\r\n",
        "Subject: x\r\n\r\n",
        "\r\nno header\r\n",
        "A: lines of its own\n\nbody\n",
    ] {
        let mut draft = Arc::new(read(came.as_bytes(), 1000)).draft();
        let edits = Edit::another(whole.as_bytes());
        assert!(edits.iter().all(|edit| edit.fault().is_none()), "{whole:?}");
        edits.iter().for_each(|edit| draft.apply(edit));
        // What parts header and body is as it was.
        assert_eq!(written(&draft, came.as_bytes()), whole.replacen("\n\nbody", "\n\r\nbody", 1));
    }
    let mut draft = Arc::new(read(came.as_bytes(), 1000)).draft();
    Edit::another(b"A: cut off").iter().for_each(|edit| draft.apply(edit));
    assert_eq!(written(&draft, came.as_bytes()), "A: cut off\r\n\r\n");
    let not_fields = Edit::Header(vec![b"A: b\r\n"[..].into(), b"c\r\n"[..].into()]);
    assert!(not_fields.fault().is_some());
}

/// A message with these fields before its subject.
fn signed(fields: &str) -> String {
    format!("{fields}From: a@b.example\r\nSubject: one\r\nSubject:  two\r\n\r\nbody\r\n")
}

fn insert(field: &str) -> Edit {
    Edit::Insert { at: 0, field: format!("{field}\r\n").into_bytes().into() }
}

fn change(name: &str, nth: u32, field: &str) -> Edit {
    Edit::Change { name: name.into(), nth, field: format!("{field}\r\n").into_bytes().into() }
}

fn delete(name: &str, nth: u32) -> Edit {
    Edit::Delete { name: name.into(), nth }
}

#[test]
fn signatures_that_edits_break() {
    use Signature::{Arc as ArcSet, Dkim, Pgp, Smime};
    let dkim = "DKIM-Signature: v=1; c=relaxed/simple; h=From : subject;\r\n b=x\r\n";
    let simple = "DKIM-Signature: v=1; h=From:Subject; b=x\r\n";
    let over = "DKIM-Signature: v=1; c=relaxed; h=from:from:subject:subject:subject; b=x\r\n";
    let arc = "ARC-Seal: i=1\r\nARC-Message-Signature: i=1; h=Subject; b=x\r\n";
    let smime = "Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n";
    let pgp = "Content-Type: multipart/signed; protocol=\"application/pgp-signature\"\r\n";
    let body = || Edit::Body(b"other\r\n"[..].into());
    let table: &[(&str, Edit, &[Signature])] = &[
        (dkim, insert("X-Seen: yes"), &[]),
        (dkim, insert("Subject: above those that are covered"), &[]),
        (dkim, change("Subject", 1, "Subject: not covered"), &[]),
        (dkim, change("Subject", 2, "Subject: other"), &[Dkim]),
        (dkim, change("Subject", 2, "SUBJECT: \r\n two"), &[]),
        (simple, change("Subject", 2, "Subject: two"), &[Dkim]),
        (dkim, delete("Subject", 2), &[Dkim]),
        (dkim, Edit::Append(b"Subject: below\r\n"[..].into()), &[Dkim]),
        (dkim, delete("DKIM-Signature", 1), &[]),
        (dkim, body(), &[Dkim]),
        (over, insert("X-Seen: yes"), &[]),
        (over, insert("From: evil@example.org"), &[Dkim]),
        (arc, change("Subject", 2, "Subject: other"), &[ArcSet]),
        (arc, insert("From: evil@example.org"), &[]),
        (arc, body(), &[ArcSet]),
        (smime, body(), &[Smime]),
        (smime, insert("Subject: other"), &[]),
        (
            smime,
            change("Content-Type", 1, "Content-Type: application/pkcs7-mime; smime-type=signed-data; name=x"),
            &[Smime],
        ),
        (smime, change("Content-Type", 1, "Content-Type: text/plain"), &[]),
        (pgp, body(), &[Pgp]),
        ("", body(), &[]),
        ("DKIM-Signature\r\n", body(), &[]),
        ("DKIM-Signature: h\r\n", insert("Subject: x"), &[]),
    ];
    for (fields, edit, broken) in table {
        let mut draft = Arc::new(read(signed(fields).as_bytes(), 1000)).draft();
        assert_eq!(draft.broken(), [], "{fields}");
        draft.apply(edit);
        assert_eq!(draft.broken(), *broken, "{fields}{edit:?}");
    }
    let mut draft = Arc::new(read(signed(&[dkim, arc, pgp].concat()).as_bytes(), 1000)).draft();
    draft.apply(&body());
    assert_eq!(draft.broken(), [Dkim, ArcSet, Pgp]);
}

/// As many signatures as a header has room for, each naming a field as often as it can.
#[test]
fn signatures_by_the_thousand_cost_little() {
    let one = format!("DKIM-Signature: h={}\r\n", "subject:".repeat(100));
    let header = one.repeat(HEADER / one.len() - 1);
    let mut draft = Arc::new(read(signed(&header).as_bytes(), 1 << 20)).draft();
    draft.apply(&insert("Subject: x"));
    let began = std::time::Instant::now();
    assert_eq!(draft.broken(), [Signature::Dkim]);
    assert!(began.elapsed() < std::time::Duration::from_millis(500), "{:?}", began.elapsed());
}

/// Signatures that name what is not there, before as many fields as a header has room for.
#[test]
fn names_of_fields_by_the_thousand_cost_little() {
    let names: Vec<String> = (0..200).map(|n| format!("x{n}")).collect();
    let one = |kind: &str| format!("{kind}: c=relaxed; h={}\r\n", names.join(":"));
    let mut header = one("DKIM-Signature").repeat(10) + &one("ARC-Message-Signature").repeat(10);
    header += &"a:\r\n".repeat((HEADER - header.len()) / 4 - 20);
    let mut draft = Arc::new(read(signed(&header).as_bytes(), 1 << 20)).draft();
    draft.apply(&insert("X-Seen: yes"));
    let began = std::time::Instant::now();
    assert_eq!(draft.broken(), []);
    assert!(began.elapsed() < std::time::Duration::from_millis(500), "{:?}", began.elapsed());
}

#[test]
fn a_field_that_is_cut_off_takes_nothing_in() {
    let came = b"A: b\r\nSubject: x";
    let append = Edit::Append(b"X-Spam: yes\r\n"[..].into());
    let (first, gone) = (insert("X: y"), delete("A", 1));
    let body = Edit::Body(b"Bcc: all@x\r\nnew\r\n"[..].into());
    for (edits, expected) in [
        (vec![&append], "A: b\r\nSubject: x\r\nX-Spam: yes\r\n"),
        (vec![&body], "A: b\r\nSubject: x\r\n\r\nBcc: all@x\r\nnew\r\n"),
        (vec![&append, &body], "A: b\r\nSubject: x\r\nX-Spam: yes\r\n\r\nBcc: all@x\r\nnew\r\n"),
        (vec![&first], "X: y\r\nA: b\r\nSubject: x"),
        (vec![&gone, &body], "Subject: x\r\n\r\nBcc: all@x\r\nnew\r\n"),
    ] {
        let mut draft = Arc::new(read(came, 1000)).draft();
        edits.iter().for_each(|edit| draft.apply(edit));
        assert_eq!(written(&draft, came), expected, "{edits:?}");
    }
}
