//! Commands: check, ask, decide, forward.
//!
//! In:    the client's lines, one at a time, when the next may be taken.
//! Out:   the command said upstream as gatepost's own octets, with an answer owed for it; or an answer of our own.
//! Never: forwards a line it did not parse, or asks twice about one command.
//!
//! RFC 5321 4.1 (commands), 4.1.4 (order); RFC 1870 (SIZE); RFC 4954 (AUTH).

use super::super::client::Phase;
use super::super::events::{Event, SessionEnd, Taken};
use super::super::hop::Hop;
use super::super::io::{Output, TraceSide};
use super::super::owed::{Answer, What};
use super::super::peer::{Origin, Peer};
use super::super::said::Said;
use super::super::settings::AuthShown;
use super::super::stage::Stage;
use super::super::transaction::{Hello, Transaction};
use super::super::turn::Turn;
use super::Conductor;
use super::asking::Subject;
use crate::dialog::{Expect, Next, Say};
use crate::smtp::{
    Command, CommandError, Foreign, Own, Params, Verb, carries_mechanism, own, shown_mechanism,
};

impl Conductor {
    /// Takes the client's next line; `None`: there is not a whole one, or it must wait.
    pub(super) fn take_line(&mut self, turn: &mut Turn<'_>, octets: &[u8]) -> Option<usize> {
        if self.is_stray_header(octets) {
            self.take_stray_header(turn);
            return Some(octets.len());
        }
        if let Some(foreign) = self.foreign(octets) {
            self.take_foreign(turn, foreign);
            return Some(octets.len());
        }
        let next = self.client.next(octets, &self.settings.limits, self.settings.bare_newline);
        match next {
            Next::Partial => None,
            Next::Command(Ok(command), taken) => {
                if self.must_wait(&command) {
                    return None;
                }
                self.trace_command(turn, &command, &octets[..taken]);
                self.client.was_active(turn.now);
                self.take_command(turn, command, octets.len() > taken);
                Some(taken)
            }
            Next::Command(Err(error), taken) => {
                // It may be a secret out of its place.
                let shown =
                    format!("({} octets that are no command)", octets[..taken].trim_ascii_end().len());
                turn.trace(Peer::Downstream, TraceSide::Client, shown.as_bytes());
                self.client.was_active(turn.now);
                self.take_malformed(turn, &error);
                Some(taken)
            }
            Next::Auth(line, taken) => {
                self.client.was_active(turn.now);
                self.take_auth_line(turn, line);
                Some(taken)
            }
            Next::Discarded(taken) => Some(taken),
            Next::TooLong(taken) => {
                self.client.was_active(turn.now);
                self.cancel_auth(turn);
                turn.count(Event::Command(Verb::Other, Taken::Malformed));
                self.reply_error(turn, &own::LINE_TOO_LONG);
                Some(taken)
            }
            Next::Flood => {
                self.close_in_turn(turn, &own::LINE_ENDLESS, SessionEnd::Limit);
                Some(octets.len())
            }
            Next::BareLf(taken) => {
                turn.count(Event::Command(Verb::Other, Taken::Malformed));
                self.close_in_turn(turn, &own::BARE_OCTET, SessionEnd::Protocol);
                Some(taken)
            }
        }
    }

    /// Which other protocol the client speaks, if that is certain. Once it has said MAIL it is a client of SMTP.
    fn foreign(&self, octets: &[u8]) -> Option<Foreign> {
        if self.client.has_said_mail() || self.client.is_in_auth() {
            return None;
        }
        let line = memchr::memchr(b'\n', octets).map(|end| &octets[..end]);
        Foreign::of_octets(octets).or_else(|| Foreign::of_line(line?))
    }

    /// What it says next is no command, and may be what somebody made a browser say.
    fn take_foreign(&mut self, turn: &mut Turn<'_>, foreign: Foreign) {
        turn.count(Event::Foreign(foreign));
        turn.wish(Output::Foreign(foreign));
        self.client.was_active(turn.now);
        self.close_in_turn(turn, &own::NOT_SMTP, SessionEnd::Protocol);
    }

