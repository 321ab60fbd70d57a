//! Replies as they are written in rules: checked for form, kept as written.
//!
//! **In**: a node with one line or a list of lines. **Out**: the lines, and the code they carry.
//! **Never**: changes a line: what is written is what the client hears.
//!
//! RFC 5321 section 4.2: `250-` on every line but the last, one code throughout, printable ASCII and tabs;
//! section 4.5.3.1.5: at most 512 octets with CRLF. RFC 2034 section 4: an enhanced code has the class of its reply.

use super::walk::{Node, shown};

/// Longest line without its CRLF.
const LONGEST_LINE: usize = 510;

/// Most lines of one reply.
const MOST_LINES: usize = 100;

/// Reply lines that are well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrittenReply {
    /// The lines without CRLF; never empty.
    pub(super) lines: Vec<String>,
    /// Their code, from 200 to 599.
    pub(super) code: u16,
}

impl WrittenReply {
    /// The first digit of the code.
    pub(super) fn class(&self) -> u8 {
        u8::try_from(self.code / 100).unwrap_or(0)
    }
}

/// Decodes a reply.
pub(super) fn reply(node: &Node<'_>) -> Option<WrittenReply> {
    let entries = node.one_or_list();
    if entries.is_empty() || entries.len() > MOST_LINES {
        node.error(format!("a reply has from 1 to {MOST_LINES} lines"));
        return None;
    }
    let last = entries.len() - 1;
    let mut lines = Vec::with_capacity(entries.len());
    let mut code = None;
    let mut good = true;
    for (i, entry) in entries.iter().enumerate() {
        match line(entry, i == last, code) {
            Some((text, its)) => {
                code = code.or(Some(its));
                lines.push(text);
            }
            None => good = false,
        }
    }
    if !good {
        return None;
    }
    Some(WrittenReply { lines, code: code? })
}

/// Decodes one line; `before` is the code of the lines before it.
fn line(node: &Node<'_>, last: bool, before: Option<u16>) -> Option<(String, u16)> {
    let Some(text) = node.scalar() else { return node.expected("a reply, such as \"550 5.7.1 Not here\"") };
    let fault = |text: String| {
        node.error(text);
        None
    };
    if text.contains('\n') {
        return fault("a reply of several lines is written as a list of lines".to_owned());
    }
    let Some(code) = code(&text) else {
        return fault(format!("{} does not start with a reply code from 200 to 599", shown(&text)));
    };
    if !text.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) {
        return fault("a reply is printable ASCII".to_owned());
    }
    if text.len() > LONGEST_LINE {
        return fault(format!("a reply line has at most {LONGEST_LINE} characters"));
    }
    if last && is_wordless(&text) {
        return fault(format!(
            "{} needs a text behind it, such as \"{}\"",
            shown(&text),
            with_words(&text, code)
        ));
    }
    match (text.as_bytes().get(3), last) {
        (None | Some(b' '), true) | (Some(b'-'), false) => {}
        (Some(b'-'), true) => return fault(format!("the last line of a reply starts with \"{code} \"")),
        (_, false) => return fault(format!("every line of a reply but the last starts with \"{code}-\"")),
        (Some(_), true) => return fault(format!("{} has no space behind its code", shown(&text))),
    }
    if before.is_some_and(|before| before != code) {
        return fault("the lines of a reply have one code".to_owned());
    }
    if let Some(class) = enhanced_class(text.get(4..).unwrap_or_default())
        && u16::from(class) != code / 100
    {
        return fault(format!("an enhanced code of class {class} contradicts {code}"));
    }
    Some((text, code))
}

/// Whether nothing stands behind the code that a person could read. RFC 5321 section 4.2 would let it pass.
fn is_wordless(line: &str) -> bool {
    let behind = line.get(3..).unwrap_or_default();
    let words = behind.strip_prefix([' ', '-']).unwrap_or(behind).trim();
    words.is_empty()
        || (behind.len() > words.len() && !words.contains(' ') && enhanced_class(words).is_some())
}

/// The same with words.
fn with_words(line: &str, code: u16) -> String {
    let given = line.get(4..).unwrap_or_default().trim();
    let enhanced = if given.is_empty() { format!("{}.7.1", code / 100) } else { given.to_owned() };
    format!("{code} {enhanced} {}", if code < 400 { "Taken" } else { "Not here" })
}

fn code(text: &str) -> Option<u16> {
    let digits = text.get(..3)?;
    let code: u16 = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
    (200..=599).contains(&code).then_some(code)
}

/// The class of the enhanced code that `text` starts with, if it does (RFC 3463 section 2).
fn enhanced_class(text: &str) -> Option<u8> {
    let word = text.split([' ', '\t']).next()?;
    let mut parts = word.split('.');
    let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
    let number = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if parts.next().is_some() || class.len() != 1 || !number(subject) || !number(detail) {
        return None;
    }
    class.parse().ok()
}
