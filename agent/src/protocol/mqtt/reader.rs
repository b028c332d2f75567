//! Cuts one direction into packets.
use super::packet::{self, Head, Heading};
use crate::capture::Moment;
use crate::protocol::{Mark, Recognized};

/// Bytes of a packet's content that are kept: topic and properties of a message.
const MAX_KEPT: usize = 16 * 1024;
/// Bytes in which no packet was found before the protocol is called a wrong guess.
const MAX_VAIN: u64 = 4 << 20;

/// What was read.
#[derive(Debug)]
pub(super) enum Read<'a> {
    /// All bytes were taken.
    More,
    Packet(Packet<'a>),
    /// Bytes were missed; from here on packets are looked for.
    Lost,
    Invalid,
    Hopeless,
}

/// A packet.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    pub(super) first: u8,
    /// The first bytes of its content, as far as they were seen in one stretch.
    pub(super) content: &'a [u8],
    /// Bytes of its content.
    pub(super) length: u64,
    pub(super) begin: Mark,
    pub(super) end: Mark,
}

impl Packet<'_> {
    /// All of its content is here.
    pub(super) const fn is_whole(&self) -> bool {
        self.content.len() as u64 == self.length
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head,
    /// Bytes of the content to come; whether some before them were not seen.
    Content {
        first: u8,
        length: u64,
        left: u64,
        cut: bool,
    },
    /// Packets are looked for; whether what has come since the beginning of an operation may be one.
    Seeking(bool),
}

/// Reads one direction.
#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    /// Of the packet being read: its first byte, and what is kept of its head or content.
    begin: Option<Mark>,
    kept: Vec<u8>,
    /// What was kept of the packet that was read last.
    done: Vec<u8>,
    /// The operation that was seen last.
    last: Option<Moment>,
    in_vain: u64,
    /// What is left of this operation is of no use.
    skipped: Option<Moment>,
}

impl Reader {
    /// A direction; whether its first byte begins a packet.
    pub(super) const fn new(begins: bool) -> Self {
        Self {
            state: if begins { State::Head } else { State::Seeking(false) },
            begin: None,
            kept: Vec::new(),
            done: Vec::new(),
            last: None,
            in_vain: 0,
            skipped: None,
        }
    }

    /// Whether packets are looked for.
    pub(super) const fn is_lost(&self) -> bool {
        matches!(self.state, State::Seeking(_))
    }

    fn lose(&mut self) {
        self.state = State::Seeking(false);
        self.begin = None;
        self.kept.clear();
    }

    /// Something in the packet that was read last is wrong: what is left of this operation is passed.
    pub(super) fn distrust(&mut self, at: Mark) {
        self.lose();
        self.skipped = Some(at.moment);
    }

