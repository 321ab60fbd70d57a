//! HTTP callouts over real sockets, with services that do everything wrong.
//!
//! In:    a service as a list of connections, each with what it hears and says; a configuration that names it.
//! Out:   what gatepost makes of it: the verdict, or what was wrong and where.
//! Never: sleeps, leaves loopback, or looks inside the client.

#[allow(dead_code, reason = "shared with others; not every test program uses all of it")]
#[path = "support/certificates.rs"]
mod certificates;
#[path = "callout/connections.rs"]
mod connections;
#[path = "callout/messages.rs"]
mod messages;
#[path = "callout/secure.rs"]
mod secure;
#[path = "callout/service.rs"]
mod service;

use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use gatepost::callout::{Asked, Asker, CalloutError, CalloutSet};
use gatepost::config;
use gatepost::session::callout::{CalloutAnswer, CalloutId, Callouts, Fault};
use gatepost::session::route::PoolId;
use gatepost::session::verdict::Stage;

const PATIENCE: Duration = Duration::from_secs(30);
const QUESTION: &[u8] = br#"{"stage":"rcpt"}"#;

/// A callout at `url`, or at several of them, and who asks it.
fn asker(url: &str, more: &str) -> Arc<dyn Asker> {
    let set = compile(url, more).unwrap();
    Arc::clone(set.carrier().downcast_ref::<Arc<dyn Asker>>().unwrap())
}

fn compile(url: &str, more: &str) -> Result<CalloutSet, Vec<CalloutError>> {
    compile_at("rcpt, rcpt-reply", url, more)
}

fn compile_at(stages: &str, url: &str, more: &str) -> Result<CalloutSet, Vec<CalloutError>> {
    let url = if url.starts_with('[') { url.to_owned() } else { format!("\"{url}\"") };
    let yaml = format!(
        "upstreams: {{ main: {{ hosts: [\"192.0.2.1\"] }} }}\n\
         callouts: [{{ name: service, type: http, url: {url}, stages: [{stages}]{more} }}]\n"
    );
    let config = config::load_text("proxy.yaml", &yaml, []).unwrap().config;
    CalloutSet::compile(&config, &|_| Some(PoolId(0)), &[vec!["127.0.0.1:2525".to_owned()]])
}

type Answered = Pin<Box<dyn Future<Output = Result<CalloutAnswer, Fault>> + Send>>;

fn ask(asker: &Arc<dyn Asker>) -> Answered {
    let (session, transaction) = Default::default();
    let asked = Asked { stage: Stage::Rcpt, question: QUESTION.into(), content: None, session, transaction };
    asker.ask(CalloutId(0), asked)
}

/// What came of a question, in words.
fn said(answer: Result<CalloutAnswer, Fault>) -> String {
    match answer {
        Ok(CalloutAnswer::Command { rewrites, verdict, .. })
            if verdict.is_none() && rewrites == Default::default() =>
        {
            "pass".to_owned()
        }
        Ok(answer) => format!("{answer:?}"),
        Err(fault) => fault.to_string(),
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") })
}

/// One connection to the service.
struct Heard {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Heard {
    /// The next question: head and body.
    fn question(&mut self) -> (String, Vec<u8>) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.lines.read_line(&mut head).unwrap() > 0, "a whole head: {head:?}");
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let mut body = vec![0; length.parse().unwrap()];
        self.lines.read_exact(&mut body).unwrap();
        (head, body)
    }

    fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until gatepost has closed.
    fn ended(&mut self) {
        // A reset is an end as well.
        while self.lines.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {}
    }
}

type Act = Box<dyn FnOnce(Heard) + Send>;

/// A service that takes one connection for each act, and no more. A connection on which nothing is said does not count:
/// one may be made in advance, and not be needed.
fn scripted(acts: Vec<Act>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (speaks, speaking) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let speaks = speaks.clone();
            thread::spawn(move || {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                if stream.peek(&mut [0]).is_ok_and(|said| said > 0) {
                    let _ = speaks.send(stream);
                }
            });
        }
    });
    let thread = thread::spawn(move || {
        for act in acts {
            let stream = speaking.recv_timeout(PATIENCE).unwrap();
            act(Heard { lines: BufReader::new(stream.try_clone().unwrap()), stream });
        }
        assert!(speaking.try_recv().is_err(), "one connection more than expected");
    });
    (address, thread)
}

