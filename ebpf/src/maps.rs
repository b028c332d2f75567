//! Every map: who writes it, who reads it, its key, its bound, and what happens when it is full.
use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use clew_common::context::{PLANS as MOST_PLANS, Plan};
use clew_common::counter::SLOTS;
use clew_common::event::{BLOCKED, CHUNK_BYTES, Data, Log, Stack, StackRest, Times};
use clew_common::log::Name;
use clew_common::trail::{Start, TRAIL_BYTES, Tracing, Trail};
use clew_common::unwind;

/// Events. Written by every probe, read by the agent. When full the event is lost and `capture.ring_full` counts it.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(16 * 1024 * 1024, 0);

/// Traced processes: tgid to `TARGET_` bits and the place of its plan (`clew_common::context::plan_of`). Written by the agent and, for children, by fork; removed at exit. When full
/// a process is not traced and `capture.targets_full` counts it. A hash: process numbers are sparse.
#[map]
pub static TARGETS: HashMap<u32, u32> = HashMap::with_max_entries(16384, 0);

/// The agent's verdict on a connection, `VERDICT_` values by connection. Written by the agent, read when a connection
/// turns round. An entry that falls out only restores the full budget.
#[map]
pub static VERDICTS: LruHashMap<u64, u8> = LruHashMap::with_max_entries(16384, 0);

/// What is remembered of a connection, in the socket itself; freed with it. Written and read by the probes. If the socket
/// has no room, `capture.conn_state_full` counts it and the operation is not seen.
#[btf_map]
pub static CONNECTIONS: SkStorage<Conn> = SkStorage::new();

/// As [`CONNECTIONS`], by inode number, for `--capture syscall`, whose programs may not use socket storage. The agent
/// sets the size. A connection that falls out is announced anew.
#[map]
pub static CONNECTIONS_BY_INODE: LruHashMap<u64, Conn> = LruHashMap::with_max_entries(1, 0);

/// Socket address to inode number, for `--capture syscall`: the socket may have lost its file when it closes.
#[map]
pub static INODE_OF_SOCK: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1, 0);

/// Where the time of threads goes that use sockets, by thread. Written at switches and operations. Of a thread that falls out the time
/// up to then is not known.
#[map]
pub static THREADS: LruHashMap<u32, Thread> = LruHashMap::with_max_entries(1, 0);

/// The same of goroutines and of Tokio's tasks, by their number. Written where they are run and woken, too; removed where it is not known
/// when one ended to run.
#[map]
pub static TASKS: LruHashMap<Scoped, Task> = LruHashMap::with_max_entries(1, 0);

/// Stacks that were told, by name. One that falls out is told anew.
#[map]
pub static STACKS: LruHashMap<u64, u8> = LruHashMap::with_max_entries(1, 0);

/// Go: the name of the stack on which a goroutine asked another to send its request, by goroutine. Removed when it is sent. One that
/// falls out is not told.
#[map]
pub static GO_STACKS: LruHashMap<Scoped, u64> = LruHashMap::with_max_entries(1, 0);

/// The stack being told. Too large for the stack.
#[map]
pub static STACK: PerCpuArray<Stack> = PerCpuArray::with_max_entries(1, 0);

/// How stacks of compiled programs are walked, by instruction. Written by the agent, who is asked where there is no row, and which sets the
/// size; removed by it when the process is over. One that falls out is asked for anew.
#[map]
pub static ROWS: LruHashMap<unwind::Place, unwind::Row> = LruHashMap::with_max_entries(1, 0);

/// The stack being walked. As [`STACK`].
#[map]
pub static UNWIND: PerCpuArray<StackRest> = PerCpuArray::with_max_entries(1, 0);

/// By which words walks over stacks go, by where they begin. Written where one was made; one that falls out is made again.
#[map]
pub static TRAILS: LruHashMap<Start, Trail> = LruHashMap::with_max_entries(1, 0);

/// The stacks that walks came to, by the names of the walks. As [`TRAILS`].
#[map]
pub static WALKS: LruHashMap<u64, Reached> = LruHashMap::with_max_entries(1, 0);

