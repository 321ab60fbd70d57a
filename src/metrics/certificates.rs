//! When our own certificates are over: the listeners', and those shown to hosts and callouts.
//!
//! In:    what is in use, whenever that changes.
//! Out:   a gauge for each certificate, as Prometheus text; the same to whoever tells people.
//! Never: keeps one that is not in use any more.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::callouts::quoted;
use super::render::{family, head, line};

/// A certificate of our own, and when it is over: it, or another of its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The key that names its file, such as `upstreams.main.tls`.
    pub key: String,
    /// The listener's first address, where it is a listener's.
    pub listener: Option<String>,
    /// The certificate's file.
    pub file: PathBuf,
    /// In seconds since 1970.
    pub at: i64,
    /// Which of the chain that is, where it is not the certificate itself.
    pub of: Option<Box<str>>,
}

static NOW: Mutex<Vec<Expiry>> = Mutex::new(Vec::new());

/// These are in use from now on.
pub fn set(expiries: Vec<Expiry>) {
    *NOW.lock().unwrap_or_else(PoisonError::into_inner) = expiries;
}

/// Those in use.
pub fn now() -> Vec<Expiry> {
    NOW.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// All of them as Prometheus text.
pub(super) fn render(text: &mut String) {
    let expiries = now();
    let gauge = |name: &str, text: &mut String, label: &dyn Fn(&Expiry) -> Option<String>| {
        head(family(name), text);
        for expiry in &expiries {
            let Some(label) = label(expiry) else { continue };
            let file = quoted(&expiry.file.to_string_lossy());
            line(text, format_args!("{name}{{{label},certificate=\"{file}\"}} {}\n", expiry.at));
        }
        line(text, format_args!("\n"));
    };
    gauge("gatepost_certificate_expires_seconds", text, &|expiry| {
        expiry.listener.as_ref().map(|listener| format!("listener=\"{listener}\""))
    });
    gauge("gatepost_client_certificate_expires_seconds", text, &|expiry| {
        expiry.listener.is_none().then(|| format!("key=\"{}\"", quoted(&expiry.key)))
    });
}
