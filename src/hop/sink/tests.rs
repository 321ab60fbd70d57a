//! Dialogs with the sink, over its socket pair.

use std::fs;

use tempfile::TempDir;

use super::*;

struct Client {
    stream: UnixStream,
    directory: TempDir,
    buffer: Vec<u8>,
}

impl Client {
    async fn new() -> Self {
        Self::with(tempfile::tempdir().unwrap()).await
    }

    async fn with(directory: TempDir) -> Self {
        let stream = open(&directory.path().join("mail").into()).unwrap();
        let mut client = Self { stream, directory, buffer: Vec::new() };
        assert!(client.reply().await.starts_with("220 "));
        client
    }

    /// Sends `octets`, hears one reply.
    async fn say(&mut self, octets: impl AsRef<[u8]>) -> String {
        self.stream.write_all(octets.as_ref()).await.unwrap();
        self.reply().await
    }

    /// Sends `octets`, hears the codes of so many replies.
    async fn codes(&mut self, octets: impl AsRef<[u8]>, count: usize) -> Vec<String> {
        self.stream.write_all(octets.as_ref()).await.unwrap();
        let mut codes = Vec::new();
        for _ in 0..count {
            codes.push(self.reply().await[..3].to_owned());
        }
        codes
    }

    /// The next reply; empty at the end.
    async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                reply.push_str(std::str::from_utf8(&line).unwrap());
                if line[3] == b' ' {
                    return reply;
                }
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap() == 0 {
                return String::new();
            }
        }
    }

    /// Ends the dialog and returns what is stored in `new/`; nothing may be left in `tmp/`.
    async fn stored(mut self) -> Vec<Vec<u8>> {
        assert_eq!(&self.say("QUIT\r\n").await[..3], "221");
        assert_eq!(self.reply().await, "");
        let maildir = self.directory.path().join("mail");
        assert_eq!(list(&maildir.join("tmp")).len(), 0);
        list(&maildir.join("new"))
    }
}

