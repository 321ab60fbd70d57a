//! gatepost: a transparent SMTP proxy.

pub mod hop;
pub mod limits;
pub mod net;
