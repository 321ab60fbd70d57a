//! The resolver against a DNS server of the test's own on loopback.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{MX, PTR, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket as TokioUdpSocket;

use super::super::dns::TTL;
use super::*;
use crate::config::types::{HostSpec, Source, Target, UpstreamPool};
use crate::session::client::ClientName;

/// The addresses and TTL the server has for `store.example.net`; no addresses: SERVFAIL.
type Zone = Arc<Mutex<(Vec<IpAddr>, u32)>>;

async fn server(zone: Zone) -> SocketAddr {
    let socket = TokioUdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let Ok(query) = Message::from_vec(&buffer[..length]) else { continue };
            let question = query.queries[0].clone();
            let mut reply = query.clone().into_response();
            let (mut addresses, ttl) = zone.lock().unwrap().clone();
            if question.name().to_string() != "store.example.net." {
                reply.metadata.response_code = ResponseCode::NXDomain;
                addresses.clear();
            } else if addresses.is_empty() {
                reply.metadata.response_code = ResponseCode::ServFail;
            }
            for ip in addresses {
                let data = match ip {
                    IpAddr::V4(ip) if question.query_type() == RecordType::A => RData::A(ip.into()),
                    IpAddr::V6(ip) if question.query_type() == RecordType::AAAA => RData::AAAA(ip.into()),
                    _ => continue,
                };
                reply.add_answer(Record::from_rdata(question.name().clone(), ttl, data));
            }
            socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
        }
    });
    address
}

fn config(dns: SocketAddr, hosts: &[&str], port: u16) -> Config {
    let hosts = hosts
        .iter()
        .map(|host| HostSpec {
            target: Target::Tcp { host: (*host).into(), port },
            weight: 1,
            server_name: None,
        })
        .collect();
    let upstream = UpstreamPool { source: Source::Hosts(hosts), ..UpstreamPool::default() };
    Config {
        upstreams: BTreeMap::from([("main".into(), upstream)]),
        dns: Dns { servers: vec![dns] },
        ..Config::default()
    }
}

fn refresher(config: &Config) -> Refresher {
    let registry = Arc::new(Registry::new(std::time::Instant::now()));
    let pools = Arc::new(Pools::new(config, &TlsSet::default(), &registry));
    Refresher::new(&config.dns, pools, registry, vec![([127, 0, 0, 1], 2525).into()])
}

