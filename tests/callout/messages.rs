//! Messages that are shown to services: what is sent, and what may come back.
//!
//! In:    messages in memory and in files, edited before or not; a service that says anything.
//! Out:   the octets that the service is sent; the answer, or what was wrong with it.
//! Never: takes a message that was not sent whole for one that may be replaced.

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;

use gatepost::callout::{Asked, Asker, Content};
use gatepost::message::{Edit, Scan};
use gatepost::session::callout::{CalloutAnswer, CalloutId, Callouts};
use gatepost::session::verdict::Stage;
use gatepost::spool::Kept;

use super::{Answered, Heard, PATIENCE, act, answer, compile_at, run, said, scripted};

/// With every octet there is, and what looks like the end of a part.
fn octets() -> Vec<u8> {
    let mut octets = b"Subject: x\r\n\r\n--b--\r\n.\r\n".to_vec();
    octets.extend((0..300_000_u32).map(|number| (number % 251) as u8 ^ (number >> 9) as u8));
    octets
}

fn content(octets: &[u8], kept: Kept) -> Content {
    let mut scan = Scan::default();
    scan.take(octets);
    Content { draft: Arc::new(scan.finish()).draft(), kept }
}

fn in_file(octets: &[u8]) -> Kept {
    let file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut &file, octets).unwrap();
    Kept::of_file(Arc::new(file))
}

fn asker(url: &str, shown: &str) -> Arc<dyn Asker> {
    let set = compile_at("message", url, &format!(", content: {shown}")).unwrap();
    Arc::clone(set.carrier().downcast_ref::<Arc<dyn Asker>>().unwrap())
}

fn ask(asker: &Arc<dyn Asker>, content: Content) -> Answered {
    let (session, transaction) = Default::default();
    let question = (*br#"{"stage":"message"}"#).into();
    let content = Some(content);
    asker.ask(CalloutId(0), Asked { stage: Stage::Message, question, content, session, transaction })
}

/// The parts of form data, each head and octets.
fn parts(head: &str, body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let media = "content-type: multipart/form-data; boundary=";
    let boundary = head.lines().find_map(|line| line.strip_prefix(media)).expect("form data");
    let delimiter = format!("--{boundary}");
    let mut rest = body;
    let mut parts = Vec::new();
    while let Some(at) = memchr::memmem::find(rest, delimiter.as_bytes()) {
        let part = rest[..at].strip_suffix(b"\r\n").unwrap_or(&rest[..at]);
        if let Some(end) = memchr::memmem::find(part, b"\r\n\r\n") {
            let head = String::from_utf8(part[..end].trim_ascii_start().to_vec()).unwrap();
            parts.push((head, part[end + 4..].to_vec()));
        }
        rest = &rest[at + delimiter.len()..];
    }
    assert_eq!(rest, b"--\r\n", "the last delimiter closes");
    parts
}

fn expect_parts(heard: &mut Heard, message: &[u8]) {
    let (head, body) = heard.question();
    let heads =
        ["question", "message"].map(|name| format!("Content-Disposition: form-data; name=\"{name}\""));
    let parts = parts(&head, &body);
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[0].0, format!("{}\r\nContent-Type: application/json", heads[0]));
    assert_eq!(parts[0].1, br#"{"stage":"message"}"#);
    assert_eq!(parts[1].0, format!("{}\r\nContent-Type: message/rfc822", heads[1]));
    assert!(parts[1].1 == message, "{} octets of {}", parts[1].1.len(), message.len());
}

#[test]
fn it_is_sent_as_it_is_now_and_again_where_a_connection_was_dead() {
    let octets = octets();
    for kept in [Kept::of_memory(octets.clone()), in_file(&octets)] {
        let edited = [b"X-Seen: yes\r\n", &octets[..]].concat();
        let (first, second, third) = (octets.clone(), edited.clone(), edited);
        let (address, service) = scripted(vec![
            act(move |mut heard| {
                expect_parts(&mut heard, &first);
                heard.say(&answer("{}"));
                // Without a word to the next.
                heard.question();
            }),
            act(move |mut heard| {
                expect_parts(&mut heard, &second);
                heard.say(&answer("{}"));
                heard.ended();
            }),
        ]);
        let asker = asker(&format!("http://{address}/"), "whole");
        let mut content = content(&octets, kept);
        run(async {
            let pass = "Message(MessageAnswer { edits: [], envelope: [], verdict: None })";
            assert_eq!(said(ask(&asker, content.clone()).await), pass);
            content.draft.apply(&Edit::Insert { at: 0, field: b"X-Seen: yes\r\n"[..].into() });
            assert_eq!(
                third.len() as u64,
                content.draft.rope().iter().map(|strand| strand.len()).sum::<u64>()
            );
            assert_eq!(said(ask(&asker, content).await), pass);
        });
        drop(asker);
        service.join().unwrap();
    }
}

/// What a service answers that is shown this much.
fn answered(shown: &str, says: String) -> Result<CalloutAnswer, String> {
    let (address, service) = scripted(vec![act(move |mut heard| {
        heard.question();
        heard.say(&says);
    })]);
    let asker = asker(&format!("http://{address}/"), shown);
    let octets = b"Subject: x\r\n\r\ntext\r\n";
    let answer = run(ask(&asker, content(octets, Kept::of_memory(octets.to_vec()))));
    drop(asker);
    service.join().unwrap();
    answer.map_err(|fault| fault.to_string())
}

fn another(message: &str) -> String {
    let length = message.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: message/rfc822\r\nContent-Length: {length}\r\n\r\n{message}")
}

#[test]
fn another_message_only_from_whoever_has_seen_all_of_it() {
    let message = "Subject: y\r\n\r\nother\r\n";
    let Ok(CalloutAnswer::Message(given)) = answered("whole", another(message)) else { panic!("a message") };
    let expected = [Edit::Header(vec![b"Subject: y\r\n"[..].into()]), Edit::Body(b"other\r\n"[..].into())];
    assert_eq!(given.edits, expected);
    // What comes back as it was sent is no other.
    let Ok(CalloutAnswer::Message(same)) = answered("whole", another("Subject: x\r\n\r\ntext\r\n")) else {
        panic!("a message")
    };
    assert!(!same.is_edit(), "{same:?}");
    assert_eq!(
        answered("header", another(message)),
        Err("malformed: the content type is message/rfc822, not application/json".to_owned())
    );
}

#[test]
fn an_answer_has_its_bounds() {
    let large = format!("{{\"body\": \"{}\"}}", "x".repeat(1 << 20));
    assert!(answered("header", answer(&large)).is_ok());
    let announced = (32 << 20) + 1;
    let too_large = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: message/rfc822\r\nContent-Length: {announced}\r\n\r\nSubject"
    );
    assert_eq!(
        answered("whole", too_large),
        Err(format!("malformed: {announced} octets; at most {} are read", 32 << 20))
    );
}

/// The file is shorter than what it is said to hold. Whether the question has begun by then is not the matter.
#[test]
fn what_cannot_be_read_back_is_not_asked_about() {
    let (octets, short) = (octets(), in_file(b"Subject: x\r\n"));
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let asker = asker(&format!("http://{}/", service.local_addr().unwrap()), "whole");
    let said = said(run(ask(&asker, content(&octets, short))));
    assert!(said.starts_with("not_asked: the message cannot be read back: "), "{said}");
    drop(asker);
    let (stream, _) = service.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = Vec::new();
    // A reset is an end as well.
    let _ = (&stream).read_to_end(&mut heard);
    assert!(heard.len() < octets.len(), "no question that looks whole: {}", heard.len());
}
