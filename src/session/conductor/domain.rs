//! Sessions whose hop is that of each recipient's domain (`recipient_mx`), known at RCPT and not before.
//!
//! In:    EHLO and MAIL, which no hop can answer; RCPT, whose domain names the hosts.
//! Out:   answers of our own that promise only what any hop can be given; the domain to look up.
//! Never: promises an extension that gatepost could not do without at the hop, or lets one transaction go to two
//!        domains (RFC 9422 4.3: `LIMITS RCPTDOMAINMAX=1`).
//!
//! What the hop that is found cannot take (SMTPUTF8, 8BITMIME, SIZE) refuses the recipient. DSN and
//! ENHANCEDSTATUSCODES are not shown: the client would rely on what a hop may not have (RFC 3461 5.2.2, RFC 2034 4).

use super::super::owed::What;
use super::super::peer::{HopId, Peer};
use super::super::route::{Domain, Place, PoolId, PoolKind};
use super::super::said::Said;
use super::super::transaction::{Hello, Mail, Recipient};
use super::super::turn::Turn;
use super::Conductor;
use super::line_of;
use crate::smtp::{Own, Path, Reply, Shown, canonical_domain, own, present};

/// What can be carried to any hop: CHUNKING is bridged, the others are judged when the hop is known.
const CARRIED: [&str; 4] = ["8BITMIME", "SMTPUTF8", "CHUNKING", "LIMITS RCPTDOMAINMAX=1"];

impl Conductor {
    /// Answers EHLO or HELO in the place of a hop that is not known yet.
    pub(super) fn hello_here(&mut self, turn: &mut Turn<'_>, hello: Hello) {
        self.drop_transaction(turn, None, None);
        self.client.show_nothing();
        let hostname = &self.settings.hostname;
        if hello.extended {
            let lines: Vec<String> = std::iter::once(&**hostname)
                .chain(CARRIED)
                .enumerate()
                .map(|(at, text)| format!("250{}{text}", if at == CARRIED.len() { ' ' } else { '-' }))
                .collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let any_hop = Reply::parse_written(&lines).unwrap_or_else(|_| own::PANIC.reply(self.client.id()));
            let shown = Shown {
                message_size: self.settings.limits.message_size,
                recipients: u32::try_from(self.settings.limits.recipients).unwrap_or(u32::MAX),
                auth: false,
                hostname: None,
                forward: &[],
                starttls: self.client.is_offered_tls(self.door()),
                tells: self.client.is_trusted(),
            };
            let start = turn.to(Peer::Downstream).len();
            let mut octets = Vec::new();
            let extensions = present(any_hop.as_ref(), &shown, &mut octets, &mut |_| {});
            turn.to(Peer::Downstream).put(&octets);
            self.client.showed(turn, extensions, start, None);
            self.hops.episode_over();
        } else {
            self.client.tell(turn, &Said::Written(line_of(250, hostname).into()));
        }
        self.client.said_hello(hello);
    }

    /// Answers MAIL in the place of a hop that is not known yet.
    pub(super) fn mail_here(&mut self, turn: &mut Turn<'_>, mail: Mail) {
        if self.client.hello().is_none() {
            self.delivery.take_transaction();
            return self.reply_error(turn, &own::NEED_HELLO);
        }
        // What follows is no hop's until a recipient names one, also while answers to what came before are out.
        self.hops.go_nowhere();
        self.owe(turn, What::Mail(mail), Said::Own(&own::SENDER_OK));
    }

    /// MAIL was answered 2xx here.
    pub(super) fn mail_taken_here(&mut self) {
        if let Some(transaction) = self.delivery.transaction_mut() {
            transaction.accepted = true;
            transaction.needs.size = transaction.size;
        }
    }

    /// The domain whose hosts a recipient of this pool goes to, if that is how the pool finds its hosts.
    pub(super) fn domain_of(
        &self,
        recipient: &Recipient,
        pool: PoolId,
    ) -> Option<Result<Domain, &'static Own>> {
        let PoolKind::ByRecipient(port) = self.settings.next_hops.kind(pool) else { return None };
        let path = recipient.sent.path();
        let name = path.as_ref().and_then(Path::domain).map(canonical_domain).filter(|name| !name.is_empty());
        Some(name.map_or(Err(&own::NO_DOMAIN), |name| {
            Ok(Domain { name: name.into_boxed_str(), port, pool: Some(pool) })
        }))
    }

    /// Whether a recipient of this pool can be said at once where the transaction is.
    pub(super) fn is_on_the_way(&self, recipient: &Recipient, pool: PoolId) -> bool {
        let here = self.current_place();
        match self.domain_of(recipient, pool) {
            None => here == Place::Pool(pool),
            Some(domain) => domain.is_ok_and(|domain| here.is_of(&domain)),
        }
    }

    /// Whether the transaction's hop takes no further recipient: one in a transaction over LMTP, whose replies to the
    /// content are one for each (RFC 2033 4.2).
    pub(super) fn is_full(&self) -> bool {
        self.goes_by_lmtp()
            && self.delivery.transaction().is_some_and(|transaction| !transaction.recipients.is_empty())
    }

    /// Whether the transaction's hop is one that speaks LMTP, or will be.
    pub(super) fn goes_by_lmtp(&self) -> bool {
        matches!(self.current_place(), Place::Pool(pool)
            if self.settings.next_hops.kind(pool) == PoolKind::Lmtp)
    }

    /// Whether the transaction has no hop of its own and may stay with one that took none of its recipients yet.
    pub(super) fn may_settle(&self) -> bool {
        self.delivery.transaction().is_some_and(|transaction| {
            transaction.pinned.is_none()
                && matches!(self.settings.next_hops.kind(transaction.pool), PoolKind::ByRecipient(_))
        })
    }

    /// What a transaction needs and this hop has not got, where the client could not know before.
    pub(super) fn missed_by(&self, hop: HopId) -> Option<&'static Own> {
        let offered = self.hops.get(hop)?.offers();
        self.delivery.transaction().map(|transaction| transaction.needs.missed_by(offered))
    }
}
