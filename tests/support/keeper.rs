//! A hop that keeps every message octet for octet.
//!
//! In:    whether it offers CHUNKING.
//! Out:   an address; the contents it has answered 250 to.
//! Never: stands in for a real MTA where octets may differ by what that does to them: it is for comparing them all.
//!        Refuses nothing, mends nothing, takes nothing but CRLF for a line end.
//!
//! RFC 5321 4.5.2 (transparency), RFC 3030 2 (BDAT).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::scratch::{PATIENCE, free_port};

pub struct Keeper {
    address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    chunking: bool,
    stopping: AtomicBool,
    kept: Mutex<Vec<Vec<u8>>>,
}

impl Keeper {
    pub fn start(chunking: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner { chunking, stopping: AtomicBool::new(false), kept: Mutex::default() });
        let serving = Arc::clone(&inner);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if serving.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let serving = Arc::clone(&serving);
                // A dialog that breaks is gatepost's way to give content up.
                thread::spawn(move || serving.dialog(&stream));
            }
        });
        Self { address, inner }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All contents since the last call.
    pub fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

impl Inner {
    fn dialog(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(3 * PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut out = stream;
        let mut input = BufReader::new(stream);
        let chunking = if self.chunking { "250-CHUNKING\r\n" } else { "" };
        out.write_all(b"220 keeper.example ESMTP\r\n")?;
        let mut content = Vec::new();
        while let Some(line) = line(&mut input)? {
            let command = String::from_utf8_lossy(&line).trim_end().to_owned();
            let mut words = command.split(' ');
            let reply = match words.next().unwrap_or_default() {
                "EHLO" => format!("250-keeper.example\r\n250-PIPELINING\r\n{chunking}250 8BITMIME"),
                "DATA" => {
                    out.write_all(b"354 Go ahead\r\n")?;
                    let Some(text) = unstuffed(&mut input)? else { return Ok(()) };
                    self.keep(text);
                    "250 2.0.0 Kept".to_owned()
                }
                "BDAT" => {
                    let size: usize = words.next().and_then(|size| size.parse().ok()).unwrap_or_default();
                    let whole = content.len() + size;
                    content.resize(whole, 0);
                    input.read_exact(&mut content[whole - size..])?;
                    if words.next() == Some("LAST") {
                        self.keep(std::mem::take(&mut content));
                    }
                    "250 2.0.0 Octets kept".to_owned()
                }
                "RSET" => {
                    content.clear();
                    "250 2.0.0 Ok".to_owned()
                }
                "QUIT" => "221 2.0.0 Bye".to_owned(),
                _ => "250 2.0.0 Ok".to_owned(),
            };
            out.write_all(format!("{reply}\r\n").as_bytes())?;
        }
        Ok(())
    }

    fn keep(&self, content: Vec<u8>) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(content);
    }
}

/// Up to a CRLF and with it; whatever else is in there. `None`: the other side has left.
fn line(input: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(line))
}

/// Content under DATA, up to the lone dot.
fn unstuffed(input: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    while let Some(line) = line(input)? {
        if line == b".\r\n" {
            return Ok(Some(text));
        }
        text.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
    Ok(None)
}
