//! The running program: signals, limits, ejection, the command line, the log.
//!
//! In:    the real binary on real sockets, before a hop played here or the embedded sink.
//! Out:   what an administrator and a client see: replies, exit statuses, metrics, log lines.
//! Never: sleeps for a guessed time: every wait is for an event and has a deadline. What is said between a client and
//!        a hop is the matter of `dialogs` and `simulation`.

#[path = "process/admin.rs"]
mod admin;
#[path = "process/afternoon.rs"]
mod afternoon;
#[path = "process/callouts.rs"]
mod callouts;
#[allow(dead_code, reason = "shared with others; not every test program uses all of it")]
#[path = "support/certificates.rs"]
mod certificates;
#[path = "process/commands.rs"]
mod commands;
#[path = "process/dialogs.rs"]
mod dialogs;
#[path = "process/ejection.rs"]
mod ejection;
#[path = "process/gate.rs"]
mod gate;
#[path = "process/hop.rs"]
mod hop;
#[path = "process/injection.rs"]
mod injection;
#[path = "process/limits.rs"]
mod limits;
#[path = "process/log.rs"]
mod log;
#[path = "process/lost_lines.rs"]
mod lost_lines;
#[path = "process/privileges.rs"]
mod privileges;
#[path = "process/proxy_protocol.rs"]
mod proxy_protocol;
#[path = "support/raw.rs"]
mod raw;
#[path = "process/refused.rs"]
mod refused;
#[path = "support/refuser.rs"]
mod refuser;
#[path = "process/reload.rs"]
mod reload;
#[allow(dead_code, reason = "shared with interop; not every test program uses all of it")]
#[path = "support/scratch.rs"]
mod scratch;
#[path = "process/shutdown.rs"]
mod shutdown;
#[path = "process/spool.rs"]
mod spool;
#[path = "process/tls.rs"]
mod tls;
