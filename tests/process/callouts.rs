//! Callouts that fail in every way, at every stage, under load.
//!
//! In:    a service that does one wrong thing for each path; a callout for each fault, stage and `on_error`, told apart
//!        by the client's address; other clients, whom no callout is asked about.
//! Out:   what each client hears is what `on_error` says; the hop has every message whose client heard 250, once;
//!        the log names each failure; the others are served meanwhile.
//! Never: waits for a guessed time; the slow service is as slow as the callouts' `timeout` is long.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::gate::{Gate, free_address};
use crate::hop::Hop;
use crate::scratch::{PATIENCE, wait_for};

/// What goes wrong, and what the log calls it.
const FAULTS: [(&str, &str); 10] = [
    ("malformed", "malformed: reply: EOF while parsing"),
    ("not-allowed", "not_allowed: "),
    ("no-address", "not_allowed: "),
    ("line-end", "not_allowed: "),
    ("code-999", "not_allowed: "),
    ("huge", "malformed: 104857600 octets"),
    ("endless", "malformed: more than 65536 octets"),
    ("slow", "timed_out: "),
    ("redirect", "refused: status 302"),
    ("dead", "unreachable: "),
];

/// A session, command by command: what is said, what a hop that refuses nothing makes the client hear, and which
/// stages are asked meanwhile.
const SESSION: [(&str, &str, &[&str]); 8] = [
    ("", "220", &["connect", "connect-reply"]),
    ("EHLO client.example", "250", &["helo", "helo-reply"]),
    ("NOOP", "250", &["other", "other-reply"]),
    ("AUTH PLAIN AGpvZQBzZWNyZXQ=", "235", &["auth", "auth-reply"]),
    ("MAIL FROM:<smith@client.example>", "250", &["mail", "mail-reply"]),
    ("RCPT TO:<jones@hop.example>", "250", &["rcpt", "rcpt-reply"]),
    ("DATA", "354", &["data", "data-reply"]),
    ("Subject: x\r\n\r\nx\r\n.", "250", &["message", "message-reply"]),
];

const ON_ERROR: [&str; 3] = ["tempfail", "reject", "pass"];

/// How long a callout may take.
const TIMEOUT: Duration = Duration::from_millis(800);

/// One of the sessions that meet a fault.
#[derive(Clone, Copy)]
struct Case {
    on_error: usize,
    fault: usize,
    stage: usize,
}

impl Case {
    fn stage(self) -> &'static str {
        SESSION.iter().flat_map(|(_, _, stages)| *stages).nth(self.stage).unwrap()
    }

    fn client(self) -> Ipv4Addr {
        Ipv4Addr::new(127, self.on_error as u8 + 1, self.fault as u8, self.stage as u8 + 1)
    }

    fn name(self) -> String {
        format!("{}-{}-{}", ON_ERROR[self.on_error], FAULTS[self.fault].0, self.stage())
    }

    fn callout(self, service: SocketAddr, nobody: SocketAddr) -> String {
        let (fault, _) = FAULTS[self.fault];
        let address = if fault == "dead" { nobody } else { service };
        let shown = if self.stage() == "message" { ", content: whole" } else { "" };
        format!(
            "  - {{ name: {}, type: http, url: \"http://{address}/{fault}\", stages: {}, on_error: {}, \
             timeout: {}ms, when: {{ client: {} }}{shown} }}\n",
            self.name(),
            self.stage(),
            ON_ERROR[self.on_error],
            TIMEOUT.as_millis(),
            self.client()
        )
    }

    /// What the client hears where the fault is met.
    fn expected(self, otherwise: &'static str) -> &'static str {
        match (ON_ERROR[self.on_error], self.stage()) {
            // What a hop has accepted it will deliver.
            ("pass", _) | (_, "message-reply") => otherwise,
            ("reject", _) => "554 5.3.0",
            (_, "connect" | "connect-reply") => "421 4.3.0",
            _ => "451 4.3.0",
        }
    }
}

