//! The thin shell: sockets and what moves octets between them and the session.

pub mod stream;
