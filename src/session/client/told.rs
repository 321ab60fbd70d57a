//! Who the client is, said by a peer that is trusted to say so: XCLIENT, and XFORWARD; and by name servers.
//!
//! In:    attributes from a peer whose address is listed for it: as it connected, as a PROXY header named it, as
//!        XCLIENT did.
//! Out:   after XCLIENT somebody else as the client; after XFORWARD a fact for logs.
//! Never: lets what was told of one client count for the next.
//!
//! Postfix's XCLIENT_README and XFORWARD_README.

use std::net::SocketAddr;

use super::{Client, ClientName, Mark, Teller, XclientFacts};
use crate::session::route::PoolId;
use crate::session::settings::Door;
use crate::smtp::Attributes;

impl Client {
    /// XCLIENT. What is not said stays as it was, but what was told of a client goes with its address, and so does the
    /// right to tell: as Postfix has it, the next client is listed itself, or has none.
    /// `pool`: where its transactions went so far.
    pub fn believe(&mut self, door: &Door, attributes: Attributes<'_>, pool: PoolId) {
        let told = attributes.told();
        let client = self.entrance.client;
        let trusts = told.addr.flatten().is_some_and(|address| door.trusts(address));
        let mut renamed = false;
        let known = self.entrance.facts.clone();
        let facts = self.entrance.facts.get_or_insert_default();
        facts.teller.get_or_insert_with(|| Box::new(Teller { client, facts: known, pool }));
        let xclient = facts.xclient.get_or_insert_default();
        if let Some(address) = told.addr.flatten() {
            facts.via.get_or_insert(client);
            self.entrance.client = SocketAddr::new(address, 0);
            facts.ptr = None;
            *xclient = XclientFacts::default();
            renamed = true;
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
        if renamed && !trusts {
            self.mark(Mark::Trusted, false);
        }
        self.mark(Mark::Authenticated, false);
        self.mark(Mark::AuthRefused, false);
    }

    /// What XCLIENT said counts no more (RFC 3207 4.2): the client is whoever said it, and its transactions go where they
    /// went; `None`: nobody did.
    pub fn disbelieve(&mut self, door: &Door) -> Option<PoolId> {
        let teller = self.entrance.facts.as_mut()?.teller.take()?;
        self.entrance.client = teller.client;
        self.entrance.facts = teller.facts;
        let trusts = door.trusts(self.ip());
        self.mark(Mark::Trusted, trusts);
        self.mark(Mark::AuthRefused, false);
        Some(teller.pool)
    }

    /// XFORWARD: whose message comes next. Each attribute may be said in a line of its own.
    pub fn take_forwarded(&mut self, attributes: Attributes<'_>) {
        let told = attributes.told();
        let facts = self.entrance.facts.get_or_insert_default();
        let forwarded = facts.forwarded.get_or_insert_default();
        forwarded.name = told.name.unwrap_or(forwarded.name.take());
        forwarded.address = told.addr.unwrap_or(forwarded.address);
        forwarded.port = told.port.unwrap_or(forwarded.port);
        forwarded.helo = told.helo.unwrap_or(forwarded.helo.take());
        forwarded.ident = told.ident.unwrap_or(forwarded.ident.take());
        forwarded.proto = told.proto.unwrap_or(forwarded.proto.take());
        forwarded.source = told.source.unwrap_or(forwarded.source.take());
    }

    /// What XFORWARD said holds until the end of its transaction, or of the dialog it was said in.
    pub fn forget_forwarded(&mut self) {
        if let Some(facts) = &mut self.entrance.facts {
            facts.forwarded = None;
        }
    }

    /// What name servers say of it, where no peer said it.
    pub fn named(&mut self, name: ClientName) {
        self.entrance.facts.get_or_insert_default().ptr.get_or_insert(name);
    }
}
