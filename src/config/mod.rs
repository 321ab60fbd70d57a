//! The configuration: `proxy.yaml`, the environment, and what they mean.
//!
//! **In**: a file (or the one embedded in the binary) and variables `GATEPOST__A__B`. **Out**: a checked
//! [`Config`](types::Config), or every error at once, each with its line, column and key path.
//! **Never**: no sockets, no name resolution; a configuration that is not understood whole is not used at all.

pub mod rule;
pub mod types;
