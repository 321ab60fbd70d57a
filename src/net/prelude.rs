//! The prelude of a session: whoever connects in a client's place says first who the client is.
//!
//! In:    a connection from a range of `proxy_protocol.from`, of which nothing has been read.
//! Out:   a session with the client that the PROXY header names, before its greeting and before any TLS; or the
//!        connection closed, counted, and one line in the log.
//! Never: reads an octet behind the header (those are the session's, and stay in the kernel), counts the connection
//!        against a client before that is known, waits longer than [`PATIENCE`], or stands in the way of any other
//!        listener's clients.
//!
//! HAProxy's specification of the PROXY protocol, section 2; semantics: a listed peer must send a header.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::listen::{self, Arrival, Counted, Ids, Opens};
use super::share::Share;
use super::worker;
use crate::limits::Entered;
use crate::log;
use crate::metrics::Occurrence;
use crate::metrics::labels::{ProxyHeader, Refusal};
use crate::proxy_protocol::{self, Header, HeaderFault, LONGEST, Proxied};
use crate::session::client::{Certificate, ClientFacts, ProxiedFacts, TlsFacts};
use crate::session::settings::Door;
use crate::smtp::own;

/// How long a header is waited for: long enough for one that is lost to be sent again.
const PATIENCE: Duration = Duration::from_secs(3);

/// What must come before a session.
pub(super) enum Prelude {
    /// Nothing.
    None,
    /// A header.
    Header,
    /// It comes from the wrong place.
    Refused,
}

/// Why there is no client.
#[derive(Clone, Copy, Debug)]
enum Ended {
    /// gatepost is stopping.
    Draining,
    /// The peer left without a word, or has said who it is and left.
    Left,
    /// The header did not come in time.
    Late,
    /// The connection ended in the midst of it.
    Torn,
    /// Another one stands behind it.
    Second,
    /// It is none.
    Fault(HeaderFault),
}

/// What must come before a session with whoever connected from `peer`.
pub(super) fn of(door: &Door, peer: IpAddr) -> Prelude {
    if door.proxies.is_empty() {
        Prelude::None
    } else if door.proxies.contains(peer) {
        Prelude::Header
    } else if door.only_proxies {
        Prelude::Refused
    } else {
        Prelude::None
    }
}

/// Turns away a peer that is not listed.
pub(super) fn refuse(arrival: Arrival, opens: &Opens, ids: &Ids) {
    log::not_proxied(opens.address(), arrival.client, &opens.door().proxies);
    listen::refuse(arrival.stream, &own::PROXIES_ONLY, Refusal::Unlisted, ids);
}

/// Awaits the header in a small task of its own; then the client is let in like any other.
pub(super) fn begin(
    arrival: Arrival,
    entered: Entered,
    opens: Arc<Opens>,
    share: Option<Arc<Share>>,
    ids: Ids,
) {
    let counted = Counted::new();
    tokio::spawn(async move {
        let heard = tokio::select! {
            biased;
            () = worker::until_stopping() => Err(Ended::Draining),
            heard = tokio::time::timeout(PATIENCE, hear(&arrival.stream)) => heard.unwrap_or(Err(Ended::Late)),
        };
        match heard {
            Ok(header) => listen::let_in(named(arrival, header), entered, &opens, share.as_deref(), &ids),
            Err(Ended::Draining) => {
                listen::refuse(arrival.stream, &own::SHUTTING_DOWN, Refusal::Draining, &ids);
            }
            Err(ended) => close(ended, arrival.client, &opens),
        }
        drop(counted);
    });
}

/// Whose connection it is by its header.
fn named(arrival: Arrival, header: Header) -> Arrival {
    match header {
        Header::Local => {
            count(ProxyHeader::Local);
            arrival
        }
        Header::Unknown => {
            count(ProxyHeader::Unknown);
            arrival
        }
        Header::Proxied(proxied) => {
            count(ProxyHeader::Proxied);
            let client = canonical(proxied.source);
            Arrival { client, facts: Some(Box::new(facts(arrival.client, *proxied))), ..arrival }
        }
    }
}

