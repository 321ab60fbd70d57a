//! What a client is called in DNS, as the MTA behind would find it.
//!
//! In:    its address.
//! Out:   the name that its address has (PTR), if that name has its address (A, AAAA); that there is none; or that
//!        nobody said, in the time there was.
//! Never: believes a PTR alone, which whoever has the address may set to any name; takes silence for an answer; or
//!        hands out what is no host name.
//!
//! RFC 1035 3.5, RFC 3596 2.5, RFC 1912 2.1; Postfix's postconf(5) on `unknown` clients. `/etc/hosts` counts, as it does
//! for an MTA.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::task::JoinSet;

use super::addresses::Bound;
use super::dns::{ResolveError, Resolver, is_no_record, rooted, text};
use crate::config::types::is_host_name;
use crate::session::client::ClientName;
use crate::session::route::NotFound;

/// So many of its names are looked at.
const NAMES_MAX: usize = 4;

impl Resolver {
    /// The name of a client: one that its address has, and that has its address. Where there are several, the first
    /// in the order of the alphabet.
    pub async fn client_name(&self, ip: IpAddr, bound: Duration) -> ClientName {
        self.confirmed(ip, Bound::new(bound)).await.unwrap_or(ClientName::Unknown)
    }

    async fn confirmed(&self, ip: IpAddr, bound: Bound) -> Result<ClientName, ResolveError> {
        let pointers = match bound.answer(self.v4.lookup(Name::from(ip), RecordType::PTR)).await? {
            Ok(pointers) => pointers,
            Err(error) if is_no_record(&error) => return Ok(ClientName::None),
            Err(error) => return Err(ResolveError::Lookup(error)),
        };
        let mut names: Vec<_> = pointers
            .answers()
            .iter()
            .filter_map(|record| if let RData::PTR(name) = &record.data { text(name) } else { None })
            .filter(|name| is_host_name(name))
            .collect();
        names.sort_unstable();
        names.truncate(NAMES_MAX);
        let mut questions = JoinSet::new();
        for name in names {
            let resolver = self.clone();
            questions.spawn(async move { (resolver.has_address(&name, ip).await, name) });
        }
        let (mut confirmed, mut unknown) = (None::<Box<str>>, false);
        let all = bound.answers(questions, |(answer, name)| match answer {
            Ok(true) => {
                let first = confirmed.take().map_or(name.clone(), |first| first.min(name));
                confirmed = Some(first);
                true
            }
            Ok(false) => false,
            Err(error) => {
                unknown |= error.not_found() != NotFound::NoDomain;
                false
            }
        });
        let all = all.await;
        Ok(match confirmed {
            Some(name) => ClientName::Is(name),
            None if all && !unknown => ClientName::None,
            None => ClientName::Unknown,
        })
    }

    async fn has_address(&self, name: &str, ip: IpAddr) -> Result<bool, ResolveError> {
        let family = if ip.is_ipv4() { RecordType::A } else { RecordType::AAAA };
        let lookup = self.v4.lookup(rooted(name)?, family).await.map_err(ResolveError::Lookup)?;
        Ok(lookup.answers().iter().any(|record| record.data.ip_addr() == Some(ip)))
    }
}
