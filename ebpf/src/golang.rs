//! Go: which goroutine a thread runs, which goroutine made it, and for whom net/http's writers write.
//!
//! A goroutine's number is read from its `g`, which the runtime keeps at a fixed place of the thread-local storage. Arguments
//! are in the registers of Go's internal calling convention (since Go 1.17), which `ebpf/src/arch/mod.rs` knows.
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use clew_common::context::{GO_CURG, GO_GOID, GO_M, GO_PARENT, GO_TLS, Plan};
use clew_common::event::{CONTEXT_GOROUTINE, KIND_LINK, LINK_CREATED, LINK_SERVANT, Link};

use crate::arch::go_argument;
use crate::kernel;
use crate::maps::{GO_ASKERS, GO_WRITERS, Scoped};
use crate::{context, ring, settings as offset};

#[inline(always)]
fn word(plan: *const Plan, index: usize) -> u64 {
    // SAFETY: the map gave the pointer.
    unsafe { (*plan).words[index] }
}

#[inline(always)]
fn scoped(id: u64) -> Scoped {
    Scoped {
        id,
        tgid: u64::from(context::tgid()),
    }
}

/// The goroutine the current thread works for.
#[inline(always)]
pub fn current(plan: *const Plan) -> Option<u64> {
    let id = goroutine(plan)?;
    // One that writes what others ask works for whoever asked last: a connection carries one request at a time.
    if let Some(conn) = GO_WRITERS.get_ptr(&scoped(id)) {
        // SAFETY: the map gave the pointer.
        let asker = GO_ASKERS.get_ptr(&scoped(unsafe { *conn }));
        // SAFETY: the map gave the pointer.
        return asker.map(|asker| unsafe { *asker });
    }
    Some(id)
}

/// The goroutine the current thread runs; none on a thread that is not Go's.
#[inline(always)]
fn goroutine(plan: *const Plan) -> Option<u64> {
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
    let Some(plan) = context::plan() else { return 0 };
    let g = go_argument(&ctx, 1);
    let id = kernel::user::<u64>(g.wrapping_add(word(plan, GO_GOID)));
    let parent = kernel::user::<u64>(g.wrapping_add(word(plan, GO_PARENT)));
    if let (Some(id), Some(parent)) = (id, parent) {
        link(parent, id, LINK_CREATED);
    }
    0
}

/// At the start of `net/http.(*persistConn).roundTrip(pc, req)`: the running goroutine's request is the next to be written.
#[uprobe]
pub fn go_asks(ctx: ProbeContext) -> u32 {
    let Some(plan) = context::plan() else { return 0 };
    let conn = go_argument(&ctx, 0);
    if let Some(id) = goroutine(plan) {
        let _full = GO_ASKERS.insert(scoped(conn), id, 0);
    }
    0
}

/// At the start of `net/http.(*persistConn).writeLoop(pc)`: the running goroutine writes what is asked of the connection.
#[uprobe]
pub fn go_writes(ctx: ProbeContext) -> u32 {
    let Some(plan) = context::plan() else { return 0 };
    let conn = go_argument(&ctx, 0);
    if let Some(id) = goroutine(plan) {
        let _full = GO_WRITERS.insert(scoped(id), conn, 0);
        link(id, id, LINK_SERVANT);
    }
    0
}

#[inline(always)]
fn link(context: u64, other: u64, link: u32) {
    let mut header = context::header(KIND_LINK);
    header.context = context;
    header.context_kind = CONTEXT_GOROUTINE;
    let _lost = ring::send(&Link {
        header,
        other,
        link,
        reserved: 0,
    });
}
