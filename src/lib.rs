//! gatepost: a transparent SMTP proxy.

pub mod admin;
pub mod ask;
pub mod callout;
pub mod check;
pub mod cli;
pub mod config;
pub mod dialog;
pub mod health;
pub mod hop;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod net;
pub mod networks;
pub mod prepare;
pub mod privileges;
pub mod proxy_protocol;
pub mod rules;
pub mod run;
pub mod session;
pub mod show;
pub mod smtp;
pub mod stream;
pub mod stress;
pub mod systemd;
pub mod tls;
