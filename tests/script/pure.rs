//! A session without a network: octets and time are handed in, and what it said is collected.
//!
//! **In**: a [`World`]. **Out**: what the session said to each party, and its connections.
//! **Never**: opens a socket or reads the clock, which is virtual and moves only when a script says so.
//!
//! It drives the session as the shell does (see the contract in `src/session/io.rs`): a peer is read only while the
//! session wants it, what it did not take is presented again with more behind it, deadlines are obeyed in order.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use gatepost::limits::Permit;
use gatepost::session::Session;
use gatepost::session::callout::CalloutAnswer;
use gatepost::session::client::TlsFaultKind;
use gatepost::session::io::{Event, HOPS, HopId, Input, Out, Output, Peer, Said, Shadow, Ticket, TraceSide};
use gatepost::session::record::{PassageRecord, Record};
use gatepost::session::route::{Destination, Domain, HopTerms, NotFound};
use gatepost::session::verdict::Stage;
use gatepost::smtp::SessionId;

use super::callouts;
use super::handshake::{self, Handshake};
use super::paper::Paper;
use super::parse::{LookUp, Party};
use super::prompt::Prompt;
use super::run::Driver;
use super::settings::{Hosts, World};

/// How much the shell reads of one peer before the session must have taken some.
const BUFFER: usize = 32 << 10;

/// How often a session may act on one input before it counts as running in circles.
const TURNS: usize = 2_000_000;

/// A session on a virtual clock.
pub struct Pure {
    session: Session,
    out: Out,
    now: Instant,
    /// How many octets are read at once.
    piece: usize,
    links: [Link; 1 + HOPS],
    /// What keeps messages.
    pub paper: Paper,
    connecting: Vec<(HopId, Party)>,
    looking: Option<Domain>,
    /// Who was sent everything, and a FIN behind it.
    finished: VecDeque<Peer>,
    fins: Vec<Party>,
    heard: BTreeMap<Party, Vec<u8>>,
    closed: BTreeMap<Party, bool>,
    /// The pools' names and terms, by their numbers.
    pools: Vec<String>,
    terms: Vec<HopTerms>,
    /// Callouts that answer by themselves, and what they have answered.
    prompt: Option<Arc<Prompt>>,
    told: VecDeque<(Ticket, CalloutAnswer)>,
    /// Each callout's latest question, and whether it is open.
    asked: BTreeMap<Party, (Ticket, Stage, bool)>,
    /// Under which number of a transaction each question was asked.
    pub instances: Vec<u32>,
    /// The transactions that ended.
    pub records: Vec<Record>,
    /// TLS that was passed through, and ended.
    pub passed: Vec<PassageRecord>,
    /// What was asked in shadow.
    pub shadows: Vec<Shadow>,
    /// What there was to count.
    pub events: Vec<Event>,
    /// What was to be shown of both dialogs, in the two columns of a script.
    pub traces: Vec<String>,
    /// Whose connections were closed at once, whatever waited to be sent.
    pub aborted: Vec<Party>,
    /// What was to be logged about hops, and no line of the script has asked for yet.
    pub logged: Vec<String>,
    /// What was to be logged about refusals: whose, and the first line.
    pub refusals: Vec<String>,
    fault: Option<String>,
    permit: Permit,
    stress: Arc<AtomicBool>,
}

/// One connection.
#[derive(Default)]
struct Link {
    /// With whom, where it is a hop's.
    hop: Option<HopId>,
    party: Option<Party>,
    /// Sent by the party, not yet read.
    wire: Vec<u8>,
    /// Read, not yet taken by the session.
    read: Vec<u8>,
    fin: bool,
    /// Gatepost has begun TLS: nothing is read before the handshake is over.
    securing: bool,
    /// A handshake is done.
    secured: bool,
    stalled: bool,
    unsent: usize,
}

