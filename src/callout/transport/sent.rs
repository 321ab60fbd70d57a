//! What is sent with a request: a question, and the message it is about where that is shown whole.
//!
//! **In**: a question's octets; a message as it is edited so far, and what reads it.
//! **Out**: the body of a request and its media type, as often as it is asked: a question alone; `multipart/form-data` with the
//! parts `question` and `message`; or the message within the question, as it is or in Base64.
//! **Never**: holds more of a message than a piece of it; says a length that it does not keep.
//!
//! RFC 7578 (form data), RFC 2046 section 5.1.1 (boundaries).

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::HeaderValue;

use super::{JSON, MESSAGE};
use crate::callout::Content;
use crate::message::Strand;
use crate::spool::Kept;

/// Octets of a message that are read at once.
const PIECE: u64 = 64 << 10;

/// A request's body.
#[derive(Clone)]
pub(in crate::callout) struct Sent {
    parts: VecDeque<Part>,
    /// `None`: nothing is sent.
    pub(super) media: Option<HeaderValue>,
}

#[derive(Clone)]
enum Part {
    Octets(Bytes),
    Kept(Kept, Range<u64>),
    /// In Base64, together with those before and behind it.
    Coded(Box<Part>),
    /// The end of Base64.
    Padding,
}

impl Part {
    /// Octets, before they are coded.
    fn length(&self) -> u64 {
        match self {
            Part::Octets(octets) => octets.len() as u64,
            Part::Kept(_, range) => range.end - range.start,
            Part::Coded(part) => part.length(),
            Part::Padding => 0,
        }
    }
}

impl Sent {
    /// Nothing.
    pub(in crate::callout) fn nothing() -> Self {
        Self { parts: VecDeque::new(), media: None }
    }

    /// A message between other octets; in Base64 where that is wanted.
    pub(in crate::callout) fn around(
        media: &'static str,
        before: Vec<u8>,
        content: &Content,
        base64: bool,
        after: &'static [u8],
    ) -> Self {
        let mut parts = VecDeque::from([Part::Octets(before.into())]);
        let pieces = parts_of(content);
        match base64 {
            true => parts.extend(pieces.map(|part| Part::Coded(Box::new(part))).chain([Part::Padding])),
            false => parts.extend(pieces),
        }
        parts.push_back(Part::Octets(Bytes::from_static(after)));
        Self { parts, media: Some(HeaderValue::from_static(media)) }
    }

    /// Octets of a media type.
    pub(in crate::callout) fn octets(media: &'static str, octets: Bytes) -> Self {
        Self { parts: VecDeque::from([Part::Octets(octets)]), media: Some(HeaderValue::from_static(media)) }
    }

    /// A question with the message it is about.
    pub(in crate::callout) fn with_message(question: &[u8], content: &Content) -> Self {
        // Nobody who sends a message can know it.
        let boundary = digits_at_random();
        let head = |name, media| {
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\nContent-Type: {media}\r\n\r\n"
            )
        };
        let first = [head("question", JSON).as_bytes(), question, b"\r\n"].concat();
        let octets = |text: String| Part::Octets(text.into());
        let mut parts = VecDeque::from([Part::Octets(first.into()), octets(head("message", MESSAGE))]);
        parts.extend(parts_of(content));
        parts.push_back(octets(format!("\r\n--{boundary}--\r\n")));
        let media = HeaderValue::try_from(format!("multipart/form-data; boundary={boundary}"));
        Self { parts, media: Some(media.expect("letters and digits")) }
    }

    pub(super) fn sending(&self) -> Sending {
        Sending { left: self.parts.clone(), reading: None, coding: Vec::new() }
    }
}

/// The message as it is edited so far.
fn parts_of(content: &Content) -> impl Iterator<Item = Part> {
    content.draft.rope().into_iter().map(|strand| match strand {
        Strand::Put(octets) => Part::Octets(Bytes::from_owner(octets)),
        Strand::Spool(range) => Part::Kept(content.kept.clone(), range),
    })
}

/// 32 digits that nobody can know beforehand.
pub(in crate::callout) fn digits_at_random() -> String {
    format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1))
}

/// A body on its way.
pub(super) struct Sending {
    left: VecDeque<Part>,
    reading: Option<Reading>,
    /// Octets that wait for the next, which together make letters of Base64: two at most.
    coding: Vec<u8>,
}

/// A piece that is read.
struct Reading {
    read: Pin<Box<dyn Future<Output = io::Result<Vec<u8>>> + Send>>,
    length: u64,
    coded: bool,
}

impl Sending {
    /// How many octets there are yet.
    pub(super) fn length(&self) -> u64 {
        let (mut plain, mut coded) = (0, self.coding.len() as u64);
        for part in &self.left {
            *(if matches!(part, Part::Coded(_)) { &mut coded } else { &mut plain }) += part.length();
        }
        if let Some(reading) = &self.reading {
            *(if reading.coded { &mut coded } else { &mut plain }) += reading.length;
        }
        plain + coded.div_ceil(3) * 4
    }

    /// The next of them.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Unreadable>>> {
        loop {
            let (octets, coded) = if let Some(reading) = &mut self.reading {
                let read = ready!(reading.read.as_mut().poll(cx));
                let coded = reading.coded;
                self.reading = None;
                match read {
                    Ok(octets) => (Bytes::from(octets), coded),
                    Err(error) => return Poll::Ready(Some(Err(Unreadable(error)))),
                }
            } else {
                match self.left.pop_front() {
                    None => return Poll::Ready(None),
                    Some(Part::Octets(octets)) => (octets, false),
                    Some(Part::Kept(kept, range)) => {
                        self.read(kept, range, false);
                        continue;
                    }
                    Some(Part::Coded(part)) => match *part {
                        Part::Octets(mut octets) => {
                            let piece = octets.split_to(octets.len().min(PIECE as usize));
                            if !octets.is_empty() {
                                self.left.push_front(Part::Coded(Box::new(Part::Octets(octets))));
                            }
                            (piece, true)
                        }
                        Part::Kept(kept, range) => {
                            self.read(kept, range, true);
                            continue;
                        }
                        Part::Coded(_) | Part::Padding => continue,
                    },
                    Some(Part::Padding) => {
                        let last = STANDARD.encode(std::mem::take(&mut self.coding));
                        (Bytes::from(last), false)
                    }
                }
            };
            let octets = if coded { self.code(&octets) } else { octets };
            if !octets.is_empty() {
                return Poll::Ready(Some(Ok(octets)));
            }
        }
    }

    /// Begins to read the first piece of a range.
    fn read(&mut self, kept: Kept, range: Range<u64>, coded: bool) {
        let end = range.end.min(range.start + PIECE);
        if end < range.end {
            let rest = Part::Kept(kept.clone(), end..range.end);
            self.left.push_front(if coded { Part::Coded(Box::new(rest)) } else { rest });
        }
        let (piece, length) = (range.start..end, end - range.start);
        self.reading = Some(Reading { read: Box::pin(async move { kept.read(piece).await }), length, coded });
    }

    /// These octets in Base64, as far as they fill groups of three.
    fn code(&mut self, octets: &[u8]) -> Bytes {
        self.coding.extend_from_slice(octets);
        let whole = self.coding.len() / 3 * 3;
        let letters = STANDARD.encode(&self.coding[..whole]);
        self.coding.drain(..whole);
        letters.into()
    }
}

/// The message cannot be read back.
#[derive(Debug)]
pub(super) struct Unreadable(pub(super) io::Error);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Unreadable {}
