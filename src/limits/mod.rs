//! Who may do how much: sessions in all, sessions per client, descriptors.
//!
//! In:    a client's address when it is accepted.
//! Out:   a [`Permit`] held for as long as the session lives, or which limit it met.
//! Never: decides what the client hears (`421 4.3.2` and `421 4.7.0` are the session's), remembers a client without
//!        a session, or grows beyond one entry per open session.
//!
//! An IPv6 client is its /64: one customer has at least that much. An IPv4-mapped address is the IPv4 one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use ipnet::IpNet;

pub mod descriptors;
mod exempt;

use exempt::Exempt;

/// Parts of the map of clients, each with its own lock, held for one look-up when a session begins or ends.
const SHARDS: usize = 32;

/// A limit that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// `limits.sessions`: `421 4.3.2`.
    Sessions,
    /// `limits.sessions_per_client`: `421 4.7.0`.
    PerClient,
}

/// Counts sessions. Counts outlive a reload; the bounds are replaced by [`Sessions::set`].
#[derive(Debug)]
pub struct Sessions {
    bounds: ArcSwap<Bounds>,
    open: AtomicUsize,
    hasher: RandomState,
    clients: [Mutex<HashMap<Client, usize>>; SHARDS],
}

#[derive(Debug)]
struct Bounds {
    sessions: usize,
    per_client: usize,
    exempt: Exempt,
}

/// Whom sessions are counted for: an IPv4 address or an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

impl Sessions {
    /// At most `sessions` at once, and `per_client` of one client unless it is in one of `exempt`.
    pub fn new(sessions: usize, per_client: usize, exempt: &[IpNet]) -> Arc<Self> {
        Arc::new(Self {
            bounds: ArcSwap::from_pointee(Bounds { sessions, per_client, exempt: Exempt::new(exempt) }),
            open: AtomicUsize::new(0),
            hasher: RandomState::new(),
            clients: Default::default(),
        })
    }

    /// Replaces the bounds; sessions that are open stay, even those beyond the new ones.
    pub fn set(&self, sessions: usize, per_client: usize, exempt: &[IpNet]) {
        self.bounds.store(Arc::new(Bounds { sessions, per_client, exempt: Exempt::new(exempt) }));
    }

    /// Lets the client at `address` have one more session.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Permit, Exceeded> {
        self.enter()?.admit(address)
    }

    /// Lets somebody have one more session of whom it is not known yet who the client is: counted in all, and for no
    /// client before [`Permit::admit`].
    pub fn enter(self: &Arc<Self>) -> Result<Permit, Exceeded> {
        let bounds = self.bounds.load();
        self.open
            .fetch_update(Relaxed, Relaxed, |open| (open < bounds.sessions).then_some(open + 1))
            .map_err(|_| Exceeded::Sessions)?;
        // From here on dropping the permit takes the count back.
        Ok(Permit { sessions: self.clone(), client: None })
    }

    /// Counts one more session for a client, unless it is exempt.
    fn admit_client(&self, address: IpAddr) -> Result<Option<Client>, Exceeded> {
        let bounds = self.bounds.load();
        if bounds.exempt.contains(address) {
            return Ok(None);
        }
        let client = Client::from(address);
        let mut shard = self.shard(client);
        match shard.entry(client) {
            Entry::Occupied(entry) if *entry.get() >= bounds.per_client => {
                return Err(Exceeded::PerClient);
            }
            Entry::Occupied(mut entry) => *entry.get_mut() += 1,
            Entry::Vacant(_) if bounds.per_client == 0 => return Err(Exceeded::PerClient),
            Entry::Vacant(entry) => {
                entry.insert(1);
            }
        }
        Ok(Some(client))
    }

    /// Sessions open now.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// The bound on sessions in all.
    pub fn bound(&self) -> usize {
        self.bounds.load().sessions
    }

    fn shard(&self, client: Client) -> MutexGuard<'_, HashMap<Client, usize>> {
        let index = self.hasher.hash_one(client) as usize % SHARDS;
        // Every change of a shard is one insertion, removal or addition, so a poisoned one is whole.
        self.clients[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One session's place, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    sessions: Arc<Sessions>,
    /// None for an exempt client, which is not counted, and for one that is not known yet.
    client: Option<Client>,
}

