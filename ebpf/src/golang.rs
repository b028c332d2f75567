//! Go: which goroutine a thread runs, which goroutine made it, for whom net/http's writers write, and which streams of HTTP/2
//! goroutines serve and ask on.
//!
//! A goroutine's number is read from its `g`, which the runtime keeps at a fixed place of the thread-local storage. Arguments
//! are in the registers of Go's internal calling convention (since Go 1.17), which `ebpf/src/arch/mod.rs` knows.
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use clew_common::context::{
    GO_CURG, GO_GOID, GO_IS_SELECT, GO_LOWEST_RECEIVE, GO_LOWEST_SELECT, GO_LOWEST_SEND, GO_M, GO_PARENT, GO_PARKED,
    GO_POOLS, GO_RECVX, GO_TLS, GRPC_ID, PAGE, PLAN_GO, Plan, grpc_stream, in_code_range,
};
use clew_common::event::{
    CONTEXT_GOROUTINE, KIND_LINK, LINK_CREATED, LINK_HANDED, LINK_LEFT, LINK_SERVANT, LINK_SERVES, LINK_TAKEN,
    LINK_WRITES, Link,
};

use crate::arch::{frame_pointer, go_argument, go_running, probed_at};
use crate::context::{scoped, word};
use crate::kernel;
use crate::maps::{GO_ASKERS, GO_SENDERS, GO_WRITERS, remember};
use crate::{context, ring, settings as offset, stacks};

/// The goroutine the current thread works for.
#[inline(always)]
pub fn current(plan: *const Plan) -> Option<u64> {
    let id = goroutine(plan)?;
    // One that writes what others ask works for whoever asked last: a connection carries one request at a time.
    if let Some(conn) = GO_WRITERS.get_ptr(&scoped(id)) {
        // SAFETY: the map gave the pointer.
        let conn = unsafe { *conn };
        if conn == MANY {
            return Some(id);
        }
        let asker = GO_ASKERS.get_ptr(&scoped(conn));
        // SAFETY: the map gave the pointer.
        return asker.map(|asker| unsafe { *asker });
    }
    Some(id)
}

/// The goroutine the current thread runs; none on a thread that is not Go's.
#[inline(always)]
pub fn goroutine(plan: *const Plan) -> Option<u64> {
    let base: u64 = kernel::of_task(offset::task_fsbase());
    let g: u64 = kernel::user(base.wrapping_add(word(plan, GO_TLS)))?;
    if g == 0 {
        return None;
    }
    let id: u64 = kernel::user(g.wrapping_add(word(plan, GO_GOID)))?;
    if id != 0 {
        return Some(id);
    }
    // The thread's own stack, on which the runtime and C code run; a goroutine may be waiting for them.
    let m: u64 = kernel::user(g.wrapping_add(word(plan, GO_M)))?;
    let g: u64 = kernel::user(m.wrapping_add(word(plan, GO_CURG)))?;
    if g == 0 {
        return None;
    }
    kernel::user(g.wrapping_add(word(plan, GO_GOID)))
}

/// In `runtime.newproc.func1`, before `runtime.runqput(pp, newg, next)` makes a new goroutine runnable: its number and its
/// creator's are in it.
#[uprobe]
pub fn go_created(ctx: ProbeContext) -> u32 {
    let Some(plan) = plan() else { return 0 };
    let g = go_argument(&ctx, 1);
    let id = kernel::user::<u64>(g.wrapping_add(word(plan, GO_GOID)));
    let parent = kernel::user::<u64>(g.wrapping_add(word(plan, GO_PARENT)));
    if let (Some(id), Some(parent)) = (id, parent) {
        link(parent, id, (0, 0), LINK_CREATED);
    }
    0
}