impl Pure {
    /// Starts a session; each read gives at most `piece` octets.
    pub fn new(world: &World, piece: usize) -> Pure {
        let (now, client) = (Instant::now(), world.entrance.client.ip());
        let mut links: [Link; 1 + HOPS] = Default::default();
        links[0].party = Some(Party::Client);
        let mut pure = Pure {
            session: Session::new(Arc::clone(&world.settings), world.entrance.clone(), SessionId(1), now),
            out: Out::default(),
            now,
            piece,
            links,
            paper: Paper::default(),
            connecting: Vec::new(),
            looking: None,
            finished: VecDeque::new(),
            fins: Vec::new(),
            heard: BTreeMap::new(),
            closed: BTreeMap::new(),
            pools: world.pools.clone(),
            terms: world.terms.clone(),
            prompt: world.prompt.clone(),
            told: VecDeque::new(),
            asked: BTreeMap::new(),
            instances: Vec::new(),
            records: Vec::new(),
            passed: Vec::new(),
            shadows: Vec::new(),
            events: Vec::new(),
            traces: Vec::new(),
            aborted: Vec::new(),
            logged: Vec::new(),
            refusals: Vec::new(),
            fault: None,
            stress: Arc::clone(&world.stress),
            permit: world
                .sessions
                .enter()
                .and_then(|entered| entered.admit(client, now))
                .expect("the first session"),
        };
        pure.session.start(pure.now, &mut pure.out);
        pure.carry_out(0);
        pure.pump();
        pure
    }

    /// The session itself, to be asked what a shell asks it.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Something else happens to the session.
    pub fn happens(&mut self, input: Input) {
        self.handle(input);
        self.pump();
    }

    /// Octets come from a peer, whether or not there is a connection with it; so many were taken.
    pub fn receives(&mut self, from: Peer, octets: &[u8]) -> usize {
        let taken = self.session.receive(self.now, from, octets, &mut self.out);
        self.deliver(octets);
        self.carry_out(0);
        taken
    }

    /// How the hosts of a domain are spoken to: as those of the pool it was looked up for.
    fn terms_of(&self, domain: &Domain) -> HopTerms {
        domain.pool.and_then(|pool| self.terms.get(usize::from(pool.0)).copied()).unwrap_or_default()
    }

    /// Gatepost's own refusal, or a verdict's with its stage.
    fn refusal(&self, said: &Said) -> String {
        match said {
            Said::Own(own) => format!("gatepost: {} {}", own.code, own.text),
            Said::Written(written) => {
                let by = self.session.author(written);
                let at =
                    written.author().map_or(String::new(), |(_, stage)| format!(" at {}", stage.as_str()));
                format!("{by}{at}: {}", written.code().get())
            }
            Said::Heard(hop, ..) => format!("{hop:?}, which has a line of its own"),
        }
    }

    fn index(&self, party: &Party) -> Option<usize> {
        self.links.iter().position(|link| link.party.as_ref() == Some(party))
    }

    fn peer(&self, index: usize) -> Peer {
        self.links[index].hop.map_or(Peer::Downstream, Peer::Upstream)
    }

    /// Reads whoever may be read until nothing moves.
    fn pump(&mut self) {
        for _ in 0..TURNS {
            let mut moved = false;
            if let Some((ticket, answer)) = self.told.pop_front() {
                self.handle(Input::Told { ticket, answer: Ok(answer) });
                moved = true;
            }
            if let Some(peer) = self.finished.pop_front() {
                self.handle(Input::Finished(peer));
                moved = true;
            }
            if let Some(news) = self.paper.news() {
                self.handle(news);
                moved = true;
            }
            moved |= self.give_back();
            for index in 0..self.links.len() {
                moved |= self.read(index);
            }
            // What the client said and the session did not take is presented again after anything that happened.
            moved |= self.offer(0);
            if !moved {
                return;
            }
        }
        self.fault.get_or_insert("the session runs in circles".to_owned());
    }

    /// Gives back what the session wants of a message that was kept.
    fn give_back(&mut self) -> bool {
        let blocked = self.links.iter().any(|link| link.unsent > 0);
        if blocked || self.paper.back().is_empty() || !self.session.wants_read(Peer::Spool) {
            return false;
        }
        let piece = self.paper.back()[..self.piece.min(self.paper.back().len())].to_vec();
        let taken = self.session.receive(self.now, Peer::Spool, &piece, &mut self.out);
        self.paper.taken(taken);
        self.carry_out(usize::MAX) | (taken > 0)
    }

