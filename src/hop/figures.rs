//! What is told of the hosts when metrics are asked for.
//!
//! In:    the pools.
//! Out:   the figures of each of their hosts, as [`metrics`](crate::metrics) takes them.
//! Never: counts: that is done where something happens, in [`health`](super::health).

use std::sync::Arc;

use super::offered::Withdrawn;
use super::{HostHealth, Pools, Probe, Why};
use crate::metrics::HostFigures;

impl Pools {
    /// The figures of every host, pool by pool.
    pub fn figures(&self) -> Vec<HostFigures> {
        let of = |upstream: &Arc<str>, HostHealth { host, up, open, counts }: HostHealth| HostFigures {
            upstream: upstream.clone(),
            host,
            up,
            open,
            connects: counts.connects(),
            failures: Why::ALL.map(|why| (why.as_str(), counts.failures(why))).into(),
            ejections: counts.ejections(),
            withdrawn: Withdrawn::ALL.map(|instead| (instead.as_str(), counts.withdrawn(instead))).into(),
            probes: Probe::ALL.map(|result| (result.as_str(), counts.probes(result))).into(),
        };
        self.iter()
            .flat_map(|pool| pool.health().into_iter().map(move |health| of(pool.name(), health)))
            .collect()
    }
}
