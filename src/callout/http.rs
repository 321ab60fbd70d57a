//! `type: http`: one POST of JSON per question.
//!
//! **In**: a question in JSON; the message it is about, where that is shown whole. **Out**: the octets of an answer; or a
//! [`Fault`]: what went wrong, and where.
//! **Never**: takes any status for an answer but 200 and 204; takes a message for an answer from whoever was shown none.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};
use tokio::sync::Semaphore;

use super::transport::{BODY, CONTENT, JSON, MESSAGE, Outgoing, Reader, Sent, Transport, body, is_of};
use super::transport::{refused, shown};
use super::{Asked, Content, unreadable};
use crate::config::types::{Dns, Http, Shows};
use crate::session::callout::{Fault, FaultKind};
use crate::session::verdict::Stage;
use crate::tls::ClientTls;

/// What whoever is shown a message may answer.
const EITHER: &str = "application/json, message/rfc822";

/// A service.
pub(super) struct HttpClient {
    transport: Transport,
    /// What it is shown of a message.
    content: Shows,
    /// Places for questions, of all workers together.
    places: Semaphore,
}

/// What a service answered.
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
struct Taken {
    /// Octets of it.
    most: usize,
    /// It may be another message.
    message: bool,
}

impl HttpClient {
    /// One that asks so many questions at once; under TLS where the URLs say so.
    pub(super) fn new(http: &Http, tls: Option<&Arc<ClientTls>>, concurrency: usize, dns: &Dns) -> Self {
        Self {
            transport: Transport::new(&http.urls, tls, concurrency, dns),
            content: http.content,
            places: Semaphore::new(concurrency),
        }
    }

    /// Asks. What comes back is the whole body of the answer; of a 204, which has none, an empty object.
    pub(super) async fn ask(&self, asked: Asked) -> Result<Answered, Fault> {
        // Never closed; without a place there would merely be no bound.
        let _place = self.places.acquire().await.ok();
        let shown = asked.content.filter(|_| self.content == Shows::Whole);
        let sent = match &shown {
            Some(content) => Sent::with_message(&asked.question, content),
            None => Sent::octets(JSON, asked.question.into()),
        };
        let most = if asked.stage == Stage::Message { CONTENT } else { BODY };
        let taken = Taken { most, message: shown.is_some() };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(if taken.message { EITHER } else { JSON }));
        let outgoing = Outgoing { method: Method::POST, path: None, headers, body: &sent };
        let answered = self.transport.ask(|_, place| place.ask(&outgoing, &taken)).await?;
        told_apart(answered, shown.as_ref()).await
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

impl Reader for Taken {
    type Read = Answered;

    async fn read(&self, response: Response<Incoming>) -> Result<Answered, Fault> {
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NO_CONTENT => return Ok(Answered::NOTHING),
            _ => return Err(refused(&response)),
        }
        let is_message = self.message && is_of(response.headers(), MESSAGE);
        if !is_message && !is_of(response.headers(), JSON) {
            let given = shown(response.headers(), &CONTENT_TYPE);
            return Err(Fault::new(FaultKind::Malformed, format!("the content type is {given}, not {JSON}")));
        }
        let octets = body(response, self.most).await?;
        Ok(if is_message { Answered::Message(octets) } else { Answered::Verdict(octets) })
    }
}
