//! Who the client is, said by a peer that is trusted to say so: XCLIENT, and XFORWARD.
//!
//! In:    attributes from a peer whose address is listed for it: as it connected, as a PROXY header named it, as XCLIENT did.
//! Out:   after XCLIENT a dialog that begins anew, with somebody else as its client; after XFORWARD a fact for logs.
//! Never: believes anybody else; lets a hop go on that knows the session by another client; passes either on.
//!
//! Postfix's XCLIENT_README and XFORWARD_README.

use std::net::SocketAddr;

use super::client::{ClientName, XclientFacts};
use super::io::Output;
use super::{Session, Turn};
use crate::smtp::{Attributes, CommandError, Own, Verb, own};

impl Session {
    /// XCLIENT: from here on the client is whom it names. Answered by the greeting that one hears.
    pub(super) fn take_xclient(&mut self, turn: &mut Turn<'_>, attributes: Attributes<'_>) {
        if !self.flags.trusted {
            return self.reply_error(turn, self.not_to_tell());
        }
        if self.transaction.is_some() {
            return self.reply_error(turn, &own::BAD_SEQUENCE);
        }
        let before = self.client();
        self.believe(attributes);
        if self.client() != before {
            turn.out.outputs.push(Output::Recount(self.client()));
        }
        self.flags.authenticated = false;
        self.flags.stale = false;
        self.pool = self.entrance.pool;
        self.upstreams.set_away(None);
        self.dismiss_all(turn);
        self.forget_dialog(turn);
        self.introduce(turn);
    }

    /// What is not said stays as it was, but what was told of a client goes with its address, and so does the right to
    /// tell: as Postfix has it, the next client is listed itself, or has none.
    fn believe(&mut self, attributes: Attributes<'_>) {
        let told = attributes.told();
        let client = self.entrance.client;
        let trusts = told.addr.flatten().is_some_and(|address| self.door().trusts(address));
        let facts = self.entrance.facts.get_or_insert_default();
        let xclient = facts.xclient.get_or_insert_default();
        if let Some(address) = told.addr.flatten() {
            facts.via.get_or_insert(client);
            self.entrance.client = SocketAddr::new(address, 0);
            facts.ptr = None;
            *xclient = XclientFacts::default();
            self.flags.trusted &= trusts;
        }
        if let Some(port) = told.port {
            self.entrance.client.set_port(port.unwrap_or_default());
        }
        if let Some(name) = told.name {
            let none = if told.name_unknown_for_now { ClientName::Unknown } else { ClientName::None };
            facts.ptr = Some(name.map_or(none, ClientName::Is));
        }
        if let Some(helo) = told.helo {
            xclient.helo = helo;
        }
        if let Some(login) = told.login {
            xclient.login = login;
        }
        let at = facts.destination;
        let address = told.dest_addr.map_or(at.map(|at| at.ip()), |address| address);
        let port = told.dest_port.flatten().or(at.map(|at| at.port())).unwrap_or_default();
        facts.destination = address.map(|address| SocketAddr::new(address, port));
    }

    /// What name servers say of the client, where no peer said it.
    pub(super) fn named(&mut self, name: ClientName) {
        self.entrance.facts.get_or_insert_default().ptr.get_or_insert(name);
    }

    /// XFORWARD: whose message comes next.
    pub(super) fn take_xforward(&mut self, turn: &mut Turn<'_>, attributes: Attributes<'_>) {
        if !self.flags.trusted {
            return self.reply_error(turn, self.not_to_tell());
        }
        if self.transaction.is_some() {
            return self.reply_error(turn, &own::BAD_SEQUENCE);
        }
        let told = attributes.told();
        let facts = self.entrance.facts.get_or_insert_default();
        let forwarded = facts.forwarded.get_or_insert_default();
        // Each may be said in a line of its own.
        forwarded.name = told.name.unwrap_or(forwarded.name.take());
        forwarded.address = told.addr.unwrap_or(forwarded.address);
        forwarded.port = told.port.unwrap_or(forwarded.port);
        forwarded.helo = told.helo.unwrap_or(forwarded.helo.take());
        forwarded.ident = told.ident.unwrap_or(forwarded.ident.take());
        forwarded.proto = told.proto.unwrap_or(forwarded.proto.take());
        forwarded.source = told.source.unwrap_or(forwarded.source.take());
        self.reply_own(turn, &own::OK);
    }

    /// What XFORWARD said holds until the end of its transaction, or of the dialog it was said in.
    pub(super) fn forget_forwarded(&mut self) {
        if let Some(facts) = &mut self.entrance.facts {
            facts.forwarded = None;
        }
    }

    /// What is said to whoever is not listed: where nobody is, these verbs are like any that are not known.
    fn not_to_tell(&self) -> &'static Own {
        if self.door().xclient.is_empty() { &own::UNKNOWN_VERB } else { &own::NOT_AUTHORIZED }
    }

    /// What is said to a line that cannot be read; whoever may not say it at all is not told what is wrong with it.
    pub(super) fn malformed(&self, error: &CommandError) -> &'static Own {
        match error.verb {
            Verb::Xclient | Verb::Xforward if !self.flags.trusted => self.not_to_tell(),
            _ => error.reply(),
        }
    }
}
