//! gatepost: a transparent SMTP proxy.

pub mod cli;
pub mod config;
