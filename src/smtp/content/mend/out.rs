//! What the machine of [`mend`](super) emits, and what it holds back, within one call.
//!
//! In:    up to where octets pass, where they are held, what stands in their place.
//! Out:   pieces, in order: ranges of what was received, statics for the rest.
//! Never: copies an octet, knows what one means, or emits anything once it is silenced.

use crate::smtp::content::Piece;

static NULS: [u8; 256] = [0; 256];
static SPACES: [u8; 64] = [b' '; 64];

/// Where emitted pieces go, and what of the octets received is still to be emitted.
pub(super) struct Out<'e, E> {
    emit: &'e mut E,
    /// After a fault.
    quiet: bool,
    /// Octets before this one are emitted, or something else was in their place.
    passed: usize,
    /// Where what is held begins, if anything is; 0 when that was in an earlier call.
    held: Option<usize>,
    /// Whether that was in an earlier call, so that it is no longer among what was received.
    carried: bool,
}

impl<'e, E: FnMut(Piece)> Out<'e, E> {
    pub(super) fn new(emit: &'e mut E, quiet: bool, carried: bool) -> Self {
        Self { emit, quiet, passed: 0, held: carried.then_some(0), carried }
    }

    /// Emits what was received up to there.
    fn pass(&mut self, until: usize) {
        if until > self.passed && !self.quiet {
            (self.emit)(Piece::Received(self.passed..until));
        }
        self.passed = self.passed.max(until);
    }

    pub(super) fn put(&mut self, octets: &'static [u8]) {
        if !self.quiet && !octets.is_empty() {
            (self.emit)(Piece::Static(octets));
        }
    }

    pub(super) fn put_nuls(&mut self, mut nuls: u64) {
        while nuls > 0 {
            let some = nuls.min(NULS.len() as u64);
            // Not more than the length of NULS.
            self.put(&NULS[..some as usize]);
            nuls -= some;
        }
    }

    /// Puts octets in the place of the one at `at`, with nothing held.
    pub(super) fn change(&mut self, at: usize, instead: &'static [u8]) {
        self.pass(at);
        self.put(instead);
        self.passed = at + 1;
    }

    /// From `at` on octets are held.
    pub(super) fn hold(&mut self, at: usize) {
        self.held = Some(at);
    }

    /// What is held stays: it is among what was received, or was in an earlier call and `again` puts it.
    pub(super) fn keep(&mut self, at: usize, again: impl FnOnce(&mut Self)) {
        self.held = None;
        if std::mem::take(&mut self.carried) {
            again(self);
            self.passed = at;
        }
    }

    /// Puts octets before what is held.
    pub(super) fn insert(&mut self, octets: &'static [u8]) {
        if let Some(held) = self.held {
            self.pass(held);
        }
        self.put(octets);
    }

    /// Puts octets in the place of what is held.
    pub(super) fn replace(&mut self, at: usize, instead: &[&'static [u8]]) {
        if let Some(held) = self.held.take() {
            self.pass(held);
        }
        for octets in instead {
            self.put(octets);
        }
        self.carried = false;
        self.passed = at;
    }

    /// The same, with so many spaces behind them.
    pub(super) fn replace_by_spaces(&mut self, at: usize, instead: &'static [u8], mut spaces: u16) {
        self.replace(at, &[instead]);
        while spaces > 0 {
            let some = usize::from(spaces).min(SPACES.len());
            self.put(&SPACES[..some]);
            spaces -= some as u16;
        }
    }

    /// What stands before `at`, or before what is held, is the last to be emitted.
    pub(super) fn silence(&mut self, at: usize) {
        self.pass(self.held.unwrap_or(at).min(at));
        self.quiet = true;
    }

    /// No more octets in this call: what is not held goes out.
    pub(super) fn finish(&mut self, end: usize) {
        self.pass(self.held.unwrap_or(end));
    }
}
