//! A message that is kept, to be read by whoever is asked about it.
//!
//! In:    a range of its octets. **Out**: those, or why they cannot be had.
//! Never: changes; blocks the worker for a disk; outlives the last who may read it: its file has no name.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tokio::task::spawn_blocking;

/// All of a message.
#[derive(Clone, Debug)]
pub struct Kept(Place);

#[derive(Clone, Debug)]
enum Place {
    Memory(Arc<Vec<u8>>),
    File(Arc<File>),
}

impl Kept {
    /// One in memory.
    pub fn of_memory(octets: Vec<u8>) -> Kept {
        Kept(Place::Memory(Arc::new(octets)))
    }

    /// One in a file.
    pub fn of_file(file: Arc<File>) -> Kept {
        Kept(Place::File(file))
    }

    /// Reads a part of it.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or there are no such octets.
    pub async fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        match self.read_now(range) {
            Ok(octets) => octets,
            Err(reading) => spawn_blocking(reading).await.map_err(io::Error::other).flatten(),
        }
    }

    /// The same from memory; from a file: what reads it, and may block.
    pub(super) fn read_now(
        &self,
        range: Range<u64>,
    ) -> Result<io::Result<Vec<u8>>, impl FnOnce() -> io::Result<Vec<u8>> + Send + use<>> {
        match &self.0 {
            Place::Memory(octets) => {
                let within = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
                let part = within.and_then(|(start, end)| octets.get(start..end));
                Ok(part.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into()))
            }
            Place::File(file) => {
                let file = Arc::clone(file);
                Err(move || {
                    let length = range.end.saturating_sub(range.start);
                    let mut octets = vec![0; usize::try_from(length).map_err(io::Error::other)?];
                    file.read_exact_at(&mut octets, range.start)?;
                    Ok(octets)
                })
            }
        }
    }
}
