//! What a client was refused, found in the log by what it heard.
//!
//! In:    a session refused at each stage by a rule, a callout, the hop, a limit, or gatepost itself.
//! Out:   one search for the session's id that the client heard, or for the words of whoever gives none, finds a line that
//!        says who refused what.
//! Never: has more refusals in one gatepost than its log writes in a second.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use socket2::{Domain, Socket, Type};

use super::gate::{Gate, free_address};
use crate::refuser;
use crate::scratch::{PATIENCE, wait_for};

/// A session, command by command, and the stages that are asked meanwhile.
const SESSION: [&str; 7] = [
    "",
    "EHLO client.example",
    "AUTH PLAIN AGpvZQBzZWNyZXQ=",
    "MAIL FROM:<smith@client.example>",
    "RCPT TO:<jones@hop.example>",
    "DATA",
    "Subject: x\r\n\r\nx\r\n.",
];

const COMMANDS: [&str; 6] = ["connect", "helo", "auth", "mail", "rcpt", "data"];
const REPLIES: [&str; 6] =
    ["connect-reply", "helo-reply", "auth-reply", "mail-reply", "rcpt-reply", "data-reply"];

/// The client that is refused at a stage.
fn client(stage: &str) -> Ipv4Addr {
    let place = COMMANDS.iter().chain(&REPLIES).position(|&other| other == stage).unwrap();
    Ipv4Addr::new(127, 0, 0, place as u8 + 11)
}

#[test]
fn by_a_rule() {
    for (stages, verdict) in [(COMMANDS, "reply"), (REPLIES, "substitute")] {
        let rules: String = stages
            .iter()
            .map(|stage| {
                format!(
                    "  - {{ name: no-{stage}, stages: {stage}, match: {{ client: {} }}, \
                     do: {{ {verdict}: \"554 5.7.1 No {stage} by rule\" }} }}\n",
                    client(stage)
                )
            })
            .collect();
        let (gate, _hop) = gate(&format!("rules:\n{rules}"));
        for stage in stages {
            let heard = refusal(gate.listener, client(stage), &SESSION);
            assert_eq!(heard, format!("554 5.7.1 No {stage} by rule"));
            found(
                &gate,
                &heard,
                &["refused: ", &format!("by=rule no-{stage}"), &format!("stage=\"{stage}\"")],
            );
        }
    }
}

#[test]
fn by_a_callout() {
    let service = refuser::start();
    for stages in [COMMANDS, REPLIES] {
        let callouts: String = stages
            .iter()
            .map(|stage| {
                format!(
                    "  - {{ name: ask-{stage}, type: http, url: \"http://{service}/{stage}\", stages: {stage}, \
                     when: {{ client: {} }} }}\n",
                    client(stage)
                )
            })
            .collect();
        let (gate, _hop) = gate(&format!("callouts:\n{callouts}"));
        for stage in stages {
            let heard = refusal(gate.listener, client(stage), &SESSION);
            assert_eq!(heard, format!("554 5.7.1 No {stage} by callout"));
            let by = format!("by=callout ask-{stage}");
            found(&gate, &heard, &["refused: ", &by, &format!("stage=\"{stage}\"")]);
        }
    }
}

/// A callout that cannot be asked: the line with the id says what the client heard, another with it says why.
#[test]
fn by_a_callout_that_failed() {
    let (gate, _hop) = gate(&format!(
        "callouts:\n  - {{ name: dead, type: http, url: \"http://{}/\", stages: rcpt }}\n",
        free_address()
    ));
    let heard = refusal(gate.listener, Ipv4Addr::LOCALHOST, &SESSION);
    found(&gate, &heard, &["callout dead: rcpt: unreachable"]);
    found(&gate, &heard, &["refused: 451 4.3.0", "by=gatepost"]);
}

