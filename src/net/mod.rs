//! The thin shell: sockets and what moves octets between them and the session.
//!
//! A worker is one thread with its own listeners, buffers and sessions; a session never leaves it. Each session is
//! one task with one hand-written turn ([`drive`]): read whoever is wanted and readable, hand the octets to the
//! session, carry out what it wants, write each peer once.

mod ask;
pub mod buffers;
pub mod drive;
pub mod intercept;
mod link;
pub mod listen;
mod prelude;
pub mod share;
mod slots;
pub mod worker;