/// How often rows were removed. Written by the agent.
#[map]
pub static ROWS_AGE: Array<u64> = Array::with_max_entries(1, 0);

/// The walk being made, or made again. As [`STACK`].
#[map]
pub static TRACE: PerCpuArray<Trace> = PerCpuArray::with_max_entries(1, 0);

/// Calls that have begun, by thread, for `--capture syscall`. A call whose entry fell out is not seen and
/// `capture.entry_unknown` counts it.
#[map]
pub static CALLS: LruHashMap<u64, Call> = LruHashMap::with_max_entries(1, 0);

/// How often a thread asked for readiness, by thread. An entry that falls out restarts at 1, which only loses links.
#[map]
pub static TURNS: LruHashMap<u32, u32> = LruHashMap::with_max_entries(8192, 0);

/// The words of a thread that tells its contexts (`assist`).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Words {
    /// The user address at which they lie.
    pub address: u64,
    /// How many streams that it asked for were told.
    pub told: u64,
}

/// The words of threads that have some. Written and read by the probes, removed when the thread ends. An entry that falls out costs the
/// thread's contexts, and so its links.
#[map]
pub static WORDS: LruHashMap<u32, Words> = LruHashMap::with_max_entries(8192, 0);

/// Where a thread is within a sendmmsg or recvmmsg, by thread. An entry that falls out restarts at the first message,
/// whose size then does not fit.
#[map]
pub static BATCHES: LruHashMap<u32, Batch> = LruHashMap::with_max_entries(1024, 0);

/// How to read the execution context of a process's threads. Written by the agent before a target names the place.
#[map]
pub static PLANS: Array<Plan> = Array::with_max_entries(MOST_PLANS, 0);

/// Not zero while events were lost that nobody has told of: see [`tell_lost`](crate::ring::tell_lost).
#[map]
pub static LOST: Array<u32> = Array::with_max_entries(1, 0);

/// Puts an entry into a map whose oldest fall out, as one that was used. Of what was never looked up since it was put in the kernel lets
/// go first, however new it is (`kernel/bpf/bpf_lru_list.c`, `__local_list_flush`): entries that wait for their first use would fall out
/// while those of what is over stay. False if it could not be put in.
#[inline(always)]
pub fn remember<K, V>(map: &LruHashMap<K, V>, key: &K, value: &V) -> bool {
    let put = map.insert(key, value, 0).is_ok();
    let _used = map.get_ptr(key);
    put
}

/// Go: the `persistConn` a goroutine writes the requests of. Written when the goroutine begins to, removed when it ends. An entry that
/// falls out makes the goroutine's requests nobody's.
#[map]
pub static GO_WRITERS: LruHashMap<Scoped, u64> = LruHashMap::with_max_entries(8192, 0);

/// Go: the goroutine whose request a `persistConn` carries. As [`GO_WRITERS`].
#[map]
pub static GO_ASKERS: LruHashMap<Scoped, u64> = LruHashMap::with_max_entries(8192, 0);

/// Go: the goroutine that put an element into a slot of a channel's buffer. An entry that falls out makes the element
/// nobody's.
#[map]
pub static GO_SENDERS: LruHashMap<Scoped, u64> = LruHashMap::with_max_entries(16384, 0);

/// Python: by how much the interpreter of a process is moved from its own addresses. Written when the first context is made, or
/// by the agent; removed at exec. Without an entry a process's contexts are not read.
#[map]
pub static PYTHON_BASES: LruHashMap<u32, u64> = LruHashMap::with_max_entries(8192, 0);

/// Python: the numbers of contexts, by address. Written when one is made or first seen, removed when it is freed. One that falls
/// out gets another number, which is nobody's.
#[map]
pub static PYTHON_CONTEXTS: LruHashMap<Scoped, u64> = LruHashMap::with_max_entries(32_768, 0);

/// Python: for what a thread makes contexts right now. An entry that falls out only loses links.
#[map]
pub static PYTHON_STEPS: LruHashMap<u32, Step> = LruHashMap::with_max_entries(8192, 0);

/// Python: what uvloop will write, by descriptor. Written when it is asked to, removed when it does. An entry that falls out
/// only loses links.
#[map]
pub static PYTHON_WRITES: LruHashMap<Scoped, PythonWrite> = LruHashMap::with_max_entries(8192, 0);