    /// Whether a command must stay in the line buffer until all before it is answered.
    pub(super) fn must_wait(&self, command: &Command<'_>) -> bool {
        if self.owed.is_empty() {
            return false;
        }
        let stages = self.settings.rules.stages().and(self.settings.callouts.stages());
        match command {
            Command::Ehlo(_) | Command::Helo(_) | Command::Auth { .. } | Command::Rset => true,
            // The last of its group (RFC 3207 4); what they change is true of all behind them.
            Command::Starttls | Command::Xclient(_) | Command::Xforward(_) => true,
            // A recipient of the transaction before could be taken for one of the new.
            Command::Mail { .. } => {
                self.delivery.transaction().is_some()
                    || self.owed.iter().any(|owed| matches!(owed.what, What::Mail(_) | What::Rcpt(_)))
            }
            Command::Data | Command::Bdat { .. } => {
                stages.has(Stage::MailReply)
                    || stages.has(Stage::RcptReply)
                    || stages.has(Stage::Message)
                    || self.delivery.transaction().is_some_and(|transaction| transaction.swallowed > 0)
                    || self
                        .owed
                        .iter()
                        .any(|owed| matches!((&owed.what, &owed.answer), (What::Rcpt(_), Answer::Own(_))))
                    || (self.delivery.content().is_none() && matches!(command, Command::Bdat { .. }))
            }
            _ => false,
        }
    }

    pub(super) fn take_command(&mut self, turn: &mut Turn<'_>, command: Command<'_>, more: bool) {
        let verb = command.verb();
        if self.client.phase() == Phase::OnlyQuit {
            turn.count(Event::Command(verb, Taken::Answered));
            return match command {
                Command::Quit => self.owe(turn, What::Quit, Said::Own(&own::BYE)),
                Command::Bdat { size, last } => self.take_bdat(turn, size, last),
                _ => self.reply_error(turn, &own::ONLY_QUIT),
            };
        }
        let heard = turn.out.events.len();
        if self.hops.is_stale() && !Self::is_taken_before_tls(&command) {
            self.leave_stale_hop(turn);
        }
        let locked = self.client.is_locked() && !Self::is_taken_before_tls(&command);
        let goes_nowhere = matches!(command, Command::Other { verb, .. } if !self.forwards_verb(verb));
        let announced = self.client.hello().is_some() || goes_nowhere || !Self::needs_hello(&command);
        match command {
            _ if locked => self.refuse_too_early(turn, &command, more, &own::TLS_REQUIRED),
            _ if !announced && !self.goes_on_without_hello(turn) => {
                self.refuse_too_early(turn, &command, more, &own::NEED_HELLO);
            }
            Command::Ehlo(name) => self.take_hello(turn, true, name),
            Command::Helo(name) => self.take_hello(turn, false, name),
            Command::Mail { path, params } => self.take_mail(turn, path, params),
            Command::Rcpt { path, params } => self.take_rcpt(turn, path, params),
            Command::Data => self.take_data(turn, more),
            Command::Bdat { size, last } => self.take_bdat(turn, size, last),
            Command::Rset => self.take_rset(turn),
            Command::Quit => self.take_quit(turn),
            Command::Auth { mechanism, .. } => self.take_auth(turn, mechanism, &command),
            Command::Starttls if more => {
                self.close_in_turn(turn, &own::EARLY_INPUT, SessionEnd::Protocol);
            }
            Command::Starttls => self.take_starttls(turn),
            Command::Xclient(attributes) => self.take_xclient(turn, attributes),
            Command::Xforward(attributes) => self.take_xforward(turn, attributes),
            Command::Other { verb, .. } if !self.forwards_verb(verb) => {
                self.reply_error(turn, &own::UNKNOWN_VERB);
            }
            Command::Noop(argument)
            | Command::Vrfy(argument)
            | Command::Expn(argument)
            | Command::Help(argument)
            | Command::Etrn(argument)
            | Command::Other { argument, .. } => self.take_other(turn, &command, argument),
        }
        // One that callouts are asked about is counted when they have answered.
        if !matches!(self.owed.tail().map(|tail| &tail.answer), Some(Answer::Asked(asked)) if asked.is_about_command())
        {
            self.count_command(turn, verb, heard);
        }
    }

    /// Counts a command and what became of it, which the events since `heard` say.
    pub(super) fn count_command(&self, turn: &mut Turn<'_>, verb: Verb, heard: usize) {
        let said = turn.out.events[heard..].iter().rev().find_map(|event| match event {
            Event::Answered { class, origin: Origin::Gatepost } => Some(*class),
            _ => None,
        });
        // A chunk's octets come first, whatever it will be answered.
        let chunk = || (verb == Verb::Bdat).then(|| self.delivery.answer())?.map(|said| said.code().class());
        turn.count(Event::Command(
            verb,
            match said.or_else(chunk) {
                Some(2 | 3) => Taken::Answered,
                Some(_) => Taken::Refused,
                None => Taken::Forwarded,
            },
        ));
    }

