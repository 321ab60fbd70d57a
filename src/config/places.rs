//! Where each key was written: from a key path to a place in the file, or to a variable of the environment.
//!
//! **In**: the marks of the file, the variables by the keys they set, the files that were named.
//! **Out**: a [`Problem`] that can be found, for whoever finds one: the decoders, and those who come behind them with what
//! only files, DNS or the kernel can tell.
//! **Never**: knows what a key means.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::error::{Place, Problem};
use super::rule::Mark;
use super::yaml::Marks;

/// Where everything was written.
#[derive(Debug, Default)]
pub struct Places {
    /// The file's name as given.
    pub(super) file: String,
    /// Marks of the file by key path.
    pub(super) marks: HashMap<String, Marks>,
    /// Variables by key path.
    pub(super) variables: BTreeMap<String, String>,
}

impl Places {
    /// What is wrong with the value at a key path, such as `listeners[0].address`.
    pub fn problem(&self, key: &str, text: impl Into<String>) -> Problem {
        self.at(key, false, text.into())
    }

    /// The same, of the key itself or of its value.
    pub(super) fn at(&self, path: &str, at_key: bool, text: String) -> Problem {
        let place = self.place(path, at_key);
        // A variable's name says the key path already, unless only something around or below it is meant.
        let named = matches!(&place, Place::Variable(_)) && self.variables.contains_key(path);
        Problem { place, key: if named { String::new() } else { path.to_owned() }, text }
    }

    /// Whether the value at `path` is a variable's.
    pub(super) fn is_variable(&self, path: &str) -> bool {
        matches!(self.place(path, false), Place::Variable(_))
    }

    fn place(&self, path: &str, at_key: bool) -> Place {
        if let Some(name) = self.variables.get(path) {
            return Place::Variable(name.clone());
        }
        let mark = |marks: &Marks| if at_key { marks.key } else { marks.value };
        if let Some(marks) = self.marks.get(path) {
            return Place::File { name: self.file.clone(), mark: mark(marks) };
        }
        let below = format!("{path}.");
        if let Some((_, name)) = self.variables.iter().find(|(key, _)| key.starts_with(&below)) {
            return Place::Variable(name.clone());
        }
        // Not written down at all: what it would stand in is the nearest place.
        let mut around = path;
        while let Some(end) = around.rfind(['.', '[']) {
            around = &around[..end];
            if let Some(marks) = self.marks.get(around) {
                return Place::File { name: self.file.clone(), mark: marks.key };
            }
        }
        Place::File { name: self.file.clone(), mark: Mark::default() }
    }
}

/// What is wrong with a file that a configuration names, as whoever reads such files has found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFault {
    /// The keys among which it is named, such as `listeners[0].tls`.
    pub within: String,
    /// The file as it was named.
    pub file: PathBuf,
    /// The name of the key that names it there; several may name the same file.
    pub key: &'static str,
    /// What is wrong with it.
    pub text: String,
}

/// Every file that was named, by the key path that names it.
#[derive(Debug, Default)]
pub(super) struct NamedFiles(Vec<(String, PathBuf)>);

impl NamedFiles {
    /// Notes a file.
    pub(super) fn add(&mut self, key: &str, file: &Path) {
        self.0.push((key.to_owned(), file.to_owned()));
    }

    /// The key path that names the file a fault is about.
    pub(super) fn key_of(&self, fault: &FileFault) -> String {
        let below = |key: &str| {
            let rest = key.strip_prefix(&fault.within);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let mut named = self.0.iter().filter(|(key, file)| *file == fault.file && below(key));
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default() == fault.key;
        let exact = named.clone().find(|(key, _)| last(key));
        exact.or_else(|| named.next()).map_or_else(|| fault.within.clone(), |(key, _)| key.clone())
    }
}
