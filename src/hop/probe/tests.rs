//! Probes of hosts played here: what each behaviour counts as.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::types::{self, Source, UpstreamPool, UpstreamTls};
use crate::hop::{PoolSpec, Registry};
use crate::session::route::HopTls;
use crate::tls::ClientTls;
use crate::tls::certificates::{Authority, Pair};

/// One host at that address.
fn upstream(address: std::net::SocketAddr) -> UpstreamPool {
    let host = types::Target::Tcp { host: address.ip().to_string(), port: address.port() };
    let spec = types::HostSpec { target: host, weight: 1, server_name: None };
    UpstreamPool { source: Source::Hosts(vec![spec]), ..UpstreamPool::default() }
}

/// A pool with one host at that address.
fn pool(address: std::net::SocketAddr, lmtp: bool) -> Pool {
    let mut upstream = upstream(address);
    if lmtp {
        upstream.protocol = types::Protocol::Lmtp;
    }
    Pool::new(PoolSpec::new("main", &upstream), &Registry::new(Instant::now()))
}

fn voice(patience: Duration) -> Arc<Voice> {
    let hostname = "gate.example.org".to_owned();
    Arc::new(Voice { hostname, connect: patience, tls: patience, greeting: patience, reply: patience })
}

/// A host that greets so and answers the first command so, for one dialog; what it heard.
async fn host(greeting: &'static str, answer: &'static str) -> (std::net::SocketAddr, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(greeting.as_bytes()).await.unwrap();
        let mut octets = vec![0; 1000];
        let mut length = stream.read(&mut octets).await.unwrap_or(0);
        // What the probe does not want to hear any more breaks here, and nowhere else.
        let _ = stream.write_all(answer.as_bytes()).await;
        while let Ok(more @ 1..) = stream.read(&mut octets[length..]).await {
            length += more;
        }
        String::from_utf8(octets[..length].to_vec()).unwrap()
    });
    (address, heard)
}

type Heard = tokio::task::JoinHandle<String>;

#[tokio::test]
async fn what_each_behaviour_counts_as() {
    let good = "250-host\r\n250 PIPELINING\r\n";
    let cases = [
        ("220 host\r\n", good, Ok(Probe::Good)),
        ("220-host\r\n220 host\r\n", good, Ok(Probe::Good)),
        ("220 host\r\n", "550 5.7.1 who are you\r\n", Err(Why::Hello)),
        ("220 host\r\n", "502 5.5.1 what\r\n", Ok(Probe::Good)),
        ("554 5.7.1 go away\r\n", "", Err(Why::Greeting)),
        ("421 4.3.2 busy\r\n", "", Err(Why::Greeting)),
        ("450 4.3.2 busy\r\n", "", Err(Why::Greeting)),
        ("220 host\r\n", "421 4.3.2 busy\r\n", Err(Why::NoService)),
        ("220 host\r\n", "what\r\n", Err(Why::NoService)),
        ("SSH-2.0-OpenSSH\r\n", "", Err(Why::NoGreeting)),
    ];
    for (greeting, answer, expected) in cases {
        let (address, heard) = host(greeting, answer).await;
        let pool = pool(address, false);
        let said = voice(Duration::from_secs(10)).ask(&pool.targets()[0], false).await;
        assert_eq!(said.map(|heard| heard.probe), expected, "{greeting} {answer}");
        let expected = match (expected, greeting.starts_with("220")) {
            (Ok(_), true) => "EHLO gate.example.org\r\nQUIT\r\n",
            (Err(_), true) => "EHLO gate.example.org\r\n",
            _ => "",
        };
        assert_eq!(heard.await.unwrap(), expected);
    }
}

#[tokio::test]
async fn silence_and_closed_doors_count() {
    let voice = voice(Duration::from_millis(50));
    for (greeting, expected) in [("", Why::NoGreeting), ("220 host\r\n", Why::NoService)] {
        let (address, _heard) = host(greeting, "").await;
        assert_eq!(voice.ask(&pool(address, false).targets()[0], false).await, Err(expected));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert_eq!(voice.ask(&pool(address, false).targets()[0], false).await, Err(Why::Connect));
}

#[tokio::test]
async fn a_round_ejects_and_restores_by_the_same_count_as_sessions() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (pool, voice) = (pool(address, false), voice(Duration::from_secs(10)));
    for _ in 0..2 {
        round(&pool, &voice, &mut BTreeSet::new()).await;
    }
    assert!(pool.is_ready(), "two failures are not enough");
    round(&pool, &voice, &mut BTreeSet::new()).await;
    assert!(!pool.is_ready());
    let counts = pool.health()[0].counts.clone();
    assert_eq!((counts.probes(Probe::Failed), counts.failures(Why::Connect), counts.connects()), (3, 3, 0));
    round(&pool, &voice, &mut BTreeSet::new()).await;
    assert_eq!(counts.probes(Probe::Failed), 3, "put aside: not due for a trial yet");
}

