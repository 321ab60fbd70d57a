//! The machine behind [`DataScanner`](super::DataScanner) and [`Stuffer`](super::Stuffer): makes any octets
//! fit to go upstream under DATA.
//!
//! It holds octets back while it cannot know what they are: a CR, and a dot at the beginning of a line with
//! the NULs around it. Within a call these are just not yet passed; between calls only their numbers are
//! kept, and they are emitted from statics.
//!
//! In:    octets, split anywhere; whether they are stuffed (DATA) or counted (BDAT).
//! Out:   the same as text whose lines end with CRLF and whose leading dots are doubled, as pieces.
//! Never: emits a bare CR or LF, or a line that is a lone dot, not even for a reader that drops NULs;
//!        emits anything after a fault.
//!
//! RFC 5321 2.3.8, 4.5.2.
//!
//! | where                     | what                         | goes out as   | because                                |
//! |---------------------------|------------------------------|---------------|----------------------------------------|
//! | anywhere                  | LF without CR                | CRLF          | lax senders mean a line end            |
//! | anywhere                  | CRs, then CRLF               | CRLF          | libraries write CR CR LF for a line end |
//! | anywhere                  | CR without LF                | space         | nobody may read it as a line end       |
//! | after CRLF, stuffed       | dot, CRLF                    | nothing: end  | RFC 5321 4.1.1.4                       |
//! | after CRLF, stuffed       | dot, other                   | as it is      | stuffing stays; the hop removes it     |
//! | after CRLF, stuffed       | dot, bare CR or LF           | two dots, ... | it did not end the content: it is text |
//! | after CRLF, stuffed       | dot, CRs, then CRLF          | two dots, CRLF | the same: the CRs go, the text stays   |
//! | after CRLF, counted       | dot                          | two dots      | nothing was stuffed yet                |
//! | after bare LF             | dot                          | two dots      | not a line to the sender's stuffing    |
//! | after bare CR             | dot                          | as it is      | behind a space it begins no line       |
//! | after any, NULs around it | dot, then CR or LF           | fault         | who drops NULs would read a lone dot   |

mod out;

use memchr::memchr2;

use self::out::Out;
use super::clean::{BLOCK, Clean, clean};
use super::{BareNewline, ContentFault, Piece};

/// As many NULs around a dot are held back between calls. Of more, all but the line end to come is let go.
const NULS_HELD: u64 = 1024;

/// Of more CRs in a run the rest is dropped, wherever the octets were split.
const CRS_HELD: u16 = 1024;

/// What stands before a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Start {
    /// Nothing or CRLF, and the sender has stuffed dots here.
    Stuffed,
    /// A line end to us and to the hop, but the sender has stuffed no dots here.
    Unstuffed,
    /// A bare CR: a line end to the laxest reader only, and none once it is a space.
    Cr,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Begin(Start),
    /// NULs and nothing else since the line began; so many of them are held.
    Nuls(Start, u64),
    /// Held: a dot at the beginning of a line and the NULs around it.
    Dot(Dot),
    /// The same with more NULs than are held: all of it is out.
    DotGone,
    /// Held: dot and so many CRs at the beginning of a stuffed line.
    DotCr(u16),
    Text,
    /// Held: so many CRs.
    Cr(u16),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Dot {
    start: Start,
    /// Whether no NUL stands before the dot.
    first: bool,
    /// NULs held before and behind it.
    before: u64,
    behind: u64,
}

/// See the head of this file.
#[derive(Clone, Debug)]
pub(super) struct Mender {
    state: State,
    /// What a line after CRLF is: the whole difference between stuffed and counted content.
    after_crlf: Start,
    mode: BareNewline,
    fault: Option<ContentFault>,
    mended: u64,
    stuffing: u64,
}

impl Mender {
    /// For content that arrives under DATA: stuffed, ended by a lone dot.
    pub(super) fn stuffed(mode: BareNewline) -> Self {
        Self::new(mode, Start::Stuffed)
    }

    /// For content that arrives counted, with every dot a dot.
    pub(super) fn counted(mode: BareNewline) -> Self {
        Self::new(mode, Start::Unstuffed)
    }

    fn new(mode: BareNewline, after_crlf: Start) -> Self {
        Self { state: State::Begin(after_crlf), after_crlf, mode, fault: None, mended: 0, stuffing: 0 }
    }

