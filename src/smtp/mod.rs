//! The words of SMTP: lines, commands, addresses, replies, extensions and content.
//!
//! Everything a dialog says or hears is parsed here into a borrowed view of the octets received, and
//! written here back into its wire form.
//!
//! In:    octets as a client or a hop sent them, every one of them hostile.
//! Out:   views and values that are valid because they exist; octets for the wire.
//! Never: knows a policy, a state, a socket, a clock or randomness, or guesses at framing.
//!
//! RFC 5321 (SMTP), RFC 3030 (BDAT), RFC 3461 (DSN), RFC 3463 (enhanced codes), RFC 4954 (AUTH), RFC 9422 (LIMITS).

pub mod address;
pub mod command;
pub mod content;
pub mod extension;
pub mod line;
pub mod own;
pub mod params;
pub mod reply;

mod foreign;
mod grammar;
mod header;
mod mechanism;
mod present;
pub mod tell;
pub mod told;

pub use address::{AddressError, Canonical, Path, canonical_domain};
pub use command::{Command, CommandError, CommandFault, Verb};
pub use content::{
    BareNewline, ChunkCounter, ContentFault, DataScanner, END_OF_DATA, Piece, Scanned, Stuffer, Unstuffer,
};
pub use extension::{Extensions, Keyword, needed_by, parameter_keyword};
pub use foreign::Foreign;
pub use header::is_header_field;
pub use line::{Line, LineEnd, next_line};
pub use mechanism::shown_mechanism;
pub use own::{Own, SessionId};
pub use params::{Param, Params, read_xtext, write_utf8_xtext, write_xtext};
pub use present::{Hidden, Shown, carries_mechanism, present};
pub use reply::{Code, EnhancedCode, Reply, ReplyFault, ReplyFramer, ReplyLimits, ReplyRef, WrittenFault};
pub use tell::{Lines, Names, Telling};
pub use told::{Attribute, Attributes, TellingVerb, Told};

/// Writes a number in decimal, without allocating.
pub(crate) fn write_decimal(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        // A remainder of ten is one digit.
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Reads 1 to 20 digits and nothing else (RFC 1870, RFC 3030); a value beyond 64 bits is the greatest one.
pub(crate) fn read_decimal(octets: &[u8]) -> Option<u64> {
    if octets.is_empty() || octets.len() > 20 {
        return None;
    }
    octets.iter().try_fold(0u64, |value, octet| {
        octet.is_ascii_digit().then(|| value.saturating_mul(10).saturating_add(u64::from(octet - b'0')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_both_ways() {
        for number in [0, 7, 10, 4096, 52_428_800, u64::MAX] {
            let mut out = Vec::new();
            write_decimal(number, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), number.to_string());
            assert_eq!(read_decimal(&out), Some(number));
        }
        assert_eq!(read_decimal(b"99999999999999999999"), Some(u64::MAX));
        for bad in [&b""[..], b"-1", b"+1", b"1 ", b"0x1", b"000000000000000000001"] {
            assert_eq!(read_decimal(bad), None);
        }
    }
}
