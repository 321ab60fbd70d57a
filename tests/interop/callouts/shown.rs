//! Services that are shown messages: the stripper and the footer of `examples/` before a real Postfix.
//!
//! In:    messages with and without attachments, signed or not, by DATA and BDAT.
//! Out:   trials: what Postfix stores.
//! Never: takes a changed message for an untouched one: what nobody edits is compared octet for octet.

use std::ffi::OsStr;

use libtest_mimic::Trial;

use super::Example;
use crate::messages;
use crate::support::gatepost::Gatepost;
use crate::support::mta::Mta as _;
use crate::support::peers::{Peer, trial};
use crate::support::postfix::{Postfix, Spec};
use crate::support::raw::Raw;

const PEERS: [Peer; 2] = [Peer::Postfix, Peer::Python];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("callout::attachments_stripped", PEERS, attachments_stripped),
        trial("callout::a_line_under_the_text", PEERS, a_line_under_the_text),
    ]
}

/// A Postfix, and gatepost before it with one service.
struct Stand {
    postfix: Postfix,
    gatepost: Gatepost,
    _service: Example,
}

impl Stand {
    fn with(service: Example, name: &str, keys: &str) -> Self {
        let postfix = Postfix::start(&Spec::receiving("a.example"));
        let callout = service.callout(name, keys);
        let gatepost = Gatepost::start(&[("main", &[postfix.address()])], &callout);
        Self { postfix, gatepost, _service: service }
    }

    /// Sends it, by DATA or by BDAT; what is stored, with LF at the end of lines, without what Postfix put before it.
    fn stored(&self, message: &str, by_chunks: bool) -> String {
        let mut client = Raw::connect(self.gatepost.listener());
        client.ask("EHLO client.example", 250);
        client.ask("MAIL FROM:<sender@client.example>", 250);
        client.ask("RCPT TO:<ann@a.example>", 250);
        if by_chunks {
            client.say(format!("BDAT {} LAST\r\n{message}", message.len()));
            client.hear(250);
        } else {
            client.ask("DATA", 354);
            client.say(message.replace("\r\n.", "\r\n.."));
            client.ask(".", 250);
        }
        client.quit();
        self.postfix.settle(0);
        let stored = self.postfix.take_stored();
        assert_eq!(stored.len(), 1, "{}", self.gatepost.output());
        let text = String::from_utf8(stored[0].octets.clone()).unwrap();
        let start = text.find("From: Sender").expect("the message's first field");
        text[start..].to_owned()
    }
}

fn sent(message: &str) -> String {
    message.replace("\r\n", "\n")
}

/// Text and an attachment of this name.
fn with_attachment(name: &str) -> String {
    let body = format!(
        "--b\r\nContent-Type: text/plain\r\n\r\nSee there.\r\n.\r\n--b\r\n\
         Content-Type: application/octet-stream; name*=utf-8''{name}\r\n\
         Content-Disposition: attachment; filename*0=\"{}\"; filename*1=\"{}\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\nTVqQAAMAAAAEAAAA\r\n--b--\r\n",
        &name[..3],
        &name[3..]
    );
    let head = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nSubject: ";
    messages::message("x", &body).replacen("Subject: ", head, 1)
}

fn attachments_stripped() {
    let service = Example::start("stripper.py", None);
    let stand = Stand::with(service, "stripper", "stages: message, content: whole");
    for by_chunks in [false, true] {
        let untouched =
            [messages::plain(), messages::dots(), with_attachment("readme.txt"), messages::large(3 << 20)];
        for message in untouched {
            assert!(stand.stored(&message, by_chunks) == sent(&message), "{}", &message[..200]);
        }
        let stripped = stand.stored(&with_attachment("program.EXE"), by_chunks);
        assert!(stripped.contains("See there.\n.\n"), "{stripped}");
        assert!(stripped.contains("An attachment was removed."), "{stripped}");
        assert!(!stripped.contains("TVqQ") && !stripped.contains("EXE"), "{stripped}");
    }
    let edits = stand.gatepost.metric("gatepost_verdicts_total", &["verdict=\"edit\""]);
    assert_eq!(edits, 2.0);
}

fn a_line_under_the_text() {
    let service = Example::start("footer.py", Some(OsStr::new("Grüße von Example")));
    let keys = "stages: message, content: whole, when: { sender: \"*@client.example\", not: { signed: [dkim, smime, pgp] } }";
    let stand = Stand::with(service, "footer", keys);
    for by_chunks in [false, true] {
        let text = stand.stored(&messages::plain(), by_chunks);
        assert!(text.contains("charset=\"utf-8\""), "{text}");
        let text = stand.stored(&messages::eight_bit(), by_chunks);
        assert!(text.contains("Content-Transfer-Encoding: 8bit"), "{text}");
        assert!(text.contains("Grüße aus Köln, привет, 你好.\n\n-- \nGrüße von Example\n"), "{text}");
        // One that is signed is not asked about.
        let signed =
            messages::plain().replacen("Subject:", "DKIM-Signature: v=1; a=rsa-sha256\r\nSubject:", 1);
        assert_eq!(stand.stored(&signed, by_chunks), sent(&signed));
    }
}
