//! Connections to an HTTP callout.
//!
//! **In**: where the service is, and TLS with it where its URL says so. **Out**: a connection, as the client reads and
//! writes it; or why there is none.
//! **Never**: keeps a deadline of its own for a question that waits; speaks HTTP/2 that was not agreed upon under TLS.
//!
//! RFC 7301 (ALPN).

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tower_service::Service;

use super::kept::Noted;
use crate::callout::place::Place;
use crate::config::types::{Dns, HttpUrl};
use crate::session::callout::{Fault, FaultKind};
use crate::tls::{ClientTls, facts};

/// Connections that are finished although their questions have found others, of all workers together; and how long
/// they may take. They are of use to the next questions, but nobody waits for them.
const SPARE: (usize, Duration) = (4, Duration::from_secs(10));
/// What is offered to be spoken under TLS, the most welcome first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

tokio::task_local! {
    /// Closed when the question is over on whose behalf a connection is made.
    static QUESTION: watch::Receiver<()>;
}

/// Carries a question to its end. A connection made for it meanwhile knows by that whether anybody waits.
pub(super) async fn on_behalf<F: Future>(question: F) -> F::Output {
    let (_until, over) = watch::channel(());
    QUESTION.scope(over, question).await
}

/// Where a service is.
pub(super) struct Dialler {
    place: Place,
    /// There is another service to ask.
    another: bool,
    tls: Option<Arc<ClientTls>>,
    spare: Semaphore,
}

impl Dialler {
    pub(super) fn new(url: &HttpUrl, another: bool, tls: Option<Arc<ClientTls>>, dns: &Dns) -> Self {
        Self { place: Place::new(&url.host, url.port, dns), another, tls, spare: Semaphore::new(SPARE.0) }
    }

    /// Connects, under TLS where that is wanted.
    async fn dial(self: Arc<Self>, url: Uri) -> Result<TokioIo<Noted>, NotConnected> {
        let mut tcp = Tcp(Arc::clone(&self));
        let stream = match &self.tls {
            None => MaybeHttpsStream::Http(tcp.call(url).await?),
            Some(tls) => {
                // Files that change are taken up by the next connection; tickets are kept with them.
                let mut config = (*tls.now().config).clone();
                config.alpn_protocols = PROTOCOLS.map(Vec::from).into();
                let name = FixedServerNameResolver::new(tls.name(None, Some(self.place.host())));
                let mut https = HttpsConnector::new(tcp, config, true, Arc::new(name));
                https.call(url).await.map_err(|error| self.not_secured(error))?
            }
        };
        Ok(TokioIo::new(Noted::new(stream)))
    }

    /// Connects.
    async fn connect(self: Arc<Self>) -> Result<TokioIo<TcpStream>, NotConnected> {
        self.place.connect(self.another).await.map(TokioIo::new).map_err(NotConnected::because)
    }

    /// Why there is no TLS, unless there is no connection.
    fn not_secured(&self, error: Box<dyn Error + Send + Sync>) -> NotConnected {
        let error = match error.downcast::<NotConnected>() {
            Ok(not_connected) => return *not_connected,
            Err(error) => error,
        };
        // The connector wraps what ended the handshake once more.
        let inner = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref()?.downcast_ref());
        let what = inner.map_or_else(|| error.to_string(), |error| facts::fault(error).what.into());
        NotConnected::because(format!("{}: TLS: {what}", self.place))
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct NotConnected(pub(super) Fault);

impl NotConnected {
    fn because(what: String) -> Self {
        Self(Fault::new(FaultKind::Unreachable, what))
    }
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for NotConnected {}

type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, NotConnected>> + Send>>;

/// What the client connects by.
///
/// A question for which a connection is being made may get one that another question is done with. The client then
/// lets the new one be made all the same, for later, and nobody waits for it any more: a few such are finished, within
/// their time, and the others end with their questions. (Else a service that takes no new connections would gather
/// any number of attempts.)
#[derive(Clone)]
pub(super) struct Connector(pub(super) Arc<Dialler>);

impl Service<Uri> for Connector {
    type Response = TokioIo<Noted>;
    type Error = NotConnected;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NotConnected>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let dialler = Arc::clone(&self.0);
        let question = QUESTION.try_with(Clone::clone).ok();
        Box::pin(async move {
            let mut dialling = pin!(Arc::clone(&dialler).dial(url));
            if let Some(mut question) = question {
                tokio::select! {
                    biased;
                    dialled = &mut dialling => return dialled,
                    // Nothing is ever sent: it is closed.
                    _ = question.changed() => {}
                }
            }
            let unwanted = || NotConnected::because("nobody waits for this connection".to_owned());
            let _spare = dialler.spare.try_acquire().map_err(|_| unwanted())?;
            tokio::time::timeout(SPARE.1, dialling).await.map_err(|_| unwanted())?
        })
    }
}

/// What TLS goes over.
#[derive(Clone)]
struct Tcp(Arc<Dialler>);

impl Service<Uri> for Tcp {
    type Response = TokioIo<TcpStream>;
    type Error = NotConnected;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NotConnected>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(Arc::clone(&self.0).connect())
    }
}
