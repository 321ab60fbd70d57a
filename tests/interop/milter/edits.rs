//! Every modification a filter can ask for, in turn and together: what Postfix stores is the same.
//!
//! In:    a filter that does what the message asks for; each message by DATA and by BDAT.
//! Out:   trials: replies, and what is stored with its envelope; quarantine, which only a queue can do.
//! Never: tells a filter what to do but by the message itself, so that both doors get the same one.

use libtest_mimic::Trial;

use super::{Stand, dialog, sending};
use crate::messages;
use crate::support::milter::Milter;
use crate::support::peers::{Peer, trial};

pub fn trials() -> Vec<Trial> {
    let needs = [Peer::Postfix, Peer::Pymilter];
    vec![
        trial("milter::edits", needs, edits),
        trial("milter::edits_that_are_over", needs, refused),
        trial("milter::quarantine", needs, quarantine),
    ]
}

/// What the filter does, in the order in which it does it.
const EDITS: &[&[&str]] = &[
    &[],
    &[r#"["progress"]"#],
    &[r#"["addheader", "X-New", "at the end"]"#],
    &[r#"["addheader", "X-New", "folded\n\tat the end"]"#],
    &[r#"["addheader", "X-Empty", ""]"#],
    &[r#"["addheader", "X-New", "inserted", 0]"#],
    &[r#"["addheader", "X-New", "inserted", 1]"#],
    &[r#"["addheader", "X-New", "inserted", 2]"#],
    &[r#"["addheader", "X-New", "inserted", 3]"#],
    &[r#"["addheader", "X-New", "inserted", 99]"#],
    &[
        r#"["addheader", "X-One", "1", 1]"#,
        r#"["addheader", "X-Two", "2", 1]"#,
        r#"["addheader", "X-Three", "3"]"#,
    ],
    &[r#"["chgheader", "Subject", 0, "index 0"]"#],
    &[r#"["chgheader", "Subject", 1, "changed"]"#],
    &[r#"["chgheader", "SUBJECT", 1, "changed\n by another spelling"]"#],
    &[r#"["chgheader", "X-Many", 1, "the first"]"#],
    &[r#"["chgheader", "X-Many", 2, "the second"]"#],
    &[r#"["chgheader", "X-Many", 3, "the third"]"#],
    &[r#"["chgheader", "X-Many", 9, "beyond the last"]"#],
    &[r#"["chgheader", "X-Many", 2, ""]"#],
    &[r#"["chgheader", "X-Many", 9, ""]"#],
    &[r#"["chgheader", "X-Many", 1, ""]"#, r#"["chgheader", "X-Many", 1, "the second is the first now"]"#],
    &[
        r#"["chgheader", "X-Many", 3, ""]"#,
        r#"["chgheader", "X-Many", 2, ""]"#,
        r#"["chgheader", "X-Many", 1, ""]"#,
    ],
    &[r#"["chgheader", "X-None", 1, "was not there"]"#],
    &[r#"["addheader", "X-Many", "a fourth"]"#, r#"["chgheader", "X-Many", 4, "changed at once"]"#],
    &[r#"["addheader", "X-Many", "before them", 1]"#, r#"["chgheader", "X-Many", 1, "which is it"]"#],
    &[r#"["replacebody", "another\r\nbody\r\n"]"#],
    &[r#"["replacebody", ".\r\n..\r\nwith dots\r\n"]"#],
    &[r#"["replacebody", "in two\r"]"#, r#"["replacebody", "\npieces\r\n"]"#],
    &[r#"["replacebody", "without a last line end"]"#],
    &[r#"["replacebody", "\r\n"]"#],
    &[r#"["addrcpt", "<sue@a.example>"]"#],
    &[r#"["addrcpt", "sue@a.example"]"#],
    &[r#"["addrcpt", "<ann@a.example>"]"#],
    &[r#"["addrcpt", "<sue@a.example>", "NOTIFY=NEVER"]"#],
    &[r#"["delrcpt", "<ann@a.example>"]"#],
    &[r#"["delrcpt", "bob@a.example"]"#],
    &[r#"["delrcpt", "<sue@a.example>"]"#],
    &[r#"["delrcpt", "<ANN@A.EXAMPLE>"]"#],
    &[r#"["delrcpt", "<ann@a.example>"]"#, r#"["addrcpt", "<sue@a.example>"]"#],
    &[r#"["addrcpt", "<sue@a.example>"]"#, r#"["delrcpt", "<sue@a.example>"]"#],
    &[r#"["chgfrom", "<other@client.example>"]"#],
    &[r#"["chgfrom", "other@client.example"]"#],
    &[r#"["chgfrom", "<>"]"#],
    &[r#"["chgfrom", "<other@client.example>", "RET=HDRS ENVID=x"]"#],
    &[
        r#"["addheader", "X-New", "inserted", 1]"#,
        r#"["chgheader", "Subject", 1, "changed"]"#,
        r#"["chgheader", "X-Many", 2, ""]"#,
        r#"["addrcpt", "<sue@a.example>"]"#,
        r#"["delrcpt", "<bob@a.example>"]"#,
        r#"["chgfrom", "<other@client.example>"]"#,
        r#"["replacebody", "all at once\r\n"]"#,
    ],
    &[r#"["addheader", "X-New", "accepted"]"#, r#"["return", "accept"]"#],
];

/// Where the doors differ, and why.
const UNLIKE: &[(&str, &str)] = &[(
    r#"["addrcpt", "<ann@a.example>"]"#,
    "who is a recipient already is not added: Postfix delivers twice",
)];

/// A message that asks for these.
fn asking(edits: &[&str]) -> String {
    let fields: String = edits.iter().map(|edit| format!("X-Do: {edit}\r\n")).collect();
    let many = "X-Many: one\r\nX-Many:  two\r\n with a fold\r\nx-many:three\r\n";
    fields + many + &messages::message("as it was", "The body.\r\n.\r\n.it has dots\r\n")
}

fn edits() {
    let filter = Milter::python(include_str!("filter.py"));
    let stand = Stand::before(filter.place(), "");
    let mut unlike = Vec::new();
    for edits in EDITS {
        let known = UNLIKE.iter().find(|(edit, _)| edits.contains(edit));
        for by_bdat in [false, true] {
            let said = sending(&["ann", "bob"], &asking(edits), by_bdat);
            let [direct, through] =
                stand.doors().map(|door| (without_size(dialog(door, &said)), stand.take()));
            assert_eq!(direct.0.last().unwrap(), "221 2.0.0 Bye", "{edits:?}: {direct:?}");
            if edits.is_empty() {
                assert_eq!(direct.1.len(), 2, "{direct:?}");
            }
            if (direct == through) != known.is_none() {
                unlike.push(format!("{edits:?} by_bdat: {by_bdat}\n{direct:#?}\n{through:#?}"));
            }
        }
    }
    assert!(unlike.is_empty(), "{} differ:\n{}", unlike.len(), unlike.join("\n"));
}

/// Replies without the size that Postfix says after BDAT: it is of what it got, which is edited behind gatepost.
fn without_size(heard: Vec<String>) -> Vec<String> {
    let said = |reply: String| match reply.split_once(" bytes queued as ") {
        Some((_, id)) => format!("250 2.0.0 Ok: N bytes queued as {id}"),
        None => reply,
    };
    heard.into_iter().map(said).collect()
}

/// Edits of a message that is refused then, or thrown away.
fn refused() {
    let filter = Milter::python(include_str!("filter.py"));
    let stand = Stand::before(filter.place(), ", effects: [discard]");
    for (last, code) in [
        (r#"["return", "reject"]"#, "550 5.7.1"),
        (r#"["return", "tempfail"]"#, "451 4.7.1"),
        (r#"["return", "discard"]"#, "250 2.0.0"),
    ]
    .into_iter()
    .chain([
        (r#"["setreply", "554", "5.7.9", "in words of its own"]"#, "554 5.7.9"),
        (r#"["setreply", "450", "4.7.9", "the first", "the second"]"#, "450 4.7.9"),
        (r#"["setreply", "421", "4.3.2", "and goodbye"]"#, "421 4.3.2"),
    ]) {
        let verdict =
            if last.contains("\"4") { r#"["return", "tempfail"]"# } else { r#"["return", "reject"]"# };
        let edits = [r#"["addheader", "X-New", "x"]"#, r#"["addrcpt", "<sue@a.example>"]"#, last, verdict];
        for by_bdat in [false, true] {
            let said = sending(&["ann"], &asking(&edits), by_bdat);
            let [direct, through] = stand.doors().map(|door| dialog(door, &said));
            let reply = &direct[direct.len() - if code.starts_with("421") { 1 } else { 2 }];
            assert!(direct.iter().any(|reply| reply.starts_with(&code[..3])), "{last}: {reply}");
            if last.contains("discard") {
                // No queue has it, so there is no id.
                assert!(through.contains(&"250 2.6.0 Message accepted".to_owned()), "{through:?}");
            } else {
                assert_eq!(direct, through, "{last}");
            }
            assert_eq!(stand.take(), []);
        }
    }
}

/// Postfix holds it in its queue; gatepost, which has none, does what it is told to.
fn quarantine() {
    let filter = Milter::python(include_str!("filter.py"));
    for (on_quarantine, code, stored) in [("reject", "5", 0), ("tempfail", "4", 0), ("header", "2", 1)] {
        let stand = Stand::before(filter.place(), &format!(", on_quarantine: {on_quarantine}"));
        let said = sending(&["ann"], &asking(&[r#"["quarantine", "smells"]"#]), false);
        let [direct, through] = stand.doors().map(|door| dialog(door, &said));
        assert!(direct[5].starts_with("250 2.0.0"), "{direct:?}");
        assert!(through[5].starts_with(code), "{on_quarantine}: {through:?}");
        assert!(stand.postfix.log().contains("milter-hold: END-OF-MESSAGE "));
        let taken = stand.take();
        assert_eq!(taken.len(), stored, "{on_quarantine}: {taken:?}");
        assert!(taken.iter().all(|(_, text)| text.contains("smells\n")), "{taken:?}");
    }
}
