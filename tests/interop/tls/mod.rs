//! TLS: every client, on each leg, before every MTA with each mode of `upstreams.*.tls`.
//!
//! In:    the clients, legs, modes and MTAs listed here; certificates made for the run.
//! Out:   a trial for each MTA and mode, one for each kind of fault, and the table `tests/interop/tls/table.txt`. A trial
//!        fails where mail is not delivered as it should be, and where the table says something else.
//! Never: asks gatepost what it did: the version on the left leg is the client's word, that on the right the MTA's, in
//!        the `Received` field it writes.
//!
//! RFC 3207 (STARTTLS), RFC 8314 (implicit TLS), RFC 3848 (ESMTPS). `BLESS=1` rewrites the table.

mod behind;
mod clients;
mod faults;
mod keywords;
mod scan;
mod table;

use libtest_mimic::Trial;

use crate::matrix::{BEHIND, Behind};
use crate::messages;
use crate::support::maildir::Stored;
use crate::support::peers::{Peer, trial};
use behind::{Gate, Hop, MX, Pki, Plan};
use clients::{CLIENTS, Client, Told, Way};

/// How a client begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    Plain,
    StartTls,
    Implicit,
}

pub const LEGS: [Leg; 3] = [Leg::Plain, Leg::StartTls, Leg::Implicit];

/// Of `upstreams.*.tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Off,
    Opportunistic,
    Required,
    Implicit,
}

const MODES: [Mode; 4] = [Mode::Off, Mode::Opportunistic, Mode::Required, Mode::Implicit];

impl Leg {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::StartTls => "starttls",
            Self::Implicit => "implicit",
        }
    }
}

impl Mode {
    /// Its name in the table and in `proxy.yaml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Opportunistic => "opportunistic",
            Self::Required => "required",
            Self::Implicit => "implicit",
        }
    }

    /// The value of `tls`, every certificate to be vouched for by these roots where that can be asked.
    pub fn yaml(self, pki: &Pki) -> String {
        match self {
            Self::Off | Self::Opportunistic => self.name().to_owned(),
            Self::Required | Self::Implicit => {
                format!("{{ mode: {}, roots: \"{}\", server_name: {MX} }}", self.name(), pki.roots.display())
            }
        }
    }
}

pub fn trials() -> Vec<Trial> {
    let pairs = BEHIND.iter().flat_map(|behind| MODES.iter().map(|mode| (*behind, *mode)));
    let mut all: Vec<Trial> = pairs
        .map(|(behind, mode)| {
            let mut needs = behind.needs();
            needs.extend(CLIENTS.map(Client::needs));
            needs.push(Peer::NetSsleay);
            let name = format!("tls::{}::{}", behind.name(), mode.name()).to_lowercase();
            trial(&name, needs, move || every_client(behind, mode))
        })
        .collect();
    all.extend(faults::trials());
    all.push(trial("tls::sslscan", [Peer::Sslscan], scan::nothing_weak));
    all
}

/// Prints the table if all of it has run.
pub fn finish() {
    let mut titles: Vec<String> =
        BEHIND.iter().flat_map(|behind| MODES.iter().map(|mode| title(*behind, *mode))).collect();
    titles.extend(faults::titles());
    titles.extend(scan::titles());
    table::finish(&titles);
}

fn title(behind: Behind, mode: Mode) -> String {
    format!("{} behind, upstream tls: {}", behind.name(), mode.name())
}

fn every_client(behind: Behind, mode: Mode) {
    let pki = Pki::new();
    let hop = Hop::start(behind, &pki);
    let host = if mode == Mode::Implicit { hop.at_once } else { hop.starttls };
    let gate = Gate::start(&pki, &LEGS.map(|leg| Plan::new(leg, host, &mode.yaml(&pki))), "");
    let message = messages::plain();
    let (mut lines, mut sessions) = (Vec::new(), 0);
    for (leg, door) in LEGS.into_iter().zip(&gate.doors) {
        for client in CLIENTS.into_iter().filter(|client| client.has(leg)) {
            let way = Way { leg, door: *door, roots: &pki.roots, scratch: &pki.scratch, message: &message };
            let told = client.send(&way);
            // One that did not send may not have come as far as the MTA.
            sessions += usize::from(told.sent);
            hop.mta.settle(sessions);
            let stored = hop.mta.take_stored();
            let fate = fate(&told, &stored);
            assert_eq!(told.tls == "-", leg == Leg::Plain, "{leg:?} by {client:?}: {}", told.words);
            let line = [leg.name(), client.name(), &told.tls, &at_the_hop(&stored)];
            lines.push(line.map(|word| format!("{word:<11}")).concat() + &fate);
        }
    }
    lines.extend(keywords::lines(&pki, &gate));
    table::keep(&title(behind, mode), lines);
}

/// What became of one message to joe.
fn fate(told: &Told, stored: &[Stored]) -> String {
    match stored {
        [stored] if stored.mailbox == "joe" => {
            assert!(told.sent, "delivered, but not said to be: {}", told.words);
            "delivered".to_owned()
        }
        [] => {
            assert!(!told.sent, "said to be sent, but not there: {}", told.words);
            match refusal(&told.words) {
                Some(reply) => format!("refused: {reply}"),
                None => "refused".to_owned(),
            }
        }
        stored => panic!("one message, not {stored:?}"),
    }
}

/// The first `4yz x.y.z` or `5yz x.y.z` in a client's words.
fn refusal(words: &str) -> Option<String> {
    let words: Vec<&str> = words.split(|c: char| c.is_whitespace() || "(),'\"".contains(c)).collect();
    words.windows(2).find_map(|pair| {
        let [code, enhanced] = [pair[0].trim_start_matches("b'"), pair[1]];
        let is_code = code.len() == 3 && code.bytes().all(|octet| octet.is_ascii_digit());
        let class = code.chars().next().filter(|class| "45".contains(*class))?;
        let said = is_code && enhanced.starts_with(&format!("{class}."));
        said.then(|| format!("{code} {enhanced}"))
    })
}

/// The version of TLS in what the MTA wrote of how the message came, `-` for none.
fn at_the_hop(stored: &[Stored]) -> String {
    let Some(stored) = stored.first() else { return "-".to_owned() };
    let head = String::from_utf8_lossy(&stored.octets);
    // The first field is the last hop's. It goes on for as long as its lines begin with a blank.
    let mut lines = head.lines().skip_while(|line| !line.starts_with("Received:"));
    let first = lines.next().unwrap_or_default().to_owned();
    let field = lines.take_while(|line| line.starts_with([' ', '\t'])).fold(first, |all, line| all + line);
    version(&field).unwrap_or("-").to_owned()
}

/// The version in `TLSv1.3`, `TLS1.3`, as whoever it is writes it.
fn version(text: &str) -> Option<&str> {
    let at = ["TLSv1.", "TLS1."].iter().find_map(|name| text.find(name).map(|at| at + name.len() - 2))?;
    text.get(at..at + 3)
}
