//! For which inbound request each execution context (goroutine, task) works.
//!
//! A context works for the inbound request it read last; before it has read one, for the request its creator worked for when
//! it was created. One that writes for whoever asks works for nobody by itself.
//!
//! A context may also be handed something by another, which may be work, as a pool's worker gets, or not: an answer it
//! waited for, a token, a connection of a pool. So what is handed counts as follows:
//!
//! * Where those who took something give something there, connections or buffers go round: that is no work, whoever takes it.
//! * What comes from the same request changes nothing, nor what comes from a context that serves none while its own request is open.
//! * What is handed for a request that is open is work, unless the context gave the other something before, which this may be the answer
//!   to. A context that works for no request takes it, and where it took it for the place at which it takes work.
//! * At that place it takes work again. If it did nothing since the last time and the request it had then is still open, it may
//!   be collecting, and what it does next is unknown.
//! * Anything else contradicts: it is unknown from there on. Where it was work, and the request the context was made for is over, the
//!   place may be where it takes work.
use std::collections::{HashMap, HashSet, VecDeque};

use foldhash::fast::RandomState;

use super::recent::Recent;
use crate::capture::{ConnId, Context, Pid};
use crate::span::SpanKey;

/// Contexts that are remembered; the oldest that serve nothing are forgotten.
const MAX_CONTEXTS: usize = 131_072;

/// Things left for another context that are remembered.
const MAX_LEFT: usize = 16_384;

/// Places where things go round that are remembered.
const MAX_ROUNDS: usize = 4096;

/// Pairs of contexts of which one may answer the other that are remembered.
const MAX_OWING: usize = 65_536;

/// Places where a context took something that are remembered.
const MAX_TAKEN: usize = 4;

/// A context of a process.
pub(super) type Key = (Pid, u16, u64);

/// The context as a number; none where a thread is the context, or nothing is known.
pub(super) const fn key(pid: Pid, context: Context) -> Option<Key> {
    match context {
        Context::Goroutine(id) => Some((pid, 1, id)),
        Context::Python(id) => Some((pid, 2, id)),
        Context::Tokio(id) => Some((pid, 3, id)),
        Context::Node(id) => Some((pid, 4, id)),
        Context::Handed(id) => Some((pid, 6, id)),
        // Java's threads, virtual or not, are judged as threads are.
        Context::Java(_) | Context::Thread | Context::Unknown => None,
    }
}

/// Whether it stands for none: the runtime itself.
pub(super) const fn is_nobody(key: Key) -> bool {
    key.2 == 0
}

/// Whether it is Go's.
pub(super) const fn is_goroutine(key: Key) -> bool {
    key.1 == 1
}

/// Whether it is Python's.
pub(super) const fn is_python(key: Key) -> bool {
    key.1 == 2
}

/// Whether it is Java's, as the hook tells it.
pub(super) const fn is_handed(key: Key) -> bool {
    key.1 == 6
}

/// What a context is called in `clew.parent.source`.
pub(super) const fn kind_name(key: Key) -> &'static str {
    match key.1 {
        1 => "goroutine",
        2 => "context",
        3 => "task",
        4 => "async",
        6 => "handed",
        _ => "thread",
    }
}

impl Works {
    /// The request, if there is one.
    pub(super) const fn request(self) -> Option<SpanKey> {
        match self {
            Self::For(span) | Self::After(span) | Self::Lent(span) => Some(span),
            Self::Unknown | Self::Itself => None,
        }
    }
}

/// An inbound request and its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) span: SpanKey,
    pub(super) conn: ConnId,
}

/// Requests of several connections are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ambiguous;

/// The inbound request that is being served, of those that are open in one thread or context.
pub(super) fn served(open: &[Served]) -> Option<Result<SpanKey, Ambiguous>> {
    let first = open.first()?;
    let one = open.iter().all(|other| other.conn == first.conn);
    Some(one.then_some(first.span).ok_or(Ambiguous))
}