impl Permit {
    /// Says whose session it is; the place is given back where that client has as many as it may.
    pub fn admit(mut self, address: IpAddr) -> Result<Permit, Exceeded> {
        self.client = self.sessions.admit_client(address)?;
        Ok(self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.sessions.open.fetch_sub(1, Relaxed);
        let Some(client) = self.client else { return };
        let mut shard = self.sessions.shard(client);
        if let Entry::Occupied(mut entry) = shard.entry(client) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
                // What a flood made large is given back when it is over.
                if shard.is_empty() {
                    shard.shrink_to_fit();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn entries(sessions: &Sessions) -> usize {
        sessions.clients.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn sessions_in_all_are_bounded_and_given_back() {
        let sessions = Sessions::new(2, 50, &[]);
        let one = sessions.admit(ip("192.0.2.1")).unwrap();
        let _two = sessions.admit(ip("192.0.2.2")).unwrap();
        assert_eq!(sessions.admit(ip("192.0.2.3")).unwrap_err(), Exceeded::Sessions);
        drop(one);
        assert_eq!((sessions.open(), entries(&sessions)), (1, 1));
        sessions.admit(ip("192.0.2.3")).unwrap();
    }

    #[test]
    fn one_client_is_bounded_and_an_ipv6_client_is_its_64() {
        let sessions = Sessions::new(100, 1, &[]);
        let _held: Vec<_> = ["192.0.2.1", "2001:db8::1", "2001:db8:0:1::1"]
            .map(|text| sessions.admit(ip(text)).unwrap())
            .into();
        for text in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::ffff:0:0:2"] {
            assert_eq!(sessions.admit(ip(text)).unwrap_err(), Exceeded::PerClient, "{text}");
        }
        assert_eq!(sessions.open(), 3, "a refused client takes no place");
    }

    #[test]
    fn exempt_clients_are_bound_only_in_all() {
        let sessions = Sessions::new(3, 1, &["10.0.0.0/8".parse().unwrap()]);
        let held: Vec<_> = (0..3).map(|_| sessions.admit(ip("10.1.2.3")).unwrap()).collect();
        assert_eq!(sessions.admit(ip("10.1.2.3")).unwrap_err(), Exceeded::Sessions);
        assert_eq!(entries(&sessions), 0);
        drop(held);
        assert_eq!(sessions.open(), 0);
    }

    #[test]
    fn who_is_not_known_yet_counts_in_all_only() {
        let sessions = Sessions::new(3, 1, &[]);
        let [one, other] = [(); 2].map(|()| sessions.enter().unwrap());
        assert_eq!((sessions.open(), entries(&sessions)), (2, 0));
        let one = one.admit(ip("192.0.2.1")).unwrap();
        assert_eq!(other.admit(ip("192.0.2.1")).unwrap_err(), Exceeded::PerClient);
        assert_eq!((sessions.open(), entries(&sessions)), (1, 1), "a refused client takes no place");
        drop(one);
        assert_eq!((sessions.open(), entries(&sessions)), (0, 0));
    }

    #[test]
    fn new_bounds_leave_open_sessions_alone() {
        let sessions = Sessions::new(10, 10, &[]);
        let held: Vec<_> = (0..4).map(|_| sessions.admit(ip("192.0.2.1")).unwrap()).collect();
        sessions.set(2, 1, &[]);
        assert_eq!(sessions.admit(ip("192.0.2.2")).unwrap_err(), Exceeded::Sessions);
        drop(held);
        assert_eq!((sessions.open(), entries(&sessions), sessions.bound()), (0, 0, 2));
    }

    #[test]
    fn threads_leave_nothing_behind() {
        let sessions = Sessions::new(6, 2, &[]);
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let sessions = &sessions;
                scope.spawn(move || {
                    for turn in 0..500_u16 {
                        let address = ip(&format!("192.0.2.{}", (u16::from(thread) + turn) % 3));
                        let held = (sessions.admit(address), sessions.admit(address));
                        assert!(sessions.open() <= 6);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!((sessions.open(), entries(&sessions)), (0, 0));
    }
}
