//! The administrative listener: whoever is connected, and where there is none.
//!
//! In:    connections that are only held, an address that another gatepost has, `admin: off`.
//! Out:   `/healthz` in time; sentences that name the key; a gatepost that serves, and is watched, without it.
//! Never: measures what the units do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::gate::{Gate, SINK, client_of, free_address, yaml};
use crate::scratch::{Finished, PATIENCE, Scratch, run, wait_child};

fn gatepost(scratch: &Scratch, arguments: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(arguments).current_dir(scratch.path());
    run(scratch, &mut command, Stdio::null(), PATIENCE)
}

#[test]
fn two_hundred_connections_that_say_nothing_keep_nobody_waiting() {
    let gate = Gate::start(SINK, "");
    let mut held: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(gate.admin).unwrap()).collect();
    for (place, stream) in held.iter_mut().enumerate() {
        if place % 2 == 0 {
            // Those that were ended take nothing any more.
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n");
        }
    }
    let asked = Instant::now();
    assert!(gate.http("/healthz").ends_with("alive\n"));
    assert!(gate.http("/metrics").contains("gatepost_build_info"));
    assert!(asked.elapsed().as_secs() < 5, "{:?}", asked.elapsed());
}

#[test]
fn an_address_that_another_gatepost_has_is_named_with_its_key() {
    let first = Gate::start(SINK, "");
    let scratch = Scratch::new("second");
    scratch.write("proxy.yaml", yaml(&[free_address()], first.admin, SINK, ""));
    let second = gatepost(&scratch, &[]);
    assert_eq!(second.status.code(), Some(2), "{}", second.stderr);
    let said = format!("admin.address: {}: cannot listen: Address already in use", first.admin);
    let line = second.stderr.lines().find(|line| line.starts_with(&said));
    let line = line.unwrap_or_else(|| panic!("{said}\n{}", second.stderr));
    assert!(line.ends_with("give each its own admin.address, or say admin: off"), "{line}");
}

#[test]
fn without_it_mail_goes_and_systemd_watches() {
    let scratch = Scratch::new("off");
    let (listener, admin) = (free_address(), free_address());
    let config = yaml(&[listener], admin, SINK, "").replace(&format!("{{ address: \"{admin}\" }}"), "off");
    scratch.write("proxy.yaml", config);
    let checked = gatepost(&scratch, &["check"]);
    assert_eq!(checked.status.code(), Some(0), "{}", checked.stderr);
    assert!(checked.stdout.contains("\nadmin: off\n"), "{}", checked.stdout);
    let health = gatepost(&scratch, &["health"]);
    assert_eq!(health.status.code(), Some(1));
    assert!(health.stderr.starts_with("admin: off: there is nobody to ask"), "{}", health.stderr);
    let notify = scratch.path().join("notify");
    let systemd = UnixDatagram::bind(&notify).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.current_dir(scratch.path()).env("NOTIFY_SOCKET", &notify).env("WATCHDOG_USEC", "400000");
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let heard = |wanted: &str| {
        let mut message = [0; 4096];
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let taken = systemd.recv(&mut message).unwrap();
            if String::from_utf8_lossy(&message[..taken]).contains(wanted) {
                return;
            }
        }
        panic!("systemd was not told {wanted}");
    };
    heard("READY=1");
    heard("WATCHDOG=1");
    heard("WATCHDOG=1");
    client_of(listener).quit();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("nowhere (admin: off)") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it says that there is none");
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(wait_child("gatepost", &mut child, PATIENCE).unwrap().success());
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("ERROR"), "{rest}");
}