/// For what a context works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Works {
    /// For this request, which it reads.
    For(SpanKey),
    /// For this request, which may be over.
    After(SpanKey),
    /// For this request, if the thread that read it served no other meanwhile.
    Lent(SpanKey),
    /// It cannot be told.
    Unknown,
    /// For no request that is known.
    #[default]
    Itself,
}

#[derive(Debug, Default)]
struct Entry {
    /// Inbound requests it read that have no end.
    open: Vec<Served>,
    /// The last that ended.
    last: Option<SpanKey>,
    /// What it got from its creator or was handed: [`Works::After`], [`Works::Unknown`] or nothing.
    inherited: Works,
    /// The request for which it was made.
    made_for: Option<SpanKey>,
    /// Where in its program it takes work.
    intake: Option<u64>,
    /// It has done something since it took work.
    acted: bool,
    /// It works for whoever asks, and what it is handed is no work of its own.
    serves_all: bool,
    /// Where it took something last, the newest first.
    taken: [u64; MAX_TAKEN],
}

/// One context gave another something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handing {
    pub(super) giver: Key,
    pub(super) taker: Key,
    /// What it is for.
    pub(super) offered: Works,
    /// Where in its program the taker took it.
    pub(super) site: u64,
}

/// Something that was left.
#[derive(Debug)]
struct Left {
    giver: Key,
    offered: Works,
    /// How many were left before.
    number: u64,
}

/// Every context that has read a request or was created for one.
#[derive(Debug)]
pub(super) struct Contexts {
    entries: HashMap<Key, Entry, RandomState>,
    order: VecDeque<Key>,
    /// What lies between a context that left it and the one that will take it: by process and address.
    left: HashMap<(Pid, u64), Left>,
    /// The same by age, with those that were taken since.
    lying: VecDeque<((Pid, u64), u64)>,
    /// Places at which things are taken that those who take them give back.
    rounds: HashSet<(Pid, u64), RandomState>,
    /// Who was given something, and by whom, and has given nothing back.
    owing: Recent<(Key, Key), ()>,
}

impl Default for Contexts {
    fn default() -> Self {
        Self {
            entries: HashMap::default(),
            order: VecDeque::new(),
            left: HashMap::new(),
            lying: VecDeque::new(),
            rounds: HashSet::default(),
            owing: Recent::of(MAX_OWING),
        }
    }
}

impl Contexts {
    /// For what a context works now.
    pub(super) fn works(&self, key: Key) -> Result<Works, Ambiguous> {
        let Some(entry) = self.entries.get(&key) else {
            return Ok(Works::Itself);
        };
        match served(&entry.open) {
            Some(open) => open.map(Works::For),
            None => Ok(entry.last.map_or(entry.inherited, Works::After)),
        }
    }

    /// A context has read an inbound request.
    pub(super) fn inbound(&mut self, key: Key, request: Served) {
        self.entry(key).open.push(request);
    }

    /// An inbound request a context has read is over.
    pub(super) fn ended(&mut self, key: Key, span: SpanKey) {
        if let Some(entry) = self.entries.get_mut(&key) {
            let before = entry.open.len();
            entry.open.retain(|open| open.span != span);
            if entry.open.len() < before {
                entry.last = Some(span);
            }
        }
    }

    /// `creator` created `key`.
    pub(super) fn created(&mut self, creator: Key, key: Key) {
        let inherited = match self.works(creator) {
            Ok(Works::For(span) | Works::After(span)) => Works::After(span),
            Ok(Works::Lent(span)) => Works::Lent(span),
            Ok(Works::Itself) => Works::Itself,
            Ok(Works::Unknown) | Err(Ambiguous) => Works::Unknown,
        };
        self.inherit(key, inherited);
    }

    /// A new context works for what its creator worked for: [`Works::After`], [`Works::Unknown`] or nothing.
    pub(super) fn inherit(&mut self, key: Key, inherited: Works) {
        // Numbers may be used again.
        if inherited == Works::Itself {
            self.entries.remove(&key);
        } else {
            *self.entry(key) = Entry {
                inherited,
                made_for: inherited.request(),
                ..Entry::default()
            };
        }
    }