#[tokio::test]
async fn an_lmtp_host_hears_lhlo() {
    let (address, heard) = host("220 store\r\n", "250 store\r\n").await;
    let pool = pool(address, true);
    round(&pool, &voice(Duration::from_secs(10)), &mut BTreeSet::new()).await;
    assert_eq!(heard.await.unwrap(), "LHLO gate.example.org\r\nQUIT\r\n");
    assert_eq!(pool.health()[0].counts.probes(Probe::Good), 1);
}

#[test]
fn what_it_lacks_to_be_told_who_clients_are() {
    let lack = |keyword| Some(Lack::NotOffered(keyword));
    for (identity, offers, lacks) in [
        (Identity::None, "", None),
        (Identity::Xclient, "", lack("XCLIENT")),
        (Identity::Xclient, "250-XCLIENT NAME ADDR\r\n", None),
        (Identity::Xforward, "250-XCLIENT NAME ADDR\r\n", lack("XFORWARD")),
        (Identity::ProxyV2, "", None),
    ] {
        let terms = HopTerms { identity, ..HopTerms::default() };
        let answer = format!("250-host\r\n{offers}250 PIPELINING\r\n");
        let reply = crate::smtp::ReplyFramer::default()
            .next(answer.as_bytes(), crate::smtp::ReplyLimits { line: 512, reply: 512 })
            .unwrap()
            .unwrap();
        let unmet = nameless(terms, Extensions::of(reply));
        assert_eq!(unmet.map(|unmet| unmet.lack), lacks, "{identity:?} {offers}");
    }
}

/// A host that speaks TLS, for one dialog: from the first octet, or after STARTTLS.
async fn secured_host(pair: &Pair, implicit: bool) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(pair.server_config());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut octets = [0; 1000];
        if !implicit {
            stream.write_all(b"220 host\r\n").await.unwrap();
            for answer in [&b"250-host\r\n250 STARTTLS\r\n"[..], b"220 Go ahead\r\n"] {
                let _ = stream.read(&mut octets).await.unwrap();
                stream.write_all(answer).await.unwrap();
            }
        }
        // A probe that does not like the certificate ends here.
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        if implicit {
            stream.write_all(b"220 host\r\n").await.unwrap();
        }
        let _ = stream.read(&mut octets).await.unwrap();
        stream.write_all(b"250-host\r\n250 XCLIENT ADDR\r\n").await.unwrap();
        while let Ok(1..) = stream.read(&mut octets).await {}
    });
    address
}

#[tokio::test]
async fn tls_is_what_the_pool_requires() {
    let (ours, scratch) = (Authority::new("Ours"), tempfile::tempdir().unwrap());
    let roots = ours.write(scratch.path(), "roots");
    let (good, expired) = (ours.server(&["127.0.0.1"]), ours.expired(&["127.0.0.1"]));
    for (pair, mode, verify, what) in [
        (&good, HopTls::Implicit, true, None),
        (&good, HopTls::Required, true, None),
        // XCLIENT is offered under TLS only.
        (&expired, HopTls::Opportunistic, true, None),
        (&expired, HopTls::Implicit, false, None),
        (&expired, HopTls::Implicit, true, Some("certificate expired")),
        (&expired, HopTls::Required, true, Some("certificate expired")),
    ] {
        let address = secured_host(pair, mode == HopTls::Implicit).await;
        let tls = UpstreamTls { mode, verify, roots: Some(roots.clone()), ..UpstreamTls::default() };
        let upstream = UpstreamPool { tls, identity: Identity::Xclient, ..upstream(address) };
        let mut spec = PoolSpec::new("main", &upstream);
        spec.tls = Some(Arc::new(ClientTls::load(&upstream.tls).unwrap()));
        let pool = Pool::new(spec, &Registry::new(Instant::now()));
        let heard = voice(Duration::from_secs(10)).ask(&pool.targets()[0], false).await.unwrap();
        assert_eq!(heard.probe, if what.is_none() { Probe::Good } else { Probe::Refused }, "{mode:?}");
        let said = heard.unmet.map(|unmet| unmet.to_string()).unwrap_or_default();
        assert!(
            said.contains(what.unwrap_or_default()) && said.is_empty() == what.is_none(),
            "{mode:?} {said}"
        );
    }
    let address = host("220 host\r\n", "250 host\r\n").await.0;
    let tls = UpstreamTls { mode: HopTls::Required, ..UpstreamTls::default() };
    let pool = Pool::new(
        PoolSpec::new("main", &UpstreamPool { tls, ..upstream(address) }),
        &Registry::new(Instant::now()),
    );
    let heard = voice(Duration::from_secs(10)).ask(&pool.targets()[0], false).await.unwrap();
    assert_eq!(heard.unmet.unwrap().lack, Lack::NotOffered("STARTTLS"));
}
