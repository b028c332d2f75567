//! Tokio: which task a thread runs, which task made it, for whom hyper's client connections write, and which streams of HTTP/2 tasks of
//! hyper's servers serve.
//!
//! The running task's number stands in the thread-local storage. Arguments are in the registers of the C calling convention.
//! A client's connection is driven by a task of its own, which writes the requests of whoever gives it one: the channel
//! between them is known by the address at which the writer waits, which both sides pass to functions of Tokio's.
//! Over HTTP/2 many requests lie in such a channel at once, and they may have come through another one (tower's `Buffer`). Each is known by
//! its place in the channel, which is counted from the channel's beginning, until a stream is opened for it: streams are known by their
//! numbers and where those of a connection lie.
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use clew_common::context::{
    Plan, TOKIO_CLAIMS, TOKIO_HEADER, TOKIO_NEXT, TOKIO_OPENS, TOKIO_SENDS, TOKIO_STREAM, TOKIO_TASK, TOKIO_WAITS,
    TOKIO_WAKES, stream_parts, wake_at,
};
use clew_common::event::{
    CONTEXT_TOKIO, KIND_LINK, LINK_CREATED, LINK_LEFT, LINK_SERVANT, LINK_SERVES, LINK_WRITES, Link,
};

use crate::arch::{argument, probed_at, return_address, saved};
use crate::context::{scoped, word};
use crate::kernel;
use crate::maps::{
    Asked, Opened, TOKIO_ASKERS, TOKIO_LYING, TOKIO_OPENED, TOKIO_RECEIVERS, TOKIO_STREAMS, TOKIO_TAKEN, TOKIO_WRITERS,
    remember,
};
use crate::{context, ring, settings as offset};

/// Set in an asker's number once the writer did something on its connection since it was asked.
const BEGUN: u64 = 1 << 63;

/// The task the current thread works for.
#[inline(always)]
pub fn current(plan: *const Plan) -> Option<u64> {
    let id = task(plan)?;
    let Some(channel) = TOKIO_WRITERS.get_ptr(&scoped(id)) else {
        return Some(id);
    };
    // SAFETY: the map gave the pointer.
    let slot = TOKIO_ASKERS.get_ptr_mut(&scoped(unsafe { *channel }))?;
    // SAFETY: the map gave the pointer.
    let asker = unsafe { *slot } & !BEGUN;
    // SAFETY: the map gave the pointer.
    unsafe { *slot = asker | BEGUN };
    (asker != 0).then_some(asker)
}

/// The task the current thread runs; none outside of tasks.
#[inline(always)]
pub fn task(plan: *const Plan) -> Option<u64> {
    let base: u64 = kernel::of_task(offset::task_fsbase());
    let id: u64 = kernel::user(base.wrapping_add(word(plan, TOKIO_TASK)))?;
    (id != 0).then_some(id)
}

/// At the start of the functions that make a new task runnable: the second argument is its header.
#[uprobe]
pub fn tokio_created(ctx: ProbeContext) -> u32 {
    let Some(plan) = context::plan() else { return 0 };
    let Some(parent) = task(plan) else { return 0 };
    let header = argument(&ctx, 1);
    if let Some(id) = number(plan, header) {
        created(parent, id);
    }
    0
}

/// A task made another, which may serve the stream that it took up.
#[inline(always)]
fn created(parent: u64, id: u64) {
    link(parent, id, (0, 0), LINK_CREATED);
    let key = scoped(parent);
    let Some(stream) = TOKIO_STREAMS.get_ptr(&key) else {
        return;
    };
    // SAFETY: the map gave the pointer.
    let stream = unsafe { *stream };
    if stream & MADE_NEXT != 0 {
        let _absent = TOKIO_STREAMS.remove(&key);
        link(parent, id, (stream & !MADE_NEXT, 0), LINK_SERVES);
    }
}

/// The next task that is made serves the stream.
pub const MADE_NEXT: u64 = 1 << 32;

/// In `h2::proto::streams::streams::OpaqueStreamRef::new(inner, stream)`: the running task takes up a stream, which its connection
/// brought or which it asks on. One that does both does not say which it hands on.
#[uprobe]
pub fn tokio_takes_up(ctx: ProbeContext) -> u32 {
    let Some(plan) = context::plan() else { return 0 };
    let id = task(plan);
    let (register, ..) = stream_parts(word(plan, TOKIO_STREAM));
    let taken = opened(plan, saved(&ctx, register));
    if called_from(&ctx, plan, TOKIO_OPENS) {
        let asked = id.and_then(passed).unwrap_or(NOBODY);
        remember(&TOKIO_OPENED, &taken, &asked);
        return 0;
    }
    let Some(id) = id else { return 0 };
    let key = scoped(id);
    let mut stream = taken.stream;
    if let Some(before) = TOKIO_STREAMS.get_ptr(&key) {
        // SAFETY: the map gave the pointer.
        if unsafe { *before } & MADE_NEXT == 0 {
            stream = 0;
        }
    }
    remember(&TOKIO_STREAMS, &key, &stream);
    0
}

