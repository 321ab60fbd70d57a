//! What a filter changes at the end of a message.
//!
//! **In**: one packet, and what was agreed upon. **Out**: an edit of the message, or of its envelope.
//! **Never**: does what was not agreed upon; joins what does not belong together: whether a field is one, and a path, is
//! held against the table that all callouts are held against.
//!
//! Sendmail's `mfapi.h`. CHGHEADER counts the fields of a name; INSHEADER counts all, of which the first, as the filter sees
//! it, is the Received field of the MTA it is asked by: gatepost writes none, so that 0 and 1 are the same place.

use super::frame::{Frame, strings};
use super::options::{Options, action};
use super::said::malformed;
use crate::message::Edit;
use crate::session::callout::{Fault, FaultKind};
use crate::session::verdict::EnvelopeEdit;

/// One change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Message(Edit),
    Envelope(EnvelopeEdit),
    /// A part of another body.
    Body(Box<[u8]>),
    /// It is to be held back, and why.
    Quarantine(Box<[u8]>),
}

impl Change {
    pub(super) fn read(Frame { code, data }: Frame<'_>, options: &Options) -> Result<Self, Fault> {
        let needed = match code {
            b'h' | b'i' => action::ADD_FIELDS,
            b'm' => action::CHANGE_FIELDS,
            b'b' => action::CHANGE_BODY,
            b'+' => action::ADD_RECIPIENTS,
            b'2' => action::ADD_RECIPIENTS_WITH_PARAMETERS,
            b'-' => action::REMOVE_RECIPIENTS,
            b'e' => action::CHANGE_SENDER,
            b'q' => action::QUARANTINE,
            _ => return malformed(format!("{:?}, which is no answer", char::from(code))),
        };
        let name = char::from(code);
        if !options.may(needed) {
            let what = format!("a change ({name:?}) that was not agreed upon");
            return Err(Fault::new(FaultKind::NotAllowed, what));
        }
        if code == b'b' {
            return Ok(Change::Body(data.into()));
        }
        let (number, rest) = match (code, data.split_first_chunk::<4>()) {
            (b'i' | b'm', Some((number, rest))) => (u32::from_be_bytes(*number), rest),
            (b'i' | b'm', None) => return malformed(format!("a change ({name:?}) without a number")),
            _ => (0, data),
        };
        let Some(strings) = strings(rest) else {
            return malformed(format!("a change ({name:?}) whose last string has no end"));
        };
        Ok(match (code, &strings[..]) {
            (b'h', [name, value]) => Change::Message(Edit::Append(field(name, value, options))),
            (b'i', [name, value]) => {
                let (at, field) = (number.saturating_sub(1), field(name, value, options));
                Change::Message(Edit::Insert { at, field })
            }
            (b'm', [name, value]) => {
                let Ok(written) = std::str::from_utf8(name) else {
                    return malformed("a name of a header field that is none");
                };
                let (nth, field) = (number.max(1), field(name, value, options));
                let name = written.into();
                Change::Message(match value.is_empty() {
                    true => Edit::Delete { name, nth },
                    false => Edit::Change { name, nth, field },
                })
            }
            (b'+', [path]) => add(path, b""),
            (b'2', [path]) => add(path, b""),
            (b'2', [path, parameters]) => add(path, parameters),
            (b'-', [path]) => Change::Envelope(EnvelopeEdit::Remove(bare(path))),
            (b'e', [path]) => sender(path, None),
            (b'e', [path, parameters]) => sender(path, Some(one_spaced(parameters))),
            (b'q', [reason]) => Change::Quarantine((*reason).into()),
            _ => return malformed(format!("a change ({name:?}) of {} strings", strings.len())),
        })
    }
}

fn add(path: &[u8], parameters: &[u8]) -> Change {
    Change::Envelope(EnvelopeEdit::Add { path: bare(path), parameters: one_spaced(parameters) })
}

fn sender(path: &[u8], parameters: Option<Box<[u8]>>) -> Change {
    Change::Envelope(EnvelopeEdit::Sender { path: bare(path), parameters })
}

/// A path without its brackets.
fn bare(path: &[u8]) -> Box<[u8]> {
    let inside = path.strip_prefix(b"<").and_then(|path| path.strip_suffix(b">"));
    inside.unwrap_or(path).into()
}

fn one_spaced(parameters: &[u8]) -> Box<[u8]> {
    let words: Vec<&[u8]> =
        parameters.split(|octet| *octet == b' ').filter(|word| !word.is_empty()).collect();
    words.join(&b' ').into()
}

