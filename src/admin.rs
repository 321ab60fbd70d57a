//! The administrative listener: `/metrics`, `/healthz`, `/readyz`.
//!
//! In:    HTTP/1 requests, from whoever can reach `admin.address` (loopback unless configured otherwise).
//! Out:   metrics as Prometheus text; whether gatepost is alive; whether it is ready (200 while
//!        accepting and each listener's own pool has a host not ejected; draining is 503; other pools are told in
//!        the body only).
//! Never: changes anything, reads a request's body, or runs on a worker. Connections, heads and waits are bounded.

use std::convert::Infallible;
use std::fmt::Write;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{interval, sleep, timeout};

use crate::config::types::Config;
use crate::hop::Pools;
use crate::metrics::Metrics;

/// Connections at once; more wait in the listener's queue.
const CONNECTIONS: usize = 32;
/// How often the metrics are tended when nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// How long one client may take.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// For the head of a request, and between two of them.
    head: Duration,
    /// For a connection; then its current response is finished.
    connection: Duration,
    /// For that response.
    last: Duration,
}

const PATIENCE: Patience = Patience {
    head: Duration::from_secs(60),
    connection: Duration::from_secs(600),
    last: Duration::from_secs(30),
};

/// What the administrative listener tells; shared with whoever starts, reloads and stops gatepost.
#[derive(Debug)]
pub struct Status {
    metrics: Arc<Metrics>,
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
}

impl Serving {
    fn new(config: &Config, pools: Arc<Pools>) -> Arc<Self> {
        let mut own: Vec<Box<str>> =
            config.listeners.iter().map(|listener| listener.upstream.as_str().into()).collect();
        own.sort_unstable();
        own.dedup();
        Arc::new(Self { pools, own })
    }
}

impl Status {
    /// The status at start: not accepting yet.
    pub fn new(metrics: Arc<Metrics>, config: &Config, pools: Arc<Pools>) -> Self {
        let serving = ArcSwap::new(Serving::new(config, pools));
        Self { metrics, serving, phase: AtomicU8::new(Phase::Starting as u8) }
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
            writeln!(body, "upstream {}: {words}, {hosts_up} of {} hosts{whose}", pool.name(), health.len())
                .expect("a string takes any text");
        }
        body.insert_str(0, if ready { "ready\n" } else { "not ready\n" });
        (ready, body)
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

/// Serves `status` on `listener` until dropped. To be run on the control thread's runtime.
pub async fn serve(listener: TcpListener, status: Arc<Status>) {
    tokio::join!(accept(listener, status.clone(), PATIENCE), upkeep(status));
}

async fn upkeep(status: Arc<Status>) {
    let mut ticks = interval(UPKEEP);
    loop {
        ticks.tick().await;
        status.metrics.upkeep();
    }
}

async fn accept(listener: TcpListener, status: Arc<Status>, patience: Patience) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // The semaphore is never closed; without a permit there would merely be no bound.
        let place = places.clone().acquire_owned().await.ok();
        match listener.accept().await {
            Ok((stream, peer)) => {
                let status = status.clone();
                tokio::spawn(async move {
                    connection(stream, peer, &status, patience).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Descriptors ran out, most likely: sessions come first, and some will end.
                tracing::warn!(%error, "admin: accept");
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, status: &Status, patience: Patience) {
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(status.respond(request.method(), request.uri().path()))
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience.head).max_buf_size(16 * 1024);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let served = match timeout(patience.connection, connection.as_mut()).await {
        Ok(served) => served,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            match timeout(patience.last, connection).await {
                Ok(served) => served,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "admin: connection");
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

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::config::types::{Listener, UpstreamPool};
    use crate::hop::{Pick, Registry, Why};
    use crate::metrics::Occurrence;
    use crate::tls::TlsSet;

    /// Upstreams `main`, a listener's own, and `other`.
    fn status() -> (Arc<Status>, Arc<Pools>) {
        let upstreams = ["main", "other"].map(|name| (name.to_owned(), UpstreamPool::default()));
        let config = Config { upstreams: BTreeMap::from(upstreams), ..Config::default() };
        let registry = Registry::new(Instant::now());
        let pools = Arc::new(Pools::new(&config, &TlsSet::default(), &registry));
        let metrics = Arc::new(Metrics::new(1));
        metrics.control().count(Occurrence::SessionOpened);
        (Arc::new(Status::new(metrics, &config, pools.clone())), pools)
    }

    async fn start(status: Arc<Status>, patience: Patience) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(accept(listener, status, patience));
        address
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    async fn get(address: SocketAddr, method: &str, path: &str) -> String {
        ask(address, &format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
    }

    #[tokio::test]
    async fn each_path_and_method() {
        let (status, _pools) = status();
        let address = start(status, PATIENCE).await;
        let metrics = get(address, "GET", "/metrics?x=y").await;
        assert!(
            metrics.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4"),
            "{metrics}"
        );
        assert!(metrics.contains("\ngatepost_sessions_opened_total 1\n"));
        assert!(get(address, "GET", "/healthz").await.ends_with("\r\n\r\nalive\n"));
        let head = get(address, "HEAD", "/healthz").await;
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(get(address, "GET", "/").await.starts_with("HTTP/1.1 404"));
        let posted = get(address, "POST", "/metrics").await;
        assert!(posted.starts_with("HTTP/1.1 405") && posted.contains("allow: GET, HEAD"), "{posted}");
        assert!(ask(address, "what\r\n\r\n").await.starts_with("HTTP/1.1 400"));
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
        let status = Status::new(Arc::new(Metrics::new(1)), &config, pools.clone());
        status.set_phase(Phase::Accepting);
        let (ready, body) = status.readiness();
        assert!(ready && body.contains("upstream other: down, 0 of 0 hosts, no listener's own"), "{body}");
        // A reload makes it a listener's own.
        config.listeners.push(Listener { upstream: "other".into(), ..Listener::default() });
        status.reloaded(&config, pools);
        assert!(!status.readiness().0);
    }

    #[tokio::test]
    async fn a_slow_client_is_closed() {
        let (status, _pools) = status();
        let brief = Duration::from_millis(20);
        let patience = Patience { head: brief, connection: brief * 10, last: brief };
        let address = start(status, patience).await;
        let closed = ask(address, "GET /healthz HTTP/1.1\r\nHost:").await;
        assert!(closed.is_empty() || closed.starts_with("HTTP/1.1 408"), "{closed}");
        // One that keeps the connection open after its answer is closed, too.
        assert!(ask(address, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.ends_with("alive\n"));
    }

    #[tokio::test]
    async fn connections_beyond_the_bound_wait() {
        let (status, _pools) = status();
        let address = start(status, PATIENCE).await;
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            stream.read_exact(&mut [0; 15]).await.unwrap();
            held.push(stream);
        }
        let mut one_more = pin!(get(address, "GET", "/healthz"));
        assert!(timeout(Duration::from_millis(50), one_more.as_mut()).await.is_err());
        held.pop();
        assert!(one_more.await.ends_with("alive\n"));
    }
}
