//! Messages that others wrote, or broke, to test what reads them.
//!
//! In:    what `.ci/install-peers` has fetched.
//! Out:   each message once, whatever is in it, with a name to find it by; the same with CRLF at the end of lines.
//! Never: leaves one out because of what it is.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use super::expected::lines;
use crate::support::peers::{CORPORA, found};

/// Keys, tables and the like beside the messages.
const OTHERS: [&str; 7] = ["json", "key", "private", "dns", "bmp", "upd", "out"];

/// What the names of those end with that are not as they lie there.
pub const WITH_CRLF: &str = " with CRLF";

pub struct Message {
    pub name: String,
    pub octets: Vec<u8>,
}

impl Message {
    /// Whether it begins as one: by a field, or by the line that parts messages in a file of them.
    pub fn has_header(&self) -> bool {
        let line = self.octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
        let name = line.split(|octet| *octet == b':').next().unwrap_or_default().trim_ascii_end();
        line.starts_with(b"From ")
            || line.contains(&b':') && !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
    }
}

/// All of them: as they lie there, and with CRLF at the end of lines where that is something else.
pub fn messages() -> &'static [Message] {
    static ALL: OnceLock<Vec<Message>> = OnceLock::new();
    ALL.get_or_init(read)
}

fn read() -> Vec<Message> {
    let corpora = found(CORPORA).ancestors().find(|path| path.ends_with("corpora")).unwrap().to_owned();
    let mut files = Vec::new();
    collect(&corpora, &corpora, &mut files);
    files.sort_by(|one, other| one.name.cmp(&other.name));
    let with_crlf: Vec<_> = files.iter().map(with_crlf).collect();
    let mut seen = HashSet::new();
    let all = files.into_iter().chain(with_crlf);
    all.filter(|message| seen.insert(message.octets.clone())).collect()
}

fn collect(base: &Path, dir: &Path, messages: &mut Vec<Message>) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            collect(base, &entry, messages);
            continue;
        }
        let extension = entry.extension().unwrap_or_default().to_string_lossy();
        let is_other =
            OTHERS.contains(&&*extension) || entry.ends_with("COPYING") || entry.ends_with("README");
        if is_other {
            continue;
        }
        let name = entry.strip_prefix(base).unwrap().display().to_string();
        let octets = fs::read(&entry).unwrap();
        if extension == "mbx" {
            let parts = parted(&octets).into_iter().enumerate();
            messages.extend(
                parts.map(|(number, part)| Message {
                    name: format!("{name}:{number}"),
                    octets: part.to_vec(),
                }),
            );
        } else {
            messages.push(Message { name, octets });
        }
    }
}

/// The messages of a file of them, each with the line before it (RFC 4155).
fn parted(octets: &[u8]) -> Vec<&[u8]> {
    let mut starts: Vec<usize> = memchr::memmem::find_iter(octets, b"\n\nFrom ").map(|at| at + 2).collect();
    starts.insert(0, 0);
    starts.push(octets.len());
    starts.windows(2).map(|ends| &octets[ends[0]..ends[1]]).collect()
}

fn with_crlf(message: &Message) -> Message {
    let mut octets = Vec::with_capacity(message.octets.len());
    for line in lines(&message.octets) {
        match line.strip_suffix(b"\n") {
            Some(text) if !text.ends_with(b"\r") => octets.extend_from_slice(&[text, b"\r\n"].concat()),
            _ => octets.extend_from_slice(line),
        }
    }
    Message { name: format!("{}{WITH_CRLF}", message.name), octets }
}
