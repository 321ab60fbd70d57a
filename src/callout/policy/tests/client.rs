//! Connections, to a server that does everything wrong.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::timeout;

use crate::callout::Instance;
use crate::callout::kept::DOUBT;
use crate::callout::policy::PolicyClient;
use crate::config::types::{Dns, Target};

/// What a server does with a request.
enum Does {
    Says(&'static [&'static str]),
    SaysAndCloses(&'static str),
    /// Says the one, and then the other, and tells when it has.
    SaysMore(&'static str, &'static str),
    Nothing,
}

/// What is told when more was said.
const SAID_MORE: usize = usize::MAX;

/// A server that does this with its requests in turn, and tells on which connection each came.
async fn server(script: Vec<Does>) -> (Target, UnboundedReceiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, asked) = mpsc::unbounded_channel();
    let script = Arc::new(tokio::sync::Mutex::new(script.into_iter()));
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let (told, script) = (told.clone(), Arc::clone(&script));
            tokio::spawn(async move {
                while whole_request(&mut stream).await {
                    told.send(number).unwrap();
                    match script.lock().await.next().expect("a request that was expected") {
                        Does::Says(parts) => {
                            for part in parts {
                                stream.write_all(part.as_bytes()).await.unwrap();
                                tokio::task::yield_now().await;
                            }
                        }
                        Does::SaysAndCloses(answer) => {
                            stream.write_all(answer.as_bytes()).await.unwrap();
                            return;
                        }
                        Does::SaysMore(answer, more) => {
                            stream.write_all(answer.as_bytes()).await.unwrap();
                            tokio::task::yield_now().await;
                            stream.write_all(more.as_bytes()).await.unwrap();
                            told.send(SAID_MORE).unwrap();
                        }
                        Does::Nothing => {}
                    }
                }
            });
        }
    });
    (Target::Tcp { host: "127.0.0.1".to_owned(), port }, asked)
}

async fn whole_request(stream: &mut TcpStream) -> bool {
    let mut heard = Vec::new();
    while !heard.ends_with(b"\n\n") {
        if stream.read_buf(&mut heard).await.unwrap_or_default() == 0 {
            return false;
        }
    }
    assert!(heard.starts_with(b"request=smtpd_access_policy\n"), "{}", heard.escape_ascii());
    true
}

const REQUEST: &[u8] = b"request=smtpd_access_policy\n\n";
const DUNNO: Does = Does::Says(&["action=DUNNO\n\n"]);

fn client(targets: &[Target], concurrency: usize) -> PolicyClient {
    PolicyClient::new(targets, concurrency, &Dns::default())
}

async fn said(client: &PolicyClient, instance: &Instance) -> String {
    let answer = timeout(Duration::from_secs(20), client.ask(REQUEST, instance)).await.expect("in time");
    answer.map_or_else(|fault| fault.to_string(), |answer| String::from_utf8(answer).unwrap())
}

fn connections(asked: &mut UnboundedReceiver<usize>) -> Vec<usize> {
    std::iter::from_fn(|| asked.try_recv().ok()).collect()
}

#[tokio::test]
async fn an_answer_in_pieces_and_the_connection_kept() {
    let script = vec![Does::Says(&["act", "ion=DUN", "NO\n", "\n"]), Does::Says(&["action=OK\r\n\r", "\n"])];
    let (target, mut asked) = server(script).await;
    let client = client(&[target], 10);
    let instance = Instance::default();
    assert_eq!(said(&client, &instance).await, "action=DUNNO\n\n");
    assert_eq!(said(&client, &instance).await, "action=OK\r\n\r\n");
    assert_eq!(connections(&mut asked), [0, 0]);
}

#[tokio::test]
async fn a_transaction_has_its_connection_to_itself() {
    let (target, mut asked) = server((0..6).map(|_| DUNNO).collect()).await;
    let client = client(&[target], 10);
    let (one, other) = (Instance::default(), Instance::default());
    for instance in [&one, &other, &one, &other] {
        said(&client, instance).await;
    }
    assert_eq!(connections(&mut asked), [0, 1, 0, 1]);
    // What is nobody's any more is anybody's.
    drop(one);
    let third = Instance::default();
    said(&client, &third).await;
    said(&client, &other).await;
    assert_eq!(connections(&mut asked), [0, 1]);
}

