//! `type: http`: one POST of JSON per question, over connections that are kept.
//!
//! **In**: a question in JSON; the message it is about, where that is shown whole. **Out**: the octets of an answer; or a
//! [`Fault`]: what went wrong, and where.
//! **Never**: follows a redirect, takes any status for an answer but 200 and 204, reads more than a bounded answer, or
//! keeps a deadline: whoever waits drops the future, and its connection is not used again.
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

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thread_local::ThreadLocal;
use tokio::sync::Semaphore;

use crate::config::types::{Dns, Http, HttpUrl, Shows};
use crate::session::callout::{Fault, FaultKind};
use crate::session::verdict::Stage;
use crate::tls::ClientTls;
use broken::{Unanswered, broken};
use dial::{Connector, Dialler, on_behalf};
use kept::{GivenUp, Question};
use sent::Sent;

use super::place::First;
use super::{Asked, Content, unreadable};

/// Octets of an answer's body; a verdict has a few hundred.
const BODY: usize = 64 << 10;
/// The same where another body, or another message, may be among them.
const CONTENT: usize = 32 << 20;
/// Octets and fields of an answer's head.
const HEAD: (usize, usize) = (16 << 10, 64);
/// What all answers of one HTTP/2 connection together may send before any is read; each may send [`BODY`].
const WINDOW: u32 = 1 << 20;
/// How long a connection may be idle before it is closed: services close theirs after a minute or so.
const IDLE: Duration = Duration::from_secs(30);
/// What is asked for and taken.
const JSON: &str = "application/json";
/// The same of whoever is shown a message, for another one in its place.
const MESSAGE: &str = "message/rfc822";
/// Either of them.
const EITHER: &str = "application/json, message/rfc822";
/// What we call ourselves.
const AGENT: &str = concat!("gatepost/", env!("CARGO_PKG_VERSION"));

/// A service, wherever it is.
pub(super) struct HttpClient {
    /// By the order of the configuration; never none.
    urls: Box<[Place]>,
    first: First,
    /// What it is shown of a message.
    content: Shows,
    /// Places for questions, of all workers together.
    places: Semaphore,
}

/// What a service said.
pub(super) enum Answered {
    /// A verdict in JSON.
    Verdict(Bytes),
    /// A message, which is to go on in place of the one that was asked about.
    Message(Bytes),
}

impl Answered {
    /// What says nothing.
    const NOTHING: Answered = Answered::Verdict(Bytes::from_static(b"{}"));
}

/// What an answer may be.
#[derive(Clone, Copy)]
struct Taken {
    /// Octets of it.
    most: usize,
    /// It may be another message.
    message: bool,
}

/// One of its URLs, and the connections to it.
struct Place {
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

impl HttpClient {
    /// One that asks so many questions at once; under TLS where the URLs say so.
    pub(super) fn new(http: &Http, tls: Option<&Arc<ClientTls>>, concurrency: usize, dns: &Dns) -> Self {
        let place = |url: &HttpUrl| Place {
            dialler: Arc::new(Dialler::new(url, http.urls.len() > 1, tls.cloned(), dns)),
            uri: url.to_string().parse().expect("a URL was checked when the configuration was read"),
            concurrency,
            workers: ThreadLocal::new(),
        };
        Self {
            urls: http.urls.iter().map(place).collect(),
            first: First::default(),
            content: http.content,
            places: Semaphore::new(concurrency),
        }
    }

    /// Asks, where the last answer came from first. What comes back is the whole body of the answer; of a 204, which has
    /// none, an empty object.
    pub(super) async fn ask(&self, asked: Asked) -> Result<Answered, Fault> {
        // Never closed; without a place there would merely be no bound.
        let _place = self.places.acquire().await.ok();
        let shown = asked.content.filter(|_| self.content == Shows::Whole);
        let sent = match &shown {
            Some(content) => Sent::with_message(&asked.question, content),
            None => Sent::question(asked.question.into()),
        };
        let most = if asked.stage == Stage::Message { CONTENT } else { BODY };
        let taken = Taken { most, message: shown.is_some() };
        let mut latest = Fault::new(FaultKind::Unreachable, "");
        for number in self.first.order(self.urls.len()) {
            let mut under_way = UnderWay { client: self, number, over: false };
            match self.urls[number].ask(&sent, taken).await {
                Err(fault) if elsewhere(fault.kind) => latest = fault,
                answered => {
                    under_way.over = true;
                    self.first.answered(number);
                    return told_apart(answered?, shown.as_ref()).await;
                }
            }
        }
        Err(latest)
    }
}

/// What came back as it was sent is no other message.
async fn told_apart(answered: Answered, shown: Option<&Content>) -> Result<Answered, Fault> {
    match (&answered, shown) {
        (Answered::Message(octets), Some(content))
            if content.is(octets).await.map_err(|error| unreadable(&error))? =>
        {
            Ok(Answered::NOTHING)
        }
        _ => Ok(answered),
    }
}

/// Whether another might do better.
fn elsewhere(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::Unreachable | FaultKind::Lost | FaultKind::Refused)
}

