//! gatepost: a transparent SMTP proxy.

pub mod admin;
pub mod config;
pub mod hop;
pub mod limits;
pub mod metrics;
pub mod net;
pub mod smtp;
