//! A policy server that says what it is told to say.
//!
//! In:    for a state of the protocol, the action to answer with; `{sender}` and the like in it are attributes' values.
//! Out:   an address; every request it got, in order, and on which connection.
//! Never: stands in for a real server where one could be used: it is for actions that no real one says on cue. Dropped,
//!        it is dead at once: nobody listens at its address, and its connections are closed.
//!
//! SMTPD_POLICY_README of Postfix.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::scratch::free_port;

pub struct PolicyServer {
    address: SocketAddr,
    inner: Arc<Inner>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Inner {
    stopping: AtomicBool,
    actions: Mutex<HashMap<String, String>>,
    connections: Mutex<Vec<TcpStream>>,
    requests: Mutex<Vec<Request>>,
}

/// What it was asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// The number of the connection it came by.
    pub connection: usize,
    /// Names and values, in the order in which they stood.
    pub attributes: Vec<(String, String)>,
}

impl Request {
    /// The value of that name; empty, too, where there is none.
    pub fn value(&self, name: &str) -> &str {
        let mut all = self.attributes.iter();
        all.find(|(given, _)| given == name).map_or("", |(_, value)| value)
    }
}

impl PolicyServer {
    /// One that answers `DUNNO`.
    pub fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], free_port())))
    }

    /// One where another one was.
    pub fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let inner = Arc::<Inner>::default();
        let serving = Arc::clone(&inner);
        let accepting = Some(thread::spawn(move || serving.accept(&listener)));
        Self { address, inner, accepting }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it answers so in this state, `*` for each, and `DUNNO` in all others.
    pub fn says(&self, state: &str, action: &str) {
        let mut actions = locked(&self.inner.actions);
        actions.clear();
        actions.insert(state.to_owned(), action.to_owned());
    }

    /// All requests since the last call.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut locked(&self.inner.requests))
    }
}

impl Drop for PolicyServer {
    fn drop(&mut self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, with which the listener goes.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for connection in locked(&self.inner.connections).drain(..) {
            // The other side may have closed it.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Inner {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        while let Ok((stream, _)) = listener.accept() {
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            let mut connections = locked(&self.connections);
            connections.push(stream.try_clone().unwrap());
            let (number, serving) = (connections.len(), Arc::clone(&self));
            thread::spawn(move || serving.serve(number, stream));
        }
    }

    fn serve(&self, connection: usize, stream: TcpStream) {
        let Ok(mut out) = stream.try_clone() else { return };
        let mut attributes = Vec::new();
        // An error is an end like any other: the client or the test has left.
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let Some((name, value)) = line.split_once('=') {
                attributes.push((name.to_owned(), value.to_owned()));
                continue;
            }
            let request = Request { connection, attributes: std::mem::take(&mut attributes) };
            let action = self.action(&request);
            locked(&self.requests).push(request);
            if out.write_all(format!("action={action}\n\n").as_bytes()).is_err() {
                return;
            }
        }
    }

    fn action(&self, request: &Request) -> String {
        let actions = locked(&self.actions);
        let action = actions.get(request.value("protocol_state")).or_else(|| actions.get("*"));
        let action = action.map_or("DUNNO", String::as_str);
        let fill =
            |text: String, (name, value): &(String, String)| text.replace(&format!("{{{name}}}"), value);
        request.attributes.iter().fold(action.to_owned(), fill)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
