//! Content at a hop: what is left of it to be judged when its end is here.
//!
//! **In**: the end of data, or a whole chunk. **Out**: the hop's word on it; what it has goes to the ledger.
//! **Never**: takes content in no transaction, or for nobody, unless it is empty: that is how a DATA is ended that was
//! answered 354 though there was nobody to send to (RFC 2920 3.1). Whatever it says to such is nobody's to hear.

use super::fate::refusal;
use super::{Act, Hop};
use crate::ledger::Ledger;

impl Hop {
    pub(super) fn end_of_data(&mut self, ledger: &mut Ledger, acts: &mut Vec<(u64, Act)>) {
        let content = self.content.take().unwrap_or_default();
        let Some(sender) = self.sender.take() else {
            let what = content.escape_ascii();
            assert!(content.is_empty() || ledger.astray, "law 4: taken as content in no transaction: {what}");
            assert!(self.rcpts.is_empty(), "law 4: a message in no transaction, for {:?}", self.rcpts);
            return self.nobody(acts);
        };
        if self.rcpts.is_empty() {
            // 354 was said though every recipient was refused: an empty content goes nowhere (RFC 2920 3.2).
            assert!(content.is_empty() || ledger.astray, "law 3: content for no recipient");
            return self.nobody(acts);
        }
        self.owed.push_back(false);
        self.conclude(ledger, acts, sender, &content, false);
    }

    /// An empty message to nobody; some take it.
    fn nobody(&mut self, acts: &mut Vec<(u64, Act)>) {
        self.owed.push_back(false);
        let reply = if self.rng.percent(70) { "554 5.5.1 wrong" } else { "250 2.0.0 wrong" };
        acts.extend(self.answer(reply.to_owned(), None, false));
    }

    pub(super) fn take_chunk(&mut self, ledger: &mut Ledger, acts: &mut Vec<(u64, Act)>, last: bool) {
        let sender = self.sender.clone().unwrap_or_default();
        ledger.begun(&sender, self.content.as_deref().unwrap_or_default());
        if !last {
            let roll = self.rng.below(100);
            let reply = if roll < 95 { "250 2.0.0 chunk".to_owned() } else { refusal(roll, &sender) };
            return acts.extend(self.answer(reply, None, false));
        }
        self.sender = None;
        self.chunked = false;
        let content = self.content.take().unwrap_or_default();
        self.conclude(ledger, acts, sender, &content, true);
    }

    pub(super) fn conclude(
        &mut self,
        ledger: &mut Ledger,
        acts: &mut Vec<(u64, Act)>,
        sender: String,
        wire: &[u8],
        chunked: bool,
    ) {
        let roll = self.rng.below(100);
        let accepted = roll < 88;
        let rcpts = std::mem::take(&mut self.rcpts);
        ledger.completed(self.connection, &sender, &rcpts, wire, chunked, accepted);
        let reply = if accepted { format!("250 2.0.0 queued [{sender}]") } else { refusal(roll, &sender) };
        acts.extend(self.answer(reply, Some(sender), false));
    }
}
