//! The administrative listener: `/metrics`, `/healthz`, `/readyz`.
//!
//! In:    a request's method and path; where gatepost is in its life, and the pools it serves now.
//! Out:   metrics as Prometheus text; whether gatepost is alive; whether it is ready (200 while
//!        accepting and each listener's own pool has a host not ejected; draining is 503; other pools, stress,
//!        and certificates that are over or soon will be, are told in the body only).
//! Never: changes anything, or runs on a worker. Waits for whoever asks: `connections` does.

mod connections;

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::time::interval;

use self::connections::{PATIENCE, accept};
use crate::callout::breaker::Breaker;
use crate::config::types::{Callout, Config};
use crate::hop::Pools;
use crate::limits::Sessions;
use crate::metrics::{Metrics, certificates};
use crate::session::limiter::Limiter;
use crate::tls::expiry;

/// How often the metrics are tended when nobody scrapes, and stress is looked at.
const UPKEEP: Duration = Duration::from_secs(5);

/// What the administrative listener tells; shared with whoever starts, reloads and stops gatepost.
#[derive(Debug)]
pub struct Status {
    metrics: Arc<Metrics>,
    sessions: Arc<Sessions>,
    serving: ArcSwap<Serving>,
    phase: AtomicU8,
}

/// Where gatepost is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not accepting yet.
    Starting,
    /// Accepting clients.
    Accepting,
    /// Told to stop; sessions in flight are finished.
    Draining,
}

/// What one configuration serves.
#[derive(Debug)]
struct Serving {
    pools: Arc<Pools>,
    /// The listeners' own pools.
    own: Vec<Box<str>>,
    callouts: Vec<(Box<str>, Arc<Breaker>)>,
}

impl Serving {
    fn new(config: &Config, pools: Arc<Pools>) -> Arc<Self> {
        let mut own: Vec<Box<str>> =
            config.listeners.iter().map(|listener| listener.upstream.as_str().into()).collect();
        own.sort_unstable();
        own.dedup();
        let breaker = |callout: &Callout| {
            (callout.name.as_str().into(), Breaker::of(&callout.name, &callout.kind.to_string()))
        };
        let callouts = config.callouts.iter().map(breaker).collect();
        Arc::new(Self { pools, own, callouts })
    }
}

impl Status {
    /// The status at start: not accepting yet.
    pub fn new(metrics: Arc<Metrics>, sessions: Arc<Sessions>, config: &Config, pools: Arc<Pools>) -> Self {
        let serving = ArcSwap::new(Serving::new(config, pools));
        Self { metrics, sessions, serving, phase: AtomicU8::new(Phase::Starting as u8) }
    }

    /// A reload: from now on `config` with these pools is served.
    pub fn reloaded(&self, config: &Config, pools: Arc<Pools>) {
        self.serving.store(Serving::new(config, pools));
    }

    /// Says where gatepost is in its life now.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    /// Why gatepost is not ready, if it is not, and the state of each pool: the body of `/readyz`.
    fn readiness(&self) -> (bool, String) {
        let serving = self.serving.load();
        let phase = self.phase.load(Relaxed);
        let mut ready = phase == Phase::Accepting as u8;
        let mut body = String::new();
        if phase == Phase::Starting as u8 {
            body.push_str("starting\n");
        } else if phase == Phase::Draining as u8 {
            body.push_str("draining\n");
        }
        for pool in serving.pools.iter() {
            let own = serving.own.iter().any(|name| **name == **pool.name());
            let up = pool.is_ready();
            ready &= up || !own;
            let health = pool.health();
            let hosts_up = health.iter().filter(|host| host.up).count();
            let words = if up { "up" } else { "down" };
            let whose = if own { "" } else { ", no listener's own" };
            let stress = if pool.is_stressed() { ", under stress" } else { "" };
            writeln!(
                body,
                "upstream {}: {words}, {hosts_up} of {} hosts{whose}{stress}",
                pool.name(),
                health.len()
            )
            .expect("a string takes any text");
        }
        for (name, _) in serving.callouts.iter().filter(|(_, breaker)| !breaker.is_closed()) {
            writeln!(body, "callout {name}: not asked, it has failed too often of late")
                .expect("a string takes any text");
        }
        if self.sessions.is_stressed() {
            let (open, bound) = (self.sessions.open(), self.sessions.bound());
            writeln!(body, "limits.sessions: {open} of {bound}, under stress")
                .expect("a string takes any text");
        }
        // Told, and no reason not to be used: many clients do not mind.
        let now = SystemTime::now();
        for warning in certificates::now().iter().filter_map(|expiry| expiry::warning(expiry, now)) {
            body.extend([&*warning, "\n"]);
        }
        body.insert_str(0, if ready { "ready\n" } else { "not ready\n" });
        (ready, body)
    }

