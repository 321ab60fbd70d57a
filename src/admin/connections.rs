//! The connections of the administrative listener.
//!
//! In:    HTTP/1 requests, from whoever can reach `admin.address` (loopback unless configured otherwise).
//! Out:   one answer each, which is the [`Status`]'s.
//! Never: reads a request's body. Waits for a place: a connection has one request and a deadline, and where there are too
//!        many the one that has said nothing for longest makes room, so that `/healthz` is answered whoever else is
//!        connected.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::Status;

/// Connections at once; one more ends the oldest.
const CONNECTIONS: usize = 32;

/// How long one client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the head of its request.
    head: Duration,
    /// For all of it: head, whatever body it sends, and reading the answer.
    whole: Duration,
}

pub(super) const PATIENCE: Patience =
    Patience { head: Duration::from_secs(10), whole: Duration::from_secs(30) };

/// Takes one after the other, for ever.
pub(super) async fn accept(listener: TcpListener, status: Arc<Status>, patience: Patience) {
    let mut open = Open::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (status, asked) = (Arc::clone(&status), Arc::new(AtomicBool::new(false)));
                let connected = connection(stream, peer, status, Arc::clone(&asked), patience);
                open.add(tokio::spawn(connected).abort_handle(), asked);
            }
            Err(error) => {
                // Descriptors ran out, most likely: sessions come first, and some will end.
                tracing::warn!(%error, "admin: accept");
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// The connections that are open, the oldest first; of each, whether it has asked for something.
#[derive(Debug, Default)]
struct Open(Vec<(AbortHandle, Arc<AtomicBool>)>);

impl Open {
    /// One more. Where there are too many, one that has not asked yet ends, or else the oldest.
    fn add(&mut self, connection: AbortHandle, asked: Arc<AtomicBool>) {
        self.0.retain(|(connection, _)| !connection.is_finished());
        if self.0.len() >= CONNECTIONS {
            let idle = self.0.iter().position(|(_, asked)| !asked.load(Relaxed));
            self.0.remove(idle.unwrap_or(0)).0.abort();
        }
        self.0.push((connection, asked));
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    status: Arc<Status>,
    asked: Arc<AtomicBool>,
    patience: Patience,
) {
    let service = service_fn(|request: Request<Incoming>| {
        asked.store(true, Relaxed);
        let response = status.respond(request.method(), request.uri().path());
        async { Ok::<_, Infallible>(response) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience.head).max_buf_size(16 * 1024);
    // Nobody holds a place for what he may want later.
    builder.keep_alive(false);
    let served = timeout(patience.whole, builder.serve_connection(TokioIo::new(stream), service)).await;
    match served {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "admin: connection"),
        Err(_) => tracing::debug!(%peer, "admin: connection: too slow"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::admin::tests::status;

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

    #[tokio::test]
    async fn a_slow_client_is_closed() {
        let (status, _pools) = status();
        let brief = Duration::from_millis(20);
        let address = start(status.clone(), Patience { head: brief, whole: brief * 10 }).await;
        let closed = ask(address, "GET /healthz HTTP/1.1\r\nHost:").await;
        assert!(closed.is_empty() || closed.starts_with("HTTP/1.1 408"), "{closed}");
        // One that would keep the connection open after its answer is closed, too.
        let address = start(status, PATIENCE).await;
        assert!(ask(address, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.ends_with("alive\n"));
        // Nobody waits for a body that does not come.
        let lengthy = "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n";
        assert!(ask(address, lengthy).await.ends_with("alive\n"));
    }

    #[tokio::test]
    async fn one_that_does_not_read_its_answer_is_closed() {
        let (status, _pools) = status();
        let whole = Duration::from_millis(50);
        let (ours, theirs) = tokio::io::duplex(64);
        let (mut reader, mut writer) = tokio::io::split(ours);
        writer.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let patience = Patience { head: whole, whole };
        connection(theirs, peer, status, Arc::default(), patience).await;
        let mut answer = String::new();
        reader.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.len() <= 64, "{answer}");
    }

    #[tokio::test]
    async fn whoever_only_holds_a_connection_makes_room() {
        let (status, _pools) = status();
        let address = start(status, PATIENCE).await;
        let mut held = Vec::new();
        for round in 0..CONNECTIONS * 3 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // Some say nothing, some half of a head.
            let said: &[u8] = if round % 2 == 0 { b"" } else { b"GET /metrics HTTP/1.1\r\n" };
            stream.write_all(said).await.unwrap();
            held.push(stream);
            let asked = timeout(Duration::from_secs(5), get(address, "GET", "/healthz"));
            assert!(asked.await.unwrap().ends_with("alive\n"));
        }
        let mut first = held.remove(0);
        assert_eq!(first.read(&mut [0]).await.unwrap_or(0), 0, "it was ended");
        let mut last = held.pop().unwrap();
        last.write_all(b"Host: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        last.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "the newest ones stay: {answer}");
    }
}
