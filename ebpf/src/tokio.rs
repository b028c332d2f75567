//! Tokio: which task a thread runs, which task made it, and for whom hyper's client connections write.
//!
//! The running task's number stands in the thread-local storage. Arguments are in the registers of the C calling convention.
//! A client's connection is driven by a task of its own, which writes the requests of whoever gives it one: the channel
//! between them is known by the address at which the writer waits, which both sides pass to functions of Tokio's.
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use clew_common::context::{Plan, TOKIO_HEADER, TOKIO_SENDS, TOKIO_TASK, TOKIO_WAITS, TOKIO_WAKES, wake_at};
use clew_common::event::{CONTEXT_TOKIO, KIND_LINK, LINK_CREATED, LINK_SERVANT, Link};

use crate::arch::{argument, probed_at, return_address, saved};
use crate::context::{scoped, word};
use crate::kernel;
use crate::maps::{TOKIO_ASKERS, TOKIO_RECEIVERS, TOKIO_WRITERS, remember};
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
        link(parent, id, LINK_CREATED);
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
        link(parent, id, LINK_CREATED);
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
        link(id, id, LINK_SERVANT);
    }
}

#[inline(always)]
fn link(context: u64, other: u64, link: u32) {
    let mut header = context::header(KIND_LINK);
    header.context = context;
    header.context_kind = CONTEXT_TOKIO;
    let _lost = ring::send(&Link {
        header,
        other,
        site: 0,
        place: 0,
        link,
        reserved: 0,
    });
}
