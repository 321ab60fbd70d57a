//! What changes who the client is, or under what its dialog runs: STARTTLS, XCLIENT, XFORWARD.
//!
//! In:    the client's command; what came of a handshake.
//! Out:   a dialog that begins anew, under TLS or with somebody else as its client; or none.
//! Never: keeps anything the client said before, but its errors; believes anybody who is not listed; lets a hop go on
//!        that knows the session by another client, or passes on what it was told.
//!
//! RFC 3207 4 (refusals), 4.2 (what is forgotten, by whom); RFC 8314 3.3; Postfix's XCLIENT_README and XFORWARD_README.
//!
//! The hop may stay through STARTTLS: it never was under this TLS. But what it heard before must not count, so that it
//! hears EHLO again before anything else; where the client has something else to say first, it says it to a hop that has
//! heard nothing.

use super::super::client::Phase;
use super::super::events::SessionEnd;
use super::super::facts::{TlsFacts, TlsFault, TlsFaultKind};
use super::super::io::Output;
use super::super::said::Said;
use super::super::settings::DoorTls;
use super::super::turn::Turn;
use super::Conductor;
use crate::smtp::{Attributes, Command, CommandError, Own, Verb, own};

impl Conductor {
    /// STARTTLS, alone in its group and with nothing left to answer.
    pub(super) fn take_starttls(&mut self, turn: &mut Turn<'_>) {
        if self.door().tls == DoorTls::Passthrough {
            return self.pass_starttls(turn);
        }
        if let Some(refusal) = self.refuses_tls() {
            return self.reply_error(turn, refusal);
        }
        self.client.tell(turn, &Said::Own(&own::START_TLS));
        self.client.begin_tls(turn);
    }

