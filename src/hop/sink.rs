//! x
use std::io;
use std::path::Path;
use std::sync::Arc;
pub(super) fn open(_path: &Arc<Path>) -> io::Result<tokio::net::UnixStream> {
    Ok(tokio::net::UnixStream::pair()?.0)
}