    /// Takes octets up to the end of them, or of the content: then it says behind which octet that was.
    pub(super) fn take(&mut self, octets: &[u8], emit: &mut impl FnMut(Piece)) -> Option<usize> {
        let mut out = Out::new(emit, self.fault.is_some(), self.holds());
        let (mut at, mut dirty_until) = (0, 0);
        while at < octets.len() {
            if self.state == State::Text && at >= dirty_until {
                let found = clean(octets, at, self.after_crlf == Start::Stuffed);
                at = self.skip(octets, at, found);
                // So that a dirty block is not judged again at each of its lines.
                dirty_until = found.until + BLOCK;
            } else if self.state == State::Text {
                at = memchr2(b'\r', b'\n', &octets[at..]).map_or(octets.len(), |next| at + next);
            }
            let Some(&octet) = octets.get(at) else { break };
            if self.octet(octet, at, &mut out) {
                return Some(at + 1);
            }
            at += 1;
        }
        self.pause(octets.len(), &mut out);
        None
    }

    /// The end of counted content: what is held is decided, and the last line gets its end.
    pub(super) fn finish(&mut self, emit: &mut impl FnMut(Piece)) {
        let mut out = Out::new(emit, self.fault.is_some(), self.holds());
        match self.state {
            State::Begin(Start::Stuffed | Start::Unstuffed) => return,
            State::Begin(Start::Cr) | State::Text => {}
            State::Nuls(..) => self.release(0, &mut out),
            State::Dot(Dot { first: true, behind: 0, .. }) => self.release(0, &mut out),
            // The CRLF to come would make it a lone dot.
            State::Dot(_) | State::DotGone => self.fail(ContentFault::NulDot, 0, &mut out),
            State::Cr(_) | State::DotCr(_) => self.stray_crs(0, &mut out),
        }
        out.put(b"\r\n");
        self.state = State::Begin(self.after_crlf);
    }

    /// The first fault, after which nothing is emitted.
    pub(super) fn fault(&self) -> Option<ContentFault> {
        self.fault
    }

    /// How many bare CRs and LFs were changed.
    pub(super) fn mended(&self) -> u64 {
        self.mended
    }

    /// How many dots were the sender's stuffing.
    pub(super) fn stuffing(&self) -> u64 {
        self.stuffing
    }

    /// How many octets, the last ones, may be the beginning of the end-of-data.
    pub(super) fn ending(&self) -> u64 {
        match self.state {
            State::Dot(Dot { start: Start::Stuffed, first: true, behind: 0, .. }) => 1,
            State::DotCr(1) => 2,
            _ => 0,
        }
    }

    fn holds(&self) -> bool {
        !matches!(self.state, State::Begin(_) | State::Text | State::DotGone)
    }

    /// Goes over what was found clean, to the octet the machine must look at next.
    fn skip(&mut self, octets: &[u8], from: usize, found: Clean) -> usize {
        self.stuffing += found.dots;
        if found.until == from {
            return from;
        }
        match octets[found.until - 1] {
            b'\n' => {
                self.state = State::Begin(self.after_crlf);
                found.until
            }
            b'\r' => found.until - 1,
            _ => found.until,
        }
    }

    /// Takes one octet; true when the content ended with it.
    fn octet(&mut self, octet: u8, at: usize, out: &mut Out<'_, impl FnMut(Piece)>) -> bool {
        match (self.state, octet) {
            (State::Begin(start), 0) => self.hold(State::Nuls(start, 1), at, out),
            (State::Begin(start), b'.') => {
                self.hold(State::Dot(Dot { start, first: true, before: 0, behind: 0 }), at, out);
            }
            (State::Begin(_) | State::Text, b'\r') => self.hold(State::Cr(1), at, out),
            (State::Begin(_) | State::Text, b'\n') => self.bare_lf(at, out),
            (State::Begin(_) | State::Text, _) => self.state = State::Text,

            (State::Nuls(start, nuls), 0) => self.state = State::Nuls(start, nuls + 1),
            (State::Nuls(start, before), b'.') => {
                self.state = State::Dot(Dot { start, first: false, before, behind: 0 });
            }
            (State::Dot(dot), 0) => self.state = State::Dot(Dot { behind: dot.behind + 1, ..dot }),
            (State::Dot(dot), b'\r' | b'\n') => return self.dot_before_newline(dot, octet, at, out),
            (State::DotGone, 0) => {}
            (State::DotGone, b'\r' | b'\n') => {
                self.fail(ContentFault::NulDot, at, out);
                self.state = State::Text;
                return self.octet(octet, at, out);
            }
            (State::Nuls(..) | State::Dot(_) | State::DotGone, _) => {
                self.release(at, out);
                return self.octet(octet, at, out);
            }

            // RFC 5321 4.1.1.4: this and nothing else. The dot and CR are not emitted.
            (State::DotCr(1), b'\n') => {
                out.replace(at, &[]);
                return true;
            }
            // All but the last CR of a run are bare, and dropped where a CRLF is its end.
            (State::DotCr(_), b'\n') => {
                out.replace(at, &[b"..", b"\r"]);
                self.state = State::Begin(self.after_crlf);
            }
            (State::Cr(1), b'\n') => {
                out.keep(at, |out| out.put(b"\r"));
                self.state = State::Begin(self.after_crlf);
            }
            (State::Cr(_), b'\n') => {
                out.replace(at, &[b"\r"]);
                self.state = State::Begin(self.after_crlf);
            }
            (State::Cr(crs), b'\r') => {
                self.bare(at, out);
                self.state = State::Cr((crs + 1).min(CRS_HELD));
            }
            (State::DotCr(crs), b'\r') => {
                self.bare(at, out);
                self.state = State::DotCr((crs + 1).min(CRS_HELD));
            }
            (State::Cr(_) | State::DotCr(_), _) => {
                self.stray_crs(at, out);
                return self.octet(octet, at, out);
            }
        }
        false
    }