    /// Whether it is known for which request a context works or worked.
    fn is_known(&self, key: Key) -> bool {
        !matches!(self.works(key), Ok(Works::Itself | Works::Unknown))
    }

    /// A context has passed bytes, or given something away.
    pub(super) fn acted(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.acted = true;
        }
    }

    /// What `giver` gives away is for.
    pub(super) fn offers(&mut self, giver: Key) -> Works {
        self.acted(giver);
        match self.works(giver) {
            Ok(Works::For(span) | Works::After(span)) => Works::After(span),
            Ok(other) => other,
            Err(Ambiguous) => Works::Unknown,
        }
    }

    /// `giver` left something at `place`.
    pub(super) fn left(&mut self, giver: Key, place: u64) {
        let offered = self.offers(giver);
        let number = self.lying.back().map_or(0, |(_, number)| number + 1);
        if self.lying.len() >= 2 * MAX_LEFT {
            let left = &self.left;
            self.lying
                .retain(|(at, number)| left.get(at).is_some_and(|left| left.number == *number));
        }
        // Much is left for good: the answer to a call that was given up. The oldest is then of unknown origin.
        while self.left.len() >= MAX_LEFT
            && let Some((at, number)) = self.lying.pop_front()
        {
            if self.left.get(&at).is_some_and(|left| left.number == number) {
                self.left.remove(&at);
            }
        }
        let at = (giver.0, place);
        self.lying.push_back((at, number));
        self.left.insert(at, Left { giver, offered, number });
    }

    /// What was left at `place` is for, if it was `giver` who left it.
    pub(super) fn taken(&mut self, giver: Key, place: u64) -> Works {
        match self.left.remove(&(giver.0, place)) {
            Some(left) if left.giver == giver => left.offered,
            _ => Works::Unknown,
        }
    }

    /// Whether the giver of something, or who gave there before, took it there.
    fn goes_round(&mut self, handing: &Handing) -> bool {
        let Handing { giver, taker, site, .. } = handing;
        let place = (giver.0, *site);
        let returns = self.entries.get(giver).is_some_and(|entry| entry.taken.contains(site));
        if returns && self.rounds.len() < MAX_ROUNDS && self.rounds.insert(place) {
            // What was taken there before was no work either.
            for (key, entry) in &mut self.entries {
                if key.0 == giver.0 && entry.intake == Some(*site) {
                    entry.inherited = Works::Unknown;
                }
            }
        }
        if let Some(entry) = self.entries.get_mut(taker)
            && entry.taken.first() != Some(site)
        {
            entry.taken.rotate_right(1);
            entry.taken[0] = *site;
        }
        returns || self.rounds.contains(&place)
    }

    /// Whether something may be the answer to what its taker gave before.
    fn answers(&mut self, handing: &Handing) -> bool {
        let Handing { giver, taker, .. } = *handing;
        let answers = self.owing.remove(&(giver, taker)).is_some();
        if !answers {
            self.owing.insert((taker, giver), ());
        }
        answers
    }

    /// Something was given. `is_open` tells whether a request has no end yet; `blind`, that a context of which nothing is known may
    /// serve a request, and get what is no work.
    pub(super) fn handed(&mut self, handing: &Handing, blind: bool, is_open: impl Fn(SpanKey) -> bool) {
        let Handing {
            taker, offered, site, ..
        } = *handing;
        if self.goes_round(handing) {
            return;
        }
        let is_answer = self.answers(handing);
        let unseen = blind && !self.is_known(taker);
        if unseen || (offered == Works::Itself && !self.entries.contains_key(&taker)) {
            return;
        }
        let entry = self.entry(taker);
        // What it reads itself is beyond doubt.
        let known = !entry.open.is_empty() || entry.last.is_some() || entry.serves_all;
        if known || entry.inherited == offered {
            return;
        }
        let for_open = |works| matches!(works, Works::After(span) if is_open(span));
        let is_work = for_open(offered) && !is_answer;
        let busy = for_open(entry.inherited);
        let takes_here = entry.intake == Some(site);
        entry.inherited = match entry.inherited {
            Works::Itself if is_work => offered,
            _ if takes_here && !is_answer && (!busy || entry.acted) => offered,
            // The answer of one that serves no request.
            Works::After(_) if busy && !takes_here && !matches!(offered, Works::After(_)) => return,
            _ => Works::Unknown,
        };
        if is_work && !entry.made_for.is_some_and(is_open) {
            entry.intake = Some(site);
        }
        entry.acted = false;
    }

    /// What says for whom `key` works is contradicted, unless it read a request itself.
    pub(super) fn doubt(&mut self, key: Key) {
        let entry = self.entry(key);
        if entry.open.is_empty() && entry.last.is_none() {
            entry.inherited = Works::Unknown;
        }
    }

    /// A context works for whoever asks it.
    pub(super) fn servant(&mut self, key: Key) {
        let entry = self.entry(key);
        entry.inherited = Works::Unknown;
        entry.serves_all = true;
    }

    /// A context serves this inbound request, whatever it did before; `is_open` says that the request has no end yet.
    pub(super) fn serves(&mut self, key: Key, request: Served, is_open: bool) {
        let entry = self.entry(key);
        *entry = Entry::default();
        if is_open {
            entry.open.push(request);
        } else {
            entry.last = Some(request.span);
        }
    }

    /// A context reads for many requests at once, or serves one that nobody saw: what it is handed is no work.
    pub(super) fn shared(&mut self, key: Key) {
        *self.entry(key) = Entry {
            inherited: Works::Unknown,
            serves_all: true,
            ..Entry::default()
        };
    }

    /// A process is over.
    pub(super) fn exited(&mut self, pid: Pid) {
        self.entries.retain(|(process, ..), _| *process != pid);
        self.order.retain(|(process, ..)| *process != pid);
        self.left.retain(|(process, _), _| *process != pid);
        self.lying.retain(|((process, _), _)| *process != pid);
        self.rounds.retain(|(process, _)| *process != pid);
        self.owing.retain(|((process, ..), _)| *process != pid);
    }

    fn entry(&mut self, key: Key) -> &mut Entry {
        if !self.entries.contains_key(&key) {
            self.make_room();
            self.order.push_back(key);
        }
        self.entries.entry(key).or_default()
    }

    fn make_room(&mut self) {
        // Entries that were removed still stand in the order.
        let mut looks = self.order.len();
        while self.order.len() >= MAX_CONTEXTS && looks > 0 {
            looks -= 1;
            let Some(oldest) = self.order.pop_front() else { return };
            match self.entries.get(&oldest) {
                Some(entry) if !entry.open.is_empty() => self.order.push_back(oldest),
                Some(_) => {
                    self.entries.remove(&oldest);
                }
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn goroutine(id: u64) -> Key {
        (Pid(1), 1, id)
    }

    /// Contexts of which each of `requests` reads the request of its own number.
    fn serving(requests: &[u64]) -> Contexts {
        let mut contexts = Contexts::default();
        for id in requests {
            let request = Served {
                span: SpanKey(*id),
                conn: ConnId(*id),
            };
            contexts.inbound(goroutine(*id), request);
        }
        contexts
    }

    #[track_caller]
    fn check(contexts: &Contexts, id: u64, want: Works) {
        assert_eq!(contexts.works(goroutine(id)), Ok(want), "goroutine {id}");
    }

    fn hand(contexts: &mut Contexts, from: u64, to: u64, site: u64, open: &[u64]) {
        let (giver, taker) = (goroutine(from), goroutine(to));
        let offered = contexts.offers(giver);
        let handing = Handing {
            giver,
            taker,
            offered,
            site,
        };
        contexts.handed(&handing, false, |span| open.contains(&span.0));
    }

    #[test]
    fn children_work_for_their_creators_request() {
        let mut contexts = serving(&[1]);
        contexts.created(goroutine(1), goroutine(5));
        contexts.created(goroutine(5), goroutine(6));
        check(&contexts, 6, Works::After(SpanKey(1)));
        contexts.ended(goroutine(1), SpanKey(1));
        check(&contexts, 1, Works::After(SpanKey(1)));
        contexts.created(goroutine(7), goroutine(6));
        check(&contexts, 6, Works::Itself);
        contexts.servant(goroutine(5));
        check(&contexts, 5, Works::Unknown);
        contexts.exited(Pid(1));
        check(&contexts, 5, Works::Itself);
    }

    #[test]
    fn two_connections_at_once_are_ambiguous() {
        let mut contexts = serving(&[1]);
        let second = Served {
            span: SpanKey(2),
            conn: ConnId(2),
        };
        contexts.inbound(goroutine(1), second);
        assert_eq!(contexts.works(goroutine(1)), Err(Ambiguous));
        contexts.created(goroutine(1), goroutine(5));
        check(&contexts, 5, Works::Unknown);
    }

    #[test]
    fn workers_take_work_at_one_place() {
        let mut contexts = serving(&[1, 2, 3]);
        hand(&mut contexts, 1, 9, 77, &[1, 2]);
        check(&contexts, 9, Works::After(SpanKey(1)));
        // A token, or an answer: not where work is taken.
        contexts.acted(goroutine(9));
        hand(&mut contexts, 2, 9, 77, &[1, 2]);
        check(&contexts, 9, Works::After(SpanKey(2)));
        // It did nothing in between, and what it had is not over.
        hand(&mut contexts, 3, 9, 77, &[1, 2, 3]);
        check(&contexts, 9, Works::Unknown);
        hand(&mut contexts, 3, 9, 77, &[]);
        check(&contexts, 9, Works::After(SpanKey(3)));
    }

    #[test]
    fn what_is_handed_elsewhere_contradicts() {
        let mut contexts = serving(&[1, 2]);
        contexts.created(goroutine(1), goroutine(5));
        hand(&mut contexts, 1, 5, 70, &[1, 2]);
        check(&contexts, 5, Works::After(SpanKey(1)));
        // An answer of one that serves nothing.
        hand(&mut contexts, 8, 5, 71, &[1, 2]);
        check(&contexts, 5, Works::After(SpanKey(1)));
        hand(&mut contexts, 2, 5, 72, &[1, 2]);
        check(&contexts, 5, Works::Unknown);
        // What a context reads itself is beyond doubt.
        hand(&mut contexts, 2, 1, 72, &[1, 2]);
        check(&contexts, 1, Works::For(SpanKey(1)));
    }

    #[test]
    fn what_was_left_is_taken_once() {
        let mut contexts = serving(&[1]);
        contexts.left(goroutine(1), 0xc000);
        contexts.ended(goroutine(1), SpanKey(1));
        assert_eq!(contexts.taken(goroutine(2), 0xc000), Works::Unknown);
        contexts.left(goroutine(1), 0xc000);
        assert_eq!(contexts.taken(goroutine(1), 0xc000), Works::After(SpanKey(1)));
        assert_eq!(contexts.taken(goroutine(1), 0xc000), Works::Unknown);
    }

    #[test]
    fn memory_is_bounded() {
        let mut contexts = serving(&[1]);
        for id in 2..(MAX_CONTEXTS as u64 + 100) {
            contexts.created(goroutine(1), goroutine(id));
            contexts.left(goroutine(id), id);
        }
        assert!(contexts.entries.len() <= MAX_CONTEXTS);
        assert_eq!(contexts.left.len(), MAX_LEFT);
        check(&contexts, 1, Works::For(SpanKey(1)));
        // What was left for good makes room for what was not.
        let last = MAX_CONTEXTS as u64 + 99;
        assert_eq!(contexts.taken(goroutine(last), last), Works::After(SpanKey(1)));
        for _ in 0..3 * MAX_LEFT {
            contexts.left(goroutine(1), 1);
            assert_eq!(contexts.taken(goroutine(1), 1), Works::After(SpanKey(1)));
        }
        assert!(contexts.lying.len() <= 2 * MAX_LEFT);
        assert_eq!(contexts.left.len(), MAX_LEFT - 1);
    }
}
