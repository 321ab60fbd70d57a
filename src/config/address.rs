//! Addresses and hosts as people write them: taken where one reading is left, else told what would be right.
//!
//! **In**: a node. **Out**: an address with its port, a host or a domain, or `None` after reporting.
//! **Never**: resolves a name, or picks one of two readings: `2001:db8::1:25` is an address, or another and a port.
//!
//! RFC 4291 2.2 (how IPv6 addresses are written), RFC 3986 3.2.2 (brackets where a port follows), RFC 4007 11 (`%eth0`:
//! the interface of a link-local address). The number of an interface is asked of the kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;

use rustix::net::{AddressFamily, SocketType, netdevice, socket};

use super::types::{Target, is_host_name};
use super::walk::{Node, shown};

/// An address that gatepost listens at or asks: with a port, which may be left out where there is a default one.
pub(super) fn socket_address(node: &Node<'_>, port: Option<u16>) -> Option<SocketAddr> {
    const WANTED: &str = "an address and port, such as 127.0.0.1:2525 or \"[::1]:2525\"";
    let text = node.scalar().unwrap_or_default();
    let address = match parse(&text) {
        Some((ip, zone, Some(port))) => at(node, ip, zone, port)?,
        Some((ip, zone, None)) => {
            if let Some((with, alone)) = readings(&text) {
                return match port {
                    None => fault(node, &format!("an IPv6 address with a port is written {with:?}")),
                    Some(_) => ambiguous(node, &text, &with, &alone),
                };
            }
            let Some(port) = port else {
                let v6 = ip.is_ipv6();
                let bare = text.trim_matches(['[', ']']);
                let such = if v6 { format!("\"[{bare}]:2525\"") } else { format!("{bare}:2525") };
                return fault(node, &format!("{} needs a port, such as {such}", shown(&text)));
            };
            at(node, ip, zone, port)?
        }
        None => {
            let advice = instead(&text).or_else(|| listening(&text)).unwrap_or_default();
            return node.expected_near(WANTED, &advice);
        }
    };
    if port.is_some() && address.port() == 0 {
        return fault(node, "ports are from 1 to 65535, found 0");
    }
    Some(address)
}

