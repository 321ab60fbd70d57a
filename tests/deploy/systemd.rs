//! The units, and what gatepost and systemd say to each other.
//!
//! In:    `deploy/gatepost.service` and `deploy/gatepost.socket`; a datagram socket in systemd's place; systemd's own
//!        `systemd-analyze` and `systemd-socket-activate`.
//! Out:   the trials: the units are in order and tight, what gatepost calls is allowed, sockets are taken over, states
//!        are told.
//! Never: starts a unit: there need not be a systemd that runs here.
//!
//! sd_notify(3), sd_listen_fds(3), systemd.exec(5).

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use gatepost::config::types::Config;
use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::support::gatepost::Gatepost;
use crate::support::peers::{Peer, found, trial};
use crate::support::raw::Raw;
use crate::support::scratch::{Finished, PATIENCE, Scratch, free_port, run, wait_for};
use crate::{ours, text};

const BINARY: &str = env!("CARGO_BIN_EXE_gatepost");

/// Where mail goes.
const SINK: &str = "upstreams: { main: { sink: ./mail } }\n";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("systemd::units_are_in_order", &[Peer::Systemd], units_are_in_order),
        trial("systemd::the_service_is_tight", &[Peer::Systemd], the_service_is_tight),
        trial(
            "systemd::the_service_allows_what_is_called",
            &[Peer::Systemd, Peer::Strace],
            calls_are_allowed,
        ),
        trial("systemd::stop_waits_longer_than_a_drain", &[], stop_waits_longer_than_a_drain),
        trial("systemd::states_are_told", &[], states_are_told),
        trial("systemd::sockets_are_taken_over", &[Peer::Systemd], sockets_are_taken_over),
        trial("systemd::waiting_clients_outlive_a_drain", &[], waiting_clients_outlive_a_drain),
        trial("systemd::a_socket_without_a_listener", &[], a_socket_without_a_listener),
    ]
}

fn analyze(scratch: &Scratch, arguments: &[&str]) -> Finished {
    run(scratch, Command::new(found("systemd-analyze")).args(arguments), Stdio::null(), PATIENCE)
}

fn units_are_in_order() {
    let scratch = Scratch::new("units");
    // The one thing verify cannot find on this machine.
    let installed = text("deploy/gatepost.service").replace("/usr/local/bin/gatepost", BINARY);
    let service = scratch.write("gatepost.service", installed);
    let socket = scratch.write("gatepost.socket", text("deploy/gatepost.socket"));
    let said = analyze(&scratch, &["verify", service.to_str().unwrap(), socket.to_str().unwrap()]);
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
}

fn the_service_is_tight() {
    let scratch = Scratch::new("security");
    let service = ours("deploy/gatepost.service");
    // In tenths: exposure below 2.0.
    let said =
        analyze(&scratch, &["security", "--offline=true", "--threshold=19", service.to_str().unwrap()]);
    assert!(said.status.success(), "{}\n{}", said.stdout, said.stderr);
}

/// Has gatepost do what a service does, under strace, and compares what it called with what the unit allows.
fn calls_are_allowed() {
    let scratch = Scratch::new("calls");
    let allowed = allowed_calls(&scratch);
    let trace = scratch.path().join("trace");
    let mut command = Command::new(found("strace"));
    let hop = start(Scratch::new("hop"), plain(), &[free_address()], SINK);
    // -D: the process we hold is gatepost, and strace stands beside it.
    command.args(["-D", "-f", "-qq", "-o"]).arg(&trace).args([BINARY, "run"]);
    let mut gatepost = start(scratch, command, &[free_address()], &to(&hop));
    let mut client = Raw::connect(gatepost.listener());
    client.ask("EHLO client.example", 250);
    client.ask("MAIL FROM:<a@example.org>", 250);
    client.ask("RCPT TO:<b@example.net>", 250);
    client.ask("DATA", 354);
    client.say("Subject: x\r\n\r\nx\r\n.\r\n");
    client.hear(250);
    gatepost.signal(Signal::HUP);
    wait_for("the reload", PATIENCE, || {
        (gatepost.metric("gatepost_reloads_total", &["outcome=\"done\""]) == 1.0).then_some(())
    });
    gatepost.signal(Signal::TERM);
    client.hear(421);
    assert_eq!(gatepost.ended(), Some(0));
    let traced = wait_for("strace to have written all", PATIENCE, || {
        let traced = std::fs::read_to_string(&trace).unwrap_or_default();
        traced.contains("exit_group(").then_some(traced)
    });
    let called: BTreeSet<&str> = traced.lines().filter_map(call).collect();
    assert!(called.contains("accept4") && called.contains("connect"), "{called:?}");
    let refused: Vec<&&str> = called.iter().filter(|call| !allowed.contains(**call)).collect();
    assert!(refused.is_empty(), "deploy/gatepost.service does not let gatepost call {refused:?}");
}

