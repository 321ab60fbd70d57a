//! `gatepost health`: whether a gatepost lives that runs with this configuration.
//!
//! In:    `admin.address`, or that there is none.
//! Out:   the exit status for whoever restarts containers; on standard error, why it is not 0.
//! Never: asks whether gatepost is ready: a hop that is down, or a drain, is no reason to start it anew.
//!
//! For images that have neither a shell nor curl (`deploy/Containerfile`); others may ask `/healthz` themselves.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// How long each step may take; a gatepost that lives answers at once.
const PATIENCE: Duration = Duration::from_secs(3);

/// How its answer begins.
const ALIVE: &[u8] = b"HTTP/1.1 200";

/// Asks the administrative listener, where there is one.
pub fn health(admin: Option<SocketAddr>) -> ExitCode {
    let wrong = match admin {
        Some(admin) => match alive(admin) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => format!("http://{admin}/healthz: {error}"),
        },
        None => {
            "admin: off: there is nobody to ask; give gatepost an admin.address, or have systemd watch it \
                 (WatchdogSec=)"
                .to_owned()
        }
    };
    // Nobody is left to be told if standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{wrong}");
    ExitCode::FAILURE
}

fn alive(admin: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = [0; ALIVE.len()];
    stream.read_exact(&mut answer)?;
    if answer == ALIVE { Ok(()) } else { Err(io::Error::other("that is no gatepost")) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn asked(answer: &'static [u8]) -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 64];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(answer).unwrap();
        });
        let said = alive(address);
        server.join().unwrap();
        said
    }

    #[test]
    fn only_a_200_is_life() {
        asked(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        assert!(asked(b"HTTP/1.1 503 No\r\n\r\n").is_err());
        assert!(asked(b"220 mx").is_err());
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(alive(nobody).is_err());
    }
}
