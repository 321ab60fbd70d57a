//! The same scripts over loopback sockets, with the whole shell: a worker on a thread of its own, real listeners and hops.
//!
//! **In**: a script. **Out**: a [`Driver`] whose `heard` waits until enough has arrived.
//! **Never**: sleeps, or lets time pass: scripts that need it are run without a network. What is compared is each
//! party's own order; that nobody speaks too early is the pure runs' business.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{SockRef, Socket};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use gatepost::config;
use gatepost::config::types::{HostSpec, Source, Target};
use gatepost::hop::Registry;
use gatepost::limits::Sessions;
use gatepost::metrics::Metrics;
use gatepost::net::listen;
use gatepost::net::worker::{self, Beat, Opening, Order, Serving};
use gatepost::prepare::{Names, Prepared, prepare};

use super::handshake::Handshake;
use super::parse::{Action, LookUp, Party, Script};
use super::run::Driver;
use super::settings;
use super::wire::{self, Wire};

/// How long anything may take that is expected.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a TLS record begins that is an alert (RFC 8446 5.1).
const ALERT: [u8; 2] = [21, 3];

/// The shell, a client and hosts.
pub struct Sockets {
    orders: UnboundedSender<Order>,
    worker: Option<JoinHandle<std::io::Result<()>>>,
    client: Option<Wire>,
    hosts: BTreeMap<Party, Host>,
    heard: BTreeMap<Party, Vec<u8>>,
    ended: BTreeMap<Party, bool>,
    fault: Option<String>,
}

/// A host of the script.
struct Host {
    address: SocketAddr,
    listener: Option<TcpListener>,
    /// What becomes of its connections, in order: accepted or refused.
    fate: Vec<bool>,
    stream: Option<Wire>,
}

/// Whether a script may be run this way.
pub fn suits(script: &Script) -> bool {
    let needs_time = |action: &Action| {
        // (No name server stands behind these, either.)
        match action {
            Action::LookUp(..)
            | Action::Pass(_)
            | Action::Silent(_)
            | Action::Stalls(_)
            | Action::Anything(_) => true,
            Action::Secure(_, outcome) => !wire::can_be_had(outcome),
            _ => false,
        }
    };
    let again = |script: &Script| {
        // A port that was refused is not opened again behind gatepost's back.
        fates(script).values().any(|fate| fate.windows(2).any(|two| two == [false, true]))
    };
    script.sockets
        && !script.yaml.contains("callouts:")
        && !script.steps.iter().any(|step| needs_time(&step.action))
        && !again(script)
}

/// What becomes of each host's connections.
fn fates(script: &Script) -> BTreeMap<Party, Vec<bool>> {
    let mut fates: BTreeMap<Party, Vec<bool>> = BTreeMap::new();
    let mut fresh: BTreeMap<Party, bool> = BTreeMap::new();
    for step in &script.steps {
        let Some(party) = step.action.party().filter(|party| **party != Party::Client) else { continue };
        let fate = fates.entry(party.clone()).or_default();
        let fresh = fresh.entry(party.clone()).or_insert(true);
        match &step.action {
            Action::Refused(_) => fate.push(false),
            Action::Eof(_) | Action::Lost(_) | Action::Closed(_) => *fresh = true,
            Action::Secure(_, Err(_)) => {
                if !std::mem::replace(fresh, true) {
                    continue;
                }
                fate.push(true);
            }
            _ if *fresh => {
                fate.push(true);
                *fresh = false;
            }
            _ => {}
        }
    }
    fates
}

impl Sockets {
    /// Starts gatepost and connects to it.
    pub fn new(script: &Script) -> Result<Sockets, String> {
        let say = |error: std::io::Error| error.to_string();
        let mut loaded = settings::loaded(&script.yaml.replace("192.0.2.0/24", "127.0.0.0/8"))?;
        let directory = tempfile::tempdir().map_err(say)?;
        wire::provide(&mut loaded, directory.path());
        let fates = fates(script);
        let mut hosts: BTreeMap<Party, Host> = BTreeMap::new();
        for upstream in loaded.config.upstreams.values_mut() {
            let Source::Hosts(specs) = &mut upstream.source else { continue };
            for HostSpec { target, .. } in specs {
                let Target::Tcp { host, port } = target else { continue };
                let party = Party::Host(host.as_str().into());
                if !hosts.contains_key(&party) {
                    let listener = TcpListener::bind("127.0.0.1:0").map_err(say)?;
                    let address = listener.local_addr().map_err(say)?;
                    let fate = fates.get(&party).cloned().unwrap_or_default();
                    let mut host = Host { address, listener: Some(listener), fate, stream: None };
                    host.prepare();
                    hosts.insert(party.clone(), host);
                }
                *port = hosts[&party].address.port();
                *host = "127.0.0.1".to_owned();
            }
        }
        // Those that a script names are nowhere; these are read when gatepost is prepared.
        for listener in &mut loaded.config.listeners {
            listener.addresses = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        }
        let (orders, address, worker) = serve(&loaded)?;
        let client = TcpStream::connect(address).map_err(say)?;
        client.set_nodelay(true).map_err(say)?;
        Ok(Sockets {
            orders,
            worker: Some(worker),
            client: Some(Wire::Plain(client)),
            hosts,
            heard: BTreeMap::new(),
            ended: BTreeMap::new(),
            fault: None,
        })
    }

