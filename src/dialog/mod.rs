//! One SMTP conversation seen from one end: [`Downstream`], where gatepost is the server, and [`Upstream`], where
//! it is the client. Pure: octets in, events out.

mod downstream;
mod limits;
mod tx;
mod upstream;

pub use downstream::{Downstream, Next};
pub use limits::{Limits, Timeouts};
pub use tx::Tx;
pub use upstream::{Expect, Heard, Say, Upstream};
