//! gatepost: a transparent SMTP proxy.

pub mod cli;
pub mod config;
pub mod rules;
pub mod session;
pub mod smtp;