    fn read(&mut self, index: usize) -> bool {
        if self.links[index].securing {
            return self.breaks_handshake(index);
        }
        let blocked = index == 0 && self.links.iter().any(|link| link.unsent > 0);
        let peer = self.peer(index);
        let link = &mut self.links[index];
        if link.party.is_none() || blocked || !self.session.wants_read(peer) {
            return false;
        }
        if link.wire.is_empty() {
            if !link.fin {
                return false;
            }
            link.fin = false;
            self.handle(Input::Eof(self.peer(index)));
            return true;
        }
        let count = self.piece.min(link.wire.len()).min(BUFFER.saturating_sub(link.read.len()));
        if count == 0 {
            return false;
        }
        link.read.extend(link.wire.drain(..count));
        self.offer(index);
        true
    }

    /// Whether a party does something else than a handshake, which fails it.
    fn breaks_handshake(&mut self, index: usize) -> bool {
        let link = &self.links[index];
        let kind = match link.read.is_empty() && link.wire.is_empty() {
            true if !link.fin => return false,
            true => TlsFaultKind::Lost,
            // What was said in plain is no handshake, and nothing that was said under TLS.
            false => TlsFaultKind::Protocol,
        };
        self.secured(index, Err(handshake::failed(kind)));
        true
    }

    /// A handshake is over.
    fn secured(&mut self, index: usize, outcome: Handshake) {
        let peer = self.peer(index);
        match outcome {
            Ok(facts) => {
                self.links[index].securing = false;
                self.links[index].secured = true;
                self.handle(Input::Secured(peer, Box::new(facts)));
            }
            Err(fault) => {
                let party = std::mem::take(&mut self.links[index]).party;
                self.closed.extend(party.map(|party| (party, true)));
                self.handle(Input::TlsFailed(peer, Box::new(fault)));
            }
        }
    }

    fn offer(&mut self, index: usize) -> bool {
        if self.links[index].securing {
            return false;
        }
        if self.links[index].party.is_none() || self.links[index].read.is_empty() {
            return false;
        }
        let octets = std::mem::take(&mut self.links[index].read);
        let taken = self.session.receive(self.now, self.peer(index), &octets, &mut self.out);
        assert!(taken <= octets.len(), "took more than it was given");
        self.deliver(&octets);
        self.links[index].read = octets[taken..].to_vec();
        let said = self.carry_out(index);
        taken > 0 || said
    }

    fn handle(&mut self, input: Input) {
        self.session.handle(self.now, input, &mut self.out);
        self.carry_out(usize::MAX);
    }

    /// Hands what was said to whom it was said to.
    fn deliver(&mut self, received: &[u8]) -> bool {
        let mut said = false;
        for output in self.out.outputs.extract_if(.., |output| matches!(output, Output::Spool(_))) {
            if let Output::Spool(order) = output {
                self.paper.order(order);
            }
        }
        for (index, tx) in self.out.tx.iter_mut().enumerate() {
            if tx.is_empty() {
                continue;
            }
            said = true;
            if index == Peer::Spool.index() {
                self.paper.take(tx.slices(received));
                tx.clear();
                continue;
            }
            let link = &mut self.links[index];
            match &link.party {
                Some(_) if link.stalled => link.unsent += tx.len(),
                Some(party) => {
                    let heard = self.heard.entry(party.clone()).or_default();
                    tx.slices(received).for_each(|slice| heard.extend_from_slice(slice));
                }
                None => {
                    self.fault.get_or_insert(format!("said something to nobody, in slot {index}"));
                }
            }
            tx.clear();
        }
        said
    }

