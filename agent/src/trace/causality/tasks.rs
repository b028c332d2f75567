//! Contexts that a server on an event loop makes for its connections and requests.
use super::Causality;
use crate::capture::ConnId;
use crate::trace::contexts::{self, Ambiguous, Works};
use crate::trace::families;

impl Causality {
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
        let span = match self.contexts.works(creator) {
            Ok(Works::For(span) | Works::After(span)) => Some(span),
            _ => None,
        };
        // What serves a request may be what goes on with the next that waits on the connection.
        if span.is_some_and(|span| contexts::is_python(creator) && self.overlapped.contains(&span)) {
            self.contexts.inherit(context, Works::Unknown);
        } else {
            self.contexts.created(creator, context);
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
