//! The events the kernel side writes into the ring buffer.
//!
//! Each record starts with a [`Header`]; its `kind` tells which of the structures below it is the head of. A [`Data`]
//! record is followed by `captured` bytes of payload.
#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::assist::{ASKED, ASKED_BYTES};
use crate::unwind::Registers;

/// The first record of a connection: who talks to whom. A [`Connection`] follows.
pub const KIND_CONNECTION: u16 = 1;
/// Bytes passed a connection. A [`Data`] follows.
pub const KIND_DATA: u16 = 2;
/// A connection changed state. A [`State`] follows.
pub const KIND_STATE: u16 = 3;
/// A process was created. A [`Fork`] follows; the header names the parent.
pub const KIND_FORK: u16 = 4;
/// A process runs a new program. An [`Exec`] follows.
pub const KIND_EXEC: u16 = 5;
/// A process or one of its threads ended. A [`Life`] follows; `code` is the wait status of the leader.
pub const KIND_EXIT: u16 = 6;
/// An execution context came to work for another. A [`Link`] follows; the header's context is the one it works for.
pub const KIND_LINK: u16 = 7;
/// A thread runs what others asked for while it waits. A [`Life`] follows, with [`LIFE_PROCESS`] where any thread of the process
/// may; the header names the thread.
pub const KIND_HELPER: u16 = 16;
/// A thread asked for streams of HTTP/2. An [`Asks`] follows.
pub const KIND_ASKS: u16 = 18;
/// Events before this one found no room in the ring buffer. Nothing follows, and of the header only time and kind are set.
pub const KIND_LOST: u16 = 17;

/// A session of encryption was seen first. A [`Session`] follows.
pub const KIND_SESSION: u16 = 32;
/// Plaintext of a session passed. A [`Plain`] follows, then `captured` bytes of payload.
pub const KIND_PLAIN: u16 = 33;
/// Where the time of the thread has gone. A [`Times`] follows, and behind it, in the same record, the whole of another: the first [`Data`]
/// of the operation.
pub const KIND_TIMES: u16 = 35;
/// Where in its program the thread is. A [`Stack`] follows; the thread's next [`Data`] on the connection is of the same operation.
pub const KIND_STACK: u16 = 36;
/// The same, of a thread whose callers could not all be found. A [`StackRest`] follows.
pub const KIND_STACK_REST: u16 = 37;
/// [`Signal`].
pub const KIND_SIGNAL: u16 = 38;
/// A target maps a file as code: a library, perhaps. A [`Life`] follows.
pub const KIND_MAPPED: u16 = 34;

/// A program wrote to what it logs to. A [`Log`] follows, then `captured` bytes of payload.
pub const KIND_LOG: u16 = 48;
/// A program read from a pipe. A [`PipeRead`] follows, then `captured` bytes of payload.
pub const KIND_PIPE: u16 = 49;

/// What every event says: what happened when, and in which execution context.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Header {
    /// `CLOCK_MONOTONIC` in nanoseconds, taken when the event was seen.
    pub time_ns: u64,
    /// CPU time of this thread so far, in nanoseconds (`task_struct.se.sum_exec_runtime`).
    pub cpu_ns: u64,
    /// Time this thread has waited for a CPU so far, in nanoseconds (`task_struct.sched_info.run_delay`).
    pub runqueue_ns: u64,
    /// The unit of execution inside the thread, as `context_kind` says; 0 where there is none.
    pub context: u64,
    /// Process, as the initial PID namespace numbers it.
    pub tgid: u32,
    /// Thread, as the initial PID namespace numbers it.
    pub tid: u32,
    /// How often this thread has asked for readiness (`epoll_wait` and its kin, or poll and select for several descriptors)
    /// since it is traced, with [`TURN_MANY`] and [`TURN_POLLED`]; 0 where it never has.
    pub turn: u32,
    /// One of the `KIND_` constants.
    pub kind: u16,
    /// One of the `CONTEXT_` constants.
    pub context_kind: u16,
}

/// Bit of [`Header::turn`]: the thread has asked for more than one event at a time. Some runtimes ask for as many as they
/// watch descriptors, and one that watches a single descriptor merely waits.
pub const TURN_MANY: u32 = 1 << 31;
/// Bit of [`Header::turn`]: the thread has never waited with epoll. It waited with poll or select for several descriptors, of
/// which a client may have been one.
pub const TURN_POLLED: u32 = 1 << 30;

