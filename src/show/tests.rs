//! Dialogs in a terminal: rows as they are written, who is held back, and what is let go.
//!
//! **In**: lines as sessions trace them. **Out**: the text of the terminal. **Never**: a terminal or a thread.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::session::io::HopId;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

fn said(session: u64, hop: Option<u8>, line: &str) -> Line {
    let (side, octets) = match line.split_at(3) {
        ("C: ", octets) => (TraceSide::Client, octets),
        (_, octets) => (TraceSide::Server, octets),
    };
    Line {
        session: SessionId(session),
        client: CLIENT,
        time: UNIX_EPOCH + Duration::from_millis(86_400_000 + 3_723_045),
        peer: hop.map_or(Peer::Downstream, |hop| Peer::Upstream(HopId::numbered(hop.into()).unwrap())),
        side,
        octets: octets.as_bytes().into(),
    }
}

/// A page 80 columns wide, without colours.
struct Terminal {
    page: Page,
    text: Vec<u8>,
}

impl Terminal {
    fn new(recipients: &[&str]) -> Self {
        let patterns: Vec<String> = recipients.iter().map(|pattern| (*pattern).to_owned()).collect();
        let recipients = (!patterns.is_empty()).then(|| Addresses::new(&patterns).unwrap());
        Self { page: Page::new(recipients, || 80), text: Vec::new() }
    }

    fn line(&mut self, session: u64, hop: Option<u8>, line: &str) {
        self.page.line(said(session, hop, line), &mut self.text).unwrap();
    }

    fn over(&mut self, session: u64) {
        self.page.over(SessionId(session), UNIX_EPOCH, &mut self.text).unwrap();
    }

    /// What was written since the last time.
    fn text(&mut self) -> String {
        let text = String::from_utf8(std::mem::take(&mut self.text)).unwrap();
        anstream::adapter::strip_str(&text).to_string()
    }
}

const A: u64 = 0x1234_5678_9abc_def0;

#[test]
fn two_columns() {
    let mut terminal = Terminal::new(&[]);
    terminal.line(A, Some(2), "S: 220 mx.example");
    terminal.line(A, None, "C: EHLO x");
    terminal.line(A, None, "C: MAIL FROM:<a-rather-long-name@example.org>");
    terminal.line(A, Some(1), "S: 250 \u{1b}[31mred\u{9b}");
    terminal.over(A);
    let expected = [
        "01:02:03.045 12345678 session 123456789abcdef0, client 192.0.2.7",
        "01:02:03.045 12345678                             \u{2502} [2] S: 220 mx.example",
        "01:02:03.045 12345678 C: EHLO x                   \u{2502}",
        "01:02:03.045 12345678 C: MAIL FROM:<a-rather-long \u{2502}",
        "                      -name@example.org>          \u{2502}",
        "01:02:03.045 12345678                             \u{2502} [1] S: 250 \u{fffd}[31mred\u{fffd}",
        "00:00:00.000 12345678 over\n",
    ];
    assert_eq!(terminal.text(), expected.join("\n"));
}

#[test]
fn colours_tell_replies_apart() {
    let mut terminal = Terminal::new(&[]);
    for (line, style) in [
        ("S: 250 a", "\u{1b}[32m"),
        ("S: 450 a", "\u{1b}[33m"),
        ("S: 550 a", "\u{1b}[31m"),
        ("C: a", "\u{1b}[1m"),
    ] {
        terminal.text.clear();
        terminal.line(A, None, line);
        let text = String::from_utf8_lossy(&terminal.text);
        assert!(text.contains(&format!("{style}{line}\u{1b}[0m")), "{text:?}");
    }
}

#[test]
fn a_dialog_is_held_back_until_its_recipient_is_meant() {
    let mut terminal = Terminal::new(&["*@Example.com", "postmaster"]);
    for session in [A, 1 << 32] {
        terminal.line(session, None, "C: EHLO x");
        terminal.line(session, None, "C: RCPT TO:<a@example.org>");
    }
    terminal.line(A, None, "S: 250 RCPT TO:<a@example.com>");
    assert_eq!(terminal.text(), "");
    // Where a rule has made it one: the hop hears of it.
    terminal.line(A, Some(2), "C: rcpt to:<a@EXAMPLE.com> NOTIFY=NEVER");
    terminal.line(A, None, "S: 250 ok");
    let text = terminal.text();
    let rows: Vec<&str> = text.lines().map(|row| row[22..].trim_end_matches([' ', '\u{2502}'])).collect();
    assert_eq!(
        rows,
        [
            "session 123456789abcdef0, client 192.0.2.7",
            "C: EHLO x",
            "C: RCPT TO:<a@example.org>",
            "S: 250 RCPT TO:<a@example.c",
            "om>",
            "                            \u{2502} [2] C: rcpt to:<a@EXAMPLE.c",
            "                            \u{2502} om> NOTIFY=NEVER",
            "S: 250 ok",
        ]
    );
    terminal.over(1 << 32);
    assert_eq!(terminal.text(), "", "who was not shown is not said to be over");
    terminal.line(1 << 32, None, "C: RCPT TO:<Postmaster>");
    assert_eq!(terminal.text().lines().count(), 2, "nothing is left of what was over");
}

#[test]
fn what_is_held_back_is_bounded() {
    let mut terminal = Terminal::new(&["a@x"]);
    for number in 0..500 {
        terminal.line(A, None, &format!("C: NOOP {number}"));
    }
    terminal.line(A, None, "C: RCPT TO:<a@x>");
    let text = terminal.text();
    assert!(
        text.lines().next().unwrap().ends_with("client 192.0.2.7; 300 earlier lines were let go"),
        "{text}"
    );
    assert!(!text.contains("NOOP 299") && text.contains("NOOP 300"), "{text}");
    // Of many long lines the oldest sessions' go first.
    let long = format!("C: NOOP {}", "x".repeat(100_000));
    for session in 1..=100 {
        terminal.line(session << 32, None, &long);
    }
    terminal.line(100 << 32, None, "C: RCPT TO:<a@x>");
    assert!(terminal.text().contains("NOOP xxx"));
    terminal.line(1 << 32, None, "C: RCPT TO:<a@x>");
    assert!(terminal.text().lines().next().unwrap().ends_with("; 1 earlier lines were let go"));
    // And of many sessions the oldest are not known any more.
    for session in 200..2000 {
        terminal.line(session << 32, None, "C: EHLO x");
    }
    terminal.line(200 << 32, None, "C: RCPT TO:<a@x>");
    assert_eq!(terminal.text().lines().count(), 2);
    terminal.line(1999 << 32, None, "C: RCPT TO:<a@x>");
    assert_eq!(terminal.text().lines().count(), 3);
}

#[test]
fn options_are_tried_when_they_are_read() {
    assert_eq!(network("192.0.2.7").unwrap().to_string(), "192.0.2.7/32");
    assert_eq!(network("2001:db8::/32").unwrap().to_string(), "2001:db8::/32");
    assert_eq!(network("example.com").unwrap_err(), "expected an address or a network, such as 192.0.2.0/24");
    assert!(recipient("*@example.com").is_ok());
    assert!(recipient("a@b@").is_err());
    let showing = |clients: &[&str]| Showing {
        clients: clients.iter().map(|client| network(client).unwrap()).collect(),
        queue: sync_channel(0).0,
        missed: AtomicU64::new(0),
    };
    assert!(showing(&[]).means(CLIENT));
    assert!(showing(&["10.0.0.0/8", "192.0.2.0/24"]).means(CLIENT));
    assert!(!showing(&["10.0.0.0/8"]).means(CLIENT));
}
