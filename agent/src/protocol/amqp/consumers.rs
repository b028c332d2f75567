//! The consumers of a channel: which queue each has its messages from.
//!
//! A client names its consumers, or the server does as it confirms them. It confirms them in the order in which they were asked for;
//! where some of that was not seen, names that it makes are nobody's.
use std::collections::VecDeque;

use smol_str::SmolStr;

use super::channel::is_near;
use crate::capture::Moment;

/// Consumers of a channel that are remembered, and that wait for their names.
const MAX_CONSUMERS: usize = 256;
/// Names that came before who they are of was seen asking and are kept.
const MAX_EARLY: usize = 16;

/// The consumers of one channel.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    known: Vec<Consumer>,
    /// Those whose name the server is yet to make.
    unnamed: VecDeque<Consumer>,
    early: VecDeque<(SmolStr, Moment)>,
    /// All that was asked and confirmed was seen.
    certain: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Consumer {
    pub(super) tag: SmolStr,
    pub(super) queue: SmolStr,
    pub(super) no_ack: bool,
}

impl Consumers {
    /// Those of a channel that is followed from its beginning.
    pub(super) fn opened() -> Self {
        Self {
            certain: true,
            ..Self::default()
        }
    }

    pub(super) fn get(&self, tag: &str) -> Option<&Consumer> {
        self.known.iter().find(|consumer| consumer.tag == tag)
    }

    /// The client asks for one, which is `confirmed` unless it does not wait for that. Whether there was room.
    pub(super) fn asked(&mut self, consumer: Consumer, confirmed: bool, now: Moment) -> bool {
        if !consumer.tag.is_empty() {
            self.early.retain(|(tag, _)| *tag != consumer.tag);
            return self.add(consumer);
        }
        if !confirmed || !self.certain {
            return true;
        }
        self.early.retain(|(_, then)| is_near(*then, now));
        if let Some((tag, _)) = self.early.pop_front() {
            return self.add(Consumer { tag, ..consumer });
        }
        let room = self.unnamed.len() < MAX_CONSUMERS;
        if room {
            self.unnamed.push_back(consumer);
        } else {
            self.doubt();
        }
        room
    }

    /// The server confirms the one of this name. Whether there was room.
    pub(super) fn confirmed(&mut self, tag: SmolStr, now: Moment) -> bool {
        if !self.certain || self.get(&tag).is_some() {
            return true;
        }
        if let Some(unnamed) = self.unnamed.pop_front() {
            return self.add(Consumer { tag, ..unnamed });
        }
        // Two threads reported out of order.
        if self.early.len() >= MAX_EARLY {
            self.early.pop_front();
        }
        self.early.push_back((tag, now));
        true
    }

    pub(super) fn canceled(&mut self, tag: &str) {
        self.known.retain(|known| known.tag != tag);
    }

    /// Messages may have been missed: among them, if `asked`, some of the client's.
    pub(super) fn lost(&mut self, asked: bool) {
        if asked {
            self.known.clear();
        }
        self.doubt();
    }

    fn add(&mut self, consumer: Consumer) -> bool {
        self.canceled(&consumer.tag);
        let room = self.known.len() < MAX_CONSUMERS;
        if room {
            self.known.push(consumer);
        } else {
            // Its confirmation would be taken for another's.
            self.doubt();
        }
        room
    }

    /// Which name is whose is not known from here on.
    fn doubt(&mut self) {
        self.certain = false;
        self.unnamed.clear();
        self.early.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Actor, Pid};

    /// What a consumer is found to read after what was asked (`name=queue`, ` nowait` behind it) and confirmed (`name`), and after
    /// holes (`?client`, `?server`).
    #[track_caller]
    fn check(script: &str, tag: &str, expected: Option<&str>) {
        let mut consumers = Consumers::opened();
        for (time_ns, line) in (1_000_000_u64..).step_by(1_000_000).zip(script.split(", ")) {
            let now = Moment::new(time_ns, Actor::thread(Pid(1), 1));
            let (line, waits) = match line.strip_suffix(" nowait") {
                Some(line) => (line, false),
                None => (line, true),
            };
            let room = match line.split_once('=') {
                Some((tag, queue)) => {
                    let consumer = Consumer {
                        tag: tag.into(),
                        queue: queue.into(),
                        no_ack: false,
                    };
                    consumers.asked(consumer, waits, now)
                }
                None if line.starts_with('?') => {
                    consumers.lost(line == "?client");
                    true
                }
                None => consumers.confirmed(line.into(), now),
            };
            assert!(room, "{script}");
        }
        let found = consumers.get(tag).map(|consumer| consumer.queue.as_str());
        assert_eq!(found, expected, "{tag} after {script}");
    }

    #[test]
    fn names_are_whose_they_are() {
        check("a=jobs", "a", Some("jobs"));
        check("=jobs, x", "x", Some("jobs"));
        check("=jobs, =mail, x, y", "y", Some("mail"));
        check("a=jobs, =mail, a, x", "a", Some("jobs"));
        check("a=jobs, =mail, a, x", "x", Some("mail"));
        check("=jobs nowait, =mail, x", "x", Some("mail"));
        // Threads that report out of order.
        check("x, =jobs, y, =mail", "y", Some("mail"));
        check("a, a=jobs, =mail, x", "x", Some("mail"));
    }

    #[test]
    fn names_behind_a_hole_are_nobodys() {
        check("=jobs, ?server, =mail, x", "x", None);
        check("?client, =mail, x", "x", None);
        check("a=jobs, ?server", "a", Some("jobs"));
        check("a=jobs, ?client", "a", None);
        check("?client, a=mail", "a", Some("mail"));
    }

    #[test]
    fn all_is_bounded() {
        let now = Moment::new(1, Actor::thread(Pid(1), 1));
        for named in [false, true] {
            let mut consumers = Consumers::opened();
            let ask = |consumers: &mut Consumers, number: usize| {
                let consumer = Consumer {
                    tag: if named {
                        format!("t{number}").into()
                    } else {
                        SmolStr::default()
                    },
                    queue: format!("q{number}").into(),
                    no_ack: true,
                };
                consumers.asked(consumer, true, now)
            };
            assert!((0..MAX_CONSUMERS).all(|number| ask(&mut consumers, number)));
            assert!(!ask(&mut consumers, MAX_CONSUMERS));
            consumers.confirmed("late".into(), now);
            assert_eq!(consumers.get("late"), None, "it may be the one there was no room for");
            assert!(consumers.known.len() <= MAX_CONSUMERS && consumers.unnamed.is_empty());
        }
        let mut consumers = Consumers::opened();
        for number in 0..9 * MAX_EARLY {
            consumers.confirmed(format!("t{number}").into(), now);
        }
        assert_eq!(consumers.early.len(), MAX_EARLY);
    }
}