    /// Reads up to the end of a packet; how many bytes were taken.
    pub(super) fn read<'a>(&'a mut self, bytes: &'a [u8], at: Mark) -> (usize, Read<'a>) {
        if self.skipped == Some(at.moment) {
            return (bytes.len(), Read::More);
        }
        let last = self.last.replace(at.moment);
        match self.state {
            State::Head => self.head(bytes, at),
            State::Content {
                first,
                length,
                left,
                cut,
            } => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                if !cut {
                    let room = MAX_KEPT.saturating_sub(self.kept.len()).min(taken);
                    self.kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
                }
                let left = left.saturating_sub(taken as u64);
                self.state = State::Content {
                    first,
                    length,
                    left,
                    cut,
                };
                if left > 0 {
                    return (taken, Read::More);
                }
                (taken, self.finish(first, length, at.behind(taken as u64)))
            }
            State::Seeking(may_be) => self.seek(bytes, at, last != Some(at.moment), may_be),
        }
    }

    fn head<'a>(&'a mut self, bytes: &'a [u8], at: Mark) -> (usize, Read<'a>) {
        // What is whole in this piece is taken from there.
        if self.kept.is_empty()
            && let Heading::Is(head) = packet::head(bytes)
            && let Some(end) = usize::try_from(head.length)
                .ok()
                .and_then(|length| length.checked_add(head.bytes))
            && let Some(content) = bytes.get(head.bytes..end)
        {
            let packet = Packet {
                first: head.first,
                content: content.get(..MAX_KEPT).unwrap_or(content),
                length: head.length,
                begin: self.begin.take().unwrap_or(at),
                end: at.behind(end as u64),
            };
            return (end, Read::Packet(packet));
        }
        self.begin.get_or_insert(at);
        for (place, byte) in bytes.iter().enumerate() {
            self.kept.push(*byte);
            let taken = place.saturating_add(1);
            match packet::head(&self.kept) {
                Heading::More => {}
                Heading::Invalid => {
                    self.distrust(at);
                    return (0, Read::Invalid);
                }
                Heading::Is(head) => return (taken, self.headed(head, at.behind(taken as u64))),
            }
        }
        (bytes.len(), Read::More)
    }

    fn headed(&mut self, head: Head, end: Mark) -> Read<'_> {
        self.kept.clear();
        self.state = State::Content {
            first: head.first,
            length: head.length,
            left: head.length,
            cut: false,
        };
        if head.length > 0 {
            return Read::More;
        }
        self.finish(head.first, 0, end)
    }

    /// The packet is complete. What was kept of it is there until the next is read.
    fn finish(&mut self, first: u8, length: u64, end: Mark) -> Read<'_> {
        self.state = State::Head;
        let begin = self.begin.take().unwrap_or(end);
        std::mem::swap(&mut self.kept, &mut self.done);
        self.kept.clear();
        Read::Packet(Packet {
            first,
            content: &self.done,
            length,
            begin,
            end,
        })
    }

    /// Looks for a packet at the beginning of an operation. Programs read one in several operations, so it may go on with others.
    fn seek<'a>(&'a mut self, bytes: &'a [u8], at: Mark, new: bool, may_be: bool) -> (usize, Read<'a>) {
        if new && !may_be {
            self.kept.clear();
            self.begin = Some(at);
        } else if !may_be {
            return self.vain(bytes.len(), at);
        }
        for (place, byte) in bytes.iter().enumerate() {
            self.kept.push(*byte);
            let taken = place.saturating_add(1);
            match packet::begins(&self.kept) {
                Recognized::More => {}
                Recognized::No => {
                    self.lose();
                    // The rest of this operation is no beginning.
                    return self.vain(bytes.len(), at);
                }
                Recognized::Yes => {
                    self.in_vain = 0;
                    let Heading::Is(head) = packet::head(&self.kept) else {
                        continue;
                    };
                    let content = self.kept.split_off(head.bytes.min(self.kept.len()));
                    self.kept = content;
                    let left = head.length.saturating_sub(self.kept.len() as u64);
                    self.state = State::Content {
                        first: head.first,
                        length: head.length,
                        left,
                        cut: false,
                    };
                    if left > 0 {
                        return (taken, Read::More);
                    }
                    return (taken, self.finish(head.first, head.length, at.behind(taken as u64)));
                }
            }
        }
        self.state = State::Seeking(true);
        (bytes.len(), Read::More)
    }

    fn vain(&mut self, taken: usize, at: Mark) -> (usize, Read<'static>) {
        self.in_vain = self.in_vain.saturating_add(taken as u64);
        if self.in_vain >= MAX_VAIN {
            self.skipped = Some(at.moment);
            return (taken, Read::Hopeless);
        }
        (taken, Read::More)
    }

    /// Passes a hole that begins at `at`.
    pub(super) fn hole(&mut self, length: u64, at: Mark) -> Read<'_> {
        self.last = Some(at.moment);
        match self.state {
            State::Content {
                first,
                length: whole,
                left,
                ..
            } if length <= left => {
                let left = left.saturating_sub(length);
                self.state = State::Content {
                    first,
                    length: whole,
                    left,
                    cut: true,
                };
                if left > 0 {
                    return Read::More;
                }
                self.finish(first, whole, at.behind(length))
            }
            State::Seeking(_) => {
                self.lose();
                Read::More
            }
            _ => {
                self.lose();
                Read::Lost
            }
        }
    }
}
