//! What the kernel saw, in types the rest of the agent can hold.
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use clew_common::assist;
use clew_common::event::BLOCKED;
use clew_common::unwind::Registers;
use smol_str::SmolStr;

/// A process, as the initial PID namespace numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(pub u32);

/// A connection as seen from one of its ends, unique while the agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// Which way bytes went, seen from the traced process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The process received them.
    Ingress,
    /// The process sent them.
    Egress,
}

impl Direction {
    /// The other way.
    pub const fn flip(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }
}

/// The unit of execution inside a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Context {
    /// The thread itself; whether it stands for one request depends on the runtime.
    #[default]
    Thread,
    /// A goroutine, by its number.
    Goroutine(u64),
    /// A Python `contextvars.Context`, by its address.
    Python(u64),
    /// A tokio task, by its number.
    Tokio(u64),
    /// A Node async id.
    Node(u64),
    /// A virtual thread of Java, by its number with [`JAVA_VIRTUAL`](clew_common::event::JAVA_VIRTUAL); 0 is a thread of Java that
    /// is the kernel's.
    Java(u64),
    /// The number under which a thread of Java works, by whoever handed it the work.
    Handed(u64),
    /// The thread runs something that could not be named.
    Unknown,
}

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The process.
    pub pid: Pid,
    /// The thread.
    pub tid: u32,
    /// What ran on the thread.
    pub context: Context,
    /// How often the thread had asked for readiness (`epoll_wait` and its kin); 0 where unknown. Two events of a thread
    /// with the same turn, not 0, lie between two such calls.
    pub turn: u32,
}

impl Actor {
    /// A thread, of which nothing more is known.
    pub const fn thread(pid: Pid, tid: u32) -> Self {
        Self {
            pid,
            tid,
            context: Context::Thread,
            turn: 0,
        }
    }
}

/// When something happened and who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Who.
    pub actor: Actor,
    /// What else is known of it, for whoever keeps that; 0 for nothing.
    pub detail: u32,
}

impl Moment {
    /// When something happened and who did it.
    pub const fn new(time_ns: u64, actor: Actor) -> Self {
        Self {
            time_ns,
            actor,
            detail: 0,
        }
    }
}

/// What TCP says of a connection at an operation; zeros where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// Smoothed time of a round trip, microseconds.
    pub rtt_us: u32,
    /// Segments this end has sent again so far.
    pub retransmits: u32,
    /// How long the operation's bytes had lain in the socket before it took them, nanoseconds; at least.
    pub buffered_ns: u64,
}

/// Where in its program a thread is that asks others, or serves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Which thread.
    pub moment: Moment,
    /// The connection it sends or reads on next, where it does itself.
    pub conn: Option<ConnId>,
    /// Names the stack.
    pub hash: u64,
    /// Whose functions they are.
    pub language: Language,
    /// Addresses; Python: pairs of a code object and an instruction. Empty where the stack was told before.
    pub words: Vec<u64>,
    /// Where it could not be walked to its end: the rest.
    pub rest: Option<Box<StackRest>>,
}

/// What the words of a [`Stack`] are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Go.
    Go,
    /// Python's interpreter, of the line 3 and this.
    Python {
        /// The second number of its release line.
        minor: u8,
    },
    /// Compiled code; addresses are as [`Place::pc`](clew_common::unwind::Place::pc).
    Compiled {
        /// Names the memory they are in: [`clew_common::unwind::space`].
        space: u64,
    },
}

/// What lies on a stack above what was walked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackRest {
    /// The registers of the first frame that was not walked.
    pub registers: Registers,
    /// Address of the first byte.
    pub start: u64,
    /// What stands there.
    pub bytes: Vec<u8>,
}

impl StackRest {
    /// The word at an address, where it was copied.
    pub fn word(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.start)?).ok()?;
        let bytes = self.bytes.get(at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }
}

/// A signal that ends a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// When which thread got it.
    pub moment: Moment,
    /// Its number.
    pub number: u32,
    /// Why it was sent (`si_code` of sigaction(2)).
    pub code: i32,
    /// The address that was touched, of signals that tell one.
    pub address: u64,
    /// Names the thread's stack, which was told before; 0 where it was not.
    pub stack: u64,
}

/// Where the time of a thread, or of the goroutine or task that it ran, went up to an operation, nanoseconds; zeros where that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Whose time it is: the thread's, or that of the goroutine or task. Unknown where it ran one whose time is not followed.
    pub context: Context,
    /// When this was so.
    pub time_ns: u64,
    /// On a CPU.
    pub cpu_ns: u64,
    /// Waiting for one.
    pub runqueue_ns: u64,
    /// Blocked, by the `BLOCKED_` constants of [`clew_common::event`].
    pub blocked_ns: [u64; BLOCKED],
    /// Changes when the thread turns to another connection that brings requests, and when to any other connection.
    pub turned: [u32; 2],
}

