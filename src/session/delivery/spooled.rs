//! A message that is kept while it is asked about, and then given back.
//!
//! In:    that it is whole; edits; the hop that is to have it, or the answer that nobody is.
//! Out:   what is left to be done with it; that the spool is to begin, or may forget it.
//! Never: edits what goes to a hop already; ends it towards a hop.

use super::{Content, Delivery, Form, Intake, Outlet, Spooled};
use crate::message::{Draft, Edit, Rope, Signature, Strand};
use crate::session::peer::HopId;
use crate::session::said::Said;
use crate::session::transaction::Transaction;
use crate::session::verdict::EnvelopeEdit;
use crate::smtp::{BareNewline, Unstuffer};

impl Delivery {
    /// The client heard a 354 of ours: its octets are kept, to be asked about.
    pub fn begin_kept(&mut self, bare: BareNewline) {
        self.content = Some(Box::new(Content::data(bare, Outlet::Spool(Unstuffer::new()))));
        self.is_to_be_kept(false);
    }

    pub(super) fn is_to_be_kept(&mut self, counted: bool) {
        if let Some(content) =
            self.content.as_mut().filter(|content| matches!(content.outlet, Outlet::Spool(_)))
        {
            content.spooled = Some(Box::new(Spooled { counted, ..Spooled::default() }));
        }
    }

    /// Whether there is a message for the spool.
    pub fn needs_spool(&self) -> bool {
        let wanted =
            |content: &Content| content.spooled.is_some() && !matches!(content.outlet, Outlet::Nowhere(_));
        self.content().is_some_and(wanted)
    }

    /// All of the message is kept. False: nobody wants it any more.
    pub fn is_whole(&mut self, draft: Draft) -> bool {
        let Some(content) = self.content.as_mut() else { return false };
        match (&mut content.spooled, &content.intake, &content.outlet) {
            (Some(spooled), Intake::Whole, Outlet::Spool(_)) => {
                spooled.draft = Some(draft);
                true
            }
            _ => false,
        }
    }

    /// Changes the message.
    pub fn edit(&mut self, edits: &[Edit], envelope: Vec<EnvelopeEdit>) {
        let content = self.content.as_mut();
        if let Some(spooled) = content.and_then(|content| content.spooled.as_mut()) {
            if let Some(draft) = &mut spooled.draft {
                edits.iter().for_each(|edit| draft.apply(edit));
            }
            spooled.envelope.extend(envelope);
        }
    }

    /// What is to be changed of the envelope.
    pub fn envelope_edits(&self) -> &[EnvelopeEdit] {
        let spooled = self.content.as_ref().and_then(|content| content.spooled.as_ref());
        spooled.map(|spooled| &*spooled.envelope).unwrap_or_default()
    }

    /// What is to be changed of the envelope; it is taken.
    pub fn take_envelope_edits(&mut self) -> Vec<EnvelopeEdit> {
        let content = self.content.as_mut();
        content
            .and_then(|content| content.spooled.as_mut())
            .map(|spooled| std::mem::take(&mut spooled.envelope))
            .unwrap_or_default()
    }

    /// Signatures that what was edited has broken; none once it goes to a hop.
    pub fn broken(&self) -> Vec<Signature> {
        let spooled = self.content.as_ref().and_then(|content| content.spooled.as_ref());
        let draft = spooled.filter(|spooled| !spooled.poured).and_then(|spooled| spooled.draft.as_ref());
        draft.map(Draft::broken).unwrap_or_default()
    }

    /// The message goes to this hop when it is ready; what the spool is to give back for it.
    pub fn pour(&mut self, hop: HopId) -> Option<Rope> {
        let content = self.content.as_mut()?;
        let spooled = content.spooled.as_mut()?;
        let rope = spooled.draft.as_ref()?.rope();
        spooled.poured = true;
        let remaining = rope.iter().map(Strand::len).sum();
        content.intake = Intake::Chunk { remaining, last: true, announced: false };
        content.outlet = Outlet::Hop { hop, form: Form::Chunks, ready: false };
        Some(rope)
    }

    /// The message is whole, and nobody is to have it: it is over, with this answer.
    pub fn take_refused(&mut self) -> Option<(Box<Transaction>, Said)> {
        let refused = |content: &mut Box<Content>| {
            content.is_asked_about() && matches!(content.outlet, Outlet::Nowhere(_))
        };
        let content = self.content.take_if(refused)?;
        let mut transaction = self.transaction.take()?;
        transaction.octets = content.size;
        match content.outlet {
            Outlet::Nowhere(said) => Some((transaction, said)),
            Outlet::Hop { .. } | Outlet::Spool(_) => None,
        }
    }
}