/// A question to one of the URLs: unless it is answered, also where nobody waits for that any more, another is first.
struct UnderWay<'a> {
    client: &'a HttpClient,
    number: usize,
    over: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.client.first.moves_on(self.number, self.client.urls.len());
        }
    }
}

impl Place {
    async fn ask(&self, sent: &Sent, taken: Taken) -> Result<Answered, Fault> {
        let worker =
            self.workers.get_or(|| Worker { kept: self.asking(self.concurrency), fresh: self.asking(0) });
        let answered = match self.exchange(&worker.kept, sent, taken).await {
            Err(Unanswered { again: true, .. }) => self.exchange(&worker.fresh, sent, taken).await,
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

    /// One question and its answer.
    async fn exchange(&self, client: &Asking, sent: &Sent, taken: Taken) -> Result<Answered, Unanswered> {
        let mut request = self.request(sent, taken);
        let connection = capture_connection(&mut request);
        request.body_mut().goes_over(connection.clone());
        let unless_dropped = GivenUp::on(connection);
        let answered = match on_behalf(client.request(request)).await {
            Ok(response) => read(response, taken).await.map_err(Unanswered::for_good),
            Err(error) => Err(Unanswered::of(&error)),
        };
        unless_dropped.disarm();
        answered
    }

    fn request(&self, sent: &Sent, taken: Taken) -> Request<Question> {
        let mut request = Request::new(Question::new(sent.sending()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(CONTENT_TYPE, sent.media.clone());
        headers.insert(ACCEPT, HeaderValue::from_static(if taken.message { EITHER } else { JSON }));
        request
    }
}

/// Reads the answer, if it is one.
async fn read(response: Response<Incoming>, taken: Taken) -> Result<Answered, Fault> {
    let malformed = |what: String| Err(Fault::new(FaultKind::Malformed, what));
    let status = response.status();
    match status {
        StatusCode::OK => {}
        StatusCode::NO_CONTENT => return Ok(Answered::NOTHING),
        _ if status.is_redirection() => {
            return Err(Fault::new(
                FaultKind::Refused,
                format!("status {}; redirects are not followed", status.as_u16()),
            ));
        }
        _ => return Err(Fault::new(FaultKind::Refused, format!("status {}", status.as_u16()))),
    }
    let (head, mut body) = response.into_parts();
    if head.headers.len() > HEAD.1 {
        return malformed(format!("{} fields; at most {} are read", head.headers.len(), HEAD.1));
    }
    let is_message = taken.message && is_of(&head.headers, MESSAGE);
    if !is_message && !is_of(&head.headers, JSON) {
        return malformed(format!("the content type is {}, not {JSON}", shown(&head.headers, &CONTENT_TYPE)));
    }
    if head.headers.contains_key(CONTENT_ENCODING) {
        return malformed(format!("the content encoding is {}", shown(&head.headers, &CONTENT_ENCODING)));
    }
    if let Some(announced) = body.size_hint().exact()
        && announced > taken.most as u64
    {
        return malformed(format!("{announced} octets; at most {} are read", taken.most));
    }
    let mut answer = Vec::new();
    while let Some(frame) = body.frame().await {
        // What is no data are trailers, which say nothing here.
        let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
        if answer.len() + data.len() > taken.most {
            return malformed(format!("more than {} octets", taken.most));
        }
        answer.extend_from_slice(&data);
    }
    let answer = answer.into();
    Ok(if is_message { Answered::Message(answer) } else { Answered::Verdict(answer) })
}

/// Whether this is the content type, whatever its parameters.
fn is_of(headers: &HeaderMap, media: &str) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = kind.split(|&octet| octet == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(media.as_bytes())
}

/// A field's value for a fault: short, without control characters.
fn shown(headers: &HeaderMap, name: &HeaderName) -> String {
    const MOST: usize = 60;
    match headers.get(name) {
        Some(value) => {
            value.as_bytes().iter().take(MOST).map(|octet| octet.escape_ascii().to_string()).collect()
        }
        None => "not given".to_owned(),
    }
}
