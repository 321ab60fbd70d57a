//! A policy server that dies and comes back while mail flows.
//!
//! In:    clients that come without a pause; a server that is killed and started again; an address where nobody is.
//! Out:   one trial: `on_error` holds while nobody answers, and no longer.
//! Never: lets one client hear anything but what the server says, or what `on_error` says.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use libtest_mimic::Trial;

use super::{FROM, dialog};
use crate::support::gatepost::Gatepost;
use crate::support::mta::Mta as _;
use crate::support::peers::{Peer, trial};
use crate::support::policy::PolicyServer;
use crate::support::postfix::{Postfix, Spec};
use crate::support::scratch::{PATIENCE, free_port, wait_for};

pub fn trials() -> Vec<Trial> {
    vec![trial("policy::lost_and_found", [Peer::Postfix], lost_and_found)]
}

/// What the server says to each.
const SAID: &str = "554 5.7.1 ";

fn lost_and_found() {
    let postfix = Postfix::start(&Spec::receiving("a.example"));
    let dead = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = PolicyServer::start();
    let address = server.address();
    let callout = |name: &str, on_error: &str| {
        format!(
            "  - {{ name: {name}, type: policy, address: [\"{dead}\", \"{address}\"], on_error: {on_error}, \
             when: {{ recipient: {name}@a.example }} }}\n"
        )
    };
    let callouts = [("ann", "tempfail"), ("bob", "reject"), ("joe", "pass")];
    let more = callouts.map(|(name, on_error)| callout(name, on_error)).concat();
    let gatepost = Gatepost::start(&[("main", &[postfix.address()])], &format!("callouts:\n{more}"));
    let door = gatepost.listener();
    server.says("RCPT", "REJECT no");

    // Of each mailbox the latest reply, and all there were.
    let latest = Mutex::new(["", "", ""].map(str::to_owned));
    let heard = Mutex::new(BTreeSet::new());
    let is_over = AtomicBool::new(false);
    let expect = |what: &str, codes: [&str; 3]| {
        wait_for(what, PATIENCE, || {
            let latest = latest.lock().unwrap();
            (0..3).all(|number| latest[number].starts_with(codes[number])).then_some(())
        });
    };
    thread::scope(|scope| {
        for (number, (name, _)) in callouts.into_iter().enumerate() {
            let (latest, heard, is_over) = (&latest, &heard, &is_over);
            scope.spawn(move || {
                let recipient = format!("RCPT TO:<{name}@a.example>\r\n");
                while !is_over.load(Ordering::Relaxed) {
                    let reply = dialog(door, &[FROM, &recipient]).swap_remove(3);
                    let code = reply.get(..10).unwrap_or(&reply).to_owned();
                    heard.lock().unwrap().insert((name, code));
                    latest.lock().unwrap()[number] = reply;
                }
            });
        }
        let _over = Over(&is_over);
        let on_error = ["451 4.3.0 ", "554 5.3.0 ", "250"];
        expect("the server to be asked", [SAID; 3]);
        drop(server);
        expect("on_error to hold", on_error);
        let server = PolicyServer::start_at(address);
        server.says("RCPT", "REJECT no");
        expect("the server to be asked again", [SAID; 3]);
        drop(server);
        expect("on_error to hold again", on_error);
    });
    let expected = [
        ("ann", "451 4.3.0 "),
        ("ann", SAID),
        ("bob", "554 5.3.0 "),
        ("bob", SAID),
        ("joe", "250"),
        ("joe", SAID),
    ];
    let expected: BTreeSet<_> = expected.map(|(name, code)| (name, code.to_owned())).into();
    assert_eq!(heard.into_inner().unwrap(), expected);
}

/// Ends the clients, where an assertion failed, too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
