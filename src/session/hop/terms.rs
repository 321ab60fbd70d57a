//! The terms a hop is spoken to on, before it hears anything of the client's: TLS, and being told who the client is.
//!
//! In:    a hop that greeted, its terms, what it offers and answers, what came of a handshake.
//! Out:   a hop that is ready to hear the client's dialog, and the greeting that the client hears; or none for it.
//! Never: says anything of the client's before the terms are met; uses anything learned before a handshake after it;
//!        goes on in plain where TLS is required.
//!
//! RFC 3207 4 (STARTTLS), 4.2 (what is forgotten); RFC 8314 3.3 (implicit TLS). `tls` has the handshake, `telling` who
//! the client is.
//!
//! ```text
//! Connecting ─▶ [Securing] ─▶ Greeting ─▶ [OwnHello ─▶ StartTls ─▶ Securing] ─▶ [OwnHello ─▶ Xclient] ─▶ Hello, Ready
//! ```

use std::sync::Arc;
use std::time::Instant;

use super::{Hop, Lent, Stand, WRONG_CLASS};
use crate::dialog::{self, Expect, Say};
use crate::session::client::Client;
use crate::session::events::Event;
use crate::session::facts::TlsFacts;
use crate::session::io::Output;
use crate::session::notes::first_line;
use crate::session::peer::{Peer, Why};
use crate::session::route::{HopTerms, HopTls, Host, HostNews, Identity};
use crate::session::turn::Turn;
use crate::session::unmet::{Instead, Lack, Unmet};
use crate::smtp::{Extensions, Keyword, Names, Own, Reply, ReplyRef, own};

/// The terms of one hop, and how far they are met. A hop without any has none of this.
#[derive(Debug)]
pub struct Terms {
    pub(super) asked: HopTerms,
    /// TLS failed, and is done without.
    pub(super) fell_back: bool,
    /// What the hop can be told about a client.
    pub(super) names: Option<Names>,
    /// It could not be told, and is done without.
    pub(super) untold: bool,
    /// Its first greeting, until the client may hear one.
    pub(super) greeting: Option<Box<Reply>>,
    /// It greeted before TLS and not since: that counts no more.
    pub(super) greeting_forgotten: bool,
    /// XCLIENT was said, and not refused as a command: it knows who the client is.
    pub(super) told: bool,
    /// It heard an EHLO in our own name, which stands for one that the client has not said.
    pub(super) knows_ours: bool,
    /// It must not hear one: the client has not said EHLO, and the hop is to judge that.
    pub(super) unannounced: bool,
    pub(super) tls: Option<TlsFacts>,
    /// It has not said a word since the handshake. In TLS 1.3 ours is done before its: it may refuse us yet.
    pub(super) may_refuse: bool,
}

impl Terms {
    /// A host's, if there are any.
    pub fn of(host: &dyn Host) -> Option<Box<Terms>> {
        let asked = host.terms();
        let any = asked.tls != HopTls::Off || asked.identity != Identity::None;
        any.then(|| Box::new(Terms::begun(asked)))
    }

    /// The TLS there is with it.
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref()
    }

    fn begun(asked: HopTerms) -> Terms {
        Terms {
            asked,
            fell_back: false,
            names: None,
            untold: false,
            greeting: None,
            greeting_forgotten: false,
            told: false,
            knows_ours: false,
            unannounced: false,
            tls: None,
            may_refuse: false,
        }
    }

    /// Whether TLS begins with the connection.
    pub(super) fn begins_with_tls(&self) -> bool {
        self.asked.tls == HopTls::Implicit
    }

    /// Whether STARTTLS is to be said.
    fn wants_starttls(&self) -> bool {
        matches!(self.asked.tls, HopTls::Opportunistic | HopTls::Required)
            && self.tls.is_none()
            && !self.fell_back
            && !(self.unannounced && self.asked.tls == HopTls::Opportunistic)
    }
}

/// What no host of a place could do, and so why there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missed {
    /// TLS.
    Tls,
    /// Being told who the client is.
    Identity,
}

impl Missed {
    /// What the client hears.
    pub fn reply(self) -> &'static Own {
        match self {
            Missed::Tls => &own::HOP_NOT_SECURED,
            Missed::Identity => &own::HOP_NOT_TOLD,
        }
    }
}

/// The greeting that a client may hear.
#[derive(Debug)]
pub enum Greeting<'r> {
    /// The one that just came.
    Heard(ReplyRef<'r>),
    /// The one that was kept until the terms were met.
    Kept(Box<Reply>),
    /// None: what was said before TLS counts no more (RFC 3207 4.2).
    Forgotten,
}

/// Where a hop's terms stand after a step.
#[derive(Debug)]
pub enum Step<'r> {
    /// It is waited for.
    Waits,
    /// They are met: the client's dialog is next.
    Met(Option<Greeting<'r>>),
    /// It was told who the client is, and does not want it.
    RefusesClient(Option<ReplyRef<'r>>),
    /// It is none for this session.
    Lost { why: Why, refusal: Option<Box<Reply>>, missed: Option<Missed> },
}

impl Step<'_> {
    pub(super) fn lost(why: Why) -> Self {
        Step::Lost { why, refusal: None, missed: None }
    }
}