/// There is no context below the thread, or it could not be read.
pub const CONTEXT_THREAD: u16 = 0;
/// `context` is a goroutine's number.
pub const CONTEXT_GOROUTINE: u16 = 1;
/// `context` is the address of the Python `contextvars.Context` in force.
pub const CONTEXT_PYTHON: u16 = 2;
/// `context` is a tokio task's number.
pub const CONTEXT_TOKIO: u16 = 3;
/// `context` is an async id that Node told.
pub const CONTEXT_NODE: u16 = 4;
/// `context` is the number of a virtual thread of Java with [`JAVA_VIRTUAL`]; 0 for a thread of Java that is the kernel's.
pub const CONTEXT_JAVA: u16 = 5;
/// `context` is the number under which a thread of Java works, as its hook tells it: see [`crate::assist`].
pub const CONTEXT_HANDED: u16 = 6;
/// Bits of a context's number that the kernel side reads. Goroutines, tasks and threads are counted by the program or by the clock,
/// the others go by their address, which has 57 bits at most.
pub const CONTEXT_BITS: u32 = 60;
/// The bit that tells virtual threads of Java.
pub const JAVA_VIRTUAL: u64 = 1 << (CONTEXT_BITS - 1);
/// The thread is executing something Clew could not name: no parent may be taken from the thread.
pub const CONTEXT_UNKNOWN: u16 = 0xffff;

/// Who talks to whom on a connection. Sent before its first [`Data`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Connection {
    /// The context in which the connection was first seen.
    pub header: Header,
    /// Names the connection for as long as it lives: the socket's cookie, or its inode number under `--capture syscall`.
    pub conn: u64,
    /// Inode number of the network namespace.
    pub netns: u64,
    /// Inode number of the socket.
    pub inode: u64,
    /// Unix sockets: kernel address of this socket, only to be compared with another's `peer`. TCP: 0.
    pub address: u64,
    /// Unix sockets: kernel address of the socket at the other end; 0 where it is gone. TCP: 0.
    pub peer: u64,
    /// Local address: 16 bytes of IPv6, or IPv4 in the first four.
    pub local: [u8; 16],
    /// Remote address, as `local`.
    pub remote: [u8; 16],
    /// Sequence number before the first byte this end sends. TCP with a `flags` bit [`CONN_SEQUENCED`] only.
    pub local_isn: u32,
    /// Sequence number before the first byte the other end sends, as `local_isn`.
    pub remote_isn: u32,
    /// Local port in host order; 0 on Unix sockets.
    pub local_port: u16,
    /// Remote port in host order; 0 on Unix sockets.
    pub remote_port: u16,
    /// `AF_INET`, `AF_INET6` or `AF_UNIX`.
    pub family: u16,
    /// `CONN_` bits.
    pub flags: u16,
}

/// Offsets and initial sequence numbers come from the transport and are true from byte 0 of the connection.
pub const CONN_SEQUENCED: u16 = 1;
/// This end was seen opening the connection.
pub const CONN_OPENED_HERE: u16 = 2;
/// The socket may be older than the agent, and its offsets do not count from byte 0.
pub const CONN_MIDWAY: u16 = 4;
/// UDP: each operation is a message, and offsets say nothing. Told anew with each operation.
pub const CONN_DATAGRAM: u16 = 8;

/// Bytes that passed a connection in one operation, or one chunk of them.
///
/// ```text
/// [offset, offset + length) passed; the first `captured` bytes of it follow this head
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Data {
    /// The context that performed the operation; the time is its end.
    pub header: Header,
    /// The connection.
    pub conn: u64,
    /// Position of the first byte in the direction's stream.
    pub offset: u64,
    /// Bytes that passed; 0 with [`DATA_END`].
    pub length: u32,
    /// Bytes of payload that follow, at most `length`.
    pub captured: u32,
    /// `errno` of a failed operation that ends the connection, else 0.
    pub error: u32,
    /// [`EGRESS`] or [`INGRESS`].
    pub direction: u8,
    /// One of the `NO_PAYLOAD_` constants: why `captured` is less than the budget allowed.
    pub no_payload: u8,
    /// `DATA_` bits.
    pub flags: u16,
    /// TCP: the smoothed time of a round trip in microseconds (`tcp_sock.srtt_us`, an eighth of it). Else 0.
    pub rtt_us: u32,
    /// TCP: segments this end has sent again so far (`tcp_sock.total_retrans`). Else 0.
    pub retransmits: u32,
    /// Received over TCP: how long ago the last segment had arrived when the first of the bytes were copied, in nanoseconds. They
    /// waited at least so long. 0 where it is not known.
    pub buffered_ns: u64,
}