/// At the start of `net/http.(*persistConn).roundTrip(pc, req)`: the running goroutine's request is the next to be written.
#[uprobe]
pub fn go_asks(ctx: ProbeContext) -> u32 {
    let Some(plan) = plan() else { return 0 };
    let conn = go_argument(&ctx, 0);
    if let Some(id) = goroutine(plan) {
        remember(&GO_ASKERS, &scoped(conn), &id);
        if offset::stacks() != 0 {
            stacks::keep_stack(id);
        }
    }
    0
}

/// At the start of `net/http.(*persistConn).writeLoop(pc)` and `readLoop(pc)`: the running goroutine does what is asked of the
/// connection. Also of `(*Transport).dialConnFor(t, w)`, which opens a connection that may go to another than who wanted it.
#[uprobe]
pub fn go_writes(ctx: ProbeContext) -> u32 {
    let Some(plan) = plan() else { return 0 };
    let conn = go_argument(&ctx, 0);
    if let Some(id) = goroutine(plan) {
        remember(&GO_WRITERS, &scoped(id), &conn);
        link(id, id, (0, 0), LINK_SERVANT);
    }
    0
}

/// In what `net/http.(*persistConn).writeLoop(pc)` and `readLoop(pc)` do last: the running goroutine writes for nobody any more. Those
/// that are over would make those that are not fall out of the maps.
#[uprobe]
pub fn go_ends(_ctx: ProbeContext) -> u32 {
    let Some(plan) = plan() else { return 0 };
    if let Some(id) = goroutine(plan) {
        let _absent = GO_WRITERS.remove(&scoped(id));
    }
    0
}

/// In place of a `persistConn`: the goroutine passes what many ask at once, and each operation is its own.
const MANY: u64 = 0;

/// At the start of `google.golang.org/grpc/internal/transport.(*loopyWriter).run(l)` and `(*http2Client).reader(t)`: the running
/// goroutine writes and reads for whoever asks on the connection.
#[uprobe]
pub fn go_passes(_ctx: ProbeContext) -> u32 {
    let Some(plan) = plan() else { return 0 };
    if let Some(id) = goroutine(plan) {
        remember(&GO_WRITERS, &scoped(id), &MANY);
        link(id, id, (0, 0), LINK_SERVANT);
    }
    0
}

/// At the start of `(*serverConn).runHandler(sc, rw, request, handler)` of HTTP/2 in net/http: the running goroutine serves a stream.
///
/// ```text
/// responseWriter          responseWriterState      stream
/// 0 +------------------+  0 +--------------+       0 +------------+ 8 +---------+ 12
///   | *responseWriter- |--->| *stream, ... |------->| *serverConn |   | id, u32 |
///   | State            |    +--------------+        +------------+   +---------+
///   +------------------+
/// ```
///
/// The same in Go 1.21 to 1.27 and in golang.org/x/net/http2; that the stream names the connection again shows that it is.
#[uprobe]
pub fn go_serves(ctx: ProbeContext) -> u32 {
    let Some(plan) = plan() else { return 0 };
    let (conn, writer) = (go_argument(&ctx, 0), go_argument(&ctx, 1));
    let state: u64 = kernel::user(writer).unwrap_or(0);
    let stream: u64 = kernel::user(state).unwrap_or(0);
    if kernel::user::<u64>(stream) == Some(conn) {
        serves(&ctx, plan, kernel::user(stream + 8).unwrap_or(0));
    }
    0
}

/// At the start of `google.golang.org/grpc.(*Server).handleStream(s, transport, stream)`: the running goroutine serves a stream.
#[uprobe]
pub fn go_serves_call(ctx: ProbeContext) -> u32 {
    let Some(plan) = plan() else { return 0 };
    // An interface has two words, so the stream is the fourth.
    let stream = go_argument(&ctx, 3);
    let first: u64 = kernel::user(stream).unwrap_or(0);
    let number = |address| kernel::user(address).unwrap_or(0);
    if let Some(id) = grpc_stream(first, || number(first), || number(stream + GRPC_ID)) {
        serves(&ctx, plan, id);
    }
    0
}