fn close(ended: Ended, peer: SocketAddr, opens: &Opens) {
    let (outcome, what): (_, &dyn std::fmt::Display) = match &ended {
        // Somebody looked whether we live: no matter for the log.
        Ended::Left | Ended::Draining => return count(ProxyHeader::Left),
        Ended::Late => (ProxyHeader::Late, &"no PROXY header within 3 s"),
        Ended::Torn => (ProxyHeader::Torn, &"a PROXY header without its end"),
        Ended::Second => (ProxyHeader::Second, &"a second PROXY header"),
        Ended::Fault(fault) => (outcome(*fault), fault),
    };
    count(outcome);
    log::proxy_header(opens.address(), peer, &opens.door().proxies, what);
}

/// Takes the header, and no octet more, from the connection.
async fn hear(stream: &TcpStream) -> Result<Header, Ended> {
    loop {
        let ready = stream.ready(Interest::READABLE).await.map_err(|_| Ended::Left)?;
        match stream.try_io(Interest::READABLE, || take(stream, ready.is_read_closed())) {
            Ok(heard) => return heard,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Ended::Left),
        }
    }
}

/// The same, if it is there by now; `closed`: nothing more will come.
fn take(stream: &TcpStream, closed: bool) -> io::Result<Result<Header, Ended>> {
    let mut octets = [0; LONGEST];
    let (_, seen) = recv(stream, &mut octets, RecvFlags::PEEK)?;
    Ok(match proxy_protocol::read(&octets[..seen]) {
        // The kernel says again when there is more.
        Ok(None) if !closed => return Err(io::ErrorKind::WouldBlock.into()),
        Ok(None) if seen == 0 => Err(Ended::Left),
        Ok(None) => Err(Ended::Torn),
        Err(fault) => Err(Ended::Fault(fault)),
        Ok(Some((_, length))) if proxy_protocol::is_header(&octets[length..seen]) => Err(Ended::Second),
        Ok(Some((_, length))) if length == seen && closed => Err(Ended::Left),
        Ok(Some((header, length))) => {
            let (_, taken) = recv(stream, &mut octets[..length], RecvFlags::empty())?;
            // They were there a moment ago, and nobody else reads.
            if taken == length { Ok(header) } else { Err(Ended::Torn) }
        }
    })
}

fn count(outcome: ProxyHeader) {
    worker::with_scratch(|scratch| scratch.meter.count(Occurrence::ProxyHeader(outcome)));
}

fn outcome(fault: HeaderFault) -> ProxyHeader {
    match fault {
        HeaderFault::Missing => ProxyHeader::Missing,
        HeaderFault::TooLong => ProxyHeader::TooLong,
        HeaderFault::Checksum => ProxyHeader::Checksum,
        HeaderFault::Line
        | HeaderFault::Version
        | HeaderFault::Family
        | HeaderFault::Addresses
        | HeaderFault::Tlv => ProxyHeader::Malformed,
    }
}

fn facts(peer: SocketAddr, proxied: Proxied) -> ClientFacts {
    let tlvs = proxied.tlvs;
    let tls = tlvs.ssl.map(|ssl| TlsFacts {
        version: ssl.version,
        cipher: ssl.cipher,
        server_name: tlvs.authority.clone(),
        certificate: ssl.has_certificate.then(|| Certificate {
            subject: ssl.common_name.unwrap_or_default(),
            verified: ssl.verified,
            fault: None,
        }),
        resumed: ssl.resumed,
    });
    ClientFacts {
        via: Some(peer),
        destination: Some(canonical(proxied.destination)),
        proxied: Some(ProxiedFacts { unique_id: tlvs.unique_id, authority: tlvs.authority, tls }),
        ..ClientFacts::default()
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
