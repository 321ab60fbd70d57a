//! gatepost: a transparent SMTP proxy.

pub mod dialog;
pub mod session;
pub mod smtp;
