//! One session between a client and hops by chance, on a virtual clock.
//!
//! **In**: a seed. **Out**: nothing, or a panic that names the law that was broken; the transcript either way.
//! **Never**: takes longer than the session does: time jumps from event to event.
//!
//! The stage is the shell: it reads a peer while the session wants it, presents again what was not taken, obeys deadlines,
//! and carries out what the session wants. After every step it asserts what can be seen from outside.

#[path = "dns.rs"]
mod dns;
#[path = "door.rs"]
pub mod door;
#[path = "handshake.rs"]
mod handshake;
#[path = "turn.rs"]
mod turn;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatepost::session::Session;
use gatepost::session::callout::{CalloutAnswer, Fault};
use gatepost::session::client::{TlsFacts, TlsFault, TlsFaultKind};
use gatepost::session::io::{HOPS, HopId, Input, Out, Output, Peer, Ticket};
use gatepost::session::route::{Domain, HopTerms, PoolId};
use gatepost::session::settings::{DoorTls, Entrance, Settings};
use gatepost::smtp::SessionId;

use super::callouts::{Desk, Whims};
use super::client::Client;
use super::hop::{Act, Hop, terms};
use super::ledger::{Ledger, Tally};
use super::rng::Rng;
use super::setting::{POOLS, settings};

/// How much is read ahead of the session.
const BUFFER: usize = 32 << 10;
/// How long a session may take to end when its client has said its last: the times for what it had asked, and content.
const GONE: u64 = 2 * 3_600_000;
/// More steps than any of these sessions needs.
const STEPS: usize = 50_000;

enum Event {
    Client(Vec<u8>, Option<String>),
    ClientEof,
    ClientLost,
    ClientWakes,
    Connect(usize, HopId),
    LookedUp(usize, Domain),
    Hop(usize, Act),
    HopHandshake(usize, Result<TlsFacts, TlsFault>),
    Told(Ticket, Result<CalloutAnswer, Fault>),
    /// The client's handshake is over; `None`: it went well.
    Handshake(Option<TlsFaultKind>),
    Shutdown,
}

/// What is known when so many octets have been handed in.
enum Mark {
    Ends(String),
    Answers(usize, Option<String>),
}

#[derive(Default)]
struct Link {
    connection: usize,
    open: bool,
    hop: Option<Hop>,
    terms: HopTerms,
    /// A handshake goes on.
    securing: bool,
    wire: Vec<u8>,
    read: Vec<u8>,
    handed: usize,
    queued: usize,
    marks: VecDeque<(usize, Mark)>,
    fin: bool,
    /// Said to a hop that does not take it.
    unsent: usize,
    /// When the last of what is under way arrives.
    busy: u64,
}

/// The whole of it.
pub struct Stage<'a> {
    session: Session,
    out: Out,
    start: Instant,
    now: u64,
    rng: Rng,
    events: BTreeMap<(u64, usize), Event>,
    count: usize,
    connections: usize,
    lookups: usize,
    /// One is under way.
    looking: bool,
    /// How the hosts of each pool are spoken to.
    terms: [HopTerms; POOLS as usize],
    links: [Link; 1 + HOPS],
    client: Client,
    client_left: bool,
    /// When it left.
    left_at: Option<u64>,
    callouts: Arc<Whims>,
    desk: Desk,
    ended: usize,
    /// Whether anybody but the client was waited for when the deadline came.
    waited_for: bool,
    ledger: Ledger,
    transcript: &'a mut String,
    recording: bool,
    /// Nothing goes wrong with hops: sessions go deep.
    fair: bool,
    steps: usize,
}

