//! One address on a clock of the test's own: ejected, tried, back.
//!
//! In:    failures and successes, at a time.
//! Out:   whether the address may be tried, and for which share.
//! Never: picks a host; the pool's tests do.

use super::*;

fn state() -> (AddressState, Instant) {
    let base = Instant::now();
    (AddressState::new(TargetId(1), base), base)
}

#[test]
fn three_failures_in_a_row_eject_and_one_success_clears() {
    let (state, now) = state();
    assert_eq!(state.failed(false, now), Change::None);
    assert_eq!(state.failed(false, now), Change::None);
    assert_eq!(state.succeeded(now), Change::None);
    assert_eq!(state.failed(false, now), Change::None);
    assert_eq!(state.failed(false, now), Change::None);
    assert!(state.is_ready(now));
    assert_eq!(state.failed(false, now), Change::Ejected(Duration::from_secs(1)));
    assert!(!state.is_ready(now));
    assert_eq!(state.succeeded(now), Change::Restored);
    assert!(state.is_ready(now) && !state.is_ejected());
}

#[test]
fn backoff_doubles_by_trials_alone_and_stops_at_a_minute() {
    let (state, mut now) = state();
    for _ in 0..3 {
        state.failed(false, now);
    }
    // A failure of a dialog that began earlier changes nothing.
    assert_eq!(state.failed(false, now), Change::None);
    for seconds in [2, 4, 8, 16, 32, 60, 60, 60] {
        now += Duration::from_secs(60);
        assert!(state.is_ready(now) && state.is_ejected());
        assert!(state.claim_trial(now).is_some());
        assert!(state.claim_trial(now).is_none(), "one trial at a time");
        assert!(!state.is_ready(now));
        assert_eq!(state.failed(true, now), Change::Ejected(Duration::from_secs(seconds)));
    }
}

#[test]
fn a_trial_nobody_reports_lapses() {
    let (state, now) = state();
    for _ in 0..3 {
        state.failed(false, now);
    }
    let due = now + Duration::from_secs(2);
    assert!(state.claim_trial(due).is_some());
    assert!(!state.is_ready(due + TRIAL / 2));
    assert!(state.claim_trial(due + TRIAL).is_some());
}

#[test]
fn a_trial_let_go_of_is_the_next_ones() {
    let (state, now) = state();
    for _ in 0..3 {
        state.failed(false, now);
    }
    let due = now + Duration::from_secs(2);
    let left = state.claim_trial(due).unwrap();
    state.give_up_trial(left);
    let next = state.claim_trial(due).unwrap();
    assert!(!state.is_ready(due));
    assert_eq!(state.succeeded(due), Change::Restored);
    state.give_up_trial(next);
    assert!(!state.is_ejected(), "a report stands");
}

#[test]
fn one_that_came_back_gets_its_share_little_by_little() {
    let (state, now) = state();
    assert_eq!(state.share(now), None);
    for _ in 0..3 {
        state.failed(false, now);
    }
    let back = now + Duration::from_secs(60);
    state.succeeded(back);
    assert_eq!(state.share(back), Some(SLOW_START.1));
    assert_eq!(state.share(back + SLOW_START.0 / 2), Some(50));
    assert_eq!(state.share(back + SLOW_START.0), None);
    assert_eq!(state.share(back), None, "once");
}
