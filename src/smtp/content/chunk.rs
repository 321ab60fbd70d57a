//! Counts the octets of one BDAT chunk.
//!
//! In:    the announced size; how many octets are there.
//! Out:   how many of them belong to the chunk.
//! Never: looks at an octet: chunks are counted, not scanned.
//!
//! RFC 3030 section 2.

/// The octets of a chunk that are still to come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ChunkCounter {
    remaining: u64,
}

impl ChunkCounter {
    /// A chunk of this many octets.
    pub fn new(size: u64) -> Self {
        Self { remaining: size }
    }

    /// Takes what belongs to the chunk of this many octets at hand, and says how many that is.
    pub fn take(&mut self, available: usize) -> usize {
        let taken = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(available);
        self.remaining -= taken as u64;
        taken
    }

    /// How many octets are still to come.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Whether the chunk is complete.
    pub fn is_done(&self) -> bool {
        self.remaining == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_to_the_end_and_no_further() {
        for size in [0u64, 1, 5, 70_000] {
            for step in [1usize, 3, 4096, usize::MAX] {
                let mut chunk = ChunkCounter::new(size);
                let mut total = 0;
                while !chunk.is_done() {
                    total += chunk.take(step) as u64;
                }
                assert_eq!((total, chunk.remaining(), chunk.take(9)), (size, 0, 0));
            }
        }
        assert_eq!(ChunkCounter::new(u64::MAX).take(10), 10);
    }
}
