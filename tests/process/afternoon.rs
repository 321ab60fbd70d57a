//! An operator's afternoon: what goes wrong around gatepost, and what everybody hears of it.
//!
//! In:    a log that nobody takes, hops that refuse or talk nonsense, certificates that are over, a DNS that is half
//!        silent, clients whose handshakes fail by the hundred, or who say nothing by the hundred.
//! Out:   for each trouble what clients, `/readyz`, the metrics and the log say.
//! Never: lets a trouble pass unsaid, or stop what it does not concern. How lines of the log are lost in detail is the
//!        matter of `lost_lines`.

use std::fs::File;
use std::io::{BufRead, BufReader, Write, pipe};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::gate::{Gate, SINK, first_reply};
use super::hop::Hop;
use crate::certificates::{Authority, Files};
use crate::scratch::{PATIENCE, Scratch, wait_for};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// One message; its last reply.
fn send(gate: &Gate) -> String {
    let mut client = gate.client();
    for (command, code) in
        [("MAIL FROM:<a@example.org>", 250), ("RCPT TO:<b@example.net>", 250), ("DATA", 354)]
    {
        client.ask(command, code);
    }
    client.say("Subject: afternoon\r\n\r\n.\r\n");
    let reply = client.reply();
    client.quit();
    reply
}

fn ready(gate: &Gate) -> String {
    let answer = gate.http("/readyz");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

/// A hop that says the same to whoever connects, and then what it is given for each line.
fn says(greeting: &'static str, reply: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || -> std::io::Result<()> {
                stream.set_read_timeout(Some(PATIENCE))?;
                (&stream).write_all(greeting.as_bytes())?;
                for line in BufReader::new(&stream).lines() {
                    line?;
                    (&stream).write_all(reply.as_bytes())?;
                }
                Ok(())
            });
        }
    });
    address
}

#[test]
fn the_logs_disk_is_full() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let gate = Gate::start_as(SINK, "", |command| {
        command.stderr(full);
    });
    assert!(send(&gate).starts_with("250 "));
    ready(&gate);
    wait_for("lost lines to be counted", PATIENCE, || {
        (gate.metric("gatepost_log_lines_dropped_total", &[]) >= 1.0).then_some(())
    });
    assert_eq!(gate.metric("gatepost_messages_total", &["accepted"]), 1.0);
}

#[test]
fn whoever_reads_the_log_is_dead() {
    let (reader, writer) = pipe().unwrap();
    let gate = Gate::start_as(SINK, "", |command| {
        command.stderr(writer);
    });
    drop(reader);
    for _ in 0..3 {
        assert!(send(&gate).starts_with("250 "));
    }
    ready(&gate);
    wait_for("lost lines to be counted", PATIENCE, || {
        (gate.metric("gatepost_log_lines_dropped_total", &[]) >= 3.0).then_some(())
    });
    assert_eq!(gate.metric("gatepost_panics_total", &[]), 0.0);
}

#[test]
fn whoever_reads_the_log_stalls() {
    let (_reader, writer) = pipe().unwrap();
    let trace = "log: { level: trace }\n";
    let gate = Gate::start_as(SINK, trace, |command| {
        command.stderr(writer);
    });
    // Enough to fill the pipe many times; what the queue holds is not lost yet.
    for _ in 0..100 {
        assert!(send(&gate).starts_with("250 "));
    }
    ready(&gate);
    assert_eq!(gate.metric("gatepost_messages_total", &["accepted"]), 100.0);
}

