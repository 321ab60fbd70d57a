//! Callouts in shadow: asked about what was decided without them.
//!
//! In:    a command or reply, and what rules and the other callouts came to.
//! Out:   one question for each callout in shadow whose `when` holds, with that beside it.
//! Never: waits, holds anything back, or asks twice about one command or reply, a ladder between included.

use std::sync::Arc;

use super::super::conversations::{About, Inquiry, Ruling};
use super::super::io::{Decided, Output, Shadow};
use super::super::law::names_postmaster;
use super::super::owed::What;
use super::super::stage::Stage;
use super::super::turn::Turn;
use super::super::verdict::{MessageVerdict, Question, ReplyVerdict};
use super::Conductor;
use super::asking::is_challenge;
use crate::smtp::ReplyRef;

impl Conductor {
    /// Whether any callout is asked in shadow there.
    pub(super) fn has_shadow(&self, stage: Stage) -> bool {
        self.settings.callouts.shadow_stages().has(stage)
    }

    /// Callouts in shadow are asked about a hop's reply, which was decided about.
    pub(super) fn shadow_reply(
        &self,
        turn: &mut Turn<'_>,
        stage: Stage,
        what: &What,
        reply: ReplyRef<'_>,
        verdict: Option<&ReplyVerdict>,
    ) {
        if self.has_shadow(stage) && !is_challenge(stage, reply) {
            let decided = Decided::Reply(verdict.cloned(), Box::new(reply.to_owned()));
            self.shadow(turn, &self.reply_question(stage, what), decided);
        }
    }

    /// Callouts in shadow are asked about what was decided.
    pub(super) fn shadow(&self, turn: &mut Turn<'_>, question: &Question<'_>, decided: Decided) {
        let callouts = &self.settings.callouts;
        let heard =
            if let Decided::Reply(_, heard) = &decided { Some(heard.as_ref().as_ref()) } else { None };
        for callout in callouts.shadows(question, heard) {
            turn.wish(Output::Shadow(Box::new(Shadow {
                callouts: Arc::clone(callouts),
                callout,
                stage: question.stage,
                question: callouts.encode(callout, question, heard),
                instance: question.instance,
                message: question.message.cloned(),
                decided: decided.clone(),
                pool: self.delivery.transaction().map_or(self.hops.pool(), |transaction| transaction.pool),
                tolerated: !callouts.terms(callout).refuse_postmaster
                    && question.recipient_given.is_some_and(names_postmaster),
            })));
        }
    }

    /// Callouts in shadow are asked about a message, which was decided about.
    pub(super) fn shadow_message(&self, turn: &mut Turn<'_>, verdict: Option<&MessageVerdict>) {
        if self.has_shadow(Stage::Message) {
            self.shadow(turn, &self.message_question(), Decided::Message(verdict.cloned()));
        }
    }

    /// Callouts in shadow are asked about what those that are obeyed came to.
    pub(super) fn shadow_inquiry(
        &self,
        turn: &mut Turn<'_>,
        what: &What,
        inquiry: &Inquiry,
        ruling: &Ruling,
    ) {
        // About a message they are asked when all has been decided.
        let asked = matches!(inquiry.about, About::Reply { spent: true, .. } | About::Message);
        if !self.has_shadow(inquiry.stage) || asked {
            return;
        }
        match inquiry.reply() {
            Some(reply) => {
                let verdict = ruling.clone().of_reply();
                self.shadow_reply(turn, inquiry.stage, what, reply, verdict.as_ref());
            }
            None => {
                let question = self.inquiry_question(what, inquiry);
                self.shadow(turn, &question, Decided::Command(ruling.clone().of_command()));
            }
        }
    }
}
