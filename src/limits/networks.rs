//! A set of networks: clients that are not counted one by one, clients that are counted together.
//!
//! In:    networks in any order, overlapping or not.
//! Out:   whether an address is in one of them, in the logarithm of their number.
//! Never: changes once made.
//!
//! The networks are merged first; what remains is disjoint and sorted, so one binary search answers.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A set of networks.
#[derive(Debug, Default)]
pub(super) struct Networks {
    v4: Box<[Ipv4Net]>,
    v6: Box<[Ipv6Net]>,
}

impl Networks {
    /// The union of `networks`.
    pub(super) fn new(networks: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in IpNet::aggregate(&networks.iter().copied().map(canonical).collect()) {
            match network {
                IpNet::V4(network) => v4.push(network),
                IpNet::V6(network) => v6.push(network),
            }
        }
        v4.sort_unstable_by_key(Ipv4Net::network);
        v6.sort_unstable_by_key(Ipv6Net::network);
        Self { v4: v4.into(), v6: v6.into() }
    }

    /// Whether `address` is in one of them.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let after = self.v4.partition_point(|network| network.network() <= address);
                after > 0 && self.v4[after - 1].contains(&address)
            }
            IpAddr::V6(address) => {
                let after = self.v6.partition_point(|network| network.network() <= address);
                after > 0 && self.v6[after - 1].contains(&address)
            }
        }
    }
}

/// `::ffff:10.0.0.0/104` means `10.0.0.0/8`.
fn canonical(network: IpNet) -> IpNet {
    match (network.network().to_canonical(), network.prefix_len()) {
        (IpAddr::V4(address), length @ 96..) if network.network().is_ipv6() => {
            Ipv4Net::new(address, length - 96).map_or(network, IpNet::V4)
        }
        _ => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_merged_networks() {
        let given = [
            "10.0.0.0/9",
            "10.128.0.0/9",
            "10.1.0.0/16",
            "192.0.2.7/32",
            "2001:db8::/32",
            "::ffff:198.51.100.0/120",
        ];
        let networks = Networks::new(&given.map(|text| text.parse().unwrap()));
        assert_eq!(networks.v4.len(), 3);
        for inside in
            ["10.0.0.0", "10.255.255.255", "192.0.2.7", "::ffff:192.0.2.7", "198.51.100.9", "2001:db8:1::1"]
        {
            assert!(networks.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["9.255.255.255", "11.0.0.0", "192.0.2.6", "192.0.2.8", "2001:db9::1", "::1"] {
            assert!(!networks.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(!Networks::new(&[]).contains("10.0.0.1".parse().unwrap()));
    }
}
