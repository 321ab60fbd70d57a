//! gatepost: a transparent SMTP proxy.
pub mod session;
pub mod smtp;
