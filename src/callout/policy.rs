//! `type: policy`: Postfix's policy delegation, over connections that are kept.
//!
//! **In**: a request, and the transaction it is about. **Out**: the octets of an answer; or a [`Fault`].
//! **Never**: asks two things at once on one connection, takes what was there before a request for its answer, reads more
//! than a bounded answer, or keeps a deadline: whoever waits drops the future, and its connection with it.
//!
//! A transaction's requests go over one connection (SMTPD_POLICY_README: a server may count a message once though it is
//! asked for each recipient), which nobody else has until the message is over, its session asks about another, or ends.
//! There are `concurrency` of them at most; where one more is needed, that which has waited longest for a request is closed:
//! a client that says nothing keeps nobody from being served. A connection that turns out to be dead is replaced, once,
//! if not an octet of an answer was heard on it. Of several addresses the one that answered last is tried first.

mod action;
mod attributes;
#[cfg(test)]
mod tests;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Instance;
use super::kept::{Connections, Doubt, Open};
use super::place::{Address, Connection, First};
use crate::config::types::{Dns, Target};
use crate::session::callout::{Fault, FaultKind};

pub use action::decode;
pub use attributes::{action, encode};

/// Octets of an answer: an action is a line.
const ANSWER: usize = 8 << 10;

/// A server, and the connections to it.
pub(super) struct PolicyClient {
    addresses: Box<[Address]>,
    first: First,
    connections: Connections<Connection>,
}

impl PolicyClient {
    /// One that asks at these addresses, over so many connections.
    pub(super) fn new(addresses: &[Target], concurrency: usize, dns: &Dns) -> Self {
        Self {
            addresses: addresses.iter().map(|target| Address::new(target, dns)).collect(),
            first: First::default(),
            connections: Connections::new(concurrency),
        }
    }

    /// Asks. What comes back is the answer up to its empty line.
    pub(super) async fn ask(&self, request: &[u8], instance: &Instance) -> Result<Vec<u8>, Fault> {
        let mut place = None;
        if let Some(mut open) = self.connections.take(instance) {
            let doubt = self.doubt(open.address);
            match exchange(&mut open.connection, request).await? {
                Exchange::Answered(answer) => {
                    doubt.answered();
                    self.connections.keep(open, instance);
                    return Ok(answer);
                }
                Exchange::Closed => {
                    doubt.answered();
                    place = Some(open.place);
                }
            }
        }
        let mut place = match place {
            Some(place) => Some(place),
            None => self.connections.place().await,
        };
        let mut fault = Fault::new(FaultKind::Unreachable, "");
        let several = self.addresses.len() > 1;
        for address in self.first.order(self.addresses.len()) {
            let doubt = self.doubt(address);
            match self.addresses[address].connect(several).await {
                Err(what) => fault = Fault::new(FaultKind::Unreachable, what),
                Ok(mut connection) => match exchange(&mut connection, request).await? {
                    Exchange::Answered(answer) => {
                        doubt.answered();
                        self.first.answered(address);
                        // Never without one: the semaphore is not closed.
                        if let Some(place) = place.take() {
                            self.connections.keep(Open { connection, address, place }, instance);
                        }
                        return Ok(answer);
                    }
                    // As a server does that cannot answer.
                    Exchange::Closed => fault = Fault::new(FaultKind::Lost, "closed without an answer"),
                },
            }
            self.first.moves_on(address, self.addresses.len());
        }
        Err(fault)
    }

    fn doubt(&self, address: usize) -> Doubt<'_, Connection> {
        Doubt::new(&self.connections, &self.first, (address, self.addresses.len()))
    }
}

enum Exchange {
    Answered(Vec<u8>),
    /// It is closed, and nothing was said on it.
    Closed,
}

/// One request and its answer.
async fn exchange(connection: &mut Connection, request: &[u8]) -> Result<Exchange, Fault> {
    if connection.write_all(request).await.is_err() || connection.flush().await.is_err() {
        return Ok(Exchange::Closed);
    }
    let mut answer = Vec::new();
    loop {
        let heard = answer.len();
        if connection.read_buf(&mut answer).await.unwrap_or_default() == 0 {
            return match heard {
                0 => Ok(Exchange::Closed),
                _ => Err(Fault::new(FaultKind::Lost, "closed in the midst of an answer")),
            };
        }
        match attributes::end_of_answer(&answer) {
            Some(end) if end == answer.len() => return Ok(Exchange::Answered(answer)),
            Some(_) => return Err(Fault::new(FaultKind::Malformed, "more than one answer")),
            None if answer.len() > ANSWER => {
                return Err(Fault::new(FaultKind::Malformed, format!("more than {ANSWER} octets")));
            }
            None => {}
        }
    }
}
