//! Who the client is, from a balancer in front of gatepost to the MTA behind it: real programs tell and are told.
//!
//! In:    swaks at 127.0.0.9, which connects to HAProxy.
//! Out:   the trials: HAProxy tells gatepost (PROXY protocol, versions 1 and 2), gatepost tells the MTA in each way it
//!        knows, and the MTA's own log names that client, not gatepost.
//! Never: a mock where a real program can be had.
//!
//! HAProxy's specification of the PROXY protocol; Postfix's XCLIENT_README, XFORWARD_README and postconf(5).

use std::fmt::Write as _;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use gatepost::proxy_protocol::{self, Header};
use libtest_mimic::Trial;

use crate::messages;
use crate::support::certificates::Authority;
use crate::support::clients::swaks;
use crate::support::gatepost::Gatepost;
use crate::support::haproxy::Haproxy;
use crate::support::mta::Mta;
use crate::support::peers::{Peer, trial};
use crate::support::postfix::{Postfix, Spec, with_hosts};
use crate::support::scratch::{PATIENCE, Scratch, free_port, wait_for};

/// The client, by the address it has and the name that address has.
const CLIENT: &str = "127.0.0.9";
const HOSTS: &str = "127.0.0.1 localhost\n127.0.0.9 spike.porcupine.example\n";

const TO_POSTFIX: [Peer; 3] = [Peer::Haproxy, Peer::Postfix, Peer::Swaks];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("identity::postfix_by_proxy_v1", TO_POSTFIX, || {
            to_postfix("send-proxy", "proxy_v1", PROXIED, "client=spike.porcupine.example[127.0.0.9]");
        }),
        trial("identity::postfix_by_proxy_v2", TO_POSTFIX, || {
            to_postfix("send-proxy-v2", "proxy_v2", PROXIED, "client=spike.porcupine.example[127.0.0.9]");
        }),
        trial("identity::postfix_by_xclient", TO_POSTFIX, || {
            to_postfix("send-proxy-v2", "xclient", "", "client=spike.porcupine.example[127.0.0.9]");
        }),
        trial("identity::postfix_by_xforward", TO_POSTFIX, || {
            to_postfix("send-proxy", "xforward", "", "orig_client=spike.porcupine.example[127.0.0.9]");
        }),
        trial("identity::tls_at_the_balancer_is_told_too", [Peer::Haproxy, Peer::Swaks], tls_at_the_balancer),
        trial("identity::health_checks_of_haproxy", [Peer::Haproxy, Peer::Postfix], health_checks),
    ]
}

const PROXIED: &str = "smtpd_upstream_proxy_protocol = haproxy\n";

