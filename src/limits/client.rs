//! Whom sessions, messages and recipients are counted for.
//!
//! In:    the address of a client.
//! Out:   the key it is counted under: an IPv4 address, or an IPv6 /64, since one customer has at least that much.
//! Never: tells an IPv4-mapped address from the IPv4 one.
//!
//! Kept in eight octets, since each session has one: the upper half of an IPv6 address as it is, an IPv4 address as the
//! /64 0:1:x:x, which is nobody's (RFC 4291 2.4 reserves ::/8; of the loopback's own /64 comes 0:0:0:1).

use std::net::IpAddr;
use std::num::NonZeroU64;

/// An IPv4 address or an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClientKey(NonZeroU64);

impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> Self {
        let key = match address.to_canonical() {
            IpAddr::V4(address) => 1 << 32 | u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        Self(NonZeroU64::new(key).unwrap_or(NonZeroU64::MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_one_client_has_one_key() {
        let client = |text: &str| ClientKey::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(client("192.0.2.1"), client("::ffff:192.0.2.1"));
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:0:0:2"));
        let all = ["192.0.2.1", "192.0.2.2", "0.0.0.0", "::1", "2001:db8::1", "2001:db8:0:1::1", "fe80::1"]
            .map(client);
        for (i, one) in all.iter().enumerate() {
            assert!(!all[..i].contains(one), "{one:?}");
        }
    }
}
