//! A party's connection over a socket, in plain or under TLS, and who vouches for its certificate.
//!
//! **In**: a connected socket; at `<starttls>` a handshake, as the client of gatepost or as one of its hops.
//! **Out**: octets both ways. **Never**: waits longer than the socket's own timeout.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use gatepost::config::Loaded;
use gatepost::config::types::{KeyPair, Source};
use gatepost::session::client::TlsFaultKind;
use rustls::{ClientConnection, ServerConnection, StreamOwned};

use super::certificates::{Authority, Pair};
use super::handshake::Handshake;
use gatepost::session::route::HopTls;
use gatepost::session::settings::DoorTls;

/// The name in every certificate here, and the one that is asked for.
const NAME: &str = "host.example.net";

/// Who vouches for everybody here, and the certificate that everybody has.
static TRUST: LazyLock<(Authority, Pair)> = LazyLock::new(|| {
    let authority = Authority::new("Authority of the scripts");
    let pair = authority.server(&[NAME]);
    (authority, pair)
});

/// Puts files that are there in the place of those that the script names.
pub fn provide(loaded: &mut Loaded, directory: &Path) {
    let (authority, pair) = &*TRUST;
    let files = pair.write(directory, "host");
    let roots = authority.write(directory, "roots");
    for listener in &mut loaded.config.listeners {
        if matches!(listener.tls.mode, DoorTls::StartTls | DoorTls::Implicit) {
            let (certificate, key) = (files.certificate.clone(), files.key.clone());
            listener.tls.certificates = vec![KeyPair { certificate, key }];
        }
        if listener.tls.client_roots.is_some() {
            listener.tls.client_roots = Some(roots.clone());
        }
    }
    for upstream in loaded.config.upstreams.values_mut() {
        if matches!(upstream.tls.mode, HopTls::Required | HopTls::Implicit) {
            upstream.tls.roots = upstream.tls.verify.then(|| roots.clone());
            upstream.tls.server_name = Some(NAME.to_owned());
        }
        if let Source::Hosts(hosts) = &mut upstream.source {
            hosts.iter_mut().for_each(|host| host.server_name = None);
        }
    }
}

/// Whether a handshake with this outcome can be had of real parties: nobody here shows gatepost another certificate.
pub fn can_be_had(outcome: &Handshake) -> bool {
    match outcome {
        Ok(facts) => facts.certificate.is_none(),
        Err(fault) => matches!(fault.kind, TlsFaultKind::Lost | TlsFaultKind::Protocol),
    }
}

/// A party's connection.
pub enum Wire {
    /// In plain.
    Plain(TcpStream),
    /// Under TLS, where gatepost is the server.
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// Under TLS, where gatepost is the client.
    Host(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Wire {
    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Wire::Plain(socket) => socket,
            Wire::Client(stream) => &stream.sock,
            Wire::Host(stream) => &stream.sock,
        }
    }

    /// Does its part in a handshake, as the client of gatepost or as its hop.
    pub fn secure(self, is_client: bool, outcome: &Handshake) -> Result<Option<Wire>, String> {
        let Wire::Plain(mut socket) = self else { return Err("it is under TLS already".to_owned()) };
        match outcome {
            Err(fault) if fault.kind == TlsFaultKind::Lost => {
                let _ = socket.shutdown(Shutdown::Both);
                return Ok(None);
            }
            Err(_) => {
                socket.write_all(b"This is no handshake.\r\n").map_err(|error| error.to_string())?;
                // The client sees how it ends; a hop may be dialled again.
                return Ok(is_client.then_some(Wire::Plain(socket)));
            }
            Ok(_) => {}
        }
        let wire = if is_client {
            let name = NAME.try_into().map_err(|error| format!("{error}"))?;
            let session = ClientConnection::new(Arc::new(TRUST.0.client_config()), name);
            let session = session.map_err(|error| error.to_string())?;
            let mut stream = StreamOwned::new(session, socket);
            shaken(stream.conn.complete_io(&mut stream.sock))?;
            Wire::Client(Box::new(stream))
        } else {
            let session =
                ServerConnection::new(TRUST.1.server_config()).map_err(|error| error.to_string())?;
            let mut stream = StreamOwned::new(session, socket);
            shaken(stream.conn.complete_io(&mut stream.sock))?;
            Wire::Host(Box::new(stream))
        };
        Ok(Some(wire))
    }

    /// It will say no more.
    pub fn shutdown(&mut self) {
        match self {
            Wire::Plain(_) => {}
            Wire::Client(stream) => {
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
            Wire::Host(stream) => {
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
        let _ = self.socket().shutdown(Shutdown::Write);
    }

    /// The socket alone, to be reset.
    pub fn into_socket(self) -> TcpStream {
        match self {
            Wire::Plain(socket) => socket,
            Wire::Client(stream) => stream.sock,
            Wire::Host(stream) => stream.sock,
        }
    }
}

fn shaken(done: io::Result<(usize, usize)>) -> Result<(), String> {
    done.map(|_| ()).map_err(|error| format!("handshake: {error}"))
}

impl Read for Wire {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.read(room),
            Wire::Client(stream) => stream.read(room),
            Wire::Host(stream) => stream.read(room),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.write(octets),
            Wire::Client(stream) => stream.write(octets),
            Wire::Host(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(socket) => socket.flush(),
            Wire::Client(stream) => stream.flush(),
            Wire::Host(stream) => stream.flush(),
        }
    }
}