/// gatepost behind HAProxy, before `hop`.
fn before(hop: SocketAddr, identity: &str) -> Gatepost {
    let [listener, admin] = [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let scratch = Scratch::new("identity");
    let mut config = format!(
        "hostname: gate.example\nadmin: {{ address: {admin} }}\ncontent: {{ spool: . }}\n\
         upstreams:\n  main: {{ hosts: [\"{hop}\"], identity: {identity}, health: off }}\n"
    );
    let _ = writeln!(
        config,
        "listeners:\n  - {{ address: {listener}, upstream: main, auth: hop, \
         proxy_protocol: {{ from: [127.0.0.1], required: true }} }}"
    );
    let path = scratch.write("proxy.yaml", config);
    let hosts = scratch.write("hosts", HOSTS);
    let mut command = Command::new("unshare");
    command.args(with_hosts(&hosts)).arg(env!("CARGO_BIN_EXE_gatepost"));
    command.arg("run").arg("--config").arg(path).stdin(Stdio::null());
    Gatepost::start_with(scratch, command, listener, admin)
}

/// One message from the client by way of the balancer.
fn send(door: SocketAddr, to: &str) {
    let scratch = Scratch::new("sent");
    let file = scratch.write("message", messages::plain());
    let options = ["--local-interface", CLIENT];
    let outcome = swaks(&scratch, door, "sue@client.example", &[to], &file, &options);
    assert_eq!(outcome, "swaks: exit status: 0");
}

fn to_postfix(says: &str, identity: &str, main_cf: &'static str, logged: &str) {
    let spec = Spec { main_cf, hosts: HOSTS, ..Spec::receiving("a.example") };
    let postfix = Postfix::start(&spec);
    let gate = before(postfix.address(), identity);
    let haproxy = Haproxy::start(gate.listener(), says, None);
    send(haproxy.address(), "joe@a.example");
    wait_for(&format!("{logged:?} in Postfix's log"), PATIENCE, || {
        postfix.log().contains(logged).then_some(())
    });
    gate.logged(&format!(" client={CLIENT}:"));
    assert_eq!(gate.metric("gatepost_proxy_headers_total", &["outcome=\"proxied\""]), 1.0);
    postfix.settle(1);
    assert_eq!(postfix.take_stored().len(), 1);
}

/// HAProxy ends TLS and tells of it; gatepost passes that on, with its own header.
fn tls_at_the_balancer() {
    let hop = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = before(hop.local_addr().unwrap(), "proxy_v2");
    let pair = Authority::new("Tests").server(&["mx.example.net"]);
    let says = "send-proxy-v2-ssl-cn proxy-v2-options ssl,cert-cn,authority,crc32c,unique-id";
    let scratch = Scratch::new("pair");
    let files = pair.write(scratch.path(), "pair");
    let pem = [files.certificate, files.key].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    let haproxy = Haproxy::start(gate.listener(), says, Some(&pem));
    let door = haproxy.address();
    let client = std::thread::spawn(move || {
        let scratch = Scratch::new("sent");
        let file = scratch.write("message", messages::plain());
        let options = ["--local-interface", CLIENT, "--tls-on-connect", "--tls-sni", "mx.example.net"];
        // The hop does not greet: what becomes of the message is not the matter here.
        swaks(&scratch, door, "sue@client.example", &["joe@a.example"], &file, &options);
    });
    let (mut stream, _) = hop.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut octets = [0; 1024];
    let read = stream.read(&mut octets).unwrap();
    let Ok(Some((Header::Proxied(told), length))) = proxy_protocol::read(&octets[..read]) else {
        panic!("no header: {:?}", &octets[..read])
    };
    assert_eq!(length, read, "and nothing behind it");
    assert_eq!(told.source.ip().to_string(), CLIENT);
    assert_eq!(told.destination, door);
    assert_eq!(told.tlvs.authority.as_deref(), Some("mx.example.net"));
    let id = String::from_utf8(told.tlvs.unique_id.unwrap().into_vec()).unwrap();
    assert!(id.starts_with(CLIENT), "HAProxy's own: {id}");
    let ssl = told.tlvs.ssl.unwrap();
    assert!(ssl.version.starts_with("TLSv1."), "{ssl:?}");
    assert!(!ssl.has_certificate && !ssl.verified, "{ssl:?}");
    drop((stream, hop));
    client.join().unwrap();
}

/// They connect, say LOCAL, and leave: nobody has to read of it, and clients come nevertheless.
fn health_checks() {
    let spec = Spec { main_cf: PROXIED, ..Spec::receiving("a.example") };
    let postfix = Postfix::start(&spec);
    let gate = before(postfix.address(), "proxy_v2");
    let says = "send-proxy-v2 check check-send-proxy inter 100ms";
    let haproxy = Haproxy::start(gate.listener(), says, None);
    let looks = || {
        let count = |outcome| gate.metric("gatepost_proxy_headers_total", &[outcome]);
        count("outcome=\"local\"") + count("outcome=\"left\"")
    };
    wait_for("HAProxy to look a few times", PATIENCE, || (looks() >= 3.0).then_some(()));
    assert!(!gate.output().contains("closed:"), "{}", gate.output());
    drop(haproxy);
}
