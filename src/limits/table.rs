//! What a rate knows of each client, in a table that never grows.
//!
//! In:    a client, and governor's arithmetic, which is given what was known of it and says what is to be known.
//! Out:   the state of as many clients as have room: [`SETS`] sets of [`WAYS`].
//! Never: allocates after it was made, or holds a lock for longer than one look at one set.
//!
//! A client's state is one point in time: when it will have all of its rate again. Where a set is full, the one whose
//! point comes first makes room, and is a new client when it comes again: mostly one whose point has passed, which
//! therefore loses nothing; else the one that has used least. So a flood of addresses displaces its own entries, and
//! whoever is at its bound stays known. Which set a client belongs to is keyed at random: nobody can aim at one.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;

use super::client::ClientKey;

/// Sets of clients, each with its own lock.
const SETS: usize = 8192;
/// Clients of one set.
const WAYS: usize = 8;

/// Clients that share a lock, each with its state.
type Set = [Option<(ClientKey, Nanos)>; WAYS];

/// The states of clients.
#[derive(Debug)]
pub(super) struct Table {
    hasher: RandomState,
    sets: Box<[Mutex<Set>]>,
}

impl Default for Table {
    fn default() -> Self {
        Self { hasher: RandomState::new(), sets: (0..SETS).map(|_| Mutex::new([None; WAYS])).collect() }
    }
}

impl StateStore for Table {
    type Key = ClientKey;

    fn measure_and_replace<T, F, E>(&self, client: &ClientKey, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let set = &self.sets[self.hasher.hash_one(client) as usize % SETS];
        // Every change of a set is one assignment, so a poisoned one is whole.
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        let known = set.iter().position(|entry| entry.is_some_and(|(known, _)| known == *client));
        let (outcome, until) = measure(known.and_then(|at| set[at]).map(|(_, until)| until))?;
        let at = known.unwrap_or_else(|| first_to_go(&set));
        set[at] = Some((*client, until));
        Ok(outcome)
    }
}

/// A vacant place, or that of the client who has all of its rate again before the others.
fn first_to_go(set: &Set) -> usize {
    let until = |at: &usize| set[*at].map_or(0, |(_, until)| until.as_u64());
    (0..set.len()).min_by_key(until).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> ClientKey {
        ClientKey::from(std::net::IpAddr::from(number.to_be_bytes()))
    }

    /// Sets what is known of a client, and says what was.
    fn replace(table: &Table, number: u32, until: u64) -> Option<u64> {
        let known =
            |known: Option<Nanos>| Ok::<_, ()>((known.map(|nanos| nanos.as_u64()), Nanos::new(until)));
        table.measure_and_replace(&client(number), known).unwrap()
    }

    #[test]
    fn each_client_has_its_own_state_and_a_refusal_changes_none() {
        let table = Table::default();
        assert_eq!((replace(&table, 1, 10), replace(&table, 2, 20)), (None, None));
        assert_eq!(table.measure_and_replace(&client(1), |_| Err::<((), Nanos), _>(())), Err(()));
        assert_eq!((replace(&table, 1, 11), replace(&table, 2, 21)), (Some(10), Some(20)));
    }

    #[test]
    fn a_flood_displaces_itself_and_not_who_has_used_most() {
        let table = Table::default();
        replace(&table, 0, 1_000_000);
        let clients = (SETS * WAYS * 4) as u32;
        (1..clients).for_each(|client| assert_eq!(replace(&table, client, 1000), None));
        assert_eq!(replace(&table, 0, 1_000_001), Some(1_000_000));
    }
}