/// Python: work that waits in a queue for a thread of a pool, by the address of the object. Written when it is put there, removed
/// when it is taken out. Of work that falls out it is not known whose it is.
#[map]
pub static PYTHON_WORK: LruHashMap<Scoped, Work> = LruHashMap::with_max_entries(16_384, 0);

/// Python: the work a thread took last. Written when it takes it, removed when the thread ends or puts something else into that
/// queue. An entry that falls out only loses links.
#[map]
pub static PYTHON_WORKERS: LruHashMap<u32, Worker> = LruHashMap::with_max_entries(8192, 0);

/// Tokio: where the task that drives a client's connection waits for requests, by task. Written when it waits. An entry that
/// falls out makes the requests the task writes nobody's.
#[map]
pub static TOKIO_WRITERS: LruHashMap<Scoped, u64> = LruHashMap::with_max_entries(16384, 0);

/// Tokio: the task whose request was given to the one that waits there, by that place; 0 if it was no task. Written when a
/// request is given, removed when the writer waits for the next. As [`TOKIO_WRITERS`].
#[map]
pub static TOKIO_ASKERS: LruHashMap<Scoped, u64> = LruHashMap::with_max_entries(16384, 0);

/// Tokio: tasks that receive from a channel, which were told of. One that falls out is told of again.
#[map]
pub static TOKIO_RECEIVERS: LruHashMap<Scoped, u8> = LruHashMap::with_max_entries(16384, 0);

/// Tokio: the stream of HTTP/2 that a task took up last, by task, with [`crate::tokio::MADE_NEXT`] where the next task it makes serves
/// it. Written when one is taken up, removed when that task is made. One that falls out is served by nobody who is known.
#[map]
pub static TOKIO_STREAMS: LruHashMap<Scoped, u64> = LruHashMap::with_max_entries(16384, 0);

/// Tokio: requests that lie in a channel, by the place in it: see [`crate::tokio`]. Written when one is put there, removed when whoever
/// takes it passes it on. Whose a request is that falls out is not known.
#[map]
pub static TOKIO_LYING: LruHashMap<Scoped, Asked> = LruHashMap::with_max_entries(16384, 0);

/// Tokio: the place in a channel from which a task that passes requests on takes one, by task. Written when it looks there, removed when it
/// passes one on. As [`TOKIO_LYING`].
#[map]
pub static TOKIO_TAKEN: LruHashMap<Scoped, u64> = LruHashMap::with_max_entries(16384, 0);

/// Tokio: for whom a client's stream of HTTP/2 was opened. Written then, removed when its head is written. As [`TOKIO_LYING`].
#[map]
pub static TOKIO_OPENED: LruHashMap<Opened, Asked> = LruHashMap::with_max_entries(16384, 0);

/// TLS: calls of a library that have begun, by thread and whether they run within another. Written when a call begins and by the
/// operations on sockets within it, removed when it ends. A call that falls out is not seen and `tls.call_unknown` counts it.
#[map]
pub static TLS_CALLS: LruHashMap<u64, TlsCall> = LruHashMap::with_max_entries(8192, 0);

/// TLS: what is remembered of a session, by the address of the library's object. Written when one is made or first used, removed
/// when it is freed. One that falls out is told anew, and its plaintext counts from there.
#[map]
pub static TLS_SESSIONS: LruHashMap<Scoped, TlsSession> = LruHashMap::with_max_entries(32_768, 0);

/// TLS: calls of Go's crypto/tls, by goroutine and whether they are handshakes. Written when one begins; one that is over is told by
/// the goroutine's stack and stays until the next. One that falls out is not seen.
#[map]
pub static GO_TLS_CALLS: LruHashMap<Scoped, GoTlsCall> = LruHashMap::with_max_entries(16_384, 0);

/// TLS: what threads do for sessions of rustls, by thread. Written behind reads and when plaintext is told. One that falls out
/// loses the plaintext of one read, which `tls.call_unknown` counts.
#[map]
pub static RUSTLS_THREADS: LruHashMap<u32, RustlsThread> = LruHashMap::with_max_entries(2048, 0);

