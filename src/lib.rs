//! gatepost: a transparent SMTP proxy.