/// The traced process sent the bytes.
pub const EGRESS: u8 = 0;
/// The traced process received the bytes.
pub const INGRESS: u8 = 1;

/// The peer will send nothing more: a read with room returned 0.
pub const DATA_END: u16 = 1;
/// The record continues an operation whose first chunk came before.
pub const DATA_CONTINUED: u16 = 2;

/// Every byte the budget allowed was captured.
pub const NO_PAYLOAD_NONE: u8 = 0;
/// The operation ran for io_uring, whose buffers the registers do not name.
pub const NO_PAYLOAD_IO_URING: u8 = 1;
/// The operation ran for Linux AIO.
pub const NO_PAYLOAD_AIO: u8 = 2;
/// The bytes came from a file or pipe: sendfile, splice.
pub const NO_PAYLOAD_SPLICE: u8 = 3;
/// A 32-bit or x32 call, whose structures Clew does not read.
pub const NO_PAYLOAD_COMPAT: u8 = 4;
/// The kernel itself uses the socket.
pub const NO_PAYLOAD_KERNEL_SOCKET: u8 = 5;
/// The call's descriptor is not this socket.
pub const NO_PAYLOAD_FD_MISMATCH: u8 = 6;
/// The memory was not resident.
pub const NO_PAYLOAD_USER_FAULT: u8 = 7;
/// Which message of a batch the operation belongs to is not known.
pub const NO_PAYLOAD_MMSG: u8 = 8;
/// The message's budget is spent.
pub const NO_PAYLOAD_BUDGET: u8 = 9;
/// The bytes were consumed without being copied (`MSG_TRUNC`).
pub const NO_PAYLOAD_TRUNC: u8 = 10;

/// A session of encryption that a library in the process keeps: one end of a TLS connection. Sent before its first [`Plain`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Session {
    /// Who used the session when it was told.
    pub header: Header,
    /// Names the session for as long as it lives. [`SESSION_BIT`] is set: no connection has such a name.
    pub session: u64,
    /// The connection that carries it, where an operation on a socket within a call of the library has shown it; else 0.
    pub conn: u64,
    /// The random number of the ClientHello, which stands on the wire as well; zeros where it could not be read.
    pub random: [u8; 32],
    /// `SESSION_` flags.
    pub flags: u32,
    /// One of the `SOURCE_` constants.
    pub source: u16,
    /// Zero.
    pub reserved: u16,
}

/// The bit that every session's name has.
pub const SESSION_BIT: u64 = 1 << 63;
/// The session was seen being made: its plaintext is counted from byte 0.
pub const SESSION_FRESH: u32 = 1;
/// OpenSSL, and libraries with its functions.
pub const SOURCE_OPENSSL: u16 = 1;
/// Go's crypto/tls.
pub const SOURCE_GO: u16 = 2;
/// rustls.
pub const SOURCE_RUSTLS: u16 = 3;
/// GnuTLS.
pub const SOURCE_GNUTLS: u16 = 4;
/// mbedTLS.
pub const SOURCE_MBEDTLS: u16 = 5;

/// Plaintext that a session gave to or took from the program in one call, or one chunk of it.
///
/// ```text
/// plaintext  [offset, offset + length) passed; the first `captured` bytes of it follow this head
/// wire       .....| record | record |          `wire` is behind the record that carried the last byte
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Plain {
    /// The context that called the library; the time is the end of the call.
    pub header: Header,
    /// The session.
    pub session: u64,
    /// The connection, as in [`Session`].
    pub conn: u64,
    /// Position of the first byte in the direction's plaintext, counted from where the session was first seen.
    pub offset: u64,
    /// Position in the connection's own stream just past the last record that the call sent, or that was read for it; 0 where
    /// it is not known.
    pub wire: u64,
    /// Bytes that passed.
    pub length: u32,
    /// Bytes of payload that follow, at most `length`.
    pub captured: u32,
    /// [`EGRESS`] or [`INGRESS`].
    pub direction: u8,
    /// One of the `NO_PAYLOAD_` constants.
    pub no_payload: u8,
    /// `DATA_` bits.
    pub flags: u16,
    /// One of the `SOURCE_` constants.
    pub source: u16,
    /// Zero.
    pub reserved: u16,
}