    fn carry_out(&mut self, _from: usize) -> bool {
        let mut said = self.deliver(&[]);
        self.events.append(&mut self.out.events);
        for output in std::mem::take(&mut self.out.outputs) {
            said = true;
            match output {
                Output::StartTls(peer) => self.links[peer.index()].securing = true,
                Output::Open { hop, host } => {
                    let party = Party::Host(Rc::from(&**host.name()));
                    self.closed.insert(party.clone(), false);
                    // What was said on an earlier connection with it is over; only a parting QUIT can be left.
                    let left = self.heard.entry(party.clone()).or_default();
                    if left == b"QUIT\r\n" {
                        left.clear();
                    }
                    self.links[Peer::Upstream(hop).index()] =
                        Link { hop: Some(hop), party: Some(party.clone()), ..Link::default() };
                    self.connecting.push((hop, party));
                }
                Output::Close(peer) | Output::Abort(peer) => {
                    let at_once = matches!(output, Output::Abort(_));
                    let link = std::mem::take(&mut self.links[peer.index()]);
                    self.connecting.retain(|(hop, _)| Peer::Upstream(*hop) != peer);
                    // (Letting go of a host that could not be reached is no close.)
                    if let Some(party) = link.party {
                        self.aborted.extend(at_once.then(|| party.clone()));
                        self.closed.insert(party, true);
                    }
                }
                Output::Finish(peer) => {
                    if let Some(party) = self.links[peer.index()].party.clone() {
                        self.fins.push(party);
                    }
                    self.finished.push_back(peer);
                }
                Output::Passed(record) => self.passed.push(*record),
                Output::Reset => {
                    self.links[0] = Link::default();
                    self.closed.insert(Party::Client, true);
                }
                Output::Recount(client) => {
                    if let Err(exceeded) = self.permit.move_to(client, self.now) {
                        self.handle(Input::Exceeded(exceeded.reply()));
                    }
                }
                Output::LookUp(domain) => self.looking = Some(domain),
                Output::Record(record) => self.records.push(*record),
                Output::Ask(ask) => {
                    self.instances.push(ask.instance);
                    if let Some(prompt) = &self.prompt {
                        self.told.push_back((ask.ticket, prompt.take()));
                        continue;
                    }
                    let callout = Party::Callout(Rc::from(ask.callouts.name(ask.callout)));
                    self.heard.entry(callout.clone()).or_default().extend_from_slice(&ask.question);
                    self.asked.insert(callout, (ask.ticket, ask.stage, true));
                }
                Output::Shadow(shadow) => self.shadows.push(*shadow),
                Output::Cancel(ticket) => {
                    for (callout, asked) in self.asked.iter_mut().filter(|(_, asked)| asked.0 == ticket) {
                        asked.2 = false;
                        self.heard.entry(callout.clone()).or_default().extend_from_slice(b"cancel\r\n");
                    }
                }
                Output::Unmet(host, unmet) => self.logged.push(format!("hop {}: {unmet}", host.name())),
                Output::Refused(said) => self.refusals.push(self.refusal(&said)),
                Output::HopRefused(by, reply) => {
                    self.refusals.push(format!("{by}: {}", String::from_utf8_lossy(&reply)));
                }
                Output::Trace(peer, side, line) => {
                    let column = if peer == Peer::Downstream { "" } else { "        " };
                    let side = if side == TraceSide::Client { "C" } else { "S" };
                    self.traces.push(format!("{column}{side}: {}", line.escape_ascii()));
                }
                Output::Spool(_)
                | Output::NotSecured(..)
                | Output::CalloutFailed(..)
                | Output::Hidden(..)
                | Output::Remarked(..)
                | Output::Malformed(..)
                | Output::Foreign(..)
                | Output::StrayHeader => {}
            }
        }
        said
    }
}

impl Driver for Pure {
    fn feed(&mut self, party: &Party, octets: &[u8]) {
        match self.index(party) {
            Some(index) => self.links[index].wire.extend_from_slice(octets),
            None => drop(self.fault.get_or_insert(format!("{party} has no connection to speak on"))),
        }
        self.pump();
    }

    fn eof(&mut self, party: &Party) {
        if let Some(index) = self.index(party) {
            self.links[index].fin = true;
        }
        self.pump();
    }

    fn lost(&mut self, party: &Party) {
        if let Some(index) = self.index(party) {
            self.links[index].wire.clear();
            if self.links[index].securing {
                self.secured(index, Err(handshake::failed(TlsFaultKind::Lost)));
            } else {
                self.handle(Input::Lost(self.peer(index)));
            }
        }
        self.pump();
    }

    fn connect(&mut self, party: &Party, accepted: bool) {
        if let Some(at) = self.connecting.iter().position(|(_, waiting)| waiting == party) {
            let (hop, _) = self.connecting.remove(at);
            if accepted {
                self.handle(Input::Opened(hop));
            } else {
                self.links[Peer::Upstream(hop).index()] = Link::default();
                self.handle(Input::OpenFailed(hop));
            }
        }
        self.pump();
    }

    fn untold(&mut self, party: &Party) {
        if let Some(&(hop, _)) = self.connecting.iter().find(|(_, waiting)| waiting == party) {
            self.handle(Input::Untold(hop, "not permitted".into()));
        }
        self.connect(party, true);
    }

