//! What is sent with a question: JSON, and the message it is about where that is shown whole.
//!
//! **In**: a question's octets; a message as it is edited so far, and what reads it.
//! **Out**: the body of a request and its media type, as often as it is asked: JSON alone, or `multipart/form-data` with the
//! parts `question` and `message`.
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
}

impl Sent {
    /// Octets of a media type.
    pub(in crate::callout) fn octets(media: &'static str, octets: Bytes) -> Self {
        Self { parts: VecDeque::from([Part::Octets(octets)]), media: Some(HeaderValue::from_static(media)) }
    }

    /// A question with the message it is about.
    pub(in crate::callout) fn with_message(question: &[u8], content: &Content) -> Self {
        let boundary = boundary();
        let head = |name, media| {
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\nContent-Type: {media}\r\n\r\n"
            )
        };
        let first = [head("question", JSON).as_bytes(), question, b"\r\n"].concat();
        let octets = |text: String| Part::Octets(text.into());
        let mut parts = VecDeque::from([Part::Octets(first.into()), octets(head("message", MESSAGE))]);
        parts.extend(content.draft.rope().into_iter().map(|strand| match strand {
            Strand::Put(octets) => Part::Octets(Bytes::from_owner(octets)),
            Strand::Spool(range) => Part::Kept(content.kept.clone(), range),
        }));
        parts.push_back(octets(format!("\r\n--{boundary}--\r\n")));
        let media = HeaderValue::try_from(format!("multipart/form-data; boundary={boundary}"));
        Self { parts, media: Some(media.expect("letters and digits")) }
    }

    pub(super) fn sending(&self) -> Sending {
        Sending { left: self.parts.clone(), reading: None }
    }
}

/// Nobody who sends a message can know it: 32 digits at random.
fn boundary() -> String {
    format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1))
}

/// A body on its way.
pub(super) struct Sending {
    left: VecDeque<Part>,
    reading: Option<Reading>,
}

/// A piece that is read, and how long it is.
type Reading = (Pin<Box<dyn Future<Output = io::Result<Vec<u8>>> + Send>>, u64);

impl Sending {
    /// How many octets there are yet.
    pub(super) fn length(&self) -> u64 {
        let length = |part: &Part| match part {
            Part::Octets(octets) => octets.len() as u64,
            Part::Kept(_, range) => range.end - range.start,
        };
        self.left.iter().map(length).sum::<u64>() + self.reading.as_ref().map_or(0, |(_, length)| *length)
    }

    /// The next of them.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Unreadable>>> {
        loop {
            if let Some((reading, _)) = &mut self.reading {
                let read = ready!(reading.as_mut().poll(cx));
                self.reading = None;
                return Poll::Ready(Some(read.map(Bytes::from).map_err(Unreadable)));
            }
            match self.left.pop_front() {
                None => return Poll::Ready(None),
                Some(Part::Octets(octets)) => return Poll::Ready(Some(Ok(octets))),
                Some(Part::Kept(kept, range)) => {
                    let end = range.end.min(range.start + PIECE);
                    if end < range.end {
                        self.left.push_front(Part::Kept(kept.clone(), end..range.end));
                    }
                    let piece = range.start..end;
                    let length = end - range.start;
                    self.reading = Some((Box::pin(async move { kept.read(piece).await }), length));
                }
            }
        }
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
