//! What is told that is no span: it bears on who works for whom.
use super::Traces;
use crate::capture::{Actor, Asked, ConnId, Context, Direction, LinkKind, Moment, Pid};
use crate::discover::Runtime;
use crate::protocol::uuid::Uuid;

impl Traces {
    /// connect(2) was called.
    pub fn connecting(&mut self, conn: ConnId, moment: &Moment, runtime: Runtime) {
        self.causality.connecting(conn, moment, runtime);
    }

    /// A thread asked whether the client of a connection is still there.
    pub fn inspected(&mut self, conn: ConnId, actor: &Actor, runtime: Runtime) {
        self.causality.inspected(conn, actor, runtime);
    }

    /// Bytes passed a connection or, where the runtime forwards, it came to an end. To be told before what they carried.
    pub fn operation(&mut self, conn: ConnId, actor: &Actor, direction: Direction) {
        self.causality.operation(conn, actor, direction);
    }

    /// The socket of a connection, by its inode number.
    pub fn socket(&mut self, conn: ConnId, inode: u64) {
        self.causality.socket(conn, inode);
    }

    /// An execution context of a process, `other`, came to work for the one that ran.
    pub fn link(&mut self, moment: &Moment, other: Context, link: LinkKind) {
        self.causality.link(moment, other, link);
    }

    /// A thread of the process asked for these streams, whoever writes them.
    pub fn asks(&mut self, pid: Pid, asked: &[Asked]) {
        asked.iter().for_each(|asked| self.causality.asks(pid, asked));
    }

    /// Events were lost before `now_ns`.
    pub fn lost(&mut self, now_ns: u64) {
        self.causality.lost(now_ns);
    }

    /// A thread runs what others asked for while it waits, or `any` of its process does.
    pub fn helps(&mut self, actor: &Actor, any: bool) {
        self.causality.helps(actor, any);
    }

    /// A process is traced from this time on, which ran before.
    pub fn running(&mut self, pid: Pid, now_ns: u64) {
        self.causality.running(pid, now_ns);
    }

    /// A thread took something out of a pipe, perhaps from one of `givers`, the nearest first; it names these, in this order.
    pub fn took(&mut self, actor: &Actor, pipe: u64, givers: Vec<Pid>, named: Vec<Uuid>) {
        self.causality.took(actor, pipe, givers, named);
    }

    /// A process is over.
    pub fn exited(&mut self, pid: Pid) {
        self.causality.exited(pid);
    }
}
