//! Certificates of our own that are over, or soon will be, in words: for `check`, the log and `/readyz`.
//!
//! In:    when one is over, and the time.
//! Out:   `listeners[0].tls: cert.pem: expires on 2026-12-05, in 6 days`, or nothing.
//! Never: judges the other side's, or fails anything: what an expired one is worth, whoever is shown it decides.

use std::time::SystemTime;

use super::facts::day;
use crate::metrics::certificates::Expiry;

/// A day in seconds.
const DAY: i64 = 86_400;
/// How long before its end a certificate is spoken of: time enough to find out why it was not renewed.
const SOON: i64 = 14 * DAY;

/// What there is to say of a certificate.
pub fn warning(expiry: &Expiry, now: SystemTime) -> Option<String> {
    let Expiry { key, file, at, .. } = expiry;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let left = at.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX));
    let on = day(*at);
    let when = match left {
        ..=0 => format!("expired on {on}"),
        1..DAY => format!("expires on {on}, within a day"),
        DAY..=SOON => format!("expires on {on}, in {} days", left / DAY),
        _ => return None,
    };
    Some(format!("{key}: {}: {when}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn fourteen_days_before_its_end() {
        // 2020-12-31.
        let at = 1_609_372_800;
        let expiry = Expiry { key: "listeners[0].tls".into(), listener: None, file: "cert.pem".into(), at };
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
}
