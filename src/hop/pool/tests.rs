//! Pools under each balance, with hosts that fail, are full, or change their addresses.

use std::time::{Duration, Instant};

use super::*;
use crate::config::types::{Source, UpstreamPool};
use crate::hop::TargetId;
use crate::hop::balance::SCHEDULE_MAX;
use crate::hop::health::{Change, SLOW_START, Why};

fn address(last: u8) -> Address {
    Address::Ip(([192, 0, 2, last], 25).into())
}

fn host(last: u8, weight: u32) -> HostSpec {
    HostSpec {
        endpoint: Endpoint::Ip(([192, 0, 2, last], 25).into()),
        preference: 0,
        weight,
        server_name: None,
    }
}

fn named() -> HostSpec {
    let endpoint = Endpoint::Name { name: "store.example.net".into(), port: 25 };
    HostSpec { endpoint, preference: 0, weight: 1, server_name: None }
}

fn spec(balance: Balance, hosts: Vec<HostSpec>, sessions: u32) -> PoolSpec {
    let upstream = UpstreamPool { balance, sessions: sessions as usize, ..UpstreamPool::default() };
    PoolSpec { hosts, ..PoolSpec::new("main", &upstream) }
}

/// Hosts by address; under `first` each of a preference of its own, as those of a file are.
fn pool(balance: Balance, hosts: &[(u8, u32)], sessions: u32) -> Pool {
    let mut specs: Vec<HostSpec> = hosts.iter().map(|&(last, weight)| host(last, weight)).collect();
    if balance == Balance::First {
        specs.iter_mut().enumerate().for_each(|(place, spec)| spec.preference = place as u16);
    }
    Pool::new(spec(balance, specs, sessions), &Registry::new(Instant::now()))
}

fn found(name: &str, preference: u16, weight: u32, last: u8) -> Found {
    Found { name: name.into(), port: None, preference, weight, addresses: vec![[192, 0, 2, last].into()] }
}

fn pick(pool: &Pool, tried: &[TargetId], now: Instant) -> Picked {
    match pool.next(tried, now) {
        Pick::Host(picked) => picked,
        other => panic!("{other:?}"),
    }
}

fn names(pool: &Pool, count: usize) -> Vec<usize> {
    let now = Instant::now();
    (0..count).map(|_| pick(pool, &[], now).target().host_index()).collect()
}

#[test]
fn first_goes_on_to_what_was_not_tried() {
    let pool = pool(Balance::First, &[(1, 1), (2, 1)], 0);
    let now = Instant::now();
    let one = pick(&pool, &[], now);
    assert_eq!((one.target().name(), one.more), ("192.0.2.1:25", true));
    let two = pick(&pool, &[one.target().id()], now);
    assert_eq!((two.target().name(), two.more), ("192.0.2.2:25", false));
    assert!(matches!(pool.next(&[one.target().id(), two.target().id()], now), Pick::None));
}

#[test]
fn round_robin_follows_the_weights_evenly() {
    assert_eq!(names(&pool(Balance::RoundRobin, &[(1, 2), (2, 1), (3, 1)], 0), 8), [0, 1, 2, 0, 0, 1, 2, 0]);
    assert_eq!(names(&pool(Balance::RoundRobin, &[(1, 7), (2, 7)], 0), 4), [0, 1, 0, 1]);
    let heavy = pool(Balance::RoundRobin, &[(1, u32::MAX), (2, 1)], 0);
    assert!(heavy.now.load().ranks[0].schedule.len() <= SCHEDULE_MAX as usize + 1);
}

#[test]
fn a_failover_does_not_move_the_turn() {
    let pool = pool(Balance::RoundRobin, &[(1, 1), (2, 1), (3, 1)], 0);
    let now = Instant::now();
    let one = pick(&pool, &[], now);
    pick(&pool, &[one.target().id()], now);
    assert_eq!(pick(&pool, &[], now).target().host_index(), 1);
}

#[test]
fn least_sessions_weighs_and_takes_turns_when_equal() {
    let pool = pool(Balance::LeastSessions, &[(1, 1), (2, 3)], 0);
    let now = Instant::now();
    let held: Vec<Picked> = (0..8).map(|_| pick(&pool, &[], now)).collect();
    assert_eq!(held.iter().filter(|p| p.target().host_index() == 1).count(), 6);
    drop(held);
    assert_eq!(names(&pool, 4), [0, 1, 0, 1]);
}

#[test]
fn full_hosts_are_passed_over_and_all_full_is_busy() {
    let pool = pool(Balance::First, &[(1, 1), (2, 1)], 1);
    let now = Instant::now();
    let one = pick(&pool, &[], now);
    let two = pick(&pool, &[], now);
    assert_eq!((one.target().host_index(), two.target().host_index()), (0, 1));
    assert!(!two.more, "a full host is not another chance");
    assert!(matches!(pool.next(&[], now), Pick::Busy));
    drop(one);
    assert_eq!(pick(&pool, &[], now).target().host_index(), 0);
}

