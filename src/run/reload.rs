//! A new configuration for a process that serves.
//!
//! In:    the configuration, read again; the registry, metrics and limits that outlive it.
//! Out:   workers that serve new sessions under it; its outcome, in log and metrics and to systemd.
//! Never: changes anything where it fails, or ever what only a new start changes.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinHandle as Task;

use super::doors::are_free;
use super::{Control, beside, join};
use crate::config;
use crate::config::types::{Config, Log};
use crate::limits::Sessions;
use crate::metrics::Occurrence;
use crate::metrics::labels::Reload;
use crate::net::worker::Serving;
use crate::prepare::{self, Names, Prepared, prepare};
use crate::session::limiter::Limiter;
use crate::systemd;

/// What only a new start changes.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Fixed {
    workers: usize,
    admin: Option<SocketAddr>,
    user: Option<String>,
    log: Log,
}

impl Fixed {
    pub(super) fn of(config: &Config) -> Fixed {
        Fixed {
            workers: config.workers,
            admin: config.admin.address,
            user: config.user.clone(),
            log: config.log,
        }
    }
}

impl Control {
    /// Reads the configuration again. New sessions come under it; running ones keep theirs.
    pub(super) async fn reload(&mut self) {
        systemd::reloading();
        match self.try_reload().await {
            Ok(()) => {
                self.metrics.control().count(Occurrence::Reload(Reload::Done));
                tracing::info!("reload: done");
                let actual: Vec<SocketAddr> = self.listening.iter().map(|&(_, actual)| actual).collect();
                systemd::ready(&format!("accepting on {}", join(&actual)));
            }
            Err(errors) => {
                self.metrics.control().count(Occurrence::Reload(Reload::Refused));
                for error in errors.trim_end().lines() {
                    tracing::error!("reload: nothing changed: {error}");
                }
                let first = errors.lines().next().unwrap_or_default();
                systemd::ready(&format!("reload: nothing changed: {first}"));
            }
        }
    }

    async fn try_reload(&mut self) -> Result<(), String> {
        let loaded = config::load(self.path.as_deref(), config::environment(), prepare::files)
            .map_err(|errors| errors.to_string())?;
        for warning in &loaded.warnings {
            tracing::warn!("reload: {warning}");
        }
        if Fixed::of(&loaded.config) != self.fixed {
            tracing::warn!("reload: workers, admin, user and log change with the next start, not before");
        }
        let limiter: Arc<dyn Limiter> = Arc::<Sessions>::clone(&self.sessions);
        let prepared = prepare(&loaded, &self.registry, limiter, Names::Ask).await?;
        self.activated.check(&prepared.doors)?;
        are_free(prepared.doors.iter().filter(|door| {
            door.address.port() != 0
                && !self.listening.iter().any(|(configured, _)| *configured == door.address)
        }))?;
        let Prepared { settings, pools, tls, refresher, prober, doors, sessions, .. } = prepared;
        let listeners = doors.iter().map(|door| door.address).collect();
        let admitted = Arc::clone(&self.sessions);
        let serving = Arc::new(Serving { settings, sessions: admitted, listeners, tls: tls.listeners() });
        let opened = self.open(&doors)?;
        self.serve_through(&serving, opened)?;
        self.sessions.set(sessions, &loaded.config.session_limits);
        self.status.reloaded(&loaded.config, pools);
        self.beside.iter().for_each(Task::abort);
        self.beside = beside(refresher, prober, &tls);
        self.grace = loaded.config.shutdown_grace;
        Ok(())
    }
}
