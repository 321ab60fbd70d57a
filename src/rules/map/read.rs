//! The file of a map: one recipient or domain a line, and what becomes of it.
//!
//! **In**: octets of a file, whoever wrote it; the pools by name.
//! **Out**: a [`Map`], or everything that is wrong, each with its line and with what would be right.
//! **Never**: takes half a file; holds more than one line besides the map; guesses what a line may have meant.
//!
//! ```text
//! # recipient or domain    what becomes of it
//! joe@example.com          joseph@example.net
//! @old.example             @new.example
//! .branch.example.com      upstream:branch
//! ann@example.com          ann@store.example upstream:branch
//! ```
//!
//! Keys and values are those of Postfix's virtual(5) and transport(5) tables where those have a meaning here. A quoted
//! local part may hold spaces (RFC 5321 section 4.1.2).

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path as FilePath, PathBuf};

use super::{Map, NO_POOL};
use crate::config::{shown, suggestion};
use crate::session::route::PoolId;
use crate::smtp::{Canonical, Path, canonical_domain};

/// The pools: their names, in the order of their numbers.
pub type Pools<'p> = &'p [&'p str];

/// Octets of a line, without its end.
const LONGEST_LINE: usize = 1000;

/// Octets of a file: ten million lines fit.
const LARGEST_FILE: u64 = 1 << 30;

/// Errors that are told one by one; the others are counted.
const MOST_TOLD: usize = 100;

/// What is wrong with a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapError {
    /// Its file.
    pub file: PathBuf,
    /// The line, from 1; 0 means the file as a whole.
    pub line: usize,
    /// What.
    pub problem: String,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        write!(f, " {}", self.problem)
    }
}

impl std::error::Error for MapError {}

/// Reads a file.
pub(super) fn file(name: &FilePath, pools: Pools<'_>) -> Result<Map, Vec<MapError>> {
    let wrong = |problem: String| vec![MapError { file: name.to_owned(), line: 0, problem }];
    let (file, size) = open(name).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if size > LARGEST_FILE {
        return Err(wrong("larger than 1GiB".to_owned()));
    }
    let mut reading = Reading::new(pools);
    // The text, and what stands before each entry: about right, and given back where it is too much.
    reading.map.arena.reserve(usize::try_from(size + size / 4).unwrap_or_default());
    match reading.lines(BufReader::new(file.take(LARGEST_FILE))) {
        Ok(()) => reading.end(name),
        Err(error) => Err(wrong(format!("cannot be read: {error}"))),
    }
}

pub(super) fn open(name: &FilePath) -> io::Result<(File, u64)> {
    // To open a pipe would wait for whoever writes it.
    if !std::fs::metadata(name)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let file = File::open(name)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// A file as far as it was read.
pub(super) struct Reading<'p> {
    pools: Pools<'p>,
    map: Map,
    /// Where in the map the entry of each line begins, ascending.
    entries: Vec<(u32, u32)>,
    line: usize,
    errors: Vec<(usize, String)>,
    more: usize,
}

impl<'p> Reading<'p> {
    pub(super) fn new(pools: Pools<'p>) -> Self {
        Self { pools, map: Map::default(), entries: Vec::new(), line: 0, errors: Vec::new(), more: 0 }
    }

    /// Takes all lines there are.
    pub(super) fn lines(&mut self, mut from: impl BufRead) -> io::Result<()> {
        let mut octets = Vec::new();
        loop {
            octets.clear();
            // One more than the longest, and its CRLF.
            let most = LONGEST_LINE as u64 + 3;
            if from.by_ref().take(most).read_until(b'\n', &mut octets)? == 0 {
                return Ok(());
            }
            self.line += 1;
            let whole = octets.ends_with(b"\n");
            let line = octets.strip_suffix(b"\n").unwrap_or(&octets);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.len() > LONGEST_LINE {
                self.wrong(format!("longer than {LONGEST_LINE} octets"));
                if !whole {
                    from.skip_until(b'\n')?;
                }
                continue;
            }
            match str::from_utf8(line) {
                Ok(line) if self.line == 1 => self.take(line.strip_prefix('\u{feff}').unwrap_or(line)),
                Ok(line) => self.take(line),
                Err(_) => self.wrong("not UTF-8".to_owned()),
            }
        }
    }

    /// The map, or all that is wrong with it.
    pub(super) fn end(mut self, name: &FilePath) -> Result<Map, Vec<MapError>> {
        if self.errors.is_empty() {
            self.map.settle();
            return Ok(self.map);
        }
        if self.more > 0 {
            self.errors.push((0, format!("and {} more errors", self.more)));
        }
        let error = |(line, problem)| MapError { file: name.to_owned(), line, problem };
        Err(self.errors.into_iter().map(error).collect())
    }

    fn wrong(&mut self, problem: String) {
        if self.errors.len() < MOST_TOLD {
            self.errors.push((self.line, problem));
        } else {
            self.more += 1;
        }
    }

    fn take(&mut self, line: &str) {
        if let Err(problem) = self.entry(line) {
            self.wrong(problem);
        }
    }