/// Where the time of a thread, or of the goroutine that it runs, has gone since it was first told of. The sum of all is the time that
/// has passed. Of the header only the time, who it is and the context are set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Times {
    /// The thread, and the goroutine or task if it is its time; [`CONTEXT_UNKNOWN`] where the thread runs one whose time is not known.
    pub header: Header,
    /// On a CPU, nanoseconds.
    pub cpu_ns: u64,
    /// Waiting for one.
    pub runqueue_ns: u64,
    /// Blocked, by `BLOCKED_` constants.
    pub blocked_ns: [u64; BLOCKED],
}

/// Where in its program a thread is that asks others, or serves them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Stack {
    /// The thread; its context is not read.
    pub header: Header,
    /// The connection that it sends on next; 0 where another thread will.
    pub conn: u64,
    /// Names the stack: two with the same name are the same.
    pub hash: u64,
    /// Python: the plan's `PY_FRAMES`. Compiled code: [`unwind::space`](crate::unwind::space). Else 0.
    pub layout: u64,
    /// Words that follow; 0 where the stack was told before.
    pub n_words: u32,
    /// A `STACK_` constant.
    pub language: u32,
    /// Addresses, the innermost first; of compiled code as [`unwind::Place::pc`](crate::unwind::Place). Python: pairs of a code object's
    /// address and that of an instruction. The record ends before them where the stack was told before.
    pub words: [u64; STACK_WORDS],
}

/// A stack of Go.
pub const STACK_GO: u32 = 0;
/// A stack of Python's interpreter.
pub const STACK_PYTHON: u32 = 1;
/// A stack of compiled code.
pub const STACK_COMPILED: u32 = 2;

/// A stack as far as it could be walked, and what lies above on it: the agent walks on.
///
/// ```text
/// | Stack | registers | start | bytes copied | the bytes ..
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct StackRest {
    /// What was walked. Its name is of this one stack, and has [`STACK_ONCE`].
    pub stack: Stack,
    /// The registers of the first frame that is not among its words.
    pub registers: Registers,
    /// Address of the first byte that was copied.
    pub start: u64,
    /// Bytes that follow.
    pub n_bytes: u64,
    /// What stands on the stack from `start`. The record ends behind what was copied.
    pub bytes: [u8; STACK_BYTES],
}

/// In the name of a stack that names no other.
pub const STACK_ONCE: u64 = 1 << 63;
/// Most bytes that are copied of a stack, and what is copied at once.
pub const STACK_BYTES: usize = 8 * STACK_PIECE;
/// See [`STACK_BYTES`]. Pieces lie within a page.
pub const STACK_PIECE: usize = 1024;

/// Most words of a stack.
pub const STACK_WORDS: usize = 64;

/// What threads are told to block on.
pub const BLOCKED: usize = 6;
/// In a call on a socket, or one that waits for several descriptors.
pub const BLOCKED_NETWORK: u32 = 0;
/// Uninterruptibly in another call: a disk, as a rule.
pub const BLOCKED_DISK: u32 = 1;
/// In futex.
pub const BLOCKED_LOCK: u32 = 2;
/// In nanosleep.
pub const BLOCKED_SLEEP: u32 = 3;
/// Uninterruptibly in no call: a page fault.
pub const BLOCKED_FAULT: u32 = 4;
/// On something else: a pipe, another process, a signal.
pub const BLOCKED_OTHER: u32 = 5;

/// A thread got a signal that ends its process, with a core where those are wanted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Signal {
    /// The thread; its context is not read.
    pub header: Header,
    /// Names its stack, which was told before; 0 where it was not.
    pub stack: u64,
    /// The address that was touched, of signals that tell one (`si_addr` of sigaction(2)).
    pub address: u64,
    /// The signal's number.
    pub signal: u32,
    /// Why it was sent (`si_code`).
    pub code: i32,
}

