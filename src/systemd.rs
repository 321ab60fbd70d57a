//! What systemd gives and is told: sockets that are open already, and how gatepost is.
//!
//! In:    `LISTEN_FDS`, `NOTIFY_SOCKET` and `WATCHDOG_USEC`, from systemd or whoever else speaks its protocol.
//! Out:   listening sockets by their address; READY, RELOADING, STOPPING, STATUS and WATCHDOG.
//! Never: fails because nobody listens: without systemd every message goes nowhere. Opens a door that the
//!        configuration does not name.
//!
//! sd_listen_fds(3), sd_notify(3) and sd_watchdog_enabled(3), manual pages of systemd's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use socket2::Socket;
use tokio::time::{MissedTickBehavior, interval};

use crate::net::listen::{self, Entry};
use crate::net::worker::Beat;

/// The sockets systemd has opened (`gatepost.socket`), each for the listener that has its address.
#[derive(Debug, Default)]
pub struct Activated(Vec<(SocketAddr, Option<Socket>)>);

impl Activated {
    /// Takes them as the environment tells, which then forgets them. To be called before any thread is started.
    ///
    /// # Errors
    ///
    /// Which descriptor is no listening TCP socket.
    pub fn from_environment() -> Result<Activated, String> {
        let mut handed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..handed.len() {
            let number = index + 1;
            let wrong = |why: &dyn std::fmt::Display| format!("systemd: its socket {number}: {why}");
            let listener = handed.take_tcp_listener(index).map_err(|error| wrong(&error))?;
            let Some(socket) = listener.map(Socket::from) else { continue };
            if !socket.is_listener().map_err(|error| wrong(&error))? {
                return Err(wrong(&"it does not listen (Accept= must be no)"));
            }
            listen::inherit(&socket).map_err(|error| wrong(&error))?;
            let address = socket.local_addr().map_err(|error| wrong(&error))?;
            let address = address.as_socket().ok_or_else(|| wrong(&"it has no IP address"))?;
            if sockets.iter().any(|(has, _)| *has == address) {
                return Err(wrong(&format_args!("{address} came twice")));
            }
            sockets.push((address, Some(socket)));
        }
        Ok(Activated(sockets))
    }

    /// Whether systemd listens at this address.
    pub fn has(&self, address: SocketAddr) -> bool {
        self.0.iter().any(|(has, _)| *has == address)
    }

    /// The socket of this address, once.
    pub fn take(&mut self, address: SocketAddr) -> Option<Socket> {
        self.0.iter_mut().find(|(has, _)| *has == address)?.1.take()
    }

    /// Whether each has a listener. One that has none would keep its clients waiting for nobody.
    ///
    /// # Errors
    ///
    /// The addresses that are in no listener, and those that are.
    pub fn check(&self, doors: &[Entry]) -> Result<(), String> {
        let lonely = self.0.iter().map(|(address, _)| address);
        let lonely = join(lonely.filter(|address| !doors.iter().any(|door| door.address == **address)));
        if lonely.is_empty() {
            return Ok(());
        }
        let known = join(doors.iter().map(|door| &door.address));
        Err(format!(
            "systemd listens on {lonely}, but no listener has that address (there are: {known}): \
             ListenStream= of the socket unit and listeners[].address must be the same"
        ))
    }
}

fn join<'a>(addresses: impl Iterator<Item = &'a SocketAddr>) -> String {
    addresses.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// gatepost accepts clients, for the first time or again after a reload.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] follows.
pub fn reloading() {
    // systemd wants to know when, so that it can tell this reload's READY from an earlier one's.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// gatepost accepts nobody any more and ends when its sessions have.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Tells systemd that gatepost lives for as long as every worker does; returns at once if it does not want to know.
/// To be run on the control thread: it is watched as well.
pub async fn watchdog(beats: Vec<Beat>) {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero()) else { return };
    // Often enough that one lost race does not count.
    let mut ticks = interval((patience / 4).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if all_live(&beats) {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// Whether every worker has shown since the last time that it lives, or has ended in peace.
fn all_live(beats: &[Beat]) -> bool {
    let lives = |beat: &Beat| beat.load(Ordering::Relaxed) || Arc::strong_count(beat) == 1;
    let all = beats.iter().all(lives);
    if all {
        beats.iter().for_each(|beat| beat.store(false, Ordering::Relaxed));
    }
    all
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd: cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::types::Intercept;
    use crate::session::route::PoolId;

    fn door(address: &str) -> Entry {
        Entry { address: address.parse().unwrap(), listener: 0, pool: PoolId(0), intercept: Intercept::Off }
    }

    fn activated(addresses: &[&str]) -> Activated {
        Activated(addresses.iter().map(|address| (address.parse().unwrap(), None)).collect())
    }

    #[test]
    fn one_worker_that_no_longer_turns_is_enough() {
        let workers = [Beat::default(), Beat::default()];
        let beats = workers.clone();
        assert!(!all_live(&beats), "neither has shown anything yet");
        workers.iter().for_each(|beat| beat.store(true, Ordering::Relaxed));
        assert!(all_live(&beats));
        let [stuck, other] = workers;
        other.store(true, Ordering::Relaxed);
        assert!(!all_live(&beats), "one is stuck");
        drop(stuck);
        assert!(all_live(&beats), "it has ended");
    }

    #[test]
    fn every_socket_needs_a_listener_but_not_the_other_way_round() {
        let doors = [door("0.0.0.0:25"), door("[::]:25"), door("127.0.0.1:2525")];
        assert_eq!(activated(&[]).check(&doors), Ok(()));
        assert_eq!(activated(&["[::]:25", "0.0.0.0:25"]).check(&doors), Ok(()));
        assert_eq!(
            activated(&["0.0.0.0:25", "0.0.0.0:587", "[::1]:25"]).check(&doors).unwrap_err(),
            "systemd listens on 0.0.0.0:587, [::1]:25, but no listener has that address (there are: 0.0.0.0:25, \
             [::]:25, 127.0.0.1:2525): ListenStream= of the socket unit and listeners[].address must be the same"
        );
    }
}
