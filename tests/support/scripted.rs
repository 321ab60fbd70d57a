//! A hop that misbehaves on cue.
//!
//! In:    where in the dialog it is to fail, and how.
//! Out:   an address, and the commands each of its dialogs received.
//! Never: stands in for a real MTA where one could be used: it is for deaths at an exact point only. After its death
//!        in a dialog it refuses connections, as a crashed host does.
//!
//! RFC 5321 4.3 (the dialog), 4.2.1 (replies).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::scratch::{PATIENCE, free_port};

/// Where it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens.
    Refuses,
    /// It accepts and says nothing.
    Hangs,
    /// It greets with these words instead of 220 and closes.
    Greets(&'static str),
    /// It closes when it has read the nth command that begins so, without a reply.
    DiesAt(&'static str, usize),
    /// It replies to the nth command that begins so, and closes.
    DiesAfter(&'static str, usize),
    /// It answers DATA with 354 and closes after this many octets of content.
    DiesInContent(usize),
    /// It reads the content to its end, and closes without a reply.
    DiesBeforeLastReply,
}

pub struct Scripted {
    address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    fault: Fault,
    stopping: AtomicBool,
    dialogs: Mutex<Vec<Vec<String>>>,
}

impl Scripted {
    pub fn start(fault: Fault) -> Self {
        let inner = Arc::new(Inner { fault, stopping: AtomicBool::new(false), dialogs: Mutex::default() });
        if fault == Fault::Refuses {
            return Self { address: SocketAddr::from(([127, 0, 0, 1], free_port())), inner };
        }
        let listener = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&inner);
        thread::spawn(move || serving.serve(&listener));
        Self { address, inner }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The commands of each dialog so far.
    pub fn dialogs(&self) -> Vec<Vec<String>> {
        self.inner.dialogs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, if there still is one.
        let _ = TcpStream::connect(self.address);
    }
}

impl Inner {
    fn serve(&self, listener: &TcpListener) {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            self.dialogs.lock().unwrap_or_else(PoisonError::into_inner).push(Vec::new());
            let _ = stream.set_read_timeout(Some(PATIENCE));
            match self.fault {
                // Held until the test is over, never served.
                Fault::Hangs => kept.push(stream),
                Fault::Greets(words) => {
                    let _ = (&stream).write_all(format!("{words}\r\n").as_bytes());
                }
                // Dead from now on: the listener goes with the thread.
                _ => {
                    if self.dialog(stream).unwrap_or(false) {
                        return;
                    }
                }
            }
        }
    }

    /// One dialog; true if it ended by the fault.
    fn dialog(&self, stream: TcpStream) -> std::io::Result<bool> {
        let mut out = stream.try_clone()?;
        let mut input = BufReader::new(stream);
        let mut seen: Vec<String> = Vec::new();
        out.write_all(b"220 dying.example ESMTP\r\n")?;
        loop {
            let mut line = Vec::new();
            if input.read_until(b'\n', &mut line)? == 0 {
                return Ok(false);
            }
            let command = String::from_utf8_lossy(&line).trim_end().to_owned();
            seen.push(command.clone());
            if let Some(last) = self.dialogs.lock().unwrap_or_else(PoisonError::into_inner).last_mut() {
                last.push(command.clone());
            }
            let is_nth = |verb: &str, nth: usize| {
                command.starts_with(verb) && seen.iter().filter(|line| line.starts_with(verb)).count() == nth
            };
            if matches!(self.fault, Fault::DiesAt(verb, nth) if is_nth(verb, nth)) {
                return Ok(true);
            }
            out.write_all(reply_to(&command).as_bytes())?;
            if matches!(self.fault, Fault::DiesAfter(verb, nth) if is_nth(verb, nth)) {
                return Ok(true);
            }
            match self.fault {
                _ if command == "QUIT" => return Ok(false),
                Fault::DiesInContent(octets) if command == "DATA" => {
                    input.read_exact(&mut vec![0; octets])?;
                    return Ok(true);
                }
                Fault::DiesBeforeLastReply if command == "DATA" => {
                    while !line.ends_with(b"\r\n.\r\n") {
                        if input.read_until(b'\n', &mut line)? == 0 {
                            return Ok(true);
                        }
                    }
                    return Ok(true);
                }
                _ => {}
            }
        }
    }
}

fn reply_to(command: &str) -> String {
    let verb = command.split(' ').next().unwrap_or_default();
    match verb {
        "EHLO" => {
            "250-dying.example\r\n250-PIPELINING\r\n250-SIZE 31457280\r\n250-VRFY\r\n250-ETRN\r\n\
                   250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n"
        }
        "HELO" => "250 dying.example\r\n",
        "MAIL" => "250 2.1.0 Ok\r\n",
        "RCPT" => "250 2.1.5 Ok\r\n",
        "DATA" => "354 End data with <CR><LF>.<CR><LF>\r\n",
        "QUIT" => "221 2.0.0 Bye\r\n",
        _ => "250 2.0.0 Ok\r\n",
    }
    .to_owned()
}
