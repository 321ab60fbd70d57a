//! Sets of networks: which clients a rule means.
//!
//! **In**: CIDR blocks of either family, in any order, overlapping or not; an address.
//! **Out**: whether the address is in one of them, by one binary search, however long the list is.
//! **Never**: an IPv4 address that came in IPv6 clothes (`::ffff:192.0.2.1`, RFC 4291 section 2.5.5.2) is a stranger:
//! blocks and addresses are both taken as the IPv4 they are.
//!
//! The blocks become disjoint, sorted ranges when the rules are compiled.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// A set of addresses.
#[derive(Debug, Clone, Default)]
pub(super) struct Networks {
    /// First and last address of each range as numbers, disjoint, ascending.
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Networks {
    pub(super) fn new(blocks: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for block in blocks {
            match plain_net(*block) {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self { v4: joined(v4), v6: joined(v6) }
    }

    /// Whether an address is in the set.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => within(&self.v4, address.to_bits()),
            IpAddr::V6(address) => within(&self.v6, address.to_bits()),
        }
    }
}

/// The block as IPv4 where it lies in the IPv4-mapped part of IPv6.
pub(super) fn plain_net(block: IpNet) -> IpNet {
    if let IpNet::V6(net) = block
        && let Some(length) = net.prefix_len().checked_sub(96)
        && let Some(address) = net.network().to_ipv4_mapped()
        && let Ok(net) = Ipv4Net::new(address, length)
    {
        return IpNet::V4(net.trunc());
    }
    block.trunc()
}

fn joined<N: Ord + Copy>(mut ranges: Vec<(N, N)>) -> Box<[(N, N)]> {
    ranges.sort_unstable();
    // Blocks lie inside one another or apart, so a range that begins within the last one ends within it, too.
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

    #[test]
    fn blocks_of_both_families() {
        let blocks =
            ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32", "2001:db8::/32", "::ffff:198.51.100.0/120"];
        let set = Networks::new(&blocks.map(|block| block.parse().expect("a block")));
        let table = [
            ("10.255.255.255", true),
            ("10.1.2.3", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
            ("::ffff:10.1.1.1", true),
            ("198.51.100.9", true),
            ("::ffff:198.51.101.9", false),
        ];
        for (address, expected) in table {
            assert_eq!(set.contains(address.parse().expect("an address")), expected, "{address}");
        }
        assert!(!Networks::default().contains(Ipv4Addr::LOCALHOST.into()));
        assert!(Networks::new(&["0.0.0.0/0".parse().expect("a block")]).contains(Ipv4Addr::BROADCAST.into()));
    }
}