impl<'a> Stage<'a> {
    /// Sets the stage for a seed.
    pub fn new(seed: u64, transcript: &'a mut String, recording: bool) -> Stage<'a> {
        let mut rng = Rng::new(seed);
        let reject = rng.percent(30);
        let callouts = Arc::new(Whims::new(&mut rng.fork(), POOLS));
        let terms = std::array::from_fn(|_| terms::terms(&mut rng));
        let settings: Arc<Settings> = Arc::new(settings(&mut rng, reject, callouts.clone(), &terms));
        let securing = settings.doors[0].tls == DoorTls::Implicit;
        let client = SocketAddr::from(([192, 0, 2, 1], 40000));
        let entrance = Entrance { listener: 0, pool: PoolId(0), client, facts: None };
        let start = Instant::now();
        let session = Session::new(settings, entrance, SessionId(seed | 1 << 63), start);
        let mut stage = Stage {
            session,
            out: Out::default(),
            start,
            now: 0,
            client: Client::new(rng.fork(), securing),
            rng,
            events: BTreeMap::new(),
            count: 0,
            connections: 0,
            lookups: 0,
            looking: false,
            terms,
            links: Default::default(),
            client_left: false,
            left_at: None,
            callouts,
            desk: Desk::default(),
            ended: 0,
            waited_for: true,
            ledger: Ledger { reject, ..Ledger::default() },
            transcript,
            recording,
            fair: false,
            steps: 0,
        };
        stage.fair = stage.rng.percent(25);
        stage.links[0].open = true;
        stage.at(0, Event::ClientWakes);
        // Some clients leave, some processes stop, at a time of their own.
        if stage.rng.percent(12) {
            let when = stage.rng.next() % 4_000;
            let leaves = if stage.rng.percent(50) { Event::ClientEof } else { Event::ClientLost };
            stage.at(when, leaves);
        }
        if stage.rng.percent(4) {
            let when = stage.rng.next() % 4_000;
            stage.at(when, Event::Shutdown);
        }
        stage
    }

    /// Plays it to the end.
    pub fn play(mut self) -> Tally {
        let now = self.instant();
        self.session.start(now, &mut self.out);
        self.carry_out(&[]);
        self.pump();
        while !self.session.is_over() {
            self.steps += 1;
            assert!(self.steps < STEPS, "law 7: the session does not come to an end");
            let deadline = self.session.deadline();
            assert!(deadline.is_some(), "law 7: the session waits without a deadline");
            let deadline =
                deadline.map(|until| until.saturating_duration_since(self.start).as_millis() as u64);
            let due = self.events.keys().next().map(|key| key.0);
            match (due, deadline) {
                (Some(due), Some(deadline)) if due <= deadline => {
                    let Some((key, event)) = self.events.pop_first() else { break };
                    self.now = self.now.max(key.0);
                    self.happen(event);
                }
                (_, Some(deadline)) => {
                    // A deadline is never reached a fraction of a millisecond early.
                    self.now = self.now.max(deadline + 1);
                    self.note(|| "(deadline)".to_owned());
                    self.waited_for = self.waited_for();
                    let stalled = self.links.iter().any(|link| link.unsent > 0);
                    self.handle(Input::Deadline { stalled });
                    self.waited_for = true;
                }
                (..) => break,
            }
            self.pump();
            let gone = self.left_at.map_or(0, |left| self.now - left);
            assert!(gone < GONE, "law 7: the client has left, and the session goes on and on");
            assert!(!(self.client.parting && self.links[0].open), "a 421 or 521 is not followed by close");
        }
        let open = self.links.iter().skip(1).any(|link| link.open);
        assert!(!open, "law 7: the session is over and a hop's connection is open");
        self.desk.closes();
        self.ledger.tally.connections = self.connections as u64;
        self.ledger.tally
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    fn at(&mut self, delay: u64, event: Event) {
        self.count += 1;
        self.events.insert((self.now + delay, self.count), event);
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.recording {
            let _ = writeln!(self.transcript, "{:>8} {}", self.now, line());
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Client(octets, ends) if !self.client_left => {
                self.note(|| format!("C: {}", octets.escape_ascii()));
                let link = &mut self.links[0];
                link.wire.extend_from_slice(&octets);
                link.queued += octets.len();
                link.marks.extend(ends.map(|id| (link.queued, Mark::Ends(id))));
            }
            Event::ClientEof if !self.client_left => {
                self.note(|| "C: <eof>".to_owned());
                (self.client_left, self.left_at) = (true, Some(self.now));
                self.links[0].fin = true;
            }
            Event::ClientLost if !self.client_left => {
                self.note(|| "C: <lost>".to_owned());
                self.client_left = true;
                self.ledger.gone = true;
                if self.links[0].open {
                    self.links[0].wire.clear();
                    self.handle(Input::Lost(Peer::Downstream));
                }
            }
            Event::ClientWakes => self.client_speaks(),
            Event::Connect(connection, hop) => self.connected(connection, hop),
            Event::LookedUp(number, domain) => self.looked_up(number, domain),
            Event::Hop(connection, act) => self.hop_acts(connection, act),
            Event::HopHandshake(connection, outcome) => self.hop_handshake_ends(connection, outcome),
            Event::Handshake(fault) => self.handshake_ends(fault),
            Event::Shutdown => {
                self.note(|| "<shutdown>".to_owned());
                self.handle(Input::Shutdown);
            }
            Event::Told(ticket, answer) => {
                let waited = self.desk.answered(ticket);
                self.note(|| format!("    {ticket:?} (waited for: {waited}) {answer:?}"));
                self.ledger.tally.late += u64::from(!waited);
                self.handle(Input::Told { ticket, answer });
            }
            Event::Client(..) | Event::ClientEof | Event::ClientLost => {}
        }
    }

    /// The client says what it may say now, in pieces.
    fn client_speaks(&mut self) {
        if self.client_left || !self.links[0].open {
            return;
        }
        let mut delay = self.links[0].busy.saturating_sub(self.now);
        while let Some(sent) = self.client.next(&mut self.ledger) {
            let mut rest = &sent.octets[..];
            loop {
                let whole = self.rng.percent(70);
                let (piece, more) =
                    rest.split_at(if whole { rest.len() } else { self.rng.below(rest.len()) });
                delay += if self.rng.percent(70) { 0 } else { self.rng.next() % 40 };
                if self.rng.percent(1) && self.rng.percent(20) {
                    delay += self.rng.next() % 600_000;
                }
                let ends = if more.is_empty() { sent.ends.clone() } else { None };
                self.at(delay, Event::Client(piece.to_vec(), ends));
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
        }
        self.links[0].busy = self.now + delay;
        if let Some(bare) = self.client.goes() {
            let delay = delay + if self.rng.percent(50) { 0 } else { self.rng.next() % 100 };
            self.at(delay, if bare { Event::ClientLost } else { Event::ClientEof });
        }
        if self.client.is_done() && self.client.leaves {
            self.at(delay + 50, Event::ClientEof);
        }
    }

    fn connected(&mut self, connection: usize, hop: HopId) {
        let index = Peer::Upstream(hop).index();
        if !self.links[index].open || self.links[index].connection != connection {
            return;
        }
        if !self.fair && self.rng.percent(8) {
            self.note(|| format!("[{connection}] <refused>"));
            self.links[index] = Link::default();
            return self.handle(Input::OpenFailed(hop));
        }
        let (model, acts) = Hop::new(connection, self.links[index].terms, self.fair, self.rng.fork());
        self.note(|| format!("[{connection}] <opened> {}", model.describe()));
        self.links[index].hop = Some(model);
        self.handle(Input::Opened(hop));
        self.schedule(connection, acts);
    }

    fn schedule(&mut self, connection: usize, acts: Vec<(u64, Act)>) {
        let Some(index) = self.links.iter().position(|link| link.open && link.connection == connection)
        else {
            return;
        };
        for (delay, act) in acts {
            let when = self.links[index].busy.max(self.now + delay);
            self.links[index].busy = when;
            self.at(when - self.now, Event::Hop(connection, act));
        }
    }

    fn hop_acts(&mut self, connection: usize, act: Act) {
        let Some(index) = self.links.iter().position(|link| link.open && link.connection == connection)
        else {
            return;
        };
        let peer = Peer::Upstream(HopId(index as u8 - 1));
        match act {
            Act::Say { octets, answers, of } => {
                self.note(|| format!("        [{connection}] S: {}", clipped(&octets)));
                let link = &mut self.links[index];
                link.queued += octets.len();
                link.wire.extend(octets);
                link.marks.push_back((link.queued, Mark::Answers(answers, of)));
            }
            Act::Unasked(octets) => {
                let link = &mut self.links[index];
                if link.wire.is_empty() && link.hop.as_ref().is_some_and(Hop::is_idle) {
                    link.queued += octets.len();
                    link.wire.extend_from_slice(&octets);
                    self.note(|| format!("        [{connection}] S: {}", clipped(&octets)));
                }
            }
            Act::Early(octets) => {
                let link = &mut self.links[index];
                if link.wire.is_empty() && link.hop.as_ref().is_some_and(Hop::is_in_content) {
                    link.queued += octets.len();
                    link.wire.extend_from_slice(&octets);
                    self.note(|| format!("        [{connection}] S: {}", clipped(&octets)));
                    // Before the client can end its content.
                    while self.read(index) {}
                }
            }
            Act::Leave => {
                let link = &mut self.links[index];
                if link.wire.is_empty() && link.hop.as_ref().is_some_and(Hop::is_idle) {
                    link.fin = true;
                    self.note(|| format!("        [{connection}] <eof>"));
                }
            }
            Act::Eof => {
                self.note(|| format!("        [{connection}] <eof>"));
                self.links[index].fin = true;
            }
            Act::Lost => {
                self.note(|| format!("        [{connection}] <lost>"));
                if self.links[index].securing {
                    return self.breaks_handshake(index, TlsFaultKind::Lost);
                }
                self.links[index].wire.clear();
                self.links[index].marks.clear();
                self.handle(Input::Lost(peer));
            }
        }
    }

    /// Whether a hop, a lookup or a callout lets the session wait.
    fn waited_for(&self) -> bool {
        let hop = |link: &Link| {
            let quiet = link.hop.as_ref().is_some_and(Hop::is_quiet) && link.wire.is_empty() && link.read.is_empty();
            link.open && (link.securing || link.unsent > 0 || !quiet)
        };
        self.links.iter().skip(1).any(hop) || self.looking || self.desk.is_open()
    }

    fn heard(&mut self, index: usize, octets: &[u8]) {
        assert!(self.links[index].open, "said to a connection that is closed: {}", octets.escape_ascii());
        let connection = self.links[index].connection;
        if index == 0 {
            self.note(|| format!("S: {}", octets.escape_ascii()));
            let late = octets.windows(9).any(|nine| nine == b"451 4.4.1");
            assert!(self.waited_for || !late, "law 7: the client waited, and nobody was asked");
            if !self.ledger.gone {
                self.client.hear(octets, &mut self.ledger);
                self.at(0, Event::ClientWakes);
            }
            return;
        }
        self.note(|| format!("        [{connection}] C: {}", clipped(octets)));
        assert!(!self.links[index].securing, "law 5: said during a handshake");
        if self.links[index].hop.as_ref().is_some_and(|hop| hop.stalled) {
            self.links[index].unsent += octets.len();
            return;
        }
        let acts = match &mut self.links[index].hop {
            Some(hop) => hop.receive(octets, &mut self.ledger),
            None => panic!("said before the connection stood: {}", octets.escape_ascii()),
        };
        self.schedule(connection, acts);
    }

    fn want(&mut self, output: Output) {
        match output {
            Output::StartTls(Peer::Downstream) => self.client_begins_tls(),
            Output::StartTls(Peer::Upstream(hop)) => self.begins_tls_with(hop),
            Output::Open { hop, host } => {
                let index = Peer::Upstream(hop).index();
                assert!(!self.client.authenticated, "an authenticated session goes to another hop");
                assert!(!self.links[index].open, "law 7: a slot in use is opened again");
                self.connections += 1;
                let connection = self.connections;
                self.note(|| format!("[{connection}] connect to {}", host.name()));
                self.links[index] = Link { connection, open: true, terms: host.terms(), ..Link::default() };
                let delay = if self.rng.percent(96) { self.rng.next() % 20 } else { 20_000 };
                self.at(delay, Event::Connect(connection, hop));
            }
            Output::Close(peer) | Output::Abort(peer) => {
                let connection = self.links[peer.index()].connection;
                self.ended += 1;
                self.note(|| format!("[{connection}] <closed>"));
                self.links[peer.index()] = Link::default();
                if peer == Peer::Downstream {
                    self.ledger.gone = true;
                }
            }
            Output::Reset => panic!("nobody is intercepted here"),
            // Nobody is bounded here.
            Output::Recount(_) => {}
            Output::Finish(_) | Output::Passed(_) => panic!("nothing passes through here"),
            Output::LookUp(domain) => self.looks_up(domain),
            Output::Ask(ask) => {
                self.note(|| format!("    {ask:?}: {}", ask.question.escape_ascii()));
                self.desk.asks(&ask, self.ended);
                self.ledger.tally.asked += 1;
                for (delay, answer) in self.callouts.fate(&ask) {
                    self.at(delay, Event::Told(ask.ticket, answer));
                }
            }
            Output::Cancel(ticket) => {
                self.note(|| format!("    cancel {ticket:?}"));
                self.desk.cancelled(ticket);
            }
            Output::CalloutFailed(_, stage, fault) => {
                self.ledger.tally.failed += 1;
                self.note(|| format!("    failed at {}: {fault}", stage.as_str()));
            }
            Output::Unmet(host, unmet) => self.note(|| format!("    hop {}: {unmet}", host.name())),
            Output::Record(_)
            | Output::NotSecured(..)
            | Output::Hidden(..)
            | Output::StrayHeader
            | Output::Trace(..) => {}
        }
    }
}

fn clipped(octets: &[u8]) -> String {
    let text = octets.escape_ascii().to_string();
    if text.len() > 400 { format!("{}... ({} octets)", &text[..400], octets.len()) } else { text }
}
