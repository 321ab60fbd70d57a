//! gatepost: a transparent SMTP proxy.

pub mod cli;
pub mod config;
pub mod dialog;
pub mod rules;
pub mod session;
pub mod smtp;
