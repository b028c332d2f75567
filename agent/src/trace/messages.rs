//! Which span sent a message that another got.
//!
//! A message is recognized by what both ends see of it (see [`Identity`]). One that was sent twice, as far as is known, was sent
//! by nobody: a link is a fact or it is absent.
use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::protocol::message::Identity;
use crate::span::SpanKey;

/// Messages that are remembered. Half of what a table of 65 536 places holds: see `MAX_TOMBSTONES`.
const MAX_SENT: usize = 28_672;

/// Messages that were sent. `T` is what remains of a span that is settled.
#[derive(Debug)]
pub(super) struct Messages<T> {
    sent: HashMap<Identity, Posted<T>, RandomState>,
    order: VecDeque<Identity>,
}

/// A message that was sent.
#[derive(Debug)]
pub(super) struct Posted<T> {
    /// Who sent it.
    pub(super) key: SpanKey,
    /// What is left of that span, once it is settled.
    pub(super) settled: Option<T>,
    /// Another was sent that cannot be told from it.
    twice: bool,
}

impl<T> Default for Messages<T> {
    fn default() -> Self {
        Self {
            sent: HashMap::default(),
            order: VecDeque::new(),
        }
    }
}

impl<T> Messages<T> {
    /// A span sent a message.
    pub(super) fn sent(&mut self, identity: Identity, key: SpanKey) {
        if let Some(known) = self.sent.get_mut(&identity) {
            known.twice |= known.key != key;
            return;
        }
        if self.order.len() >= MAX_SENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.sent.remove(&oldest);
        }
        self.order.push_back(identity);
        let sent = Posted {
            key,
            settled: None,
            twice: false,
        };
        self.sent.insert(identity, sent);
    }

    /// The span that sent a message is settled.
    pub(super) fn settled(&mut self, identity: Identity, key: SpanKey, left: T) {
        if let Some(sent) = self.sent.get_mut(&identity).filter(|sent| sent.key == key) {
            sent.settled = Some(left);
        }
    }

    /// Who sent a message.
    pub(super) fn sender(&self, identity: Identity) -> Option<&Posted<T>> {
        self.sent.get(&identity).filter(|sent| !sent.twice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_twice_was_sent_by_nobody() {
        let mut messages = Messages::<()>::default();
        let sender = |messages: &Messages<()>, n| messages.sender(Identity([n, 0])).map(|sent| sent.key.0);
        messages.sent(Identity([1, 0]), SpanKey(1));
        messages.sent(Identity([2, 0]), SpanKey(2));
        messages.sent(Identity([1, 0]), SpanKey(1));
        assert_eq!([sender(&messages, 1), sender(&messages, 2)], [Some(1), Some(2)]);
        messages.sent(Identity([1, 0]), SpanKey(3));
        assert_eq!([sender(&messages, 1), sender(&messages, 2)], [None, Some(2)]);
        for n in 0..MAX_SENT as u64 {
            messages.sent(Identity([10 + n, 0]), SpanKey(9));
        }
        assert_eq!((sender(&messages, 2), messages.sent.len()), (None, MAX_SENT));
    }
}
