//! Stores one message into a Maildir.
//!
//! In:    the message's octets as they arrive; [`Delivery::commit`] when all of them are there.
//! Out:   a file in `new/` that holds exactly these octets, on disk with all directories it made before `commit`
//!        returns; those are its owner's only.
//! Never: adds or changes an octet, leaves an unfinished message in `new/` or a given-up one in `tmp/`, or blocks
//!        the worker: files are touched on the blocking pool only, in blocks of [`BLOCK`].
//!
//! A message that fits one block costs one trip to the pool. Names are `time.MmicrosPpidQcount.host`, after
//! Bernstein's "Using maildir format"; the directories are made when they are missed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

/// Octets gathered before they are written.
pub(super) const BLOCK: usize = 128 * 1024;

/// Messages this process has named.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// A message on its way into the Maildir; dropped before [`commit`](Self::commit) it leaves nothing.
#[derive(Debug)]
pub(super) struct Delivery {
    place: Place,
    file: Option<File>,
    buffer: Vec<u8>,
    /// Whether there may be a file in `tmp/` that is still ours to remove.
    unfinished: bool,
}

/// Where a message is, and will be.
#[derive(Clone, Debug)]
struct Place {
    maildir: Arc<Path>,
    name: String,
    tmp: PathBuf,
    new: PathBuf,
}

impl Delivery {
    /// A message for `maildir`; no file is made yet.
    pub(super) fn new(maildir: &Arc<Path>) -> Self {
        let name = unique_name();
        let tmp = maildir.join("tmp").join(&name);
        let new = maildir.join("new").join(&name);
        let place = Place { maildir: maildir.clone(), name, tmp, new };
        Self { place, file: None, buffer: Vec::new(), unfinished: false }
    }

    /// Takes the next octets.
    pub(super) fn append(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Whether there is a block to write; until then `append` is all there is to do.
    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() >= BLOCK
    }

    /// Writes what was gathered.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let (place, file) = (self.place.clone(), self.file.take());
        let mut buffer = std::mem::take(&mut self.buffer);
        self.unfinished = true;
        let written = on_pool(move || {
            let mut file = file.map_or_else(|| place.create(), Ok)?;
            file.write_all(&buffer)?;
            buffer.clear();
            Ok((file, buffer))
        });
        let (file, buffer) = written.await?;
        self.file = Some(file);
        self.buffer = buffer;
        Ok(())
    }

    /// Brings the message to disk and into `new/`; returns the file's name.
    pub(super) async fn commit(mut self) -> io::Result<String> {
        let (place, file) = (self.place.clone(), self.file.take());
        let buffer = std::mem::take(&mut self.buffer);
        self.unfinished = true;
        let stored = on_pool(move || {
            let mut file = file.map_or_else(|| place.create(), Ok)?;
            file.write_all(&buffer)?;
            file.sync_all()?;
            place.publish()
        });
        stored.await?;
        self.unfinished = false;
        Ok(std::mem::take(&mut self.place.name))
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.unfinished {
            return;
        }
        let tmp = std::mem::take(&mut self.place.tmp);
        let remove = move || {
            // If it is gone already, or the disk refuses this too, there is nothing left to do.
            let _ = fs::remove_file(tmp);
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// Makes a directory that nobody else may enter, with those above it that are missing, for good: what is in a directory
/// that a power cut takes back was not stored. One that somebody else has just made may not be on disk yet.
fn make(directory: &Path) -> io::Result<()> {
    let above = directory.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let make_one = || match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        made => made,
    };
    match make_one() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && above != directory => {
            make(above)?;
            make_one()?;
        }
        made => made?,
    }
    sync(above)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

impl Place {
    /// Makes the file in `tmp/`, and the Maildir if it is missed.
    fn create(&self) -> io::Result<File> {
        let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.tmp);
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                for directory in ["tmp", "new", "cur"] {
                    make(&self.maildir.join(directory))?;
                }
                open()
            }
            opened => opened,
        }
    }

    /// Moves the file into `new/`, for good: the directory is synced, too, and a message that could not be made
    /// safe is taken back.
    fn publish(&self) -> io::Result<()> {
        fs::rename(&self.tmp, &self.new)?;
        let synced = sync(&self.maildir.join("new"));
        if synced.is_err() {
            fs::remove_file(&self.new)?;
        }
        synced
    }
}

async fn on_pool<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|gone| Err(io::Error::other(gone)))
}

fn unique_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, micros) = (now.as_secs(), now.subsec_micros());
    let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Relaxed));
    let system = rustix::system::uname();
    // A file name holds no slash, and a Maildir reader takes what is behind a colon for flags.
    let host = system.nodename().to_string_lossy().replace('/', "\\057").replace(':', "\\072");
    format!("{seconds}.M{micros}P{pid}Q{count}.{host}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn files(maildir: &Path, directory: &str) -> Vec<PathBuf> {
        fs::read_dir(maildir.join(directory)).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn maildir() -> (tempfile::TempDir, Arc<Path>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mail").into();
        (directory, path)
    }

    #[tokio::test]
    async fn a_message_is_in_new_when_committed_and_only_there() {
        let (_directory, path) = maildir();
        let mut delivery = Delivery::new(&path);
        delivery.append(b"one\r\n");
        delivery.commit().await.unwrap();
        let mut delivery = Delivery::new(&path);
        delivery.append(&vec![b'x'; BLOCK]);
        assert!(delivery.is_full());
        delivery.flush().await.unwrap();
        assert_eq!((files(&path, "tmp").len(), files(&path, "new").len()), (1, 1));
        delivery.append(b"end");
        delivery.commit().await.unwrap();
        let mut lengths: Vec<_> = files(&path, "new").iter().map(|f| fs::read(f).unwrap().len()).collect();
        lengths.sort_unstable();
        assert_eq!(lengths, [5, BLOCK + 3]);
        assert!(files(&path, "tmp").is_empty() && files(&path, "cur").is_empty());
    }

    #[tokio::test]
    async fn the_directories_are_their_owners_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er/mail");
        let mut delivery = Delivery::new(&path.clone().into());
        delivery.append(b"text");
        delivery.commit().await.unwrap();
        let new = path.join("new");
        for made in new.ancestors().take(4) {
            assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700, "{}", made.display());
        }
        make(&new).unwrap();
        assert!(make(&files(&path, "new")[0]).is_err(), "a file stands there");
    }

    #[test]
    fn a_given_up_message_leaves_nothing() {
        let (_directory, path) = maildir();
        // With one thread the blocking pool takes its work in order.
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let mut delivery = Delivery::new(&path);
            delivery.append(b"half");
            delivery.flush().await.unwrap();
            assert_eq!(files(&path, "tmp").len(), 1);
            drop(delivery);
            spawn_blocking(|| {}).await.unwrap();
        });
        assert!(files(&path, "tmp").is_empty() && files(&path, "new").is_empty());
    }

    #[tokio::test]
    async fn what_cannot_be_stored_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("mail");
        fs::write(&file, b"a file where the directory should be").unwrap();
        let mut delivery = Delivery::new(&file.into());
        delivery.append(b"text");
        assert!(delivery.commit().await.is_err());
    }

    #[test]
    fn names_are_unique() {
        assert_ne!(unique_name(), unique_name());
        assert!(!unique_name().contains(['/', ':']));
    }
}
