//! HTTP callouts under TLS: certificates of either side, and what is said of those that are not in order.
//!
//! In:    a service that shows a certificate, and may want one.
//! Out:   an answer; or which certificate is wrong, and how.
//! Never: sleeps, or leaves loopback.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use crate::certificates::{Authority, Files, Pair, self_signed};
use crate::service::{Does, H2, Pki, Service};
use crate::{ask, asker, run, said};

#[test]
fn a_certificate_that_is_not_in_order_is_told_of() {
    let pki = Pki::new();
    let of = |pair: Pair| (*pair.server_config()).clone();
    let stranger = Authority::new("Stranger");
    let good = pki.roots();
    let table = [
        (of(pki.authority.server(&["127.0.0.1"])), &*good, "pass"),
        (of(stranger.server(&["127.0.0.1"])), &good, "unknown issuer"),
        (of(pki.authority.expired(&["127.0.0.1"])), &good, "certificate expired on 2020-12-31"),
        (
            of(pki.authority.not_yet_valid(&["127.0.0.1"])),
            &good,
            "certificate is not valid before 2090-01-01",
        ),
        (of(pki.authority.server(&["d.example"])), &good, "certificate is not valid for 127.0.0.1"),
        (of(pki.authority.server(&["d.example"])), &format!("{good}, server_name: d.example"), "pass"),
        (of(self_signed(&["127.0.0.1"])), &good, "self-signed certificate"),
        (of(stranger.server(&["elsewhere.example"])), "verify: false", "pass"),
    ];
    for (server, tls, expected) in table {
        let service = Service::start(server, H2, |_| Does::Answers);
        let heard = said(run(ask(&service.asker(tls))));
        let failed = format!("unreachable: {}: TLS: {expected}", service.address);
        assert_eq!(heard, if expected == "pass" { "pass" } else { &*failed }, "{tls}");
    }
}

#[test]
fn a_certificate_of_our_own_is_shown_where_it_is_wanted() {
    let pki = Pki::new();
    let own = pki.authority.client("gatepost").write(pki.dir.path(), "own");
    let other = Authority::new("Stranger").client("gatepost").write(pki.dir.path(), "other");
    let with = |files: &Files| {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        format!("{}, certificate: {certificate}, key: {key}", pki.roots())
    };
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let roots = Arc::new(pki.authority.roots());
        let pair = pki.authority.server(&["127.0.0.1"]);
        let server = ServerConfig::builder_with_protocol_versions(&[version])
            .with_client_cert_verifier(WebPkiClientVerifier::builder(roots).build().unwrap())
            .with_single_cert(pair.chain(), pair.key())
            .unwrap();
        let service = Service::start(server, H2, |_| Does::Answers);
        assert_eq!(said(run(ask(&service.asker(&with(&own))))), "pass");
        // With TLS 1.3 it comes behind the handshake (RFC 8446 4.4.2.4), where the client has a connection already.
        for (tls, refused) in [(pki.roots(), "it wants a certificate of ours"), (with(&other), "")] {
            let heard = said(run(ask(&service.asker(&tls))));
            let tells = heard.contains(&format!("TLS: the other side refused: {refused}"));
            assert!(heard.starts_with("unreachable: ") && tells, "{version:?} {tls}: {heard}");
        }
        assert_eq!(service.connections(), [1]);
    }
}

#[test]
fn who_speaks_no_tls_is_told_of() {
    let pki = Pki::new();
    let (address, service) = crate::scripted(vec![crate::act(|mut heard| {
        heard.say("HTTP/1.1 400 Bad Request\r\n\r\n");
        heard.ended();
    })]);
    let asker = asker(&format!("https://{address}/"), &format!(", tls: {{ {} }}", pki.roots()));
    let heard = said(run(ask(&asker)));
    assert_eq!(heard, format!("unreachable: {address}: TLS: octets that are no TLS"));
    service.join().unwrap();
}

#[test]
fn files_that_cannot_be_used_are_told_of_with_their_place() {
    let pki = Pki::new();
    let own = pki.authority.client("gatepost").write(pki.dir.path(), "own");
    let other = pki.authority.client("gatepost").write(pki.dir.path(), "other");
    let path = |path: &Path| path.display().to_string();
    let (certificate, key, none) = (path(&own.certificate), path(&other.key), path(&pki.path("none.pem")));
    for (tls, expected) in [
        (format!("roots: {none}"), format!("{none}: cannot be read: No such file or directory (os error 2)")),
        (
            format!("certificate: {certificate}, key: {key}"),
            format!("{key}: is not the key of the certificate in {certificate}"),
        ),
        (
            format!("roots: {key}"),
            format!(
                "{key}: holds a private key and no certificate: are \"certificate\" and \"key\" swapped?"
            ),
        ),
    ] {
        let wrong = crate::compile("https://127.0.0.1/", &format!(", tls: {{ {tls} }}")).err().unwrap();
        let said: Vec<_> = wrong.iter().map(|error| (error.mark.line, error.to_string())).collect();
        assert_eq!(said, [(2, format!("callout service: tls: {expected}"))]);
    }
}