#[test]
fn every_fault_at_every_stage_under_load() {
    let stages = SESSION.iter().map(|(_, _, stages)| stages.len()).sum();
    let cases: Vec<Case> = (0..ON_ERROR.len())
        .flat_map(|on_error| (0..FAULTS.len()).map(move |fault| (on_error, fault)))
        .flat_map(|(on_error, fault)| (0..stages).map(move |stage| Case { on_error, fault, stage }))
        .collect();
    let (hop, service, nobody) = (Hop::start("hop.example"), serve(), free_address());
    let callouts: String = cases.iter().map(|case| case.callout(service, nobody)).collect();
    let gate = Gate::start(&hop.upstream(), &format!("callouts:\n{callouts}"));
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (accepted, others) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let began = Instant::now();
                    let outcome = session(gate.listener, Ipv4Addr::LOCALHOST, |_, otherwise| otherwise);
                    outcome.expect("nobody is asked about them");
                    others.lock().unwrap().push(began.elapsed());
                }
            });
        }
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                        let expected = |stages: &[&str], otherwise| {
                            if stages.contains(&case.stage()) { case.expected(otherwise) } else { otherwise }
                        };
                        let taken = session(gate.listener, case.client(), expected);
                        let taken = taken.unwrap_or_else(|error| panic!("{}: {error}", case.name()));
                        accepted.fetch_add(usize::from(taken), Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let ended: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        over.store(true, Ordering::SeqCst);
        for client in ended {
            client.unwrap();
        }
    });
    let mut others = others.into_inner().unwrap();
    others.sort_unstable();
    assert_eq!(hop.contents(), accepted.into_inner() + others.len(), "what was answered 250 is there, once");
    // One that stood behind a slow callout, anywhere, would have taken its whole timeout.
    let median = others[others.len() / 2];
    assert!(median < TIMEOUT / 2, "{} others took {median:?}", others.len());
    let log = gate.output();
    for case in &cases {
        // What is read of an answer to a message takes longer than that.
        if (case.stage(), FAULTS[case.fault].0) == ("message", "endless") {
            continue;
        }
        let line = format!("callout {}: {}: {}", case.name(), case.stage(), FAULTS[case.fault].1);
        assert!(log.contains(&line), "{line}");
    }
}

/// One that would refuse everything, and one that never says anything: nobody hears of them, and nobody waits.
#[test]
fn callouts_in_shadow_change_nothing() {
    let hop = Hop::start("hop.example");
    let refuses = crate::refuser::start();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let stages = SESSION.iter().flat_map(|(_, _, stages)| *stages).copied();
    // Where a message is kept to be shown, nobody is asked about the hop's word on DATA.
    let stages: Vec<&str> = stages.filter(|stage| *stage != "message").collect();
    let every = stages.join(", ");
    let mut callouts = format!(
        "  - {{ name: mute, type: http, url: \"http://{}/\", stages: [{every}], timeout: 20s, shadow: true }}\n",
        silent.local_addr().unwrap()
    );
    for stage in &stages {
        callouts.push_str(&format!(
            "  - {{ name: no-{stage}, type: http, url: \"http://{refuses}/{stage}\", stages: {stage}, shadow: true }}\n"
        ));
    }
    let gate = Gate::start(&hop.upstream(), &format!("callouts:\n{callouts}"));
    let began = Instant::now();
    assert_eq!(session(gate.listener, Ipv4Addr::LOCALHOST, |_, otherwise| otherwise), Ok(true));
    assert!(began.elapsed() < Duration::from_secs(10), "nobody waits for the one that is mute");
    assert_eq!(hop.contents(), 1);
    for stage in &stages {
        let name = format!("callout=\"no-{stage}\"");
        let stage_label = format!("stage=\"{stage}\"");
        // What a hop has accepted nobody may refuse, in shadow or not.
        if *stage == "message-reply" {
            continue;
        }
        wait_for(&format!("{stage} to disagree"), PATIENCE, || {
            let count = gate.metric("gatepost_callout_disagreements_total", &[&name, &stage_label]);
            (count > 0.0).then_some(())
        });
    }
    // Ten such lines a second are written, and no more.
    let line = |stage: &str, done: &str| {
        format!("callout no-{stage}, in shadow: {stage}: 554 5.7.1 No {stage} by callout; done was: {done}")
    };
    wait_for("lines that tell both", PATIENCE, || {
        let log = gate.output();
        let told =
            log.contains(&line("connect", "pass")) && log.contains(&line("connect-reply", "220 hop.example"));
        (told && log.matches(" by callout; done was: ").count() >= 10).then_some(())
    });
}

