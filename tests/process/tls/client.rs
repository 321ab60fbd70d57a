//! A client under TLS, by hand.
//!
//! In:    octets to say.
//! Out:   the replies heard, one by one.
//! Never: says anything of its own accord.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::scratch::PATIENCE;

pub struct Client {
    reader: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

/// A connection of which nothing was heard yet.
pub fn dial(door: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&door, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A connection that has heard 220 to STARTTLS.
pub fn starttls(door: SocketAddr) -> TcpStream {
    let mut stream = dial(door);
    for said in ["", "EHLO client.example\r\n", "STARTTLS\r\n"] {
        stream.write_all(said.as_bytes()).unwrap();
        hear_plain(&mut stream);
    }
    stream
}

/// One reply in plain.
pub fn hear_plain(stream: &mut TcpStream) -> String {
    let (mut heard, mut octet) = (Vec::new(), [0]);
    loop {
        let line = heard.len();
        while heard.last() != Some(&b'\n') || heard.len() == line {
            match stream.read(&mut octet) {
                Ok(1) => heard.push(octet[0]),
                _ => return String::from_utf8_lossy(&heard).into_owned(),
            }
        }
        if heard.get(line + 3) != Some(&b'-') {
            return String::from_utf8_lossy(&heard).into_owned();
        }
    }
}

impl Client {
    /// TLS with whoever is at the other end.
    pub fn secure(stream: TcpStream, config: ClientConfig, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        Self { reader: BufReader::new(StreamOwned::new(session, stream)) }
    }

    pub fn say(&mut self, octets: impl AsRef<[u8]>) {
        self.reader.get_mut().write_all(octets.as_ref()).unwrap();
    }

    /// Reads one reply; empty when the server has hung up.
    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = Vec::new();
            let taken = self.reader.read_until(b'\n', &mut line).unwrap_or(0);
            let line = String::from_utf8_lossy(&line);
            reply.push_str(&line);
            if taken == 0 || line.as_bytes().get(3) != Some(&b'-') {
                return reply.trim_end().to_owned();
            }
        }
    }

    pub fn hear(&mut self, code: u16) -> String {
        let reply = self.reply();
        assert!(reply.starts_with(&code.to_string()), "expected {code}, heard {reply:?}");
        reply
    }

    pub fn ask(&mut self, command: &str, code: u16) -> String {
        self.say(format!("{command}\r\n"));
        self.hear(code)
    }

    /// The certificate it was shown.
    pub fn shown(&self) -> Vec<u8> {
        self.reader.get_ref().conn.peer_certificates().unwrap()[0].to_vec()
    }

    /// Sends no more, without saying so in TLS.
    pub fn end(&mut self) {
        self.reader.get_ref().sock.shutdown(Shutdown::Write).unwrap();
    }

    /// A message, whole.
    pub fn send(&mut self, content: &[u8]) -> String {
        self.ask("MAIL FROM:<smith@example.org>", 250);
        self.ask("RCPT TO:<jones@example.net>", 250);
        self.ask("DATA", 354);
        self.say(content);
        self.ask(".", 250)
    }
}
