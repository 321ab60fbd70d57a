//! What is wrong with the files of a configuration's TLS: all of it at once, each by the key that names the file.
//!
//! In:    a decoded configuration, whether or not the rest of it is right.
//! Out:   a [`FileFault`] for each file that cannot be used, and for each key that does not belong to its certificate.
//! Never: keeps what it has read (what is used is read by [`TlsSet`](super::TlsSet)), or stops at the first.

use std::path::{Path, PathBuf};

use super::pem::{self, PemError};
use crate::config::FileFault;
use crate::config::types::{Config, KeyPair, UpstreamTls};
use crate::session::route::HopTls;
use crate::session::settings::DoorTls;

/// What is wrong with the files that the listeners, pools and callouts name.
pub fn faults(config: &Config) -> Vec<FileFault> {
    let mut found = Found(Vec::new());
    for (place, listener) in config.listeners.iter().enumerate() {
        let tls = &listener.tls;
        if matches!(tls.mode, DoorTls::StartTls | DoorTls::Implicit) {
            let within = format!("listeners[{place}].tls");
            tls.certificates.iter().for_each(|files| found.pair(&within, files));
            found.roots(&within, "client_roots", tls.client_roots.as_deref());
        }
    }
    for (name, upstream) in &config.upstreams {
        found.client(&format!("upstreams.{name}.tls"), &upstream.tls);
    }
    for (place, callout) in config.callouts.iter().enumerate() {
        found.client(&format!("callouts[{place}].tls"), &callout.tls);
    }
    found.0
}

struct Found(Vec<FileFault>);

impl Found {
    fn client(&mut self, within: &str, tls: &UpstreamTls) {
        if tls.mode != HopTls::Off {
            tls.certificate.iter().for_each(|files| self.pair(within, files));
            self.roots(within, "roots", tls.roots.as_deref());
        }
    }

    fn roots(&mut self, within: &str, key: &'static str, file: Option<&Path>) {
        let fault = file.and_then(|file| Some((file, pem::roots(file).err()?)));
        fault.into_iter().for_each(|(file, error)| self.add(within, key, file.to_owned(), &error));
    }

    fn pair(&mut self, within: &str, files: &KeyPair) {
        let (certificate, key) = pem::faults(files);
        certificate
            .into_iter()
            .for_each(|error| self.add(within, "certificate", files.certificate.clone(), &error));
        key.into_iter().for_each(|error| self.add(within, "key", files.key.clone(), &error));
    }

    fn add(&mut self, within: &str, key: &'static str, file: PathBuf, error: &PemError) {
        self.0.push(FileFault { within: within.to_owned(), file, key, text: error.to_string() });
    }
}
