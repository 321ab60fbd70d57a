//! Certificates that are trusted as they are, keys that are pinned, and what is of no use to be trusted.

use super::*;
use crate::config::types::Pin;
use crate::tls::certificates::{Old, old, self_signed_authority, self_signed_expired};

/// A client of ours that trusts just this file.
fn trusting(file: &Files) -> ClientTls {
    let roots = Some(file.certificate.clone());
    ClientTls::load(&UpstreamTls { mode: HopTls::Required, roots, ..UpstreamTls::default() }).unwrap()
}

#[tokio::test]
async fn a_certificate_that_is_named_among_the_roots_is_trusted_as_it_is() {
    let sides = Sides::new();
    let names = ["mx.example.net"];
    let issued = Authority::new("Another Root").server(&names);
    for (pair, host, fault) in [
        (self_signed_authority(&names), names[0], None),
        (self_signed(&names), names[0], None),
        (
            self_signed_authority(&names),
            "other.example.net",
            Some("certificate is not valid for other.example.net"),
        ),
        (self_signed_expired(&names), names[0], Some("certificate expired on 2020-12-31")),
        (issued, names[0], None),
    ] {
        let files = pair.write(sides.dir.path(), "own");
        let (_, ours) = shake(&sides.server(&[pair]), &trusting(&files), host).await;
        let seen = match ours {
            Ok((_, facts)) => {
                assert!(facts.certificate.unwrap().verified);
                None
            }
            Err(fault) => Some(fault.what),
        };
        assert_eq!(seen.as_deref(), fault);
    }
    // Another one that says the same of itself is another.
    let files = self_signed_authority(&names).write(sides.dir.path(), "own");
    let (_, ours) = shake(&sides.server(&[self_signed_authority(&names)]), &trusting(&files), names[0]).await;
    assert_eq!(ours.unwrap_err().kind, TlsFaultKind::Certificate);
}

#[tokio::test]
async fn so_is_a_clients_that_is_named_among_the_roots_for_clients() {
    let sides = Sides::new();
    let pair = self_signed_authority(&["relay.example.org"]);
    let roots = pair.write(sides.dir.path(), "known").certificate;
    let server = sides.authority.server(&["mx.example.net"]).write(sides.dir.path(), "server");
    let server = ServerTls::load(&ListenerTls {
        mode: DoorTls::StartTls,
        certificates: vec![key_pair(&server)],
        client_roots: Some(roots),
        ..ListenerTls::default()
    });
    let server = server.unwrap();
    let stranger = self_signed_authority(&["relay.example.org"]);
    for (pair, verified) in [(&pair, true), (&stranger, false)] {
        let client = sides.client(HopTls::Required, Some(pair));
        let shown = shake(&server, &client, "mx.example.net").await.0.unwrap().1.certificate.unwrap();
        assert_eq!(shown.verified, verified, "{:?}", shown.fault);
    }
}

#[tokio::test]
async fn a_key_that_is_pinned_needs_nobody_who_vouches_for_it() {
    let sides = Sides::new();
    let pair = self_signed_expired(&["another.example.net"]);
    let pin = crate::tls::pin(&pair.chain()[0]).unwrap();
    let server = sides.server(&[pair]);
    let other = Pin([7; 32]);
    for (pins, verified) in [(vec![pin], true), (vec![other, pin], true), (vec![other], false)] {
        let pinned = UpstreamTls { mode: HopTls::Required, pins, ..UpstreamTls::default() };
        let (_, ours) = shake(&server, &ClientTls::load(&pinned).unwrap(), "mx.example.net").await;
        match ours {
            Ok((_, facts)) => assert!(facts.certificate.unwrap().verified && verified),
            Err(fault) => {
                assert!(!verified && fault.kind == TlsFaultKind::Certificate);
                assert_eq!(&*fault.what, format!("key is not one that is pinned: {pin}"));
            }
        }
    }
}

#[tokio::test]
async fn keys_and_certificates_of_old_are_told_of_as_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let read = |files: &Files| {
        let text = std::fs::read(&files.certificate).unwrap();
        rustls_pemfile::certs(&mut &text[..]).next().unwrap().unwrap()
    };
    let name = name("mx.example.net");
    for (kind, fault) in [
        (Old::Version1, "certificate is not of X.509 version 3"),
        (Old::Rsa1024, "key of 1024 bits is too short"),
    ] {
        let files = old(kind, "mx.example.net", dir.path(), "old");
        let leaf = read(&files);
        // Even one that is trusted as it is.
        assert_eq!(
            trusting(&files).now().judge.fault(std::slice::from_ref(&leaf), &name).as_deref(),
            Some(fault)
        );
        let pins = vec![crate::tls::pin(&leaf).unwrap()];
        let pinned = UpstreamTls { mode: HopTls::Required, pins, ..UpstreamTls::default() };
        let fault = ClientTls::load(&pinned).unwrap().now().judge.fault(&[leaf], &name);
        let expected = (kind == Old::Rsa1024).then_some("key of 1024 bits is too short");
        assert_eq!(
            fault.as_deref(),
            expected,
            "a key may be pinned whatever its certificate is, if it is of use"
        );
    }
}
