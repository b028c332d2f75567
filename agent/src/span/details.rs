//! What is known of operations beyond when and by whom. Few of them begin or end something, so that most are soon forgotten.
use crate::capture::{Times, Transport};

/// Operations that are remembered: as many as pass until those who wait for others have them in order, and more.
const MOST: usize = 16_384;

/// What is known of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// How the connection did.
    pub transport: Transport,
    /// Where the thread's time had gone.
    pub times: Times,
    /// Names where in its program the thread was; 0 where that is not known.
    pub stack: u64,
}

/// The last operations of which something is known, by the number their moments have.
#[derive(Debug, Default)]
pub(super) struct Details {
    kept: Vec<(u32, Detail)>,
    last: u32,
}

impl Details {
    /// Remembers one; the number of its moment.
    pub(super) fn note(&mut self, detail: Detail) -> u32 {
        if detail == Detail::default() {
            return 0;
        }
        self.last = self.last.wrapping_add(1).max(1);
        let entry = (self.last, detail);
        match self.kept.get_mut(self.last as usize % MOST) {
            Some(place) => *place = entry,
            None => {
                // The first is number 1.
                if self.kept.is_empty() {
                    self.kept.push((0, Detail::default()));
                }
                self.kept.push(entry);
            }
        }
        self.last
    }

    /// What is known of the operation of this number; nothing where it was forgotten.
    pub(super) fn of(&self, number: u32) -> Detail {
        let place = self.kept.get(number as usize % MOST);
        let known = place.filter(|(known, _)| number != 0 && *known == number);
        known.map_or_else(Detail::default, |(_, detail)| *detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(rtt_us: u32) -> Detail {
        let mut detail = Detail::default();
        detail.transport.rtt_us = rtt_us;
        detail
    }

    #[test]
    fn the_last_are_known_and_memory_is_bounded() {
        let mut details = Details::default();
        assert_eq!(details.note(Detail::default()), 0);
        assert_eq!(details.of(0), Detail::default());
        for number in 1..=MOST as u32 + 5 {
            assert_eq!(details.note(detail(number)), number);
            assert_eq!(details.of(number), detail(number));
        }
        assert_eq!(details.kept.len(), MOST);
        assert_eq!(details.of(5), Detail::default());
        assert_eq!(details.of(6), detail(6));
        // The numbers begin anew.
        details.last = u32::MAX;
        assert_eq!(details.note(detail(7)), 1);
        assert_eq!(details.of(1), detail(7));
    }
}