    /// Has the log told where stress began or is over and nobody else asked.
    fn look_at_stress(&self) {
        self.sessions.is_stressed();
        self.serving.load().pools.iter().for_each(|pool| {
            pool.is_stressed();
        });
    }

    fn respond(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n".into());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/metrics" => {
                let mut response =
                    text(StatusCode::OK, self.metrics.render(&self.serving.load().pools.figures()));
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
            "/healthz" => text(StatusCode::OK, "alive\n".into()),
            "/readyz" => {
                let (ready, body) = self.readiness();
                text(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
            }
            _ => text(StatusCode::NOT_FOUND, "not found: there are /metrics, /healthz and /readyz\n".into()),
        }
    }
}

/// Serves `status` on `listener`, if there is one, until dropped. To be run on the control thread's runtime.
pub async fn serve(listener: Option<TcpListener>, status: Arc<Status>) {
    let accepting = async {
        if let Some(listener) = listener {
            accept(listener, Arc::clone(&status), PATIENCE).await;
        }
    };
    tokio::join!(accepting, upkeep(&status));
}

async fn upkeep(status: &Status) {
    let mut ticks = interval(UPKEEP);
    loop {
        ticks.tick().await;
        status.metrics.upkeep();
        status.look_at_stress();
    }
}

fn text(code: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use super::*;
    use crate::config::types::{Listener, UpstreamPool};
    use crate::hop::{Pick, Registry, Why};
    use crate::metrics::Occurrence;
    use crate::tls::TlsSet;

    fn sessions() -> Arc<Sessions> {
        Sessions::new(5, &Config::default().session_limits)
    }

    /// Upstreams `main`, a listener's own, and `other`.
    pub(super) fn status() -> (Arc<Status>, Arc<Pools>) {
        let upstreams = ["main", "other"].map(|name| (name.to_owned(), UpstreamPool::default()));
        let config = Config { upstreams: BTreeMap::from(upstreams), ..Config::default() };
        let registry = Registry::new(Instant::now());
        let pools = Arc::new(Pools::new(&config, &TlsSet::default(), &registry));
        let metrics = Arc::new(Metrics::new(1));
        metrics.control().count(Occurrence::SessionOpened);
        (Arc::new(Status::new(metrics, sessions(), &config, pools.clone())), pools)
    }

    #[test]
    fn ready_while_accepting_and_own_pools_have_a_host() {
        let (status, pools) = status();
        assert_eq!(status.readiness().1.lines().take(2).collect::<Vec<_>>(), ["not ready", "starting"]);
        status.set_phase(Phase::Accepting);
        assert_eq!(
            status.readiness(),
            (true, "ready\nupstream main: up, 1 of 1 hosts\nupstream other: up, 1 of 1 hosts, no listener's own\n".into())
        );
        let Pick::Host(picked) = pools.get("main").unwrap().next(&[], Instant::now()) else {
            panic!("no host")
        };
        for _ in 0..3 {
            picked.lease.failed(Why::Connect, Instant::now());
        }
        assert!(!status.readiness().0);
        assert!(status.readiness().1.starts_with("not ready\nupstream main: down, 0 of 1 hosts\n"));
        picked.lease.succeeded(std::time::Instant::now());
        assert!(status.readiness().0);
        status.set_phase(Phase::Draining);
        assert!(status.readiness().1.starts_with("not ready\ndraining\n"));
    }

    #[test]
    fn stress_is_told_and_no_reason_not_to_be_ready() {
        let (status, _pools) = status();
        status.set_phase(Phase::Accepting);
        let held: Vec<_> = (0..4).map(|_| status.sessions.enter().unwrap()).collect();
        let (ready, body) = status.readiness();
        assert!(ready && body.ends_with("\nlimits.sessions: 4 of 5, under stress\n"), "{body}");
        drop(held);
        assert!(!status.readiness().1.contains("stress"));
    }

    #[test]
    fn another_pool_that_is_down_is_told_only() {
        let registry = Registry::new(Instant::now());
        let lonely = UpstreamPool {
            source: crate::config::types::Source::Hosts(Vec::new()),
            ..UpstreamPool::default()
        };
        let upstreams =
            BTreeMap::from([("main".to_owned(), UpstreamPool::default()), ("other".to_owned(), lonely)]);
        let mut config = Config { upstreams, ..Config::default() };
        let pools = Arc::new(Pools::new(&config, &TlsSet::default(), &registry));
        let status = Status::new(Arc::new(Metrics::new(1)), sessions(), &config, pools.clone());
        status.set_phase(Phase::Accepting);
        let (ready, body) = status.readiness();
        assert!(ready && body.contains("upstream other: down, 0 of 0 hosts, no listener's own"), "{body}");
        // A reload makes it a listener's own.
        config.listeners.push(Listener { upstream: "other".into(), ..Listener::default() });
        status.reloaded(&config, pools);
        assert!(!status.readiness().0);
    }
}
