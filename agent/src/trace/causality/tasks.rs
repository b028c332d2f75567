//! Contexts that a server on an event loop makes for its connections and requests.
use super::{Causality, Inbound, thread_of};
use crate::capture::{ConnId, Context, LinkKind, Moment, Pid};
use crate::trace::contexts::{self, Ambiguous, Handing, Works, served};
use crate::trace::families;
use crate::trace::threads::Tid;

impl Causality {
    /// An execution context came to work for another.
    pub(in crate::trace) fn link(&mut self, moment: &Moment, other: Context, link: LinkKind) {
        let actor = &moment.actor;
        let Some(other) = contexts::key(actor.pid, other) else {
            return;
        };
        let Some(context) = contexts::key(actor.pid, actor.context) else {
            match link {
                LinkKind::Submitted => self.lent(thread_of(actor), other),
                LinkKind::Created => match self.lends(thread_of(actor)) {
                    Works::Itself => {}
                    works => self.contexts.inherit(other, works),
                },
                _ => {}
            }
            return;
        };
        let blind = contexts::is_goroutine(other) && self.is_blind(actor.pid, moment.time_ns);
        if matches!(link, LinkKind::Created | LinkKind::Handed { .. }) {
            self.multiplexed.passed(context, other);
        }
        match link {
            LinkKind::Created if blind && self.works(context) == Ok(Works::Itself) => {
                self.contexts.inherit(other, Works::Unknown);
            }
            LinkKind::Created | LinkKind::Submitted => self.created(context, other),
            LinkKind::Within => self.within(other, context),
            LinkKind::Servant => self.contexts.servant(other),
            LinkKind::Left { place } => self.contexts.left(context, place),
            // A pool of connections took it: that is no work.
            LinkKind::Taken { place, .. } if contexts::is_nobody(other) => {
                self.contexts.taken(context, place);
            }
            LinkKind::Serves { stream } => self.serves(context, other, stream),
            LinkKind::Writes { stream, place } => self.writes(context, other, stream, place),
            LinkKind::Handed { site } | LinkKind::Taken { site, .. } => {
                let inbound = &self.inbound;
                let is_open = |span| inbound.get(&span).is_some_and(Inbound::is_open);
                let offered = match link {
                    LinkKind::Taken { place, .. } => self.contexts.taken(context, place),
                    _ => self.contexts.offers(context),
                };
                let handing = Handing {
                    giver: context,
                    taker: other,
                    offered,
                    site,
                };
                self.contexts.handed(&handing, blind, is_open);
            }
            LinkKind::Accepted(socket) => {
                self.contexts.inherit(other, Works::Itself);
                self.families.join(other, socket);
            }
            LinkKind::Read(socket) => {
                let conn = self
                    .families
                    .conn(socket)
                    .filter(|conn| self.serving.contains_key(conn));
                match conn {
                    Some(conn) => {
                        let works = self.works_on(conn);
                        self.contexts.inherit(other, works);
                    }
                    None => self.created(context, other),
                }
            }
        }
    }

    /// Requests may be open of which nobody saw which context read them, or that they were read: each that is not known may serve one
    /// of them.
    fn is_blind(&self, pid: Pid, now_ns: u64) -> bool {
        let unread = self.processes.get(&pid).is_some_and(|process| process.unread > 0);
        let older = self.older.get(&pid).is_some_and(|until| now_ns < *until);
        unread || older || now_ns < self.unseen_until_ns
    }

    /// `creator` created `context`.
    pub(super) fn created(&mut self, creator: contexts::Key, context: contexts::Key) {
        if let Some(socket) = self.families.of(creator) {
            match self.families.served(socket) {
                families::Served::Nothing => self.families.join(context, socket),
                families::Served::One(_) | families::Served::Many(_) => {
                    let works = match self.families.conn(socket) {
                        Some(conn) => self.works_on(conn),
                        None => Works::Unknown,
                    };
                    self.contexts.inherit(context, works);
                }
            }
            return;
        }
        let span = self.contexts.works(creator).ok().and_then(Works::request);
        // What serves a request may be what goes on with the next that waits on the connection.
        if span.is_some_and(|span| contexts::is_python(creator) && self.overlapped.contains(&span)) {
            self.contexts.inherit(context, Works::Unknown);
        } else {
            self.contexts.created(creator, context);
        }
    }

    /// The thread `tid`, which runs no context, handed `work` to a pool.
    pub(super) fn lent(&mut self, tid: Tid, work: contexts::Key) {
        let works = match served(&self.served_by(tid)) {
            Some(Ok(span)) => Works::Lent(span),
            Some(Err(Ambiguous)) => Works::Unknown,
            None => self.lends(tid),
        };
        self.contexts.inherit(work, works);
    }

    /// `context` runs where a thread does `work`. If they are for different requests, nobody knows which is right.
    pub(super) fn within(&mut self, work: contexts::Key, context: contexts::Key) {
        let of = |works: Result<Works, Ambiguous>| works.ok().and_then(Works::request);
        if let (Some(one), Some(other)) = (of(self.works(work)), of(self.works(context)))
            && one != other
        {
            self.contexts.doubt(context);
        }
    }

    /// For what a context works that was made for a connection while it was served.
    pub(super) fn works_on(&self, conn: ConnId) -> Works {
        match self.serving.get(&conn).map(|open| (open.len(), open.front())) {
            Some((1, Some(span))) => Works::After(*span),
            _ => Works::Unknown,
        }
    }

    /// For what a context works now.
    pub(super) fn works(&self, context: contexts::Key) -> Result<Works, Ambiguous> {
        let works = self.contexts.works(context)?;
        let (Works::Itself, Some(socket)) = (works, self.families.of(context)) else {
            return Ok(works);
        };
        Ok(match self.families.served(socket) {
            families::Served::Nothing => Works::Itself,
            families::Served::One(span) => Works::For(span),
            // It may still work for the one before.
            families::Served::Many(_) => Works::Unknown,
        })
    }

    /// The socket of a connection, by its inode number.
    pub(in crate::trace) fn socket(&mut self, conn: ConnId, inode: u64) {
        self.families.connection(conn, inode);
    }
}
