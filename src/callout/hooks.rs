//! `type: mta_hooks`: scanners that speak MTA Hooks (draft-degennaro-mta-hooks-01), of which gatepost is the client.
//!
//! **In**: a question, all of it; at `message` the message. **Out**: what a scanner decides and changes, in the verdict types; or
//! a [`Fault`].
//! **Never**: says what was not agreed upon; takes an answer that goes beyond that; asks again what a scanner may have done.
//!
//! A scanner is found by its discovery document and registered with before the first question; so again before a registration
//! ends, when it has ended, and when the scanner has forgotten it. `question` is what can be said, `pointer` what of it, `value`
//! in which octets; `changes` what comes back, `state` what that leaves, `verdict` what it means.

mod agreed;
mod changes;
mod invocation;
mod pointer;
mod question;
mod scanner;
mod state;
#[cfg(test)]
mod tests;
mod value;
mod verdict;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::sync::Semaphore;

use super::Asked;
use super::answer::Grants;
use super::transport::Transport;
use crate::config::types::{Callout, Dns, MtaHooks, OnQuarantine};
use crate::session::callout::{CalloutAnswer, Fault, FaultKind};
use crate::session::verdict::Stage;
use crate::tls::ClientTls;
use scanner::{Scanner, Wanted};

pub(super) use question::encode;

/// What gatepost says and hears beyond the draft, below `/ext/`.
pub(super) const EXTENSION: &str = "org.gatepost";

/// What a scanner may change at some stage or other, where its discovery document names it.
const WRITABLE: [&str; 7] = [
    "/action",
    "/response",
    "/envelope/from",
    "/envelope/to",
    "/message/headers",
    "/message/subject",
    "/rawMessage",
];

/// What a stage is called; both sides of a command have one name, and a message has that of its command.
const fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Helo | Stage::HeloReply => "ehlo",
        Stage::Mail | Stage::MailReply => "mail",
        Stage::Rcpt | Stage::RcptReply => "rcpt",
        Stage::Message => "data",
        _ => "connect",
    }
}

/// What is shown of a token that a file holds.
pub(super) fn bearer(file: &Path) -> Result<HeaderValue, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Err(format!("{}: not a token: one word of printable ASCII", file.display()));
    }
    let mut bearer = HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| error.to_string())?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

fn not_allowed<T>(what: impl Into<Box<str>>) -> Result<T, Fault> {
    Err(Fault::new(FaultKind::NotAllowed, what))
}

/// Scanners of one kind, one of which is asked.
pub(super) struct HooksClient {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Transport,
    /// By the place of their URLs.
    scanners: Box<[Scanner]>,
    /// Places for questions, of all workers together.
    places: Semaphore,
    on_quarantine: OnQuarantine,
}

/// How long the end of a registration may take.
const FAREWELL: Duration = Duration::from_secs(5);

impl HooksClient {
    /// One that asks by these terms; `bearer`: what it shows of itself.
    pub(super) fn new(
        callout: &Callout,
        hooks: &MtaHooks,
        tls: Option<&Arc<ClientTls>>,
        bearer: Option<HeaderValue>,
        hostname: &str,
        dns: &Dns,
    ) -> Self {
        let mut stages: Vec<_> = callout.stages.iter().map(|stage| stage_name(*stage)).collect();
        stages.dedup();
        let wanted = Arc::new(Wanted {
            stages,
            serialization: hooks.serialization,
            timeout: callout.timeout,
            hostname: hostname.into(),
            bearer,
            alone: hooks.urls.len() == 1,
        });
        Self {
            inner: Arc::new(Inner {
                transport: Transport::new(&hooks.urls, tls, callout.concurrency, dns),
                scanners: hooks.urls.iter().map(|_| Scanner::new(Arc::clone(&wanted))).collect(),
                places: Semaphore::new(callout.concurrency),
                on_quarantine: hooks.on_quarantine,
            }),
        }
    }

    /// Asks.
    pub(super) async fn ask(&self, asked: Asked, grants: &Grants) -> Result<CalloutAnswer, Fault> {
        let inner = &self.inner;
        // Never closed; without a place there would merely be no bound.
        let _place = inner.places.acquire().await.ok();
        let question = invocation::Question::new(asked, inner.on_quarantine)?;
        let question = &question;
        inner
            .transport
            .ask(|number, place| async move { inner.scanners[number].ask(place, question, grants).await })
            .await
    }
}

impl Drop for HooksClient {
    /// No question will come any more: scanners are told so, where there is a runtime to do that on.
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.inner.scanners.iter().any(Scanner::is_registered) {
            let inner = Arc::clone(&self.inner);
            runtime.spawn(async move {
                for (number, place) in inner.transport.places().enumerate() {
                    let farewell = inner.scanners[number].deregister(place);
                    let _ = tokio::time::timeout(FAREWELL, farewell).await;
                }
            });
        }
    }
}
