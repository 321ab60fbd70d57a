//! A client by hand, for what no packaged client can do: BDAT, groups cut at will, leaving in mid-content.
//!
//! In:    octets to say.
//! Out:   the replies heard, one by one.
//! Never: says anything of its own accord; in particular no QUIT when dropped.
//!
//! RFC 5321 4.2.1 (multiline replies), RFC 3030 2 (BDAT).

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::scratch::PATIENCE;

pub struct Raw {
    reader: BufReader<TcpStream>,
}

impl Raw {
    /// Connects and hears the greeting.
    pub fn connect(door: SocketAddr) -> Self {
        let mut raw = Self::open(door);
        raw.hear(220);
        raw
    }

    /// Connects, whatever the greeting will be.
    pub fn open(door: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&door, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    /// Writes octets as they are.
    pub fn say(&mut self, octets: impl AsRef<[u8]>) {
        self.reader.get_mut().write_all(octets.as_ref()).unwrap();
    }

    /// Reads one reply; empty when the server has hung up.
    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = Vec::new();
            // A reset tells the same as an end here: nothing more is coming.
            let taken = self.reader.read_until(b'\n', &mut line).unwrap_or(0);
            let line = String::from_utf8_lossy(&line);
            reply.push_str(&line);
            if taken == 0 || line.as_bytes().get(3) != Some(&b'-') {
                return reply.trim_end().to_owned();
            }
        }
    }

    /// Reads one reply and insists on its code.
    pub fn hear(&mut self, code: u16) -> String {
        let reply = self.reply();
        assert!(reply.starts_with(&code.to_string()), "expected {code}, heard {reply:?}");
        reply
    }

    /// One command, one reply.
    pub fn ask(&mut self, command: &str, code: u16) -> String {
        self.say(format!("{command}\r\n"));
        self.hear(code)
    }

    /// QUIT, its reply, and the end.
    pub fn quit(mut self) {
        self.ask("QUIT", 221);
        assert_eq!(self.reply(), "", "nothing follows 221");
    }

    /// Leaves without a word.
    pub fn leave(self) {
        // If the other side was quicker, there is nothing left to shut down.
        let _ = self.reader.get_ref().shutdown(Shutdown::Both);
    }
}
