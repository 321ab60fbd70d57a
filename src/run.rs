//! The control thread: starts the workers, tells them of reloads and of the end.
//!
//! In:    the configuration; SIGHUP, SIGTERM, SIGINT.
//! Out:   workers that serve; the administrative listener; fresh addresses; an exit status.
//! Never: touches a session. A reload that fails changes nothing.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinHandle as Task;

use crate::admin::{self, Phase, Status};
use crate::config::types::{Config, Log};
use crate::config::{self, Loaded};
use crate::hop::{Prober, Refresher, Registry};
use crate::limits::Sessions;
use crate::log::say;
use crate::metrics::labels::Reload;
use crate::metrics::{Metrics, Occurrence};
use crate::net::intercept;
use crate::net::listen::{self, Entry};
use crate::net::share::Share;
use crate::net::worker::{self, Beat, Opening, Order, Serving};
use crate::prepare::{self, Names, Prepared, prepare};
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
        Ok(Signals {
            hup: signal(SignalKind::hangup())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }
}

/// What only a new start changes.
#[derive(Clone, PartialEq, Eq)]
struct Fixed {
    workers: usize,
    admin: Option<SocketAddr>,
    user: Option<String>,
    log: Log,
}

impl Fixed {
    fn of(config: &Config) -> Fixed {
        Fixed {
            workers: config.workers,
            admin: config.admin.address,
            user: config.user.clone(),
            log: config.log,
        }
    }
}

/// Doors that are open, but that nobody serves through yet.
struct Opened {
    /// As configured, and as the kernel has it.
    listening: Vec<(SocketAddr, SocketAddr)>,
    /// For each worker.
    orders: Vec<Vec<(Entry, Opening)>>,
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
        for door in prepared.doors.iter().filter(|door| !activated.has(door.address)) {
            listen::is_free(door.address, door.intercept)
                .map_err(|error| cannot_listen(door.address, &error))?;
        }
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
        let addresses = control.serve_through(&serving, orders)?;
        control.status.set_phase(Phase::Accepting);
        greet(&loaded, &addresses, admin_address);
        systemd::ready(&format!("accepting on {}", join(&addresses)));
        tokio::spawn(systemd::watchdog(beats));
        Ok(control)
    }

    /// Opens these doors and no others: for each worker, those it is to serve through. All that is new is bound before
    /// any is used; what is not stays as it is, so that nobody who is just connecting is turned away.
    fn open(&mut self, doors: &[Entry]) -> Result<Opened, String> {
        let mut listening = Vec::new();
        let mut orders: Vec<Vec<(Entry, Opening)>> = Vec::new();
        orders.resize_with(self.workers.len(), Vec::new);
        for door in doors {
            let known = self.listening.iter().find(|(configured, _)| *configured == door.address);
            let mut actual = known.map_or(door.address, |&(_, actual)| actual);
            let mut activated = self.activated.take(door.address);
            if let Some(socket) = &activated {
                let enabled = intercept::enable(socket.into(), door.address, door.intercept);
                enabled.map_err(|error| cannot_listen(door.address, &error))?;
            }
            for order in &mut orders {
                let opening = if known.is_some() || self.activated.has(door.address) {
                    // The first worker has it for all.
                    activated.take().map_or(Opening::Known, |socket| Opening::Shared(socket, self.share()))
                } else {
                    let socket = listen::bind(actual, door.intercept);
                    let socket = socket.map_err(|error| cannot_listen(actual, &error))?;
                    // Where the kernel chose the port, the other workers take the same.
                    let bound = socket.local_addr().ok().and_then(|address| address.as_socket());
                    actual = bound.unwrap_or(actual);
                    Opening::Own(socket)
                };
                order.push((*door, opening));
            }
            listening.push((door.address, actual));
        }
        Ok(Opened { listening, orders })
    }

    /// Has every worker serve this through its doors, and says where they are.
    fn serve_through(&mut self, serving: &Arc<Serving>, opened: Opened) -> Result<Vec<SocketAddr>, String> {
        for ((worker, _), order) in self.workers.iter().zip(opened.orders) {
            worker
                .send(Order::Serve(Arc::clone(serving), order))
                .map_err(|_| "a worker has ended".to_owned())?;
        }
        self.listening = opened.listening;
        Ok(self.listening.iter().map(|&(_, actual)| actual).collect())
    }

    fn share(&self) -> Share {
        Share::among(self.workers.iter().map(|(orders, _)| orders.clone()).collect())
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

    /// Reads the configuration again. New sessions come under it; running ones keep theirs.
    async fn reload(&mut self) {
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
        let new = prepared.doors.iter().filter(|door| {
            door.address.port() != 0
                && !self.listening.iter().any(|(configured, _)| *configured == door.address)
        });
        for door in new {
            listen::is_free(door.address, door.intercept)
                .map_err(|error| cannot_listen(door.address, &error))?;
        }
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

fn cannot_listen(address: SocketAddr, error: &io::Error) -> String {
    let remedy = match error.raw_os_error().map(Errno::from_raw_os_error) {
        // The one thing bind(2) says so about: IP_TRANSPARENT is answered EPERM.
        Some(Errno::ACCESS) => {
            ": a port this low takes CAP_NET_BIND_SERVICE: start gatepost by deploy/gatepost.service, which gives it, have \
             systemd open the socket (deploy/gatepost.socket), or take a port from 1024 on"
        }
        Some(Errno::ADDRINUSE) => ": somebody else listens there (ss -ltnp says who)",
        Some(Errno::ADDRNOTAVAIL) => ": no interface of this machine has that address",
        _ => "",
    };
    format!("{address}: cannot listen: {error}{remedy}")
}

/// A port that another gatepost has is the likeliest reason, and it would be that one whose metrics are read.
async fn listen_for_admin(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::AddrInUse => {
                ", perhaps another gatepost: give each its own admin.address, or say admin: off"
            }
            _ => "",
        };
        format!("admin.address: {}{what}", cannot_listen(address, &error))
    })
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