    /// A held dot stands before a CR or LF.
    fn dot_before_newline(
        &mut self,
        dot: Dot,
        octet: u8,
        at: usize,
        out: &mut Out<'_, impl FnMut(Piece)>,
    ) -> bool {
        if !dot.first || dot.behind > 0 {
            self.fail(ContentFault::NulDot, at, out);
        } else if dot.start == Start::Stuffed && octet == b'\r' {
            self.state = State::DotCr(1);
            return false;
        } else if dot.start == Start::Stuffed {
            // A lone dot that does not end the content is text, not stuffing.
            self.state = State::Dot(Dot { start: Start::Unstuffed, ..dot });
        }
        self.release(at, out);
        self.octet(octet, at, out)
    }

    fn bare_lf(&mut self, at: usize, out: &mut Out<'_, impl FnMut(Piece)>) {
        self.bare(at, out);
        out.change(at, b"\r\n");
        self.state = State::Begin(Start::Unstuffed);
    }

    /// CRs are held and no LF followed them, but what stands at `at`.
    fn stray_crs(&mut self, at: usize, out: &mut Out<'_, impl FnMut(Piece)>) {
        self.bare(at, out);
        match self.state {
            State::DotCr(crs) => out.replace_by_spaces(at, b"..", crs),
            State::Cr(crs) => out.replace_by_spaces(at, b"", crs),
            _ => {}
        }
        self.state = State::Begin(Start::Cr);
    }

    fn bare(&mut self, at: usize, out: &mut Out<'_, impl FnMut(Piece)>) {
        match self.mode {
            BareNewline::Normalize if self.fault.is_some() => {}
            BareNewline::Normalize => self.mended += 1,
            BareNewline::Reject => self.fail(ContentFault::BareNewline, at, out),
        }
    }

    /// The first fault counts.
    fn fail(&mut self, fault: ContentFault, at: usize, out: &mut Out<'_, impl FnMut(Piece)>) {
        out.silence(at);
        self.fault.get_or_insert(fault);
    }

    fn hold(&mut self, state: State, at: usize, out: &mut Out<'_, impl FnMut(Piece)>) {
        self.state = state;
        out.hold(at);
    }

    /// The NULs and the dot that are held are text; `at` is the octet behind them.
    fn release(&mut self, at: usize, out: &mut Out<'_, impl FnMut(Piece)>) {
        match self.state {
            State::Nuls(_, nuls) => out.keep(at, |out| out.put_nuls(nuls)),
            State::Dot(dot) => {
                if dot.first && dot.start == Start::Stuffed {
                    self.stuffing += 1;
                } else if dot.first && dot.start == Start::Unstuffed {
                    out.insert(b".");
                }
                out.keep(at, |out| {
                    out.put_nuls(dot.before);
                    out.put(b".");
                    out.put_nuls(dot.behind);
                });
            }
            _ => {}
        }
        self.state = State::Text;
    }

    /// No more octets for now: whatever is not held goes out.
    fn pause(&mut self, end: usize, out: &mut Out<'_, impl FnMut(Piece)>) {
        // A run of NULs is as long as its sender likes, and must not go out all at once in some later call.
        match self.state {
            State::Nuls(start, nuls) if nuls > NULS_HELD => {
                self.release(end, out);
                self.state = State::Nuls(start, 0);
            }
            State::Dot(dot) if dot.before + dot.behind > NULS_HELD => {
                self.release(end, out);
                self.state = State::DotGone;
            }
            _ => {}
        }
        out.finish(end);
    }
}