/// `name`, `name:port`, `192.0.2.1:25`, `[v6]:port`, `unix:/path`.
pub(super) fn target(node: &Node<'_>, port: u16) -> Option<Target> {
    const WANTED: &str =
        "a host, such as mail.example.com, 192.0.2.1:25, \"[2001:db8::1]:25\" or unix:/run/mta";
    let text = node.text()?;
    if let Some(advice) = instead(&text) {
        return node.expected_near(WANTED, &advice);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        if !path.starts_with('/') {
            return fault(node, "the path behind \"unix:\" starts with /");
        }
        return Some(Target::Unix(PathBuf::from(path)));
    }
    if let Some((ip, zone, own)) = parse(&text) {
        if own.is_none()
            && let Some((with, alone)) = readings(&text)
        {
            return ambiguous(node, &text, &with, &alone);
        }
        let host = zone.map_or_else(|| ip.to_string(), |zone| format!("{ip}%{zone}"));
        let port = own.unwrap_or(port);
        // Asked for now, so that an interface that is not there is told of here.
        at(node, ip, zone, port)?;
        return if port == 0 && own.is_some() {
            not_a_port(node, "0")
        } else {
            Some(Target::Tcp { host, port })
        };
    }
    if text.starts_with('[') {
        return match text.rsplit_once("]:") {
            Some((_, digits)) if port_of(digits).is_none() => not_a_port(node, digits),
            _ => node.expected(WANTED),
        };
    }
    let (host, port) = match text.split_once(':') {
        Some((host, digits)) if is_host_name(host) => (host, parse_port(node, digits)?),
        Some(_) => return node.expected(WANTED),
        None => (text.as_str(), port),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let digits = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if !is_host_name(host) || (digits && host.parse::<IpAddr>().is_err()) {
        return node.expected(WANTED);
    }
    Some(Target::Tcp { host: host.to_owned(), port })
}

/// A domain whose mail hosts are looked up, `name` or `name:port`.
pub(super) fn domain(node: &Node<'_>, port: u16) -> Option<(String, u16)> {
    match target(node, port)? {
        Target::Tcp { host, port } if is_name(&host) => Some((host, port)),
        Target::Tcp { .. } | Target::Unix(_) => node.expected("a domain, such as example.com"),
    }
}

/// Where a host that is an address is dialled, scope included; `None`: it is a name, or its interface is not there.
pub(crate) fn scoped(host: &str, port: u16) -> Option<SocketAddr> {
    let (address, zone) = zoned(host);
    let ip: IpAddr = address.parse().ok()?;
    match (ip, zone) {
        (IpAddr::V6(ip), Some(zone)) => Some(SocketAddrV6::new(ip, port, 0, interface(zone)?).into()),
        (_, None) => Some(SocketAddr::new(ip, port)),
        (IpAddr::V4(_), Some(_)) => None,
    }
}

/// Whether a host that was read is a name, not an address.
fn is_name(host: &str) -> bool {
    zoned(host).0.parse::<IpAddr>().is_err()
}

/// An address with its scope, which the kernel has to know.
fn at(node: &Node<'_>, ip: IpAddr, zone: Option<&str>, port: u16) -> Option<SocketAddr> {
    match (ip, zone) {
        (IpAddr::V6(v6), None) if v6.is_unicast_link_local() => {
            fault(node, &format!("{ip} is on every link: name the interface behind it, such as {ip}%eth0"))
        }
        (IpAddr::V6(v6), Some(zone)) => match interface(zone) {
            Some(scope) => Some(SocketAddrV6::new(v6, port, 0, scope).into()),
            None => fault(node, &format!("this machine has no interface {}", shown(zone))),
        },
        (_, _) => Some(SocketAddr::new(ip, port)),
    }
}

/// The number of an interface that is there.
fn interface(zone: &str) -> Option<u32> {
    if let Ok(number) = zone.parse::<u32>() {
        return Some(number).filter(|number| *number > 0);
    }
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    netdevice::name_to_index(socket, zone).ok()
}

/// Address, interface and port of `192.0.2.1:25`, `[v6%zone]:25`, `v6` and the like; the port may be missing.
pub(super) fn parse(text: &str) -> Option<(IpAddr, Option<&str>, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            if !host.contains(':') {
                return None;
            }
            let port = match rest.strip_prefix(':') {
                Some(digits) => Some(port_of(digits)?),
                None if rest.is_empty() => None,
                None => return None,
            };
            (host, port)
        }
        None => match text.split_once(':') {
            Some((host, digits)) if !digits.contains(':') && host.parse::<Ipv4Addr>().is_ok() => {
                (host, Some(port_of(digits)?))
            }
            _ => (text, None),
        },
    };
    let (address, zone) = zoned(host);
    let ip: IpAddr = address.parse().ok()?;
    // An IPv4 address has no interface, and an interface has a name.
    if zone.is_some_and(|zone| zone.is_empty() || ip.is_ipv4()) {
        return None;
    }
    Some((ip, zone, port))
}

fn zoned(host: &str) -> (&str, Option<&str>) {
    host.split_once('%').map_or((host, None), |(address, zone)| (address, Some(zone)))
}

/// The two ways to read an IPv6 address without brackets whose end may be a port.
fn readings(text: &str) -> Option<(String, String)> {
    let (front, last) = text.rsplit_once(':')?;
    let port = port_of(last).filter(|port| *port > 0)?;
    if text.starts_with('[') || front.parse::<Ipv6Addr>().is_err() {
        return None;
    }
    Some((format!("[{front}]:{port}"), format!("[{text}]")))
}

fn ambiguous<T>(node: &Node<'_>, text: &str, with: &str, alone: &str) -> Option<T> {
    let (front, port) = text.rsplit_once(':').unwrap_or((text, ""));
    fault(
        node,
        &format!(
            "{} may be read in two ways: write {with:?} for port {port} of {front}, or {alone:?} for the address alone",
            shown(text)
        ),
    )
}

/// A port in digits alone, 0 included.
fn port_of(digits: &str) -> Option<u16> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

fn parse_port(node: &Node<'_>, digits: &str) -> Option<u16> {
    match port_of(digits) {
        Some(port) if port > 0 => Some(port),
        _ => not_a_port(node, digits),
    }
}

fn not_a_port<T>(node: &Node<'_>, digits: &str) -> Option<T> {
    fault(node, &format!("{} is not a port; ports are from 1 to 65535", shown(digits)))
}

pub(super) fn fault<T>(node: &Node<'_>, text: &str) -> Option<T> {
    node.error(text);
    None
}

