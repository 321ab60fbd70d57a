//! What a session is bent on: a few inclinations, each drawn by itself, so that what must come together for a fault does
//! so in every few hundred sessions and not in every hundred thousand.
//!
//! **In**: the seed's generator. **Out**: [`Bent`], which client, rules and hops look at. **Never**: makes anything
//! happen that could not happen without it.

use super::rng::Rng;

/// The inclinations of one session. Most sessions have one or two.
#[derive(Clone, Copy, Debug)]
pub struct Bent {
    /// Nothing goes wrong with hops: sessions go deep.
    pub fair: bool,
    /// EHLO in the midst of transactions and between chunks; rules and hops that refuse it.
    pub hellos: bool,
    /// Rules that lead transactions and recipients away, and home.
    pub ways: bool,
    /// Hops that leave when nobody wants anything of them.
    pub restless: bool,
    /// Clients that say all at once, to hops that refuse MAIL or RCPT and still ask for content.
    pub groups: bool,
    /// The client goes in the midst.
    pub fleeting: bool,
    /// Content in chunks.
    pub chunks: bool,
}

impl Bent {
    pub fn draw(rng: &mut Rng) -> Bent {
        Bent {
            fair: rng.percent(55),
            hellos: rng.percent(20),
            ways: rng.percent(20),
            restless: rng.percent(20),
            groups: rng.percent(12),
            fleeting: rng.percent(12),
            chunks: rng.percent(20),
        }
    }
}