fn texts(reports: &[HostReport]) -> Vec<String> {
    reports.iter().map(ToString::to_string).collect()
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

#[tokio::test]
async fn names_resolve_in_a_fixed_order_and_every_host_is_reported() {
    let v6: IpAddr = "2001:db8::1".parse::<Ipv6Addr>().unwrap().into();
    let zone: Zone = Arc::new(Mutex::new((vec![v6, v4(9), v4(2)], 60)));
    let config = config(server(zone).await, &["store.example.net", "none.example.net", "192.0.2.7"], 25);
    assert_eq!(
        texts(&resolve_all(&config).await),
        [
            "upstreams.main: store.example.net:25: 192.0.2.2:25, 192.0.2.9:25, [2001:db8::1]:25",
            "upstreams.main: none.example.net:25: no such name",
            "upstreams.main: 192.0.2.7:25: 192.0.2.7:25",
        ]
    );
}

#[tokio::test]
async fn localhost_needs_no_server() {
    let config = config(([127, 0, 0, 1], 1).into(), &["localhost"], 25);
    let reports = resolve_all(&config).await;
    let addresses = reports[0].result.as_deref().unwrap();
    assert_eq!(addresses[0], Address::Ip(([127, 0, 0, 1], 25).into()));
}

#[tokio::test]
async fn a_failure_keeps_the_last_good_addresses() {
    let zone: Zone = Arc::new(Mutex::new((vec![v4(1)], 0)));
    let mut refresher = refresher(&config(server(zone.clone()).await, &["store.example.net"], 25));
    refresher.first().await;
    let pool = refresher.pools.get("main").unwrap().clone();
    assert_eq!(pool.targets()[0].address().to_string(), "192.0.2.1:25");

    // A zero TTL is taken as the shortest one.
    let question = Question::Name("store.example.net".into());
    let answer = &refresher.questions[&question];
    assert!(answer.due > Instant::now() + *TTL.start() / 2);

    zone.lock().unwrap().0.clear();
    refresher.resolver = Resolver::new(&Dns { servers: vec![server(zone.clone()).await] });
    refresher.questions.values_mut().for_each(|answer| answer.due = Instant::now());
    refresher.round(FIRST).await;
    assert!(refresher.questions[&question].error.is_some());
    assert_eq!(pool.targets()[0].address().to_string(), "192.0.2.1:25");

    zone.lock().unwrap().0 = vec![v4(1), v4(2)];
    let kept = pool.targets()[0].id();
    refresher.resolver = Resolver::new(&Dns { servers: vec![server(zone).await] });
    refresher.questions.values_mut().for_each(|answer| answer.due = Instant::now());
    refresher.round(FIRST).await;
    assert!(refresher.questions[&question].error.is_none());
    assert_eq!((pool.targets().len(), pool.targets()[0].id()), (2, kept));
}

#[tokio::test]
async fn a_reload_while_dns_is_out_of_order_keeps_them_too() {
    let zone: Zone = Arc::new(Mutex::new((vec![v4(1)], 60)));
    let working = config(server(zone.clone()).await, &["store.example.net"], 25);
    let registry = Arc::new(Registry::new(std::time::Instant::now()));
    let pools = Arc::new(Pools::new(&working, &TlsSet::default(), &registry));
    Refresher::new(&working.dns, pools, registry.clone(), Vec::new()).first().await;

    zone.lock().unwrap().0.clear();
    let broken = config(server(zone).await, &["store.example.net"], 25);
    let pools = Arc::new(Pools::new(&broken, &TlsSet::default(), &registry));
    Refresher::new(&broken.dns, pools.clone(), registry, Vec::new()).first().await;
    assert_eq!(pools.get("main").unwrap().targets()[0].address().to_string(), "192.0.2.1:25");
}

#[tokio::test]
async fn our_own_listener_is_reported_and_never_dialled() {
    let zone: Zone = Arc::new(Mutex::new((vec![[127, 0, 0, 1].into(), v4(1)], 60)));
    let mut refresher = refresher(&config(server(zone).await, &["store.example.net"], 2525));
    assert_eq!(
        texts(&refresher.first().await),
        ["upstreams.main: store.example.net:2525: resolves to gatepost's own listener 127.0.0.1:2525"]
    );
    let targets = refresher.pools.get("main").unwrap().targets();
    assert_eq!(targets.len(), 1);
    assert_eq!(targets[0].address().to_string(), "192.0.2.1:2525");
}

#[test]
fn a_wildcard_listener_is_every_local_address() {
    let any = [SocketAddr::from(([0, 0, 0, 0], 25))];
    let local = |address: &str| own_listener(&Address::Ip(address.parse().unwrap()), &any).is_some();
    assert!(local("127.0.0.1:25") && local("[::ffff:127.0.0.1]:25") && local("0.0.0.0:25"));
    assert!(!local("127.0.0.1:26") && !local("192.0.2.1:25"));
}

#[tokio::test]
async fn nothing_to_resolve_ends_at_once() {
    let refresher = refresher(&config(([127, 0, 0, 1], 1).into(), &["192.0.2.1"], 25));
    refresher.run().await;
}

/// A server that answers what `answer` says, and is silent where it says nothing.
async fn sparse(answer: impl Fn(&str, RecordType) -> Option<Vec<RData>> + Send + 'static) -> SocketAddr {
    let socket = TokioUdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let Ok(query) = Message::from_vec(&buffer[..length]) else { continue };
            let question = query.queries[0].clone();
            let Some(records) = answer(&question.name().to_string(), question.query_type()) else { continue };
            let mut reply = query.clone().into_response();
            for data in records {
                reply.add_answer(Record::from_rdata(question.name().clone(), 300, data));
            }
            socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
        }
    });
    address
}