/// TLS: what was given to sessions of rustls and has not gone yet, by the address of the session's state. Written when plaintext
/// passes. One that falls out loses it.
#[map]
pub static RUSTLS_OBJECTS: LruHashMap<Scoped, RustlsObject> = LruHashMap::with_max_entries(4096, 0);

/// Counters of `clew_common::counter`. Written by the probes, read by the agent.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(SLOTS, 0);

/// The record being built. Too large for the stack.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// The record of a log line being built, as [`SCRATCH`].
#[map]
pub static LOG_SCRATCH: PerCpuArray<LogScratch> = PerCpuArray::with_max_entries(1, 0);

/// Bytes of logs that were copied in the current second on this CPU.
#[map]
pub static LOG_SECOND: PerCpuArray<LogSecond> = PerCpuArray::with_max_entries(1, 0);

/// The operation being copied. Kept off the stack so that a loop's callback reaches it.
#[map]
pub static WALK: PerCpuArray<Walk> = PerCpuArray::with_max_entries(1, 0);

/// The batch being told, for `--capture syscall`; as [`WALK`].
#[map]
pub static BATCH_WALK: PerCpuArray<BatchWalk> = PerCpuArray::with_max_entries(1, 0);

/// A number or address within a process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Scoped {
    pub id: u64,
    pub tgid: u64,
}

/// Who asks.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Asked {
    /// The task; 0 where it is not known.
    pub asker: u64,
    /// Where it left its request.
    pub place: u64,
}

/// A client's stream of HTTP/2.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Opened {
    pub tgid: u64,
    /// The address of what all streams of its connection lie in.
    pub store: u64,
    pub stream: u64,
}

/// For what a thread makes contexts.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Step {
    /// Inode number of the socket.
    pub socket: u64,
    /// Address of the context that makes them.
    pub context: u64,
    /// A `LINK_` constant.
    pub link: u32,
    /// Only the next one counts.
    pub once: u32,
}

/// Bytes that wait to be written.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PythonWrite {
    /// Address of the `uv_stream_t`.
    pub stream: u64,
    /// The context that asked; 0 where it is not known.
    pub context: u64,
}

/// Work in a queue.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Work {
    /// Its number.
    pub id: u64,
    /// Address of the queue.
    pub queue: u64,
}

/// A thread that works.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Worker {
    /// What it works on.
    pub work: Work,
    /// The last context it was seen to run there, and told of.
    pub told: u64,
}

/// A record and its payload, and where the time of its thread has gone, which is told with it once unless its kind is 0.
#[repr(C)]
pub struct Scratch {
    pub times: Times,
    pub head: Data,
    pub payload: [u8; CHUNK_BYTES],
}

/// A walk, and the stack above its beginning.
#[repr(C)]
pub struct Trace {
    pub tracing: Tracing,
    pub words: [u64; TRAIL_BYTES / 8],
}

/// The stack that a walk came to, by name, and the walk.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Reached {
    pub walk: u64,
    pub stack: u64,
}

/// A record of a log and its payload, and what its file is called as far as it was read.
#[repr(C)]
pub struct LogScratch {
    pub head: Log,
    pub payload: [u8; CHUNK_BYTES],
    pub called: Name,
}

/// A second, and bytes that were copied in it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LogSecond {
    pub second: u64,
    pub bytes: u64,
}

/// What is remembered of a connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Conn {
    /// Bytes sent up to the last operation that was seen.
    pub sent: u64,
    /// Bytes received up to the last operation that was seen.
    pub received: u64,
    /// The sequence numbers of the first bytes sent and received, as `connection::settle` has them.
    pub said: u64,
    pub heard: u64,
    /// Cookie or inode number.
    pub id: u64,
    /// When the last segment had arrived as the bytes of the operation that goes on were copied first; 0 where none goes on.
    pub arrived_ns: u64,
    /// The transport's round trip and what it sent again, as `clew_common::event::Data` has them.
    pub rtt_us: u32,
    pub retransmits: u32,
    /// Bytes the current message may still have copied.
    pub budget: u32,
    /// The connection record was written.
    pub announced: u16,
    /// Operations behind the end of a message's budget that had something copied all the same.
    pub spared: u16,
    /// `CONN_` bits.
    pub flags: u32,
    /// Direction of the last operation, plus 1; 0 before the first.
    pub last: u16,
    /// The verdict in force.
    pub verdict: u16,
}

