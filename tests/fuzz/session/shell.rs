//! The shell of one session without a network, and what must hold after every step.
//!
//! **In**: what happens, as far as it can happen now. **Out**: what the session wants, carried out on paper.
//! **Never**: reads a peer that the session does not want, loses what it did not take, or lets a deadline pass unheeded.
//!
//! As the real one (`src/net/drive.rs`): a peer is read while the session wants it, what was not taken is presented again
//! with more behind it, what is said before a handshake is no part of it.

mod turn;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatepost::message::Edit;
use gatepost::session::Session;
use gatepost::session::callout::{CalloutAnswer, Fault};
use gatepost::session::client::{Certificate, TlsFacts, TlsFault, TlsFaultKind};
use gatepost::session::io::{Ask, HOPS, Input, Out, Peer, Ticket};
use gatepost::session::route::{Destination, Domain, HopTerms, NotFound};
use gatepost::session::verdict::Stage;
use gatepost::smtp::{ReplyFramer, SessionId, own};

use super::hop::Hop;
use crate::script::paper::Paper;
use crate::script::settings::{Hosts, World};

/// One connection.
#[derive(Default)]
struct Link {
    peer: Option<Peer>,
    /// It stands; before that it is being made.
    open: bool,
    securing: bool,
    /// Sent by the peer, not yet read.
    wire: Vec<u8>,
    /// Read, not yet taken.
    read: Vec<u8>,
    fin: bool,
    stalled: bool,
    unsent: usize,
    hop: Option<Hop>,
}

