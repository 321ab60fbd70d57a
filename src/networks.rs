//! Sets of networks: whom a listener trusts, whom a rule means, who is counted together, whose dialogs are shown.
//!
//! In:    networks of either family, in any order, overlapping or not; an address.
//! Out:   whether the address is in one of them, by one binary search, however many they are; the networks as given.
//! Never: changes once made, or takes an IPv4 address in IPv6 clothes (`::ffff:192.0.2.1`, RFC 4291 2.5.5.2) for a
//!        stranger: networks and addresses are both taken as the IPv4 they are.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

/// A set of networks. Copies share it; two are equal when they were given the same.
#[derive(Clone, Default)]
pub struct Networks {
    given: Arc<[IpNet]>,
    /// First and last address of each range as numbers, disjoint, ascending.
    v4: Arc<[(u32, u32)]>,
    v6: Arc<[(u128, u128)]>,
}

impl Networks {
    /// Whether an address is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => within(&self.v4, address.to_bits()),
            IpAddr::V6(address) => within(&self.v6, address.to_bits()),
        }
    }

    /// The first of them, as given, that an address is in.
    pub fn find(&self, address: IpAddr) -> Option<IpNet> {
        let address = address.to_canonical();
        self.iter().copied().find(|network| plain(*network).contains(&address))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// How many were given.
    pub fn len(&self) -> usize {
        self.given.len()
    }

    /// They, as given.
    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.given.iter()
    }

    /// They, each as IPv4 where it lies in the IPv4-mapped part of IPv6, and without bits behind its prefix.
    pub fn plain(&self) -> impl Iterator<Item = IpNet> {
        self.iter().copied().map(plain)
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<T: IntoIterator<Item = IpNet>>(networks: T) -> Self {
        let given: Arc<[IpNet]> = networks.into_iter().collect();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in given.iter().copied().map(plain) {
            match network {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self { given, v4: joined(v4), v6: joined(v6) }
    }
}

impl PartialEq for Networks {
    fn eq(&self, other: &Self) -> bool {
        self.given == other.given
    }
}

impl Eq for Networks {}

impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.given.iter()).finish()
    }
}

fn plain(network: IpNet) -> IpNet {
    if let IpNet::V6(net) = network
        && let Some(length) = net.prefix_len().checked_sub(96)
        && let Some(address) = net.network().to_ipv4_mapped()
        && let Ok(net) = Ipv4Net::new(address, length)
    {
        return IpNet::V4(net.trunc());
    }
    network.trunc()
}

fn joined<N: Ord + Copy>(mut ranges: Vec<(N, N)>) -> Arc<[(N, N)]> {
    ranges.sort_unstable();
    // Networks lie inside one another or apart, so a range that begins within the last one ends within it, too.
    ranges.dedup_by(|next, kept| next.0 <= kept.1);
    ranges.into()
}

fn within<N: Ord + Copy>(ranges: &[(N, N)], address: N) -> bool {
    let behind = ranges.partition_point(|range| range.0 <= address);
    behind.checked_sub(1).is_some_and(|at| address <= ranges[at].1)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn networks(given: &[&str]) -> Networks {
        given.iter().map(|network| network.parse::<IpNet>().unwrap()).collect()
    }

    #[test]
    fn addresses_of_both_families_are_found() {
        let set = networks(&[
            "10.0.0.0/9",
            "10.128.0.0/9",
            "10.1.0.0/16",
            "192.0.2.1/32",
            "2001:db8::/32",
            "::ffff:198.51.100.0/120",
        ]);
        let table = [
            ("10.0.0.0", Some("10.0.0.0/9")),
            ("10.255.255.255", Some("10.128.0.0/9")),
            ("10.1.2.3", Some("10.0.0.0/9")),
            ("11.0.0.0", None),
            ("9.255.255.255", None),
            ("192.0.2.0", None),
            ("192.0.2.1", Some("192.0.2.1/32")),
            ("192.0.2.2", None),
            ("::ffff:192.0.2.1", Some("192.0.2.1/32")),
            ("2001:db8::1", Some("2001:db8::/32")),
            ("2001:db9::1", None),
            ("::1", None),
            ("::ffff:10.1.1.1", Some("10.0.0.0/9")),
            ("198.51.100.9", Some("::ffff:198.51.100.0/120")),
            ("::ffff:198.51.101.9", None),
        ];
        for (address, expected) in table {
            let parsed = address.parse().unwrap();
            assert_eq!(set.contains(parsed), expected.is_some(), "{address}");
            assert_eq!(set.find(parsed), expected.map(|network| network.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn none_and_all() {
        assert!(!Networks::default().contains(Ipv4Addr::LOCALHOST.into()));
        assert!(Networks::default().is_empty());
        assert!(networks(&["0.0.0.0/0"]).contains(Ipv4Addr::BROADCAST.into()));
        assert!(networks(&["10.1.2.3/8"]).contains("10.9.9.9".parse().unwrap()));
    }

    #[test]
    fn they_stay_as_given() {
        let set = networks(&["10.1.0.0/16", "10.0.0.0/8"]);
        assert_eq!(format!("{set:?}"), "[10.1.0.0/16, 10.0.0.0/8]");
        assert_eq!((set.len(), set == networks(&["10.0.0.0/8"])), (2, false));
        assert_eq!(networks(&["::ffff:10.0.0.0/104"]).plain().next(), "10.0.0.0/8".parse().ok());
    }
}
