//! A big table in a file of its own: `map: recipients.map`.
//!
//! **In**: the lines of the file, once, through [`read`]; then recipients in canonical form.
//! **Out**: what the file says about the recipient: a new address, a pool, or both.
//! **Never**: holds a line as a string of its own, or changes once it is read, so that one map serves all workers.
//!
//! A million lines are two allocations: the lines one behind the other, and a hash table of where each begins. A key
//! is text that is found within a canonical address as it stands (`joe@example.com`, `@example.com`, `.example.com`),
//! so a look-up makes no text of its own. Why so: `docs/decisions/0013-big-tables-are-maps.md`.

mod read;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use super::address::parents;
use crate::config::types as config;
use crate::session::route::PoolId;
use crate::smtp::{Canonical, Path};

pub use read::MapError;

/// All maps of one configuration, by the names of their files.
#[derive(Debug, Default)]
pub struct Maps(BTreeMap<PathBuf, Arc<Map>>);

impl Maps {
    /// Reads every map that the rules name, each once. Those that are wrong are empty, and everything that is wrong
    /// with them comes along; it is not for use then.
    pub fn load(rules: &[config::Rule], pools: read::Pools<'_>) -> (Self, Vec<MapError>) {
        let mut maps = BTreeMap::new();
        let mut errors = Vec::new();
        for file in rules.iter().flat_map(config::Rule::maps) {
            if !maps.contains_key(file) {
                let map = read::file(file, pools).unwrap_or_else(|wrong| {
                    errors.extend(wrong);
                    Map::default()
                });
                maps.insert(file.clone(), Arc::new(map));
            }
        }
        (Self(maps), errors)
    }

    /// The map of that file.
    pub fn get(&self, file: &FilePath) -> Option<&Arc<Map>> {
        self.0.get(file)
    }

    /// Each file with its map.
    pub fn iter(&self) -> impl Iterator<Item = (&FilePath, &Map)> {
        self.0.iter().map(|(file, map)| (file.as_path(), &**map))
    }
}

/// Why a map's file cannot be read, as far as that can be told without reading it.
pub fn unreadable(file: &FilePath) -> Option<String> {
    read::open(file).err().map(|error| format!("{}: cannot be read: {error}", file.display()))
}

/// One file.
#[derive(Debug, Default)]
pub struct Map {
    /// Entries one behind the other: [`HEAD`], key, value.
    arena: Vec<u8>,
    /// Where in the arena each entry begins.
    table: HashTable<u32>,
    hasher: RandomState,
    /// Whether any key is a domain.
    domains: bool,
    /// The dots of the longest key that is everything below a domain, that one's own not counted.
    dots: Option<usize>,
}

/// In front of each entry: the lengths of key and value, and the pool, two octets each.
const HEAD: usize = 6;

/// The place of a pool where there is none.
const NO_POOL: u16 = u16::MAX;

/// What a map says about a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'m> {
    /// An address; `@domain`, which keeps the local part; or nothing, which keeps the recipient.
    value: &'m [u8],
    /// Where it goes.
    pub pool: Option<PoolId>,
}

impl Entry<'_> {
    /// The recipient that `now` becomes, if it becomes another.
    pub fn recipient(&self, now: Path<'_>) -> Option<Box<[u8]>> {
        let new: Box<[u8]> = match self.value {
            [] => return None,
            [b'@', ..] => [now.local(), self.value].concat().into(),
            _ => self.value.into(),
        };
        (*new != *now.as_bytes()).then_some(new)
    }
}

impl Map {
    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// What is said about a recipient: under its own name, else its domain's, else those of the domains above it,
    /// nearest first.
    pub fn find(&self, recipient: &Canonical) -> Option<Entry<'_>> {
        let text = recipient.as_str();
        self.get(text).or_else(|| {
            let domain = recipient.domain()?;
            // With the @ or the dot that stands before it.
            let key = |name: &str| &text[text.len() - name.len() - 1..];
            let own = self.domains.then(|| self.get(key(domain))).flatten();
            own.or_else(|| {
                let too_long = domain.matches('.').count().saturating_sub(self.dots? + 1);
                parents(domain).skip(too_long).find_map(|parent| self.get(key(parent)))
            })
        })
    }

    fn get(&self, key: &str) -> Option<Entry<'_>> {
        let key = key.as_bytes();
        let at = self.table.find(self.hasher.hash_one(key), |at| entry(&self.arena, *at).0 == key)?;
        Some(entry(&self.arena, *at).1)
    }

    /// Adds an entry. The error is where the one begins that has its key and says something else.
    fn add(&mut self, key: &str, value: &[u8], pool: Option<PoolId>) -> Result<(), u32> {
        // Lines are bounded, and so is the file: `read` sees to both.
        let at = u32::try_from(self.arena.len()).expect("a map's file is smaller than 4 GiB");
        let length = |octets: &[u8]| u16::try_from(octets.len()).expect("a map's lines are short");
        let pool_number = pool.map_or(NO_POOL, |pool| pool.0);
        for number in [length(key.as_bytes()), length(value), pool_number] {
            self.arena.extend_from_slice(&number.to_le_bytes());
        }
        self.arena.extend_from_slice(key.as_bytes());
        self.arena.extend_from_slice(value);
        let (arena, hasher) = (&self.arena, &self.hasher);
        let key_at = |at: u32| entry(arena, at).0;
        let slot = self.table.entry(
            hasher.hash_one(key.as_bytes()),
            |other| key_at(*other) == key.as_bytes(),
            |other| hasher.hash_one(key_at(*other)),
        );
        match slot {
            Slot::Vacant(slot) => {
                slot.insert(at);
                if let Some(name) = key.strip_prefix('.').filter(|name| !name.contains('@')) {
                    self.dots = self.dots.max(Some(name.matches('.').count()));
                }
                self.domains |= key.starts_with('@');
                Ok(())
            }
            Slot::Occupied(slot) => {
                let other = *slot.get();
                let same = entry(arena, other).1 == Entry { value, pool };
                self.arena.truncate(at as usize);
                if same { Ok(()) } else { Err(other) }
            }
        }
    }

    /// No more will be added.
    fn settle(&mut self) {
        self.arena.shrink_to_fit();
    }
}

/// The key and the rest of the entry that begins there.
fn entry(arena: &[u8], at: u32) -> (&[u8], Entry<'_>) {
    let entry = &arena[at as usize..];
    let number = |place: usize| u16::from_le_bytes([entry[place], entry[place + 1]]);
    let (key, value) = (usize::from(number(0)), usize::from(number(2)));
    let pool = Some(number(4)).filter(|pool| *pool != NO_POOL).map(PoolId);
    let behind = HEAD + key;
    (&entry[HEAD..behind], Entry { value: &entry[behind..behind + value], pool })
}
