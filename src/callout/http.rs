//! `type: http`: one POST of JSON per question, over connections that are kept.
//!
//! **In**: a question in JSON. **Out**: the octets of an answer; or a [`Fault`]: what went wrong, and where.
//! **Never**: follows a redirect, takes any status for an answer but 200 and 204, reads more than a bounded answer, or
//! keeps a deadline: whoever waits drops the future, which closes its connection.
//!
//! Each worker keeps its own idle connections, youngest first, and a task for each that notices when the service
//! closes it. One that turns out to be dead when it is used again is replaced by a new one, once, and only if not an
//! octet of an answer was heard on it: a service may then be asked the same question twice.
//! RFC 9112 (HTTP/1.1; section 9.3.1 on asking again), RFC 9110.

mod dial;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode, Uri};
use thread_local::ThreadLocal;
use tokio::sync::Semaphore;

use crate::config::types::{Dns, HttpUrl};
use crate::session::callout::{Fault, FaultKind};
use dial::{Dialler, Heard};

/// Octets of an answer's body; a verdict has a few hundred.
const BODY: usize = 64 << 10;
/// Octets and fields of an answer's head.
const HEAD: (usize, usize) = (16 << 10, 64);
/// How long a connection may be idle before it is not used again: services close theirs after a minute or so.
const IDLE: Duration = Duration::from_secs(30);
/// What is asked for and taken.
const JSON: &str = "application/json";
/// What we call ourselves.
const AGENT: &str = concat!("gatepost/", env!("CARGO_PKG_VERSION"));

/// A service, and the connections to it.
pub(super) struct Client {
    dialler: Dialler,
    uri: Uri,
    host: HeaderValue,
    /// Places for questions, of all workers together.
    places: Semaphore,
    /// By worker.
    idle: ThreadLocal<RefCell<Vec<Connection>>>,
}

/// A connection that no question is on.
struct Connection {
    send: SendRequest<Full<Bytes>>,
    heard: Heard,
    since: Instant,
}

impl Client {
    /// One that asks at `url`, so many questions at once.
    pub(super) fn new(url: &HttpUrl, concurrency: usize, dns: &Dns) -> Self {
        let text = "a URL was checked when the configuration was read";
        Self {
            dialler: Dialler::new(url, dns),
            uri: url.path.parse().expect(text),
            host: url.authority().parse().expect(text),
            places: Semaphore::new(concurrency),
            idle: ThreadLocal::new(),
        }
    }

    /// Asks. What comes back is the whole body of the answer; of a 204, which has none, an empty object.
    pub(super) async fn ask(&self, question: Box<[u8]>) -> Result<Bytes, Fault> {
        // Never closed; without a place there would merely be no bound.
        let _place = self.places.acquire().await.ok();
        let question = Bytes::from(question);
        if let Some(connection) = self.kept().await {
            let heard = connection.heard.clone();
            match self.exchange(connection, question.clone()).await {
                Err(fault) if fault.kind == FaultKind::Lost && !heard.anything() => {}
                answered => return answered,
            }
        }
        let connection = self.connect().await?;
        self.exchange(connection, question).await
    }

    /// The youngest idle connection of this worker that still stands.
    async fn kept(&self) -> Option<Connection> {
        while let Some(mut connection) = self.take() {
            // Its task may have the end of the last answer to take note of.
            if connection.send.ready().await.is_ok() {
                return Some(connection);
            }
        }
        None
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.get_or_default().borrow_mut();
        let youngest = idle.pop()?;
        if youngest.since.elapsed() <= IDLE {
            return Some(youngest);
        }
        // All below it are older.
        idle.clear();
        None
    }

    async fn connect(&self) -> Result<Connection, Fault> {
        let (io, heard) = self.dialler.dial().await?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD.0).max_headers(HEAD.1);
        let (send, connection) = builder.handshake(io).await.map_err(|error| lost(&error))?;
        tokio::spawn(async move {
            // What breaks a connection reaches whoever has a question on it.
            let _ = connection.await;
        });
        Ok(Connection { send, heard, since: Instant::now() })
    }

    /// One question and its answer; the connection is kept if both are whole.
    async fn exchange(&self, mut connection: Connection, question: Bytes) -> Result<Bytes, Fault> {
        connection.heard.forget();
        let response =
            connection.send.send_request(self.request(question)).await.map_err(|error| lost(&error))?;
        let answer = read(response).await?;
        connection.since = Instant::now();
        if !connection.send.is_closed() {
            self.idle.get_or_default().borrow_mut().push(connection);
        }
        Ok(answer)
    }

    fn request(&self, question: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(question));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        headers.insert(ACCEPT, HeaderValue::from_static(JSON));
        request
    }
}

/// Reads the answer, if it is one.
async fn read(response: Response<Incoming>) -> Result<Bytes, Fault> {
    let malformed = |what: String| Err(Fault::new(FaultKind::Malformed, what));
    let status = response.status();
    match status {
        StatusCode::OK => {}
        StatusCode::NO_CONTENT => return Ok(Bytes::from_static(b"{}")),
        _ if status.is_redirection() => {
            return Err(Fault::new(
                FaultKind::Refused,
                format!("status {}; redirects are not followed", status.as_u16()),
            ));
        }
        _ => return Err(Fault::new(FaultKind::Refused, format!("status {}", status.as_u16()))),
    }
    let (head, mut body) = response.into_parts();
    if !is_json(&head.headers) {
        return malformed(format!("the content type is {}, not {JSON}", shown(&head.headers, &CONTENT_TYPE)));
    }
    if head.headers.contains_key(CONTENT_ENCODING) {
        return malformed(format!("the content encoding is {}", shown(&head.headers, &CONTENT_ENCODING)));
    }
    if let Some(announced) = body.size_hint().exact()
        && announced > BODY as u64
    {
        return malformed(format!("{announced} octets; at most {BODY} are read"));
    }
    let mut answer = Vec::new();
    while let Some(frame) = body.frame().await {
        // What is no data are trailers, which say nothing here.
        let Ok(data) = frame.map_err(|error| lost(&error))?.into_data() else { continue };
        if answer.len() + data.len() > BODY {
            return malformed(format!("more than {BODY} octets"));
        }
        answer.extend_from_slice(&data);
    }
    Ok(answer.into())
}

/// Whether the content type is JSON, whatever its parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = kind.split(|&octet| octet == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(JSON.as_bytes())
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

/// A connection that broke, or an answer that is no HTTP.
fn lost(error: &hyper::Error) -> Fault {
    if error.is_parse() {
        return Fault::new(FaultKind::Malformed, format!("not HTTP/1.1: {error}"));
    }
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    Fault::new(FaultKind::Lost, format!("{error}{cause}"))
}
