//! The half of the callouts that waits: a service for each.
//!
//! **In**: questions in a callout's own octets, from sessions that wait and for shadows, for which nobody does.
//! **Out**: what its service answers; as [`Asker`] has it.
//! **Never**: decides what a failure means, or keeps a deadline for a session.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use tokio::sync::mpsc::{self, Sender};

use super::answer::Grants;
use super::service::{Service, Shows};
use super::shadow::attend;
use super::{Asked, Asker, Instance};
use crate::config::types::{Config, Effect};
use crate::session::callout::{CalloutAnswer, CalloutId, Fault};
use crate::session::io::{CalloutEnd, Shadow};
use crate::session::route::PoolId;
use crate::session::verdict::Stage;
use crate::smtp::SessionId;
use crate::tls::ClientTls;

/// Questions in shadow of one session that wait for those before; more are not asked.
const WAITING: usize = 32;

/// All services, by [`CalloutId`].
pub(super) struct Carrier(Vec<Arc<Service>>);

impl Carrier {
    pub(super) fn new(
        config: &Config,
        pools: &dyn Fn(&str) -> Option<PoolId>,
        tls: &[Option<Arc<ClientTls>>],
        bearers: Vec<Option<HeaderValue>>,
    ) -> Self {
        let pools: Vec<(Box<str>, PoolId)> =
            config.upstreams.keys().filter_map(|name| Some((name.as_str().into(), pools(name)?))).collect();
        let secrets = tls.iter().zip(bearers);
        let services = config.callouts.iter().zip(secrets).map(|(callout, (tls, bearer))| {
            let grants = Grants {
                pools: pools.iter().cloned().collect(),
                attempts: config.limits.attempts,
                line: config.limits.command_line,
                discard: callout.effects.contains(&Effect::Discard),
            };
            let shows = Shows { tls: tls.as_ref(), bearer, hostname: &config.host_name() };
            Arc::new(Service::new(callout, grants, shows, &config.dns))
        });
        Self(services.collect())
    }

    fn get(&self, callout: CalloutId) -> &Arc<Service> {
        &self.0[usize::from(callout.0)]
    }
}

impl Asker for Carrier {
    fn ask(
        &self,
        callout: CalloutId,
        asked: Asked,
    ) -> Pin<Box<dyn Future<Output = Result<CalloutAnswer, Fault>> + Send>> {
        let service = Arc::clone(self.get(callout));
        Box::pin(async move { service.ask(asked).await })
    }

    fn attend(&self, session: SessionId, callout: CalloutId) -> Sender<(Shadow, Asked)> {
        let (ask, asked) = mpsc::channel(WAITING);
        tokio::spawn(attend(Arc::clone(self.get(callout)), session, asked));
        ask
    }

    fn reset(&self, session: &Instance) {
        self.0.iter().for_each(|service| service.reset(session));
    }

    fn leave(&self, session: &Instance) {
        self.0.iter().for_each(|service| service.leave(session));
    }

    fn ended(&self, callout: CalloutId, stage: Stage, end: CalloutEnd, took: Duration) {
        self.get(callout).ended(Instant::now(), stage, end, took);
    }
}
