//! Whether a host that did not answer well wants a PROXY header, or another one than it was sent.
//!
//! In:    a visit that ended before its first good answer.
//! Out:   what is wrong, in place of what it looked like.
//! Never: says more than a greeting and EHLO, or that a client is meant: the headers are gatepost's own (LOCAL, UNKNOWN).
//!
//! A host that waits for a header says nothing until it has one: for long, or until it hangs up.

use std::time::Duration;

use tokio::time::timeout;

use super::visit::Visit;
use super::words;
use crate::config::types::{Protocol, UpstreamTls};
use crate::hop::dialog::Dialog;
use crate::hop::{Introduction, connect};
use crate::session::route::{HopTls, Identity};
use crate::tls::ClientTls;

/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl Visit<'_> {
    /// Tries what the pool's identity does not send, and says so if that is what the host wants.
    pub(super) async fn look_for_header(&mut self) {
        let sent = self.upstream.identity;
        for wanted in [Identity::ProxyV2, Identity::ProxyV1].into_iter().filter(|wanted| *wanted != sent) {
            if timeout(PATIENCE, self.answers_to(wanted)).await == Ok(true) {
                self.findings.clear_wrong();
                self.findings.wrong(&words::wants_header(sent, wanted));
                return;
            }
        }
    }

    async fn answers_to(&self, wanted: Identity) -> bool {
        let Ok(connected) = connect(self.target, &Introduction::of_probe(wanted)).await else { return false };
        let mut dialog = Dialog::new(connected.stream);
        if self.upstream.tls.mode == HopTls::Implicit {
            let lenient = UpstreamTls { mode: HopTls::Opportunistic, ..self.upstream.tls.clone() };
            let (Ok(client), Some((_, name))) = (ClientTls::load(&lenient), self.target.tls()) else {
                return false;
            };
            let Ok((secured, _)) = dialog.secure(client.now(), name, PATIENCE).await else { return false };
            dialog = secured;
        }
        let positive =
            |heard: std::io::Result<crate::smtp::Reply>| heard.is_ok_and(|reply| reply.code().is_positive());
        if !positive(dialog.hear(PATIENCE).await) {
            return false;
        }
        let verb = if self.upstream.protocol == Protocol::Lmtp { "LHLO" } else { "EHLO" };
        positive(dialog.ask(&format!("{verb} {}", self.voice.hostname), PATIENCE).await)
    }
}
