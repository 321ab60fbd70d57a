//! clamav-milter: a message with EICAR's file is refused, others are marked as clean.
//!
//! In:    clamd and clamav-milter, with one signature of our own.
//! Out:   one trial: what clients hear, and the fields in what is stored, through either door.
//! Never: a database from elsewhere, or a service of the system.
//!
//! clamd.conf(5), clamav-milter.conf(5).

use libtest_mimic::Trial;

use super::{Stand, dialog, sending};
use crate::messages;
use crate::support::leash::Leash;
use crate::support::milter::{Milter, Place};
use crate::support::peers::{Peer, found, trial};
use crate::support::scratch::{PATIENCE, Scratch, wait_for};

pub fn trials() -> Vec<Trial> {
    vec![trial("milter::clamav", [Peer::Postfix, Peer::ClamavMilter], scanned)]
}

/// In two parts, so that no scanner takes this file for it.
const EICAR: [&str; 2] = ["X5O!P%@AP[4\\PZX54(P^)7CC)7}$", "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"];

/// clamd, and where it listens.
fn clamd() -> (Leash, Scratch) {
    let scratch = Scratch::new("clamd");
    let database = scratch.make_dir("database");
    let hex: String = EICAR[1].bytes().map(|octet| format!("{octet:02x}")).collect();
    std::fs::write(database.join("own.ndb"), format!("Own.Eicar:0:*:{hex}\n")).unwrap();
    let here = scratch.path().display().to_string();
    let configuration = scratch.write(
        "clamd.conf",
        format!(
            "Foreground yes\nUser root\nDatabaseDirectory {}\nLocalSocket {here}/socket\n",
            database.display()
        ),
    );
    let command =
        [found("clamd").display().to_string(), "-c".to_owned(), configuration.display().to_string()];
    let leash = Leash::start(command, &scratch.path().join("output"));
    wait_for("clamd to listen", 6 * PATIENCE, || scratch.path().join("socket").exists().then_some(()));
    (leash, scratch)
}

fn scanned() {
    let (_leash, clamd) = clamd();
    let (scratch, place) = (Scratch::new("clamav-milter"), Place::free());
    let configuration = scratch.write(
        "clamav-milter.conf",
        format!(
            "Foreground yes\nUser root\nMilterSocket {}\nClamdSocket unix:{}/socket\nOnInfected Reject\n\
             RejectMsg Infected with %v\nAddHeader Replace\nReportHostname gate.example\n",
            place.of_libmilter(),
            clamd.path().display()
        ),
    );
    let command =
        [found("clamav-milter").display().to_string(), "-c".into(), configuration.display().to_string()];
    let filter = Milter::start(scratch, place, command);
    let stand = Stand::before(filter.place(), "");
    let infected = messages::message("infected", &format!("{}{}\r\n", EICAR[0], EICAR[1]));
    let [direct, through] = stand.doors().map(|door| {
        let refused = dialog(door, &sending(&["ann"], &infected, false));
        assert!(refused[refused.len() - 2].starts_with("550 5.7.1 Infected with Own.Eicar"), "{refused:?}");
        let clean = dialog(door, &sending(&["ann"], &messages::plain(), false));
        (refused, clean, stand.take())
    });
    assert_eq!(direct, through);
    let [(_, text)] = &through.2[..] else { panic!("{through:?}") };
    assert!(text.contains("X-Virus-Status: Clean") && text.contains("X-Virus-Scanned: "), "{text}");
}