#[test]
fn the_bound_is_the_hosts_not_the_addresses() {
    let registry = Registry::new(Instant::now());
    let pool = Pool::new(spec(Balance::First, vec![named()], 1), &registry);
    let now = Instant::now();
    assert!(matches!(pool.next(&[], now), Pick::None), "no address yet");
    assert!(!pool.is_ready());
    pool.publish(&[vec![address(1), address(2)]], &registry);
    let one = pick(&pool, &[], now);
    assert_eq!(one.target().to_string(), "store.example.net:25 (192.0.2.1:25)");
    assert!(matches!(pool.next(&[], now), Pick::Busy));
    assert!(matches!(pool.next(&[one.target().id()], now), Pick::Busy));
}

#[test]
fn ejected_hosts_come_last_and_are_tried_anyway() {
    let pool = pool(Balance::First, &[(1, 1), (2, 1)], 0);
    let now = Instant::now();
    for expected in [Change::None, Change::None, Change::Ejected(Duration::from_secs(1))] {
        assert_eq!(pick(&pool, &[], now).lease.failed(Why::Connect, now), expected);
    }
    let two = pick(&pool, &[], now);
    assert_eq!((two.target().host_index(), two.more), (1, true));
    for _ in 0..3 {
        two.lease.failed(Why::Connect, now);
    }
    assert!(!pool.is_ready());
    let anyway = pick(&pool, &[], now);
    assert_eq!(anyway.target().host_index(), 0);
    assert_eq!(anyway.lease.failed(Why::Connect, now), Change::None, "it was down already");
    // Half-open: one trial, the next client is sent elsewhere meanwhile.
    let later = now + Duration::from_secs(1);
    let trial = pick(&pool, &[], later);
    assert_eq!(trial.target().host_index(), 0);
    assert_eq!(pick(&pool, &[], later).target().host_index(), 1);
    assert_eq!(trial.lease.succeeded(later), Change::Restored);
    assert!(pool.is_ready());
    assert_eq!(pick(&pool, &[], later + SLOW_START.0).target().host_index(), 0);
}

#[test]
fn a_trial_that_is_let_go_of_is_free_at_once() {
    let pool = pool(Balance::First, &[(1, 1), (2, 1)], 0);
    let now = Instant::now();
    for _ in 0..3 {
        pick(&pool, &[], now).lease.failed(Why::Connect, now);
    }
    let later = now + Duration::from_secs(1);
    for _ in 0..3 {
        assert_eq!(pick(&pool, &[], later).target().host_index(), 0);
    }
}

#[test]
fn a_host_that_came_back_takes_its_share_step_by_step() {
    let pool = pool(Balance::First, &[(1, 1), (2, 1)], 0);
    let now = Instant::now();
    for _ in 0..3 {
        pick(&pool, &[], now).lease.failed(Why::Connect, now);
    }
    let back = now + Duration::from_secs(1);
    pick(&pool, &[], back).lease.succeeded(back);
    let share = |at: Instant| (0..1000).filter(|_| pick(&pool, &[], at).target().host_index() == 0).count();
    let half = share(back + SLOW_START.0 / 2);
    assert!((400..600).contains(&half), "{half} of 1000");
    assert_eq!(share(back + SLOW_START.0), 1000);
}

#[test]
fn found_hosts_go_by_preference_and_share_by_weight() {
    let registry = Registry::new(Instant::now());
    let upstream =
        UpstreamPool { source: Source::Srv("_smtp._tcp.example.com".into()), ..UpstreamPool::default() };
    let pool = Pool::new(PoolSpec::new("main", &upstream), &registry);
    let now = Instant::now();
    assert!(matches!(pool.next(&[], now), Pick::None) && !pool.is_ready(), "nothing is known yet");
    pool.publish_found(
        &[found("c", 20, 1, 3), found("a", 10, 100, 1), found("b", 10, 300, 2), found("z", 10, 1, 4)],
        &registry,
    );
    let first = |name: &str| {
        (0..2000).filter(|_| pick(&pool, &[], now).target().name() == format!("{name}:25")).count()
    };
    let (a, b, z) = (first("a"), first("b"), first("z"));
    assert!((350..650).contains(&a) && (1350..1650).contains(&b) && z < 40, "{a} {b} {z}");
    // All of a preference are tried before the next.
    let mut tried = Vec::new();
    let mut names = Vec::new();
    while let Pick::Host(picked) = pool.next(&tried, now) {
        tried.push(picked.target().id());
        names.push(picked.target().name().to_owned());
    }
    assert_eq!((names.len(), names.last().map(String::as_str)), (4, Some("c:25")));
    // What DNS takes away is gone, what stays is the same.
    pool.publish_found(&[found("c", 20, 1, 3)], &registry);
    assert_eq!(pool.targets()[0].id(), tried[3]);
    assert_eq!(pool.health().len(), 1);
}

