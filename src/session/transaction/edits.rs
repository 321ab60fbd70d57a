//! An envelope changed when the message is known.
//!
//! In:    another sender; recipients that are added or go, by the path they were given or sent by.
//! Out:   whether it is another envelope now.
//! Never: has one recipient twice.

use super::{Mail, Recipient, Spoken, Transaction};
use crate::smtp::{Extensions, Path};

impl Transaction {
    /// A message has another sender now, with these parameters where they are given; whether it is another.
    pub fn is_sent_by(&mut self, path: &[u8], parameters: Option<&[u8]>, known: &Extensions) -> bool {
        let sent = Spoken::new(path, parameters.unwrap_or(self.mail.sent.params_octets()));
        let given = self.mail.given_octets();
        let given = (given != path).then(|| given.into());
        let changed = self.mail.sent != sent;
        self.takes(Mail { sent, given }, known);
        changed
    }

    /// A message has one recipient more; whether it is one more.
    pub fn adds(&mut self, path: &[u8], parameters: &[u8]) -> bool {
        let new = !self.recipients.iter().any(|recipient| recipient.is(path));
        if new {
            let recipient = Recipient { sent: Spoken::new(path, parameters), given: None, added: true };
            self.held += recipient.octets();
            self.recipients.push(recipient);
        }
        new
    }

    /// Whether anybody is left when the recipients of these paths go.
    pub fn is_left_to_anybody(&self, without: &[&[u8]]) -> bool {
        self.recipients.iter().any(|recipient| !without.iter().any(|path| recipient.is(path)))
    }

    /// A message has the recipients of this path no more; whether there was any.
    pub fn removes(&mut self, path: &[u8]) -> bool {
        let before = self.recipients.len();
        self.recipients.retain(|recipient| !recipient.is(path));
        self.recipients.len() != before
    }
}

impl Recipient {
    /// Whether it is this one, by the path it was given or sent by.
    fn is(&self, path: &[u8]) -> bool {
        let same = |other: &[u8]| match (Path::parse(other), Path::parse(path)) {
            (Ok(one), Ok(other)) => {
                let domain = |path: Path<'_>| path.domain().map(|domain| domain.to_ascii_lowercase());
                one.local() == other.local() && domain(one) == domain(other)
            }
            _ => other == path,
        };
        same(self.sent.path_octets()) || same(self.given_octets())
    }
}
