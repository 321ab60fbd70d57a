//! Scalars with a meaning: sizes, durations, addresses, networks, host names, words of SMTP.
//!
//! **In**: a node. **Out**: the value, or `None` after reporting what was expected.
//! **Never**: resolves a name; accepts a number without its unit where seconds and milliseconds could be confused.
//!
//! Sizes: plain octets or `KiB`, `MiB`, `GiB`, `TiB` (and `kB`, `MB`, `GB`, `TB`, powers of a thousand).
//! Durations: `250ms`, `30s`, `5m`, `1h`, `1d`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::types::is_host_name;
use super::walk::{Node, shown};

/// No duration may be longer.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

const SIZE_UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Octets, such as `25MiB` or `4096`.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    parse_unit(text, &SIZE_UNITS)
}

/// The shortest way to write a size.
pub(super) fn print_size(octets: u64) -> String {
    let unit =
        SIZE_UNITS[2..6].iter().rev().find(|(_, unit)| octets >= *unit && octets.is_multiple_of(*unit));
    match unit {
        Some((name, unit)) => format!("{}{name}", octets / unit),
        None => octets.to_string(),
    }
}

/// The shortest way to write a duration.
pub(super) fn print_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    let unit = DURATION_UNITS.iter().rev().find(|(_, unit)| milliseconds.is_multiple_of(*unit));
    let (name, unit) = unit.unwrap_or(&("ms", 1));
    format!("{}{name}", milliseconds / unit)
}

/// A number and one of the units, with at most one space between them.
fn parse_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Readers of scalars.
impl Node<'_> {
    /// Octets from `least` to `most`.
    pub(super) fn size(&self, least: u64, most: u64) -> Option<u64> {
        const WANTED: &str = "a size, such as 25MiB or 4096";
        let Some(octets) = self.scalar().and_then(|text| parse_size(&text)) else {
            return self.expected(WANTED);
        };
        if !(least..=most).contains(&octets) {
            self.error(format!("must be from {} to {}", print_size(least), print_size(most)));
            return None;
        }
        Some(octets)
    }

    /// A duration from `least` to [`LONGEST`].
    pub(super) fn duration(&self, least: Duration) -> Option<Duration> {
        let text = self.scalar().unwrap_or_default();
        let Some(milliseconds) = parse_unit(&text, &DURATION_UNITS) else {
            if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
                self.error(format!("needs a unit, such as {text}s or {text}m"));
                return None;
            }
            return self.expected("a duration, such as 30s, 5m or 250ms");
        };
        let duration = Duration::from_millis(milliseconds);
        if !(least..=LONGEST).contains(&duration) {
            let (least, most) = (print_duration(least), print_duration(LONGEST));
            self.error(format!("must be from {least} to {most}"));
            return None;
        }
        Some(duration)
    }

    /// An address with a port; the port may be left out where there is a default one.
    pub(super) fn socket_address(&self, port: Option<u16>) -> Option<SocketAddr> {
        let text = self.scalar().unwrap_or_default();
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Some(address);
        }
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(&text);
        match (bare.parse::<IpAddr>(), port) {
            (Ok(ip), Some(port)) => Some(SocketAddr::new(ip, port)),
            (Ok(_), None) => {
                self.error(format!("{} needs a port", shown(&text)));
                None
            }
            (Err(_), _) => self.expected("an address and port, such as 127.0.0.1:2525 or \"[::1]:2525\""),
        }
    }

    /// A network, or an address that stands for itself alone.
    pub(super) fn network(&self) -> Option<IpNet> {
        let text = self.scalar().unwrap_or_default();
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(IpNet::from(ip));
        }
        let Ok(network) = text.parse::<IpNet>() else {
            return self.expected("an address or a network, such as 192.0.2.0/24");
        };
        if network.addr() != network.network() {
            self.error(format!(
                "{} has bits set behind its prefix, did you mean \"{}\"?",
                shown(&text),
                network.trunc()
            ));
            return None;
        }
        Some(network)
    }

    /// A host name, or an address literal in brackets, as gatepost may call itself.
    pub(super) fn host_name(&self) -> Option<String> {
        let text = self.text()?;
        let literal = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        let literal = literal.map(|t| t.strip_prefix("IPv6:").unwrap_or(t));
        if text.parse::<IpAddr>().is_ok() {
            // RFC 5321 section 4.1.3: an address stands in brackets where a name is expected.
            let tag = if text.contains(':') { "IPv6:" } else { "" };
            self.error(format!("an address is written \"[{tag}{text}]\" here"));
            return None;
        }
        if is_host_name(&text) || literal.is_some_and(|t| t.parse::<IpAddr>().is_ok()) {
            return Some(text);
        }
        self.expected("a host name, such as mx.example.com")
    }

    /// A verb or keyword, in upper case: letters, digits and `-`, starting with a letter or digit (RFC 5321 4.1.1.1).
    pub(super) fn keyword(&self, wanted: &str) -> Option<String> {
        let text = self.scalar().unwrap_or_default().to_ascii_uppercase();
        if is_keyword(&text) { Some(text) } else { self.expected(wanted) }
    }
}

/// Whether `text` is an `esmtp-keyword` (RFC 5321 section 4.1.2).
pub(super) fn is_keyword(text: &str) -> bool {
    text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_they_print() {
        for (text, octets) in
            [("0", 0), ("4096", 4096), ("64KiB", 65536), ("25 MiB", 26_214_400), ("2kB", 2000)]
        {
            assert_eq!(parse_size(text), Some(octets), "{text}");
            assert_eq!(parse_size(&print_size(octets)), Some(octets), "{text}");
        }
        for text in
            ["", "MiB", "1.5MiB", "10M", "10mib", "-1", "99999999999999999999", "20000000000TiB", "1  KiB"]
        {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn durations_read_as_they_print() {
        for (text, milliseconds) in
            [("0s", 0), ("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("1d", 86_400_000)]
        {
            assert_eq!(parse_unit(text, &DURATION_UNITS), Some(milliseconds), "{text}");
            assert_eq!(print_duration(Duration::from_millis(milliseconds)), text);
        }
        for text in ["", "30", "s", "1.5s", "30sec", "1m30s", "-1s"] {
            assert_eq!(parse_unit(text, &DURATION_UNITS), None, "{text}");
        }
    }
}
