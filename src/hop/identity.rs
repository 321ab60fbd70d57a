//! Who a hop is told the client is, where it is told by the connection itself: a PROXY header, or where it comes from.
//!
//! In:    a pool's `identity`, and the session a hop is dialled for.
//! Out:   an [`Introduction`]: octets to be written first, or the address to come from; or why it cannot be told.
//! Never: tells anybody's name but the session's client's; says anything in SMTP (XCLIENT and XFORWARD are the
//!        session's).
//!
//! HAProxy's specification of the PROXY protocol; ip(7), `IP_TRANSPARENT`.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use socket2::SockRef;
use tokio::net::TcpSocket;

use super::target::Address;
use crate::proxy_protocol::{Proxied, Ssl, Tlvs, v1, v2};
use crate::session::client::{ClientFacts, TlsFacts};
use crate::session::route::{HopTerms, Identity};
use crate::session::settings::Entrance;
use crate::smtp::SessionId;

/// What comes before a hop's greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Introduction {
    /// Nothing.
    None,
    /// A PROXY header, in one write, before any TLS.
    Header(Vec<u8>),
    /// The connection comes from the client's address.
    From {
        /// That address.
        client: IpAddr,
        /// Or not at all.
        required: bool,
    },
}

/// Why a hop cannot see the client's address.
#[derive(Debug)]
pub enum Untold {
    /// The process may not take another's address.
    Privilege,
    /// The client's address and the host's are of different families.
    Family(IpAddr, IpAddr),
    /// A Unix socket, or the embedded sink: there are no addresses.
    NoAddress,
    /// Anything else the kernel says.
    Address(io::Error),
}

impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Untold::Privilege => f.write_str("not permitted: it takes CAP_NET_RAW or CAP_NET_ADMIN"),
            Untold::Family(client, host) => {
                write!(f, "the client's address {client} is of another family than the host's, {host}")
            }
            Untold::NoAddress => f.write_str("the host has no address"),
            Untold::Address(error) => error.fmt(f),
        }
    }
}

impl Introduction {
    /// What a hop hears for a session.
    pub fn of(terms: HopTerms, entrance: &Entrance, session: SessionId) -> Introduction {
        let mut octets = Vec::new();
        match terms.identity {
            Identity::None | Identity::Xclient | Identity::Xforward => return Introduction::None,
            Identity::SourceAddress => {
                let required = terms.identity_required;
                return Introduction::From { client: entrance.client.ip(), required };
            }
            Identity::ProxyV1 => v1::write(entrance.client, destination(entrance), &mut octets),
            Identity::ProxyV2 => {
                let tlvs = tlvs(entrance.facts.as_deref(), session);
                let proxied = Proxied { source: entrance.client, destination: destination(entrance), tlvs };
                v2::write(&proxied, &mut octets);
            }
        }
        Introduction::Header(octets)
    }

    /// What a hop hears when nobody's mail is meant: a probe comes from gatepost itself, and says so.
    pub fn of_probe(identity: Identity) -> Introduction {
        match identity {
            Identity::None | Identity::Xclient | Identity::Xforward | Identity::SourceAddress => {
                Introduction::None
            }
            Identity::ProxyV1 => Introduction::Header(v1::LOCAL.to_vec()),
            Identity::ProxyV2 => Introduction::Header(v2::LOCAL.to_vec()),
        }
    }
}

/// Whether a connection to `host` could come from an address that is not this machine's.
///
/// # Errors
///
/// Why not.
pub fn may_come_from(client: IpAddr, host: &Address) -> Result<(), Untold> {
    let Address::Ip(host) = host else { return Err(Untold::NoAddress) };
    let socket = if host.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    come_from(&socket.map_err(Untold::Address)?, client, host.ip())
}

/// Has a connection to `host` come from the client's address, at a port of the kernel's choice.
pub(super) fn come_from(socket: &TcpSocket, client: IpAddr, host: IpAddr) -> Result<(), Untold> {
    if client.is_ipv4() != host.is_ipv4() {
        return Err(Untold::Family(client, host));
    }
    let options = SockRef::from(socket);
    let transparent = match client {
        IpAddr::V4(_) => options.set_ip_transparent_v4(true),
        IpAddr::V6(_) => options.set_ip_transparent_v6(true),
    };
    transparent.and_then(|()| socket.bind(SocketAddr::new(client, 0))).map_err(|error| {
        match error.raw_os_error() {
            Some(code) if code == Errno::PERM.raw_os_error() => Untold::Privilege,
            _ => Untold::Address(error),
        }
    })
}

/// Where the client connected to. It is known wherever a pool tells it.
fn destination(entrance: &Entrance) -> SocketAddr {
    let known = entrance.facts.as_ref().and_then(|facts| facts.destination);
    known.unwrap_or_else(|| match entrance.client.ip() {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    })
}