/// Who talks to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// TCP over IPv4 or IPv6. IPv4-mapped addresses are given as IPv4.
    Tcp {
        /// This end.
        local: SocketAddr,
        /// The other end.
        remote: SocketAddr,
    },
    /// A UDP socket that is connected, and each of its messages.
    Udp {
        /// This end.
        local: SocketAddr,
        /// The other end.
        remote: SocketAddr,
    },
    /// A Unix stream socket.
    Unix {
        /// Kernel address of this end, only to be compared.
        address: u64,
        /// Kernel address of the other end, 0 where it is gone.
        peer: u64,
    },
}

impl Endpoints {
    /// The context in which Node.js handles `stream` of the connection: see `clew_common::assist`. None but of TCP.
    pub fn stream_context(&self, stream: u32) -> Option<Context> {
        self.named(|remote, local, address| assist::stream_id(remote, local, address, stream))
    }

    /// The context in which Node.js handles the request whose head is complete with the plaintext up to `offset`. None but of TCP.
    pub fn plain_context(&self, offset: u64) -> Option<Context> {
        self.named(|remote, local, address| assist::id(remote, local, address, offset))
    }

    fn named(&self, name: impl FnOnce(u16, u16, u32) -> u64) -> Option<Context> {
        let Self::Tcp { local, remote } = self else { return None };
        let mut words = [0; 4];
        let mut keep = |bytes: &[u8]| {
            for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
                *word = bytes.try_into().map_or(0, u32::from_ne_bytes);
            }
        };
        match remote.ip() {
            IpAddr::V4(ip) => keep(&ip.octets()),
            IpAddr::V6(ip) => keep(&ip.octets()),
        }
        Some(Context::Node(name(remote.port(), local.port(), assist::fold(words))))
    }
}

/// The first sight of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The connection.
    pub conn: ConnId,
    /// When and by whom it was first seen.
    pub moment: Moment,
    /// Its ends.
    pub endpoints: Endpoints,
    /// Inode number of its network namespace.
    pub netns: u64,
    /// Inode number of its socket.
    pub inode: u64,
    /// Sequence numbers before the first byte of (this end, the other end), where the transport has them.
    pub isn: Option<(u32, u32)>,
    /// This end was seen opening it: connect(2).
    pub opened_here: bool,
    /// The socket may be older than the agent and offsets do not count from byte 0.
    pub midway: bool,
}

/// Bytes that passed, or the end of a direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The connection.
    pub conn: ConnId,
    /// The end of the operation, and who performed it.
    pub moment: Moment,
    /// Which way.
    pub direction: Direction,
    /// Position of the first byte in the direction's stream.
    pub offset: u64,
    /// Bytes that passed.
    pub length: u64,
    /// The first of them; at most `length`.
    pub payload: Bytes,
    /// The other end will send nothing more.
    pub end: bool,
    /// `errno` of a failure that ends the connection; 0 for none.
    pub error: i32,
    /// How the connection did.
    pub transport: Transport,
}

/// A session of encryption, unique while the agent runs. No connection has its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// The library that keeps a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Library {
    /// OpenSSL, and what has its functions.
    OpenSsl,
    /// Go's crypto/tls.
    Go,
    /// rustls.
    Rustls,
    /// GnuTLS.
    GnuTls,
    /// mbedTLS.
    MbedTls,
}

/// The first sight of a session of encryption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The session.
    pub session: SessionId,
    /// When, and who used it.
    pub moment: Moment,
    /// The connection that carries it, where the kernel side knows it.
    pub conn: Option<ConnId>,
    /// The random number of its ClientHello, where it could be read.
    pub random: Option<[u8; 32]>,
    /// It was seen being made: its plaintext counts from byte 0.
    pub fresh: bool,
    /// Whose it is.
    pub library: Library,
}

/// Plaintext that passed between a program and the library that encrypts for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain {
    /// The session.
    pub session: SessionId,
    /// Offset in the connection's own stream just past the records of the call, where that is known.
    pub wire: Option<u64>,
    /// As of a connection; the offset counts from where the session was first seen. `conn` is the connection that carries it
    /// where the kernel side knows it, else 0.
    pub data: Data,
}

/// A file that a process has open and logs to, only to be compared while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Kernel address of the open file.
    pub address: u64,
    /// Its inode number.
    pub inode: u64,
}

/// One of a process's standard streams, or a service of the host's that takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Error,
    /// syslog: each message is a datagram.
    Syslog,
    /// systemd's journal: the same, in fields.
    Journal,
}

/// Bytes that a process wrote to what it logs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogWrite {
    /// The end of the call, and who wrote.
    pub moment: Moment,
    /// Where to.
    pub file: FileId,
    /// Which of its standard streams that is, or which service, if it is one.
    pub stream: Option<Stream>,
    /// The file's own name, its end where it is longer; empty where it has none, and of standard streams.
    pub name: SmolStr,
    /// Bytes that were written.
    pub length: u64,
    /// The first of them; at most `length`.
    pub payload: Bytes,
    /// The call wrote more, which is told next.
    pub more: bool,
}

