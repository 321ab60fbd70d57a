//! What a session says beside its dialogs: to the shell, to its hosts, to the log, and in its records.
//!
//! In:    dialogs on paper (`docs/dialogs.md`), played to their end or to a moment in their midst.
//! Out:   what the session answers there, and what it reported on the way.
//! Never: opens a socket, or compares the dialogs themselves again: `tests/dialogs.rs` does.

#[path = "session/counts.rs"]
mod counts;
#[path = "session/envelopes.rs"]
mod envelopes;
#[path = "session/moments.rs"]
mod moments;
#[path = "session/news.rs"]
mod news;
#[path = "session/passages.rs"]
mod passages;
#[path = "session/recipients.rs"]
mod recipients;
#[path = "session/records.rs"]
mod records;
#[path = "session/refusals.rs"]
mod refusals;
#[allow(dead_code, unused_imports, reason = "each test crate uses its own part of it")]
mod script;
#[path = "session/shadows.rs"]
mod shadows;
#[path = "session/traces.rs"]
mod traces;