/// Time by what it went for: [`CPU`], [`RUNQUEUE`], and from [`BLOCKED_BY`] on the `BLOCKED_` constants. Nanoseconds.
pub type Parts = [u64; PARTS];

/// On a CPU.
pub const CPU: usize = 0;
/// Waiting for one.
pub const RUNQUEUE: usize = 1;
/// Blocked; the reason is added.
pub const BLOCKED_BY: usize = 2;
/// Kinds of time.
pub const PARTS: usize = BLOCKED_BY + BLOCKED;

/// Where a thread's time went.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Thread {
    pub parts: Parts,
    /// When the state began.
    pub mark_ns: u64,
    /// `sched_info.run_delay` when it last left a CPU.
    pub delay_ns: u64,
    /// How long it was off the CPU last, until it was divided.
    pub gap_ns: u64,
    /// The goroutine or task that it runs, if its time is followed; else 0.
    pub task: u64,
    /// The kind of time that passes.
    pub state: u32,
    /// The kind that passed when it was off the CPU last; 0 once it was divided.
    pub gap: u32,
    /// 1 until it was seen that the thread has the task as its own.
    pub entering: u32,
    /// 1 if it is a task of Tokio's, 0 if it is a goroutine.
    pub polled: u32,
}

impl Thread {
    /// One that runs now.
    pub const fn running(mark_ns: u64, delay_ns: u64) -> Self {
        Self {
            parts: [0; PARTS],
            mark_ns,
            delay_ns,
            gap_ns: 0,
            task: 0,
            state: 0,
            gap: 0,
            entering: 0,
            polled: 0,
        }
    }
}

/// Where the time of a goroutine or task went.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Task {
    pub parts: Parts,
    /// Until when.
    pub until_ns: u64,
    /// The thread that runs it; 0 while none does.
    pub thread: u32,
    /// 1 if it waits for a thread, or will once it ends to run: it was woken. Of goroutines it is not known.
    pub woken: u32,
}

/// A call that has begun.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Call {
    pub number: u64,
    pub arguments: [u64; 6],
}

/// Where a thread is within a batch.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Batch {
    /// The vector of messages.
    pub vector: u64,
    /// The message the next operation belongs to.
    pub index: u32,
    /// The call.
    pub number: u32,
}

/// The operation being copied.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Walk {
    /// Address of the socket, for functions that take numbers only. Before the operation is copied.
    pub sk: u64,
    /// User address of the next `struct iovec`; 0 when the operation has one buffer.
    pub vector: u64,
    /// `struct iovec`s left, the current one not counted.
    pub vectors: u64,
    /// The rest of the current buffer.
    pub base: u64,
    pub room: u64,
    /// Bytes of the operation neither told nor gathered.
    pub left: u64,
    /// Bytes that were gathered for the next record.
    pub gathered: u64,
    /// Offset of the first byte that is not told.
    pub offset: u64,
    /// Bytes that may still be copied.
    pub budget: u64,
    /// A `NO_PAYLOAD_` reason once nothing more can be copied.
    pub stopped: u64,
    /// The verdict that the first bytes of the direction settled; 0 for none.
    pub settled: u64,
}

/// A call of a TLS library that has begun.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsCall {
    /// Address of the session object.
    pub object: u64,
    /// The plaintext, and its size as the program gave it.
    pub buffer: u64,
    pub size: u64,
    /// Where the library writes how many bytes passed; 0 where it returns the number.
    pub count: u64,
    /// The stack pointer when the call began.
    pub stack: u64,
    /// `clew_common::tls::Cookie`.
    pub cookie: u64,
    /// The connection that the first operation within the call was on; 0 for none.
    pub conn: u64,
    /// Offsets in it behind what was received and sent within the call; 0 for nothing.
    pub received: u64,
    pub sent: u64,
    /// Bytes of plaintext not yet told, the offset of the first, and how many may still be copied.
    pub left: u64,
    pub offset: u64,
    pub budget: u64,
    /// Of these, how many the next record copies and how many it tells of.
    pub size_now: u64,
    pub length_now: u64,
    /// The execution context that called, and its kind, a `CONTEXT_` constant.
    pub context: u64,
    pub context_kind: u64,
    /// `EGRESS`, `INGRESS` or `tls::NO_DATA`.
    pub direction: u32,
    /// Others were on other connections.
    pub torn: u32,
}

