//! What one HTTP callout on loopback adds to a command.
//!
//! In:    a service that answers `{}` at once, in this process; two gateposts before the embedded sink, one without
//!        callouts, one that asks at NOOP those who said `EHLO asked.example`.
//! Out:   microseconds per NOOP in lockstep, p50 and p99, rounds interleaved: nobody is asked; `when` does not hold;
//!        one callout is asked; and one POST of such a question straight to the service, which is its own time.
//! Never: judges a smoke run (`-- --test`).
//!
//! "added" is what is asked less what is not; "beyond the service" is that less the POST. At most 300 µs are allowed.

#[allow(dead_code, reason = "the process tests use all of it")]
#[path = "../tests/process/gate.rs"]
mod gate;
#[allow(dead_code, reason = "the process tests use all of it")]
#[path = "../tests/support/raw.rs"]
mod raw;
#[allow(dead_code, reason = "the process tests use all of it")]
#[path = "../tests/support/scratch.rs"]
mod scratch;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use gate::{Gate, SINK};

/// A question as NOOP brings it, near enough.
const QUESTION: &str = r#"{"protocol":{"version":"1.0"},"stage":"other","session":"018f6b2c9d3e4a51","server":{"name":"gate.example","listener":"127.0.0.1:2525"},"client":{"ip":"127.0.0.1","port":40112,"ehlo":"asked.example"},"authenticated":false,"hop":"sink:./mail","envelope":null,"recipient":null,"command":{"verb":"NOOP","argument":null},"response":null}"#;

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--test");
    let (rounds, commands) = if smoke { (1, 20) } else { (9, 2000) };
    let service = serve();
    let callouts = format!(
        "workers: 1\ncallouts:\n  - {{ name: service, type: http, url: \"http://{service}/\", stages: other, \
         when: {{ helo: asked.example }} }}\n"
    );
    let (bare, asking) = (Gate::start(SINK, "workers: 1\n"), Gate::start(SINK, &callouts));
    let names = ["nobody is asked", "when does not hold", "one callout", "a POST to the service"];
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..rounds {
        times[0].extend(noops(bare.listener, "other.example", commands));
        times[1].extend(noops(asking.listener, "other.example", commands));
        times[2].extend(noops(asking.listener, "asked.example", commands));
        times[3].extend(posts(service, commands));
    }
    let mut p50 = [0.0; 4];
    for ((name, times), p50) in names.iter().zip(&mut times).zip(&mut p50) {
        times.sort_by(f64::total_cmp);
        *p50 = times[times.len() / 2];
        println!("{name:<24} p50 {p50:>8.1} µs   p99 {:>8.1} µs", times[times.len() * 99 / 100]);
    }
    println!("{:<24} p50 {:>8.1} µs", "when: added", p50[1] - p50[0]);
    println!("{:<24} p50 {:>8.1} µs", "callout: added", p50[2] - p50[0]);
    println!("{:<24} p50 {:>8.1} µs", "beyond the service", p50[2] - p50[0] - p50[3]);
}

/// Microseconds of each NOOP, in lockstep.
fn noops(gate: SocketAddr, helo: &str, count: u32) -> Vec<f64> {
    let mut client = raw::Raw::connect(gate);
    client.ask(&format!("EHLO {helo}"), 250);
    let time = |_| {
        let since = Instant::now();
        client.ask("NOOP", 250);
        microseconds(since)
    };
    let times = (0..count).map(time).collect();
    client.quit();
    times
}

/// Microseconds of each POST, in lockstep, on one connection.
fn posts(service: SocketAddr, count: u32) -> Vec<f64> {
    let stream = TcpStream::connect(service).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(&stream);
    let length = QUESTION.len();
    let post = format!("POST / HTTP/1.1\r\nhost: {service}\r\ncontent-length: {length}\r\n\r\n{QUESTION}");
    let mut time = || {
        let since = Instant::now();
        (&stream).write_all(post.as_bytes()).unwrap();
        read(&mut reader).expect("an answer");
        microseconds(since)
    };
    (0..count).map(|_| time()).collect()
}

/// A service that has nothing to say.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                let mut reader = BufReader::new(&stream);
                let answer =
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
                while read(&mut reader).is_some() {
                    (&stream).write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
    address
}

/// A head and the body it announces.
fn read(reader: &mut BufReader<&TcpStream>) -> Option<()> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())?;
    reader.take(length).read_to_end(&mut Vec::new()).ok().map(drop)
}

fn microseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}