#[tokio::test]
async fn more_than_concurrency_are_not_kept() {
    let (target, mut asked) = server((0..4).map(|_| DUNNO).collect()).await;
    let client = client(&[target], 2);
    let all = [(); 3].map(|()| Instance::default());
    for instance in &all {
        said(&client, instance).await;
    }
    // That of the first is closed.
    said(&client, &all[0]).await;
    assert_eq!(connections(&mut asked), [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_kept_connection_found_dead_is_replaced_once() {
    let script =
        vec![DUNNO, Does::SaysAndCloses(""), DUNNO, DUNNO, Does::SaysAndCloses(""), Does::SaysAndCloses("")];
    let (target, mut asked) = server(script).await;
    let client = client(&[target], 10);
    let instance = Instance::default();
    for expected in
        ["action=DUNNO\n\n", "action=DUNNO\n\n", "action=DUNNO\n\n", "lost: closed without an answer"]
    {
        assert_eq!(said(&client, &instance).await, expected);
    }
    assert_eq!(connections(&mut asked), [0, 0, 1, 1, 1, 2]);
}

#[tokio::test]
async fn what_is_no_answer() {
    let script = vec![
        Does::SaysAndCloses("action=DUN"),
        Does::Says(&["action=DUNNO\n\naction=OK\n\n"]),
        Does::SaysMore("action=DUNNO\n\n", "action=OK\n\n"),
        DUNNO,
    ];
    let (target, mut asked) = server(script).await;
    let client = client(&[target], 10);
    let instance = Instance::default();
    assert_eq!(said(&client, &instance).await, "lost: closed in the midst of an answer");
    assert_eq!(said(&client, &instance).await, "malformed: more than one answer");
    // What was said before a request is not the answer to it.
    let third = said(&client, &instance).await;
    assert!(["action=DUNNO\n\n", "malformed: more than one answer"].contains(&&*third), "{third}");
    while asked.recv().await != Some(SAID_MORE) {}
    assert_eq!(said(&client, &instance).await, "action=DUNNO\n\n");
    assert_eq!(connections(&mut asked), [3]);
}

#[tokio::test]
async fn an_answer_without_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while stream.write_all(&[b'x'; 1024]).await.is_ok() {}
    });
    let client = client(&[Target::Tcp { host: "127.0.0.1".to_owned(), port }], 10);
    assert_eq!(said(&client, &Instance::default()).await, "malformed: more than 8192 octets");
}

#[tokio::test]
async fn a_question_that_is_given_up_takes_its_connection_with_it() {
    let (target, mut asked) = server(vec![DUNNO, Does::Nothing, DUNNO]).await;
    let client = client(&[target], 1);
    let instance = Instance::default();
    said(&client, &instance).await;
    assert_eq!(connections(&mut asked), [0]);
    {
        let mut waiting = Box::pin(client.ask(REQUEST, &instance));
        while connections(&mut asked) != [0] {
            assert!(timeout(Duration::from_millis(1), &mut waiting).await.is_err());
        }
    }
    assert_eq!(said(&client, &instance).await, "action=DUNNO\n\n");
}

#[tokio::test]
async fn the_next_address_and_the_last_good_one_first() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = dead.local_addr().unwrap().port();
    drop(dead);
    let dead = Target::Tcp { host: "127.0.0.1".to_owned(), port };
    let (mute, mut mute_asked) = server(vec![Does::SaysAndCloses("")]).await;
    let (good, mut asked) = server((0..3).map(|_| Does::SaysAndCloses("action=DUNNO\n\n")).collect()).await;
    let client = client(&[dead.clone(), mute, good], 10);
    for _ in 0..3 {
        assert_eq!(said(&client, &Instance::default()).await, "action=DUNNO\n\n");
    }
    assert_eq!(connections(&mut mute_asked), [0]);
    assert_eq!(connections(&mut asked), [0, 1, 2]);
    let client = self::client(&[dead, Target::Unix("/nonexistent/socket".into())], 10);
    let heard = said(&client, &Instance::default()).await;
    assert!(heard.starts_with("unreachable: unix:/nonexistent/socket: "), "{heard}");
}

/// A server that serves one connection at a time: the next is accepted when that is closed.
#[tokio::test]
async fn room_is_made_before_a_new_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            while whole_request(&mut stream).await {
                stream.write_all(b"action=DUNNO\n\n").await.unwrap();
            }
        }
    });
    let client = client(&[Target::Tcp { host: "127.0.0.1".to_owned(), port }], 1);
    let (one, other) = (Instance::default(), Instance::default());
    for instance in [&one, &other, &one] {
        assert_eq!(said(&client, instance).await, "action=DUNNO\n\n");
    }
    // Those that wait at the same time have it in turn.
    let both = tokio::join!(said(&client, &one), said(&client, &other));
    assert_eq!(both, ("action=DUNNO\n\n".to_owned(), "action=DUNNO\n\n".to_owned()));
}

#[tokio::test]
async fn one_that_is_silent_is_not_tried_first_again() {
    let (silent, mut unanswered) = server(vec![DUNNO, Does::Nothing]).await;
    let (good, mut asked) = server(vec![DUNNO]).await;
    let client = client(&[silent, good], 10);
    let [one, other, third] = [(); 3].map(|()| Instance::default());
    said(&client, &one).await;
    let given_up = timeout(DOUBT + DOUBT / 10, client.ask(REQUEST, &other)).await;
    assert!(given_up.is_err());
    assert_eq!(said(&client, &third).await, "action=DUNNO\n\n");
    assert_eq!((connections(&mut unanswered), connections(&mut asked)), (vec![0, 1], vec![0]));
}