    /// The party's stream, its next connection accepted if there is none.
    fn stream(&mut self, party: &Party) -> Option<&mut Wire> {
        if *party == Party::Client {
            return self.client.as_mut();
        }
        let host = self.hosts.get_mut(party)?;
        if host.stream.is_none() {
            host.stream = host.accept();
            self.ended.insert(party.clone(), false);
        }
        host.stream.as_mut()
    }

    /// Reads what has arrived; waits until `enough`, or for the end.
    fn read(&mut self, party: &Party, enough: &dyn Fn(&[u8]) -> bool, patience: Duration) {
        let until = Instant::now() + patience;
        let mut octets = [0; 16 << 10];
        let mut heard = self.heard.remove(party).unwrap_or_default();
        while !enough(&heard) && !self.ended.get(party).copied().unwrap_or(false) {
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_micros(100));
            let Some(stream) = self.stream(party) else { break };
            let _ = stream.socket().set_read_timeout(Some(left));
            match stream.read(&mut octets) {
                Ok(0) => drop(self.ended.insert(party.clone(), true)),
                // The alert of a handshake that failed is nothing anybody says.
                Ok(count) if octets[..count].starts_with(&ALERT) => {}
                Ok(count) => heard.extend_from_slice(&octets[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= until {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => drop(self.ended.insert(party.clone(), true)),
            }
        }
        self.heard.insert(party.clone(), heard);
    }
}

/// A worker that serves one configuration, the address it listens on, and its thread.
type Worker = (UnboundedSender<Order>, SocketAddr, JoinHandle<std::io::Result<()>>);

fn serve(loaded: &config::Loaded) -> Result<Worker, String> {
    let say = |error: std::io::Error| error.to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(say)?;
    let registry = Arc::new(Registry::new(Instant::now()));
    let limits = &loaded.config.session_limits;
    let limiter = Sessions::new(limits.sessions, limits);
    let prepared = runtime.block_on(prepare(loaded, &registry, limiter.clone(), Names::Ask))?;
    let Prepared { settings, tls, doors, sessions, .. } = prepared;
    let door = doors.first().ok_or("no listener")?;
    let bound = listen::bind(door.address, door.intercept).map_err(say)?;
    let address = bound.local_addr().map_err(say)?.as_socket().ok_or("no address")?;
    limiter.set(sessions, limits);
    let (orders, received) = unbounded_channel();
    let thread = std::thread::spawn(move || worker::run(0, &Metrics::new(1), received, Beat::default()));
    let serving =
        Arc::new(Serving { settings, sessions: limiter, listeners: Box::default(), tls: tls.listeners() });
    orders
        .send(Order::Serve(serving, vec![(*door, Opening::Own(bound))]))
        .map_err(|_| "the worker has ended")?;
    Ok((orders, address, thread))
}

impl Host {
    /// Listens or not, as the next connection is to find it.
    fn prepare(&mut self) {
        if self.fate.first() != Some(&true) {
            self.listener = None;
        }
    }

    fn accept(&mut self) -> Option<Wire> {
        let listener = self.listener.as_ref()?;
        listener.set_nonblocking(false).ok()?;
        let socket = SockRef::from(listener);
        socket.set_read_timeout(Some(PATIENCE)).ok()?;
        let (stream, _) = listener.accept().ok()?;
        stream.set_nodelay(true).ok()?;
        if !self.fate.is_empty() {
            self.fate.remove(0);
        }
        self.prepare();
        Some(Wire::Plain(stream))
    }
}

impl Driver for Sockets {
    fn feed(&mut self, party: &Party, octets: &[u8]) {
        let wrote = match self.stream(party) {
            Some(stream) => stream.write_all(octets).map_err(|error| error.to_string()),
            None => Err("no connection".to_owned()),
        };
        if let Err(error) = wrote {
            self.fault.get_or_insert(format!("{party} cannot speak: {error}"));
        }
    }

    fn eof(&mut self, party: &Party) {
        if let Some(stream) = self.stream(party) {
            stream.shutdown();
        }
        // Gatepost lets go of a host that left; what it said to it until then is heard.
        if *party != Party::Client {
            self.read(party, &|_| false, PATIENCE);
        }
        if let Some(host) = self.hosts.get_mut(party) {
            host.stream = None;
        }
    }

    fn lost(&mut self, party: &Party) {
        let reset = |stream: Wire| {
            let socket = Socket::from(stream.into_socket());
            let _ = socket.set_linger(Some(Duration::ZERO));
        };
        let stream = match party {
            Party::Client => self.client.take(),
            Party::Host(_) | Party::Callout(_) => {
                self.hosts.get_mut(party).and_then(|host| host.stream.take())
            }
        };
        stream.map(reset);
        self.ended.insert(party.clone(), true);
    }

    fn connect(&mut self, party: &Party, _: bool) {
        if let Some(host) = self.hosts.get_mut(party)
            && host.fate.first() == Some(&false)
        {
            host.fate.remove(0);
        }
    }

    /// Hosts whose next connection is refused: the system does so by itself, whenever it is asked for.
    fn connecting(&mut self) -> Vec<Party> {
        let refuses = |host: &Host| host.fate.first() == Some(&false) && host.stream.is_none();
        self.hosts.iter().filter(|(_, host)| refuses(host)).map(|(party, _)| party.clone()).collect()
    }

    fn stall(&mut self, _: &Party) {}

    fn secure(&mut self, party: &Party, outcome: &Handshake) -> Result<(), String> {
        // (A hop whose TLS is implicit has said nothing yet.)
        self.stream(party);
        let place = match party {
            Party::Client => Some(&mut self.client),
            Party::Host(_) | Party::Callout(_) => self.hosts.get_mut(party).map(|host| &mut host.stream),
        };
        let place = place.ok_or_else(|| format!("{party} is not there"))?;
        let wire = place.take().ok_or_else(|| format!("{party} is not connected"))?;
        let _ = wire.socket().set_read_timeout(Some(PATIENCE));
        *place =
            wire.secure(*party == Party::Client, outcome).map_err(|error| format!("{party}: {error}"))?;
        if place.is_none() {
            self.ended.insert(party.clone(), true);
        }
        Ok(())
    }

    fn logged(&mut self, _: &str) -> Result<(), String> {
        // It is gone where nobody here can read it.
        Ok(())
    }

    fn look_up(&mut self, _: &str, _: &LookUp) -> Result<(), String> {
        Err("no domain is looked up over sockets".to_owned())
    }

    fn tell(&mut self, callout: &Party, _: &str, _: bool) -> Result<(), String> {
        Err(format!("{callout} has no socket here"))
    }

    fn pass(&mut self, _: Duration) {}

    fn shutdown(&mut self) {
        let _ = self.orders.send(Order::Drain);
    }

    fn heard(&mut self, party: &Party, enough: &dyn Fn(&[u8]) -> bool) -> &mut Vec<u8> {
        self.read(party, enough, PATIENCE);
        self.heard.entry(party.clone()).or_default()
    }

    /// Told apart from a close by nobody here; what is said afterwards shows it.
    fn finished(&mut self, _: &Party) -> bool {
        true
    }

    fn closed(&mut self, party: &Party, expected: bool) -> bool {
        if expected {
            self.read(party, &|_| false, PATIENCE);
            let ended = self.ended.get(party).copied().unwrap_or(false);
            // An alert of TLS stands in no script: what it comes with does.
            if let Some(heard) = self.heard.get_mut(party)
                && heard.starts_with(b"\x15\x03\x03\x00\x02")
            {
                heard.clear();
            }
            if let Some(host) = self.hosts.get_mut(party) {
                host.stream = None;
            }
            return ended;
        }
        // A host that is to be opened again has not ended.
        let again = |host: &Host| host.stream.is_none() && host.fate.first() == Some(&true);
        !self.hosts.get(party).is_some_and(again) && self.ended.get(party).copied().unwrap_or(false)
    }

    fn unheard(&mut self) -> Vec<(Party, Vec<u8>)> {
        let said = self.heard.iter().filter(|(party, said)| **party == Party::Client && !said.is_empty());
        said.map(|(party, said)| (party.clone(), said.clone())).collect()
    }

    fn finish(&mut self) -> Option<String> {
        // The client leaves; whatever it has not heard by now was not in the script.
        if let Some(client) = &mut self.client {
            client.shutdown();
        }
        self.hosts.clear();
        let _ = self.orders.send(Order::Stop);
        self.read(&Party::Client, &|_| false, PATIENCE);
        let left = self.heard.remove(&Party::Client).unwrap_or_default();
        // A session in the middle of something is told why it ends.
        let parting = left.is_empty() || left.starts_with(b"421 ") || left.starts_with(b"451 4.4.2");
        if !parting {
            self.fault.get_or_insert(format!("said at the end: {}", left.escape_ascii()));
        }
        match self.worker.take().map(JoinHandle::join) {
            Some(Err(_)) => drop(self.fault.get_or_insert("the worker panicked".to_owned())),
            Some(Ok(Err(error))) => drop(self.fault.get_or_insert(error.to_string())),
            _ => {}
        }
        self.fault.take()
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
    }
}
