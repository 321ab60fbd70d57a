//! What the configuration says of a pool.
//!
//! In:    an upstream, as it is configured.
//! Out:   a [`PoolSpec`]: its hosts, or how DNS is asked for them, and how they are spoken to.
//! Never: resolves a name, or knows how a host is.

use std::sync::Arc;
use std::time::Duration;

use crate::config::types::{self, Balance, Protocol, Source, UpstreamPool};
use crate::hop::dns::Question;
use crate::hop::target::{Endpoint, HostSpec};
use crate::session::route::{HopTerms, PoolKind};
use crate::tls::ClientTls;

/// A pool as the configuration gives it.
#[derive(Clone, Debug)]
pub struct PoolSpec {
    /// The upstream's name.
    pub name: Box<str>,
    /// What its hosts speak, and whether they are those of each recipient's domain.
    pub kind: PoolKind,
    /// How its hosts share the load.
    pub balance: Balance,
    /// Its hosts, in order; none where DNS names them.
    pub hosts: Vec<HostSpec>,
    /// What is asked of DNS for its hosts, and the port they are dialled at where the answer says none.
    pub found_by: Option<(Question, u16)>,
    /// Open dialogs per host; 0 is no bound.
    pub sessions: u32,
    /// How often each host is probed.
    pub probed: Option<Duration>,
    /// How its hosts are to be spoken to.
    pub terms: HopTerms,
    /// What TLS with them goes by.
    pub tls: Option<Arc<ClientTls>>,
}

impl PoolSpec {
    /// What the upstream called `name` says.
    pub fn new(name: &str, upstream: &UpstreamPool) -> Self {
        let lmtp = upstream.protocol == Protocol::Lmtp;
        let mut spec = Self {
            name: name.into(),
            kind: if lmtp { PoolKind::Lmtp } else { PoolKind::Smtp },
            balance: upstream.balance,
            hosts: Vec::new(),
            found_by: None,
            sessions: u32::try_from(upstream.sessions).unwrap_or(u32::MAX),
            probed: upstream.health,
            terms: terms(upstream),
            tls: None,
        };
        let in_order = upstream.balance == Balance::First;
        match &upstream.source {
            Source::Hosts(hosts) => {
                let host = |(place, host): (usize, &types::HostSpec)| HostSpec {
                    endpoint: Endpoint::from(&host.target),
                    preference: if in_order { u16::try_from(place).unwrap_or(u16::MAX) } else { 0 },
                    weight: host.weight,
                    server_name: host.server_name.as_deref().map(Into::into),
                };
                spec.hosts = hosts.iter().enumerate().map(host).collect();
            }
            Source::Sink(path) => {
                let endpoint = Endpoint::Sink(path.as_path().into());
                spec.hosts = vec![HostSpec { endpoint, preference: 0, weight: 1, server_name: None }];
                // It is a part of this process.
                spec.probed = None;
            }
            Source::Mx(domain) => {
                spec.found_by = Some((Question::Mx(domain.as_str().into()), upstream.port));
            }
            Source::Srv(service) => {
                spec.found_by = Some((Question::Srv(service.as_str().into()), upstream.port));
            }
            Source::RecipientMx => spec.kind = PoolKind::ByRecipient(upstream.port),
            Source::OriginalDestination => {
                (spec.kind, spec.probed) = (PoolKind::Original, None);
            }
        }
        spec
    }
}

fn terms(upstream: &UpstreamPool) -> HopTerms {
    HopTerms {
        tls: upstream.tls.mode,
        identity: upstream.identity,
        identity_required: upstream.identity_required,
        identity_login: upstream.identity_login,
        is_loopback: false,
    }
}