    fn connecting(&mut self) -> Vec<Party> {
        self.connecting.iter().map(|(_, party)| party.clone()).collect()
    }

    fn stall(&mut self, party: &Party) {
        if let Some(index) = self.index(party) {
            self.links[index].stalled = true;
        }
    }

    fn secure(&mut self, party: &Party, outcome: &Handshake) -> Result<(), String> {
        // Behind a handshake that was done, it may be refused yet.
        let may = |link: &Link| link.securing || (link.secured && outcome.is_err());
        let index = self.index(party).filter(|&index| may(&self.links[index]));
        let index = index.ok_or(format!("gatepost does not begin TLS with {party}"))?;
        self.secured(index, outcome.clone());
        self.pump();
        Ok(())
    }

    fn logged(&mut self, line: &str) -> Result<(), String> {
        match self.logged.iter().position(|logged| logged == line) {
            Some(at) => drop(self.logged.remove(at)),
            None => return Err(format!("logged otherwise: {:?}", self.logged)),
        }
        Ok(())
    }

    fn look_up(&mut self, domain: &str, answer: &LookUp) -> Result<(), String> {
        let asked = self.looking.take().ok_or("gatepost looks nothing up")?;
        let text = match asked.port {
            25 => asked.name.to_string(),
            port => format!("{}:{port}", asked.name),
        };
        if text != domain {
            return Err(format!("gatepost looks {text} up"));
        }
        let found: Result<Arc<dyn Destination>, NotFound> = match answer {
            LookUp::Hosts(hosts) => Ok(Arc::new(Hosts::new(self.terms_of(&asked), asked, hosts))),
            LookUp::NotFound(not_found) => Err(*not_found),
            LookUp::Silent => return Ok(()),
        };
        self.handle(Input::LookedUp(found));
        self.pump();
        Ok(())
    }

    fn tell(&mut self, callout: &Party, answer: &str, late: bool) -> Result<(), String> {
        let (ticket, stage, open) = self.asked.get_mut(callout).ok_or("it was not asked")?;
        if *open == late {
            return Err(format!("its question is {}", if *open { "open" } else { "not open any more" }));
        }
        *open = false;
        let (ticket, answer) = (*ticket, callouts::answer(*stage, answer, &self.pools)?);
        self.handle(Input::Told { ticket, answer });
        self.pump();
        Ok(())
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..TURNS {
            match self.session.deadline() {
                Some(deadline) if deadline <= until && !self.session.is_over() => {
                    self.now = self.now.max(deadline);
                    let stalled = self.links.iter().any(|link| link.unsent > 0);
                    self.handle(Input::Deadline { stalled });
                    self.pump();
                    if self.session.deadline() == Some(deadline) {
                        self.fault.get_or_insert("a deadline that passed did not move on".to_owned());
                        break;
                    }
                }
                _ => break,
            }
        }
        self.now = until;
    }

    fn stress(&mut self, on: bool) {
        self.stress.store(on, Relaxed);
    }

    fn shutdown(&mut self) {
        self.handle(Input::Shutdown);
        self.pump();
    }

    fn heard(&mut self, party: &Party, _: &dyn Fn(&[u8]) -> bool) -> &mut Vec<u8> {
        self.heard.entry(party.clone()).or_default()
    }

    fn finished(&mut self, party: &Party) -> bool {
        self.fins.contains(party)
    }

    fn closed(&mut self, party: &Party, _: bool) -> bool {
        self.closed.get(party).copied().unwrap_or(false)
    }

    fn unheard(&mut self) -> Vec<(Party, Vec<u8>)> {
        let said = self.heard.iter().filter(|(_, said)| !said.is_empty());
        said.map(|(party, said)| (party.clone(), said.clone())).collect()
    }

    fn finish(&mut self) -> Option<String> {
        let open = self.links.iter().any(|link| link.party.is_some());
        let over = self.session.is_over();
        if let Some(domain) = self.looking.take().filter(|_| !over) {
            self.fault.get_or_insert(format!("gatepost looks {} up", domain.name));
        }
        if over == open {
            self.fault.get_or_insert(format!("is_over is {over}, connections open: {open}"));
        }
        if !over && self.session.deadline().is_none() {
            self.fault.get_or_insert("the session waits without a deadline".to_owned());
        }
        self.fault.take()
    }
}