/// Mail goes to that gatepost.
fn to(hop: &Gatepost) -> String {
    format!("upstreams: {{ main: {{ hosts: [\"{}\"] }} }}\n", hop.listener())
}

/// The call of a line of strace's, `PID name(...`; ends, signals and resumed calls have no such name.
fn call(line: &str) -> Option<&str> {
    let (name, _) = line.split_once(' ')?.1.trim_start().split_once('(')?;
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then_some(name)
}

/// What `SystemCallFilter=` comes to: the first line allows, those with `~` take away. `@default` is always allowed.
fn allowed_calls(scratch: &Scratch) -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for filter in
        text("deploy/gatepost.service").lines().filter_map(|line| line.strip_prefix("SystemCallFilter="))
    {
        match filter.strip_prefix('~') {
            None => filter.split(' ').for_each(|name| allowed.extend(calls_of(scratch, name))),
            Some(without) => {
                for call in without.split(' ').flat_map(|name| calls_of(scratch, name)) {
                    allowed.remove(&call);
                }
            }
        }
    }
    allowed.extend(calls_of(scratch, "@default"));
    assert!(allowed.len() > 100, "{allowed:?}");
    allowed
}

fn calls_of(scratch: &Scratch, name: &str) -> Vec<String> {
    if !name.starts_with('@') {
        return vec![name.to_owned()];
    }
    let said = analyze(scratch, &["syscall-filter", name]);
    assert!(said.status.success(), "{said:?}");
    let members = said.stdout.lines().skip(1).map(str::trim);
    let members = members.filter(|member| !member.is_empty() && !member.starts_with('#'));
    members.flat_map(|member| calls_of(scratch, member)).collect()
}

/// systemd would kill what is still being finished.
fn stop_waits_longer_than_a_drain() {
    let unit = text("deploy/gatepost.service");
    let minutes = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.strip_suffix("min"));
    let patience = Duration::from_secs(60 * minutes.unwrap().parse::<u64>().unwrap());
    let defaults = Config::default();
    assert!(patience > defaults.shutdown_grace + defaults.timeouts.end_of_data);
}

fn states_are_told() {
    let scratch = Scratch::new("notify");
    let place = scratch.path().join("notify");
    let systemd = UnixDatagram::bind(&place).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let listener = free_address();
    let mut command = plain();
    command.env("NOTIFY_SOCKET", &place).env("WATCHDOG_USEC", "4000000");
    let mut gatepost = start(scratch, command, &[listener], SINK);
    let ready = format!("READY=1\nSTATUS=accepting on {listener}\n");
    assert_eq!(told(&systemd, "READY=1"), ready);
    told(&systemd, "WATCHDOG=1");

    gatepost.signal(Signal::HUP);
    assert!(told(&systemd, "RELOADING=1").contains("\nMONOTONIC_USEC="));
    assert_eq!(told(&systemd, "READY=1"), ready);

    gatepost.scratch().write("proxy.yaml", "upstreams: { main: { hots: [] } }\n");
    gatepost.signal(Signal::HUP);
    told(&systemd, "RELOADING=1");
    let refused = told(&systemd, "READY=1");
    assert!(
        refused.contains("STATUS=reload: nothing changed: ")
            && refused.contains("proxy.yaml:1:22: upstreams.main.hots: unknown key"),
        "{refused}"
    );
    // Every worker still shows that it lives.
    told(&systemd, "WATCHDOG=1");

    let mut client = Raw::connect(gatepost.listener());
    client.ask("EHLO client.example", 250);
    gatepost.signal(Signal::TERM);
    assert_eq!(told(&systemd, "STOPPING=1"), "STOPPING=1\nSTATUS=finishing 1 sessions\n");
    client.hear(421);
    assert_eq!(gatepost.ended(), Some(0));
}

/// The next message that begins so; others are of no interest.
fn told(systemd: &UnixDatagram, begins: &str) -> String {
    let mut octets = [0; 4096];
    wait_for(begins, PATIENCE, || {
        let taken = systemd.recv(&mut octets).unwrap();
        Some(String::from_utf8_lossy(&octets[..taken]).into_owned()).filter(|said| said.starts_with(begins))
    })
}

