//! Certificates of our own that are over, or soon will be, in words: for `check`, the log and `/readyz`.
//!
//! In:    a chain; when one is over, and the time.
//! Out:   which of the chain is over first; `listeners[0].tls: cert.pem: expires on 2026-12-05, in 6 days`, or nothing.
//! Never: judges the other side's, or fails anything: what an expired one is worth, whoever is shown it decides.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::facts::day;
use super::name::{expires, subject};
use crate::metrics::certificates::Expiry;

/// A day in seconds.
const DAY: i64 = 86_400;
/// How long before its end a certificate is spoken of: time enough to find out why it was not renewed.
const SOON: i64 = 14 * DAY;

/// When a chain is over, with the first of its certificates that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// In seconds since 1970.
    pub at: i64,
    /// Which that is, where it is not the chain's first.
    pub of: Option<Box<str>>,
}

/// The end of a chain. Whoever is shown it needs all of it.
pub fn end(chain: &[CertificateDer<'_>]) -> Option<End> {
    let ends = chain.iter().enumerate().filter_map(|(place, one)| Some((place, one, expires(one)?)));
    let (place, one, at) = ends.min_by_key(|(_, _, at)| *at)?;
    let of = (place > 0).then(|| format!("certificate {} in it, {},", place + 1, subject(one)).into());
    Some(End { at, of })
}

/// What there is to say of a certificate.
pub fn warning(expiry: &Expiry, now: SystemTime) -> Option<String> {
    let Expiry { key, file, at, of, .. } = expiry;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let left = at.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX));
    let on = day(*at);
    let when = match left {
        ..=0 => format!("expired on {on}"),
        1..DAY => format!("expires on {on}, within a day"),
        DAY..=SOON => format!("expires on {on}, in {} days", left / DAY),
        _ => return None,
    };
    let of = of.as_ref().map(|of| format!("{of} ")).unwrap_or_default();
    Some(format!("{key}: {}: {of}{when}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::certificates::{Authority, Pair};
    use super::*;

    #[test]
    fn fourteen_days_before_its_end() {
        // 2020-12-31.
        let at = 1_609_372_800;
        let (key, file) = ("listeners[0].tls".into(), "cert.pem".into());
        let expiry = Expiry { key, listener: None, file, at, of: None };
        let said = |left: i64| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs((at - left).cast_unsigned());
            warning(&expiry, now).map(|said| said.replace("listeners[0].tls: cert.pem: ", ""))
        };
        for (left, words) in [
            (SOON + 1, None),
            (SOON, Some("expires on 2020-12-31, in 14 days")),
            (DAY * 2 - 1, Some("expires on 2020-12-31, in 1 days")),
            (DAY - 1, Some("expires on 2020-12-31, within a day")),
            (0, Some("expired on 2020-12-31")),
            (-DAY * 1000, Some("expired on 2020-12-31")),
        ] {
            assert_eq!(said(left).as_deref(), words, "{left}");
        }
    }

    #[test]
    fn the_first_end_of_a_chain_counts() {
        const FAR: i64 = 3_755_376_000;
        let root = Authority::new("Example Root");
        let issuing =
            root.subordinate("Example, Issuing", Duration::from_secs((DAY * 6 + DAY / 2).cast_unsigned()));
        let end_of = |pair: Pair| end(&pair.chain()).unwrap();
        assert_eq!(
            end_of(root.server(&["mx.example.net"])),
            End { at: FAR, of: None },
            "of equals the first"
        );
        assert_eq!(end_of(issuing.expired(&["mx.example.net"])), End { at: 1_609_372_800, of: None });
        let End { at, of } = end_of(issuing.server(&["mx.example.net"]));
        assert!(at < FAR);
        assert_eq!(of.as_deref(), Some("certificate 2 in it, CN=Example\\, Issuing,"));
        let expiry =
            Expiry { key: "upstreams.main.tls".into(), listener: None, file: "c.pem".into(), at, of };
        let said = warning(&expiry, SystemTime::now()).unwrap();
        let words = "upstreams.main.tls: c.pem: certificate 2 in it, CN=Example\\, Issuing, expires on 20";
        assert!(said.starts_with(words) && said.ends_with(", in 6 days"), "{said}");
        assert_eq!(end(&[]), None);
    }
}
