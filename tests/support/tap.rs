//! A forwarder that writes down what both sides say.
//!
//! In:    the address to forward to.
//! Out:   an address to connect to instead, and for each connection the octets of either side, in order.
//! Never: changes, delays or reorders an octet. It stands where `tcpdump` would, so that one test can compare what
//!        any client hears with and without gatepost. Of a large content only the beginning is kept.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::scratch::{PATIENCE, wait_for};

/// Octets kept of each direction of a connection.
pub const KEPT: usize = 256 * 1024;

/// A direction that is silent for this long is given up.
const SILENCE: Duration = Duration::from_secs(60);

pub struct Tap {
    address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    target: SocketAddr,
    stopping: AtomicBool,
    open: AtomicUsize,
    said: Mutex<Vec<Said>>,
}

/// What was said on one connection.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub client: Vec<u8>,
    pub server: Vec<u8>,
}

impl Tap {
    /// Listens on a port of the kernel's choosing.
    pub fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            target,
            stopping: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            said: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&inner);
        thread::spawn(move || accepting.accept(&listener));
        Self { address, inner }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until every connection has ended, and hands over what was said on each, in order of their coming.
    pub fn take(&self) -> Vec<Said> {
        wait_for("both sides to hang up", PATIENCE, || {
            (self.inner.open.load(Ordering::SeqCst) == 0).then_some(())
        });
        std::mem::take(&mut *self.inner.said())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread; if it is gone already, all the better.
        let _ = TcpStream::connect(self.address);
    }
}

impl Inner {
    fn said(&self) -> MutexGuard<'_, Vec<Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        while let Ok((client, _)) = listener.accept() {
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            // Nobody there: the client sees its connection close, as near to a refusal as a forwarder comes.
            let Ok(server) = TcpStream::connect(self.target) else { continue };
            let number = {
                let mut said = self.said();
                said.push(Said::default());
                said.len() - 1
            };
            self.open.fetch_add(1, Ordering::SeqCst);
            let pair = Arc::new((client, server));
            let ends = Arc::new(AtomicUsize::new(2));
            for upwards in [true, false] {
                let (inner, pair, ends) = (Arc::clone(self), Arc::clone(&pair), Arc::clone(&ends));
                thread::spawn(move || {
                    let (from, to) = if upwards { (&pair.0, &pair.1) } else { (&pair.1, &pair.0) };
                    inner.copy(number, upwards, from, to);
                    if ends.fetch_sub(1, Ordering::SeqCst) == 1 {
                        inner.open.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        }
    }

    /// One direction, until its end is passed on. Errors end it too: the peers see what a broken line looks like.
    fn copy(&self, number: usize, upwards: bool, mut from: &TcpStream, mut to: &TcpStream) {
        let _ = from.set_read_timeout(Some(SILENCE));
        let _ = from.set_nodelay(true);
        let mut block = vec![0; 64 * 1024];
        let broken = loop {
            let taken = match from.read(&mut block) {
                Ok(0) => break false,
                Ok(taken) => taken,
                Err(_) => break true,
            };
            if let Some(said) = self.said().get_mut(number) {
                let kept = if upwards { &mut said.client } else { &mut said.server };
                let room = KEPT.saturating_sub(kept.len()).min(taken);
                kept.extend_from_slice(&block[..room]);
            }
            if to.write_all(&block[..taken]).is_err() {
                break true;
            }
        };
        let _ = to.shutdown(if broken { Shutdown::Both } else { Shutdown::Write });
        if broken {
            let _ = from.shutdown(Shutdown::Both);
        }
    }
}