    fn entry(&mut self, line: &str) -> Result<(), String> {
        let inner = line.trim_ascii();
        if inner.is_empty() || inner.starts_with('#') {
            return Ok(());
        }
        if line.starts_with([' ', '\t']) {
            return Err("begins with white space: a line cannot be continued, write it as one".to_owned());
        }
        let mut words = Words(inner);
        let written = words.next().unwrap_or_default();
        let key = key(written)?;
        let (mut value, mut pool) = (None, None);
        for word in words {
            match word.strip_prefix("upstream:") {
                Some(name) if pool.is_none() => pool = Some(self.pool(name)?),
                None if value.is_none() => value = Some(address(word)?),
                _ => {
                    return Err(format!(
                        "{} is too much: a recipient becomes one address, at one upstream",
                        shown(word)
                    ));
                }
            }
        }
        if value.is_none() && pool.is_none() {
            return Err(format!(
                "nothing stands behind {}; write an address, @domain or upstream:NAME",
                shown(written)
            ));
        }
        let at = self.map.arena.len() as u32;
        match self.map.add(&key, value.unwrap_or_default().as_bytes(), pool) {
            Ok(()) => {
                // Nothing was added where the same stood there already.
                if self.map.arena.len() > at as usize {
                    self.entries.push((at, u32::try_from(self.line).unwrap_or(u32::MAX)));
                }
                Ok(())
            }
            Err(other) => {
                let place = self.entries.partition_point(|(at, _)| *at < other);
                let line = self.entries.get(place).map_or(0, |(_, line)| *line);
                Err(format!("{} stands at line {line} already, and there it becomes another", shown(written)))
            }
        }
    }

    fn pool(&self, name: &str) -> Result<PoolId, String> {
        let found = self.pools.iter().position(|known| *known == name);
        let number = found.and_then(|at| u16::try_from(at).ok()).filter(|number| *number != NO_POOL);
        number.map(PoolId).ok_or_else(|| {
            let mut near = suggestion(name, self.pools.iter().copied());
            if near.is_empty() {
                near = format!(
                    "; known: {}",
                    self.pools.iter().take(10).copied().collect::<Vec<_>>().join(", ")
                );
            }
            format!("no upstream is called {}{near}", shown(name))
        })
    }
}

/// What a key means: an address, `@` and a domain, or a dot and the domain that is above.
fn key(written: &str) -> Result<String, String> {
    let no_address = || format!("{} is no address", shown(written));
    let domain =
        |name: &str| is_domain(name).then(|| canonical_domain(name.as_bytes())).ok_or_else(no_address);
    if written.contains('*') && !written.contains('"') {
        return Err(format!(
            "{} is a pattern; write @example.com for a domain, .example.com for all below it",
            shown(written)
        ));
    }
    if let Some(name) = written.strip_prefix('@') {
        return Ok(format!("@{}", domain(name)?));
    }
    let literal = written.starts_with('[');
    if !written.contains('@') && !literal {
        if let Some(name) = written.strip_prefix('.') {
            return Ok(format!(".{}", domain(name)?));
        }
        if written.contains('.') && !written.contains('"') {
            return Ok(format!("@{}", domain(written)?));
        }
        if !written.eq_ignore_ascii_case("postmaster") {
            let name = shown(written);
            return Err(format!(
                "{name} has no domain; write joe@example.com, or @ before the name of a domain"
            ));
        }
    }
    if literal {
        return Ok(format!("@{}", domain(written)?));
    }
    match Canonical::parse(written) {
        // An empty local part would be its domain's own key.
        Ok(address) if !address.local().is_empty() => Ok(address.as_str().to_owned()),
        _ => Err(no_address()),
    }
}

/// What a recipient may become: an address as it is to be sent, or `@domain`.
fn address(written: &str) -> Result<&str, String> {
    let inner = written.strip_prefix('<').and_then(|inner| inner.strip_suffix('>')).unwrap_or(written);
    if let Some(name) = inner.strip_prefix('@')
        && is_domain(name)
    {
        return Ok(inner);
    }
    let path = Path::parse(inner.as_bytes()).ok().filter(|path| !inner.starts_with('@') && !path.is_null());
    match path {
        Some(path) if path.domain().is_some() || inner.eq_ignore_ascii_case("postmaster") => Ok(inner),
        Some(_) if !inner.contains(':') => Err(format!("{} has no domain", shown(written))),
        _ => Err(format!("expected an address, @domain or upstream:NAME, found {}", shown(written))),
    }
}

fn is_domain(name: &str) -> bool {
    !name.starts_with('.') && Path::parse(format!("x@{name}").as_bytes()).is_ok()
}

/// Words between white space, of which quotes may hold some.
struct Words<'l>(&'l str);

impl<'l> Iterator for Words<'l> {
    type Item = &'l str;

    fn next(&mut self) -> Option<&'l str> {
        let line = self.0.trim_ascii_start();
        let (mut quoted, mut escaped) = (false, false);
        let white = |c: char| matches!(c, ' ' | '\t');
        let end = line.find(|c: char| {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = quoted,
                '"' => quoted = !quoted,
                c => return white(c) && !quoted,
            }
            false
        });
        let (word, rest) = line.split_at(end.unwrap_or(line.len()));
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }
}