/// The running goroutine serves the stream `id` of a connection which its creator reads, or is handed the frames of.
#[inline(always)]
fn serves(ctx: &ProbeContext, plan: *const Plan, id: u32) {
    let g = go_running(ctx);
    let running = id_of(plan, g);
    let creator = kernel::user::<u64>(g.wrapping_add(word(plan, GO_PARENT))).unwrap_or(0);
    if is_asked(id) && running != 0 {
        link(creator, running, (id.into(), 0), LINK_SERVES);
    }
}

/// Whether it may be the number of a stream that a client opens (RFC 9113 section 5.1.1).
#[inline(always)]
const fn is_asked(id: u32) -> bool {
    id & 1 == 1
}

/// In `google.golang.org/grpc/internal/transport.(*http2Client).NewStream`, before `(*controlBuffer).executeAndPut(c, f, frame)`
/// gives the head of a request to the goroutine that writes: the running one asks.
#[uprobe]
pub fn go_asks_call(ctx: ProbeContext) -> u32 {
    let Some(plan) = plan() else { return 0 };
    // An interface has two words; the second is the frame's address.
    fill(go_argument(&ctx, 3), id_of(plan, go_running(&ctx)));
    0
}

/// At the start of `google.golang.org/grpc/internal/transport.(*loopyWriter).clientHeaderHandler(l, frame)`, and up to grpc 1.80 of
/// `headerHandler`, which servers have too: the running goroutine writes the head of a request. Its stream's number is the first
/// field.
#[uprobe]
pub fn go_writes_call(ctx: ProbeContext) -> u32 {
    let Some(plan) = plan() else { return 0 };
    let frame = go_argument(&ctx, 1);
    let key = scoped(frame);
    let Some(asker) = GO_SENDERS.get_ptr(&key) else {
        return 0;
    };
    // SAFETY: the map gave the pointer.
    let asker = unsafe { *asker };
    let _absent = GO_SENDERS.remove(&key);
    let id: u32 = kernel::user(frame).unwrap_or(0);
    if is_asked(id) {
        link(asker, id_of(plan, go_running(&ctx)), (id.into(), frame), LINK_WRITES);
    }
    0
}

/// At the start of `(*clientStream).writeRequest(cs, request)` of HTTP/2 in net/http: the running goroutine, which was made for this
/// request, writes its head itself.
#[uprobe]
pub fn go_writes_own(ctx: ProbeContext) -> u32 {
    let Some(plan) = plan() else { return 0 };
    let id = id_of(plan, go_running(&ctx));
    if id != 0 {
        link(id, id, (0, 0), LINK_WRITES);
    }
    0
}

/// `struct hchan`: what is in the buffer, its capacity, its memory, the size of an element.
const CHAN_CAPACITY: u64 = 8;
const CHAN_BUFFER: u64 = 16;
const CHAN_ELEMENT: u64 = 24;

/// In `runtime.chansend`, before `runtime.send(c, sg, ...)` gives an element to the goroutine that waits for one.
#[uprobe]
pub fn go_sends(ctx: ProbeContext) -> u32 {
    sends(&ctx, GO_LOWEST_SEND)
}

/// As [`go_sends`], in `runtime.selectgo`.
#[uprobe]
pub fn go_sends_select(ctx: ProbeContext) -> u32 {
    sends(&ctx, GO_LOWEST_SELECT)
}

