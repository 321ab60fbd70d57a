//! What is known of a connection beyond what the client tells: whether a question was on it before, whether anything of
//! an answer has been heard since the last one, and what TLS found wrong.
//!
//! **In**: octets on their way; the moment at which a question begins to be written. **Out**: [`Heard`], which goes
//! with the connection and with the errors on it.
//! **Never**: looks at an octet, or counts those of TLS: a service's `close_notify` is no answer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::http::Extensions;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::broken::of_tls;
use super::sent::{Sending, Unreadable};
use crate::session::callout::Fault;

/// What a connection has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// Questions that were begun to be written.
    questions: AtomicUsize,
    /// Whether an octet came in since the last of them.
    anything: AtomicBool,
    /// What TLS found wrong.
    fault: OnceLock<Fault>,
}

impl Heard {
    /// That of a connection.
    pub(super) fn on(connection: &Connected) -> Option<Self> {
        let mut extras = Extensions::new();
        connection.get_extras(&mut extras);
        extras.remove()
    }

    /// A question begins.
    fn begin(&self) {
        self.0.questions.fetch_add(1, Relaxed);
        self.0.anything.store(false, Relaxed);
    }

    /// Whether the question before this one has left the connection standing.
    pub(super) fn was_kept(&self) -> bool {
        self.0.questions.load(Relaxed) > 1
    }

    /// What TLS found wrong, if that is what broke it.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.0.fault.get().cloned()
    }

    /// Whether an octet came in since the question was begun.
    pub(super) fn anything(&self) -> bool {
        self.0.anything.load(Relaxed)
    }
}

/// A question as it is sent. The client asks for it when it begins to write the request, and it has said by then over
/// which connection.
pub(super) struct Question {
    sending: Sending,
    over: Option<CaptureConnection>,
}

impl Question {
    pub(super) fn new(sending: Sending) -> Self {
        Self { sending, over: None }
    }

    /// Where the client says which connection it is.
    pub(super) fn goes_over(&mut self, connection: CaptureConnection) {
        self.over = Some(connection);
    }
}

impl Body for Question {
    type Data = Bytes;
    type Error = Unreadable;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unreadable>>> {
        if let Some(over) = self.over.take()
            && let Some(connection) = &*over.connection_metadata()
            && let Some(heard) = Heard::on(connection)
        {
            heard.begin();
        }
        self.sending.poll(cx).map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.sending.length() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.sending.length())
    }
}

/// A question that is dropped before it is answered takes its connection out of use: nobody knows whether the service
/// still hears us there. (HTTP/2 would merely end the stream, and the next question wait on the same dead connection.)
pub(super) struct GivenUp(Option<CaptureConnection>);

impl GivenUp {
    pub(super) fn on(connection: CaptureConnection) -> Self {
        Self(Some(connection))
    }

    /// It was answered, or could not be.
    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        if let Some(connection) = &self.0
            && let Some(connection) = &*connection.connection_metadata()
        {
            connection.poison();
        }
    }
}

/// A connection that notes whether anything was heard on it.
pub(super) struct Noted {
    stream: TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>,
    heard: Heard,
    is_http2: bool,
    /// Why it cannot be written to, until its last word is heard.
    refused: Option<io::Error>,
}

impl Noted {
    pub(super) fn new(stream: MaybeHttpsStream<TokioIo<TcpStream>>) -> Self {
        let is_http2 = stream.connected().is_negotiated_h2();
        Self { stream: TokioIo::new(stream), heard: Heard::default(), is_http2, refused: None }
    }

    /// Who has refused us under TLS has said so and closed. A write may come upon that before a read does, and nobody
    /// would read any more: so the error waits for the word.
    fn heard_out(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(Err(error)) = written else { return written };
        if !self.is_tls() || self.heard.anything() {
            return Poll::Ready(Err(error));
        }
        let mut room = [0; 512];
        match Pin::new(&mut *self).poll_read(cx, &mut ReadBuf::new(&mut room)) {
            Poll::Ready(_) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.refused = Some(error);
                Poll::Pending
            }
        }
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream.inner(), MaybeHttpsStream::Https(_))
    }
}

impl Connection for Noted {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.heard.clone());
        if self.is_http2 { connected.negotiated_h2() } else { connected }
    }
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.heard.0.anything.store(true, Relaxed);
        }
        if let Poll::Ready(Err(error)) = &read
            && let Some(fault) = of_tls(error)
        {
            // The first is the one that counts.
            let _ = self.heard.0.fault.set(fault);
        }
        read
    }
}

impl AsyncWrite for Noted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let written = match self.refused.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.stream).poll_write(cx, octets),
        };
        self.heard_out(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match self.refused.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        };
        self.heard_out(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
