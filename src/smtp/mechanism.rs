//! Names of SASL mechanisms: what may be shown of a line that begins with AUTH.
//!
//! In:    the word behind AUTH, from a client.
//! Out:   the same, if it is the name of a mechanism that is known; else nothing.
//! Never: takes a word for a name because it looks like one: a client that leaves the mechanism out says its secret in
//!        that place.
//!
//! RFC 4422 3.1; IANA's registry of SASL mechanisms, and those in use that are not in it.

/// Names, and beginnings of names where they end with `-`.
const KNOWN: [&str; 26] = [
    "9798-",
    "ANONYMOUS",
    "CRAM-MD5",
    "DIGEST-MD5",
    "EAP-",
    "ECDH-X25519-CHALLENGE",
    "ECDSA-NIST256P-CHALLENGE",
    "EXTERNAL",
    "GS2-",
    "GSS-SPNEGO",
    "GSSAPI",
    "KERBEROS_V4",
    "KERBEROS_V5",
    "LOGIN",
    "MS-XOAUTH",
    "NTLM",
    "OAUTH10A",
    "OAUTHBEARER",
    "OPENID20",
    "OTP",
    "PLAIN",
    "SAML20",
    "SCRAM-",
    "SECURID",
    "SKEY",
    "XOAUTH2",
];

/// The longest name (RFC 4422 3.1: 20 characters; one in use has more).
const MOST: usize = 24;

/// What may be shown of the word behind AUTH.
pub fn shown_mechanism(word: &[u8]) -> &[u8] {
    let name = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    let is = |known: &str| match known.strip_suffix('-') {
        Some(_) => word.get(..known.len()).is_some_and(|head| head.eq_ignore_ascii_case(known.as_bytes())),
        None => word.eq_ignore_ascii_case(known.as_bytes()),
    };
    let known = word.len() <= MOST && word.iter().all(name) && KNOWN.iter().any(|known| is(known));
    if known { word } else { b"" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_secrets() {
        for name in
            ["PLAIN", "login", "Cram-MD5", "SCRAM-SHA-256-PLUS", "xoauth2", "ECDSA-NIST256P-CHALLENGE"]
        {
            assert_eq!(shown_mechanism(name.as_bytes()), name.as_bytes());
        }
        for secret in [
            "AGEAYg==",
            "cGFzc3dvcmQ",
            "PLAINTEXT",
            "SCRAM-/+=",
            "SCRAM-AAAAAAAAAAAAAAAAAAAAAAAA",
            "",
            "hunter2",
        ] {
            assert_eq!(shown_mechanism(secret.as_bytes()), b"", "{secret}");
        }
    }
}