#[inline(always)]
fn sends(ctx: &ProbeContext, lowest: usize) -> u32 {
    let Some(plan) = plan() else { return 0 };
    let (chan, waiter) = (go_argument(ctx, 0), go_argument(ctx, 1));
    // An element without size carries nothing: a signal.
    if kernel::user::<u16>(chan + CHAN_ELEMENT).unwrap_or(0) == 0 {
        return 0;
    }
    let Some(other) = kernel::user::<u64>(waiter) else {
        return 0;
    };
    let parked: u64 = kernel::user(other.wrapping_add(word(plan, GO_PARKED))).unwrap_or(0);
    // The frames below the one that parked: of selectgo, or of chanrecv and the function the program called it by.
    let frame: u64 = kernel::user(parked).unwrap_or(0);
    let select: u8 = kernel::user(waiter.wrapping_add(word(plan, GO_IS_SELECT))).unwrap_or(0);
    let (from, to) = (id_of(plan, go_running(ctx)), id_of(plan, other));
    let site = site(frame, select != 0);
    // The runtime itself sends the ticks of timers.
    if from != 0 && told(from, to) && !is_pools(ctx, plan, lowest, site) {
        link(from, to, (site, 0), LINK_HANDED);
    }
    0
}

/// In `runtime.chanrecv`, before `runtime.recv(c, sg, ...)` takes an element while a goroutine waits to send one.
#[uprobe]
pub fn go_takes(ctx: ProbeContext) -> u32 {
    takes(&ctx, false)
}

/// As [`go_takes`], in `runtime.selectgo`.
#[uprobe]
pub fn go_takes_select(ctx: ProbeContext) -> u32 {
    takes(&ctx, true)
}

#[inline(always)]
fn takes(ctx: &ProbeContext, select: bool) -> u32 {
    let Some(plan) = plan() else { return 0 };
    let (chan, waiter) = (go_argument(ctx, 0), go_argument(ctx, 1));
    let lowest = lowest(select);
    let size: u16 = kernel::user(chan + CHAN_ELEMENT).unwrap_or(0);
    if size == 0 {
        return 0;
    }
    let Some(sender) = kernel::user::<u64>(waiter) else {
        return 0;
    };
    let (sender, taker) = (id_of(plan, sender), id_of(plan, go_running(ctx)));
    let site = site(frame_pointer(ctx), select);
    let pools = is_pools(ctx, plan, lowest, site);
    if kernel::user::<u64>(chan + CHAN_CAPACITY).unwrap_or(0) == 0 {
        if told(sender, taker) && !pools {
            link(sender, taker, (site, 0), LINK_HANDED);
        }
        return 0;
    }
    // The buffer is full: its oldest element is taken, and the waiting one comes into its slot.
    let next: u64 = kernel::user(chan.wrapping_add(word(plan, GO_RECVX))).unwrap_or(0);
    let buffer: u64 = kernel::user(chan + CHAN_BUFFER).unwrap_or(0);
    let slot = buffer.wrapping_add(next.wrapping_mul(u64::from(size)));
    empty(slot, if pools { 0 } else { taker }, site);
    fill(slot, sender);
    0
}

/// In `runtime.chansend` and `runtime.selectgo`, before `runtime.typedmemmove(type, slot, element)` puts an element into a
/// buffer.
#[uprobe]
pub fn go_buffers(ctx: ProbeContext) -> u32 {
    let Some(plan) = plan() else { return 0 };
    let (kind, slot) = (go_argument(&ctx, 0), go_argument(&ctx, 1));
    // The size of a type is its first field.
    if kernel::user::<u64>(kind).unwrap_or(0) != 0 {
        fill(slot, id_of(plan, go_running(&ctx)));
    }
    0
}

/// In `runtime.chanrecv`, before `runtime.typedmemclr(type, slot)` empties the slot an element was taken from.
#[uprobe]
pub fn go_unbuffers(ctx: ProbeContext) -> u32 {
    unbuffers(&ctx, false)
}

/// As [`go_unbuffers`], in `runtime.selectgo`.
#[uprobe]
pub fn go_unbuffers_select(ctx: ProbeContext) -> u32 {
    unbuffers(&ctx, true)
}

#[inline(always)]
fn unbuffers(ctx: &ProbeContext, select: bool) -> u32 {
    let Some(plan) = plan() else { return 0 };
    if kernel::user::<u64>(go_argument(ctx, 0)).unwrap_or(0) == 0 {
        return 0;
    }
    let site = site(frame_pointer(ctx), select);
    let taker = if is_pools(ctx, plan, lowest(select), site) {
        0
    } else {
        id_of(plan, go_running(ctx))
    };
    empty(go_argument(ctx, 1), taker, site);
    0
}

