//! The pure folders stay pure: no sockets, files, threads, clocks or randomness in `smtp/`, `dialog/`,
//! `session/`, `proxy_protocol/`, `networks.rs`.
//!
//! Time comes into them as an argument, octets and failures as inputs; that is why they can be tested without a
//! network and simulated on a virtual clock. `std::time::Instant` as a value is allowed, asking for it is not;
//! `IpAddr` and `SocketAddr` are words of the protocol, the sockets beside them are not.

use std::fs;
use std::path::{Path, PathBuf};

const FOLDERS: [&str; 6] =
    ["src/smtp", "src/message", "src/dialog", "src/session", "src/proxy_protocol", "src/networks.rs"];

/// What must not stand there, and why.
const FORBIDDEN: [(&str, &str); 23] = [
    ("tokio", "a runtime"),
    ("async ", "a runtime"),
    (".await", "a runtime"),
    ("TcpStream", "a socket"),
    ("TcpListener", "a socket"),
    ("UdpSocket", "a socket"),
    ("ToSocketAddrs", "name resolution"),
    ("std::net::*", "whatever else is in there"),
    ("UnixStream", "a socket"),
    ("socket2", "a socket"),
    ("rustix", "the system"),
    ("std::fs", "a file"),
    ("std::io", "a file or a socket"),
    ("std::env", "the environment"),
    ("std::process", "the process"),
    ("std::thread", "a thread"),
    ("std::sync::mpsc", "a thread"),
    ("thread_local", "a thread"),
    ("Instant::now", "a clock"),
    ("SystemTime", "a clock"),
    ("rustls", "cryptography"),
    ("rand::", "randomness"),
    ("RandomState", "randomness"),
];

#[test]
fn no_world_in_the_pure_folders() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut files = 0;
    for folder in FOLDERS.map(|folder| root.join(folder)).iter().filter(|folder| folder.exists()) {
        for file in sources(folder) {
            files += 1;
            let text = fs::read_to_string(&file).unwrap();
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                for (word, what) in FORBIDDEN {
                    if holds(code, word) {
                        let name = file.strip_prefix(root).unwrap().display();
                        found.push(format!("{name}:{}: {word} ({what})", number + 1));
                    }
                }
            }
        }
    }
    assert!(files > 10, "only {files} files were read: has a folder moved?");
    // Tests within the folders need a point in time to count from; only theirs may ask for one.
    found.retain(|line| !(line.contains("Instant::now") && in_tests(root, line)));
    assert!(found.is_empty(), "not pure:\n{}", found.join("\n"));
}

/// Whether a line holds a word that does not go on behind it (`.awaiting` is no `.await`).
fn holds(code: &str, word: &str) -> bool {
    let goes_on = |rest: &str| {
        word.ends_with(|last: char| last.is_alphanumeric())
            && rest.starts_with(|next: char| next.is_alphanumeric() || next == '_')
    };
    let begins = |before: &str| {
        word.starts_with(|first: char| first.is_alphanumeric())
            && before.ends_with(|last: char| last.is_alphanumeric() || last == '_')
    };
    code.match_indices(word).any(|(at, _)| !goes_on(&code[at + word.len()..]) && !begins(&code[..at]))
}

/// Whether a finding stands in a file of tests or behind a file's `#[cfg(test)]`.
fn in_tests(root: &Path, finding: &str) -> bool {
    let mut parts = finding.split(':');
    let (Some(file), Some(Ok(number))) = (parts.next(), parts.next().map(str::parse::<usize>)) else {
        return false;
    };
    let text = fs::read_to_string(root.join(file)).unwrap();
    let from = text.lines().position(|line| line.contains("#[cfg(test)]"));
    file.contains("tests") || from.is_some_and(|from| from < number)
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    if folder.is_file() {
        return vec![folder.to_owned()];
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
    files
}
