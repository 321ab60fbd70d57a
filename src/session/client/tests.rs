//! What is known of a client, read in one word.

use super::{ClientFacts, ClientName, ProxiedFacts, TlsFacts, TlsVersion, XclientFacts};

#[test]
fn secured_is_who_has_tls_with_us_or_the_balancer() {
    let tls = || Some(TlsFacts::default());
    let proxied = |tls| Some(ProxiedFacts { tls, ..ProxiedFacts::default() });
    for (facts, secured) in [
        (ClientFacts::default(), false),
        (ClientFacts { destination: "192.0.2.25:25".parse().ok(), ..ClientFacts::default() }, false),
        (ClientFacts { xclient: Some(XclientFacts::default()), ..ClientFacts::default() }, false),
        (ClientFacts { proxied: proxied(None), ..ClientFacts::default() }, false),
        (ClientFacts { proxied: proxied(tls()), ..ClientFacts::default() }, true),
        (ClientFacts { tls: tls(), ..ClientFacts::default() }, true),
    ] {
        assert_eq!(facts.is_secured(), secured, "{facts:?}");
    }
}

#[test]
fn versions_of_tls_are_those_that_gatepost_speaks() {
    for (version, expected) in [
        ("TLSv1.2", TlsVersion::Tls12),
        ("TLSv1.3", TlsVersion::Tls13),
        ("TLSv1.1", TlsVersion::Other),
        ("", TlsVersion::Other),
    ] {
        assert_eq!(TlsFacts { version: version.into(), ..TlsFacts::default() }.version(), expected);
    }
}

#[test]
fn a_name_is_known_not_known_or_not_known_yet() {
    for (ptr, name, unknown) in [
        (None, None, false),
        (Some(ClientName::None), None, false),
        (Some(ClientName::Unknown), None, true),
        (Some(ClientName::Is("mail.example.org".into())), Some("mail.example.org"), false),
    ] {
        let facts = ClientFacts { ptr, ..ClientFacts::default() };
        assert_eq!((facts.name(), facts.is_name_unknown()), (name, unknown));
    }
}
