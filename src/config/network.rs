//! Networks as people write them: an address, or one with its prefix; with what would be right for other ways.
//!
//! **In**: a node. **Out**: a network, or `None` after reporting. **Never**: resolves a name, or takes a network whose
//! address has bits behind its prefix: one of the two is wrong.
//!
//! RFC 4632 3.1 (prefixes), RFC 4291 2.3 (those of IPv6).

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::address::{fault, parse};
use super::walk::{Node, shown};

/// A network, or an address that stands for itself alone.
pub(super) fn network(node: &Node<'_>) -> Option<IpNet> {
    let text = node.scalar().unwrap_or_default();
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(IpNet::from(ip));
    }
    let Ok(network) = text.parse::<IpNet>() else {
        return node.expected_near(
            "an address or a network, such as 192.0.2.0/24",
            &as_network(&text).map(|right| format!(", did you mean {right}?")).unwrap_or_default(),
        );
    };
    if network.addr() != network.network() {
        let meant = network.trunc();
        return fault(
            node,
            &format!("{} has bits set behind its prefix, did you mean \"{meant}\"?", shown(&text)),
        );
    }
    Some(network)
}

/// The network that is written in another way, such as with a mask, or with what has no place there.
fn as_network(text: &str) -> Option<String> {
    if matches!(text, "*" | "any" | "all") {
        return Some("0.0.0.0/0 and \"::/0\"".to_owned());
    }
    if text == "localhost" {
        return Some("127.0.0.0/8 and \"::1\"".to_owned());
    }
    if let Some((ip, mask)) = text.split_once('/') {
        let prefix = ipnet::ipv4_mask_to_prefix(mask.parse().ok()?).ok()?;
        return Some(ipnet::Ipv4Net::new(ip.parse().ok()?, prefix).ok()?.trunc().to_string());
    }
    // 10.0.0.* and Postfix's 10.0.0.
    if let Some(front) = text.strip_suffix(".*").or(text.strip_suffix('.')) {
        let front = front.trim_end_matches(".*");
        let parts = front.split('.').count();
        let zeros = ".0".repeat(4_usize.checked_sub(parts)?);
        let whole: Ipv4Addr = format!("{front}{zeros}").parse().ok()?;
        return Some(format!("{whole}/{}", parts * 8));
    }
    let (ip, ..) = parse(text)?;
    Some(format!("{:?}", ip.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_that_are_written_otherwise() {
        let table = [
            ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
            ("10.0.*", "10.0.0.0/16"),
            ("10.", "10.0.0.0/8"),
            ("10.0.0.1:25", "\"10.0.0.1\""),
            ("[::1]", "\"::1\""),
            ("fe80::1%eth0", "\"fe80::1\""),
        ];
        for (text, right) in table {
            assert_eq!(as_network(text).as_deref(), Some(right), "{text}");
        }
        for text in ["300.1.1.1", "10/8", "mail.example.com", "10.0.0.0-10.0.0.9", ""] {
            assert_eq!(as_network(text), None, "{text}");
        }
    }
}