    pub(super) fn take_malformed(&mut self, turn: &mut Turn<'_>, error: &CommandError) {
        turn.count(Event::Command(error.verb, Taken::Malformed));
        if error.verb == Verb::Bdat {
            // What follows may be a chunk and must not be read as commands.
            self.close_in_turn(turn, error.reply(), SessionEnd::Protocol);
        } else {
            self.reply_error(turn, self.malformed(error));
        }
    }

    pub(super) fn take_hello(&mut self, turn: &mut Turn<'_>, extended: bool, name: &[u8]) {
        if self.delivery.is_stuffing() || self.hops.is_away() {
            // A hop in the midst of DATA hears no command, and home has not heard of a transaction that is away.
            self.drop_transaction(turn, None, None);
        }
        self.client.ends_group();
        let unannounced =
            self.hops.home().and_then(|home| self.hops.get(home)).is_some_and(Hop::is_unannounced);
        if unannounced && !self.client.is_authenticated() {
            // It met no terms, for want of this; another one will.
            self.dismiss_home(turn);
        }
        let verb = if extended { Verb::Ehlo } else { Verb::Helo };
        let hello = Hello { extended, given: name.into(), sent: None };
        self.ask(turn, Stage::Helo, What::Hello(Box::new(hello)), Subject::Command { verb, argument: name });
    }

    pub(super) fn take_data(&mut self, turn: &mut Turn<'_>, more: bool) {
        // Whoever answers: what stands behind a DATA that is refused may be content.
        self.client.has_more(more);
        let Some(transaction) = self.delivery.transaction() else {
            return self.data_error(turn, &own::NEED_MAIL);
        };
        if self.delivery.content().is_some() {
            return self.data_error(turn, &own::DATA_AFTER_BDAT);
        }
        let binary = params_of(transaction).value("BODY").flatten();
        if binary.is_some_and(|body| body.eq_ignore_ascii_case(b"BINARYMIME")) {
            return self.data_error(turn, &own::BINARYMIME_DATA);
        }
        self.ask(turn, Stage::Data, What::Data, Subject::Command { verb: Verb::Data, argument: b"" });
    }

    pub(super) fn data_error(&mut self, turn: &mut Turn<'_>, own: &'static Own) {
        if self.is_one_too_many(own) {
            self.close_in_turn(turn, &own::TOO_MANY_ERRORS, SessionEnd::Limit);
        } else {
            self.owe(turn, What::Data, Said::Own(own));
        }
    }

    pub(super) fn take_rset(&mut self, turn: &mut Turn<'_>) {
        self.client.ends_group();
        self.drop_transaction(turn, None, None);
        match self.hops.home() {
            Some(_) => self.forward(turn, What::Reset),
            None => self.reply_own(turn, &own::RSET_OK),
        }
    }

    pub(super) fn take_quit(&mut self, turn: &mut Turn<'_>) {
        self.leave_content(turn);
        match self.hops.current() {
            Some(hop) if self.hops.is_ready(hop) => self.forward(turn, What::Quit),
            _ => self.owe(turn, What::Quit, Said::Own(&own::BYE)),
        }
    }

    pub(super) fn take_other(&mut self, turn: &mut Turn<'_>, command: &Command<'_>, argument: &[u8]) {
        let verb = command.verb();
        let line = (!argument.is_empty() || verb == Verb::Other).then(|| {
            let mut line = Vec::new();
            command.write(&mut line);
            line.into_boxed_slice()
        });
        self.ask(turn, Stage::Other, What::Other(verb, line), Subject::Command { verb, argument });
    }

    pub(super) fn take_auth(&mut self, turn: &mut Turn<'_>, mechanism: &[u8], command: &Command<'_>) {
        if self.delivery.transaction().is_some() || self.client.has_authenticated_anywhere() {
            return self.reply_error(turn, &own::BAD_SEQUENCE);
        }
        if !self.client.is_shown_auth(self.door()) || self.is_by_recipient() {
            let for_want_of_tls = self.door().auth == AuthShown::Tls && !self.is_by_recipient();
            let refusal = if for_want_of_tls { &own::AUTH_NEEDS_TLS } else { &own::NOT_IMPLEMENTED };
            return self.reply_error(turn, refusal);
        }
        if !carries_mechanism(mechanism) {
            return self.reply_error(turn, &own::AUTH_MECHANISM);
        }
        let mut line = Vec::new();
        command.write(&mut line);
        // A client that leaves the mechanism out says its secret here.
        let mechanism = shown_mechanism(mechanism);
        self.client.begins_auth(mechanism);
        let subject = Subject::Command { verb: Verb::Auth, argument: mechanism };
        self.ask(turn, Stage::Auth, What::Auth(Some(line.into())), subject);
    }

