//! Questions without an answer: whose fault, in which words, and whether to ask again.
//!
//! **In**: the client's errors. **Out**: a [`Fault`], and whether the retry rule allows a second time.
//! **Never**: repeats what a service said, or allows a second time what a service has begun to answer.
//!
//! RFC 9112 section 9.3.1, RFC 9113 section 8.7.

use std::error::Error;
use std::io;

use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::Connected;

use super::dial::NotConnected;
use super::kept::Heard;
use super::sent::Unreadable;
use crate::session::callout::{Fault, FaultKind};
use crate::session::client::TlsFaultKind;
use crate::tls::facts;

/// A question that has no answer.
pub(super) struct Unanswered {
    /// Why.
    pub(super) fault: Fault,
    /// Whether it may be asked again: a connection that was kept broke, and nothing of an answer was heard on it.
    pub(super) again: bool,
}

impl Unanswered {
    /// One that is not asked again.
    pub(super) fn for_good(fault: Fault) -> Self {
        Self { fault, again: false }
    }

    /// One to which no answer has begun.
    pub(super) fn of(error: &legacy::Error) -> Self {
        if let Some(NotConnected(fault)) = find(error) {
            return Self::for_good(fault.clone());
        }
        if let Some(unreadable) = find::<Unreadable>(error) {
            return Self::for_good(super::super::unreadable(&unreadable.0));
        }
        let Some(cause) = find::<hyper::Error>(error) else {
            // The client has handed it over to a connection that went away meanwhile; nothing was said to anybody.
            let fault = Fault::new(FaultKind::Lost, with_cause(error));
            return Self { fault, again: true };
        };
        let connection = error.connect_info();
        let heard = connection.and_then(Heard::on);
        // What broke a connection before the question was on it is known to the connection only.
        let fault = heard.as_ref().and_then(Heard::fault).unwrap_or_else(|| broken(cause));
        // Other answers are heard on a connection of HTTP/2; this one has not begun, or there would be no error.
        let is_http2 = connection.is_some_and(Connected::is_negotiated_h2);
        let kept = heard.is_some_and(|heard| heard.was_kept() && (is_http2 || !heard.anything()));
        Self { again: kept && fault.kind == FaultKind::Lost && !is_an_answer(cause), fault }
    }
}

/// A connection that broke, or an answer that is no HTTP.
pub(super) fn broken(error: &hyper::Error) -> Fault {
    if error.is_parse() {
        return Fault::new(FaultKind::Malformed, format!("not HTTP/1.1: {error}"));
    }
    if let Some(error) = find::<h2::Error>(error).filter(|error| error.is_library()) {
        return Fault::new(FaultKind::Malformed, format!("not HTTP/2: {error}"));
    }
    let of_tls = find::<io::Error>(error).and_then(of_tls);
    of_tls.unwrap_or_else(|| Fault::new(FaultKind::Lost, with_cause(error)))
}

/// What TLS made of the octets on a connection, if it was TLS that broke it.
pub(super) fn of_tls(error: &io::Error) -> Option<Fault> {
    error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let fault = facts::fault(error);
    // With TLS 1.3 a service judges our certificate, or the want of one, when we take the handshake for done.
    let kind = match fault.kind {
        TlsFaultKind::Certificate => FaultKind::Unreachable,
        _ => FaultKind::Lost,
    };
    Some(Fault::new(kind, format!("TLS: {}", fault.what)))
}

/// Whether the service itself has ended this question, and not because it would not begin it.
fn is_an_answer(error: &hyper::Error) -> bool {
    find::<h2::Error>(error)
        .is_some_and(|error| error.is_reset() && error.reason() != Some(h2::Reason::REFUSED_STREAM))
}

/// The first error of a kind among an error and its causes.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |error| (*error).source()).find_map(|error| error.downcast_ref())
}

fn with_cause(error: &dyn Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}
