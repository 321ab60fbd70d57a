//! Which rules may match: found by what they demand of the envelope, not by asking them all.
//!
//! **In**: when compiled, each rule of one stage with its conditions; when asked, the [`Facts`] of a question.
//! **Out**: [`Candidates`], rule numbers in file order, among which is every rule that matches.
//! **Never**: says that a rule matches; a candidate's conditions are still to be tested, all of them.
//!
//! A rule stands under the patterns of one of its keys: the one that names whole addresses, else the one that names
//! domains, recipients before senders, else its client networks, else in the list that is always tried. So ten
//! thousand rules for ten thousand recipients cost a command one canonical form and as many look-ups as its domain
//! has labels that some `*@*.domain` counts. The hash tables hold only what the administrator wrote, so a client can
//! not fill them.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use smallvec::SmallVec;

use super::address::{AddressGlob, Addresses, Domain, parents};
use super::condition::{Condition, Facts, Field};
use crate::networks::Networks;
use crate::session::verdict::RuleId;
use crate::smtp::Canonical;

/// The rules of one stage.
#[derive(Debug, Default)]
pub(super) struct Index {
    always: Vec<RuleId>,
    addresses: [Names; Field::ALL.len()],
    clients: Clients,
}

/// Rules by the patterns of one address key.
#[derive(Debug, Default)]
struct Names {
    exact: HashMap<Box<str>, Vec<RuleId>>,
    domains: HashMap<Box<str>, Vec<RuleId>>,
    subdomains: HashMap<Box<str>, Vec<RuleId>>,
    /// How many dots the longest of `subdomains` has: no parent with more is looked up.
    dots: usize,
}

/// Rules by the networks of their clients.
#[derive(Debug, Default)]
struct Clients {
    blocks: HashMap<IpNet, Vec<RuleId>>,
    /// The prefix lengths that occur, of either family.
    v4: Vec<u8>,
    v6: Vec<u8>,
}

impl Index {
    /// Adds a rule; rules come in file order. `clients` are the networks it demands; of its address keys those in
    /// `fields` are looked at, which are those that hold one address at the stage.
    pub(super) fn add(&mut self, rule: RuleId, condition: &Condition, clients: &Networks, fields: &[Field]) {
        let exact = |addresses: &&Addresses| addresses.is_listed() && addresses.is_exact();
        let found = fields
            .iter()
            .find_map(|field| condition.addresses(*field).filter(exact).map(|a| (*field, a)))
            .or_else(|| {
                let listed = Addresses::is_listed;
                fields
                    .iter()
                    .find_map(|field| condition.addresses(*field).filter(|a| listed(a)).map(|a| (*field, a)))
            });
        if let Some((field, addresses)) = found {
            self.addresses[field as usize].add(rule, addresses);
        } else if clients.is_empty() {
            self.always.push(rule);
        } else {
            self.clients.add(rule, clients);
        }
    }

    /// The rules that may match what is asked.
    pub(super) fn candidates(&self, facts: &Facts<'_>) -> Candidates<'_> {
        let mut found = Candidates { lists: SmallVec::new() };
        found.add(Some(&self.always));
        for (names, field) in self.addresses.iter().zip(Field::ALL) {
            if !names.is_empty()
                && let Some(path) = facts.address(field)
            {
                names.find(path, &mut found);
            }
        }
        self.clients.find(facts.client(), &mut found);
        found
    }
}

impl Names {
    fn add(&mut self, rule: RuleId, addresses: &Addresses) {
        for name in &addresses.exact {
            push(self.exact.entry(name.clone()).or_default(), rule);
        }
        for name in &addresses.domains {
            push(self.domains.entry(name.clone()).or_default(), rule);
        }
        for name in &addresses.subdomains {
            self.add_below(rule, name);
        }
        for glob in &addresses.globs {
            match glob {
                AddressGlob::Parts(_, Domain::Exact(name)) => {
                    push(self.domains.entry(name.clone()).or_default(), rule);
                }
                AddressGlob::Parts(_, Domain::Below(name)) => self.add_below(rule, name),
                AddressGlob::Parts(_, Domain::Glob(_)) | AddressGlob::Whole(_) => {
                    debug_assert!(false, "only what can be listed is added");
                }
            }
        }
    }

