//! The half of the callouts that waits: a service for each, whoever speaks to it, and what is kept of how it fares.
//!
//! **In**: questions in the callout's own octets, from sessions that wait and for shadows, for which nobody does.
//! **Out**: answers in the verdict types, or why there is none; how each question ended, counted.
//! **Never**: decides what a failure means, or keeps a deadline for a session.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::answer::{self, Grants};
use super::breaker::Breaker;
use super::http::HttpClient;
use super::policy::{self, PolicyClient};
use super::shadow::compare;
use super::{Asker, Instance};
use crate::config::types::{self as config, CalloutKind, Config, Effect};
use crate::metrics::CalloutCounts;
use crate::session::callout::{CalloutAnswer, CalloutId, Fault};
use crate::session::io::{CalloutEnd, Shadow};
use crate::session::route::PoolId;
use crate::session::verdict::Stage;
use crate::smtp::SessionId;
use crate::tls::ClientTls;

/// All of them, by [`CalloutId`].
pub(super) struct Carrier(Vec<Arc<Service>>);

/// One of them.
pub(super) struct Service {
    client: Client,
    grants: Grants,
    pub(super) counts: Arc<CalloutCounts>,
    breaker: Arc<Breaker>,
    /// Places for questions nobody waits for.
    pub(super) shadows: Semaphore,
}

/// Who asks.
enum Client {
    Http(HttpClient),
    Policy(Box<PolicyClient>),
}

impl Carrier {
    pub(super) fn new(
        config: &Config,
        pools: &dyn Fn(&str) -> Option<PoolId>,
        tls: &[Option<Arc<ClientTls>>],
    ) -> Self {
        let pools: Vec<(Box<str>, PoolId)> =
            config.upstreams.keys().filter_map(|name| Some((name.as_str().into(), pools(name)?))).collect();
        let service = |(callout, tls): (&config::Callout, &Option<Arc<ClientTls>>)| {
            let (most, dns) = (callout.concurrency, &config.dns);
            Arc::new(Service {
                counts: CalloutCounts::of(&callout.name),
                breaker: Breaker::of(&callout.name),
                shadows: Semaphore::new(most),
                client: match &callout.kind {
                    CalloutKind::Http(urls) => Client::Http(HttpClient::new(urls, tls.as_ref(), most, dns)),
                    CalloutKind::Policy(policy) => {
                        Client::Policy(Box::new(PolicyClient::new(&policy.addresses, most, dns)))
                    }
                },
                grants: Grants {
                    pools: pools.iter().cloned().collect(),
                    attempts: config.limits.attempts,
                    line: config.limits.command_line,
                    discard: callout.effects.contains(&Effect::Discard),
                },
            })
        };
        Self(config.callouts.iter().zip(tls).map(service).collect())
    }

    fn get(&self, callout: CalloutId) -> &Arc<Service> {
        &self.0[usize::from(callout.0)]
    }
}

impl Service {
    /// Asks, unless it has failed too often of late.
    pub(super) async fn ask(
        &self,
        stage: Stage,
        question: Box<[u8]>,
        instance: &Instance,
    ) -> Result<CalloutAnswer, Fault> {
        self.breaker.admits(Instant::now())?;
        match &self.client {
            Client::Http(client) => answer::decode(&client.ask(question).await?, stage, &self.grants),
            Client::Policy(client) => {
                let answer = client.ask(&question, instance).await?;
                policy::decode(policy::action(&answer)?, stage, &question, self.grants.discard)
            }
        }
    }

    /// Counts a question that ended.
    pub(super) fn ended(&self, now: Instant, stage: Stage, end: CalloutEnd, took: Duration) {
        self.counts.ended(stage, end, took);
        self.breaker.ended(now, end);
    }
}

impl Asker for Carrier {
    fn ask(
        &self,
        callout: CalloutId,
        stage: Stage,
        question: Box<[u8]>,
        instance: &Instance,
    ) -> Pin<Box<dyn Future<Output = Result<CalloutAnswer, Fault>> + Send>> {
        let (service, instance) = (Arc::clone(self.get(callout)), instance.clone());
        Box::pin(async move { service.ask(stage, question, &instance).await })
    }

    fn shadow(&self, session: SessionId, shadow: Shadow, instance: &Instance) {
        let service = Arc::clone(self.get(shadow.callout));
        tokio::spawn(compare(service, session, shadow, instance.clone()));
    }

    fn ended(&self, callout: CalloutId, stage: Stage, end: CalloutEnd, took: Duration) {
        self.get(callout).ended(Instant::now(), stage, end, took);
    }
}