#[test]
fn by_the_hop() {
    let (gate, _hop) = gate("");
    for (verb, name) in [("MAIL", "mail"), ("RCPT", "rcpt"), ("DATA", "data"), (".", "end")] {
        let hello = format!("EHLO {name}.example");
        let session = SESSION.map(|line| if line.starts_with("EHLO") { &hello } else { line });
        let heard = refusal(gate.listener, Ipv4Addr::LOCALHOST, &session);
        assert_eq!(heard, format!("550 5.7.1 No {verb} by hop"));
        let by = if verb == "RCPT" { "[hop 127.0.0.1:" } else { "by=hop 127.0.0.1:" };
        found(&gate, &heard, &["transaction", by, "sender=\"<smith@client.example>\""]);
    }
    // No transaction's record tells of these.
    for (verb, name) in [("EHLO", "ehlo"), ("AUTH", "auth"), ("VRFY", "vrfy"), ("NOOP", "noop")] {
        let hello = format!("EHLO {name}.example");
        let heard =
            refusal(gate.listener, Ipv4Addr::LOCALHOST, &["", &hello, SESSION[2], "VRFY jones", "NOOP"]);
        assert_eq!(heard, format!("550 5.7.1 No {verb} by hop"));
        found(&gate, &heard, &["refused: ", "by=hop 127.0.0.1:", "client=127.0.0.1:"]);
    }
}

/// A hop that was told who the client is: its greeting is its word to this client.
#[test]
fn by_the_hops_greeting() {
    for greeting in ["554 5.7.1 No connection by hop", "450 4.7.1 No connection by hop"] {
        let hop = serve(move |mut stream| {
            let mut header = String::new();
            BufReader::new(stream).read_line(&mut header)?;
            write!(stream, "{greeting}\r\n")
        });
        let gate = Gate::start(&format!("{{ hosts: [\"{hop}\"], identity: proxy_v1 }}"), "");
        let heard = refusal(gate.listener, Ipv4Addr::LOCALHOST, &SESSION);
        assert_eq!(heard, greeting);
        found(&gate, &heard, &["refused: ", "by=hop 127.0.0.1:", "client=127.0.0.1:"]);
    }
}

#[test]
fn by_a_limit() {
    let limits =
        "{ sessions_per_client: 1, messages_per_minute: 1, recipients: 1, message_size: 100, errors: 2 }";
    let (gate, _hop) = gate(&format!("limits: {limits}\n"));
    let [_, hello, _, mail, rcpt, data, _] = SESSION;
    // Not so much that it would be hung up on before its end is seen.
    let too_much = format!("{}\r\n.", "x\r\n".repeat(50));
    let (another, sized) = (rcpt.replace("jones", "green"), format!("{mail} SIZE=101"));
    // A client for each, as the limits are of one.
    let from = |client: usize| Ipv4Addr::new(127, 0, 0, client as u8 + 11);
    let cases = [
        (vec!["", hello, mail, rcpt, &another], "452 4.5.3 Too many recipients"),
        (vec!["", hello, &sized], "552 5.3.4 "),
        (vec!["", hello, mail, rcpt, data, &too_much], "552 5.3.4 "),
        (vec!["", hello, mail, "RSET", mail], "451 4.7.1 "),
    ];
    for (place, (session, expected)) in cases.iter().enumerate() {
        let heard = refusal(gate.listener, from(place), session);
        assert!(heard.starts_with(expected), "{heard:?}, not {expected:?}");
        found(&gate, &heard, &["refused: ", expected, "by=gatepost", &format!("client={}:", from(place))]);
    }
    let only = gate.client();
    let heard = refusal(gate.listener, Ipv4Addr::LOCALHOST, &[""]);
    only.leave();
    found(&gate, &heard, &["refused: 421 4.7.0", "by=gatepost", "client=127.0.0.1:"]);
}

