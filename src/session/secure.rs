//! TLS with the client: when it begins, and what a handshake changes in the dialog.
//!
//! In:    the client's STARTTLS, or a listener that begins with TLS; what came of the handshake.
//! Out:   a dialog that begins anew, under TLS; or none.
//! Never: keeps anything the client said before the handshake, but its errors; says or reads anything during it.
//!
//! RFC 3207 4 (refusals), 4.2 (what is forgotten, by whom); RFC 8314 3.3.
//!
//! The hop may stay: it never was under this TLS. But what it heard before must not count, so that it hears EHLO
//! again before anything else; where the client has something else to say first, it says it to a hop that has heard
//! nothing.

use super::client::{TlsFacts, TlsFault, TlsFaultKind};
use super::io::{Event, Output, Peer, SessionEnd};
use super::owed::Answer;
use super::settings::DoorTls;
use super::upstreams::Stand;
use super::{Phase, Session, Turn};
use crate::smtp::{Command, Extensions, Own, own};

impl Session {
    /// Whether the client is shown STARTTLS.
    pub(super) fn offers_tls(&self) -> bool {
        self.door().tls == DoorTls::StartTls && !self.is_under_tls() && !self.flags.authenticated
    }

    /// STARTTLS, alone in its group and with nothing left to answer.
    pub(super) fn take_starttls(&mut self, turn: &mut Turn<'_>) {
        if self.door().tls == DoorTls::Passthrough {
            return self.pass_starttls(turn);
        }
        if let Some(refusal) = self.refuses_tls() {
            return self.reply_error(turn, refusal);
        }
        self.tell(turn, &super::Said::Own(&own::START_TLS));
        self.begin_tls(turn);
    }

    fn refuses_tls(&self) -> Option<&'static Own> {
        if self.is_under_tls() {
            Some(&own::TLS_TWICE)
        } else if self.door().tls != DoorTls::StartTls {
            Some(&own::NOT_IMPLEMENTED)
        } else if self.transaction.is_some() || self.flags.authenticated {
            Some(&own::BAD_SEQUENCE)
        } else {
            None
        }
    }

    /// RFC 3207 4: what a listener that requires TLS takes before it.
    pub(super) fn is_taken_before_tls(command: &Command<'_>) -> bool {
        matches!(
            command,
            Command::Ehlo(_)
                | Command::Helo(_)
                | Command::Starttls
                | Command::Noop(_)
                | Command::Rset
                | Command::Quit
        )
    }

    /// Anything else before TLS. Behind DATA and BDAT there may be content, whatever is said to them.
    pub(super) fn refuse_before_tls(&mut self, turn: &mut Turn<'_>, command: &Command<'_>, more: bool) {
        match *command {
            Command::Data => {
                self.flags.early = more;
                self.data_error(turn, &own::TLS_REQUIRED);
            }
            Command::Bdat { size, last } => self.take_bdat(turn, size, last),
            _ => self.reply_error(turn, &own::TLS_REQUIRED),
        }
    }

    /// The next octets are the handshake's.
    pub(super) fn begin_tls(&mut self, turn: &mut Turn<'_>) {
        self.phase = Phase::Securing;
        self.heard_at = turn.now;
        turn.out.outputs.push(Output::StartTls(Peer::Downstream));
    }

    /// The client's octets come through TLS from now on.
    pub(super) fn client_secured(&mut self, turn: &mut Turn<'_>, facts: TlsFacts) {
        if self.phase != Phase::Securing {
            return;
        }
        turn.out.count(Event::Secured(Peer::Downstream, facts.version(), facts.resumed));
        self.entrance.facts.get_or_insert_default().tls = Some(facts);
        self.phase = Phase::Open;
        self.flags.locked = false;
        self.heard_at = turn.now;
        if self.door().tls == DoorTls::Implicit {
            return self.welcome(turn);
        }
        self.flags.stale |= self.hello.is_some();
        self.forget_dialog(turn);
        self.leave_plain_hops(turn);
    }

    /// What the client said so far counts no more. A hop that is not yet one goes: it may have been told.
    pub(super) fn forget_dialog(&mut self, turn: &mut Turn<'_>) {
        self.downstream.begin_anew();
        self.content = None;
        self.hello = None;
        self.shown = Extensions::default();
        self.upstreams.refusal = None;
        self.forget_forwarded();
        if let Some(home) = self.upstreams.home()
            && self.upstreams.get(home).is_some_and(|up| up.stand != Stand::Ready)
        {
            self.dismiss(turn, home);
        }
    }

    /// Something other than EHLO is to be said to a hop that knows one from before TLS: it goes, too.
    pub(super) fn leave_stale_hop(&mut self, turn: &mut Turn<'_>) {
        self.flags.stale = false;
        if let Some(home) = self.upstreams.home() {
            self.dismiss(turn, home);
        }
    }

    /// A hop takes no second EHLO, though RFC 5321 4.1.4 has it do so: it goes, and another dialog hears the client's.
    pub(super) fn greet_hop_anew(&mut self, turn: &mut Turn<'_>, number: u32) {
        if let Some(owed) = self.owed.numbered(number) {
            owed.answer = Answer::Unsaid;
        }
        self.leave_stale_hop(turn);
        match (self.current_or_open(turn), self.owed.numbered(number)) {
            (Ok(hop), Some(owed)) => owed.answer = Answer::Hop(hop),
            (Ok(_), None) => {}
            (Err(none), _) => self.no_hop(turn, none),
        }
    }

    /// There is nothing to be said any more, and nobody to say it to.
    pub(super) fn client_not_secured(&mut self, turn: &mut Turn<'_>, fault: TlsFault) {
        if matches!(self.phase, Phase::Securing | Phase::Hello) {
            turn.out.count(Event::NotSecured(Peer::Downstream, fault.kind));
            turn.out.outputs.push(Output::NotSecured(Box::new(fault)));
            self.client_gone(turn, SessionEnd::Tls);
        }
    }

    /// The time for the handshake is over.
    pub(super) fn handshake_too_late(&mut self, turn: &mut Turn<'_>) {
        let what = "no handshake within timeouts.tls".into();
        self.client_not_secured(turn, TlsFault { kind: TlsFaultKind::TimedOut, what });
    }

    fn is_under_tls(&self) -> bool {
        self.entrance.facts.as_ref().is_some_and(|facts| facts.tls.is_some())
    }
}
