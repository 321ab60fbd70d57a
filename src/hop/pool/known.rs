//! What may be asked about a pool.
//!
//! In:    its hosts and targets of the moment.
//! Out:   what it is, how each of its hosts is, whether it is ready or under stress.
//! Never: changes anything of it; but where stress begins or is over, whoever asks has the log told.

use std::sync::Arc;
use std::time::Duration;

use super::{Host, Pool, TOGETHER};
use crate::hop::dns::Question;
use crate::hop::health::HopCounts;
use crate::hop::target::{Endpoint, Target};
use crate::session::route::PoolKind;

/// How a host is.
#[derive(Clone, Debug)]
pub struct HostHealth {
    /// Its name with its port.
    pub host: Arc<str>,
    /// Whether it has an address that is not ejected; untried counts as good.
    pub up: bool,
    /// Dialogs open with it.
    pub open: u32,
    /// What happened to it.
    pub counts: Arc<HopCounts>,
}

impl Pool {
    /// The upstream's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What its hosts are like.
    pub fn kind(&self) -> PoolKind {
        self.kind
    }

    /// How often its hosts are probed.
    pub fn probed(&self) -> Option<Duration> {
        self.probed
    }

    /// What is asked of DNS for its hosts, and the port they are dialled at where the answer says none.
    pub fn found_by(&self) -> Option<&(Question, u16)> {
        self.found_by.as_ref()
    }

    /// Where its hosts are, in order, for the resolver.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.now.load().hosts.iter().map(|host| host.spec.endpoint.clone()).collect()
    }

    /// Its targets now.
    pub fn targets(&self) -> Vec<Target> {
        self.now.load().targets.to_vec()
    }

    /// How each of its hosts is, in order.
    pub fn health(&self) -> Vec<HostHealth> {
        if let Some(counts) = &self.together {
            let (host, counts) = (Arc::from(TOGETHER), counts.clone());
            return vec![HostHealth { host, up: true, open: counts.open(), counts }];
        }
        let snapshot = self.now.load();
        let up = |index| snapshot.targets.iter().any(|t| t.0.host_index == index && !t.0.state.is_ejected());
        let health = |(index, host): (usize, &Host)| HostHealth {
            host: host.name.clone(),
            up: up(index),
            open: host.state.open(),
            counts: host.counts.clone(),
        };
        snapshot.hosts.iter().enumerate().map(health).collect()
    }

    /// Whether any host can be counted on: one that is not ejected, or any of those that recipients or clients name.
    pub fn is_ready(&self) -> bool {
        matches!(self.kind, PoolKind::ByRecipient(_) | PoolKind::Original)
            || self.now.load().targets.iter().any(|target| !target.0.state.is_ejected())
    }

    /// Whether dialogs with its hosts are running out. A host that is put aside is no room, nor are its dialogs, unless
    /// all are; where strangers name the hosts, there are as many as they like.
    pub fn is_stressed(&self) -> bool {
        if self.sessions == 0 || self.together.is_some() {
            return false;
        }
        let snapshot = self.now.load();
        let filled = |serving: &dyn Fn(&Target) -> bool| {
            let (mut used, mut most, mut last) = (0, 0, None);
            // Targets of one host stay together.
            for Target(target) in snapshot.targets.iter().filter(|target| serving(target)) {
                if last.replace(target.host_index) != Some(target.host_index) {
                    used += target.host.open().min(self.sessions) as usize;
                    most += self.sessions as usize;
                }
            }
            (used, most)
        };
        let (used, most) = match filled(&|target| !target.0.state.is_ejected()) {
            (_, 0) => filled(&|_| true),
            serving => serving,
        };
        self.stress.at(used, most)
    }
}
