//! What tests that run real programs share.
//!
//! In:    a name for the test, and what it wants to run.
//! Out:   private instances of MTAs and gatepost, clients, a tap that writes down what was said, mail read back.
//! Never: touches a system service or its files, listens beyond loopback, sleeps for a guessed time (every wait is
//!        for an event and has a deadline), or leaves a process behind.
//!
//! Each part stands alone: `scratch` (directory, ports, waiting), `peers` (what is installed), `mta` (what they have in
//! common: `postfix`, and `exim` and `opensmtpd`, each in a `room` of its own), `machine` (a network of one's own),
//! `dovecot`, `nsd`, `haproxy` (in front), `leash` (nothing is left running), `gatepost`, `certificates` (an authority for TLS),
//! `clients` (curl and its kind), `raw` (a client by hand), `scripted` (a hop that misbehaves on cue), `keeper` (one that keeps every octet), `policy` (a policy server
//! that answers on cue), `milter` (a real one), `tap`, `transcript`, `maildir`.

#[allow(dead_code, reason = "shared with process; not every test program uses all of it")]
pub mod certificates;
pub mod clients;
pub mod dovecot;
pub mod exim;
pub mod gatepost;
pub mod haproxy;
pub mod keeper;
pub mod leash;
pub mod machine;
pub mod maildir;
pub mod milter;
pub mod mta;
#[allow(dead_code, reason = "shared with dns; not every test program uses all of it")]
pub mod nsd;
pub mod opensmtpd;
#[allow(dead_code, reason = "shared with dns; not every test program uses all of it")]
pub mod peers;
pub mod policy;
pub mod postfix;
pub mod raw;
pub mod refuser;
pub mod room;
pub mod scratch;
pub mod scripted;
pub mod tap;
pub mod transcript;
