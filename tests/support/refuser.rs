//! A service over HTTP that refuses whatever it is asked about.
//!
//! In:    questions, each at the stage that the path of its request names.
//! Out:   `554 5.7.1 No STAGE by callout`, in the hop's place or instead of its reply.
//! Never: reads a question; ends before the test program does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Starts one.
pub fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A connection that ends is not asked on any more.
            thread::spawn(move || refuse(&stream));
        }
    });
    address
}

fn refuse(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        reader.read_exact(&mut vec![0; length.unwrap_or(0)])?;
        let stage = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
        let verdict = if stage.ends_with("-reply") { "substitute" } else { "reply" };
        let body = format!("{{\"{verdict}\":\"554 5.7.1 No {stage} by callout\"}}");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";
        write!(stream, "{head}{}\r\n\r\n{body}", body.len())?;
    }
}
