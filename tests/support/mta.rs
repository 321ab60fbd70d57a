//! An MTA behind gatepost, whichever it is.
//!
//! In:    clients that come to its address.
//! Out:   when it is done with them, and what it has stored and taken down.
//! Never: says anything of its inside that a comparison does not need; each MTA has a file of its own for that.
//!
//! All of them serve one domain alike: `joe`, `ann`, `bob`, `sue`, `user01` to `user50` and a few more are mailboxes,
//! `busy` is refused with a 4xx, mail for `held` is kept in the queue for everybody to look at its envelope, and
//! whoever else is asked for is refused with a 5xx, as is any other domain.

use std::net::SocketAddr;

use super::maildir::Stored;

/// Who owns delivered mail; no account of that number need exist.
pub const MAIL_UID: u32 = 5000;

/// The mailboxes of every domain served here, besides `user01` to `user50`.
pub const MAILBOXES: [&str; 8] = ["joe", "ann", "bob", "sue", "legacy", "postmaster", "held", "sender"];

/// The names of all mailboxes.
pub fn mailboxes() -> impl Iterator<Item = String> {
    let numbered = (1..=50).map(|number| format!("user{number:02}"));
    MAILBOXES.iter().map(ToString::to_string).chain(numbered)
}

pub trait Mta {
    fn address(&self) -> SocketAddr;

    /// Waits until at least `sessions` clients have come, all have left, and all mail is delivered.
    fn settle(&self, sessions: usize);

    /// All mail delivered since the last call, normalised.
    fn take_stored(&self) -> Vec<Stored>;

    /// The envelope of the mail for `held` as the MTA took it down, which it then forgets: parameters of MAIL and
    /// RCPT in its own words, without what is of this run only.
    fn take_held(&self) -> String;
}