/// What a thread read from a pipe, by which others may hand it work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipeRead {
    /// The end of the call, and who read.
    pub moment: Moment,
    /// The pipe's inode number.
    pub pipe: u64,
    /// Bytes that were read.
    pub length: u64,
    /// The first of them; at most `length`.
    pub payload: Bytes,
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnState {
    /// connect(2) was called.
    Connecting,
    /// The handshake of a connection opened here is complete.
    Established,
    /// It is over.
    Closed,
    /// The peer reset it.
    ResetReceived,
    /// This host reset it.
    ResetSent,
    /// A thread asked for its TCP_INFO; the moment's actor did.
    Inspected,
    /// accept(2) returned it.
    Accepted {
        /// How long it had waited for that.
        waited_us: u32,
    },
}

/// How an execution context came to work for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// The other created it.
    Created,
    /// It works for whoever asks it.
    Servant,
    /// It got something from the other, at this site of its program.
    Handed {
        /// Where.
        site: u64,
    },
    /// The other left something at this place for whoever takes it.
    Left {
        /// An address.
        place: u64,
    },
    /// It took what the other had left.
    Taken {
        /// Where in its program.
        site: u64,
        /// Where it lay.
        place: u64,
    },
    /// The other created it to serve the connection with this socket, by its inode number, which was just accepted.
    Accepted(u64),
    /// The other created it for what was just read of this socket.
    Read(u64),
    /// The other, or its thread, handed it to a pool of threads: it is a piece of work.
    Submitted,
    /// It is the piece of work that the other's thread does.
    Within,
    /// It serves a stream of the connection that the other reads, or is handed the frames of.
    Serves {
        /// The stream's number.
        stream: u32,
    },
    /// It is about to write the head of a request that the other asks.
    Writes {
        /// The stream's number; none where it is the only one that it will ever write.
        stream: Option<u32>,
        /// Where the other had left it.
        place: u64,
    },
}

/// A stream that was asked for, and is yet to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The context that names the connection.
    pub conn: Context,
    /// The stream's number.
    pub stream: u32,
    /// The context that asks.
    pub context: Context,
}

/// Something the kernel saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first sight of a connection.
    Connection(Connection),
    /// Bytes passed.
    Data(Data),
    /// The first sight of a session of encryption.
    Session(Session),
    /// Plaintext passed.
    Plain(Plain),
    /// A connection changed state.
    State {
        /// The connection.
        conn: ConnId,
        /// When; the actor is only meaningful for [`ConnState::Connecting`].
        moment: Moment,
        /// The new state.
        state: ConnState,
        /// The socket's error, 0 for none.
        error: i32,
    },
    /// An execution context came to work for another.
    Link {
        /// When; the actor's context is the one it works for.
        moment: Moment,
        /// The context that works.
        other: Context,
        /// How.
        link: LinkKind,
    },
    /// A thread asked for streams.
    Asks {
        /// When it was seen, before any of them is written.
        moment: Moment,
        /// Which, and for whom.
        asked: Vec<Asked>,
    },
    /// A thread runs what others asked for while it waits.
    Helper {
        /// Which.
        moment: Moment,
        /// Any thread of the process does.
        any: bool,
    },
    /// A process was created.
    Fork {
        /// The creator.
        moment: Moment,
        /// The new process.
        child: Pid,
    },
    /// A process began a new program.
    Exec {
        /// Which.
        moment: Moment,
        /// It is a target.
        target: bool,
        /// The beginning of the program's file name.
        name: SmolStr,
        /// The beginning of the command line.
        args: Vec<String>,
    },
    /// Where the time of the moment's thread has gone.
    Times(Moment, Times),
    /// A process wrote to what it logs to.
    Log(LogWrite),
    /// A process read from a pipe by which work may come.
    Pipe(PipeRead),
    /// Where in its program a thread is.
    Stack(Stack),
    /// A thread got a signal that ends its process.
    Signal(Signal),
    /// A target maps a file as code.
    Mapped(Moment),
    /// Events before this one were lost. Only the time is known.
    Lost(Moment),
    /// A process or thread ended.
    Exit {
        /// Which.
        moment: Moment,
        /// The wait status of the thread.
        status: u32,
        /// The whole process ended.
        process: bool,
    },
}

impl Event {
    /// When it was seen, `CLOCK_MONOTONIC` nanoseconds.
    pub const fn time_ns(&self) -> u64 {
        match self {
            Self::Connection(connection) => connection.moment.time_ns,
            Self::Data(data) => data.moment.time_ns,
            Self::Session(session) => session.moment.time_ns,
            Self::Stack(stack) => stack.moment.time_ns,
            Self::Signal(signal) => signal.moment.time_ns,
            Self::Plain(plain) => plain.data.moment.time_ns,
            Self::Log(write) => write.moment.time_ns,
            Self::Pipe(read) => read.moment.time_ns,
            Self::Mapped(moment)
            | Self::Lost(moment)
            | Self::Times(moment, _)
            | Self::State { moment, .. }
            | Self::Fork { moment, .. }
            | Self::Link { moment, .. }
            | Self::Asks { moment, .. }
            | Self::Helper { moment, .. }
            | Self::Exec { moment, .. }
            | Self::Exit { moment, .. } => moment.time_ns,
        }
    }
}
