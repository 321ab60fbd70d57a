//! A service under TLS that does with each question as it is told.
//!
//! In:    its certificate, the protocols it agrees to, what it does by the number of the question.
//! Out:   an address; which questions came over which connection, and how.
//! Never: sleeps; outlives the test program.

use std::future::pending;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use gatepost::callout::Asker;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificates::Authority;
use crate::{QUESTION, asker};

/// What is done with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    Answers,
    /// Breaks the connection it came over.
    Breaks,
    /// Waits, and tells when nobody does any more.
    Waits,
}

/// A service under TLS, on a thread of its own.
pub struct Service {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
}

#[derive(Default)]
pub struct Seen {
    /// Of each question, in order: the connection it came over, from 1 on; how it was written; where it was sent to.
    pub questions: Mutex<Vec<(usize, Version, String)>>,
    pub given_up: Notify,
    pub waiting: Notify,
}

impl Service {
    /// One that speaks these protocols; `does` by the number of the question, from 1 on.
    pub fn start(mut tls: ServerConfig, protocols: &[&str], does: fn(usize) -> Does) -> Self {
        tls.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let seen = Arc::new(Seen::default());
        let seeing = Arc::clone(&seen);
        let address = serve(tls, move |number, stream| {
            let seen = Arc::clone(&seeing);
            async move { seen.connection(number, stream, does).await }
        });
        Self { address, seen }
    }

    pub fn asker(&self, tls: &str) -> Arc<dyn Asker> {
        asker(&format!("https://{}/ask", self.address), &format!(", tls: {{ {tls} }}"))
    }

    /// The connections that questions came over, in the order of the questions.
    pub fn connections(&self) -> Vec<usize> {
        self.seen.questions.lock().unwrap().iter().map(|(connection, ..)| *connection).collect()
    }
}

impl Seen {
    async fn connection(
        self: Arc<Self>,
        number: usize,
        stream: TlsStream<TcpStream>,
        does: fn(usize) -> Does,
    ) {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let breaks = Arc::new(Notify::new());
        let breaking = Arc::clone(&breaks);
        let service = service_fn(move |request| {
            Arc::clone(&self).question(number, request, does, Arc::clone(&breaking))
        });
        let io = TokioIo::new(stream);
        // A connection that breaks is what some of this is about.
        let _ = tokio::select! {
            ended = async {
                match is_http2 {
                    true => http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await,
                    false => http1::Builder::new().serve_connection(io, service).await,
                }
            } => ended,
            () = breaks.notified() => Ok(()),
        };
    }

    async fn question(
        self: Arc<Self>,
        connection: usize,
        request: Request<Incoming>,
        does: fn(usize) -> Does,
        breaks: Arc<Notify>,
    ) -> hyper::Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let to = match head.version {
            Version::HTTP_2 => head.uri.to_string(),
            _ => format!("{} {}", head.headers["host"].to_str().unwrap(), head.uri),
        };
        assert_eq!(body.collect().await?.to_bytes(), QUESTION);
        let number = {
            let mut questions = self.questions.lock().unwrap();
            questions.push((connection, head.version, to));
            questions.len()
        };
        match does(number) {
            Does::Answers => {}
            Does::Breaks => {
                breaks.notify_one();
                pending().await
            }
            Does::Waits => {
                let _dropped = Dropped(&self.given_up);
                self.waiting.notify_one();
                pending().await
            }
        }
        let mut response = Response::new(Full::from("{}"));
        response.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
        Ok(response)
    }
}

/// Tells when it is dropped.
struct Dropped<'a>(&'a Notify);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// Serves each connection under TLS, numbered from 1 on, as long as the test runs.
pub fn serve<F>(
    tls: ServerConfig,
    connection: impl Fn(usize, TlsStream<TcpStream>) -> F + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (acceptor, connection) = (TlsAcceptor::from(Arc::new(tls)), Arc::new(connection));
    accept(listener, move |number, stream| {
        let (acceptor, connection) = (acceptor.clone(), Arc::clone(&connection));
        async move {
            // Handshakes that fail are gatepost's to tell of.
            if let Ok(stream) = acceptor.accept(stream).await {
                connection(number, stream).await;
            }
        }
    });
    address
}

/// The same without TLS.
pub fn accept<F>(listener: std::net::TcpListener, connection: impl Fn(usize, TcpStream) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            for number in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(connection(number, stream));
            }
        });
    });
}

pub const H2: &[&str] = &["h2", "http/1.1"];
pub const H1: &[&str] = &["http/1.1"];

/// An authority, its roots in a file, and what a service at 127.0.0.1 shows.
pub struct Pki {
    pub dir: tempfile::TempDir,
    pub authority: Authority,
}

impl Pki {
    pub fn new() -> Self {
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("Example Root"));
        authority.write(dir.path(), "roots");
        Self { dir, authority }
    }

    /// As a callout of `proxy.yaml` trusts it.
    pub fn roots(&self) -> String {
        format!("roots: {}", self.path("roots.pem").display())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn server(&self) -> ServerConfig {
        (*self.authority.server(&["127.0.0.1"]).server_config()).clone()
    }
}