fn list(directory: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

const ENVELOPE: &str = "EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n";

#[tokio::test]
async fn data_is_stored_without_its_stuffing() {
    let mut client = Client::new().await;
    assert!(client.say("EHLO a\r\n").await.contains("250-PIPELINING\r\n250-SIZE\r\n"));
    assert_eq!(client.codes("MAIL FROM:<>\r\nRCPT TO:<c@d>\r\nDATA\r\n", 3).await, ["250", "250", "354"]);
    let reply = client.say(b"Subject: x\r\n\r\n..\r\n..a\r\nb.\r\n\0\xff\n.\r\n\r\n.\r\n").await;
    assert!(reply.starts_with("250 2.0.0 Stored as "), "{reply}");
    assert_eq!(client.stored().await, [b"Subject: x\r\n\r\n.\r\n.a\r\nb.\r\n\0\xff\n.\r\n\r\n"]);
}

#[tokio::test]
async fn one_octet_at_a_time_is_the_same() {
    let mut client = Client::new().await;
    let dialog = [ENVELOPE.as_bytes(), b"DATA\r\n..x\r\n.\r\n"].concat();
    for octet in dialog {
        client.stream.write_all(&[octet]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(client.codes("NOOP\r\n", 6).await, ["250", "250", "250", "354", "250", "250"]);
    assert_eq!(client.stored().await, [b".x\r\n"]);
}

#[tokio::test]
async fn chunks_are_stored_octet_for_octet() {
    let mut client = Client::new().await;
    client.codes(ENVELOPE, 3).await;
    assert_eq!(client.say(b"BDAT 8\r\n.\r\n\0\xff\n\r.").await, "250 2.0.0 8 octets received\r\n");
    assert_eq!(client.codes("MAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nDATA\r\n", 3).await, ["503", "503", "503"]);
    assert_eq!(client.codes("BDAT 3\r\nabcBDAT 0 LAST\r\n", 2).await, ["250", "250"]);
    // One chunk that is all.
    assert_eq!(client.codes("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 2 LAST\r\nxy", 3).await, ["250"; 3]);
    let mut stored = client.stored().await;
    stored.sort_unstable();
    assert_eq!(stored, [b".\r\n\0\xff\n\r.abc".to_vec(), b"xy".to_vec()]);
}

#[tokio::test]
async fn large_content_goes_through_in_blocks() {
    let mut client = Client::new().await;
    let body = b"0123456789abcdef\r\n".repeat(40_000);
    client.codes(ENVELOPE, 3).await;
    assert_eq!(client.codes("DATA\r\n", 1).await, ["354"]);
    client.stream.write_all(&body).await.unwrap();
    assert_eq!(client.codes(".\r\n", 1).await, ["250"]);
    assert_eq!(client.stored().await, [body]);
}

#[tokio::test]
async fn several_messages_and_a_reset() {
    let mut client = Client::new().await;
    let message = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n";
    client.codes("HELO a\r\n", 1).await;
    for _ in 0..2 {
        client.codes(message, 4).await;
        client.codes("x\r\n.\r\n", 1).await;
    }
    client.codes("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 1\r\nx", 3).await;
    assert_eq!(client.codes("RSET\r\nDATA\r\nBDAT 1 LAST\r\nx", 3).await, ["250", "503", "503"]);
    assert_eq!(client.stored().await, [b"x\r\n", b"x\r\n"]);
}

#[tokio::test]
async fn sequence_and_syntax() {
    let mut client = Client::new().await;
    let table = [
        ("MAIL FROM:<a@b>\r\n", "503"),
        ("RCPT TO:<a@b>\r\n", "503"),
        ("DATA\r\n", "503"),
        ("NOOP\n", "500"),
        ("FOO\r\n", "500"),
        ("VRFY a\r\n", "252"),
        ("HELP\r\n", "214"),
        ("EXPN a\r\n", "502"),
        ("EHLO a\r\n", "250"),
        ("MAIL FROM:<a@b>\r\n", "250"),
        ("MAIL FROM:<a@b>\r\n", "503"),
        ("BDAT 1 LAST\r\nx", "503"),
        ("EHLO a\r\n", "250"),
        ("RCPT TO:<a@b>\r\n", "503"),
    ];
    for (line, code) in table {
        assert_eq!(client.codes(line, 1).await, [code], "{line}");
    }
    let long = format!("NOOP {}\r\nNOOP\r\n", "x".repeat(3 * LINE));
    assert_eq!(client.codes(long, 2).await, ["500", "250"]);
    assert_eq!(client.codes("BDAT x\r\n", 1).await, ["501"]);
    assert_eq!(client.reply().await, "", "closed: nothing after it can be read");
}

#[tokio::test]
async fn a_broken_session_leaves_nothing() {
    for content in
        [&b"DATA\r\nhalf\r\n"[..], b"DATA\r\nhalf\r\n.\r", b"BDAT 4\r\nhalf", b"BDAT 9 LAST\r\nhalf"]
    {
        let mut client = Client::new().await;
        client.stream.write_all(&[ENVELOPE.as_bytes(), content].concat()).await.unwrap();
        client.stream.shutdown().await.unwrap();
        while !client.reply().await.is_empty() {}
        let maildir = client.directory.path().join("mail");
        assert_eq!(list(&maildir.join("new")).len() + list(&maildir.join("tmp")).len(), 0);
    }
}

#[tokio::test]
async fn what_cannot_be_stored_is_swallowed_and_deferred() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("mail"), b"not a directory").unwrap();
    let mut client = Client::with(directory).await;
    client.codes(ENVELOPE, 3).await;
    client.codes("DATA\r\n", 1).await;
    let body = b"x\r\n".repeat(maildir::BLOCK);
    client.stream.write_all(&body).await.unwrap();
    assert!(client.say(".\r\n").await.starts_with("452 4.3.1 "));
    client.codes("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", 2).await;
    assert_eq!(client.codes("BDAT 1 LAST\r\nx", 1).await, ["452"]);
    assert_eq!(client.codes("NOOP\r\n", 1).await, ["250"]);
}