#[test]
fn a_certificate_is_over_and_others_soon_will_be() {
    let (scratch, authority) = (Scratch::new("afternoon"), Authority::new("Example Root"));
    let names = ["127.0.0.1"];
    let write = |name: &str, left: Option<Duration>| match left {
        None => authority.expired(&names).write(scratch.path(), name),
        Some(left) => authority.expiring(&names, left).write(scratch.path(), name),
    };
    let pair = |files: &Files| {
        format!("certificate: \"{}\", key: \"{}\"", files.certificate.display(), files.key.display())
    };
    let (over, soon) = (write("over", None), write("soon", Some(DAY * 6 + DAY / 2)));
    let issuing = authority.subordinate("Example Issuing", DAY * 8 + DAY / 2);
    let chain = issuing.server(&names).write(scratch.path(), "chain");
    let (own, later) = (write("own", Some(DAY * 3 + DAY / 2)), write("later", Some(DAY * 100)));
    let tls = format!(
        "{{ mode: starttls, certificates: [{{ {} }}, {{ {} }}, {{ {} }}, {{ {} }}] }}",
        pair(&over),
        pair(&soon),
        pair(&chain),
        pair(&later)
    );
    let hop = Hop::start("hop.example");
    let upstream = format!(
        "{{ hosts: [\"{}\"], health: off, tls: {{ mode: opportunistic, {} }} }}",
        hop.address,
        pair(&own)
    );
    let gate = Gate::start_secured(&tls, &upstream, "");
    assert!(send(&gate).starts_with("250 "));
    let dir = format!("{}/", scratch.path().display());
    let said = [
        "listeners[0].tls: over.pem: expired on 2020-12-31",
        "listeners[0].tls: soon.pem: expires on ",
        "listeners[0].tls: chain.pem: certificate 2 in it, CN=Example Issuing, expires on ",
        "upstreams.main.tls: own.pem: expires on ",
    ];
    let body = ready(&gate).replace(&dir, "");
    for line in said {
        assert!(body.contains(line), "{line} is missing in\n{body}");
        let (key, file) = line.split_once(": ").unwrap();
        gate.logged(&["WARN", key, file.split_once(": ").unwrap().1]);
    }
    assert!([3, 6, 8].iter().all(|days| body.contains(&format!(", in {days} days\n"))), "{body}");
    assert!(!body.contains("later.pem"), "{body}");
    let of = |name: &str, file: &str| gate.metric(name, &[file]);
    assert_eq!(of("gatepost_certificate_expires_seconds", "over.pem"), 1_609_372_800.0);
    assert!(of("gatepost_certificate_expires_seconds", "chain.pem") < 3_755_376_000.0, "before 2089");
    assert!(of("gatepost_client_certificate_expires_seconds", "own.pem") > 1_609_372_800.0);
    // Renewed, it is not spoken of any more.
    authority.server(&names).write(scratch.path(), "over");
    wait_for("the renewed certificate to be in use", PATIENCE, || {
        (!ready(&gate).contains("over.pem")).then_some(())
    });
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_gatepost"));
    let config = gate.scratch().path().join("proxy.yaml");
    check.arg("check").arg("--config").arg(config);
    let checked = crate::scratch::run(&scratch, &mut check, std::process::Stdio::null(), PATIENCE);
    assert_eq!(checked.status.code(), Some(0), "{}", checked.stderr);
    let stderr = checked.stderr.replace(&dir, "");
    assert!(stderr.contains("warning: listeners[0].tls: soon.pem: expires on "), "{stderr}");
    assert!(!stderr.contains("over.pem"), "{stderr}");
}

#[test]
fn a_hop_greets_with_554() {
    let (refusing, hop) = (says("554 5.7.1 go away\r\n", "221 2.0.0 Bye\r\n"), Hop::start("second.example"));
    let hosts = format!("{{ hosts: [\"{refusing}\", \"{}\"], health: off }}", hop.address);
    let gate = Gate::start(&hosts, "");
    for _ in 0..3 {
        let reply = first_reply(gate.listener);
        assert!(reply.starts_with("220 second.example"), "the next host serves: {reply}");
    }
    let host = format!("host=\"{refusing}\"");
    assert_eq!(gate.metric("gatepost_hop_failures_total", &[&host, "reason=\"greeting\""]), 3.0);
    assert_eq!(gate.metric("gatepost_hop_up", &[&host]), 0.0);
    // Its words, once a minute.
    gate.logged(&["WARN", &format!("hop {refusing}: greeting: 554 5.7.1 go away")]);
    assert_eq!(gate.output().matches("554 5.7.1 go away").count(), 1, "{}", gate.output());
    gate.logged(&["hop: ejected", &refusing.to_string(), "why=\"greeting\""]);
    assert!(ready(&gate).contains("upstream main: up, 1 of 2 hosts"));
    // With no other host left the client may come again: the refusal was gatepost's, not its.
    let alone = Gate::start(&format!("{{ hosts: [\"{refusing}\"], health: off }}"), "");
    let reply = first_reply(alone.listener);
    assert!(reply.starts_with("421 4.3.2 "), "{reply}");
}

