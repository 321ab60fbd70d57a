//! One session between a client and hops by chance, on a virtual clock.
//!
//! **In**: a seed. **Out**: nothing, or a panic that names the law that was broken; the transcript either way.
//! **Never**: takes longer than the session does: time jumps from event to event.
//!
//! The stage is the shell: it reads a peer while the session wants it, presents again what was not taken, obeys deadlines,
//! and carries out what the session wants. After every step it asserts what can be seen from outside.

#[path = "deeds.rs"]
mod deeds;
#[path = "dns.rs"]
mod dns;
#[path = "door.rs"]
pub mod door;
#[path = "handshake.rs"]
mod handshake;
#[path = "turn.rs"]
mod turn;
#[path = "wants.rs"]
mod wants;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use gatepost::session::Session;
use gatepost::session::callout::{CalloutAnswer, Fault};
use gatepost::session::client::{TlsFacts, TlsFault, TlsFaultKind};
use gatepost::session::io::{HOPS, HopId, Input, Out, Peer, Ticket};
use gatepost::session::route::{Domain, HopTerms, PoolId};
use gatepost::session::settings::{DoorTls, Entrance, Settings};
use gatepost::smtp::SessionId;

use super::bent::Bent;
use super::callouts::{Desk, Whims};
use super::client::Client;
use super::hop::{Act, Hop, terms};
use super::ledger::{Ledger, Tally};
use super::rng::Rng;
use super::setting::{POOLS, settings};
use crate::script::paper::Paper;

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
    /// Dialogs are running out, or are not any more.
    Stress(bool),
}

/// What is known when so many octets have been handed in.
enum Mark {
    Ends(String),
    Answers(usize, Option<String>),
}

#[derive(Default)]
struct Link {
    /// With whom, where it is a hop's.
    id: Option<HopId>,
    connection: usize,
    open: bool,
    hop: Option<Hop>,
    host: String,
    terms: HopTerms,
    /// A handshake goes on.
    securing: bool,
    wire: Vec<u8>,
    read: Vec<u8>,
    handed: usize,
    queued: usize,
    marks: VecDeque<(usize, Mark)>,
    fin: bool,
    /// What is on the wire is read in one piece.
    whole: bool,
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
    /// What keeps messages, and whether it gives them back in few pieces.
    paper: Paper,
    whole_pieces: bool,
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
    bent: Bent,
    /// So many pieces of what the client says are on their way.
    posted: usize,
    /// Nothing goes wrong with hops: sessions go deep.
    fair: Option<u64>,
    steps: usize,
    stress: Arc<AtomicBool>,
}

impl<'a> Stage<'a> {
    /// Sets the stage for a seed.
    pub fn new(seed: u64, transcript: &'a mut String, recording: bool) -> Stage<'a> {
        let mut rng = Rng::new(seed);
        let reject = rng.percent(30);
        let bent = Bent::draw(&mut rng);
        let callouts = Arc::new(Whims::new(&mut rng.fork(), bent, POOLS));
        let terms = std::array::from_fn(|_| terms::terms(&mut rng));
        // From dice of its own: what else a seed does stays what it was.
        let mut weather = Rng::new(!seed);
        let stress = Arc::new(AtomicBool::new(weather.percent(10)));
        let settings: Arc<Settings> =
            Arc::new(settings(&mut rng, bent, reject, callouts.clone(), &terms, &stress));
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
            client: Client::new(rng.fork(), bent, securing),
            rng,
            events: BTreeMap::new(),
            count: 0,
            connections: 0,
            lookups: 0,
            looking: false,
            terms,
            links: Default::default(),
            paper: Paper::of_room(weather.percent(2).then(|| weather.below(3000))),
            whole_pieces: weather.percent(70),
            client_left: false,
            left_at: None,
            callouts,
            desk: Desk::default(),
            ended: 0,
            waited_for: true,
            ledger: Ledger { reject, ..Ledger::default() },
            transcript,
            recording,
            bent,
            fair: None,
            posted: 0,
            steps: 0,
            stress,
        };
        stage.fair = bent.fair.then(|| stage.rng.next());
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
        if weather.percent(10) {
            for on in [true, false, true] {
                let when = weather.next() % 100_000;
                stage.at(when, Event::Stress(on));
            }
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
                    let vain = self.client_waits() && !self.waited_for;
                    assert!(!vain, "law 7: the client waits, and nobody is asked");
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
                self.posted -= 1;
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
            Event::Stress(on) => {
                self.note(|| format!("<stress: {on}>"));
                self.stress.store(on, Relaxed);
            }
            Event::Shutdown => {
                self.note(|| "<shutdown>".to_owned());
                self.handle(Input::Shutdown);
            }
            Event::Told(ticket, answer) => {
                let waited = self.desk.answered(ticket);
                self.note(|| format!("    {ticket:?} (waited for: {}) {answer:?}", waited.is_some()));
                self.ledger.tally.late += u64::from(waited.is_none());
                if let (Some(callout), Ok(answer)) = (waited, &answer) {
                    self.ledger.prepends(answer);
                    self.ledger.edits(callout, answer);
                }
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
                self.posted += 1;
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

    fn peer(&self, index: usize) -> Peer {
        self.links[index].id.map_or(Peer::Downstream, Peer::Upstream)
    }
}

fn clipped(octets: &[u8]) -> String {
    let text = octets.escape_ascii().to_string();
    if text.len() > 400 { format!("{}... ({} octets)", &text[..400], octets.len()) } else { text }
}