thread_local! {
    static TRANSCRIPT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What happens in a play, as far as it comes.
pub fn transcript_of(play: impl FnOnce()) -> String {
    TRANSCRIPT.set(Some(String::new()));
    let _ = catch_unwind(AssertUnwindSafe(play));
    TRANSCRIPT.take().unwrap_or_default()
}

/// What happened.
#[derive(Default, Debug)]
pub struct Tally {
    /// Replies that the client heard.
    pub replies: Vec<u16>,
    /// Messages counted as accepted.
    pub accepted: usize,
    /// Connections with hops that stood.
    pub opened: usize,
    /// Handshakes that were done.
    pub secured: usize,
    /// Questions to callouts.
    pub asked: usize,
    /// Domains that were looked up.
    pub looked_up: usize,
    /// TLS passed through.
    pub passed: usize,
}

/// The session and all around it.
pub struct Shell {
    session: Session,
    out: Out,
    start: Instant,
    now: Instant,
    links: [Link; 1 + HOPS],
    questions: Vec<Ask>,
    tickets: Vec<Ticket>,
    looking: Option<Domain>,
    finished: VecDeque<Peer>,
    /// Octets that anybody has sent.
    sent: usize,
    /// Lines of the client's.
    lines: usize,
    heard: Vec<u8>,
    framer: ReplyFramer,
    tally: Tally,
    /// Messages that hops accepted on connections that are closed.
    taken: usize,
    passing: bool,
    /// What keeps messages.
    pub paper: Paper,
    /// Transactions that were over.
    pub over: usize,
    /// Callouts that failed, and at which stage.
    pub failed: Vec<(Stage, Fault)>,
}

impl Shell {
    /// Begins.
    pub fn new(world: &World) -> Shell {
        let now = Instant::now();
        let session = Session::new(Arc::clone(&world.settings), world.entrance.clone(), SessionId(1), now);
        let mut links: [Link; 1 + HOPS] = Default::default();
        links[0] = Link { peer: Some(Peer::Downstream), open: true, ..Link::default() };
        let mut shell = Shell {
            session,
            out: Out::default(),
            start: now,
            now,
            links,
            questions: Vec::new(),
            tickets: Vec::new(),
            looking: None,
            finished: VecDeque::new(),
            sent: 0,
            lines: 0,
            heard: Vec::new(),
            framer: ReplyFramer::default(),
            tally: Tally::default(),
            taken: 0,
            passing: false,
            paper: Paper::default(),
            over: 0,
            failed: Vec::new(),
        };
        shell.session.start(now, &mut shell.out);
        shell.carry_out(&[]);
        shell.pump();
        shell
    }

    pub fn is_over(&self) -> bool {
        self.session.is_over()
    }

    /// Hops whose connections stand, in handshake or not.
    pub fn open_hops(&self) -> Vec<usize> {
        (1..self.links.len()).filter(|&at| self.links[at].open).collect()
    }

    /// The client, or the hop in this place, sends octets.
    pub fn sends(&mut self, at: usize, octets: &[u8]) {
        if self.links[at].open && !self.links[at].fin && !octets.is_empty() {
            self.sent += octets.len();
            self.links[at].wire.extend_from_slice(octets);
            self.note(at, || format!("> {}", octets.escape_ascii()));
            self.pump();
        }
    }

    /// It sends a FIN.
    pub fn ends(&mut self, at: usize) {
        self.links[at].fin |= self.links[at].open;
        self.pump();
    }

    /// Its connection breaks.
    pub fn breaks(&mut self, at: usize) {
        let Some(peer) = self.links[at].peer.filter(|_| self.links[at].open) else { return };
        if self.links[at].securing {
            self.handshake(at, Some(TlsFaultKind::Lost));
        } else {
            self.links[at].wire.clear();
            self.links[at].fin = false;
            self.handle(Input::Lost(peer));
        }
        self.pump();
    }

    /// It takes nothing any more, or again.
    pub fn stalls(&mut self, at: usize, stalled: bool) {
        self.links[at].stalled = stalled;
        if !stalled {
            self.links[at].unsent = 0;
        }
        self.pump();
    }

    /// The connection asked for first stands, with a note that it has not the client's address; or not.
    pub fn connects(&mut self, stands: bool, untold: bool) -> bool {
        let waits = |link: &Link| link.peer.is_some() && !link.open;
        let Some(at) = self.links.iter().position(waits) else { return false };
        let Some(Peer::Upstream(hop)) = self.links[at].peer else { return false };
        if untold {
            self.handle(Input::Untold(hop, "not permitted".into()));
        }
        if self.links[at].peer != Some(Peer::Upstream(hop)) || self.links[at].open {
            return true;
        }
        if stands {
            self.tally.opened += 1;
            self.links[at].open = true;
            self.links[at].hop = Some(Hop::new());
            self.handle(Input::Opened(hop));
        } else {
            self.links[at] = Link::default();
            self.handle(Input::OpenFailed(hop));
        }
        self.pump();
        true
    }

    /// The first handshake that goes on ends.
    pub fn secures(&mut self, fault: Option<TlsFaultKind>) -> bool {
        let Some(at) = self.links.iter().position(|link| link.securing) else { return false };
        self.handshake(at, fault);
        self.pump();
        true
    }

    fn handshake(&mut self, at: usize, fault: Option<TlsFaultKind>) {
        let Some(peer) = self.links[at].peer else { return };
        match fault {
            None => {
                self.tally.secured += 1;
                self.links[at].securing = false;
                if let Some(hop) = &mut self.links[at].hop {
                    hop.secured();
                }
                let certificate = Some(Certificate { verified: true, ..Certificate::default() });
                let facts = TlsFacts { version: "TLSv1.3".into(), certificate, ..TlsFacts::default() };
                self.handle(Input::Secured(peer, Box::new(facts)));
            }
            Some(kind) => {
                self.forget(at);
                let fault = TlsFault { kind, what: kind.as_str().into() };
                self.handle(Input::TlsFailed(peer, Box::new(fault)));
            }
        }
    }

    /// The stage of the question that is open first.
    pub fn question(&self) -> Option<Stage> {
        self.questions.first().map(|ask| ask.stage)
    }

    /// The question that is open first.
    pub fn asks(&self) -> Option<&Ask> {
        self.questions.first()
    }

    /// It is answered.
    pub fn answers(&mut self, answer: Result<CalloutAnswer, Fault>) -> bool {
        if self.questions.is_empty() {
            return false;
        }
        let ticket = self.questions.remove(0).ticket;
        if let Ok(CalloutAnswer::Message(answer)) = &answer {
            self.sent += answer.edits.iter().map(Edit::octets).sum::<usize>();
        }
        self.handle(Input::Told { ticket, answer });
        self.pump();
        true
    }

    /// An answer comes to a question that nobody waits for any more.
    pub fn answers_late(&mut self, answer: Result<CalloutAnswer, Fault>) {
        let open = |ticket: &Ticket| self.questions.iter().any(|ask| ask.ticket == *ticket);
        if let Some(&ticket) = self.tickets.iter().find(|ticket| !open(ticket)) {
            self.handle(Input::Told { ticket, answer });
            self.pump();
        }
    }

    /// The hosts of a domain are found, or not.
    pub fn looks_up(&mut self, hosts: Result<&[&str], NotFound>) -> bool {
        let Some(domain) = self.looking.take() else { return false };
        let found = hosts
            .map(|hosts| Arc::new(Hosts::new(HopTerms::default(), domain, hosts)) as Arc<dyn Destination>);
        self.handle(Input::LookedUp(found));
        self.pump();
        true
    }

    /// A hop with nothing more on its way answers what it was told first.
    pub fn replies(&mut self, kind: u8) -> bool {
        let mut any = false;
        for at in 1..self.links.len() {
            let link = &self.links[at];
            let idle = link.wire.is_empty() && link.read.is_empty() && !link.securing && !link.fin;
            let answer = link.hop.as_ref().filter(|_| idle).and_then(|hop| hop.answer(kind));
            if let Some(answer) = answer {
                self.sends(at, &answer);
                any = true;
            }
        }
        any
    }

    /// The same, but that the hop refuses what this stage is about.
    pub fn replies_to_all(&mut self, refused: Option<Stage>) -> bool {
        let verb = match refused {
            Some(Stage::ConnectReply | Stage::HeloReply) | None => return self.replies(0),
            Some(stage) => stage,
        };
        let owes = |link: &Link| link.hop.as_ref().is_some_and(|hop| hop.owes(verb));
        match self.links.iter().position(owes) {
            Some(at) => {
                self.sends(at, b"550 5.7.1 No\r\n");
                true
            }
            None => self.replies(0),
        }
    }

    /// The process wants to stop, by and by or now.
    pub fn stops(&mut self, now: bool) {
        self.handle(if now { Input::Stop } else { Input::Shutdown });
        self.pump();
    }

    /// There are too many sessions of this client.
    pub fn exceeds(&mut self) {
        self.handle(Input::Exceeded(&own::TOO_MANY_SESSIONS));
        self.pump();
    }

    /// Time passes, at most to the deadline.
    pub fn waits(&mut self, time: Duration) {
        let until = self.now + time;
        match self.session.deadline() {
            Some(deadline) if deadline <= until => self.deadline(),
            _ => self.now = until,
        }
    }

    /// The deadline comes.
    pub fn deadline(&mut self) {
        let Some(deadline) = self.session.deadline() else { return };
        self.now = self.now.max(deadline);
        let stalled = self.links.iter().any(|link| link.unsent > 0);
        self.handle(Input::Deadline { stalled });
        self.pump();
        assert_ne!(self.session.deadline(), Some(deadline), "a deadline that passed did not move on");
    }

    /// The client leaves, nobody says anything any more, and time passes until the session is over.
    pub fn finish(mut self) -> Tally {
        self.breaks(0);
        for _ in 0..500 {
            if self.session.is_over() {
                break;
            }
            self.deadline();
        }
        assert!(self.session.is_over(), "the session does not come to an end");
        assert!(self.links.iter().all(|link| link.peer.is_none()), "it is over, and a connection is open");
        assert!(self.questions.is_empty(), "it is over, and a question is open");
        self.tally
    }
}