#[test]
fn a_hop_talks_nonsense() {
    let cases = [
        ("HTTP/1.1 400 Bad Request\r\n", "", "reply without a code: HTTP/1.1 400 Bad Request"),
        ("220 mad.example\r\n", "250-one\r\n251 two\r\n", "reply with different codes"),
        (
            "220 mad.example\r\n",
            "354 Go ahead\r\n",
            "reply of another class than its command can have: 354 Go ahead",
        ),
    ];
    for (greeting, reply, why) in cases {
        let mad = says(greeting, reply);
        let gate = Gate::start(&format!("{{ hosts: [\"{mad}\"], health: off }}"), "");
        let mut client = TcpStream::connect(gate.listener).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"EHLO client.example\r\n").unwrap();
        let heard: Vec<String> = BufReader::new(&client).lines().map_while(Result::ok).collect();
        assert!(heard.last().unwrap().starts_with("421 4.4."), "{why}: {heard:?}");
        gate.logged(&["WARN", "session=", &format!("hop {mad}: {why}")]);
        assert_eq!(gate.metric("gatepost_malformed_replies_total", &[]), 1.0, "{why}");
        ready(&gate);
    }
}

/// A name server that knows `good.example` and says nothing about any other name.
fn half_silent() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((taken, asker)) = socket.recv_from(&mut query) {
            let query = &query[..taken];
            let name = query[12..].to_ascii_lowercase();
            if !name.starts_with(b"\x04good\x07example\0") {
                continue;
            }
            // Its question, and for A an address (RFC 1035 4.1).
            let end = 12 + b"\x04good\x07example\0".len() + 4;
            let is_a = query[end - 4..end - 2] == [0, 1];
            let mut answer = query[..2].to_vec();
            answer.extend([0x85, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
            answer.extend(&query[12..end]);
            if is_a {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
            }
            // A resolver that is gone needs no answer.
            let _ = socket.send_to(&answer, asker);
        }
    });
    address
}

#[test]
fn dns_is_half_silent() {
    let hop = Hop::start("hop.example");
    let upstream = format!(
        "{{ hosts: [\"silent.example:2\", \"good.example:{}\"], health: off }}\n  other: {{ mx: silent.example }}",
        hop.address.port()
    );
    let more = format!("dns: {{ servers: [\"{}\"] }}\n", half_silent());
    let gate = Gate::start(&upstream, &more);
    assert!(send(&gate).starts_with("250 "), "the host that has an address serves");
    let body = ready(&gate);
    assert!(body.contains("upstream other: down, 0 of 0 hosts, no listener's own"), "{body}");
    gate.logged(&["WARN", "DNS: cannot resolve", "silent.example", "A, AAAA"]);
    gate.logged(&["WARN", "DNS: cannot resolve", "silent.example", "MX"]);
}

#[test]
fn handshakes_fail_by_the_hundred() {
    let (scratch, authority) = (Scratch::new("afternoon"), Authority::new("Example Root"));
    let files = authority.server(&["127.0.0.1"]).write(scratch.path(), "front");
    let tls = format!(
        "{{ mode: implicit, certificate: \"{}\", key: \"{}\" }}",
        files.certificate.display(),
        files.key.display()
    );
    let gate = Gate::start_secured(&tls, SINK, "limits: { sessions_per_client: 1000 }\n");
    const CLIENTS: usize = 200;
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect(gate.listener).unwrap();
        client.write_all(b"EHLO in.plain\r\n").unwrap();
    }
    wait_for("all to have failed", PATIENCE, || {
        (gate.metric("gatepost_tls_failures_total", &["downstream"]) >= CLIENTS as f64).then_some(())
    });
    let summed = || -> usize {
        let output = gate.output();
        let lines = output.lines().filter(|line| line.contains("client: TLS: so many more"));
        lines.filter_map(|line| line.rsplit_once("more=")?.1.trim().parse::<usize>().ok()).sum()
    };
    let written = || {
        gate.output()
            .lines()
            .filter(|line| line.contains("client: TLS: ") && line.contains("reason="))
            .count()
    };
    wait_for("each to be told of, one by one or in a sum", PATIENCE, || {
        (summed() + written() == CLIENTS).then_some(())
    });
    assert!(written() >= 10 && summed() > 0, "{} and {}", written(), summed());
    gate.logged(&["INFO", "reason="]);
}

/// A client that connects from this address of the loopback network.
fn client_from(source: [u8; 4], listener: SocketAddr) -> BufReader<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&listener.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(TcpStream::from(socket))
}

/// The last line of its next reply.
fn heard(client: &mut BufReader<TcpStream>) -> String {
    let mut lines = client.lines().map(Result::unwrap);
    lines.find(|line| line.as_bytes().get(3) != Some(&b'-')).expect("a reply")
}