/// Bytes that a program wrote to its standard output or error, to a file that is called like a log, or sent to syslog or the journal; or a
/// piece of them.
///
/// ```text
/// one call  | buffer | buffer | ...      of each at most [`CHUNK_BYTES`] are told at once, all but the last with [`LOG_MORE`]
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Log {
    /// The context that wrote; the time is the end of the call.
    pub header: Header,
    /// Kernel address of the open file, only to be compared while it is open.
    pub file: u64,
    /// Its inode number.
    pub inode: u64,
    /// Bytes that were written.
    pub length: u32,
    /// Bytes of payload that follow, at most `length`.
    pub captured: u32,
    /// `LOG_` bits.
    pub flags: u32,
    /// Bytes of `name`.
    pub named: u32,
    /// A file's own name, its end where it is longer; nothing of a standard stream.
    pub name: [u8; LOG_NAME_BYTES],
}

/// Most bytes of a file's name that [`Log`] carries.
pub const LOG_NAME_BYTES: usize = 32;
/// The file is the process's standard output.
pub const LOG_STDOUT: u32 = 1;
/// The file is the process's standard error.
pub const LOG_STDERR: u32 = 2;
/// The call wrote another buffer, which follows.
pub const LOG_MORE: u32 = 4;
/// It is a message to syslog or to the journal, a datagram of its own; `name` ends as the service's address does.
pub const LOG_MESSAGE: u32 = 8;

/// A connection changed state (`inet_sock_set_state`, resets).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct State {
    /// When; the context is only meaningful for [`STATE_CONNECTING`] and [`STATE_INSPECTED`], the rest may run anywhere.
    pub header: Header,
    /// The connection.
    pub conn: u64,
    /// One of the `STATE_` constants.
    pub state: u32,
    /// `sk_err` where there is one. [`STATE_ACCEPTED`]: how long the connection waited to be accepted, in microseconds.
    pub error: u32,
}

/// connect(2) was called.
pub const STATE_CONNECTING: u32 = 1;
/// The handshake of a connection opened here is complete.
pub const STATE_ESTABLISHED: u32 = 2;
/// The connection is over; nothing follows for this `conn`.
pub const STATE_CLOSED: u32 = 3;
/// The peer reset the connection.
pub const STATE_RESET_RECEIVED: u32 = 4;
/// This host reset the connection.
pub const STATE_RESET_SENT: u32 = 5;
/// The thread asked for the connection's TCP_INFO. The context is meaningful, as for [`STATE_CONNECTING`].
pub const STATE_INSPECTED: u32 = 6;
/// accept(2) returned the connection.
pub const STATE_ACCEPTED: u32 = 7;

/// A process was created by the process in the header.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Fork {
    /// The creator.
    pub header: Header,
    /// The new process.
    pub child_tgid: u32,
    /// Its first thread.
    pub child_tid: u32,
}

/// A process began a new program or ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Life {
    /// The process.
    pub header: Header,
    /// Exit: the wait status of the thread. Exec: 0.
    pub code: u32,
    /// `LIFE_` bits.
    pub flags: u32,
}

/// An execution context came to work for another.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Link {
    /// The context it works for.
    pub header: Header,
    /// The context that works, of the header's kind.
    pub other: u64,
    /// [`LINK_HANDED`] and [`LINK_TAKEN`]: where in its program `other` takes what is handed to it. [`LINK_SERVES`]
    /// and [`LINK_WRITES`]: the number of a stream. Else 0.
    pub site: u64,
    /// [`LINK_LEFT`], [`LINK_TAKEN`] and [`LINK_WRITES`]: the address of what lies between them. [`LINK_ACCEPTED`] and [`LINK_READ`]: the inode
    /// number of the socket. Else 0.
    pub place: u64,
    /// One of the `LINK_` constants.
    pub link: u32,
    /// Zero.
    pub reserved: u32,
}