/// By systemd's own tool: one listener is handed over and one is not, and every worker serves.
fn sockets_are_taken_over() {
    let (handed, own) = (free_address(), free_address());
    let mut command = Command::new(found("systemd-socket-activate"));
    command.args(["-l", &handed.to_string(), BINARY, "run"]).stdin(Stdio::null());
    // It starts gatepost for the first client.
    let first = thread::spawn(move || {
        wait_for("systemd-socket-activate to listen", PATIENCE, || {
            TcpStream::connect(handed).ok().map(|_| ())
        });
    });
    let mut gatepost =
        start(Scratch::new("activated"), command, &[handed, own], &format!("workers: 3\n{SINK}"));
    first.join().unwrap();
    for address in [handed, own] {
        let clients: Vec<Raw> = (0..7).map(|_| Raw::connect(address)).collect();
        clients.into_iter().for_each(Raw::quit);
    }
    // A reload keeps what was handed over.
    gatepost.signal(Signal::HUP);
    wait_for("the reload", PATIENCE, || {
        (gatepost.metric("gatepost_reloads_total", &["outcome=\"done\""]) == 1.0).then_some(())
    });
    let clients: Vec<Raw> = (0..7).map(|_| Raw::connect(handed)).collect();
    assert!(gatepost.metric("gatepost_sessions_opened_total", &[]) >= 21.0);
    gatepost.signal(Signal::TERM);
    for mut client in clients {
        client.hear(421);
    }
    assert_eq!(gatepost.ended(), Some(0));
}

/// A socket that is held open here, as systemd would.
fn waiting_clients_outlive_a_drain() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let mut first = start(Scratch::new("first"), handed(&held), &[address], &format!("workers: 2\n{SINK}"));
    let mut client = Raw::connect(address);
    client.ask("EHLO client.example", 250);
    client.ask("MAIL FROM:<a@example.org>", 250);
    first.signal(Signal::TERM);
    wait_for("/readyz to say that it drains", PATIENCE, || {
        first.http("/readyz").starts_with("HTTP/1.1 503").then_some(())
    });
    let waiting = thread::spawn(move || Raw::connect(address).quit());
    client.ask("RSET", 250);
    client.hear(421);
    assert_eq!(first.ended(), Some(0));
    assert!(!waiting.is_finished(), "nobody has turned it away");
    let _second = start(Scratch::new("second"), handed(&held), &[address], SINK);
    waiting.join().unwrap();
}

fn a_socket_without_a_listener() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, listener) = (held.local_addr().unwrap(), free_address());
    let scratch = Scratch::new("lonely");
    let config = configuration(&scratch, &[listener], free_address(), SINK);
    let mut command = handed(&held);
    command.arg("--config").arg(config).stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = command.output().unwrap();
    assert_eq!(said.status.code(), Some(2));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.contains(&format!("systemd listens on {address}, but no listener has that address")),
        "{said}"
    );
    assert!(said.contains(&format!("(there are: {listener})")), "{said}");
}

/// gatepost with this socket handed to it in systemd's way. The shell's number is gatepost's.
fn handed(socket: &TcpListener) -> Command {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "exec 3<&0 </dev/null; exec env LISTEN_PID=$$ LISTEN_FDS=1 \"$0\" \"$@\"",
        BINARY,
        "run",
    ]);
    command.stdin(OwnedFd::from(socket.try_clone().unwrap()));
    command
}

fn plain() -> Command {
    let mut command = Command::new(BINARY);
    command.arg("run").stdin(Stdio::null());
    command
}

/// Runs gatepost by this command, with these listeners before `main`, of which `more` tells.
fn start(scratch: Scratch, mut command: Command, listeners: &[SocketAddr], more: &str) -> Gatepost {
    let admin = free_address();
    command.arg("--config").arg(configuration(&scratch, listeners, admin, more));
    Gatepost::start_with(scratch, command, listeners[0], admin)
}

fn configuration(scratch: &Scratch, listeners: &[SocketAddr], admin: SocketAddr, more: &str) -> PathBuf {
    let listeners: Vec<String> = listeners.iter().map(|listener| format!("\"{listener}\"")).collect();
    let listeners = listeners.join(", ");
    scratch.write(
        "proxy.yaml",
        format!(
            "hostname: gate.example\nlisteners: [{{ address: [{listeners}], upstream: main }}]\n\
             admin: {{ address: {admin} }}\ncontent: {{ spool: . }}\n{more}"
        ),
    )
}

fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}
