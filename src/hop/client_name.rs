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
        tokio::time::timeout(bound, self.confirmed(ip)).await.unwrap_or(ClientName::Unknown)
    }

    async fn confirmed(&self, ip: IpAddr) -> ClientName {
        let pointers = match self.0.lookup(Name::from(ip), RecordType::PTR).await {
            Ok(pointers) => pointers,
            Err(error) if is_no_record(&error) => return ClientName::None,
            Err(_) => return ClientName::Unknown,
        };
        let mut names: Vec<_> = pointers
            .answers()
            .iter()
            .filter_map(|record| if let RData::PTR(name) = &record.data { text(name) } else { None })
            .filter(|name| is_host_name(name))
            .collect();
        names.sort_unstable();
        names.truncate(NAMES_MAX);
        let mut none = ClientName::None;
        for name in names {
            match self.has_address(&name, ip).await {
                Ok(true) => return ClientName::Is(name),
                Ok(false) => {}
                Err(error) if error.not_found() == NotFound::NoDomain => {}
                Err(_) => none = ClientName::Unknown,
            }
        }
        none
    }

    async fn has_address(&self, name: &str, ip: IpAddr) -> Result<bool, ResolveError> {
        let family = if ip.is_ipv4() { RecordType::A } else { RecordType::AAAA };
        let lookup = self.0.lookup(rooted(name)?, family).await.map_err(ResolveError::Lookup)?;
        Ok(lookup.answers().iter().any(|record| record.data.ip_addr() == Some(ip)))
    }
}
