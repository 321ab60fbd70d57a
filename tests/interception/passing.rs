//! Clients whose connections are intercepted on the router, and a server that does not notice.
//!
//! In:    REDIRECT and TPROXY, IPv4 and IPv6; Postfix on the server, curl on the client.
//! Out:   the trials: the server sees the client's address, gatepost's rules apply in between; an address at which
//!        nobody listens has nothing to say; a client that connects to gatepost itself is refused.
//! Never: gives gatepost a capability that `deploy/gatepost.service.d/intercept.conf` and the unit do not.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;

use crate::network::{CLIENT, DEAD, Network, ROUTER, SERVER};
use crate::support::clients::curl;
use crate::support::gatepost::Gatepost;
use crate::support::machine::must;
use crate::support::mta::Mta;
use crate::support::peers::{Peer, found, trial};
use crate::support::postfix::{Postfix, Spec};
use crate::support::scratch::{PATIENCE, Scratch};

const RULES: &str = "\
rules:
  - name: not-through-here
    stages: rcpt
    match: { recipient: ann@server.example }
    do: { reply: \"550 5.7.1 Says the one in between\" }
";

pub fn trials() -> Vec<Trial> {
    let needs = [Peer::Namespaces, Peer::Postfix, Peer::Curl];
    let mut trials = Vec::new();
    for how in ["redirect", "tproxy"] {
        let name = |what: &str| format!("passing::{what}_by_{how}");
        trials.push(trial(&name("neither_side_sees_gatepost"), needs, move || neither_side_sees_it(how)));
        trials.push(trial(&name("nobody_listens"), [Peer::Namespaces], move || nobody_listens(how)));
        trials.push(trial(&name("a_loop_is_refused"), [Peer::Namespaces], move || a_loop_is_refused(how)));
    }
    trials
}

fn neither_side_sees_it(how: &str) {
    let network = Network::new();
    let [v4, v6] = SERVER;
    let postfix = network.server.run(|| {
        Postfix::start(&Spec {
            main_cf: "inet_interfaces = all\ninet_protocols = all\n",
            master_cf: format!("{v4}:25 inet n - n - - smtpd\n[{v6}]:25 inet n - n - - smtpd\n"),
            ..Spec::receiving("server.example")
        })
    });
    let gatepost = start(&network, how, RULES);
    let scratch = Scratch::new("client");
    let message = scratch.write("message", "Subject: hello\r\n\r\nHello.\r\n");
    for (number, (server, client)) in SERVER.into_iter().zip(CLIENT).enumerate() {
        let door = SocketAddr::new(ip(server), 25);
        let send = |to: &str| {
            network.client.run(|| curl(&scratch, door, "a@example.org", &[to], &message, &["-g", "-v"]))
        };
        let sent = send("joe@server.example");
        postfix.settle(number * 2 + 1);
        let log = postfix.log();
        assert!(log.contains(&format!("connect from unknown[{client}]")), "{sent}\n{log}");
        assert_eq!(postfix.take_stored().len(), 1, "{sent}\n{log}");
        let refused = send("ann@server.example");
        postfix.settle(number * 2 + 2);
        assert!(refused.contains("550"), "{refused}");
        assert!(!postfix.log().contains("ann@server.example"), "it was asked about ann");
    }
    network.router.run(|| {
        assert_eq!(gatepost.metric("gatepost_sessions_opened_total", &[]), 4.0);
        assert_eq!(gatepost.metric("gatepost_hop_connects_total", &["host=\"*\""]), 4.0);
    });
    let log = gatepost.output();
    for (client, server) in CLIENT.into_iter().zip(SERVER) {
        let (client, server) = (ip(client).to_string(), SocketAddr::new(ip(server), 25).to_string());
        let record = |line: &&str| line.contains("transaction") && line.contains(&client);
        assert!(log.lines().filter(record).any(|line| line.contains(&server)), "{log}");
    }
}

/// Without gatepost the connection would be refused. Through it, it stands for a moment, and is broken off.
fn nobody_listens(how: &str) {
    let network = Network::new();
    let gatepost = start(&network, how, "");
    for dead in DEAD {
        let heard = network.client.run(|| {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip(dead), 25), PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).map(|_| heard)
        });
        let error = heard.map_err(|error| error.kind());
        assert!(
            matches!(error, Err(ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset)),
            "{error:?}\n{}",
            gatepost.output()
        );
    }
    network.router.run(|| {
        assert_eq!(gatepost.metric("gatepost_sessions_ended_total", &["reason=\"hop_lost\""]), 2.0);
    });
}

fn a_loop_is_refused(how: &str) {
    let network = Network::new();
    let gatepost = start(&network, how, "");
    for router in ROUTER {
        let heard = network.client.run(|| {
            let mut stream =
                TcpStream::connect_timeout(&SocketAddr::new(ip(router), 2525), PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut heard = String::new();
            stream.read_to_string(&mut heard).unwrap();
            heard
        });
        assert!(heard.starts_with("421 4.4.6 "), "{heard:?}\n{}", gatepost.output());
    }
    network.router.run(|| {
        assert_eq!(gatepost.metric("gatepost_sessions_refused_total", &["reason=\"loop\""]), 2.0);
        assert_eq!(gatepost.metric("gatepost_hop_connects_total", &[]), 0.0);
    });
    let log = gatepost.output();
    assert_eq!(log.matches("whose destination is gatepost itself").count(), 1, "once a minute: {log}");
}

/// gatepost on the router, with the rules and routes of `deploy/intercept/`.
fn start(network: &Network, how: &str, more: &str) -> Gatepost {
    network.router.run(|| {
        must(Command::new(found("nft")).arg("-f").arg(deployed(&format!("intercept/{how}.nft"))));
        for family in ["-4", "-6"] {
            must(Command::new(found("ip")).args([family, "-batch"]).arg(deployed("intercept/routes")));
        }
        let scratch = Scratch::new("router");
        let (listener, admin) = ("0.0.0.0:2525".parse().unwrap(), "127.0.0.1:9025".parse().unwrap());
        let page = include_str!("../../docs/inserting.md");
        let block = page.split_once("<!-- path -->\n```yaml\n").and_then(|(_, rest)| rest.split_once("```"));
        let config = format!(
            "hostname: gate.example\nadmin: {{ address: {admin} }}\ncontent: {{ spool: {} }}\n{}{more}",
            scratch.path().display(),
            block.unwrap().0.replace("tproxy", how)
        );
        let config = scratch.write("proxy.yaml", config);
        let mut command = Command::new(found("setpriv"));
        command.arg(format!("--bounding-set=-all{}", granted())).arg("--inh-caps=-all");
        command.arg(env!("CARGO_BIN_EXE_gatepost")).arg("--config").arg(config);
        Gatepost::start_with(scratch, command, listener, admin)
    })
}

/// The capabilities that the unit and its drop-in give, as setpriv(1) writes them.
fn granted() -> String {
    let units = ["gatepost.service", "gatepost.service.d/intercept.conf"];
    let texts = units.map(|unit| std::fs::read_to_string(deployed(unit)).unwrap());
    let capabilities = texts.iter().flat_map(|text| text.lines());
    let capabilities = capabilities.filter_map(|line| line.strip_prefix("AmbientCapabilities=CAP_"));
    capabilities.map(|capability| format!(",+{}", capability.to_ascii_lowercase())).collect()
}

fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}