/// `other` was created by the header's context.
pub const LINK_CREATED: u32 = 1;
/// `other` works for whoever asks it, and never for its creator.
pub const LINK_SERVANT: u32 = 2;
/// `other` got something from the header's context.
pub const LINK_HANDED: u32 = 3;
/// The header's context left something at `place`; `other` is 0.
pub const LINK_LEFT: u32 = 4;
/// `other` took what the header's context had left at `place`; context 0 is one that is not known.
pub const LINK_TAKEN: u32 = 5;
/// `other` was created to serve the connection with the socket `place`, which was just accepted.
pub const LINK_ACCEPTED: u32 = 6;
/// `other` was created for what was just read of the socket `place`.
pub const LINK_READ: u32 = 7;
/// The header's context, or its thread, handed the work `other` to a pool of threads. The work is a context of Python's.
pub const LINK_SUBMITTED: u32 = 8;
/// The header's context runs where the thread does the work `other`.
pub const LINK_WITHIN: u32 = 9;
/// `other` serves the stream `site` of the connection that the header's context reads, or is handed the frames of.
pub const LINK_SERVES: u32 = 10;
/// `other` is about to write the head of a request: of stream `site`, which the header's context had left at `place`; or its own, and
/// `site` and `place` are 0.
pub const LINK_WRITES: u32 = 11;

/// What a thread asked for, whose runtime tells it: see [`assist`](crate::assist).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Asks {
    /// The thread; its context is none of theirs, but of their kind.
    pub header: Header,
    /// How many of `asked` are told: the first.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
    /// In the order in which they were asked for.
    pub asked: [Asked; ASKS],
}

/// Most streams that one record tells of.
pub const ASKS: usize = 16;

/// A stream of HTTP/2 that was asked for, and is yet to be written.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Asked {
    /// The context that names the connection.
    pub conn: u64,
    /// The stream's number.
    pub stream: u64,
    /// The context that asks.
    pub context: u64,
}

/// A process began a new program.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Exec {
    /// The process.
    pub life: Life,
    /// The beginning of the program's file name, ended by a zero byte (`task_struct.comm`). The process may be over before
    /// anyone can ask it. Records that were kept from earlier versions lack it and what follows.
    pub name: [u8; 16],
    /// How much of `args` was written.
    pub written: u32,
    /// Always 0.
    pub reserved: u32,
    /// The beginning of the command line: arguments that each end with a zero byte.
    pub args: [u8; ARGS_BYTES],
}

/// Most bytes of a command line that [`Exec`] carries.
pub const ARGS_BYTES: usize = 512;

/// The whole process ended, not only a thread.
pub const LIFE_PROCESS: u32 = 1;
/// The process is a target.
pub const LIFE_TARGET: u32 = 2;
/// Bit of an exit's code beside the wait status: the kernel ended the process because memory ran out.
pub const EXIT_OOM: u32 = 1 << 16;

/// Most payload bytes one record carries. An operation with a larger budget is sent as several records.
pub const CHUNK_BYTES: usize = 16_000;

/// What a program read from a pipe, by which others may hand it work.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct PipeRead {
    /// The thread that read; the time is the end of the call.
    pub header: Header,
    /// The pipe's inode number.
    pub pipe: u64,
    /// Bytes that were read.
    pub length: u32,
    /// Bytes of payload that are told, at most `length`: the first. The record may have room for more.
    pub captured: u32,
}

const _: () = {
    assert!(size_of::<PipeRead>() == 48 + 16);
    assert!(size_of::<Header>() == 48);
    assert!(size_of::<Connection>() == 48 + 40 + 32 + 8 + 8);
    assert!(size_of::<Data>() == 48 + 16 + 12 + 4 + 8 + 8);
    assert!(size_of::<Session>() == 48 + 16 + 32 + 8);
    assert!(size_of::<Plain>() == 48 + 32 + 8 + 8);
    assert!(size_of::<Stack>() == 48 + 32 + 8 * STACK_WORDS);
    assert!(size_of::<StackRest>() == size_of::<Stack>() + 48 + STACK_BYTES);
    assert!(size_of::<Times>() == 48 + 16 + 48);
    assert!(size_of::<Signal>() == 48 + 16 + 8);
    assert!(size_of::<Log>() == 48 + 16 + 16 + LOG_NAME_BYTES);
    assert!(size_of::<State>() == 48 + 16);
    assert!(size_of::<Fork>() == 56);
    assert!(size_of::<Life>() == 56);
    assert!(size_of::<Exec>() == 80 + ARGS_BYTES);
    assert!(size_of::<Link>() == 80);
    assert!(size_of::<Asks>() == 48 + 8 + ASKS * ASKED_BYTES as usize && ASKED.is_multiple_of(ASKS as u64));
};
