//! The message that is asked about.
//!
//! **In**: a file. **Out**: the message as it would come, and what reads it. **Never**: changes a line but its end.

use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use crate::callout::Content;
use crate::message::Scan;
use crate::spool::Kept;

/// Reads it.
pub(super) fn read(file: &Path) -> io::Result<Content> {
    let octets = with_crlf(&fs::read(file)?);
    let mut scan = Scan::structured();
    scan.take(&octets);
    Ok(Content { draft: Arc::new(scan.finish()).draft(), kept: Kept::of_memory(octets) })
}

/// Whoever sends a file ends its lines so.
fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let lines = octets.split_inclusive(|octet| *octet == b'\n');
    lines
        .flat_map(|line| match line.strip_suffix(b"\n") {
            Some(text) => [text.strip_suffix(b"\r").unwrap_or(text), b"\r\n"],
            None => [line, b"\r\n"],
        })
        .flatten()
        .copied()
        .collect()
}