#[test]
fn by_gatepost_itself() {
    let (gate, _hop) = gate("");
    let [_, hello, _, mail, rcpt, data, _] = SESSION;
    for (session, expected) in [
        (vec!["", "EHLO"], "501 "),
        (vec!["", hello, rcpt], "503 5.5.1 "),
        (vec!["", hello, mail, mail], "503 5.5.1 "),
        (vec!["", hello, mail, data], "5"),
        (vec!["", hello, "XYZZY"], "500 "),
        (vec!["", hello, "BDAT 0 LAST"], "5"),
    ] {
        let heard = refusal(gate.listener, Ipv4Addr::LOCALHOST, &session);
        assert!(heard.starts_with(expected), "{heard:?}, not {expected:?}");
        found(&gate, &heard, &[&format!("refused: {heard}"), "by=gatepost"]);
    }
    let gate = Gate::start(&format!("{{ hosts: [\"{}\"] }}", free_address()), "");
    let heard = refusal(gate.listener, Ipv4Addr::LOCALHOST, &SESSION);
    found(&gate, &heard, &["refused: 421 4.4.1", "by=gatepost"]);
}

/// Searches the log for the id that was heard, or for what was heard where it has none.
fn found(gate: &Gate, heard: &str, expected: &[&str]) {
    let id = heard.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')).map(|(_, id)| id);
    let key = id.unwrap_or(heard);
    wait_for(&format!("{key:?} to be found with {expected:?}"), PATIENCE, || {
        let log = gate.output();
        let mut lines = log.lines().filter(|line| line.contains(key));
        lines.any(|line| expected.iter().all(|part| line.contains(part))).then_some(())
    });
}

fn connect(gate: SocketAddr, client: Ipv4Addr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((client, 0)).into()).unwrap();
    socket.connect(&gate.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Plays a session until it is refused, and leaves; says what it heard then, or nothing.
fn refusal(gate: SocketAddr, client: Ipv4Addr, session: &[&str]) -> String {
    let stream = connect(gate, client);
    let mut lines = BufReader::new(&stream).lines();
    for command in session {
        if !command.is_empty() {
            write!(&stream, "{command}\r\n").unwrap();
        }
        let reply = lines.by_ref().map(Result::unwrap).find(|line| line.as_bytes().get(3) != Some(&b'-'));
        let reply = reply.expect("a reply, before it closes");
        if reply.starts_with(['4', '5']) {
            return reply;
        }
    }
    String::new()
}

/// A gatepost before a hop that refuses what a client's name in EHLO says.
fn gate(more: &str) -> (Gate, SocketAddr) {
    let hop = serve(|stream| {
        let mut out = stream;
        let (mut name, mut in_content) = (String::new(), false);
        write!(out, "220 hop.example ESMTP\r\n")?;
        for line in BufReader::new(stream).lines() {
            let line = line?;
            if in_content && line != "." {
                continue;
            }
            in_content = false;
            let verb = line.split(' ').next().unwrap_or_default();
            if verb == "EHLO" {
                name = line.trim_start_matches("EHLO ").to_owned();
            }
            let named = if verb == "." { "end".to_owned() } else { verb.to_lowercase() };
            let reply = match verb {
                _ if name.split('.').next() == Some(&*named) => format!("550 5.7.1 No {verb} by hop"),
                "EHLO" => "250-hop.example\r\n250-SIZE 1000000\r\n250 AUTH PLAIN".to_owned(),
                "AUTH" => "235 2.7.0 Welcome".to_owned(),
                "DATA" => {
                    in_content = true;
                    "354 Go ahead".to_owned()
                }
                _ => "250 2.0.0 Ok".to_owned(),
            };
            write!(out, "{reply}\r\n")?;
        }
        Ok(())
    });
    (Gate::start(&format!("{{ hosts: [\"{hop}\"] }}"), more), hop)
}

fn serve(dialog: impl Fn(&TcpStream) -> std::io::Result<()> + Copy + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A dialog that breaks is the client's matter, which the test sees.
            thread::spawn(move || dialog(&stream));
        }
    });
    address
}
