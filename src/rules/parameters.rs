//! Rewriting the ESMTP parameters of MAIL and RCPT.
//!
//! **In**: the parameters as they stand; which keywords to take out, which parameters to put in.
//! **Out**: the new parameters, those not named octet for octet and in their order, a single space between; `None`
//! where nothing changes, so that what no rule touched goes upstream as it was sent.
//! **Never**: judges a keyword or a value; the session checks what was rewritten.
//!
//! RFC 5321 section 4.1.2 (`esmtp-param`: keywords without regard to case).

use crate::config::types::Parameters;

/// The parameters after the changes, if they change anything.
pub(super) fn change(now: &[u8], changes: &Parameters) -> Option<Box<[u8]>> {
    let mut waiting: Vec<Option<&str>> = changes.add.iter().map(|added| Some(added.as_str())).collect();
    let mut out: Vec<&[u8]> = Vec::new();
    let mut changed = false;
    for parameter in each(now) {
        let keyword = keyword(parameter);
        if let Some(at) = changes.add.iter().position(|added| same(self::keyword(added.as_bytes()), keyword))
        {
            // The first of its keyword is replaced where it stands, another one goes.
            changed |= changes.add[at].as_bytes() != parameter || waiting[at].is_none();
            out.extend(waiting[at].take().map(str::as_bytes));
        } else if changes.remove.iter().any(|removed| same(removed.as_bytes(), keyword)) {
            changed = true;
        } else {
            out.push(parameter);
        }
    }
    for added in waiting.into_iter().flatten() {
        changed = true;
        out.push(added.as_bytes());
    }
    changed.then(|| out.join(&b' ').into())
}

fn each(parameters: &[u8]) -> impl Iterator<Item = &[u8]> {
    parameters.split(|octet| *octet == b' ' || *octet == b'\t').filter(|parameter| !parameter.is_empty())
}

fn keyword(parameter: &[u8]) -> &[u8] {
    memchr::memchr(b'=', parameter).map_or(parameter, |at| &parameter[..at])
}

fn same(one: &[u8], other: &[u8]) -> bool {
    one.eq_ignore_ascii_case(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes() {
        let table: &[(&str, &str, &str, Option<&str>)] = &[
            ("SIZE=10 BODY=8BITMIME", "BODY", "", Some("SIZE=10")),
            ("SIZE=10 body=8BITMIME", "BODY", "", Some("SIZE=10")),
            ("SIZE=10", "BODY", "", None),
            ("SIZE=10", "SIZE", "", Some("")),
            ("", "", "RET=HDRS", Some("RET=HDRS")),
            ("ret=FULL  Size=3", "", "RET=HDRS", Some("RET=HDRS Size=3")),
            ("RET=FULL RET=HDRS", "", "RET=HDRS", Some("RET=HDRS")),
            ("RET=HDRS", "", "RET=HDRS", None),
            ("RET=HDRS X=1", "RET", "RET=FULL Y", Some("RET=FULL X=1 Y")),
        ];
        for (now, remove, add, expected) in table {
            let own = |words: &str| words.split_whitespace().map(str::to_owned).collect();
            let changes = Parameters { remove: own(remove), add: own(add) };
            let new = change(now.as_bytes(), &changes);
            assert_eq!(new.as_deref(), expected.map(str::as_bytes), "{now} -{remove} +{add}");
        }
    }
}
