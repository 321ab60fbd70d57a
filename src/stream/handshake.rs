//! A TLS handshake: one thing to wait for.
//!
//! In:    a connected stream of which everything was read and written, and what the handshake goes by.
//! Out:   the stream under TLS, with what was agreed upon; or why not, and no stream.
//! Never: has a deadline of its own: whoever waits drops it, and the connection with it.
//!
//! A leaf of the turn, there only while it runs.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Secured, Stream};
use crate::session::client::{TlsFacts, TlsFault};
use crate::tls::client::TlsClient;
use crate::tls::facts;
use crate::tls::server::Server;

/// What comes of a handshake.
pub type Outcome = Result<(Stream, Box<TlsFacts>), Box<TlsFault>>;

/// A handshake under way.
pub struct Handshake(Pin<Box<dyn Future<Output = Outcome> + Send + Sync>>);

impl Handshake {
    /// As the server of a client.
    pub fn with_client(stream: Stream, server: Arc<Server>) -> Self {
        match stream {
            Stream::Tcp(socket) => Self(Box::pin(accept(socket, server, Stream::Tcp))),
            Stream::Unix(socket) => Self(Box::pin(accept(socket, server, Stream::Unix))),
            Stream::Tls(_) | Stream::Securing(_) => Self::refused(),
        }
    }

    /// As the client of a hop that is to be `name`.
    pub fn with_hop(stream: Stream, client: Arc<TlsClient>, name: ServerName<'static>) -> Self {
        match stream {
            Stream::Tcp(socket) => Self(Box::pin(connect(socket, client, name, Stream::Tcp))),
            Stream::Unix(socket) => Self(Box::pin(connect(socket, client, name, Stream::Unix))),
            Stream::Tls(_) | Stream::Securing(_) => Self::refused(),
        }
    }

    /// There is no TLS within TLS.
    fn refused() -> Self {
        Self(Box::pin(async { Err(Box::new(facts::fault(&io::ErrorKind::AlreadyExists.into()))) }))
    }

    /// Goes on with it.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.0.as_mut().poll(cx)
    }
}

impl Future for Handshake {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        Handshake::poll(&mut self, cx)
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake")
    }
}

async fn accept<S>(socket: S, server: Arc<Server>, stream: fn(S) -> Stream) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let shaken = TlsAcceptor::from(Arc::clone(&server.config)).accept(socket).await;
    let (socket, session) = shaken.map_err(|error| Box::new(facts::fault(&error)))?.into_inner();
    let facts = facts::of_client(&session, server.judge.as_deref());
    Ok((Stream::Tls(Box::new(Secured::new(stream(socket), session.into()))), Box::new(facts)))
}

async fn connect<S>(
    socket: S,
    client: Arc<TlsClient>,
    name: ServerName<'static>,
    stream: fn(S) -> Stream,
) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let shaken = TlsConnector::from(Arc::clone(&client.config)).connect(name.clone(), socket).await;
    let (socket, session) = shaken.map_err(|error| Box::new(facts::fault(&error)))?.into_inner();
    let facts = facts::of_hop(&session, &client.judge, &name);
    Ok((Stream::Tls(Box::new(Secured::new(stream(socket), session.into()))), Box::new(facts)))
}
