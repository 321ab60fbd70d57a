//! The control thread: starts the workers, tells them of reloads and of the end.
//!
//! In:    the configuration; SIGHUP, SIGTERM, SIGINT.
//! Out:   workers that serve; the administrative listener; fresh addresses; an exit status.
//! Never: touches a session. What is listened on is in `doors`, what a new configuration changes in `reload`.

mod doors;
mod reload;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinHandle as Task;

use self::doors::{are_free, listen_for_admin};
use self::reload::Fixed;
use crate::admin::{self, Phase, Status};
use crate::config::Loaded;
use crate::hop::{Prober, Refresher, Registry};
use crate::limits::Sessions;
use crate::log::say;
use crate::metrics::Metrics;
use crate::net::worker::{self, Beat, Order, Serving};
use crate::prepare::{Names, Prepared, no_room, prepare};
use crate::session::limiter::Limiter;
use crate::systemd::{self, Activated};
use crate::tls::TlsSet;
use crate::tls::watch::Watch;

/// How long a second look at the workers waits for the first.
const TICK: Duration = Duration::from_millis(20);

/// Serves until told to stop, through the sockets that systemd has opened and those it opens itself.
pub async fn run(loaded: Loaded, path: Option<PathBuf>, activated: Result<Activated, String>) -> ExitCode {
    // Before anything is announced: a signal that comes early is heard, too.
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            say(&format!("signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let started = match activated {
        Ok(activated) => Control::start(loaded, path, activated).await,
        Err(error) => Err(error),
    };
    match started {
        Ok(mut control) => control.serve(signals).await,
        Err(errors) => {
            say(errors.trim_end());
            ExitCode::from(2)
        }
    }
}

/// What the process is told from outside.
struct Signals {
    hup: Signal,
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        // Heeded by nobody, and so no end: a file that may not become larger is an error of who writes it.
        drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
        Ok(Signals {
            hup: signal(SignalKind::hangup())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }
}

struct Control {
    fixed: Fixed,
    path: Option<PathBuf>,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
    sessions: Arc<Sessions>,
    workers: Vec<(UnboundedSender<Order>, JoinHandle<io::Result<()>>)>,
    activated: Activated,
    /// Where the doors are: as configured, and as the kernel has it.
    listening: Vec<(SocketAddr, SocketAddr)>,
    /// What is done beside: fresh addresses, probes, fresh certificates.
    beside: [Task<()>; 3],
    grace: Duration,
}

impl Control {
    async fn start(loaded: Loaded, path: Option<PathBuf>, activated: Activated) -> Result<Control, String> {
        let registry = Arc::new(Registry::new(Instant::now()));
        let config = &loaded.config;
        let sessions = Sessions::new(config.session_limits.sessions, &config.session_limits);
        let limiter: Arc<dyn Limiter> = Arc::<Sessions>::clone(&sessions);
        let prepared = prepare(&loaded, &registry, limiter, Names::Ask).await?;
        sessions.set(prepared.sessions, &config.session_limits);
        activated.check(&prepared.doors)?;
        are_free(prepared.doors.iter().filter(|door| !activated.has(door.address)))?;
        let count = match config.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let metrics = Arc::new(Metrics::new(count));
        let status = Arc::new(Status::new(
            Arc::clone(&metrics),
            Arc::clone(&sessions),
            config,
            Arc::clone(&prepared.pools),
        ));
        let admin = match config.admin.address {
            Some(address) => Some(listen_for_admin(address).await?),
            None => None,
        };
        let admin_address = admin.as_ref().and_then(|admin| admin.local_addr().ok());
        tokio::spawn(admin::serve(admin, Arc::clone(&status)));
        let mut workers = Vec::new();
        let mut beats = Vec::new();
        for index in 0..count {
            let (orders, received) = mpsc::unbounded_channel();
            let metrics = Arc::clone(&metrics);
            let beat = Beat::default();
            beats.push(Arc::clone(&beat));
            let worker = thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || worker::run(index, &metrics, received, beat))
                .map_err(|error| format!("worker {index}: {error}"))?;
            workers.push((orders, worker));
        }
        let grace = config.shutdown_grace;
        let Prepared { settings, tls, refresher, prober, doors, account, .. } = prepared;
        let mut control = Control {
            fixed: Fixed::of(config),
            path,
            registry,
            metrics,
            status,
            sessions,
            workers,
            activated,
            listening: Vec::new(),
            beside: beside(refresher, prober, &tls),
            grace,
        };
        let listeners = doors.iter().map(|door| door.address).collect();
        let admitted = Arc::clone(&control.sessions);
        let serving = Arc::new(Serving { settings, sessions: admitted, listeners, tls: tls.listeners() });
        let orders = control.open(&doors)?;
        // Everything that takes root is open, and nobody is served yet.
        if let Some(account) = account {
            account.assume()?;
            for lack in account.lacks(&loaded.config, control.path.as_deref())? {
                tracing::warn!("{lack}");
            }
        }
        if let Some(warning) = no_room(&loaded.config) {
            tracing::warn!("{warning}");
        }
        let addresses = control.serve_through(&serving, orders)?;
        control.status.set_phase(Phase::Accepting);
        greet(&loaded, &addresses, admin_address);
        systemd::ready(&format!("accepting on {}", join(&addresses)));
        tokio::spawn(systemd::watchdog(beats));
        Ok(control)
    }

    async fn serve(&mut self, signals: Signals) -> ExitCode {
        let Signals { mut hup, mut term, mut int } = signals;
        loop {
            tokio::select! {
                _ = hup.recv() => {
                    // Resolving names may take a while; the wish to stop does not wait for it.
                    let stop = tokio::select! {
                        () = self.reload() => false,
                        _ = term.recv() => true,
                        _ = int.recv() => true,
                    };
                    if stop {
                        return self.drain(&mut term, &mut int).await;
                    }
                }
                _ = term.recv() => return self.drain(&mut term, &mut int).await,
                _ = int.recv() => return self.drain(&mut term, &mut int).await,
                () = tokio::time::sleep(Duration::from_secs(1)) => {
                    if self.workers.iter().any(|(_, worker)| worker.is_finished()) {
                        tracing::error!("a worker has ended");
                        return ExitCode::FAILURE;
                    }
                }
            }
        }
    }

    /// Lets transactions end; a second signal, or the end of the grace, ends what is left.
    async fn drain(&mut self, term: &mut Signal, int: &mut Signal) -> ExitCode {
        tracing::info!(grace = ?self.grace, "draining");
        systemd::stopping(&format!("finishing {} sessions", self.sessions.open()));
        self.status.set_phase(Phase::Draining);
        self.order(|| Order::Drain);
        let over = tokio::time::sleep(self.grace);
        tokio::pin!(over);
        let mut stopped = false;
        loop {
            if self.workers.iter().all(|(_, worker)| worker.is_finished()) {
                return ExitCode::SUCCESS;
            }
            tokio::select! {
                _ = term.recv() => return ExitCode::SUCCESS,
                _ = int.recv() => return ExitCode::SUCCESS,
                () = &mut over, if !stopped => {
                    stopped = true;
                    self.order(|| Order::Stop);
                }
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    fn order(&self, order: impl Fn() -> Order) {
        for (orders, _) in &self.workers {
            // A worker that has ended needs no orders.
            let _ = orders.send(order());
        }
    }
}

fn beside(refresher: Refresher, prober: Prober, tls: &Arc<TlsSet>) -> [Task<()>; 3] {
    let watch = Watch::new(Arc::clone(tls));
    [tokio::spawn(refresher.run()), tokio::spawn(prober.run()), tokio::spawn(watch.run())]
}

fn join(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Says where gatepost listens and how to try it.
fn greet(loaded: &Loaded, listening: &[SocketAddr], admin: Option<SocketAddr>) {
    say(&format!("gatepost {}: listening on {}", env!("CARGO_PKG_VERSION"), join(listening)));
    match admin {
        Some(admin) => say(&format!("metrics, health and readiness on http://{admin}")),
        None => say("metrics, health and readiness: nowhere (admin: off)"),
    }
    say(&format!("configuration: {}", loaded.file));
    if let Some(address) = listening.first() {
        say(&format!(
            "try it: curl smtp://{address} --mail-from a@example.org --mail-rcpt b@example.net -T FILE"
        ));
    }
}
