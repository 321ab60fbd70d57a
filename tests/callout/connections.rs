//! Connections to HTTP callouts under TLS: HTTP/2 and HTTP/1.1, those that break, and those that nobody waits for.
//!
//! In:    a service that agrees to HTTP/2 or not, and breaks connections or lets questions wait on cue.
//! Out:   an answer, or why there is none; which questions came over which connection.
//! Never: sleeps, or leaves loopback.

use std::sync::{Arc, Mutex};

use hyper::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::service::{Does, H1, H2, Pki, Service, accept, serve};
use crate::{QUESTION, answer, ask, asker, run, said};

#[test]
fn http_2_is_spoken_where_it_is_agreed_upon_over_one_connection() {
    let pki = Pki::new();
    let service = Service::start(pki.server(), H2, |_| Does::Answers);
    let asker = service.asker(&pki.roots());
    run(async {
        assert_eq!(said(ask(&asker).await), "pass");
        let many: Vec<_> = (0..20).map(|_| tokio::spawn(ask(&asker))).collect();
        for asked in many {
            assert_eq!(said(asked.await.unwrap()), "pass");
        }
    });
    let seen = service.seen.questions.lock().unwrap();
    assert_eq!(seen.len(), 21);
    for question in &*seen {
        assert_eq!(*question, (1, Version::HTTP_2, format!("https://{}/ask", service.address)));
    }
}

#[test]
fn else_it_is_http_1() {
    let pki = Pki::new();
    for protocols in [H1, &[]] {
        let service = Service::start(pki.server(), protocols, |_| Does::Answers);
        let asker = service.asker(&pki.roots());
        run(async {
            assert_eq!(said(ask(&asker).await), "pass");
            assert_eq!(said(ask(&asker).await), "pass");
        });
        let expected = (1, Version::HTTP_11, format!("{} /ask", service.address));
        assert_eq!(*service.seen.questions.lock().unwrap(), [expected.clone(), expected]);
    }
}

#[test]
fn a_kept_connection_of_http_2_that_breaks_is_replaced_once() {
    let pki = Pki::new();
    let does = |number| if number == 2 { Does::Breaks } else { Does::Answers };
    let service = Service::start(pki.server(), H2, does);
    let asker = service.asker(&pki.roots());
    run(async {
        assert_eq!(said(ask(&asker).await), "pass");
        assert_eq!(said(ask(&asker).await), "pass", "on the second connection");
    });
    assert_eq!(service.connections(), [1, 1, 2]);

    let does = |number| if number == 1 { Does::Answers } else { Does::Breaks };
    let service = Service::start(pki.server(), H2, does);
    let asker = service.asker(&pki.roots());
    run(async {
        assert_eq!(said(ask(&asker).await), "pass");
        let heard = said(ask(&asker).await);
        assert!(heard.starts_with("lost: "), "{heard}");
    });
    assert_eq!(service.connections(), [1, 1, 2]);
}

#[test]
fn a_new_connection_of_http_2_that_breaks_is_not() {
    let pki = Pki::new();
    let service = Service::start(pki.server(), H2, |_| Does::Breaks);
    let heard = said(run(ask(&service.asker(&pki.roots()))));
    assert!(heard.starts_with("lost: "), "{heard}");
    assert_eq!(service.connections(), [1]);
}

#[test]
fn a_question_of_http_2_that_is_given_up_ends_there_too_and_its_connection_is_not_asked_again() {
    let pki = Pki::new();
    let does = |number| if number == 2 { Does::Waits } else { Does::Answers };
    let service = Service::start(pki.server(), H2, does);
    let asker = service.asker(&pki.roots());
    run(async {
        assert_eq!(said(ask(&asker).await), "pass");
        let mut slow = ask(&asker);
        tokio::select! {
            heard = &mut slow => panic!("{heard:?}"),
            () = service.seen.waiting.notified() => {}
        }
        drop(slow);
        service.seen.given_up.notified().await;
        assert_eq!(said(ask(&asker).await), "pass");
    });
    assert_eq!(service.connections(), [1, 1, 2]);
}

/// The octets by which TLS says that a connection ends are no answer.
#[test]
fn a_goodbye_of_tls_is_no_answer() {
    let pki = Pki::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seeing = Arc::clone(&seen);
    let address = serve(pki.server(), move |number, mut stream| {
        let seen = Arc::clone(&seeing);
        async move {
            for turn in 1.. {
                if !question(&mut stream).await {
                    return;
                }
                seen.lock().unwrap().push(number);
                if (number, turn) == (1, 2) {
                    stream.shutdown().await.unwrap();
                    return;
                }
                stream.write_all(answer("{}").as_bytes()).await.unwrap();
            }
        }
    });
    let asker = asker(&format!("https://{address}/"), &format!(", tls: {{ {} }}", pki.roots()));
    run(async {
        assert_eq!(said(ask(&asker).await), "pass");
        assert_eq!(said(ask(&asker).await), "pass");
    });
    assert_eq!(*seen.lock().unwrap(), [1, 1, 2]);
}

/// A question may get another one's connection while its own is being made. That is not waited for, and must not gather.
#[test]
fn connections_that_nobody_waits_for_are_few() {
    const ROUNDS: u32 = 20;
    let (pki, closed) = (Pki::new(), Arc::new(Semaphore::new(0)));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut tls = pki.server();
    tls.alpn_protocols = H1.iter().map(|name| name.as_bytes().to_vec()).collect();
    // The first has its handshake and all the answers, the others nothing.
    let closing = Arc::clone(&closed);
    accept(listener, move |number, mut stream| {
        let (acceptor, closed) = (TlsAcceptor::from(Arc::new(tls.clone())), Arc::clone(&closing));
        async move {
            if number > 1 {
                while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
                return closed.add_permits(1);
            }
            let mut stream = acceptor.accept(stream).await.unwrap();
            while question(&mut stream).await {
                stream.write_all(answer("{}").as_bytes()).await.unwrap();
            }
        }
    });
    let asker = asker(&format!("https://{address}/"), &format!(", tls: {{ {} }}", pki.roots()));
    run(async {
        assert_eq!(said(ask(&asker).await), "pass");
        for _ in 0..ROUNDS {
            let (one, other) = tokio::join!(ask(&asker), ask(&asker));
            assert_eq!((&*said(one), &*said(other)), ("pass", "pass"));
        }
        drop(closed.acquire_many(ROUNDS - 4).await.unwrap());
    });
}

/// Reads the next question, written by hand; false at the end.
async fn question(stream: &mut TlsStream<TcpStream>) -> bool {
    let mut question = Vec::new();
    while !question.ends_with(QUESTION) {
        if !stream.read_buf(&mut question).await.is_ok_and(|read| read > 0) {
            return false;
        }
    }
    true
}