/// A whole field: its lines end in CRLF, whichever line ends the filter's have.
fn field(name: &[u8], value: &[u8], options: &Options) -> Box<[u8]> {
    let mut field = Vec::with_capacity(name.len() + value.len() + 8);
    field.extend_from_slice(name);
    field.push(b':');
    if !options.has_leading_space() {
        field.push(b' ');
    }
    for (number, line) in value.split(|octet| *octet == b'\n').enumerate() {
        if number > 0 {
            field.extend_from_slice(b"\r\n");
        }
        // What stands within a line is no end of one, and held against the table.
        field.extend_from_slice(line.strip_suffix(b"\r").filter(|_| value.contains(&b'\n')).unwrap_or(line));
    }
    field.extend_from_slice(b"\r\n");
    field.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With leave for everything; `leading`: white space is part of a value.
    fn read(code: u8, data: &[u8], leading: bool) -> Result<Change, Fault> {
        let steps = if leading { b"\0\x10\0\0" } else { b"\0\0\0\0" };
        let options = Options::read(&[b"\0\0\0\x06\0\0\0\xff", &steps[..]].concat(), false).unwrap();
        Change::read(Frame { code, data }, &options)
    }

    fn put(code: u8, data: &[u8], leading: bool) -> String {
        let (Edit::Append(field) | Edit::Insert { field, .. } | Edit::Change { field, .. }) =
            (match read(code, data, leading).unwrap() {
                Change::Message(edit) => edit,
                other => panic!("{other:?}"),
            })
        else {
            panic!("no field")
        };
        String::from_utf8_lossy(&field).into_owned()
    }

    #[test]
    fn fields() {
        assert_eq!(put(b'h', b"X-Spam\0yes\0", false), "X-Spam: yes\r\n");
        assert_eq!(put(b'h', b"X-Spam\0yes\0", true), "X-Spam:yes\r\n");
        assert_eq!(put(b'h', b"X-Spam\0 yes\0", true), "X-Spam: yes\r\n");
        assert_eq!(put(b'h', b"A\0b\n\tc\r\n d\0", false), "A: b\r\n\tc\r\n d\r\n");
        assert_eq!(put(b'h', b"A\0b\rc\0", false), "A: b\rc\r\n");
        for (index, at) in [(0, 0), (1, 0), (2, 1), (u32::MAX, u32::MAX - 1)] {
            let data = [&u32::to_be_bytes(index)[..], b"A\0b\0"].concat();
            let field = b"A: b\r\n"[..].into();
            assert_eq!(read(b'i', &data, false), Ok(Change::Message(Edit::Insert { at, field })));
        }
        let delete = |nth| Change::Message(Edit::Delete { name: "Subject".into(), nth });
        assert_eq!(read(b'm', b"\0\0\0\x02Subject\0\0", false), Ok(delete(2)));
        assert_eq!(read(b'm', b"\0\0\0\0Subject\0\0", false), Ok(delete(1)));
        assert_eq!(put(b'm', b"\0\0\0\x01Subject\0x\0", false), "Subject: x\r\n");
    }

    #[test]
    fn envelopes() {
        let envelope = |code, data| match read(code, data, false).unwrap() {
            Change::Envelope(edit) => edit,
            other => panic!("{other:?}"),
        };
        let path = || Box::<[u8]>::from(&b"a@b.example"[..]);
        let add = |parameters: &[u8]| EnvelopeEdit::Add { path: path(), parameters: parameters.into() };
        assert_eq!(envelope(b'+', b"<a@b.example>\0"), add(b""));
        assert_eq!(envelope(b'+', b"a@b.example\0"), add(b""));
        assert_eq!(envelope(b'2', b"<a@b.example>\0"), add(b""));
        assert_eq!(envelope(b'2', b"<a@b.example>\0NOTIFY=NEVER  X=y\0"), add(b"NOTIFY=NEVER X=y"));
        assert_eq!(envelope(b'-', b"<a@b.example>\0"), EnvelopeEdit::Remove(path()));
        assert_eq!(envelope(b'e', b"<>\0"), EnvelopeEdit::Sender { path: Box::default(), parameters: None });
        let parameters = Some(b"RET=HDRS"[..].into());
        assert_eq!(
            envelope(b'e', b"<a@b.example>\0RET=HDRS\0"),
            EnvelopeEdit::Sender { path: path(), parameters }
        );
    }

    #[test]
    fn broken() {
        for (code, data, what) in [
            (b'h', &b"A\0b"[..], "a change ('h') whose last string has no end"),
            (b'h', b"A\0", "a change ('h') of 1 strings"),
            (b'h', b"A\0b\0c\0", "a change ('h') of 3 strings"),
            (b'i', b"\0\0A", "a change ('i') without a number"),
            (b'+', b"", "a change ('+') of 0 strings"),
            (b'l', b"", "'l', which is no answer"),
        ] {
            let fault = read(code, data, false).unwrap_err();
            assert_eq!((fault.kind, &*fault.what), (FaultKind::Malformed, what));
        }
        let options = Options::read(b"\0\0\0\x06\0\0\0\x01\0\0\0\0", false).unwrap();
        let fault = Change::read(Frame { code: b'b', data: b"x" }, &options).unwrap_err();
        assert_eq!(fault.to_string(), "not_allowed: a change ('b') that was not agreed upon");
    }
}