fn a(last: u8) -> RData {
    RData::A(Ipv4Addr::new(192, 0, 2, last).into())
}

/// Which hosts a question leads to, with how many addresses each; and whether that holds for long.
async fn led(server: SocketAddr, question: Question, bound: Duration) -> Result<(String, bool), String> {
    let resolver = Resolver::new(&Dns { servers: vec![server] }).unwrap();
    let found = resolver.ask(&question, bound).await.map_err(|error| error.to_string())?;
    let hosts: Vec<String> =
        found.hosts.iter().map(|host| format!("{} {}", host.name, host.addresses.len())).collect();
    Ok((hosts.join(", "), found.ttl > crate::hop::dns::RETRY))
}

const BOUND: Duration = Duration::from_secs(4);

#[tokio::test]
async fn a_family_that_is_silent_takes_nothing_from_the_one_that_answers() {
    let name = Question::Name("store.example.net".into());
    for silent in [RecordType::AAAA, RecordType::A] {
        let server = sparse(move |_, kind| match kind {
            kind if kind == silent => None,
            RecordType::A => Some(vec![a(1)]),
            RecordType::AAAA => Some(vec![RData::AAAA(Ipv6Addr::LOCALHOST.into())]),
            _ => Some(Vec::new()),
        });
        let begun = Instant::now();
        let led = led(server.await, name.clone(), BOUND).await;
        assert_eq!(led, Ok(("store.example.net 1".to_owned(), false)), "asked again soon");
        assert!(begun.elapsed() < BOUND, "nor does it hold it up for long");
    }
    let server = sparse(|_, _| None).await;
    assert_eq!(led(server, name.clone(), BOUND).await, Err("no answer within 4 s".to_owned()));
    let server = sparse(|_, kind| (kind == RecordType::AAAA).then(Vec::new)).await;
    assert_eq!(
        led(server, name, BOUND).await,
        Err("no answer within 4 s".to_owned()),
        "it may have an address"
    );
}

#[tokio::test]
async fn so_it_is_with_hosts_of_mx_and_srv() {
    let name = |text: &str| Name::from_ascii(text).unwrap();
    let server = sparse(move |asked, kind| match (asked, kind) {
        (_, RecordType::MX) => Some(vec![
            RData::MX(MX::new(10, name("silent.example.net."))),
            RData::MX(MX::new(20, name("half.example.net."))),
            RData::MX(MX::new(30, name("whole.example.net."))),
        ]),
        (_, RecordType::SRV) => Some(vec![
            RData::SRV(SRV::new(10, 0, 25, name("silent.example.net."))),
            RData::SRV(SRV::new(20, 0, 25, name("whole.example.net."))),
        ]),
        ("whole.example.net." | "half.example.net.", RecordType::A) => Some(vec![a(1), a(2)]),
        ("whole.example.net.", _) => Some(Vec::new()),
        _ => None,
    });
    let server = server.await;
    let mx = led(server, Question::Mx("example.net".into()), BOUND).await;
    assert_eq!(mx, Ok(("half.example.net 2, whole.example.net 2".to_owned(), false)));
    let srv = led(server, Question::Srv("_smtp._tcp.example.net".into()), BOUND).await;
    assert_eq!(srv, Ok(("whole.example.net 2".to_owned(), false)));
}

#[tokio::test]
async fn a_name_of_a_clients_is_found_beside_one_that_nobody_answers_about() {
    let name = |text: &str| RData::PTR(PTR(Name::from_ascii(text).unwrap()));
    let names = move |asked: &str, kind| match (asked, kind) {
        (_, RecordType::PTR) => Some(vec![name("a-silent.example.net."), name("mail.example.net.")]),
        ("mail.example.net.", RecordType::A) => Some(vec![a(7)]),
        _ => None,
    };
    let resolver = Resolver::new(&Dns { servers: vec![sparse(names).await] }).unwrap();
    let of = |last| resolver.client_name(v4(last), BOUND);
    assert_eq!(of(7).await, ClientName::Is("mail.example.net".into()));
    assert_eq!(of(8).await, ClientName::Unknown, "the other may be it");
}
