//! Mail as an MTA has stored it.
//!
//! In:    a directory that holds one Maildir for each mailbox.
//! Out:   every message with its mailbox, in a form that two runs can be compared in: queue ids and the time in
//!        trace fields are replaced by a word, all else is octet for octet.
//! Never: touches the body. Normalising ends at the first empty line.
//!
//! RFC 5321 4.4 (trace information).

use std::fs;
use std::path::Path;

/// One stored message.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    pub mailbox: String,
    pub octets: Vec<u8>,
}

impl Stored {
    /// What stands behind the first empty line.
    pub fn body(&self) -> &[u8] {
        split(&self.octets).1
    }

    /// Whether a header line begins so.
    pub fn has_line(&self, start: &str) -> bool {
        String::from_utf8_lossy(split(&self.octets).0).lines().any(|line| line.starts_with(start))
    }
}

impl std::fmt::Debug for Stored {
    /// The head, and how long the body is: a failed comparison of 20 MiB must stay readable.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (head, body) = split(&self.octets);
        let sum = body.iter().fold(0_u64, |sum, &octet| sum.wrapping_mul(31).wrapping_add(octet.into()));
        writeln!(f, "{} (body {} octets, sum {sum:016x}):", self.mailbox, body.len())?;
        f.write_str(&String::from_utf8_lossy(head))?;
        f.write_str(&String::from_utf8_lossy(&body[..body.len().min(2000)]))
    }
}

/// All messages below `base`, sorted, as they are.
pub fn read_raw(base: &Path) -> Vec<Stored> {
    let mut all = Vec::new();
    for mailbox in entries(base) {
        for message in entries(&mailbox.join("new")) {
            let name = mailbox.file_name().unwrap_or_default().to_string_lossy().into_owned();
            all.push(Stored { mailbox: name, octets: fs::read(message).unwrap() });
        }
    }
    all.sort();
    all
}

/// Reads all messages below `base` and removes them, sorted and normalised.
pub fn take(base: &Path) -> Vec<Stored> {
    let mut all = read_raw(base);
    for stored in &mut all {
        stored.octets = normalised(&stored.octets);
    }
    for mailbox in entries(base) {
        fs::remove_dir_all(mailbox).unwrap();
    }
    all.sort();
    all
}

fn entries(dir: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(dir).map(|found| found.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}

fn split(octets: &[u8]) -> (&[u8], &[u8]) {
    match octets.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => octets.split_at(at + 2),
        None => (octets, b""),
    }
}

/// In each Received field the `id …` word and the date behind `;` differ from run to run; nothing else may.
fn normalised(octets: &[u8]) -> Vec<u8> {
    let (head, body) = split(octets);
    let head =
        String::from_utf8(head.to_vec()).unwrap_or_else(|_| String::from_utf8_lossy(head).into_owned());
    let mut out = String::with_capacity(head.len());
    let mut in_trace = false;
    for line in head.split_inclusive('\n') {
        if !line.starts_with([' ', '\t']) {
            in_trace = line.starts_with("Received:");
        }
        if in_trace { out.push_str(&normalised_trace(line)) } else { out.push_str(line) }
    }
    let mut whole = out.into_bytes();
    whole.extend_from_slice(body);
    whole
}

fn normalised_trace(line: &str) -> String {
    let mut line = line.to_owned();
    let id = line.find(" id ").or_else(|| line.find("\tid "));
    if let Some(start) = id.map(|at| at + 4) {
        let end = line[start..].find([' ', ';', '\n']).map_or(line.len(), |length| start + length);
        line.replace_range(start..end, "ID");
    }
    // The date stands behind the semicolon, or on a line of its own: `Sat, 21 Nov 2026 22:41:20 +0000 (UTC)`.
    if let Some(at) = line.find("; ") {
        line.replace_range(at + 2.., "DATE\n");
    } else if line.contains(" +0000 (")
        || line.contains(':') && line.trim_start().as_bytes().get(3) == Some(&b',')
    {
        line = "\tDATE\n".to_owned();
    }
    line
}