/// An element comes into a slot.
#[inline(always)]
fn fill(slot: u64, giver: u64) {
    remember(&GO_SENDERS, &scoped(slot), &giver);
    if giver != 0 && !is_servant(giver) {
        link(giver, 0, (0, slot), LINK_LEFT);
    }
}

/// An element is taken out of a slot; `taker` is 0 where it is no work.
#[inline(always)]
fn empty(slot: u64, taker: u64, site: u64) {
    let key = scoped(slot);
    // SAFETY: the map gave the pointer.
    let giver = GO_SENDERS.get_ptr(&key).map(|giver| unsafe { *giver });
    let _absent = GO_SENDERS.remove(&key);
    let telling = match giver {
        // The tick of a timer, which the runtime itself sends.
        Some(0) => false,
        // The agent has to forget what was left there.
        Some(giver) if taker == 0 => !is_servant(giver),
        None if taker == 0 => false,
        giver => told(giver.unwrap_or(0), taker),
    };
    if telling {
        link(giver.unwrap_or(0), taker, (site, slot), LINK_TAKEN);
    }
}

/// Where the lowest probe of the function lies that receives.
#[inline(always)]
const fn lowest(select: bool) -> usize {
    if select { GO_LOWEST_SELECT } else { GO_LOWEST_RECEIVE }
}

/// Whether a pool of connections receives at `site`: whoever is done with a connection gives it to whoever waits, which says
/// nothing of whom the one works for.
#[inline(always)]
fn is_pools(ctx: &ProbeContext, plan: *const Plan, lowest: usize, site: u64) -> bool {
    let moved = probed_at(ctx).wrapping_sub(word(plan, lowest)) & !(PAGE - 1);
    let site = site.wrapping_sub(moved);
    let mut at = GO_POOLS.start;
    while at < GO_POOLS.end {
        if in_code_range(word(plan, at), site) {
            return true;
        }
        at += 1;
    }
    false
}

/// The number of the goroutine `g`; 0 for one that cannot be read, and for the runtime's own.
#[inline(always)]
fn id_of(plan: *const Plan, g: u64) -> u64 {
    kernel::user(g.wrapping_add(word(plan, GO_GOID))).unwrap_or(0)
}

/// Where the program receives, from the frame pointer of selectgo or chanrecv: the return address of what it called, which
/// for chanrecv lies one function further. 0 where it cannot be read.
#[inline(always)]
fn site(frame: u64, select: bool) -> u64 {
    let frame = if select {
        frame
    } else {
        kernel::user(frame).unwrap_or(0)
    };
    kernel::user(frame.wrapping_add(8)).unwrap_or(0)
}

/// Whether the agent has to hear that something went from one goroutine to another. What servants are handed is known
/// otherwise.
#[inline(always)]
fn told(from: u64, to: u64) -> bool {
    to != 0 && from != to && !is_servant(to) && !is_servant(from)
}

#[inline(always)]
fn is_servant(id: u64) -> bool {
    GO_WRITERS.get_ptr(&scoped(id)).is_some()
}

/// The current process's plan, if it is Go's.
#[inline(always)]
pub fn plan() -> Option<*const Plan> {
    let plan = context::plan()?;
    // SAFETY: the map gave the pointer.
    (unsafe { (*plan).kind } == PLAN_GO).then_some(plan)
}

#[inline(always)]
fn link(context: u64, other: u64, (site, place): (u64, u64), link: u32) {
    let mut header = context::header(KIND_LINK);
    header.context = context;
    header.context_kind = CONTEXT_GOROUTINE;
    let _lost = ring::send(&Link {
        header,
        other,
        site,
        place,
        link,
        reserved: 0,
    });
}
