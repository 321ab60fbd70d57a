//! The session.
pub mod io;
pub mod record;
pub mod route;
pub mod settings;
pub mod verdict;
