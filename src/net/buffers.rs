//! Receive buffers, and the pool they come from.
//!
//! In:    a socket is readable: take a buffer. What the session did not take stays in it for the next turn.
//! Out:   nothing held when nothing is left; a short rest is moved into a box of its own size.
//! Never: grows beyond its bound, or is zeroed twice: a pooled buffer is initialised once.

/// The size of a pooled buffer.
pub const SIZE: usize = 32 << 10;

/// How many buffers a worker keeps for the next turn.
const KEPT: usize = 64;

/// A rest of at most this is copied out, so that the buffer can go back.
const SHORT: usize = 4 << 10;

/// A worker's spare buffers.
#[derive(Default, Debug)]
pub struct Pool(Vec<Vec<u8>>);

impl Pool {
    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_else(|| vec![0; SIZE])
    }

    fn give(&mut self, buffer: Vec<u8>) {
        if buffer.len() == SIZE && self.0.len() < KEPT {
            self.0.push(buffer);
        }
    }
}

/// What a peer sent and the session has not taken.
#[derive(Default, Debug)]
pub struct Rx {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Rx {
    /// Room to read into, behind what is there. The buffer may grow to `most` octets where a reply does not fit a
    /// pooled one.
    pub fn room(&mut self, pool: &mut Pool, most: usize) -> &mut [u8] {
        self.make_room(pool, most);
        &mut self.buffer[self.end..]
    }

    /// So many octets of that room were filled.
    pub fn filled(&mut self, read: usize) {
        self.end += read;
    }

    /// Whether another read could add anything.
    pub fn has_room(&self, most: usize) -> bool {
        self.end - self.start < most.max(SIZE)
    }

    /// What is there.
    pub fn octets(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The whole buffer: what ranges of received content refer to.
    pub fn whole(&self) -> &[u8] {
        &self.buffer
    }

    /// Where in it [`Rx::octets`] begins.
    pub fn start(&self) -> usize {
        self.start
    }

    /// The session has taken this much from the front.
    pub fn take(&mut self, taken: usize) {
        self.start = (self.start + taken).min(self.end);
    }

    /// Nobody wants what is there.
    pub fn drop_all(&mut self) {
        self.start = self.end;
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The turn is over and nothing refers to the buffer: it goes back.
    pub fn settle(&mut self, pool: &mut Pool) {
        let rest = self.end - self.start;
        if self.buffer.is_empty() || (rest > SHORT && self.buffer.len() == SIZE) || rest == self.buffer.len()
        {
            return;
        }
        let rest = self.octets().to_vec();
        pool.give(std::mem::take(&mut self.buffer));
        (self.start, self.end) = (0, rest.len());
        self.buffer = rest;
    }

    fn make_room(&mut self, pool: &mut Pool, most: usize) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.buffer.len() < SIZE {
            let mut buffer = pool.take();
            let rest = self.end - self.start;
            buffer[..rest].copy_from_slice(self.octets());
            self.buffer = buffer;
            (self.start, self.end) = (0, rest);
        } else if self.end == self.buffer.len() {
            let rest = self.end - self.start;
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, rest);
            if rest == self.buffer.len() && rest < most {
                self.buffer.resize((2 * rest).min(most), 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_rest_holds_nothing() {
        let mut pool = Pool::default();
        let mut rx = Rx { buffer: pool.take(), start: 5, end: 5 };
        rx.settle(&mut pool);
        assert_eq!((rx.buffer.capacity(), pool.0.len()), (0, 1));
    }

    #[test]
    fn a_short_rest_is_kept_in_its_own_size() {
        let mut pool = Pool::default();
        let mut rx = Rx { buffer: pool.take(), start: 5, end: 9 };
        rx.buffer[5..9].copy_from_slice(b"NOOP");
        rx.settle(&mut pool);
        assert_eq!((rx.octets(), rx.buffer.capacity(), pool.0.len()), (&b"NOOP"[..], 4, 1));
    }

    #[test]
    fn a_full_buffer_grows_to_its_bound_and_no_further() {
        let mut pool = Pool::default();
        let mut rx = Rx { buffer: pool.take(), start: 0, end: SIZE };
        rx.make_room(&mut pool, SIZE + 10);
        assert_eq!(rx.buffer.len(), SIZE + 10);
        rx.end = SIZE + 10;
        assert!(!rx.has_room(SIZE + 10));
    }
}
