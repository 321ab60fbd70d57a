//! Postgrey: put off at first, let through when its delay is over.
//!
//! In:    Postgrey twice, each with a database of its own: asked by Postfix, and by gatepost before Postfix.
//! Out:   one trial: what the client hears, and the field that Postgrey has put before the message.
//! Never: waits for a time: the client comes back until it is let in, as clients do.
//!
//! postgrey(8).

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;

use libtest_mimic::Trial;

use super::{FROM, dialog, entry, send, with_subject, without_trace};
use crate::messages;
use crate::support::gatepost::Gatepost;
use crate::support::leash::Leash;
use crate::support::mta::Mta as _;
use crate::support::peers::{Peer, found, trial};
use crate::support::postfix::{Postfix, Spec, id_of};
use crate::support::scratch::{PATIENCE, Scratch, free_port, is_listened_at, wait_for};

pub fn trials() -> Vec<Trial> {
    vec![trial("policy::postgrey", [Peer::Postfix, Peer::Postgrey], greylisted)]
}

struct Postgrey {
    address: SocketAddr,
    // Before its directory goes.
    _leash: Leash,
    scratch: Scratch,
}

impl Postgrey {
    /// One that puts off for a second.
    fn start() -> Self {
        let scratch = Scratch::new("postgrey");
        let database = scratch.make_dir("database");
        chown(&database, Some(id_of("/etc/passwd", "postgrey")), None).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let nobody = scratch.write("nobody", "");
        let option = |name: &str, value: &dyn std::fmt::Display| format!("--{name}={value}");
        let command = [
            found("postgrey").display().to_string(),
            option("inet", &address),
            option("dbdir", &database.display()),
            option("delay", &1),
            option("hostname", &"grey.example"),
            option("whitelist-clients", &nobody.display()),
            option("whitelist-recipients", &nobody.display()),
        ];
        let output = scratch.path().join("output");
        let leash = Leash::start(command, &output);
        let postgrey = Self { address, _leash: leash, scratch };
        wait_for("Postgrey to listen", PATIENCE, || is_listened_at(address).then_some(()));
        postgrey
    }
}

impl Drop for Postgrey {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = fs::read_to_string(self.scratch.path().join("output")).unwrap_or_default();
            eprintln!("--- Postgrey at {}\n{output}", self.address);
        }
    }
}

fn greylisted() {
    let [asked_directly, asked_by_gatepost] = [Postgrey::start(), Postgrey::start()];
    let asking = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let check = format!(
        "-o {{ smtpd_recipient_restrictions = check_policy_service inet:{} }}",
        asked_directly.address
    );
    let postfix = Postfix::start(&Spec { master_cf: entry(asking, &check), ..Spec::receiving("a.example") });
    let callout = format!(
        "callouts:\n  - {{ name: greylist, type: policy, address: \"{}\" }}\n",
        asked_by_gatepost.address
    );
    let gatepost = Gatepost::start(&[("main", &[postfix.address()])], &callout);
    let doors = [asking, gatepost.listener()];
    for recipient in ["ann", "bob"] {
        let [direct, through] =
            doors.map(|door| dialog(door, &[FROM, &format!("RCPT TO:<{recipient}@a.example>\r\n")]));
        assert!(
            through[3].starts_with("450 4.2.0 ") && through[3].contains(" Greylisted, see "),
            "{through:?}"
        );
        assert_eq!(direct, through);
    }
    let [direct, through] = doors.map(|door| {
        let message = messages::message(if door == asking { "direct" } else { "through" }, "Hello\r\n");
        // Bob came last: when he is let in, Ann is.
        wait_for("Postgrey to let it through", PATIENCE, || {
            let heard = send(door, &["bob", "ann"], &message);
            (!heard[3].starts_with("450 4.2.0 ")).then_some(heard)
        })
    });
    assert_eq!(through, ["220", "250", "250", "250", "250", "354", "250", "221"]);
    assert_eq!(direct, through);
    postfix.settle(0);
    let stored: Vec<_> = postfix.take_stored().iter().map(|stored| delayed(&without_trace(stored))).collect();
    let through = with_subject(&stored, "through");
    assert_eq!(with_subject(&stored, "direct"), through);
    assert_eq!(through.len(), 2);
    for text in through {
        // Once, though there are two recipients: it is one message.
        assert_eq!(text.matches("X-Greylist: ").count(), 1, "{text}");
        let field = "\nX-Greylist: delayed N seconds by postgrey-1.37 at grey.example; DATE\nFrom: ";
        assert!(text.contains(field), "{text}");
    }
}

/// The message with a word for the time in Postgrey's field, and for that which has passed.
fn delayed(text: &str) -> String {
    let line = |line: &str| match line.split_once(" seconds by ").filter(|_| line.starts_with("X-Greylist: "))
    {
        Some((_, by)) => {
            format!("X-Greylist: delayed N seconds by {}; DATE\n", by.split(';').next().unwrap_or_default())
        }
        None => line.to_owned(),
    };
    text.split_inclusive('\n').map(line).collect()
}
