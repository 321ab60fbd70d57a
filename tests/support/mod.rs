//! What tests that run real programs share.
//!
//! In:    a name for the test, and what it wants to run.
//! Out:   private instances of Postfix, Dovecot and gatepost, clients, a tap that writes down what was said, mail read back.
//! Never: touches a system service or its files, listens beyond loopback, sleeps for a guessed time (every wait is
//!        for an event and has a deadline), or leaves a process behind.
//!
//! Each part stands alone: `scratch` (directory, ports, waiting), `peers` (what is installed), `postfix`, `dovecot`, `gatepost`,
//! `clients` (curl, swaks, smtplib), `raw` (a client by hand), `scripted` (a hop that misbehaves on cue), `tap`,
//! `transcript`, `maildir`.

pub mod clients;
pub mod dovecot;
pub mod gatepost;
pub mod maildir;
#[allow(dead_code, reason = "shared with dns; not every test program uses all of it")]
pub mod peers;
pub mod postfix;
pub mod raw;
pub mod scratch;
pub mod scripted;
pub mod tap;
pub mod transcript;