    /// A line of an AUTH exchange goes on as it is, if it holds nothing that could be read as two.
    pub(super) fn take_auth_line(&mut self, turn: &mut Turn<'_>, line: &[u8]) {
        turn.trace(Peer::Downstream, TraceSide::Client, b"(secret)");
        if line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
            self.cancel_auth(turn);
            return self.reply_error(turn, &own::BARE_OCTET);
        }
        if self.hops.current().is_none() {
            // The hop that asked is gone; this is no command for another, and may be a password.
            self.client.goes_on_with_auth(false);
            return self.reply_own(turn, &own::AUTH_LOST);
        }
        let mut whole = line.to_vec();
        whole.extend_from_slice(b"\r\n");
        self.client.goes_on_with_auth(false);
        self.forward(turn, What::Auth(Some(whole.into())));
    }

    /// Ends an AUTH exchange towards the hop (RFC 4954 4): its 501 is not the client's answer.
    pub(super) fn cancel_auth(&mut self, turn: &mut Turn<'_>) {
        if self.client.leaves_auth()
            && let Some(hop) = self.hops.current().and_then(|hop| self.hops.get_mut(hop))
        {
            hop.say(turn, Expect::Nobody, Say::Auth, |line| line.extend_from_slice(b"*\r\n"));
        }
    }

    /// Owes the client a reply of our own to what it just said.
    pub(super) fn reply_own(&mut self, turn: &mut Turn<'_>, own: &'static Own) {
        self.owe(turn, What::Local, Said::Own(own));
    }

    /// A syntax or sequence error of the client's: answered, and counted against it.
    pub(super) fn reply_error(&mut self, turn: &mut Turn<'_>, own: &'static Own) {
        if self.is_one_too_many(own) {
            self.close_in_turn(turn, &own::TOO_MANY_ERRORS, SessionEnd::Limit);
        } else {
            self.reply_own(turn, own);
        }
    }

    /// Counts an error; whether that was one too many. What only follows from a refusal is the client's pipelining, and no
    /// error (RFC 2920 3.1).
    fn is_one_too_many(&mut self, own: &'static Own) -> bool {
        let follows = *own == own::NEED_MAIL || *own == own::NO_VALID_RECIPIENTS;
        !(follows && self.client.is_behind_mail()) && self.client.erred(&self.settings.limits)
    }

    /// Says the last word when its turn comes, and closes.
    pub(super) fn close_in_turn(&mut self, turn: &mut Turn<'_>, own: &'static Own, end: SessionEnd) {
        self.owe(turn, What::Close(end), Said::Own(own));
    }

    pub(super) fn forwards_verb(&self, verb: &[u8]) -> bool {
        self.settings.forward_verbs.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(verb))
    }

    pub(super) fn trace_command(&self, turn: &mut Turn<'_>, command: &Command<'_>, line: &[u8]) {
        if turn.tracing {
            match command {
                Command::Auth { mechanism, initial } => {
                    let mut masked = b"AUTH".to_vec();
                    let shown = shown_mechanism(mechanism);
                    if !shown.is_empty() {
                        masked.extend([b" ", shown].concat());
                    }
                    if shown.is_empty() || initial.is_some() {
                        masked.extend_from_slice(b" (secret)");
                    }
                    turn.trace(Peer::Downstream, TraceSide::Client, &masked);
                }
                Command::Other { verb, .. } if !self.forwards_verb(verb) => {
                    let shown = format!("({} octets that are no command)", line.trim_ascii_end().len());
                    turn.trace(Peer::Downstream, TraceSide::Client, shown.as_bytes());
                }
                _ => turn.trace(Peer::Downstream, TraceSide::Client, line),
            }
        }
    }
}

fn params_of(transaction: &Transaction) -> Params<'_> {
    Params::parse(transaction.mail.sent.params_octets()).unwrap_or_default()
}
