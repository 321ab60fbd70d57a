//! A service that has nothing to say, and keeps what it was shown.
//!
//! In:    questions with the whole message.
//! Out:   204 to each; the message of the last.
//! Never: edits, or closes a connection of its own accord.
//!
//! docs/callout.md; RFC 7578 (multipart/form-data).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::scratch::free_port;

pub struct Service {
    pub port: u16,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Service {
    /// It is there until the tests are over.
    pub fn start() -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let keeps = Arc::clone(&shown);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let keeps = Arc::clone(&keeps);
                thread::spawn(move || serve(&stream, &keeps));
            }
        });
        Self { port, shown }
    }

    /// The last message.
    pub fn shown(&self) -> Vec<u8> {
        std::mem::take(&mut *self.shown.lock().unwrap())
    }
}

fn serve(stream: &TcpStream, shown: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let mut input = BufReader::new(stream);
    let mut out = stream;
    loop {
        let (mut size, mut boundary, mut line) = (0, String::new(), String::new());
        while line != "\r\n" {
            line.clear();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let (name, value) = line.trim_end().split_once(": ").unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                size = value.parse().unwrap();
            } else if let Some((_, value)) = value.split_once("boundary=") {
                boundary = format!("--{}", value.trim_matches('"'));
            }
        }
        let mut body = vec![0; size];
        input.read_exact(&mut body)?;
        *shown.lock().unwrap() = message(&body, boundary.as_bytes());
        out.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    }
}

/// The second part: behind the second boundary and its header, up to the last boundary.
fn message(body: &[u8], boundary: &[u8]) -> Vec<u8> {
    let find = |from: usize, what: &[u8]| {
        from + memchr::memmem::find(&body[from..], what).expect("a part of form data")
    };
    let second = find(boundary.len(), boundary);
    let start = find(second, b"\r\n\r\n") + 4;
    let end = body.len() - b"\r\n".len() - boundary.len() - b"--\r\n".len();
    assert!(body[end..].starts_with(&[b"\r\n", boundary].concat()), "the last boundary is at the end");
    body[start..end].to_vec()
}
