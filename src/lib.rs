//! gatepost: a transparent SMTP proxy.
pub mod config;
