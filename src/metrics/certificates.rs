//! When the listeners' certificates are over.
//!
//! In:    what is in use, whenever that changes.
//! Out:   a gauge for each certificate, as Prometheus text.
//! Never: keeps one that is not in use any more.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::callouts::quoted;
use super::render::{family, head, line};

/// A certificate of a listener's, and when it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The listener's first address.
    pub listener: String,
    /// The certificate's file.
    pub file: PathBuf,
    /// In seconds since 1970.
    pub at: i64,
}

static NOW: Mutex<Vec<Expiry>> = Mutex::new(Vec::new());

/// These are in use from now on.
pub fn set(expiries: Vec<Expiry>) {
    *NOW.lock().unwrap_or_else(PoisonError::into_inner) = expiries;
}

/// All of them as Prometheus text.
pub(super) fn render(text: &mut String) {
    let family = family("gatepost_certificate_expires_seconds");
    head(family, text);
    for Expiry { listener, file, at } in NOW.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let (name, file) = (family.name, quoted(&file.to_string_lossy()));
        line(text, format_args!("{name}{{listener=\"{listener}\",certificate=\"{file}\"}} {at}\n"));
    }
    line(text, format_args!("\n"));
}
