//! The messages that are sent.
//!
//! In:    what is special about it.
//! Out:   a whole message, lines ending in CRLF, with Message-ID and Date of its own so that no MTA adds them.
//! Never: anything random: a failed comparison can be repeated.

use std::fmt::Write as _;

const HEAD: &str = "From: Sender <sender@client.example>\r\nTo: undisclosed-recipients:;\r\n\
                    Message-ID: <one@client.example>\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n";

/// A message with this subject and body.
pub fn message(subject: &str, body: &str) -> String {
    format!("{HEAD}Subject: {subject}\r\n\r\n{body}")
}

pub fn plain() -> String {
    message("plain", "Hello,\r\n\r\nthis is a message.\r\n-- \r\nSender\r\n")
}

pub fn eight_bit() -> String {
    let mime =
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
    format!("{HEAD}{mime}Subject: eight bits\r\n\r\nGrüße aus Köln, привет, 你好.\r\n")
}

pub fn utf8_headers() -> String {
    format!("{HEAD}Subject: Grüße an Jürgen\r\n\r\nGrüße.\r\n")
}

/// A line of 900 octets between two short ones.
pub fn long_line() -> String {
    message("long line", &format!("before\r\n{}\r\nafter\r\n", "0123456789".repeat(90)))
}

/// Dots where they hurt.
pub fn dots() -> String {
    message("dots", ".\r\n..\r\n...\r\n.leading\r\n..two\r\nmiddle . dot\r\n. \r\n.\r\n\r\n.\r\n")
}

/// About this many octets, every line different.
pub fn large(octets: usize) -> String {
    let mut body = String::with_capacity(octets + 100);
    let mut number = 0_u32;
    while body.len() < octets {
        let _ = write!(body, "{number:010} the quick brown fox jumps over the lazy dog, again and again\r\n");
        number += 1;
    }
    message("large", &body)
}
