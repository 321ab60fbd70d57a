//! The hops, and who starts them again.
//!
//! In:    how many; a generator that says when each of them dies, and how long it stays dead.
//! Out:   an upstream for gatepost; in the end their records, and a count of their deaths.
//! Never: leaves one running: a hop ends with its standard input.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::hop::{Death, Life};
use crate::rng::Rng;
use crate::scratch::{PATIENCE, Scratch, free_port, is_listened_at, wait_for};

/// The longest a hop stays dead, in milliseconds: as long as it lives, about, so that now and then none is left.
const LONGEST_OUTAGE: usize = 150;

pub struct Hops {
    scratch: Scratch,
    ports: Vec<u16>,
    inner: Arc<Mutex<Inner>>,
    keepers: Vec<JoinHandle<()>>,
}

struct Inner {
    stopping: bool,
    deaths: Deaths,
    /// What each living hop hangs on.
    stdin: Vec<Option<ChildStdin>>,
}

/// How hops died.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deaths {
    at_octet: usize,
    after_storing: usize,
    in_answer: usize,
}

impl Deaths {
    pub fn total(&self) -> usize {
        self.at_octet + self.after_storing + self.in_answer
    }
}

impl fmt::Display for Deaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "deaths of hops   {:6}  {} at some octet, {} between storing and answering, {} within the answer",
            self.total(),
            self.at_octet,
            self.after_storing,
            self.in_answer
        )
    }
}

impl Hops {
    /// Starts so many and waits until they listen.
    pub fn start(count: usize, rng: &mut Rng) -> Self {
        let scratch = Scratch::new("loss");
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let stdin = (0..count).map(|_| None).collect();
        let inner = Arc::new(Mutex::new(Inner { stopping: false, deaths: Deaths::default(), stdin }));
        let mut hops = Self { scratch, ports, inner, keepers: Vec::new() };
        for number in 0..count {
            let (inner, mut rng) = (Arc::clone(&hops.inner), rng.fork());
            let (port, records) = (hops.ports[number], hops.records(number));
            let keeper = thread::spawn(move || {
                while let Some(child) = be_born(&inner, number, port, &records, &mut rng) {
                    bury(&inner, child);
                    // An outage: clients go on meanwhile.
                    thread::park_timeout(Duration::from_millis(rng.below(LONGEST_OUTAGE) as u64));
                }
            });
            hops.keepers.push(keeper);
        }
        for port in &hops.ports {
            let address = ([127, 0, 0, 1], *port).into();
            wait_for("a hop to listen", PATIENCE, || is_listened_at(address).then_some(()));
        }
        hops
    }

    /// As the hosts of an upstream.
    pub fn upstream(&self) -> String {
        let hosts: Vec<String> = self.ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        format!("{{ hosts: [{}], balance: round_robin }}", hosts.join(", "))
    }

    /// Ends them, and hands over what they recorded, hop by hop.
    pub fn stop(mut self) -> (Vec<String>, Deaths) {
        self.end();
        let read = |number: usize| fs::read_to_string(self.records(number)).unwrap();
        let records = (0..self.ports.len()).map(read).collect();
        let deaths = lock(&self.inner).deaths;
        (records, deaths)
    }

    fn end(&mut self) {
        {
            let mut inner = lock(&self.inner);
            inner.stopping = true;
            inner.stdin.iter_mut().for_each(|stdin| drop(stdin.take()));
        }
        for keeper in self.keepers.drain(..) {
            keeper.thread().unpark();
            // A keeper that has panicked has said so.
            let _ = keeper.join();
        }
    }

    fn records(&self, number: usize) -> PathBuf {
        self.scratch.path().join(format!("hop{number}"))
    }
}

impl Drop for Hops {
    fn drop(&mut self) {
        self.end();
    }
}

/// A new life, unless all is over.
fn be_born(
    inner: &Mutex<Inner>,
    number: usize,
    port: u16,
    records: &Path,
    rng: &mut Rng,
) -> Option<(Child, Death)> {
    let death = match rng.below(100) {
        0..60 => Death::AtOctet(rng.below(400_000) as u64),
        60..85 => Death::AfterStoring(1 + rng.below(150) as u64),
        _ => Death::InAnswer(1 + rng.below(150) as u64, 1 + rng.below(15)),
    };
    let (name, value) = Life { port, records: records.to_owned(), death }.to_environment();
    let mut inner = lock(inner);
    if inner.stopping {
        return None;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.env(name, value).stdin(Stdio::piped()).spawn().unwrap();
    inner.stdin[number] = child.stdin.take();
    Some((child, death))
}

fn bury(inner: &Mutex<Inner>, (mut child, death): (Child, Death)) {
    let status = child.wait().unwrap();
    if status.success() {
        return;
    }
    let deaths = &mut lock(inner).deaths;
    match death {
        Death::AtOctet(_) => deaths.at_octet += 1,
        Death::AfterStoring(_) => deaths.after_storing += 1,
        Death::InAnswer(..) => deaths.in_answer += 1,
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}