fn act(act: impl FnOnce(Heard) + Send + 'static) -> Act {
    Box::new(act)
}

fn answer(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// What comes of one question to a service that says this, and then closes.
fn heard_once(says: &str) -> String {
    let says = says.to_owned();
    let (address, service) = scripted(vec![act(move |mut heard| {
        heard.question();
        heard.say(&says);
    })]);
    let asker = asker(&format!("http://{address}/"), "");
    let said = said(run(ask(&asker)));
    service.join().unwrap();
    said
}

/// The next of several is asked where one cannot be, or breaks; and then first.
#[test]
fn the_next_url_and_the_last_good_one_first() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (breaks, broken) = scripted(vec![act(|mut heard| drop(heard.question()))]);
    let (good, answered) = scripted(vec![act(|mut heard| {
        for _ in 0..3 {
            heard.question();
            heard.say(&answer("{}"));
        }
        heard.ended();
    })]);
    let asker = asker(&format!("[\"http://{dead}/\", \"http://{breaks}/\", \"http://{good}/\"]"), "");
    run(async {
        for _ in 0..3 {
            assert_eq!(said(ask(&asker).await), "pass");
        }
    });
    drop(asker);
    broken.join().unwrap();
    answered.join().unwrap();
}

#[test]
fn a_question_is_a_post_and_connections_are_kept() {
    let (address, service) = scripted(vec![act(|mut heard| {
        let (head, body) = heard.question();
        assert!(head.starts_with("POST /ask?from=mx HTTP/1.1\r\n"), "{head}");
        let host = format!("host: {}\r\n", heard.stream.local_addr().unwrap());
        for field in [
            &host,
            "content-type: application/json\r\n",
            "accept: application/json\r\n",
            "user-agent: gatepost/",
        ] {
            assert!(head.contains(field), "{field} in {head}");
        }
        assert_eq!(body, QUESTION);
        heard.say(&answer("{}"));
        heard.question();
        heard.say("HTTP/1.1 204 No Content\r\n\r\n");
        heard.question();
        heard.say("HTTP/1.1 200 OK\r\nContent-Type: Application/JSON; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n");
        heard.say("1\r\n{\r\n");
        heard.say("1\r\n}\r\n0\r\nX-Trailer: x\r\n\r\n");
        heard.question();
        heard.say(&answer(r#"{"reply":"550 5.1.1 Not here"}"#));
        heard.ended();
    })]);
    let asker = asker(&format!("http://{address}/ask?from=mx"), "");
    run(async {
        for _ in 0..3 {
            assert_eq!(said(ask(&asker).await), "pass");
        }
        assert!(said(ask(&asker).await).contains("550 5.1.1 Not here"));
    });
    drop(asker);
    service.join().unwrap();
}

#[test]
fn names_are_resolved() {
    let (address, service) = scripted(vec![act(|mut heard| {
        assert!(heard.question().0.contains("host: localhost:"));
        heard.say(&answer("{}"));
    })]);
    let asker = asker(&format!("http://localhost:{}/", address.port()), "");
    assert_eq!(said(run(ask(&asker))), "pass");
    service.join().unwrap();
}

#[test]
fn what_is_no_answer() {
    // Behind a status line and, where it begins with +, the content type.
    let table = [
        (
            "HTTP/1.1 302 Found|Location: http://127.0.0.1:1/|Content-Length: 0||",
            "refused: status 302; redirects are not followed",
        ),
        ("HTTP/1.1 500 Oops|Content-Length: 0||", "refused: status 500"),
        ("HTTP/1.1 202 Accepted|Content-Type: application/json|Content-Length: 2||{}", "refused: status 202"),
        (
            "HTTP/1.1 200 OK|Content-Type: text/html|Content-Length: 2||{}",
            "malformed: the content type is text/html, not application/json",
        ),
        (
            "HTTP/1.1 200 OK|Content-Length: 2||{}",
            "malformed: the content type is not given, not application/json",
        ),
        ("+Content-Encoding: gzip|Content-Length: 2||{}", "malformed: the content encoding is gzip"),
        ("+Content-Length: 0||", "malformed: EOF while parsing a value at line 1 column 0"),
        (
            "+Content-Length: 5||false",
            "malformed: invalid type: boolean `false`, expected an object at line 1 column 5",
        ),
        ("+Content-Length: 104857600||{", "malformed: 104857600 octets; at most 65536 are read"),
        ("+Content-Length: 20||{", "lost: "),
        ("+Transfer-Encoding: chunked||2|{}|", "lost: "),
        ("+Transfer-Encoding: chunked||zz|", "lost: "),
        ("+", "lost: "),
        ("", "lost: "),
        ("220 mx.example.com ESMTP|", "malformed: not HTTP/1.1: "),
        ("HTTP/1.1 200 OK|Bad Field||", "malformed: not HTTP/1.1: "),
    ];
    let written = |says: &str| {
        let says = match says.strip_prefix('+') {
            Some(rest) => format!("HTTP/1.1 200 OK|Content-Type: application/json|{rest}"),
            None => says.to_owned(),
        };
        says.replace('|', "\r\n")
    };
    let mut table: Vec<(String, &str)> =
        table.into_iter().map(|(says, expected)| (written(says), expected)).collect();
    table.push((written(&format!("+X: {}||", "x".repeat(20_000))), "malformed: not HTTP/1.1: "));
    table.push((written(&format!("+{}|", "X: x|".repeat(100))), "malformed: not HTTP/1.1: "));
    let mut differences = String::new();
    for (says, expected) in table {
        let said = heard_once(&says);
        let fits = if expected.ends_with(": ") { said.starts_with(expected) } else { said == expected };
        if !fits {
            differences +=
                &format!("{:.80}\n  said     {said}\n  expected {expected}\n", says.escape_debug());
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    let (address, service) = scripted(vec![act(|mut heard| {
        heard.question();
        heard.say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("1000\r\n{}\r\n", " ".repeat(4096));
        let written = (0..25_600).take_while(|_| heard.stream.write_all(chunk.as_bytes()).is_ok()).count();
        assert!(written < 25_600, "100 MiB were taken");
    })]);
    let asker = asker(&format!("http://{address}/"), "");
    assert_eq!(said(run(ask(&asker))), "malformed: more than 65536 octets");
    service.join().unwrap();
}

#[test]
fn nobody_is_there() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let asker = asker(&format!("http://{address}/"), "");
    let said = said(run(ask(&asker)));
    assert_eq!(said, format!("unreachable: {address}: Connection refused (os error 111)"));
}

/// Answers one question and hands over the connection.
fn first(heard: &mut Heard) {
    heard.question();
    heard.say(&answer("{}"));
}

#[test]
fn a_kept_connection_found_dead_is_replaced() {
    let (closed, is_closed): (Sender<()>, Receiver<()>) = mpsc::channel();
    let (address, service) = scripted(vec![
        // Closed between two questions.
        act(move |mut heard| {
            first(&mut heard);
            heard.stream.shutdown(Shutdown::Both).unwrap();
            closed.send(()).unwrap();
        }),
        // Closed when the second question was read, before a word of an answer.
        act(|mut heard| {
            first(&mut heard);
            heard.question();
        }),
        act(|mut heard| first(&mut heard)),
    ]);
    let asker = asker(&format!("http://{address}/"), "");
    run(async {
        assert_eq!(said(ask(&asker).await), "pass");
        is_closed.recv().unwrap();
        assert_eq!(said(ask(&asker).await), "pass", "on the second connection");
        assert_eq!(said(ask(&asker).await), "pass", "on the third");
    });
    service.join().unwrap();
}

/// Only what was kept may have been dead before the question came.
#[test]
fn a_new_connection_that_dies_is_not_replaced() {
    let (address, service) = scripted(vec![act(drop)]);
    let said = said(run(ask(&asker(&format!("http://{address}/"), ""))));
    assert!(said.starts_with("lost: "), "{said}");
    service.join().unwrap();
}

#[test]
fn a_question_is_asked_twice_at_most() {
    let (address, service) = scripted(vec![
        act(|mut heard| {
            first(&mut heard);
            heard.question();
        }),
        act(|mut heard| {
            heard.question();
        }),
    ]);
    let asker = asker(&format!("http://{address}/"), "");
    run(async {
        assert_eq!(said(ask(&asker).await), "pass");
        let said = said(ask(&asker).await);
        assert!(said.starts_with("lost: "), "{said}");
    });
    service.join().unwrap();
}

/// Whatever has killed one connection may have killed those that were kept beside it.
#[test]
fn the_second_time_no_kept_connection_is_asked() {
    let both = Arc::new(Barrier::new(2));
    let kept = |both: Arc<Barrier>| {
        act(move |mut heard| {
            thread::spawn(move || {
                heard.question();
                both.wait();
                heard.say(&answer("{}"));
                // Whichever is asked once more is dead; the other hears nothing but its end.
                let _ = heard.lines.read(&mut [0; 1024]);
            });
        })
    };
    let (address, service) =
        scripted(vec![kept(Arc::clone(&both)), kept(both), act(|mut heard| first(&mut heard))]);
    let asker = asker(&format!("http://{address}/"), "");
    run(async {
        let (one, other) = tokio::join!(ask(&asker), ask(&asker));
        assert_eq!((&*said(one), &*said(other)), ("pass", "pass"));
        assert_eq!(said(ask(&asker).await), "pass");
    });
    service.join().unwrap();
}

#[test]
fn what_broke_within_an_answer_is_not_asked_again() {
    let (address, service) = scripted(vec![act(|mut heard| {
        first(&mut heard);
        heard.question();
        heard.say("HTTP/1.1 200");
    })]);
    let asker = asker(&format!("http://{address}/"), "");
    run(async {
        assert_eq!(said(ask(&asker).await), "pass");
        assert!(said(ask(&asker).await).starts_with("lost: "));
    });
    service.join().unwrap();
}

/// Whatever a service says unasked is nobody's answer (as with a hop: one question, one answer).
#[test]
fn an_answer_too_many_answers_nothing() {
    let (address, service) = scripted(vec![
        act(|mut heard| {
            heard.question();
            heard.say(&(answer("{}") + &answer(r#"{"accept":true}"#)));
            heard.ended();
        }),
        act(|mut heard| {
            heard.question();
            heard.say(&answer(r#"{"reply":"550 5.1.1 Not here"}"#));
        }),
    ]);
    let asker = asker(&format!("http://{address}/"), "");
    run(async {
        assert_eq!(said(ask(&asker).await), "pass");
        assert!(said(ask(&asker).await).contains("550 5.1.1 Not here"));
    });
    service.join().unwrap();
}

#[test]
fn a_question_nobody_waits_for_any_more_leaves_nothing_open() {
    let (told, is_told): (Sender<()>, Receiver<()>) = mpsc::channel();
    let (address, service) = scripted(vec![
        // Half an octet a second, as far as anybody here waits.
        act(move |mut heard| {
            heard.question();
            heard.say("H");
            told.send(()).unwrap();
            heard.ended();
        }),
        act(|mut heard| first(&mut heard)),
    ]);
    let asker = asker(&format!("http://{address}/"), ", concurrency: 1");
    run(async {
        let mut slow = ask(&asker);
        let mut waits = ask(&asker);
        let is_told = tokio::task::spawn_blocking(move || is_told.recv().unwrap());
        tokio::select! {
            biased; // The first one polled has the place.
            said = &mut slow => panic!("{said:?}"),
            said = &mut waits => panic!("there is one place: {said:?}"),
            told = is_told => told.unwrap(),
        }
        assert!(matches!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
        drop(slow);
        assert_eq!(said(waits.await), "pass", "its place is free, and its connection closed");
    });
    service.join().unwrap();
}
