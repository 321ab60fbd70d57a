//! HTTP to a service: requests and their answers, over connections that are kept.
//!
//! **In**: a request, with the message it is about where that is sent; who reads the answer. **Out**: what was read; or a
//! [`Fault`]: what went wrong, and where.
//! **Never**: follows a redirect, reads more than a bounded head and body, or keeps a deadline: whoever waits drops the
//! future, and its connection is not used again.
//!
//! Each worker has a client of its own, with the connections it keeps. One of those that turns out to be dead when it
//! is used again is replaced by a new one, once, and only if not an octet of an answer was heard on it: a service may
//! then be asked the same question twice. (The client itself asks again only what it has not begun to write.) The
//! second time a client that keeps nothing asks: it cannot come upon another dead one.
//!
//! HTTP/2 is spoken where a service agrees to it under TLS; one connection of a worker then has all its questions.
//! RFC 9112 (HTTP/1.1; section 9.3.1 on asking again), RFC 9113 (HTTP/2), RFC 9110.

mod broken;
mod dial;
mod kept;
mod sent;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thread_local::ThreadLocal;

use super::place::First;
use crate::config::types::{Dns, HttpUrl};
use crate::session::callout::{Fault, FaultKind};
use crate::tls::ClientTls;
use broken::{Unanswered, broken};
use dial::{Connector, Dialler, on_behalf};
use kept::{GivenUp, Question};
pub(super) use sent::{Sent, digits_at_random};

/// Octets of an answer's body; a verdict has a few hundred.
pub(super) const BODY: usize = 64 << 10;
/// The same where another body, or another message, may be among them.
pub(super) const CONTENT: usize = 32 << 20;
/// Octets and fields of an answer's head.
const HEAD: (usize, usize) = (16 << 10, 64);
/// What all answers of one HTTP/2 connection together may send before any is read; each may send [`BODY`].
const WINDOW: u32 = 1 << 20;
/// How long a connection may be idle before it is closed: services close theirs after a minute or so.
const IDLE: Duration = Duration::from_secs(30);
/// The media type of JSON.
pub(super) const JSON: &str = "application/json";
/// The media type of a message.
pub(super) const MESSAGE: &str = "message/rfc822";
/// What we call ourselves.
const AGENT: &str = concat!("gatepost/", env!("CARGO_PKG_VERSION"));

/// What is asked.
pub(super) struct Outgoing<'a> {
    pub(super) method: Method,
    /// Where, at the host; `None`: what the URL names.
    pub(super) path: Option<&'a PathAndQuery>,
    pub(super) headers: HeaderMap,
    pub(super) body: &'a Sent,
}

/// Who reads what comes back.
pub(super) trait Reader: Sync {
    /// What it makes of it.
    type Read: Send;

    /// Reads an answer, if it is one.
    fn read(&self, response: Response<Incoming>) -> impl Future<Output = Result<Self::Read, Fault>> + Send;
}

/// A service, wherever it is.
pub(super) struct Transport {
    /// By the order of the configuration; never none.
    urls: Box<[Place]>,
    first: First,
}

/// One of its URLs, and the connections to it.
pub(super) struct Place {
    dialler: Arc<Dialler>,
    uri: Uri,
    concurrency: usize,
    workers: ThreadLocal<Worker>,
}

type Asking = legacy::Client<Connector, Question>;

/// What asks on one worker, whose runtime has the connections.
struct Worker {
    /// Over connections that are kept.
    kept: Asking,
    /// Over one that is made for this question.
    fresh: Asking,
}

impl Transport {
    /// To these; under TLS where the URLs say so.
    pub(super) fn new(urls: &[HttpUrl], tls: Option<&Arc<ClientTls>>, concurrency: usize, dns: &Dns) -> Self {
        let place = |url: &HttpUrl| Place {
            dialler: Arc::new(Dialler::new(url, urls.len() > 1, tls.cloned(), dns)),
            uri: url.to_string().parse().expect("a URL was checked when the configuration was read"),
            concurrency,
            workers: ThreadLocal::new(),
        };
        Self { urls: urls.iter().map(place).collect(), first: First::default() }
    }

    /// All of them, in the order of the configuration.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.urls.iter()
    }

    /// Asks one after the other, where the last answer came from first, until one does better than not to be there.
    pub(super) async fn ask<'a, T, F>(&'a self, ask: impl Fn(usize, &'a Place) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut latest = Fault::new(FaultKind::Unreachable, "");
        for number in self.first.order(self.urls.len()) {
            let mut under_way = UnderWay { transport: self, number, over: false };
            match ask(number, &self.urls[number]).await {
                Err(fault) if elsewhere(fault.kind) => latest = fault,
                answered => {
                    under_way.over = true;
                    self.first.answered(number);
                    return answered;
                }
            }
        }
        Err(latest)
    }
}

