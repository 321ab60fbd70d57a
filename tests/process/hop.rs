//! A hop that takes all mail, and answers the end-of-data when it is told to.
//!
//! In:    an address to listen at, the name to greet with, what to offer, whether to hold its answers to content.
//! Out:   how many contents it has received whole.
//! Never: refuses anything, or offers any extension but AUTH unless told to.
//!
//! RFC 5321 4.3.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::gate::free_address;
use crate::scratch::{PATIENCE, wait_for};

pub struct Hop {
    pub address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    name: &'static str,
    /// Its reply to EHLO behind the first line.
    offers: &'static str,
    stopping: AtomicBool,
    contents: AtomicUsize,
    /// Whether the end-of-data is answered.
    answers: Mutex<bool>,
    told: Condvar,
}

impl Hop {
    /// One that answers everything at once.
    pub fn start(name: &'static str) -> Self {
        Self::start_at(free_address(), name, true)
    }

    /// One that offers this: its reply to EHLO behind the first line.
    pub fn offering(offers: &'static str) -> Self {
        Self::serving(free_address(), "hop.example", offers, true)
    }

    /// One that keeps its answers to contents until [`Hop::answer`].
    pub fn holding() -> Self {
        Self::start_at(free_address(), "holding.example", false)
    }

    pub fn start_at(address: SocketAddr, name: &'static str, answers: bool) -> Self {
        Self::serving(address, name, "250 AUTH PLAIN", answers)
    }

    fn serving(address: SocketAddr, name: &'static str, offers: &'static str, answers: bool) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let inner = Arc::new(Inner {
            name,
            offers,
            stopping: AtomicBool::new(false),
            contents: AtomicUsize::new(0),
            answers: Mutex::new(answers),
            told: Condvar::new(),
        });
        let serving = Arc::clone(&inner);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if serving.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let serving = Arc::clone(&serving);
                // A dialog that breaks is the client's matter, which the test sees.
                thread::spawn(move || serving.dialog(&stream));
            }
        });
        Self { address, inner }
    }

    /// As a host of an upstream.
    pub fn upstream(&self) -> String {
        format!("{{ hosts: [\"{}\"] }}", self.address)
    }

    /// Waits until it has received so many contents whole.
    pub fn wait_contents(&self, count: usize) {
        wait_for("the hop to have the end-of-data", PATIENCE, || (self.contents() >= count).then_some(()));
    }

    pub fn contents(&self) -> usize {
        self.inner.contents.load(Ordering::SeqCst)
    }

    /// Has it answer what it has and will receive.
    pub fn answer(&self) {
        *self.inner.answers.lock().unwrap() = true;
        self.inner.told.notify_all();
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

impl Inner {
    fn dialog(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut out = stream;
        let mut lines = BufReader::new(stream).lines();
        write!(out, "220 {} ESMTP\r\n", self.name)?;
        let mut in_content = false;
        while let Some(line) = lines.next().transpose()? {
            let line = line.trim_end();
            if in_content && line != "." {
                continue;
            }
            let hello = format!("250-hop.example\r\n{}", self.offers);
            let reply = match line.split([' ', ':']).next().unwrap_or_default() {
                "." => {
                    in_content = false;
                    self.contents.fetch_add(1, Ordering::SeqCst);
                    let answers = self.answers.lock().unwrap();
                    drop(self.told.wait_timeout_while(answers, PATIENCE, |answers| !*answers));
                    "250 2.0.0 Kept"
                }
                "EHLO" => &hello,
                "AUTH" => "235 2.7.0 Welcome",
                "DATA" => {
                    in_content = true;
                    "354 Go ahead"
                }
                "QUIT" => "221 2.0.0 Bye",
                _ => "250 2.0.0 Ok",
            };
            write!(out, "{reply}\r\n")?;
        }
        Ok(())
    }
}
