//! OpenDKIM: signs what goes out, verifies what comes in.
//!
//! In:    OpenDKIM twice, with one key; a message.
//! Out:   one trial: the signature in what is stored holds, and what the other says of it is the same through either door.
//! Never: DNS: the key stands in a file.
//!
//! opendkim.conf(5), RFC 6376, RFC 8601.

use std::fs;
use std::process::Command;

use libtest_mimic::Trial;

use super::{Stand, dialog, sending};
use crate::messages;
use crate::support::milter::{Milter, Place};
use crate::support::peers::{Peer, found, trial};
use crate::support::scratch::Scratch;

pub fn trials() -> Vec<Trial> {
    vec![trial("milter::opendkim", [Peer::Postfix, Peer::OpenDkim, Peer::Dkimpy], signed_and_verified)]
}

/// A key, as a file and as a record.
struct Key {
    scratch: Scratch,
    record: String,
}

impl Key {
    fn new() -> Self {
        let scratch = Scratch::new("dkim-key");
        let mut make = Command::new(found("opendkim-genkey"));
        let made =
            make.args(["-b", "1024", "-d", "client.example", "-s", "own", "-D"]).arg(scratch.path()).status();
        assert!(made.unwrap().success());
        let zone = fs::read_to_string(scratch.path().join("own.txt")).unwrap();
        let record = zone.split('"').skip(1).step_by(2).collect();
        Self { scratch, record }
    }

    /// OpenDKIM with these lines beside what all need.
    fn opendkim(&self, lines: &str) -> Milter {
        let (scratch, place) = (Scratch::new("opendkim"), Place::free());
        let keys = scratch.write("keys", format!("own._domainkey.client.example {}\n", self.record));
        let configuration = scratch.write(
            "opendkim.conf",
            format!(
                "Socket {}\nSyslog no\nUserID root\nRequireSafeKeys no\nAuthservID gate.example\nDomain client.example\nSelector own\n\
                 KeyFile {}\nTestPublicKeys {}\n{lines}",
                place.of_libmilter(),
                self.scratch.path().join("own.private").display(),
                keys.display()
            ),
        );
        let command = [found("opendkim").display().to_string(), "-f".into(), "-x".into()];
        Milter::start(scratch, place, command.into_iter().chain([configuration.display().to_string()]))
    }

    /// Whether a signature holds, as somebody else sees it.
    fn holds(&self, message: &str) -> bool {
        let check = "import dkim, sys\n\
                     key = sys.argv[1].encode()\n\
                     ok = dkim.verify(sys.stdin.buffer.read(), dnsfunc=lambda name, timeout=5: key)\n\
                     sys.exit(0 if ok else 1)\n";
        let file = self.scratch.write("message", message);
        let input = fs::File::open(file).unwrap();
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-c", check, &self.record]).stdin(input).status().unwrap().success()
    }
}

fn with_crlf(text: &str) -> String {
    text.replace('\n', "\r\n")
}

fn signed_and_verified() {
    let key = Key::new();
    let signer = key.opendkim("Mode s\nCanonicalization simple/simple\n");
    let stand = Stand::before(signer.place(), "");
    let body = "Grüße  aus Köln \r\n\r\n.\r\n..\r\nund Ende\r\n\r\n";
    let message = messages::message("signed\r\n  and folded", body);
    let signed = stand.doors().map(|door| {
        for by_bdat in [false, true] {
            let heard = dialog(door, &sending(&["ann"], &message, by_bdat));
            assert!(heard[heard.len() - 2].starts_with("250"), "{heard:?}");
        }
        let stored = stand.take();
        assert_eq!(stored.len(), 2);
        for (_, text) in &stored {
            assert_eq!(text.matches("DKIM-Signature:").count(), 1, "{text}");
            assert!(key.holds(&with_crlf(text)), "{text}");
        }
        with_crlf(&stored[0].1)
    });
    let verifier = key.opendkim("Mode v\nInternalHosts 192.0.2.1\nAlwaysAddARHeader yes\n");
    let stand = Stand::before(verifier.place(), "");
    let broken = signed[1].replace("und Ende", "und  Ende");
    for (message, result) in [(&signed[0], "dkim=pass"), (&signed[1], "dkim=pass"), (&broken, "dkim=fail")] {
        let [direct, through] = stand.doors().map(|door| {
            let heard = dialog(door, &sending(&["ann"], message, false));
            (heard, stand.take())
        });
        assert_eq!(direct, through);
        let (_, text) = &through.1[0];
        assert!(text.contains("Authentication-Results: gate.example;") && text.contains(result), "{text}");
    }
}