/// Whether another might do better.
fn elsewhere(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::Unreachable | FaultKind::Lost | FaultKind::Refused)
}

/// A question to one of the URLs: unless it is answered, also where nobody waits for that any more, another is first.
struct UnderWay<'a> {
    transport: &'a Transport,
    number: usize,
    over: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.transport.first.moves_on(self.number, self.transport.urls.len());
        }
    }
}

impl Place {
    /// What its URL says.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The URL of another path there.
    pub(super) fn at(&self, path: &PathAndQuery) -> Uri {
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(path.clone());
        // Scheme, host and path: all there is to a URL.
        Uri::from_parts(parts).unwrap_or_default()
    }

    /// One request and its answer.
    pub(super) async fn ask<R: Reader>(&self, outgoing: &Outgoing<'_>, reader: &R) -> Result<R::Read, Fault> {
        let worker =
            self.workers.get_or(|| Worker { kept: self.asking(self.concurrency), fresh: self.asking(0) });
        let answered = match self.exchange(&worker.kept, outgoing, reader).await {
            Err(Unanswered { again: true, .. }) => self.exchange(&worker.fresh, outgoing, reader).await,
            answered => answered,
        };
        answered.map_err(|unanswered| unanswered.fault)
    }

    /// A client that keeps so many connections that no question is on.
    fn asking(&self, kept: usize) -> Asking {
        let octets = |most: usize| u32::try_from(most).unwrap_or(u32::MAX);
        legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(kept)
            .http1_max_buf_size(HEAD.0)
            .http1_max_headers(HEAD.1)
            .http2_max_header_list_size(octets(HEAD.0))
            .http2_initial_stream_window_size(octets(BODY))
            .http2_initial_connection_window_size(WINDOW)
            .build(Connector(Arc::clone(&self.dialler)))
    }

    async fn exchange<R: Reader>(
        &self,
        client: &Asking,
        outgoing: &Outgoing<'_>,
        reader: &R,
    ) -> Result<R::Read, Unanswered> {
        let mut request = self.request(outgoing);
        let connection = capture_connection(&mut request);
        request.body_mut().goes_over(connection.clone());
        let unless_dropped = GivenUp::on(connection);
        let answered = match on_behalf(client.request(request)).await {
            Ok(response) => reader.read(response).await.map_err(Unanswered::for_good),
            Err(error) => Err(Unanswered::of(&error)),
        };
        unless_dropped.disarm();
        answered
    }

    fn request(&self, outgoing: &Outgoing<'_>) -> Request<Question> {
        let mut request = Request::new(Question::new(outgoing.body.sending()));
        *request.method_mut() = outgoing.method.clone();
        *request.uri_mut() = outgoing.path.map_or_else(|| self.uri.clone(), |path| self.at(path));
        let headers = request.headers_mut();
        headers.clone_from(&outgoing.headers);
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(media) = &outgoing.body.media {
            headers.insert(CONTENT_TYPE, media.clone());
        }
        request
    }
}

/// Reads the body of an answer, of so many octets at most.
pub(super) async fn body(response: Response<Incoming>, most: usize) -> Result<Bytes, Fault> {
    let malformed = |what: String| Err(Fault::new(FaultKind::Malformed, what));
    let (head, mut body) = response.into_parts();
    if head.headers.len() > HEAD.1 {
        return malformed(format!("{} fields; at most {} are read", head.headers.len(), HEAD.1));
    }
    if head.headers.contains_key(CONTENT_ENCODING) {
        return malformed(format!("the content encoding is {}", shown(&head.headers, &CONTENT_ENCODING)));
    }
    if let Some(announced) = body.size_hint().exact()
        && announced > most as u64
    {
        return malformed(format!("{announced} octets; at most {most} are read"));
    }
    let mut octets = Vec::new();
    while let Some(frame) = body.frame().await {
        // What is no data are trailers, which say nothing here.
        let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
        if octets.len() + data.len() > most {
            return malformed(format!("more than {most} octets"));
        }
        octets.extend_from_slice(&data);
    }
    Ok(octets.into())
}

/// What any other status than a good one comes to.
pub(super) fn refused(response: &Response<Incoming>) -> Fault {
    let redirect = if response.status().is_redirection() { "; redirects are not followed" } else { "" };
    Fault::new(FaultKind::Refused, format!("status {}{redirect}", response.status().as_u16()))
}

/// Whether this is the content type, whatever its parameters.
pub(super) fn is_of(headers: &HeaderMap, media: &str) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = kind.split(|&octet| octet == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(media.as_bytes())
}

/// A field's value for a fault: short, without control characters.
pub(super) fn shown(headers: &HeaderMap, name: &HeaderName) -> String {
    const MOST: usize = 60;
    match headers.get(name) {
        Some(value) => {
            value.as_bytes().iter().take(MOST).map(|octet| octet.escape_ascii().to_string()).collect()
        }
        None => "not given".to_owned(),
    }
}