/// What would be right for something that is written as in a URL, in other programs' configurations, or by the eye.
pub(super) fn instead(text: &str) -> Option<String> {
    let right = |text: &str| Some(format!(", did you mean {text:?}?"));
    if text.trim() != text {
        return right(text.trim());
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        // unix:///run/mta
        if matches!(scheme, "unix" | "file") {
            return right(&format!("unix:/{}", rest.trim_start_matches('/')));
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let beside = match scheme {
            "smtps" | "submissions" => " and tls: implicit beside it",
            "lmtp" => " and protocol: lmtp beside it",
            _ => "",
        };
        return Some(format!("; a URL is no host, write {host:?}{beside}"));
    }
    // Postfix and milters: inet:host:port, inet:port@host, lmtp:unix:/path; [name]:port
    for prefix in ["inet:", "inet6:", "tcp:", "smtp:", "lmtp:", "relay:", "dns:"] {
        if let Some(rest) = text.strip_prefix(prefix)
            && !rest.is_empty()
            && rest.parse::<u16>().is_err()
        {
            let host = match rest.split_once('@') {
                Some((port, host)) => format!("{host}:{port}"),
                None => rest.to_owned(),
            };
            return right(&without_brackets(&host).unwrap_or(host));
        }
    }
    if let Some(host) = without_brackets(text) {
        return right(&host);
    }
    if text.starts_with('/') || text.starts_with("./") {
        return right(&format!("unix:{}", text.trim_start_matches('.')));
    }
    // Exim: host::25; an IPv6 address too long to be one with its port.
    if let Some((host, port)) = text.rsplit_once(':')
        && port_of(port).is_some_and(|port| port > 0)
    {
        if host.parse::<Ipv6Addr>().is_ok() && text.parse::<Ipv6Addr>().is_err() {
            return right(&format!("[{host}]:{port}"));
        }
        let name = host.strip_suffix(':').filter(|name| is_host_name(name));
        if let Some(name) = name.filter(|_| text.parse::<Ipv6Addr>().is_err()) {
            return right(&format!("{name}:{port}"));
        }
    }
    None
}

/// `[mail.example.com]:25`, as Postfix writes a host that is not to be looked up by MX.
fn without_brackets(text: &str) -> Option<String> {
    let (host, rest) = text.strip_prefix('[')?.split_once(']')?;
    (is_host_name(host) && (rest.is_empty() || rest.starts_with(':'))).then(|| format!("{host}{rest}"))
}

/// What would be right where somebody listens.
fn listening(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    if host == "localhost" {
        return Some(format!("; a name is not resolved here, write 127.0.0.1:{port}"));
    }
    if !port.is_empty()
        && port.bytes().all(|b| b.is_ascii_digit())
        && port_of(port).is_none_or(|port| port == 0)
    {
        return Some("; ports are from 1 to 65535".to_owned());
    }
    port_of(port)?;
    match host {
        "" | "*" | "any" | "all" | "[*]" => Some(format!(
            "; write \"0.0.0.0:{port}\" and \"[::]:{port}\" for all addresses, 127.0.0.1:{port} for this machine alone"
        )),
        name if is_host_name(name) && !name.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
            Some("; a name is not resolved here, write its address".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_read_in_two_ways() {
        let table = [
            ("2001:db8::1:25", Some("[2001:db8::1]:25")),
            ("::1:2525", Some("[::1]:2525")),
            ("2001:db8::25", None),
            ("2001:db8::1:ab", None),
            ("2001:db8::1:0", None),
            ("1:2:3:4:5:6:7:8", None),
            ("[2001:db8::1:25]", None),
            ("192.0.2.1:25", None),
        ];
        for (text, with) in table {
            let found = readings(text).map(|(with, _)| with);
            assert_eq!(found.as_deref(), with, "{text}");
        }
    }

    #[test]
    fn the_loopback_interface_has_a_scope() {
        let Some(SocketAddr::V6(address)) = scoped("fe80::1%lo", 25) else { panic!("lo is everywhere") };
        assert_eq!((address.port(), address.scope_id() > 0), (25, true));
        assert_eq!(scoped("fe80::1%none-such", 25), None);
        assert_eq!(scoped("192.0.2.1%lo", 25), None);
        assert_eq!(scoped("mail.example.com", 25), None);
        assert_eq!(scoped("192.0.2.1", 25), Some("192.0.2.1:25".parse().unwrap()));
    }
}
