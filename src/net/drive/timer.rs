//! One timer a session, armed lazily.
//!
//! In:    the session's next deadline, and the shell's own.
//! Out:   whether one has come.
//! Never: re-arms for something later: the timer fires, and it is seen then what is due.

use std::future::Future;
use std::task::Context;
use std::time::Instant;

use tokio::time::sleep_until;

use super::Drive;

impl Drive {
    pub(super) fn timer_fired(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.armed.is_none_or(|armed| now < armed) {
            return false;
        }
        if let Some(sleep) = &mut self.sleep
            && sleep.as_mut().poll(cx).is_ready()
        {
            self.armed = None;
        }
        self.session.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// One timer, re-armed only for something earlier; a later deadline waits until it fires.
    pub(super) fn arm(&mut self, cx: &mut Context<'_>) {
        if let Some(deadline) = self.session.deadline().into_iter().chain(self.close_by).min() {
            self.arm_at(cx, deadline);
        }
    }

    pub(super) fn arm_at(&mut self, cx: &mut Context<'_>, deadline: Instant) {
        if self.armed.is_some_and(|armed| armed <= deadline) {
            return;
        }
        self.armed = Some(deadline);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(deadline.into()),
            None => self.sleep = Some(Box::pin(sleep_until(deadline.into()))),
        }
        if let Some(sleep) = &mut self.sleep
            && sleep.as_mut().poll(cx).is_ready()
        {
            self.armed = None;
            cx.waker().wake_by_ref();
        }
    }
}