/// Where hyper's server hands the stream that was taken up last to a task that is made for it.
#[uprobe]
pub fn tokio_hands_stream(_ctx: ProbeContext) -> u32 {
    let Some(plan) = context::plan() else { return 0 };
    let Some(id) = task(plan) else { return 0 };
    if let Some(stream) = TOKIO_STREAMS.get_ptr_mut(&scoped(id)) {
        // SAFETY: the map gave the pointer.
        unsafe { *stream |= MADE_NEXT };
    }
    0
}

/// The stream that `pointer`, a `&mut h2::proto::streams::store::Ptr`, is of.
#[inline(always)]
fn opened(plan: *const Plan, pointer: u64) -> Opened {
    let (_, number, store) = stream_parts(word(plan, TOKIO_STREAM));
    let number: u32 = kernel::user(pointer.wrapping_add(number)).unwrap_or(0);
    Opened {
        tgid: u64::from(context::tgid()),
        store: kernel::user(pointer.wrapping_add(store)).unwrap_or(0),
        stream: number.into(),
    }
}

const NOBODY: Asked = Asked { asker: 0, place: 0 };

/// A place in a channel, as one number: the sending half's address, of which 47 bits are used, the lowest 3 of them never, and the place's
/// number, of which there are never so many at once.
#[inline(always)]
const fn place(channel: u64, index: u64) -> u64 {
    channel >> 3 | index << 44
}

/// Whose the request is that task `id` took and has not passed on; none if it takes none.
#[inline(always)]
fn passed(id: u64) -> Option<Asked> {
    let key = scoped(id);
    let taken = TOKIO_TAKEN.get_ptr(&key)?;
    // SAFETY: the map gave the pointer.
    let at = scoped(unsafe { *taken });
    let _absent = TOKIO_TAKEN.remove(&key);
    let Some(lying) = TOKIO_LYING.get_ptr(&at) else {
        return Some(NOBODY);
    };
    // SAFETY: the map gave the pointer.
    let asked = unsafe { *lying };
    let _absent = TOKIO_LYING.remove(&at);
    Some(asked)
}

/// In `tokio::sync::mpsc::list::Tx::push(&self, value)`, which has claimed a place and put nothing there: the running task asks, or it
/// passes on what another asked.
#[uprobe]
pub fn tokio_claims(ctx: ProbeContext) -> u32 {
    let Some(plan) = context::plan() else { return 0 };
    let at = probed_at(&ctx);
    let mut claim = 0;
    for place in TOKIO_CLAIMS {
        let word = word(plan, place);
        if wake_at(word, at).is_some() {
            claim = word;
        }
    }
    let Some((register, _)) = wake_at(claim, at) else {
        return 0;
    };
    let place = place(argument(&ctx, 0), saved(&ctx, register));
    let asker = task(plan).unwrap_or(0);
    let asked = passed(asker).unwrap_or(Asked { asker, place });
    if asker != 0 && asked.place == place && TOKIO_RECEIVERS.get_ptr(&scoped(asker)).is_none() {
        link(asker, 0, (0, place), LINK_LEFT);
    }
    remember(&TOKIO_LYING, &scoped(place), &asked);
    0
}

/// In `tokio::sync::mpsc::list::Rx::pop(&mut self, tx)`: the running task takes what lies there, if it does.
#[uprobe]
pub fn tokio_takes(ctx: ProbeContext) -> u32 {
    let Some(plan) = context::plan() else { return 0 };
    let Some(id) = task(plan) else { return 0 };
    let next = argument(&ctx, 1).wrapping_add(word(plan, TOKIO_NEXT));
    if let Some(index) = kernel::user(next) {
        remember(&TOKIO_TAKEN, &scoped(id), &place(argument(&ctx, 2), index));
    }
    0
}

/// In `h2::proto::streams::store::Queue::push_front(&mut self, stream)`: the head of a client's stream is written next.
#[uprobe]
pub fn tokio_opens(ctx: ProbeContext) -> u32 {
    let Some(plan) = context::plan() else { return 0 };
    let Some(id) = task(plan) else { return 0 };
    let key = opened(plan, argument(&ctx, 1));
    let Some(asked) = TOKIO_OPENED.get_ptr(&key) else {
        return 0;
    };
    // SAFETY: the map gave the pointer.
    let Asked { asker, place } = unsafe { *asked };
    let _absent = TOKIO_OPENED.remove(&key);
    if asker != 0 {
        link(asker, id, (key.stream, place), LINK_WRITES);
    }
    0
}

