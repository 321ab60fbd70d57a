//! Clients who did not connect to gatepost: their connections were intercepted on the way, and where they were going.
//!
//! In:    a listener's `intercept`; a connection that it accepted.
//! Out:   a listening socket that may be given such connections; the original destination of one.
//! Never: serves a client whose destination is gatepost itself: its hop would be gatepost again, without end.
//!
//! `redirect`: netfilter translated the destination, and is asked for it (SO_ORIGINAL_DST, by socket2).
//! `tproxy`: nothing was translated, the accepted socket's own address is the destination (IP_TRANSPARENT;
//! Documentation/networking/tproxy.rst of Linux). deploy/intercept/ has the rules for both.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::config::types::Intercept;
use crate::hop::{Address, own_listener};
use crate::log::Seldom;

/// The client's destination is gatepost itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Looped;

/// Lets a listening socket take connections for any address, where they are given to it so. Before it is bound, if the
/// address it is bound to may be another machine's.
///
/// # Errors
///
/// That CAP_NET_ADMIN or CAP_NET_RAW is missing.
pub fn enable(socket: SockRef<'_>, address: SocketAddr, how: Intercept) -> io::Result<()> {
    let enabled = match (how, address) {
        (Intercept::Off | Intercept::Redirect, _) => return Ok(()),
        (Intercept::Tproxy, SocketAddr::V4(_)) => socket.set_ip_transparent_v4(true),
        (Intercept::Tproxy, SocketAddr::V6(_)) => socket.set_ip_transparent_v6(true),
    };
    enabled.map_err(|error| {
        let needs = "intercept: tproxy needs CAP_NET_ADMIN or CAP_NET_RAW";
        io::Error::new(error.kind(), format!("{needs}: {error}"))
    })
}

/// Where a client was going; `None`: to this listener, which intercepts nobody. `own` are gatepost's own listeners.
///
/// # Errors
///
/// [`Looped`], which is logged, once a minute at most.
pub fn destination(
    stream: &TcpStream,
    how: Intercept,
    own: &[SocketAddr],
) -> Result<Option<SocketAddr>, Looped> {
    if how == Intercept::Off {
        return Ok(None);
    }
    let Ok(here) = stream.local_addr() else { return Ok(None) };
    let to = match how {
        Intercept::Redirect => original(stream, here).unwrap_or(here),
        Intercept::Off | Intercept::Tproxy => here,
    };
    let to = SocketAddr::new(to.ip().to_canonical(), to.port());
    let untranslated = how == Intercept::Redirect && to == here;
    if !untranslated && own_listener(&Address::Ip(to), own).is_none() {
        return Ok(Some(to));
    }
    static LOOPS: Seldom = Seldom::new();
    if let Some(more) = LOOPS.is_due() {
        let client = stream.peer_addr().map(|client| client.to_string()).unwrap_or_default();
        tracing::warn!(
            client, destination = %to, more,
            "intercept: a client whose destination is gatepost itself is refused"
        );
    }
    Err(Looped)
}

/// What netfilter says. A connection that it did not translate is not known to it, or by its own address.
fn original(stream: &TcpStream, here: SocketAddr) -> Option<SocketAddr> {
    let socket = SockRef::from(stream);
    let original = if here.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    original.ok()?.as_socket()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn whoever_connects_to_gatepost_itself_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = [listener.local_addr().unwrap()];
        let _client = TcpStream::connect(own[0]).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert_eq!(destination(&stream, Intercept::Off, &own), Ok(None));
        assert_eq!(destination(&stream, Intercept::Redirect, &own), Err(Looped));
        assert_eq!(destination(&stream, Intercept::Redirect, &[]), Err(Looped), "not translated");
        assert_eq!(destination(&stream, Intercept::Tproxy, &own), Err(Looped));
        let wildcard = [SocketAddr::from(([0, 0, 0, 0], own[0].port()))];
        assert_eq!(destination(&stream, Intercept::Tproxy, &wildcard), Err(Looped));
        let other = [SocketAddr::from(([127, 0, 0, 1], 1))];
        assert_eq!(destination(&stream, Intercept::Tproxy, &other), Ok(Some(own[0])), "another's port");
    }
}
