//! Law 9: AUTH exchanges and content reach no log and no metric, even at `log.level: trace`.
//!
//! In:    one session before a hop that takes AUTH: malformed, refused, in steps, cancelled, accepted, once too often;
//!        then a message.
//! Out:   a failure that names the line in which a secret was found.
//! Never: looks for anything but the secrets: what else is logged is not judged here.
//!
//! RFC 4954.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

#[allow(dead_code, reason = "shared with others; not every test program uses all of it")]
#[path = "support/scratch.rs"]
mod scratch;

const PATIENCE: Duration = Duration::from_secs(30);

/// What the client says, and the code it hears. The secrets are the words in capitals that begin with SECRET.
const DIALOG: [(&str, &str); 18] = [
    ("EHLO client.example.org", "250"),
    ("AUTH PLAIN SECRETSEVEN extra", "501"),
    ("AUTH SECRETEIGHT", "504"),
    ("AUTH SECRETNINE==", "504"),
    ("AUTH SECRETTEN extra", "504"),
    ("AUTH PLAIN SECRETONE", "535"),
    ("AUTH LOGIN", "334"),
    ("SECRETTWO", "334"),
    ("*", "501"),
    ("auth plain", "334"),
    ("SECRETTHREE", "235"),
    ("AUTH PLAIN SECRETFOUR", "503"),
    ("MAIL FROM:<a@example.org>", "250"),
    ("RCPT TO:<b@example.net>", "250"),
    ("DATA", "354"),
    ("Subject: SECRETFIVE\r\n\r\nSECRETSIX\r\n.", "250"),
    ("NOOP", "250"),
    ("QUIT", "221"),
];

#[test]
fn nothing_secret_is_logged_or_counted() {
    let hop = TcpListener::bind("127.0.0.1:0").unwrap();
    let hop_address = hop.local_addr().unwrap();
    let hop = thread::spawn(move || play_hop(&hop.accept().unwrap().0));
    let [client, admin] =
        [scratch::free_port(), scratch::free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let cwd = tempfile::tempdir().unwrap();
    let yaml = format!(
        "listeners: [{{ address: \"{client}\", upstream: main, auth: hop }}]\n\
         upstreams: {{ main: {{ hosts: [\"{hop_address}\"] }} }}\n\
         admin: {{ address: \"{admin}\" }}\nlog: {{ level: trace }}\n"
    );
    fs::write(cwd.path().join("proxy.yaml"), yaml).unwrap();
    let mut gatepost = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .current_dir(cwd.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(gatepost.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("try it:") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "gatepost did not start");
    }
    let reading = thread::spawn(move || {
        let mut rest = String::new();
        log.read_to_string(&mut rest).map(|_| rest)
    });
    play_client(client);
    let mut metrics = TcpStream::connect(admin).unwrap();
    metrics.set_read_timeout(Some(PATIENCE)).unwrap();
    metrics.write_all(b"GET /metrics HTTP/1.1\r\nHost: gatepost\r\nConnection: close\r\n\r\n").unwrap();
    let mut counted = String::new();
    metrics.read_to_string(&mut counted).unwrap();
    kill_process(Pid::from_child(&gatepost), Signal::TERM).unwrap();
    assert!(gatepost.wait().unwrap().success());
    let log = reading.join().unwrap().unwrap();
    hop.join().unwrap();
    assert!(log.contains("C: MAIL FROM:<a@example.org>"), "the dialog is traced:\n{log}");
    assert!(counted.contains("gatepost_messages_total"), "the metrics are there:\n{counted}");
    for line in log.lines().chain(counted.lines()) {
        assert!(!line.contains("SECRET"), "a secret got out: {line}");
    }
}

fn play_client(gatepost: SocketAddr) {
    let mut stream = TcpStream::connect(gatepost).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap());
    assert_eq!(reply(&mut replies), "220");
    for (line, code) in DIALOG {
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        assert_eq!(reply(&mut replies), code, "{line}");
    }
}

/// The code of the next whole reply.
fn reply(replies: &mut impl BufRead) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(replies.read_line(&mut line).unwrap() > 0, "a reply");
        if line.as_bytes().get(3) == Some(&b' ') {
            return line[..3].to_owned();
        }
    }
}

/// A hop that offers AUTH, refuses an initial response, and accepts THREE.
fn play_hop(stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut tell = stream;
    tell.write_all(b"220 hop.example.net ESMTP\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(line)) = lines.next() {
        let said: &[u8] = match line.as_str() {
            "EHLO client.example.org" => b"250-hop.example.net\r\n250 AUTH PLAIN LOGIN\r\n",
            "AUTH PLAIN SECRETONE" => b"535 5.7.8 Wrong\r\n",
            _ if line.starts_with("AUTH SECRET") => b"504 5.5.4 Unknown mechanism\r\n",
            "AUTH LOGIN" | "AUTH plain" | "AUTH PLAIN" | "SECRETTWO" => b"334 \r\n",
            "*" => b"501 5.7.0 Cancelled\r\n",
            "SECRETTHREE" => b"235 2.7.0 Welcome\r\n",
            "DATA" => b"354 Go ahead\r\n",
            "." => b"250 2.0.0 Kept\r\n",
            "QUIT" => b"221 2.0.0 Bye\r\n",
            _ if line.starts_with("Subject: ") || line.is_empty() || line == "SECRETSIX" => continue,
            _ => b"250 2.0.0 Ok\r\n",
        };
        // A client that has said QUIT need not wait for the answer.
        if tell.write_all(said).is_err() || line == "QUIT" {
            return;
        }
    }
}
