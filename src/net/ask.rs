//! The questions a session has open: leaves that are there only while they run.
//!
//! In:    what a session wants asked, or not asked any more.
//! Out:   one [`Input::Told`] for each question that was not cancelled, when its answer is in.
//! Never: keeps a deadline (the session does), or runs on for nobody: a question that is cancelled, or whose session
//!        ends or panics, is dropped where it stands.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::callout::Asker;
use crate::session::callout::{CalloutAnswer, Fault};
use crate::session::io::{Ask, Event, Input, Ticket};

/// One session's open questions, and who carries them; made with its first question.
pub struct Asking {
    asker: Arc<dyn Asker>,
    open: Vec<Leaf>,
}

struct Leaf {
    ticket: Ticket,
    answer: Pin<Box<dyn Future<Output = Result<CalloutAnswer, Fault>> + Send>>,
}

/// Begins to ask.
pub fn ask(asking: &mut Option<Box<Asking>>, question: Ask) {
    let Ask { ticket, callouts, callout, stage, question } = question;
    let Some(asker) = callouts.carrier().downcast_ref::<Arc<dyn Asker>>() else { return };
    let asking =
        asking.get_or_insert_with(|| Box::new(Asking { asker: Arc::clone(asker), open: Vec::new() }));
    asking.open.push(Leaf { ticket, answer: asking.asker.ask(callout, stage, question) });
}

/// Forgets a question.
pub fn cancel(asking: &mut Option<Box<Asking>>, ticket: Ticket) {
    if let Some(asking) = asking {
        asking.open.retain(|leaf| leaf.ticket != ticket);
    }
}

impl Asking {
    /// The next answer that is in.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Option<Input> {
        for (index, leaf) in self.open.iter_mut().enumerate() {
            if let Poll::Ready(answer) = leaf.answer.as_mut().poll(cx) {
                let ticket = self.open.swap_remove(index).ticket;
                return Some(Input::Told { ticket, answer });
            }
        }
        None
    }

    /// Counts a question that ended.
    pub fn note(&self, event: Event) {
        if let Event::Asked(callout, stage, end, took) = event {
            self.asker.ended(callout, stage, end, took);
        }
    }
}