/// What is told besides: the name the client asked for, what the connection is called by whoever told us of it or else
/// by us, and TLS with the client, ours or theirs.
fn tlvs(facts: Option<&ClientFacts>, session: SessionId) -> Tlvs {
    let proxied = facts.and_then(|facts| facts.proxied.as_ref());
    let ours = facts.and_then(|facts| facts.tls.as_ref());
    let tls = ours.or_else(|| proxied.and_then(|proxied| proxied.tls.as_ref()));
    let authority = match ours {
        Some(tls) => tls.server_name.clone(),
        None => proxied.and_then(|proxied| proxied.authority.clone()),
    };
    let passed_on = proxied.and_then(|proxied| proxied.unique_id.clone());
    let unique_id = passed_on.unwrap_or_else(|| session.to_string().into_bytes().into());
    // TLS that passes through to the hop has no version here: it is none that anybody but the hop can speak of.
    let ssl = tls.filter(|tls| !tls.version.is_empty()).map(|tls| ssl(tls, ours.is_some()));
    Tlvs { authority, unique_id: Some(unique_id), ssl }
}

fn ssl(tls: &TlsFacts, ours: bool) -> Ssl {
    let certificate = tls.certificate.as_ref();
    let common_name = certificate.map(|shown| match ours {
        true => shown.common_name(),
        // A proxy tells no more than that of a subject.
        false => Some(shown.subject.clone()),
    });
    Ssl {
        version: tls.version.clone(),
        cipher: tls.cipher.clone(),
        has_certificate: certificate.is_some(),
        resumed: tls.resumed,
        verified: certificate.is_some_and(|shown| shown.verified),
        common_name: common_name.flatten().filter(|name| !name.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy_protocol::{Header, read};
    use crate::session::client::{Certificate, ProxiedFacts};
    use crate::session::route::PoolId;

    fn entrance(client: &str, facts: ClientFacts) -> Entrance {
        Entrance {
            listener: 0,
            pool: PoolId(0),
            client: client.parse().unwrap(),
            facts: Some(Box::new(facts)),
        }
    }

    fn told(identity: Identity, entrance: &Entrance) -> Proxied {
        let terms = HopTerms { identity, ..HopTerms::default() };
        let Introduction::Header(octets) = Introduction::of(terms, entrance, SessionId(1)) else {
            panic!("no header")
        };
        match read(&octets) {
            Ok(Some((Header::Proxied(proxied), length))) if length == octets.len() => *proxied,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn of_tls_that_passes_through_the_name_is_told_and_no_more() {
        let facts = ClientFacts {
            tls: Some(TlsFacts { server_name: Some("mx.example".into()), ..TlsFacts::default() }),
            ..ClientFacts::default()
        };
        let told = tlvs(Some(&facts), SessionId(1));
        assert_eq!((told.authority.as_deref(), told.ssl), (Some("mx.example"), None));
    }

    #[test]
    fn a_header_tells_the_client_and_its_tls() {
        let tls = TlsFacts {
            version: "TLSv1.3".into(),
            cipher: "TLS_AES_256_GCM_SHA384".into(),
            server_name: Some("mx.example.net".into()),
            certificate: Some(Certificate {
                subject: "O=Example\\, Inc.,CN=client.example".into(),
                verified: true,
                fault: None,
            }),
            resumed: false,
        };
        let destination = Some("192.0.2.25:25".parse().unwrap());
        let facts = ClientFacts { destination, tls: Some(tls), ..ClientFacts::default() };
        let client = entrance("192.0.2.1:4711", facts);
        let plain = told(Identity::ProxyV1, &client);
        assert_eq!((plain.source, Some(plain.destination)), (client.client, destination));
        let all = told(Identity::ProxyV2, &client);
        assert_eq!((all.source, Some(all.destination)), (client.client, destination));
        assert_eq!(all.tlvs.authority.as_deref(), Some("mx.example.net"));
        assert_eq!(all.tlvs.unique_id.as_deref(), Some(&b"0000000000000001"[..]));
        let ssl = all.tlvs.ssl.unwrap();
        assert_eq!(ssl.common_name.as_deref(), Some("client.example"));
        assert!(ssl.has_certificate && ssl.verified && &*ssl.version == "TLSv1.3");
    }

    #[test]
    fn what_a_proxy_told_is_passed_on() {
        let tls = TlsFacts {
            version: "TLSv1.2".into(),
            certificate: Some(Certificate { subject: "A, B".into(), ..Certificate::default() }),
            ..TlsFacts::default()
        };
        let proxied = ProxiedFacts {
            unique_id: Some(Box::from(*b"id")),
            authority: Some("sni.example".into()),
            tls: Some(tls),
        };
        let facts = ClientFacts { proxied: Some(proxied), ..ClientFacts::default() };
        let all = told(Identity::ProxyV2, &entrance("[2001:db8::1]:1", facts));
        assert_eq!(all.destination, "[::]:0".parse().unwrap());
        assert_eq!(all.tlvs.authority.as_deref(), Some("sni.example"));
        assert_eq!(all.tlvs.unique_id.as_deref(), Some(&b"id"[..]));
        let ssl = all.tlvs.ssl.unwrap();
        assert_eq!(ssl.common_name.as_deref(), Some("A, B"));
        assert!(ssl.has_certificate && !ssl.verified);
    }

    #[test]
    fn probes_speak_for_themselves() {
        let Introduction::Header(octets) = Introduction::of_probe(Identity::ProxyV2) else { panic!("none") };
        assert_eq!(read(&octets), Ok(Some((Header::Local, 16))));
        let Introduction::Header(octets) = Introduction::of_probe(Identity::ProxyV1) else { panic!("none") };
        assert_eq!(read(&octets), Ok(Some((Header::Unknown, 15))));
        assert_eq!(Introduction::of_probe(Identity::SourceAddress), Introduction::None);
    }
}
