//! A message, told to a filter.
//!
//! **In**: the message as it is edited so far, and where its octets lie.
//! **Out**: field by field, then the body in pieces; what the filter decides, and what it changes.
//! **Never**: holds more of the body than a piece; tells on when the filter has decided; lets a field end early.
//!
//! Sendmail's `mfdef.h`. Line ends within a field are LF, those of the body CRLF. Without SMFIP_HDR_LEADSPC one space behind
//! the colon is left out.

use std::ops::Range;

use super::change::Change;
use super::conversation::{Conversation, Decision, Outcome};
use super::frame::{DATA, command};
use super::said::{Said, malformed};
use crate::callout::{Content, unreadable};
use crate::config::types::{Milter, Occasion};
use crate::message::{Field, Strand};
use crate::session::callout::Fault;
use crate::session::verdict::EnvelopeEdit;

/// Octets of a body that are read at once: four pieces.
const READ: u64 = 4 * DATA as u64;

/// What comes of one thing that was said.
enum Step {
    On,
    /// No more of the same.
    Skip,
    Decided(Decision),
}

impl Conversation {
    /// Tells of the message.
    pub(super) async fn tell(&mut self, content: &Content, milter: &Milter) -> Result<Outcome, Fault> {
        for field in content.draft.fields() {
            let said = match self.options.wants(command::HEADER) {
                true => {
                    let value = value(field, self.options.has_leading_space());
                    let data: [&[u8]; 4] = [field.name(), b"\0", &value, b"\0"];
                    self.told(command::HEADER, &data).await?
                }
                false => break,
            };
            match said {
                Step::On => {}
                Step::Skip => break,
                Step::Decided(decision) => return Ok(decision.into()),
            }
        }
        let said = self.event(Occasion::Eoh, command::END_OF_HEADER, &[], milter).await?;
        if let Step::Decided(decision) = step(said)? {
            return Ok(decision.into());
        }
        if self.options.wants(command::BODY)
            && let Some(decision) = self.tell_body(content).await?
        {
            return Ok(decision.into());
        }
        self.end(milter).await
    }

    async fn told(&mut self, code: u8, data: &[&[u8]]) -> Result<Step, Fault> {
        self.wire.put(code, data);
        if !self.options.answers(code) {
            self.wire.relieve().await?;
            return Ok(Step::On);
        }
        step(self.wire.answer(&self.options).await?)
    }

    async fn tell_body(&mut self, content: &Content) -> Result<Option<Decision>, Fault> {
        let body = content.draft.body();
        let range = match &body {
            Strand::Spool(range) => range.clone(),
            Strand::Put(octets) => 0..octets.len() as u64,
        };
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at + READ);
            let read = match &body {
                Strand::Put(octets) => part(octets, at..end).to_vec(),
                Strand::Spool(_) => content.kept.read(at..end).await.map_err(|error| unreadable(&error))?,
            };
            for piece in read.chunks(DATA) {
                match self.told(command::BODY, &[piece]).await? {
                    Step::On => {}
                    Step::Skip => return Ok(None),
                    Step::Decided(decision) => return Ok(Some(decision)),
                }
            }
            at = end;
        }
        Ok(None)
    }

    /// All of it was told: what the filter changes, and what it decides in the end.
    async fn end(&mut self, milter: &Milter) -> Result<Outcome, Fault> {
        let mut changes = Vec::new();
        let (mut octets, mut most) = (0, super::CHANGES);
        let mut said = self.event(Occasion::Eom, command::END_OF_MESSAGE, &[], milter).await?;
        while let Said::Change(change) = said {
            octets += change.octets();
            let counts = !matches!(change, Change::Body(_));
            if octets > super::BODY || (counts && most == 0) {
                let what = format!(
                    "more than {} changes, or more than {} octets of them",
                    super::CHANGES,
                    super::BODY
                );
                return malformed(what);
            }
            most -= usize::from(counts);
            changes.push(change);
            said = self.wire.said(&self.options).await?;
        }
        let decision = match step(said)? {
            Step::On | Step::Skip => Decision::Pass,
            Step::Decided(decision) => decision,
        };
        Ok(Outcome { decision, changes })
    }
}

fn step(said: Said) -> Result<Step, Fault> {
    Ok(match said {
        Said::Continue | Said::Progress => Step::On,
        Said::Skip => Step::Skip,
        Said::Accept => Step::Decided(Decision::Pass),
        Said::Refuse(refusal) => Step::Decided(Decision::Refuse(refusal)),
        Said::Close(reply) => Step::Decided(Decision::Close(reply)),
        Said::Discard => Step::Decided(Decision::Discard),
        Said::Change(_) => return malformed("a change before the end of the message"),
    })
}

fn part(octets: &[u8], range: Range<u64>) -> &[u8] {
    let within = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
    within.and_then(|(start, end)| octets.get(start..end)).unwrap_or_default()
}

/// A field's value as it is told: NUL would end it.
fn value(field: Field<'_>, leading: bool) -> Vec<u8> {
    let value = field.value();
    let value = if leading { value } else { value.strip_prefix(b" ").unwrap_or(value) };
    let mut told = Vec::with_capacity(value.len());
    for (place, &octet) in value.iter().enumerate() {
        match octet {
            b'\r' if value.get(place + 1) == Some(&b'\n') => {}
            0 => told.push(b' '),
            octet => told.push(octet),
        }
    }
    told
}

impl Change {
    /// Octets of it that are kept.
    fn octets(&self) -> usize {
        match self {
            Change::Message(edit) => edit.octets(),
            // A packet of them may be empty.
            Change::Body(octets) => octets.len() + size_of::<Self>(),
            Change::Quarantine(octets) => octets.len(),
            Change::Envelope(EnvelopeEdit::Add { path, parameters }) => path.len() + parameters.len(),
            Change::Envelope(EnvelopeEdit::Sender { path, .. } | EnvelopeEdit::Remove(path)) => path.len(),
        }
    }
}
