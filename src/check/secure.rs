//! TLS with a host that is visited: tried as its pool has it, and judged whether or not the judgement counts there.
//!
//! In:    a dialog; the pool's part of the configuration.
//! Out:   the dialog under TLS; version, cipher and certificate noted, and what is wrong with them.
//! Never: ends a handshake for a certificate that is not in order: what is wrong with it would not be seen.
//!
//! RFC 3207, RFC 8314 3.3; RFC 9525 (names).

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::visit::{Over, Visit, lines};
use super::words;
use crate::config::types::UpstreamTls;
use crate::hop::dialog::Dialog;
use crate::session::client::{TlsFacts, TlsFault};
use crate::session::route::HopTls;
use crate::smtp::{Extensions, Keyword, Reply};
use crate::tls::{ClientTls, facts, name, pin};

/// Host names of a certificate that are shown.
const NAMES: usize = 5;

/// Days before its end from which a certificate's days are counted.
const SOON: i64 = 30;

impl Visit<'_> {
    /// Asks for TLS by STARTTLS; whether a handshake may follow.
    pub(super) async fn may_shake_hands(
        &mut self,
        dialog: &mut Dialog,
        offered: &Reply,
    ) -> Result<bool, Over> {
        if !Extensions::of(offered.as_ref()).has(Keyword::StartTls) {
            let text = "STARTTLS is not offered";
            self.findings.note("TLS", text);
            if self.upstream.tls.mode == HopTls::Required {
                let remedy = "Have the host offer it (Postfix: smtpd_tls_security_level = may), or set tls to opportunistic";
                self.findings.wrong(&words::insecure(self.upstream, text, remedy));
            }
            return Ok(false);
        }
        let heard = dialog.ask("STARTTLS", self.voice.timeouts.reply).await;
        let reply = heard.or_else(|error| self.over(&words::silent("STARTTLS", &error)))?;
        let agreed = reply.code().get() == 220;
        if !agreed {
            self.findings.note("TLS", &format!("STARTTLS: {}", lines(reply.as_ref())));
            let remedy = "See its own log: mostly its key or certificate cannot be read";
            self.findings.wrong(&words::insecure(self.upstream, "STARTTLS is refused", remedy));
        }
        Ok(agreed)
    }

    /// The handshake, and what the host has shown in it.
    pub(super) async fn shake_hands(&mut self, dialog: Dialog) -> Result<Dialog, Over> {
        // A pool that does not verify is spoken to in the same way, but for the judgement.
        let lenient = UpstreamTls { mode: HopTls::Opportunistic, ..self.upstream.tls.clone() };
        let client = ClientTls::load(&lenient).or_else(|error| self.over(&error.to_string()))?;
        let Some((_, name)) = self.target.tls() else { return self.over("no TLS is configured") };
        match dialog.secure(client.now(), name, self.voice.timeouts.tls).await {
            Ok((dialog, facts)) => {
                self.shown(&dialog, &facts);
                Ok(dialog)
            }
            Err(fault) => {
                let remedy = "See its own log, and that TLS 1.2 or 1.3 is spoken at this port in this way";
                let what = format!("no TLS: {}", fault.what);
                self.over(&words::insecure(self.upstream, &what, remedy))
            }
        }
    }

    /// It refused us right behind the handshake, as a host of TLS 1.3 does that wants to know who we are.
    pub(super) fn refused_tls<T>(&mut self, fault: &TlsFault) -> Result<T, Over> {
        let remedy =
            "If it wants a certificate, show it one (tls.certificate, tls.key); else see its own log";
        self.over(&words::insecure(self.upstream, &format!("no TLS: {}", fault.what), remedy))
    }

    fn shown(&mut self, dialog: &Dialog, facts: &TlsFacts) {
        self.findings.note("TLS", &format!("{}, {}", facts.version, facts.cipher));
        let Some(certificate) = &facts.certificate else { return };
        let der = dialog.certificate().unwrap_or_default();
        let names = name::host_names(der);
        let mut shown = names.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", ");
        if names.len() > NAMES {
            shown.push_str(", …");
        }
        let until = name::expires(der).map(until).unwrap_or_default();
        let counts =
            self.upstream.tls.verify && matches!(self.upstream.tls.mode, HopTls::Required | HopTls::Implicit);
        let judgement = match &certificate.fault {
            None => "in order".to_owned(),
            Some(fault) if counts => fault.to_string(),
            Some(fault) => format!("{fault} (not verified in this pool)"),
        };
        let text = format!("{}, for {shown}{until}: {judgement}", certificate.subject);
        self.findings.note("certificate", &text);
        if let Some(pin) = pin(&CertificateDer::from(der)) {
            self.findings.note("key", &pin.to_string());
        }
        if let Some(fault) = certificate.fault.as_ref().filter(|_| counts) {
            let remedy = "Have the host show one that is in order, or say who vouches for it (tls.roots), which key it has \
                          (tls.pin) or by which name it goes (tls.server_name)";
            self.findings.wrong(&words::insecure(self.upstream, fault, remedy));
        }
    }
}

/// When a certificate is over; with the days that are left, if they are few.
fn until(end: i64) -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let left = (end - i64::try_from(now).unwrap_or(i64::MAX)) / (24 * 60 * 60);
    let day = facts::day(end);
    if (0..SOON).contains(&left) { format!(", until {day}, {left} days") } else { format!(", until {day}") }
}
