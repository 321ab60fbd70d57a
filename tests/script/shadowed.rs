//! A callout in shadow at every stage, behind whatever else a script asks.
//!
//! **In**: the callouts of a script. **Out**: the same, and one in shadow, which is asked about everything.
//! **Never**: answers: nobody waits for it.

use std::any::Any;
use std::sync::Arc;

use gatepost::session::callout::{CalloutId, CalloutTerms, Callouts, NoCallouts};
use gatepost::session::verdict::{Question, Stage, Stages};
use gatepost::smtp::{ReplyRef, Verb};

/// The one in shadow.
const SHADOW: CalloutId = CalloutId(u16::MAX);

/// A script's callouts, and one in shadow.
pub struct Shadowed(pub Arc<dyn Callouts>);

impl Callouts for Shadowed {
    fn stages(&self) -> Stages {
        self.0.stages()
    }

    fn next(
        &self,
        question: &Question<'_>,
        reply: Option<ReplyRef<'_>>,
        after: Option<CalloutId>,
    ) -> Option<CalloutId> {
        self.0.next(question, reply, after)
    }

    fn shadow_stages(&self) -> Stages {
        Stage::ALL.into_iter().fold(Stages::default(), Stages::with)
    }

    fn shadows(&self, question: &Question<'_>, _: Option<ReplyRef<'_>>) -> Vec<CalloutId> {
        // Messages are kept for somebody else, or stream.
        let is_to_come = question.stage == Stage::Message && question.message.is_none();
        if is_to_come { Vec::new() } else { vec![SHADOW] }
    }

    fn encode(&self, callout: CalloutId, question: &Question<'_>, reply: Option<ReplyRef<'_>>) -> Box<[u8]> {
        if callout != SHADOW {
            return self.0.encode(callout, question, reply);
        }
        let argument = match question.verb {
            Verb::Auth => question.argument,
            _ => question.recipient.or(question.sender).map(|path| path.as_bytes()).unwrap_or_default(),
        };
        argument.into()
    }

    fn terms(&self, callout: CalloutId) -> CalloutTerms {
        match callout {
            SHADOW => NoCallouts.terms(callout),
            _ => self.0.terms(callout),
        }
    }

    fn name(&self, callout: CalloutId) -> &str {
        if callout == SHADOW { "shadow" } else { self.0.name(callout) }
    }

    fn carrier(&self) -> &dyn Any {
        self.0.carrier()
    }
}
