//! How hosts of one preference share the clients.
//!
//! In:    the targets of one preference, those of a host side by side; weights; whose turn it is.
//! Out:   all of them, in the order they are tried, as indices.
//! Never: looks at a host's health, or allocates for the few hosts most pools have.
//!
//! RFC 2782 (selection by weight).

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use smallvec::SmallVec;

use super::target::Target;

/// The longest turn of `round_robin`; heavier weights are scaled down to it.
pub(super) const SCHEDULE_MAX: u32 = 1024;

/// The runs of hosts in targets that stand in their hosts' order.
pub(super) fn runs(targets: &[Target]) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    targets.chunk_by(|one, other| one.0.host_index == other.0.host_index).map(move |run| {
        from += run.len();
        from - run.len()..from
    })
}

/// Hosts drawn by weight, one after the other (RFC 2782), each with its addresses as they stand.
pub(super) fn by_weight(targets: &[Target], next: &mut dyn FnMut(usize)) {
    let mut hosts: SmallVec<[Range<usize>; 8]> = runs(targets).collect();
    while !hosts.is_empty() {
        let weight = |run: &Range<usize>| u64::from(targets[run.start].0.weight);
        let sum: u64 = hosts.iter().map(weight).sum();
        let mut mark = if hosts.len() > 1 { random() % sum } else { 0 };
        let drawn = hosts.iter().position(|run| {
            let here = mark < weight(run);
            mark = mark.saturating_sub(weight(run));
            here
        });
        hosts.remove(drawn.unwrap_or_default()).for_each(&mut *next);
    }
}

/// Hosts by the schedule from `turn` on, each with its addresses in turn.
pub(super) fn in_turn(targets: &[Target], schedule: &[u16], turn: usize, next: &mut dyn FnMut(usize)) {
    let hosts: SmallVec<[Range<usize>; 8]> = runs(targets).collect();
    let round = turn / schedule.len();
    let mut seen: SmallVec<[u16; 16]> = SmallVec::new();
    for step in 0..schedule.len() {
        let host = schedule[(turn + step) % schedule.len()];
        if seen.contains(&host) {
            continue;
        }
        seen.push(host);
        let run = hosts[usize::from(host)].clone();
        (0..run.len()).map(|offset| run.start + (round + offset) % run.len()).for_each(&mut *next);
        if seen.len() == hosts.len() {
            break;
        }
    }
}

/// The fewest open dialogs for its weight first; of equally loaded ones, the turn decides.
pub(super) fn least_open(targets: &[Target], turn: usize, next: &mut dyn FnMut(usize)) {
    let count = targets.len();
    let load = |index: usize| (u64::from(targets[index].0.state.open()), u64::from(targets[index].0.weight));
    let mut loads: SmallVec<[(usize, u64, u64); 16]> = SmallVec::new();
    loads.extend((0..count).map(|offset| {
        let index = (turn % count + offset) % count;
        let (open, weight) = load(index);
        (index, open, weight)
    }));
    // The sort is stable.
    loads.sort_by(|&(_, a_open, a_weight), &(_, b_open, b_weight)| {
        (a_open * b_weight).cmp(&(b_open * a_weight))
    });
    loads.into_iter().for_each(|(index, ..)| next(index));
}

/// A number nobody can foresee. The standard library seeds a thread's hashers anew each time.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// The turn of `round_robin`: every host as often as its weight, spread as evenly as can be (each step takes the
/// host that is most behind its share).
pub(super) fn schedule(weights: &[u32]) -> Box<[u16]> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let mut weights: Vec<u64> = weights.iter().map(|weight| u64::from(weight / divisor)).collect();
    let sum: u64 = weights.iter().sum();
    if sum > u64::from(SCHEDULE_MAX) {
        for weight in &mut weights {
            *weight = (*weight * u64::from(SCHEDULE_MAX) / sum).max(1);
        }
    }
    let total: u64 = weights.iter().sum();
    let mut behind = vec![0_i64; weights.len()];
    (0..total)
        .map(|_| {
            for (behind, weight) in behind.iter_mut().zip(&weights) {
                *behind += *weight as i64;
            }
            let most = behind.iter().copied().max().unwrap_or_default();
            let host = behind.iter().position(|&each| each == most).unwrap_or_default();
            behind[host] -= total as i64;
            host as u16
        })
        .collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
