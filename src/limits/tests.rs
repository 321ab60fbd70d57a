//! What is counted, for whom, and that it is given back.

use std::time::Duration;

use super::*;
use crate::config::load_text;

const POOL: &str = "upstreams: { main: { hosts: [a] } }\n";

/// The limits that `yaml` says, at most `sessions` in all.
fn bounded(sessions: usize, yaml: &str) -> Arc<Sessions> {
    Sessions::new(sessions, &limits(yaml))
}

fn limits(yaml: &str) -> types::SessionLimits {
    load_text("proxy.yaml", &format!("{POOL}limits: {{ {yaml} }}\n"), []).unwrap().config.session_limits
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn admit(sessions: &Arc<Sessions>, client: &str) -> Result<Permit, Exceeded> {
    admit_at(sessions, client, Instant::now())
}

fn admit_at(sessions: &Arc<Sessions>, client: &str, now: Instant) -> Result<Permit, Exceeded> {
    sessions.enter()?.admit(ip(client), now)
}

fn entries(sessions: &Sessions) -> usize {
    sessions.clients.iter().map(|shard| shard.lock().unwrap().len()).sum()
}

#[test]
fn sessions_in_all_are_bounded_and_given_back() {
    let sessions = bounded(2, "");
    let one = admit(&sessions, "192.0.2.1").unwrap();
    let _two = admit(&sessions, "192.0.2.2").unwrap();
    assert_eq!(admit(&sessions, "192.0.2.3").unwrap_err(), Exceeded::Sessions);
    drop(one);
    assert_eq!((sessions.open(), entries(&sessions)), (1, 1));
    admit(&sessions, "192.0.2.3").unwrap();
}

#[test]
fn one_client_is_bounded_and_an_ipv6_client_is_its_64() {
    let sessions = bounded(100, "sessions_per_client: 1");
    let _held: Vec<_> =
        ["192.0.2.1", "2001:db8::1", "2001:db8:0:1::1"].map(|text| admit(&sessions, text).unwrap()).into();
    for text in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::ffff:0:0:2"] {
        assert_eq!(admit(&sessions, text).unwrap_err(), Exceeded::PerClient, "{text}");
    }
    assert_eq!(sessions.open(), 3, "a refused client takes no place");
}

#[test]
fn nought_does_not_bind_a_client() {
    let sessions = bounded(100, "sessions_per_client: 0");
    let held: Vec<_> = (0..100).map(|_| admit(&sessions, "192.0.2.1").unwrap()).collect();
    assert_eq!(admit(&sessions, "192.0.2.1").unwrap_err(), Exceeded::Sessions);
    assert_eq!(held.len(), 100);
}

#[test]
fn exempt_clients_are_bound_only_in_all() {
    let limits =
        "sessions_per_client: 1, new_sessions_per_minute: 1, messages_per_minute: 1, exempt: [10.0.0.0/8]";
    let sessions = bounded(3, limits);
    let held: Vec<_> = (0..3).map(|_| admit(&sessions, "10.1.2.3").unwrap()).collect();
    assert_eq!(admit(&sessions, "10.1.2.3").unwrap_err(), Exceeded::Sessions);
    assert_eq!(entries(&sessions), 0);
    let now = Instant::now();
    assert_eq!([(); 3].map(|()| sessions.message(ip("10.1.2.3"), now)), [Ok(()); 3]);
    drop(held);
    assert_eq!(sessions.open(), 0);
}

#[test]
fn new_bounds_leave_open_sessions_alone() {
    let sessions = bounded(10, "sessions_per_client: 10");
    let held: Vec<_> = (0..4).map(|_| admit(&sessions, "192.0.2.1").unwrap()).collect();
    sessions.set(2, &limits("sessions_per_client: 1"));
    assert_eq!(admit(&sessions, "192.0.2.2").unwrap_err(), Exceeded::Sessions);
    drop(held);
    assert_eq!((sessions.open(), entries(&sessions), sessions.bound()), (0, 0, 2));
}

#[test]
fn a_connection_counts_in_all_before_its_client_is_known() {
    let sessions = bounded(1, "");
    let entered = sessions.enter().unwrap();
    assert_eq!(sessions.enter().unwrap_err(), Exceeded::Sessions);
    assert_eq!((sessions.open(), entries(&sessions)), (1, 0));
    drop(entered);
    assert_eq!(sessions.open(), 0);
}

#[test]
fn the_clients_of_a_range_count_together() {
    let sessions = bounded(100, "ranges: [{ from: [192.0.2.0/25, 2001:db8::/32], sessions: 2 }]");
    let one = admit(&sessions, "192.0.2.1").unwrap();
    let _two = admit(&sessions, "2001:db8::1").unwrap();
    assert_eq!(admit(&sessions, "192.0.2.3").unwrap_err(), Exceeded::PerRange);
    let _other = admit(&sessions, "192.0.2.200").unwrap();
    assert_eq!((sessions.open(), entries(&sessions)), (3, 3), "who is refused counts nowhere");
    drop(one);
    let _three = admit(&sessions, "192.0.2.3").unwrap();
    assert_eq!(admit(&sessions, "192.0.2.1").unwrap_err(), Exceeded::PerRange);
}

#[test]
fn the_first_range_that_holds_a_client_is_its_own_and_exemption_does_not_free_from_it() {
    let ranges =
        "exempt: [192.0.2.0/24], ranges: [{ from: [192.0.2.7] }, { from: [192.0.2.0/24], sessions: 1 }]";
    let sessions = bounded(100, ranges);
    let _one = admit(&sessions, "192.0.2.1").unwrap();
    assert_eq!(admit(&sessions, "192.0.2.2").unwrap_err(), Exceeded::PerRange);
    let _free = [(); 3].map(|()| admit(&sessions, "192.0.2.7").unwrap());
}

