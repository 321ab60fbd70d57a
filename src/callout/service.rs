//! One callout's service: whoever speaks to it, and what is kept of how it fares.
//!
//! **In**: questions in the callout's own octets. **Out**: answers in the verdict types, or why there is none; how each
//! question ended, counted.
//! **Never**: decides what a failure means, or keeps a deadline but that of the one question that tries a service which fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answer::{self, Grants};
use super::breaker::{Breaker, Leave};
use super::hooks::HooksClient;
use super::http::{Answered, HttpClient};
use super::milter::MilterClient;
use super::policy::{self, PolicyClient};
use super::set::terms;
use super::{Asked, Instance};
use crate::config::types::{Callout, CalloutKind, Dns};
use crate::metrics::CalloutCounts;
use crate::session::callout::{CalloutAnswer, CalloutTerms, Fault, FaultKind};
use crate::session::io::CalloutEnd;
use crate::session::verdict::Stage;
use crate::tls::ClientTls;

/// A service.
pub(super) struct Service {
    client: Client,
    grants: Grants,
    pub(super) counts: Arc<CalloutCounts>,
    breaker: Arc<Breaker>,
    terms: CalloutTerms,
    /// Places for questions nobody waits for.
    pub(super) shadows: Semaphore,
}

/// Who asks.
enum Client {
    Http(HttpClient),
    Policy(Box<PolicyClient>),
    Milter(Box<MilterClient>),
    MtaHooks(Box<HooksClient>),
}

/// What it is shown of gatepost.
pub(super) struct Shows<'a> {
    /// What it is spoken to under.
    pub(super) tls: Option<&'a Arc<ClientTls>>,
    pub(super) bearer: Option<HeaderValue>,
    /// The name gatepost goes by.
    pub(super) hostname: &'a str,
}

impl Service {
    /// That of a callout.
    pub(super) fn new(callout: &Callout, grants: Grants, shows: Shows<'_>, dns: &Dns) -> Self {
        let Shows { tls, bearer, hostname } = shows;
        let most = callout.concurrency;
        Self {
            counts: CalloutCounts::of(&callout.name),
            breaker: Breaker::of(&callout.name, &callout.kind.to_string()),
            terms: terms(callout),
            shadows: Semaphore::new(most),
            client: match &callout.kind {
                CalloutKind::Http(http) => Client::Http(HttpClient::new(http, tls, most, dns)),
                CalloutKind::Policy(policy) => {
                    Client::Policy(Box::new(PolicyClient::new(&policy.addresses, most, dns)))
                }
                CalloutKind::Milter(milter) => {
                    Client::Milter(Box::new(MilterClient::new(callout, milter, dns)))
                }
                CalloutKind::MtaHooks(hooks) => {
                    Client::MtaHooks(Box::new(HooksClient::new(callout, hooks, tls, bearer, hostname, dns)))
                }
            },
            grants,
        }
    }

    /// Asks, unless it has failed too often of late.
    pub(super) async fn ask(self: &Arc<Self>, asked: Asked) -> Result<CalloutAnswer, Fault> {
        if self.breaker.admits(Instant::now())? == Leave::Asked {
            return self.exchange(asked).await;
        }
        // It tries for all: it goes on though whoever asked may be gone.
        let service = Arc::clone(self);
        let trial = tokio::spawn(async move {
            let longer = service.terms.for_size(asked.content.as_ref().map(|content| &content.draft));
            let answered = timeout(service.terms.timeout + longer, service.exchange(asked)).await;
            if matches!(&answered, Ok(Ok(_))) {
                service.breaker.answers(Instant::now());
            }
            answered
        });
        let late = || Fault::new(FaultKind::TimedOut, "no answer to the question that was to try it");
        trial.await.ok().and_then(Result::ok).unwrap_or_else(|| Err(late()))
    }

    async fn exchange(&self, asked: Asked) -> Result<CalloutAnswer, Fault> {
        match &self.client {
            Client::Http(client) => {
                let stage = asked.stage;
                match client.ask(asked).await? {
                    Answered::Verdict(octets) => answer::decode(&octets, stage, &self.grants),
                    Answered::Message(octets) => answer::another(&octets),
                }
            }
            Client::Policy(client) => {
                let answer = client.ask(&asked.question, &asked.transaction).await?;
                policy::decode(policy::action(&answer)?, asked.stage, &asked.question, self.grants.discard)
            }
            Client::Milter(client) => client.ask(&asked).await,
            Client::MtaHooks(client) => client.ask(asked, &self.grants).await,
        }
    }

    /// The session's transaction is over.
    pub(super) fn reset(&self, session: &Instance) {
        if let Client::Milter(client) = &self.client {
            client.reset(session);
        }
    }

    /// The session is over.
    pub(super) fn leave(&self, session: &Instance) {
        if let Client::Milter(client) = &self.client {
            client.leave(session);
        }
    }

    /// Counts a question that ended.
    pub(super) fn ended(&self, now: Instant, stage: Stage, end: CalloutEnd, took: Duration) {
        self.counts.ended(stage, end, took);
        self.breaker.ended(now, end, took, self.terms.timeout);
    }
}