/// The number of the task with this header.
#[inline(always)]
pub fn number(plan: *const Plan, header: u64) -> Option<u64> {
    let offsets = word(plan, TOKIO_HEADER);
    let table: u64 = kernel::user(header.wrapping_add(offsets & 0xffff_ffff))?;
    let at: u64 = kernel::user(table.wrapping_add(offsets >> 32))?;
    let id: u64 = kernel::user(header.wrapping_add(at))?;
    (id != 0).then_some(id)
}

/// Where a task takes a message out of a channel: it may work for whoever sent it.
#[uprobe]
pub fn tokio_receives(_ctx: ProbeContext) -> u32 {
    let Some(plan) = context::plan() else { return 0 };
    if let Some(id) = task(plan) {
        serves(id);
    }
    0
}

/// In `AtomicWaker::register_by_ref(&self, waker)`: if a client's connection is being driven, it waits for requests here.
#[uprobe]
pub fn tokio_waits(ctx: ProbeContext) -> u32 {
    let Some(plan) = context::plan() else { return 0 };
    if !called_from(&ctx, plan, TOKIO_WAITS) {
        return 0;
    }
    let Some(id) = task(plan) else { return 0 };
    let channel = argument(&ctx, 0);
    // The request before is written. What is given behind the channel's back must not pass for its giver's. One that nothing
    // was done for yet was given while the writer began to wait: it takes it before it does.
    if let Some(asker) = TOKIO_ASKERS.get_ptr(&scoped(channel)) {
        // SAFETY: the map gave the pointer.
        if unsafe { *asker } & BEGUN != 0 {
            let _absent = TOKIO_ASKERS.remove(&scoped(channel));
        }
    }
    remember(&TOKIO_WRITERS, &scoped(id), &channel);
    serves(id);
    0
}

/// In `AtomicWaker::wake(&self)`: if a client's connection is given a request, it is the running task's.
#[uprobe]
pub fn tokio_wakes(ctx: ProbeContext) -> u32 {
    let Some(plan) = context::plan() else { return 0 };
    if called_from(&ctx, plan, TOKIO_SENDS) {
        let channel = argument(&ctx, 0);
        remember(&TOKIO_ASKERS, &scoped(channel), &task(plan).unwrap_or(0));
    }
    0
}

/// Where a request is put into its channel, or where `AtomicWaker::wake` is a part of its callers: as [`tokio_wakes`], whoever waits there.
/// What waits for something else than requests is never asked for.
#[uprobe]
pub fn tokio_marks(ctx: ProbeContext) -> u32 {
    let Some(plan) = context::plan() else { return 0 };
    if let Some(channel) = named(&ctx, plan) {
        remember(&TOKIO_ASKERS, &scoped(channel), &task(plan).unwrap_or(0));
    }
    0
}

/// In the function that makes a new task of a `LocalSet` runnable.
#[uprobe]
pub fn tokio_made(ctx: ProbeContext) -> u32 {
    let Some(plan) = context::plan() else { return 0 };
    let Some(parent) = task(plan) else { return 0 };
    if let Some(id) = named(&ctx, plan).and_then(|header| number(plan, header)) {
        created(parent, id);
    }
    0
}

/// The address that the plan tells how to find at the place that was probed.
#[inline(always)]
fn named(ctx: &ProbeContext, plan: *const Plan) -> Option<u64> {
    let at = probed_at(ctx);
    for place in TOKIO_WAKES {
        if let Some((register, offset)) = wake_at(word(plan, place), at) {
            return Some(saved(ctx, register).wrapping_add_signed(i64::from(offset)));
        }
    }
    None
}

/// The function that was probed, which has pushed nothing yet, returns to one of the plan's places.
#[inline(always)]
fn called_from(ctx: &ProbeContext, plan: *const Plan, places: core::ops::Range<usize>) -> bool {
    let Some(back) = return_address(ctx) else {
        return false;
    };
    let distance = back.wrapping_sub(probed_at(ctx));
    let low = distance as u32;
    if distance as i64 != i64::from(low as i32) {
        return false;
    }
    let mut found = false;
    for place in places {
        let two = word(plan, place);
        found |= low != 0 && (two as u32 == low || (two >> 32) as u32 == low);
    }
    found
}

/// A task works for others from now on.
#[inline(always)]
fn serves(id: u64) {
    let key = scoped(id);
    if TOKIO_RECEIVERS.get_ptr(&key).is_none() {
        let _full = TOKIO_RECEIVERS.insert(key, 1, 0);
        link(id, id, (0, 0), LINK_SERVANT);
    }
}

#[inline(always)]
fn link(context: u64, other: u64, (site, place): (u64, u64), link: u32) {
    let mut header = context::header(KIND_LINK);
    header.context = context;
    header.context_kind = CONTEXT_TOKIO;
    let _lost = ring::send(&Link {
        header,
        other,
        site,
        place,
        link,
        reserved: 0,
    });
}
