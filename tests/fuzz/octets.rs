//! What a target is given: octets, cut and spelled.
//!
//! **In**: whatever an engine makes up. **Out**: the same as one value; as a text of words that mean something; in
//! pieces. **Never**: loses an octet between an input and the pieces of it.
//!
//! Octets by chance are seldom a command. So a target tries an input twice: as it is, and spelled, where an octet of
//! 0x80 and above stands for a word of the target's own vocabulary, so that inputs of text stay what they are.

use std::fmt;

use bolero::generator::ValueGenerator;
use bolero::generator::bolero_generator::driver::Driver;

/// The longest input made up by chance. (libFuzzer has a measure of its own.)
const LONGEST: usize = 384;

/// One input.
pub struct Octets(pub Vec<u8>);

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// Makes inputs: a file of a corpus is one as it stands.
pub struct Inputs;

impl ValueGenerator for Inputs {
    type Output = Octets;

    fn generate<D: Driver>(&self, driver: &mut D) -> Option<Octets> {
        driver.gen_from_bytes(|| (0, Some(LONGEST)), |octets| Some((octets.len(), Octets(octets.to_vec()))))
    }
}

/// The input with words in it.
pub fn spelled(input: &[u8], words: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len() * 4);
    for &octet in input {
        match octet {
            0x80.. => out.extend_from_slice(words[usize::from(octet - 0x80) % words.len()]),
            _ => out.push(octet),
        }
    }
    out
}

/// The octets in pieces, none of them empty: single octets where `how` is 0, else of lengths that depend on it.
pub fn pieces(octets: &[u8], how: u8) -> Vec<&[u8]> {
    let longest = 1_usize << (how % 12);
    let mut number = usize::from(how);
    let mut pieces = Vec::new();
    let mut rest = octets;
    while !rest.is_empty() {
        // Any full cycle of small numbers would do.
        number = (number * 109 + 89) % 4096;
        let (piece, behind) = rest.split_at((1 + number % longest).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// An input's first octet, by which the rest of it is tried, and the rest.
pub fn chosen(input: &[u8]) -> (u8, &[u8]) {
    input.split_first().map_or((0, input), |(&first, rest)| (first, rest))
}
