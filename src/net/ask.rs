//! The questions a session has open, to callouts and to DNS: leaves that are there only while they run.
//!
//! In:    what a session wants asked, or not asked any more; a domain it wants looked up; a client whose name a hop is told.
//! Out:   one [`Input::Told`] for each question that was not cancelled, when its answer is in; one
//!        [`Input::LookedUp`] for the latest domain; the client's name.
//! Never: keeps a deadline (the session does), or runs on for nobody: a question that is cancelled, or whose session
//!        ends or panics, is dropped where it stands.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc::Sender;

use crate::callout::{Asked, Asker, Content, Instance};
use crate::hop::{HopSet, LookUp};
use crate::message::Draft;
use crate::session::Session;
use crate::session::callout::{CalloutAnswer, CalloutId, Fault};
use crate::session::client::ClientName;
use crate::session::io::{Ask, CalloutEnd, Event, Input, Shadow, Ticket};
use crate::session::route::{Domain, HopTerms, Identity, NextHops};
use crate::session::verdict::Stage;
use crate::smtp::{SessionId, Verb};
use crate::spool::Kept;

/// One session's open questions, and who carries those to callouts; made with its first question.
#[derive(Default)]
pub struct Asking {
    asker: Option<Arc<dyn Asker>>,
    open: Vec<Leaf>,
    /// Callouts in shadow, and where questions to them are put in.
    shadows: Vec<(CalloutId, Sender<(Shadow, Asked)>)>,
    /// The session, to callouts.
    session: Instance,
    /// The transaction that was asked about last, until its message is over.
    instance: Option<(u32, Instance)>,
    look_up: Option<LookUp>,
}

struct Leaf {
    ticket: Ticket,
    answer: Pin<Box<dyn Future<Output = Result<CalloutAnswer, Fault>> + Send>>,
}

/// Begins to ask. `kept`: the message that is kept, if there is one.
pub fn ask(asking: &mut Option<Box<Asking>>, question: Ask, kept: Option<&Kept>) {
    let Ask { ticket, callouts, callout, stage, question, instance, message } = question;
    let Some(asker) = callouts.carrier().downcast_ref::<Arc<dyn Asker>>() else { return };
    let asking = asking.get_or_insert_default();
    asking.asker.get_or_insert_with(|| Arc::clone(asker));
    let content = content(message, kept);
    let asked = asking.asked(stage, question, instance, content);
    asking.open.push(Leaf { ticket, answer: asker.ask(callout, asked) });
}

fn content(message: Option<Draft>, kept: Option<&Kept>) -> Option<Content> {
    message.zip(kept).map(|(draft, kept)| Content { draft, kept: kept.clone() })
}

/// Asks in shadow.
pub fn shadow(asking: &mut Option<Box<Asking>>, session: SessionId, mut shadow: Shadow, kept: Option<&Kept>) {
    let callouts = Arc::clone(&shadow.callouts);
    let Some(asker) = callouts.carrier().downcast_ref::<Arc<dyn Asker>>() else { return };
    let asking = asking.get_or_insert_default();
    asking.asker.get_or_insert_with(|| Arc::clone(asker));
    let (callout, stage) = (shadow.callout, shadow.stage);
    let question = std::mem::take(&mut shadow.question);
    let content = content(shadow.message.take(), kept);
    let asked = asking.asked(stage, question, shadow.instance, content);
    let attended = asking.shadows.iter().position(|(other, _)| *other == callout);
    let place = attended.unwrap_or_else(|| {
        asking.shadows.push((callout, asker.attend(session, callout)));
        asking.shadows.len() - 1
    });
    if asking.shadows[place].1.try_send((shadow, asked)).is_err() {
        asker.ended(callout, stage, CalloutEnd::Cancelled, Duration::ZERO);
    }
}

/// Looks a domain up; one that was being looked up is of no interest any more.
pub fn look_up(asking: &mut Option<Box<Asking>>, hops: &dyn NextHops, domain: Domain) {
    let hops: &dyn Any = hops;
    let Some(hops) = hops.downcast_ref::<HopSet>() else { return };
    asking.get_or_insert_default().look_up = Some(hops.look_up(domain));
}

/// Looks the client's name up, where a host with these terms is told it and it is not known.
pub fn client_name(
    session: &Session,
    terms: HopTerms,
) -> Option<impl Future<Output = ClientName> + Send + use<>> {
    let entrance = session.entrance();
    let is_told = matches!(terms.identity, Identity::Xclient | Identity::Xforward);
    let is_known = entrance.facts.as_ref().is_some_and(|facts| facts.ptr.is_some());
    let hops: &dyn Any = session.next_hops();
    let hops = hops.downcast_ref::<HopSet>().filter(|_| is_told && !is_known)?;
    // Half of the time that a connection has, lest a name server's silence is taken for the host's.
    Some(hops.client_name(entrance.client.ip(), session.connect_timeout() / 2))
}

/// Forgets a question.
pub fn cancel(asking: &mut Option<Box<Asking>>, ticket: Ticket) {
    if let Some(asking) = asking {
        asking.open.retain(|leaf| leaf.ticket != ticket);
    }
}

impl Asking {
    fn asked(&mut self, stage: Stage, question: Box<[u8]>, instance: u32, content: Option<Content>) -> Asked {
        let transaction = self.about(instance).clone();
        Asked { stage, question, content, session: self.session.clone(), transaction }
    }

    /// What is kept for the transaction of this number, which is asked about now.
    fn about(&mut self, number: u32) -> &Instance {
        if self.instance.as_ref().is_none_or(|(latest, _)| *latest != number) {
            self.instance = None;
        }
        &self.instance.get_or_insert_with(|| (number, Instance::default())).1
    }

    /// The next answer that is in.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Option<Input> {
        if let Some(look_up) = &mut self.look_up
            && let Poll::Ready(found) = Pin::new(look_up).poll(cx)
        {
            self.look_up = None;
            return Some(Input::LookedUp(found));
        }
        for (index, leaf) in self.open.iter_mut().enumerate() {
            if let Poll::Ready(answer) = leaf.answer.as_mut().poll(cx) {
                let ticket = self.open.swap_remove(index).ticket;
                return Some(Input::Told { ticket, answer });
            }
        }
        None
    }

    /// Counts a question that ended; tells that a transaction is over, and lets go of what is kept for it.
    pub fn note(&mut self, event: Event) {
        let Some(asker) = &self.asker else { return };
        match event {
            Event::Asked(callout, stage, end, took) => asker.ended(callout, stage, end, took),
            Event::Message(..) | Event::Command(Verb::Rset | Verb::Ehlo | Verb::Helo, _) => {
                asker.reset(&self.session);
                self.instance = None;
            }
            _ => {}
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        // What is still asked is given up first.
        self.open.clear();
        if let Some(asker) = &self.asker {
            asker.leave(&self.session);
        }
    }
}
