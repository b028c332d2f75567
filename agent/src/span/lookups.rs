//! Names that were looked up, and the connections they were looked up for.
//!
//! A lookup is a call's own if the thread, or what ran on it, that sends the first request of a connection has looked up a name, one of
//! whose addresses is the connection's, before that was asked for. What resolves names for others on threads of its own tells nothing.
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use smol_str::SmolStr;

use crate::capture::{Actor, Context, Pid};
use crate::protocol::dns::Told;

/// Lookups that are remembered.
const MOST: usize = 1_024;
/// How long after a lookup its connection is asked for: whoever keeps addresses longer has not waited for them.
const KEPT_NS: u64 = 30_000_000_000;

/// How long after one answer a resolver asks again for the same name, over TCP or for another kind of address.
const PAUSE_NS: u64 = 10_000_000;

/// The last lookups that no connection was opened for yet.
#[derive(Debug, Default)]
pub(super) struct Lookups(VecDeque<Lookup>);

#[derive(Debug)]
struct Lookup {
    who: (Pid, u32, Context),
    name: SmolStr,
    addresses: Vec<IpAddr>,
    start_ns: u64,
    end_ns: u64,
}

impl Lookups {
    /// `actor` has asked for `name` from `start_ns` to `end_ns` and got `answers`; the name of a counter where another had to be
    /// forgotten.
    pub(super) fn told(
        &mut self,
        actor: &Actor,
        name: &SmolStr,
        answers: &[Told],
        (start_ns, end_ns): (u64, u64),
    ) -> Option<&'static str> {
        let mut count = None;
        let is_old = |lookup: &Lookup| end_ns.saturating_sub(lookup.end_ns) > KEPT_NS;
        while self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
        if self.0.len() >= MOST {
            self.0.pop_front();
            count = Some("span.lookups_full");
        }
        self.0.push_back(Lookup {
            who: who(actor),
            name: name.clone(),
            addresses: answers.iter().filter_map(address).collect(),
            start_ns,
            end_ns,
        });
        count
    }

    /// How long `actor` looked up the name of `remote` before it asked for a connection to it at `before_ns`, once. Several questions for
    /// one name, as for its addresses of both kinds, are one lookup.
    pub(super) fn take(&mut self, actor: &Actor, remote: SocketAddr, before_ns: u64) -> Option<u64> {
        let who = who(actor);
        let remote = remote.ip().to_canonical();
        let is_his = |lookup: &&Lookup| lookup.who == who && lookup.end_ns <= before_ns;
        let found = self.0.iter().rev().filter(is_his);
        let found = found.into_iter().find(|lookup| lookup.addresses.contains(&remote))?;
        let (name, mut start_ns, mut end_ns) = (found.name.clone(), found.start_ns, found.end_ns);
        if before_ns.saturating_sub(end_ns) > KEPT_NS {
            return None;
        }
        for lookup in self.0.iter().rev().filter(is_his).filter(|lookup| lookup.name == name) {
            if lookup.end_ns.saturating_add(PAUSE_NS) >= start_ns {
                start_ns = start_ns.min(lookup.start_ns);
                end_ns = end_ns.max(lookup.end_ns);
            }
        }
        self.0.retain(|lookup| lookup.who != who || lookup.name != name);
        end_ns.checked_sub(start_ns)
    }
}

const fn address(answer: &Told) -> Option<IpAddr> {
    match answer {
        Told::Address(address) => Some(*address),
        Told::Name(_) => None,
    }
}

/// Who looks up and calls one thing after the other: a thread, or what ran on it.
fn who(actor: &Actor) -> (Pid, u32, Context) {
    match actor.context {
        Context::Thread | Context::Unknown | Context::Java(0) => (actor.pid, actor.tid, Context::Thread),
        context => (actor.pid, 0, context),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lookups: &mut Lookups, tid: u32, name: &str, answers: &[&str], times: (u64, u64)) -> Option<&'static str> {
        let told = |answer: &str| answer.parse().map_or_else(|_| Told::Name(answer.into()), Told::Address);
        let answers: Vec<Told> = answers.iter().map(|answer| told(answer)).collect();
        lookups.told(&Actor::thread(Pid(1), tid), &name.into(), &answers, times)
    }

    fn take(lookups: &mut Lookups, tid: u32, remote: &str, before_ns: u64) -> Option<u64> {
        lookups.take(&Actor::thread(Pid(1), tid), remote.parse().unwrap(), before_ns)
    }

    #[test]
    fn a_lookup_is_of_one_call() {
        let mut lookups = Lookups::default();
        let both = |lookups: &mut Lookups| {
            told(lookups, 5, "a.test", &["10.0.0.1", "b.test"], (100, 300));
            told(lookups, 5, "a.test", &[], (110, 350));
        };
        both(&mut lookups);
        assert_eq!(take(&mut lookups, 6, "10.0.0.1:80", 400), None, "another thread");
        assert_eq!(take(&mut lookups, 5, "10.0.0.2:80", 400), None, "another address");
        assert_eq!(
            take(&mut lookups, 5, "10.0.0.1:80", 200),
            None,
            "it was asked for before"
        );
        assert_eq!(take(&mut lookups, 5, "[::ffff:10.0.0.1]:80", 400), Some(250));
        assert_eq!(take(&mut lookups, 5, "10.0.0.1:80", 400), None, "once");
        both(&mut lookups);
        assert_eq!(
            take(&mut lookups, 5, "10.0.0.1:80", 400 + 2 * KEPT_NS),
            None,
            "long ago"
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut lookups = Lookups::default();
        for tid in 0..1_024 {
            assert_eq!(told(&mut lookups, tid, "a.test", &["10.0.0.1"], (1, 2)), None);
        }
        assert_eq!(told(&mut lookups, 7, "a.test", &[], (1, 2)), Some("span.lookups_full"));
        assert_eq!(told(&mut lookups, 7, "a.test", &[], (1, 9 * KEPT_NS)), None);
        assert_eq!(lookups.0.len(), 1);
    }
}
