//! For which inbound request each execution context (goroutine, task) works.
//!
//! A context works for the inbound request it read last; before it has read one, for the request its creator worked for when
//! it was created. One that writes for whoever asks works for nobody by itself.
use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::capture::{ConnId, Context, Pid};
use crate::span::SpanKey;

/// Contexts that are remembered; the oldest that serve nothing are forgotten.
const MAX_CONTEXTS: usize = 131_072;

/// A context of a process.
pub(super) type Key = (Pid, u16, u64);

/// The context as a number; none where the thread is the context, or nothing is known.
pub(super) const fn key(pid: Pid, context: Context) -> Option<Key> {
    match context {
        Context::Goroutine(id) => Some((pid, 1, id)),
        Context::Python(id) => Some((pid, 2, id)),
        Context::Tokio(id) => Some((pid, 3, id)),
        Context::Node(id) => Some((pid, 4, id)),
        Context::Java(id) => Some((pid, 5, id)),
        Context::Thread | Context::Unknown => None,
    }
}

/// What a context is called in `clew.parent.source`.
pub(super) const fn kind_name(key: Key) -> &'static str {
    match key.1 {
        1 => "goroutine",
        2 => "context",
        3 => "task",
        4 => "async",
        _ => "thread",
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
    /// What it got from its creator: [`Works::After`], [`Works::Unknown`] or nothing.
    inherited: Works,
}

/// Every context that has read a request or was created for one.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    entries: HashMap<Key, Entry, RandomState>,
    order: VecDeque<Key>,
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
            Ok(Works::Itself) => Works::Itself,
            Ok(Works::Unknown) | Err(Ambiguous) => Works::Unknown,
        };
        // Numbers may be used again.
        if inherited == Works::Itself {
            self.entries.remove(&key);
        } else {
            *self.entry(key) = Entry {
                inherited,
                ..Entry::default()
            };
        }
    }

    /// A context works for whoever asks it.
    pub(super) fn servant(&mut self, key: Key) {
        self.entry(key).inherited = Works::Unknown;
    }

    /// A process is over.
    pub(super) fn exited(&mut self, pid: Pid) {
        self.entries.retain(|(process, ..), _| *process != pid);
        self.order.retain(|(process, ..)| *process != pid);
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