#[test]
fn hosts_of_recipients_are_counted_as_one() {
    let registry = Registry::new(Instant::now());
    let upstream = UpstreamPool { source: Source::RecipientMx, port: 2525, ..UpstreamPool::default() };
    let pool = Pool::new(PoolSpec::new("out", &upstream), &registry);
    assert!(pool.is_ready());
    let domain = pool.of_domain(&[found("mx.example.net", 10, 1, 1)], &registry);
    let held = pick(&domain, &[], Instant::now());
    assert_eq!(held.target().to_string(), "mx.example.net:2525 (192.0.2.1:2525)");
    let health = &pool.health()[0];
    assert_eq!((&*health.host, health.up, health.open, health.counts.connects()), ("*", true, 1, 1));
}

#[test]
fn a_refresh_keeps_what_is_known() {
    let registry = Registry::new(Instant::now());
    let spec = spec(Balance::RoundRobin, vec![named()], 0);
    let (pool, now) = (Pool::new(spec.clone(), &registry), Instant::now());
    pool.publish(&[vec![address(1), address(2)]], &registry);
    let one = pick(&pool, &[], now);
    for _ in 0..3 {
        one.lease.failed(Why::Connect, now);
    }
    pool.publish(&[vec![address(1), address(3)]], &registry);
    assert_eq!(pool.targets()[0].id(), one.target().id());
    assert_ne!(pick(&pool, &[], now).target().id(), one.target().id(), "still ejected");
    // Another pool, or the pool of the next configuration, knows it too.
    let reloaded = Pool::new(spec, &registry);
    reloaded.publish(&[vec![address(1)]], &registry);
    let health = &reloaded.health()[0];
    assert_eq!((&*health.host, health.up, health.open), ("store.example.net:25", false, 1));
    let counts = &health.counts;
    assert_eq!((counts.connects(), counts.failures(Why::Connect), counts.ejections()), (2, 3, 1));
}

#[test]
fn addresses_of_a_name_take_turns_under_round_robin() {
    let registry = Registry::new(Instant::now());
    let spec = spec(Balance::RoundRobin, vec![named(), host(9, 1)], 0);
    let (pool, now) = (Pool::new(spec, &registry), Instant::now());
    pool.publish(&[vec![address(1), address(2)], vec![]], &registry);
    let seen: Vec<String> = (0..4).map(|_| pick(&pool, &[], now).target().address().to_string()).collect();
    assert_eq!(seen, ["192.0.2.1:25", "192.0.2.9:25", "192.0.2.2:25", "192.0.2.9:25"]);
}

#[test]
fn threads_never_exceed_the_bound() {
    let pool = pool(Balance::LeastSessions, &[(1, 1), (2, 1)], 3);
    let now = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let held: Vec<Pick> = (0..2).map(|_| pool.next(&[], now)).collect();
                    assert!(pool.health().iter().all(|host| host.open <= 3));
                    drop(held);
                }
            });
        }
    });
    assert!(pool.health().iter().all(|host| host.up && host.open == 0));
}

#[test]
fn stress_is_80_per_cent_of_what_the_hosts_in_use_may_have() {
    let (one, now) = (pool(Balance::First, &[(1, 1), (2, 1)], 5), Instant::now());
    let mut held: Vec<Picked> = (0..7).map(|_| pick(&one, &[], now)).collect();
    assert!(!one.is_stressed(), "7 of 10, although the first host is full");
    held.push(pick(&one, &[], now));
    assert!(one.is_stressed(), "8 of 10");
    held.pop();
    assert!(one.is_stressed(), "7 of 10: it is not over yet");
    held.pop();
    assert!(!one.is_stressed(), "6 of 10");
    // A host that is put aside gives no room.
    let ejected = pick(&one, &[], now);
    for _ in 0..3 {
        ejected.lease.failed(Why::Connect, now);
    }
    drop(ejected);
    assert!(one.is_stressed(), "5 of 5 with the host that serves");
    for _ in 0..3 {
        held[0].lease.failed(Why::Connect, now);
    }
    assert!(!one.is_stressed(), "6 of 10, all of which are put aside, and so all tried");
}

#[test]
fn without_a_bound_there_is_no_stress() {
    let (one, now) = (pool(Balance::First, &[(1, 1)], 0), Instant::now());
    let _held: Vec<Picked> = (0..100).map(|_| pick(&one, &[], now)).collect();
    assert!(!one.is_stressed());
    assert!(!pool(Balance::First, &[], 5).is_stressed(), "nor without a host");
}
