//! Reproducible chance: splitmix64, small and good enough to wander through states.
//!
//! **In**: a seed. **Out**: numbers, the same for the same seed on every machine. **Never**: reads the system's randomness.

/// A generator.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// From a seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    /// One of them.
    pub fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// A generator of its own for somebody.
    pub fn fork(&mut self) -> Rng {
        Rng(self.next())
    }
}

/// A number that depends on everything given, for verdicts that must not depend on when they are asked.
pub fn hash(seed: u64, parts: &[&[u8]]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325 ^ seed;
    for octet in parts.iter().flat_map(|part| part.iter().chain(&[0xff])) {
        sum = (sum ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    }
    Rng::new(sum).next()
}