/// A service that is down costs its clients an answer, and no time; and is asked again when it is back.
#[test]
fn a_callout_that_is_down_is_not_asked() {
    let (hop, nobody) = (Hop::start("hop.example"), free_address());
    let callout = format!("{{ name: greylist, type: policy, address: \"{nobody}\" }}");
    let gate = Gate::start(&hop.upstream(), &format!("callouts: [{callout}]\n"));
    let heard = || session(gate.listener, Ipv4Addr::LOCALHOST, |_, otherwise| otherwise);
    let up = || gate.metric("gatepost_callout_up", &["callout=\"greylist\""]);
    for _ in 0..5 {
        assert!(up() > 0.0);
        heard().expect_err("451 4.3.0");
    }
    // The sixth does not even try.
    let began = Instant::now();
    let refused = heard().unwrap_err();
    assert!(refused.contains("451 4.3.0") && began.elapsed() < Duration::from_secs(5), "{refused}");
    assert_eq!(up(), 0.0);
    let failures = |reason: &str| {
        gate.metric(
            "gatepost_callout_failures_total",
            &["callout=\"greylist\"", &format!("reason=\"{reason}\"")],
        )
    };
    assert_eq!((failures("unreachable"), failures("not_asked")), (5.0, 1.0));
    assert!(
        gate.http("/readyz").contains("\ncallout greylist: not asked, it has failed too often of late\n")
    );
    let listener = TcpListener::bind(nobody).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                for line in BufReader::new(&stream).lines().map_while(Result::ok) {
                    if line.is_empty() {
                        (&stream).write_all(b"action=DUNNO\n\n").unwrap();
                    }
                }
            });
        }
    });
    wait_for("the callout to be asked again", PATIENCE, || heard().is_ok().then_some(()));
    assert!(up() > 0.0 && !gate.http("/readyz").contains("callout"));
    let log = gate.output();
    for line in ["callout greylist: rcpt: unreachable: ", "callout greylist: rcpt: not_asked: "] {
        assert!(log.contains(line), "{line}");
    }
    for once in ["callout greylist: not asked any more", "callout greylist: answers again, and is asked"] {
        assert_eq!(log.matches(once).count(), 1, "{once}");
    }
}

/// Plays a session until it is refused; says whether its message was taken.
fn session(
    gate: SocketAddr,
    client: Ipv4Addr,
    expected: impl Fn(&[&str], &'static str) -> &'static str,
) -> Result<bool, String> {
    let stream = connect(gate, client);
    let mut lines = BufReader::new(&stream).lines();
    for (command, otherwise, stages) in SESSION {
        if !command.is_empty() {
            write!(&stream, "{command}\r\n").map_err(|error| format!("{command}: {error}"))?;
        }
        let line = loop {
            let line =
                lines.next().ok_or(format!("{command}: closed"))?.map_err(|error| error.to_string())?;
            if line.as_bytes().get(3) != Some(&b'-') {
                break line;
            }
        };
        let expected = expected(stages, otherwise);
        if !line.starts_with(expected) {
            return Err(format!("{command}: heard {line}, not {expected}"));
        }
        if expected != otherwise {
            return Ok(false);
        }
    }
    // It need not be heard.
    let _ = (&stream).write_all(b"QUIT\r\n");
    Ok(true)
}

fn connect(gate: SocketAddr, client: Ipv4Addr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((client, 0)).into()).unwrap();
    socket.connect(&gate.into()).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A service that does at each path what the path says.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A connection that breaks is what most of this is about.
            thread::spawn(move || answer(&stream));
        }
    });
    address
}

fn answer(mut stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut question = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut question)?;
        let reply = String::from_utf8_lossy(&question).contains("-reply\",\"session");
        let path = head.split(' ').nth(1).unwrap_or_default();
        let body = match (path, reply) {
            ("/malformed", _) => r#"{"reply":"#,
            ("/not-allowed", true) => r#"{"reply":"550 5.7.1 No"}"#,
            ("/not-allowed", false) => r#"{"substitute":"550 5.7.1 No"}"#,
            ("/no-address", true) => r#"{"retry":[{"recipient":"no address"}]}"#,
            ("/no-address", false) => r#"{"rewrite":{"recipient":"no address"}}"#,
            ("/line-end", true) => r#"{"substitute":"550 5.7.1 No\r\n250 2.0.0 Yes"}"#,
            ("/line-end", false) => r#"{"reply":"550 5.7.1 No\r\n250 2.0.0 Yes"}"#,
            ("/code-999", true) => r#"{"substitute":"999 No"}"#,
            ("/code-999", false) => r#"{"reply":"999 No"}"#,
            _ => "",
        };
        let ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        match path {
            "/slow" => {
                write!(stream, "H")?;
                return reader.read(&mut [0]).map(drop);
            }
            "/redirect" => {
                write!(stream, "HTTP/1.1 302 Found\r\nLocation: /pass\r\nContent-Length: 0\r\n\r\n")?
            }
            "/huge" => {
                write!(stream, "{ok}Content-Length: 104857600\r\n\r\n")?;
                (0..25_600).try_for_each(|_| stream.write_all(&[b' '; 4096]))?;
            }
            "/endless" => {
                write!(stream, "{ok}Transfer-Encoding: chunked\r\n\r\n")?;
                let chunk = format!("1000\r\n{:4096}\r\n", "");
                (0..25_600).try_for_each(|_| stream.write_all(chunk.as_bytes()))?;
            }
            _ => write!(stream, "{ok}Content-Length: {}\r\n\r\n{body}", body.len())?,
        }
    }
}