#[test]
fn a_minutes_worth_at_once_then_evenly() {
    let sessions = bounded(100, "new_sessions_per_minute: 3");
    let start = Instant::now() + Duration::from_secs(1);
    let at = |seconds| admit_at(&sessions, "192.0.2.1", start + Duration::from_secs(seconds)).map(drop);
    let refused = Err(Exceeded::Rate(Bound::Client));
    assert_eq!([0, 0, 0, 0, 19, 20, 21].map(at), [Ok(()), Ok(()), Ok(()), refused, refused, Ok(()), refused]);
    assert_eq!([100, 100, 100, 100].map(at), [Ok(()), Ok(()), Ok(()), refused]);
    assert_eq!((sessions.open(), entries(&sessions)), (0, 0), "who is refused counts nowhere");
    assert_eq!(admit_at(&sessions, "192.0.2.2", start).map(drop), Ok(()), "another client");
}

#[test]
fn messages_and_recipients_are_counted_apart_for_a_client_and_its_range() {
    let range = "{ from: [192.0.2.0/24], messages_per_minute: 3, recipients_per_minute: 5 }";
    let sessions = bounded(100, &format!("messages_per_minute: 2, ranges: [{range}]"));
    let now = Instant::now();
    let message = |client| sessions.message(ip(client), now);
    let (own, ranges) = (Err(Bound::Client), Err(Bound::Range));
    assert_eq!([(); 3].map(|()| message("192.0.2.1")), [Ok(()), Ok(()), own]);
    assert_eq!(
        [(); 2].map(|()| message("192.0.2.2")),
        [Ok(()), ranges],
        "a client beyond its bound uses no more"
    );
    assert_eq!(message("198.51.100.1"), Ok(()));
    let recipients = [(); 6].map(|()| sessions.recipient(ip("192.0.2.1"), now));
    assert_eq!(recipients, [Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), ranges]);
}

#[test]
fn what_was_counted_outlives_a_reload_that_leaves_its_bound() {
    let range = "ranges: [{ from: [192.0.2.0/24], sessions: 1, messages_per_minute: 1 }]";
    let both = format!("messages_per_minute: 1, {range}");
    let sessions = bounded(100, &both);
    let now = Instant::now();
    let _held = admit(&sessions, "192.0.2.1").unwrap();
    assert_eq!(sessions.message(ip("192.0.2.1"), now), Ok(()));
    sessions.set(100, &limits(&both));
    assert_eq!(admit(&sessions, "192.0.2.2").unwrap_err(), Exceeded::PerRange);
    assert_eq!(sessions.message(ip("192.0.2.1"), now), Err(Bound::Client));
    sessions.set(100, &limits(range));
    assert_eq!(sessions.message(ip("192.0.2.2"), now), Err(Bound::Range));
    sessions.set(100, &limits("messages_per_minute: 2"));
    assert_eq!(sessions.message(ip("192.0.2.1"), now), Ok(()), "another bound, counted from now on");
    sessions.set(100, &limits(""));
    assert_eq!([(); 3].map(|()| sessions.message(ip("192.0.2.1"), now)), [Ok(()); 3]);
}

#[test]
fn a_permit_moves_to_the_client_that_is_really_there() {
    let sessions = bounded(100, "sessions_per_client: 1, ranges: [{ from: [192.0.2.0/24], sessions: 1 }]");
    let now = Instant::now();
    let mut permit = admit(&sessions, "192.0.2.1").unwrap();
    permit.move_to(ip("192.0.2.2"), now).unwrap();
    assert_eq!((sessions.open(), entries(&sessions)), (1, 1), "within a full range");
    let _first = admit(&sessions, "198.51.100.1").unwrap();
    assert_eq!(permit.move_to(ip("198.51.100.1"), now), Err(Exceeded::PerClient));
    assert_eq!((sessions.open(), entries(&sessions)), (2, 1), "it counts in all until it ends");
    let _second = admit(&sessions, "192.0.2.1").unwrap();
    drop(permit);
    assert_eq!((sessions.open(), entries(&sessions)), (2, 2));
}

#[test]
fn threads_leave_nothing_behind() {
    let sessions = bounded(6, "sessions_per_client: 2, ranges: [{ from: [192.0.2.0/31], sessions: 3 }]");
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let sessions = &sessions;
            scope.spawn(move || {
                for turn in 0..500_u16 {
                    let address = format!("192.0.2.{}", (u16::from(thread) + turn) % 3);
                    let held = (admit(sessions, &address), admit(sessions, &address));
                    assert!(sessions.open() <= 6);
                    drop(held);
                }
            });
        }
    });
    assert_eq!((sessions.open(), entries(&sessions)), (0, 0));
    let _both = [(); 2].map(|()| admit(&sessions, "192.0.2.1").unwrap());
    assert!(admit(&sessions, "192.0.2.0").is_ok(), "the range has all its places");
}

#[test]
fn sessions_that_run_out_are_told_of() {
    let sessions = bounded(10, "");
    let mut open: Vec<Entered> = (0..7).map(|_| sessions.enter().unwrap()).collect();
    assert!(!sessions.is_stressed());
    open.push(sessions.enter().unwrap());
    assert!(sessions.is_stressed(), "8 of 10");
    open.pop();
    assert!(sessions.is_stressed(), "7 of 10: it is not over yet");
    open.pop();
    assert!(!sessions.is_stressed(), "6 of 10");
    sessions.set(7, &limits(""));
    assert!(sessions.is_stressed(), "6 of 7");
}