#[test]
fn silent_clients_want_every_dialog() {
    let hop = Hop::start("hop.example");
    let upstream = format!("{{ hosts: [\"{}\"], sessions: 90, health: off }}", hop.address);
    let gate = Gate::start(&upstream, "");
    let began = Instant::now();
    let mut silent: Vec<_> = (0..100).map(|n| client_from([127, 0, 0, 1 + n / 50], gate.listener)).collect();
    let greetings: Vec<String> = silent.iter_mut().map(heard).collect();
    let hops = greetings.iter().filter(|greeting| greeting.starts_with("220 hop.example ")).count();
    let own = greetings.iter().filter(|greeting| greeting.ends_with(" ESMTP gatepost")).count();
    // Two workers may look in the same moment.
    assert!((72..=73).contains(&hops) && hops + own == 100, "{greetings:?}");
    assert_eq!(gate.metric("gatepost_hop_dialogs_open", &[]), hops as f64);
    assert!(ready(&gate).contains("upstream main: up, 1 of 1 hosts, under stress\n"), "{}", ready(&gate));
    gate.logged(&["WARN", "stress: clients", "bound=\"upstreams.main.sessions\"", "used=7", "most=90"]);
    // The next one has mail, and is served at once.
    let mut third = client_from([127, 0, 0, 3], gate.listener);
    assert!(heard(&mut third).starts_with("220 "));
    for (command, code) in [
        ("EHLO client.example", "250 "),
        ("MAIL FROM:<a@example.org>", "250 "),
        ("RCPT TO:<b@example.net>", "250 "),
        ("DATA", "354 "),
        ("Subject: afternoon\r\n\r\n.", "250 "),
    ] {
        third.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let reply = heard(&mut third);
        assert!(reply.starts_with(code), "{command}: {reply}");
    }
    assert_eq!(hop.contents(), 1);
    // Which of them are ended first is for the workers' clocks to say.
    let said = wait_for("a silent client to hear its last word", PATIENCE, || {
        silent.iter_mut().find_map(|client| {
            client.get_ref().set_nonblocking(true).unwrap();
            let speaks = client.get_ref().peek(&mut [0]).is_ok_and(|octets| octets > 0);
            client.get_ref().set_nonblocking(false).unwrap();
            speaks.then(|| heard(client))
        })
    });
    assert!(said.starts_with("421 4.4.2 "), "{said}");
    assert!(began.elapsed() >= Duration::from_secs(10), "it had its time: {:?}", began.elapsed());
    // Others are ended until 54 dialogs are left, which is 60 per cent; who is silent then may be so as long as ever.
    wait_for("stress to be over", PATIENCE, || (!ready(&gate).contains("stress")).then_some(()));
    gate.logged(&["INFO", "stress: over", "bound=\"upstreams.main.sessions\""]);
    assert!(gate.metric("gatepost_hop_dialogs_open", &[]) <= 54.0);
    let relief = |what: &str| gate.metric("gatepost_stress_relief_total", &[what]);
    assert!(relief("client_ended") >= 19.0, "of 73 dialogs, the third client's among them");
    assert_eq!(relief("client_ended"), gate.metric("gatepost_sessions_ended_total", &["client_timeout"]));
    assert_eq!(relief("hop_withheld"), (own + 1) as f64);
    // It has said MAIL, and goes on where it was.
    third.get_mut().write_all(b"RSET\r\n").unwrap();
    assert!(heard(&mut third).starts_with("250 "));
}

#[test]
fn sessions_run_out() {
    let gate = Gate::start(SINK, "limits: { sessions: 5 }\n");
    let mut silent: Vec<_> = (0..4).map(|_| client_from([127, 0, 0, 1], gate.listener)).collect();
    silent.iter_mut().for_each(|client| assert!(heard(client).starts_with("220 ")));
    assert!(ready(&gate).contains("\nlimits.sessions: 4 of 5, under stress\n"), "{}", ready(&gate));
    gate.logged(&["WARN", "stress: clients", "bound=\"limits.sessions\"", "used=4", "most=5"]);
    let mut client = client_from([127, 0, 0, 2], gate.listener);
    assert!(heard(&mut client).ends_with(" ESMTP gatepost"), "no hop is opened for it yet");
    let said = heard(&mut silent[0]);
    assert!(said.starts_with("421 4.4.2 "), "{said}");
}