impl Hop {
    /// The connection stands: a handshake is next, or the greeting.
    pub fn opened(&mut self, turn: &mut Turn<'_>) {
        if self.terms.as_ref().is_some_and(|terms| terms.begins_with_tls()) {
            self.begin_tls(turn);
        } else {
            self.await_greeting(turn);
        }
    }

    pub(super) fn await_greeting(&mut self, turn: &Turn<'_>) {
        self.stand = Stand::Greeting;
        self.since = turn.now;
        self.dialog.expect(Expect::Greeting);
    }

    /// It greeted, or refused to.
    pub fn greeted<'r>(&mut self, turn: &mut Turn<'_>, lent: &Lent<'_>, reply: ReplyRef<'r>) -> Step<'r> {
        if !reply.code().is_positive() {
            let told = self.is_told();
            self.stand = Stand::Failed;
            return match reply.code().is_negative() {
                true if told => Step::RefusesClient(Some(reply)),
                true => self.refuses_us(turn, HostNews::Refused, "greeting", reply),
                false => {
                    self.spoke_nonsense(turn, WRONG_CLASS, reply.as_bytes());
                    Step::lost(Why::Malformed)
                }
            };
        }
        match &mut self.terms {
            Some(terms) if terms.wants_starttls() || terms.asks_for_names() => {
                terms.greeting = Some(Box::new(reply.to_owned()));
                self.say_own_hello(turn, lent)
            }
            _ => Step::Met(Some(Greeting::Heard(reply))),
        }
    }

    /// The terms are met. Without another greeting the client may hear the first one, unless that came before TLS.
    pub(super) fn met<'r>(&mut self, greeting: Option<ReplyRef<'r>>) -> Step<'r> {
        let Some(terms) = &mut self.terms else { return Step::Met(greeting.map(Greeting::Heard)) };
        terms.greeting_forgotten &= greeting.is_none();
        let kept = match terms.greeting_forgotten {
            true => Some(Greeting::Forgotten),
            false => terms.greeting.take().map(Greeting::Kept),
        };
        Step::Met(greeting.map(Greeting::Heard).or(kept))
    }

    /// It refuses what it hears before the client's dialog, and was not told who the client is: that speaks of gatepost,
    /// and no client may hear of it as if it were its own.
    fn refuses_us<'r>(
        &mut self,
        turn: &mut Turn<'_>,
        news: HostNews,
        to: &'static str,
        reply: ReplyRef<'r>,
    ) -> Step<'r> {
        self.host.news(news, turn.now);
        self.tell_of_unmet(turn, Lack::Refused(to, first_line(reply.as_bytes())), Instead::NotUsed);
        Step::Lost { why: Why::Broken, refusal: Some(Box::new(reply.to_owned())), missed: None }
    }

    /// EHLO in our own name: what does it offer?
    pub(super) fn say_own_hello<'r>(&mut self, turn: &mut Turn<'_>, lent: &Lent<'_>) -> Step<'r> {
        self.stand = Stand::OwnHello;
        let verb = if self.lmtp { "LHLO" } else { "EHLO" };
        let hello = format!("{verb} {}\r\n", lent.settings.hostname);
        self.say(turn, Expect::Terms, Say::Hello, |line| line.extend_from_slice(hello.as_bytes()));
        Step::Waits
    }

    /// It answered what was said to meet its terms.
    pub fn terms_answered<'r>(
        &mut self,
        turn: &mut Turn<'_>,
        lent: &mut Lent<'_>,
        reply: ReplyRef<'r>,
    ) -> Step<'r> {
        if reply.code().is_intermediate() {
            self.spoke_nonsense(turn, WRONG_CLASS, reply.as_bytes());
            return Step::lost(Why::Malformed);
        }
        let word_to_client = self.is_told() && reply.code().is_negative();
        match self.stand {
            Stand::Xclient => self.xclient_answered(turn, lent, reply),
            _ if reply.code().closes() && word_to_client => Step::RefusesClient(Some(reply)),
            _ if reply.code().closes() => self.refuses_us(turn, HostNews::NoService, "EHLO", reply),
            Stand::StartTls if reply.code().is_positive() => {
                self.begin_tls(turn);
                Step::Waits
            }
            Stand::StartTls if word_to_client && is_policy(reply) => Step::RefusesClient(Some(reply)),
            Stand::StartTls => {
                self.without_tls(turn, lent, Lack::Refused("STARTTLS", first_line(reply.as_bytes())))
            }
            _ => self.own_hello_answered(turn, lent, reply),
        }
    }

    fn own_hello_answered<'r>(
        &mut self,
        turn: &mut Turn<'_>,
        lent: &mut Lent<'_>,
        reply: ReplyRef<'r>,
    ) -> Step<'r> {
        // RFC 5321 4.2.4: one that does not know EHLO offers nothing. Any other refusal is one of whoever says it.
        if reply.code().is_negative() && !matches!(reply.code().get(), 500 | 502) {
            return match self.is_told() {
                true => Step::RefusesClient(Some(reply)),
                false => self.refuses_us(turn, HostNews::HelloRefused, "EHLO", reply),
            };
        }
        let Some(terms) = &mut self.terms else { return Step::Waits };
        let offers = match reply.code().is_positive() {
            true => Extensions::of(reply),
            false => Extensions::default(),
        };
        terms.knows_ours = reply.code().is_positive();
        if !terms.wants_starttls() {
            self.offered_names(turn, lent, reply)
        } else if offers.has(Keyword::StartTls) {
            self.host.offers_tls(turn.now);
            self.stand = Stand::StartTls;
            self.say(turn, Expect::Terms, Say::Last, |line| line.extend_from_slice(b"STARTTLS\r\n"));
            Step::Waits
        } else if terms.asked.tls == HopTls::Required {
            self.unmet(turn, Lack::NotOffered("STARTTLS"), Missed::Tls)
        } else if self.host.has_offered_tls(turn.now) {
            self.tls_withdrawn(turn, lent, reply)
        } else {
            self.offered_names(turn, lent, reply)
        }
    }

    /// This host is none for this session. Where TLS is opportunistic, it stays one for clients who may do without.
    pub(super) fn unmet<'r>(&mut self, turn: &mut Turn<'_>, lack: Lack, missed: Missed) -> Step<'r> {
        self.tell_of_unmet(turn, lack, Instead::NotUsed);
        let is_opportunistic =
            self.terms.as_ref().is_some_and(|terms| terms.asked.tls == HopTls::Opportunistic);
        match missed {
            Missed::Tls if is_opportunistic => {}
            Missed::Tls => self.host.news(HostNews::NotSecured, turn.now),
            Missed::Identity => turn.count(Event::NotTold),
        }
        Step::Lost { why: Why::Unfit, refusal: None, missed: Some(missed) }
    }

    pub(super) fn tell_of_unmet(&self, turn: &mut Turn<'_>, lack: Lack, instead: Instead) {
        turn.wish(Output::Unmet(Arc::clone(&self.host), Box::new(Unmet { lack, instead })));
    }

    /// Whether it was told who the client is, before it has said what it makes of that.
    pub fn is_told(&self) -> bool {
        let connected = self.stand != Stand::Connecting;
        self.terms.as_ref().is_some_and(|terms| terms.told || (connected && terms.is_told_first()))
    }

    /// Whether it could not have said a word yet since it was told: that it closes now is its word to the client.
    pub fn was_just_told(&self) -> bool {
        let begins_with_tls = self.terms.as_ref().is_some_and(|terms| terms.begins_with_tls());
        let silent = match self.stand {
            Stand::Securing => begins_with_tls,
            Stand::Greeting => !begins_with_tls,
            Stand::Xclient => true,
            _ => false,
        };
        silent && self.is_told()
    }

    /// Whether it greeted before TLS and not since, so that the client hears a greeting of gatepost's.
    pub fn is_greeting_forgotten(&self) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.greeting_forgotten)
    }

    /// Whether it heard an EHLO of ours, which stands for one that the client has not said.
    pub fn knows_ours(&self) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.knows_ours)
    }

    /// Whether it was dialled without an EHLO of ours, for a client that had said none.
    pub fn is_unannounced(&self) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.unannounced)
    }

    /// Whether it may be spoken to without an EHLO of ours: not where that is how it learns who the client is, and must.
    /// Nor where TLS is asked for behind it only, and is relied upon.
    pub fn may_be_unannounced(&self, client: &Client, now: Instant) -> bool {
        let is_stripped = self.host.has_offered_tls(now) && !self.may_go_plain(client);
        self.terms.as_ref().is_some_and(|terms| {
            let is_nameless = terms.asks_for_names() && terms.asked.identity_required;
            let is_plain = terms.asked.tls == HopTls::Opportunistic && is_stripped;
            !is_nameless && !is_plain
        })
    }

    /// The client goes on without EHLO: another connection to the same host, which hears none of ours either.
    pub fn dial_unannounced(&mut self, turn: &mut Turn<'_>) {
        if let Some(terms) = &mut self.terms {
            terms.unannounced = true;
        }
        self.dial_again(turn);
    }

    /// This connection is good for nothing: another, to the same host.
    pub(super) fn dial_again(&mut self, turn: &mut Turn<'_>) {
        if let Some(terms) = &mut self.terms {
            **terms = Terms {
                unannounced: terms.unannounced,
                fell_back: terms.fell_back,
                ..Terms::begun(terms.asked)
            };
        }
        self.stand = Stand::Connecting;
        self.dialog = dialog::Upstream::default();
        self.since = turn.now;
        turn.wish(Output::Abort(Peer::Upstream(self.id)));
        turn.wish(Output::Open { hop: self.id, host: Arc::clone(&self.host) });
    }
}

/// Whether a refusal is one of policy (RFC 3463 3.8): about whoever is refused.
pub fn is_policy(reply: ReplyRef<'_>) -> bool {
    reply.enhanced().is_some_and(|enhanced| enhanced.subject == 7)
}
