//! Scalars with a meaning: sizes, durations, host names, words of SMTP. Addresses are `address`' matter.
//!
//! **In**: a node. **Out**: the value, or `None` after reporting what was expected.
//! **Never**: resolves a name; accepts a number without its unit where seconds and milliseconds could be confused.
//!
//! Sizes: plain octets or `KiB`, `MiB`, `GiB`, `TiB` (and `kB`, `MB`, `GB`, `TB`, powers of a thousand).
//! Durations: `250ms`, `30s`, `5m`, `1h`, `1d`.

use std::net::IpAddr;
use std::time::Duration;

use super::address::instead;
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

/// What a size looks like.
const A_SIZE: &str = "a size, such as 25MiB or 4096";

/// Octets as the configuration has them, for whoever reads them elsewhere.
///
/// # Errors
///
/// What is wrong, in the configuration's words.
pub(crate) fn read_size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| format!("expected {A_SIZE}, found {}{}", shown(text), size_near(text)))
}

/// What was likely meant by a size in another spelling: `10M`, `10 mb`, `1.5KiB`.
pub(super) fn size_near(text: &str) -> String {
    let (number, unit) = split_unit(text);
    let unit = unit.to_ascii_lowercase();
    let meant = match unit.as_str() {
        "k" | "kib" | "kbyte" | "kbytes" => "KiB",
        "m" | "mib" | "meg" | "mbyte" | "mbytes" | "megabyte" | "megabytes" => "MiB",
        "g" | "gib" | "gbyte" | "gbytes" | "gigabyte" | "gigabytes" => "GiB",
        "t" | "tib" => "TiB",
        "kb" => "kB",
        "mb" => "MB",
        "gb" => "GB",
        "tb" => "TB",
        "byte" | "bytes" | "octets" | "b" => "",
        _ => return String::new(),
    };
    let Some((_, factor)) = SIZE_UNITS.iter().find(|(name, _)| *name == meant) else { return String::new() };
    near(number, *factor, |octets| match octets.is_multiple_of(*factor) {
        true => format!("{}{meant}", octets / factor),
        false => print_size(octets),
    })
}

/// What was likely meant by a duration in another spelling: `5 minutes`, `1m30s`, `1.5h`.
fn duration_near(text: &str) -> String {
    let mut rest = text.trim();
    let mut sum = Some(0_u64);
    while !rest.is_empty() {
        let (number, behind) = split_unit(rest);
        let end = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let unit = behind[..end].trim().to_ascii_lowercase();
        let factor = match unit.as_str() {
            "ms" | "msec" | "millis" | "milliseconds" => 1,
            "s" | "sec" | "secs" | "second" | "seconds" => 1000,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => 86_400_000,
            _ => return String::new(),
        };
        sum = sum.zip(times(number, factor)).and_then(|(sum, more)| sum.checked_add(more));
        rest = behind[end..].trim_start();
    }
    let meant = sum.filter(|_| !text.is_empty()).map(Duration::from_millis);
    meant.map(|meant| format!(", did you mean {}?", print_duration(meant))).unwrap_or_default()
}

fn near(number: &str, factor: u64, print: impl Fn(u64) -> String) -> String {
    let meant = times(number, factor).filter(|meant| *meant > 0);
    meant.map(|meant| format!(", did you mean {}?", print(meant))).unwrap_or_default()
}

/// The number in front, with a point and separators as people write them, and what stands behind it.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_digit() || ".,_".contains(c))).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

/// A number with a point, times a factor, if that is a whole number.
fn times(number: &str, factor: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let (whole, part) = (whole.replace(['_', ','], ""), part.trim_end_matches('0'));
    let whole: u64 = if whole.is_empty() { return None } else { whole.parse().ok()? };
    let part = match part {
        "" => 0,
        digits => {
            let scale = 10_u64.checked_pow(u32::try_from(digits.len()).ok()?)?;
            let times = digits.parse::<u64>().ok()?.checked_mul(factor)?;
            times.is_multiple_of(scale).then_some(times / scale)?
        }
    };
    whole.checked_mul(factor)?.checked_add(part)
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
        let text = self.scalar().unwrap_or_default();
        let Some(octets) = parse_size(&text) else { return self.expected_near(A_SIZE, &size_near(&text)) };
        if !(least..=most).contains(&octets) {
            let (least, most) = (print_size(least), print_size(most));
            self.error(format!("must be from {least} to {most}, found {text}"));
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
            return self.expected_near("a duration, such as 30s, 5m or 250ms", &duration_near(&text));
        };
        let duration = Duration::from_millis(milliseconds);
        if !(least..=LONGEST).contains(&duration) {
            let (least, most) = (print_duration(least), print_duration(LONGEST));
            self.error(format!("must be from {least} to {most}, found {text}"));
            return None;
        }
        Some(duration)
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
        self.expected_near("a host name, such as mx.example.com", &instead(&text).unwrap_or_default())
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
    fn what_was_likely_meant() {
        for (text, meant) in [
            ("10M", "10MiB"),
            ("10 mb", "10MB"),
            ("1.5KiB", "1536"),
            ("2 GB", "2GB"),
            ("10_000 bytes", "10000"),
        ] {
            assert_eq!(size_near(text), format!(", did you mean {meant}?"), "{text}");
        }
        for text in ["", "M", "ten", "-1", "1.0001k", "99999999999999999999k", "5 apples"] {
            assert_eq!(size_near(text), "", "{text}");
        }
        for (text, meant) in
            [("5 minutes", "5m"), ("1m30s", "90s"), ("1.5h", "90m"), ("30sec", "30s"), ("1h 30min", "90m")]
        {
            assert_eq!(duration_near(text), format!(", did you mean {meant}?"), "{text}");
        }
        for text in ["", "soon", "-5s", "5 apples", "99999999999999999999d"] {
            assert_eq!(duration_near(text), "", "{text}");
        }
    }

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