    fn add_below(&mut self, rule: RuleId, name: &str) {
        self.dots = self.dots.max(name.matches('.').count());
        push(self.subdomains.entry(name.into()).or_default(), rule);
    }

    fn find<'i>(&'i self, path: &Canonical, found: &mut Candidates<'i>) {
        found.add(self.exact.get(path.as_str()));
        let Some(domain) = path.domain() else { return };
        if !self.domains.is_empty() {
            found.add(self.domains.get(domain));
        }
        if !self.subdomains.is_empty() {
            let below = domain.matches('.').count();
            let too_long = below.saturating_sub(self.dots + 1);
            for parent in parents(domain).skip(too_long) {
                found.add(self.subdomains.get(parent));
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.domains.is_empty() && self.subdomains.is_empty()
    }
}

impl Clients {
    fn add(&mut self, rule: RuleId, clients: &Networks) {
        for block in clients.plain() {
            let lengths = match block {
                IpNet::V4(_) => &mut self.v4,
                IpNet::V6(_) => &mut self.v6,
            };
            if !lengths.contains(&block.prefix_len()) {
                lengths.push(block.prefix_len());
            }
            push(self.blocks.entry(block).or_default(), rule);
        }
    }

    fn find<'i>(&'i self, client: IpAddr, found: &mut Candidates<'i>) {
        match client.to_canonical() {
            IpAddr::V4(address) => {
                for net in self.v4.iter().filter_map(|length| Ipv4Net::new(address, *length).ok()) {
                    found.add(self.blocks.get(&IpNet::V4(net.trunc())));
                }
            }
            IpAddr::V6(address) => {
                for net in self.v6.iter().filter_map(|length| Ipv6Net::new(address, *length).ok()) {
                    found.add(self.blocks.get(&IpNet::V6(net.trunc())));
                }
            }
        }
    }
}

/// Adds a rule to a list that may have it already: two patterns of one rule can share a domain.
fn push(list: &mut Vec<RuleId>, rule: RuleId) {
    if list.last() != Some(&rule) {
        list.push(rule);
    }
}

/// Lists of rules, each in file order, read as one list in file order.
#[derive(Debug)]
pub(super) struct Candidates<'i> {
    lists: SmallVec<[&'i [RuleId]; 8]>,
}

impl<'i> Candidates<'i> {
    /// The first candidate behind `after`, or the first at all.
    pub(super) fn next(&mut self, after: Option<RuleId>) -> Option<RuleId> {
        let mut least: Option<RuleId> = None;
        for list in &mut self.lists {
            if let Some(after) = after {
                let passed = match **list {
                    [first, ..] if first > after => 0,
                    [_, second, ..] if second > after => 1,
                    _ => list.partition_point(|rule| *rule <= after),
                };
                *list = &list[passed..];
            }
            if let Some(first) = list.first() {
                least = Some(least.map_or(*first, |least| least.min(*first)));
            }
        }
        least
    }

    fn add(&mut self, list: Option<&'i Vec<RuleId>>) {
        if let Some(list) = list
            && !list.is_empty()
        {
            self.lists.push(list);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_one() {
        let ids = |numbers: &[u16]| numbers.iter().map(|n| RuleId(*n)).collect::<Vec<_>>();
        let (a, b, c) = (ids(&[1, 4, 5, 9]), ids(&[2, 5]), ids(&[]));
        let read = |from: Option<u16>| {
            let mut candidates = Candidates { lists: SmallVec::new() };
            for list in [&a, &b, &c] {
                candidates.add(Some(list));
            }
            let mut last = from.map(RuleId);
            let mut seen = Vec::new();
            while let Some(rule) = candidates.next(last) {
                seen.push(rule.0);
                last = Some(rule);
            }
            seen
        };
        assert_eq!(read(None), [1, 2, 4, 5, 9]);
        assert_eq!(read(Some(2)), [4, 5, 9]);
        assert_eq!(read(Some(9)), [] as [u16; 0]);
    }
}