    fn refuses_tls(&self) -> Option<&'static Own> {
        if self.client.is_under_tls() {
            Some(&own::TLS_TWICE)
        } else if self.door().tls != DoorTls::StartTls {
            Some(&own::NOT_IMPLEMENTED)
        } else if self.delivery.transaction().is_some() || self.client.is_authenticated() {
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

    /// A command before TLS, or before EHLO, where that is too early for it. Behind DATA and BDAT there may be content,
    /// whatever is said to them.
    pub(super) fn refuse_too_early(
        &mut self,
        turn: &mut Turn<'_>,
        command: &Command<'_>,
        more: bool,
        own: &'static Own,
    ) {
        match *command {
            Command::Data => {
                self.client.has_more(more);
                self.data_error(turn, own);
            }
            Command::Bdat { size, last } => self.take_bdat(turn, size, last),
            _ => self.reply_error(turn, own),
        }
    }

    /// The client's octets come through TLS from now on.
    pub(super) fn client_secured(&mut self, turn: &mut Turn<'_>, facts: TlsFacts) {
        let greeted = self.client.hello().is_some();
        if self.client.phase() == Phase::Securing {
            self.forget_told(turn);
        }
        if !self.client.secured(turn, facts) {
            return;
        }
        if self.door().tls == DoorTls::Implicit {
            return self.welcome(turn);
        }
        if greeted {
            self.hops.grow_stale();
        }
        self.forget_dialog(turn);
        self.leave_plain_hops(turn);
    }

    /// What was said by XCLIENT so far counts no more, and no hop that was told of it is kept.
    fn forget_told(&mut self, turn: &mut Turn<'_>) {
        let before = self.client.ip();
        let door = &self.settings.doors[usize::from(self.client.entrance().listener)];
        let Some(pool) = self.client.disbelieve(door) else { return };
        if self.client.ip() != before {
            turn.wish(Output::Recount(self.client.ip()));
        }
        self.hops.move_to(pool);
        self.hops.come_home();
        self.dismiss_all(turn);
    }

    /// What the client said so far counts no more. A hop that is not yet one goes: it may have been told.
    fn forget_dialog(&mut self, turn: &mut Turn<'_>) {
        self.leave_content(turn);
        self.client.forget_dialog();
        self.hops.take_refusal();
        if self.hops.home().is_some_and(|home| !self.hops.is_ready(home)) {
            self.dismiss_home(turn);
        }
    }

    /// Something other than EHLO is to be said to a hop that knows one from before TLS: it goes, too.
    pub(super) fn leave_stale_hop(&mut self, turn: &mut Turn<'_>) {
        self.hops.is_fresh();
        self.dismiss_home(turn);
    }

    /// The client goes on without EHLO. A hop that has heard one of ours would take it for the client's: another dialog
    /// says what it makes of that. Returns whether the command may go on.
    pub(super) fn goes_on_without_hello(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some(hop) = self.hops.current() else { return true };
        let Some(open) = self.hops.get_mut(hop).filter(|open| open.is_ready() && open.knows_ours()) else {
            return true;
        };
        let may = open.may_be_unannounced(&self.client, turn.now);
        if may {
            open.dial_unannounced(turn);
        }
        may
    }

    /// Whether a hop takes this for granted once it has heard EHLO (RFC 5321 4.1.4).
    pub(super) fn needs_hello(command: &Command<'_>) -> bool {
        !matches!(
            command,
            Command::Ehlo(_)
                | Command::Helo(_)
                | Command::Starttls
                | Command::Xclient(_)
                | Command::Xforward(_)
                | Command::Noop(_)
                | Command::Help(_)
                | Command::Rset
                | Command::Quit
        )
    }

    /// A hop takes no second EHLO, though RFC 5321 4.1.4 has it do so: it goes, and another dialog hears the client's.
    pub(super) fn greet_hop_anew(&mut self, turn: &mut Turn<'_>, number: u32) {
        self.owed.reassign(number, None);
        self.leave_stale_hop(turn);
        match self.current_or_open(turn) {
            Ok(hop) => self.owed.reassign(number, Some(hop)),
            Err(none) => self.no_hop(turn, none),
        }
    }

    /// There is nothing to be said any more, and nobody to say it to.
    pub(super) fn client_not_secured(&mut self, turn: &mut Turn<'_>, fault: TlsFault) {
        if self.client.not_secured(turn, fault) {
            self.client_gone(turn, SessionEnd::Tls);
        }
    }

    /// The time for the handshake is over.
    pub(super) fn handshake_too_late(&mut self, turn: &mut Turn<'_>) {
        let what = "no handshake within timeouts.tls".into();
        self.client_not_secured(turn, TlsFault { kind: TlsFaultKind::TimedOut, what });
    }

    /// XCLIENT: from here on the client is whom it names. Answered by the greeting that one hears.
    pub(super) fn take_xclient(&mut self, turn: &mut Turn<'_>, attributes: Attributes<'_>) {
        if let Some(own) = self.refuses_to_be_told() {
            return self.reply_error(turn, own);
        }
        let before = self.client.ip();
        let door = &self.settings.doors[usize::from(self.client.entrance().listener)];
        self.client.believe(door, attributes, self.hops.pool());
        if self.client.ip() != before {
            turn.wish(Output::Recount(self.client.ip()));
        }
        self.hops.is_fresh();
        self.hops.move_to(self.client.entrance().pool);
        self.hops.come_home();
        self.dismiss_all(turn);
        self.forget_dialog(turn);
        self.introduce(turn);
    }

    /// XFORWARD: whose message comes next.
    pub(super) fn take_xforward(&mut self, turn: &mut Turn<'_>, attributes: Attributes<'_>) {
        if let Some(own) = self.refuses_to_be_told() {
            return self.reply_error(turn, own);
        }
        self.client.take_forwarded(attributes);
        self.reply_own(turn, &own::OK);
    }

    fn refuses_to_be_told(&self) -> Option<&'static Own> {
        if !self.client.is_trusted() {
            Some(self.not_to_tell())
        } else if self.delivery.transaction().is_some() {
            Some(&own::BAD_SEQUENCE)
        } else {
            None
        }
    }

    /// What is said to whoever is not listed: where nobody is, these verbs are like any that are not known.
    fn not_to_tell(&self) -> &'static Own {
        if self.door().xclient.is_empty() { &own::UNKNOWN_VERB } else { &own::NOT_AUTHORIZED }
    }

    /// What is said to a line that cannot be read; whoever may not say it at all is not told what is wrong with it.
    pub(super) fn malformed(&self, error: &CommandError) -> &'static Own {
        match error.verb {
            Verb::Xclient | Verb::Xforward if !self.client.is_trusted() => self.not_to_tell(),
            _ => error.reply(),
        }
    }
}
