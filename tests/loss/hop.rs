//! A hop that takes all mail until it is killed at its hour.
//!
//! In:    by the environment: its port, the file it records into, and its death.
//! Out:   records, each written by one call: `stored ID OCTETS SUM` before the answer to the content, `answered ID`
//!        when all octets of the 250 are out. It dies by SIGKILL, so the kernel does with its connections what it does
//!        for any killed process.
//! Never: outlives its parent: it ends when its standard input does. Refuses anything.
//!
//! RFC 5321 4.3, RFC 2920, RFC 3030.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::process::{Signal, getpid, kill_process};

use crate::rng::hash;

/// When a hop dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// With so many octets read and written on all its connections.
    AtOctet(u64),
    /// When it has stored so many messages, before it answers the last.
    AfterStoring(u64),
    /// The same, with so many octets of the answer out.
    InAnswer(u64, usize),
}

/// What its parent says to a hop.
pub struct Life {
    pub port: u16,
    pub records: PathBuf,
    pub death: Death,
}

const VARIABLE: &str = "GATEPOST_LOSS_HOP";

impl Life {
    /// The variable to start it with.
    pub fn to_environment(&self) -> (&'static str, String) {
        let (kind, first, second) = match self.death {
            Death::AtOctet(octets) => (0, octets, 0),
            Death::AfterStoring(messages) => (1, messages, 0),
            Death::InAnswer(messages, octets) => (2, messages, octets),
        };
        (VARIABLE, format!("{} {kind} {first} {second} {}", self.port, self.records.display()))
    }

    /// The life this process was started for, if it is a hop.
    pub fn from_environment() -> Option<Self> {
        let text = std::env::var(VARIABLE).ok()?;
        let words: Vec<&str> = text.splitn(5, ' ').collect();
        let number = |at: usize| words[at].parse::<u64>().expect("a number of its parent's");
        let death = match number(1) {
            0 => Death::AtOctet(number(2)),
            1 => Death::AfterStoring(number(2)),
            _ => Death::InAnswer(number(2), number(3) as usize),
        };
        Some(Self { port: number(0) as u16, records: words[4].into(), death })
    }
}

/// Serves until it dies, or until its standard input ends.
pub fn live(life: Life) {
    let listener = TcpListener::bind(("127.0.0.1", life.port)).expect("its port is its own");
    let records = OpenOptions::new().append(true).create(true).open(&life.records);
    let hours = Hours {
        records: records.expect("its parent made the directory"),
        death: life.death,
        octets: 0,
        stored: 0,
    };
    let clock = Arc::new(Mutex::new(hours));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let clock = Arc::clone(&clock);
            // A dialog that breaks is over: the account tells what came of it.
            thread::spawn(move || Dialog { clock, input: BufReader::new(stream) }.serve());
        }
    });
    // Nothing is ever said there; its end is what is waited for.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// What all its dialogs share. Whoever holds the lock is the only one who lives on.
struct Hours {
    records: File,
    death: Death,
    octets: u64,
    stored: u64,
}

impl Hours {
    /// So many octets more: how many of them it still lives to see.
    fn spend(&mut self, octets: usize) -> usize {
        let left = match self.death {
            Death::AtOctet(hour) => hour.saturating_sub(self.octets),
            _ => u64::MAX,
        };
        self.octets += octets as u64;
        left.min(octets as u64) as usize
    }

    fn record(&mut self, line: String) {
        self.records.write_all(line.as_bytes()).expect("the disk is not full");
    }
}

fn die() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    loop {
        thread::park();
    }
}

struct Dialog {
    clock: Arc<Mutex<Hours>>,
    input: BufReader<TcpStream>,
}

impl Dialog {
    fn serve(mut self) -> std::io::Result<()> {
        self.input.get_ref().set_nodelay(true)?;
        self.say("220 hop.example ESMTP\r\n")?;
        let (mut recipient, mut content) = (String::new(), Vec::new());
        while let Some(line) = self.line()? {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let mut words = line.split([' ', ':']);
            match words.next().unwrap_or_default() {
                "EHLO" => {
                    self.say("250-hop.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 CHUNKING\r\n")?;
                }
                "RCPT" => {
                    recipient = line.split(['<', '@']).nth(1).unwrap_or_default().to_owned();
                    self.say("250 2.1.5 Ok\r\n")?;
                }
                "DATA" => {
                    self.say("354 Go ahead\r\n")?;
                    content = self.data()?;
                    self.keep(&recipient, &content)?;
                }
                "BDAT" => {
                    let size = words.next().and_then(|size| size.parse().ok()).unwrap_or(0);
                    let mut chunk = vec![0; size];
                    self.input.read_exact(&mut chunk)?;
                    self.heard(size);
                    content.extend(chunk);
                    if words.next() == Some("LAST") {
                        self.keep(&recipient, &content)?;
                        content.clear();
                    } else {
                        self.say("250 2.0.0 Chunk\r\n")?;
                    }
                }
                "QUIT" => return self.say("221 2.0.0 Bye\r\n"),
                _ => {
                    content.clear();
                    self.say("250 2.0.0 Ok\r\n")?;
                }
            }
        }
        Ok(())
    }

    /// Content up to the dot, unstuffed.
    fn data(&mut self) -> std::io::Result<Vec<u8>> {
        let mut content = Vec::new();
        while let Some(line) = self.line()? {
            if line == b".\r\n" {
                return Ok(content);
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        Err(std::io::ErrorKind::UnexpectedEof.into())
    }

    fn line(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        self.input.read_until(b'\n', &mut line)?;
        self.heard(line.len());
        // What was cut off is no line.
        Ok(Some(line).filter(|line| line.ends_with(b"\n")))
    }

    /// Stores, and answers: what may come between is what this test is for.
    fn keep(&mut self, id: &str, content: &[u8]) -> std::io::Result<()> {
        let answer = "250 2.0.0 Kept\r\n";
        let mut hours = lock(&self.clock);
        hours.record(format!("stored {id} {} {:016x}\n", content.len(), hash(0, &[content])));
        hours.stored += 1;
        let cut = match hours.death {
            Death::AfterStoring(hour) if hours.stored == hour => Some(0),
            Death::InAnswer(hour, octets) if hours.stored == hour => Some(octets.min(answer.len() - 1)),
            _ => None,
        };
        if let Some(octets) = cut {
            // The last it does; if it fails, all the same.
            let _ = self.input.get_ref().write_all(&answer.as_bytes()[..octets]);
            die();
        }
        write(&mut hours, self.input.get_ref(), answer)?;
        hours.record(format!("answered {id}\n"));
        Ok(())
    }

    fn say(&mut self, reply: &str) -> std::io::Result<()> {
        write(&mut lock(&self.clock), self.input.get_ref(), reply)
    }

    fn heard(&mut self, octets: usize) {
        let mut hours = lock(&self.clock);
        if hours.spend(octets) < octets {
            die();
        }
    }
}

fn write(hours: &mut Hours, mut stream: &TcpStream, reply: &str) -> std::io::Result<()> {
    let octets = hours.spend(reply.len());
    let written = stream.write_all(&reply.as_bytes()[..octets]);
    if octets < reply.len() {
        die();
    }
    written
}

fn lock(clock: &Mutex<Hours>) -> MutexGuard<'_, Hours> {
    clock.lock().unwrap_or_else(PoisonError::into_inner)
}
