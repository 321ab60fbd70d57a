//! Dialog scripts: SMTP dialogs written down, run against a session.
//!
//! The notation is described in `docs/dialogs.md`. [`parse`] reads a file into steps, [`run`] walks them with a
//! [`Driver`], which is how octets get into gatepost and out of it: [`pure`] has only the session and a virtual
//! clock, the sockets have the whole shell.
//!
//! [`play`] does both for tests that ask what else a session said.
//!
//! **In**: a file of `tests/dialogs`. **Out**: nothing, or the dialog as it went, as a diff.
//! **Never**: sleeps; compares what a script feeds.

pub mod callouts;
#[path = "../support/certificates.rs"]
pub mod certificates;
pub mod handshake;
pub mod paper;
pub mod parse;
pub mod play;
pub mod prompt;
pub mod pure;
pub mod run;
pub mod settings;
pub mod shadowed;
pub mod sockets;
pub mod wire;

pub use parse::Script;
pub use pure::Pure;
pub use run::{Driver, Manner, run};