impl TlsCall {
    /// Nothing is known of it.
    pub const NEW: Self = Self {
        object: 0,
        buffer: 0,
        size: 0,
        count: 0,
        stack: 0,
        cookie: 0,
        conn: 0,
        received: 0,
        sent: 0,
        left: 0,
        offset: 0,
        budget: 0,
        size_now: 0,
        length_now: 0,
        context: 0,
        context_kind: 0,
        direction: 0,
        torn: 0,
    };
}

/// Pieces of plaintext given to a session of rustls in one call whose places are remembered.
pub const RUSTLS_PARTS: usize = 8;

/// What a thread does for sessions of rustls.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RustlsThread {
    /// The buffer into which it read from a connection last; 0 where no operation showed which. The connection, and the offset in
    /// it behind what was read.
    pub read: u64,
    pub read_conn: u64,
    pub read_end: u64,
    /// The session whose plaintext is being told, its connection, and the offset in it behind the records.
    pub flush: u64,
    pub flush_conn: u64,
    pub flush_end: u64,
}

impl RustlsThread {
    /// Nothing.
    pub const NEW: Self = Self {
        read: 0,
        read_conn: 0,
        read_end: 0,
        flush: 0,
        flush_conn: 0,
        flush_end: 0,
    };
}

/// What is remembered of a session of rustls while it lies where it is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RustlsObject {
    /// The connection it used last; 0 where it is not known.
    pub conn: u64,
    /// Bytes of plaintext that were given to it and have not gone yet: whose places are known, and others.
    pub size: u64,
    pub late: u64,
    /// The ends of the first part when it was given.
    pub mark: [u64; 2],
    /// Address and size of each part.
    pub parts: [[u64; 2]; RUSTLS_PARTS],
    pub n_parts: u32,
    /// The next to be told.
    pub next: u32,
    /// The thread that gave it.
    pub thread: u32,
    pub reserved: u32,
}

impl RustlsObject {
    /// Nothing is known of it.
    pub const NEW: Self = Self {
        conn: 0,
        size: 0,
        late: 0,
        mark: [0; 2],
        parts: [[0; 2]; RUSTLS_PARTS],
        n_parts: 0,
        next: 0,
        thread: 0,
        reserved: 0,
    };
}

/// A call of Go's crypto/tls.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GoTlsCall {
    /// The call as one of any library. Its size is 0 once its plaintext was told.
    pub call: TlsCall,
    /// Where the function begins and ends.
    pub low: u64,
    pub high: u64,
}

/// What is remembered of a TLS session.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsSession {
    /// Its name.
    pub id: u64,
    /// The connection that carries it; 0 where it is not known.
    pub conn: u64,
    /// Bytes of plaintext so far.
    pub sent: u64,
    pub received: u64,
    /// Offsets in the connection behind what was sent and received for it last.
    pub wire_sent: u64,
    pub wire_received: u64,
    /// Bytes the current message may still have copied.
    pub budget: u32,
    /// `SESSION_` flags.
    pub flags: u32,
    /// Direction of the last plaintext, plus 1; 0 before the first.
    pub last: u16,
    /// The verdict in force.
    pub verdict: u16,
    /// The session was told.
    pub announced: u32,
    /// What the library was given and would not take yet: how much, 0 if nothing, and in which context.
    pub held: u64,
    pub held_context: u64,
}

/// The batch being told.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct BatchWalk {
    /// User address of the next message's header.
    pub vector: u64,
    /// Messages left.
    pub left: u64,
    /// Offset of the next byte.
    pub offset: u64,
    /// The connection.
    pub conn: u64,
    pub direction: u64,
    /// A `NO_PAYLOAD_` reason for all of them.
    pub reason: u64,
}
