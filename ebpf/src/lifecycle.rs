//! What becomes of TCP connections.
use core::ffi::{c_int, c_void};

use aya_ebpf::helpers::generated::bpf_sk_storage_get;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use clew_common::event::{
    CONN_OPENED_HERE, DATA_END, Data, INGRESS, KIND_DATA, KIND_STATE, STATE_CLOSED, STATE_CONNECTING,
    STATE_ESTABLISHED, STATE_RESET_RECEIVED, STATE_RESET_SENT, State,
};

use crate::connection::{self, Mode};
use crate::kernel::{Direct, Probe, Reader};
use crate::maps::{CONNECTIONS, CONNECTIONS_BY_INODE, Conn, INODE_OF_SOCK};
use crate::{context, ring, settings as offset};

const TCP_ESTABLISHED: c_int = 1;
const TCP_SYN_SENT: c_int = 2;
const TCP_SYN_RECV: c_int = 3;
const TCP_CLOSE: c_int = 7;

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, since 4.16. Only the step from
/// CLOSE to SYN_SENT is sure to run in the process that owns the socket.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn socket_state(ctx: BtfTracePointContext) -> i32 {
    change::<Storage>(&ctx)
}

/// As [`socket_state`], for `--capture syscall`.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn call_state(ctx: BtfTracePointContext) -> i32 {
    change::<Inode>(&ctx)
}

/// `tcp_receive_reset(struct sock *sk)`, since 4.16.
#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn socket_reset_received(ctx: BtfTracePointContext) -> i32 {
    told::<Storage>(ctx.arg(0), STATE_RESET_RECEIVED);
    0
}

/// As [`socket_reset_received`], for `--capture syscall`.
#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn call_reset_received(ctx: BtfTracePointContext) -> i32 {
    told::<Inode>(ctx.arg(0), STATE_RESET_RECEIVED);
    0
}

/// `tcp_send_reset(const struct sock *sk, ...)`, since 4.16. There may be no socket.
#[btf_tracepoint(function = "tcp_send_reset")]
pub fn socket_reset_sent(ctx: BtfTracePointContext) -> i32 {
    told::<Storage>(ctx.arg(0), STATE_RESET_SENT);
    0
}

/// As [`socket_reset_sent`], for `--capture syscall`.
#[btf_tracepoint(function = "tcp_send_reset")]
pub fn call_reset_sent(ctx: BtfTracePointContext) -> i32 {
    told::<Inode>(ctx.arg(0), STATE_RESET_SENT);
    0
}

/// Where a known connection is found by its socket.
trait Known {
    type Mode: Mode;
    fn find(sk: *const c_void) -> *mut Conn;
    /// The other end opened the connection, and nobody has accepted it yet.
    fn born(sk: *const c_void);
}

struct Storage;
struct Inode;

impl Known for Storage {
    type Mode = Direct;
    #[inline(always)]
    fn find(sk: *const c_void) -> *mut Conn {
        let map = (&raw const CONNECTIONS).cast_mut().cast();
        // SAFETY: the map is socket storage and the verifier knows the pointer as a socket.
        unsafe { bpf_sk_storage_get(map, sk.cast_mut(), core::ptr::null_mut(), 0) }.cast()
    }

    /// Makes the socket's cookie: who accepts it cannot.
    #[inline(always)]
    fn born(sk: *const c_void) {
        let _made = Direct::name(sk);
    }
}

impl Known for Inode {
    type Mode = Probe;
    #[inline(always)]
    fn find(sk: *const c_void) -> *mut Conn {
        let Some(inode) = INODE_OF_SOCK.get_ptr(&(sk as u64)) else {
            return core::ptr::null_mut();
        };
        // SAFETY: the map gave the pointer.
        let inode = unsafe { *inode };
        CONNECTIONS_BY_INODE
            .get_ptr_mut(&inode)
            .unwrap_or(core::ptr::null_mut())
    }

    #[inline(always)]
    fn born(_sk: *const c_void) {}
}

#[inline(always)]
fn change<K: Known>(ctx: &BtfTracePointContext) -> i32 {
    let sk: *const c_void = ctx.arg(0);
    let from: c_int = ctx.arg(1);
    let to: c_int = ctx.arg(2);
    if to == TCP_SYN_SENT {
        if context::traced() {
            connecting::<K>(sk);
        }
    } else if to == TCP_ESTABLISHED && from == TCP_SYN_SENT {
        told::<K>(sk, STATE_ESTABLISHED);
    } else if to == TCP_ESTABLISHED && from == TCP_SYN_RECV {
        K::born(sk);
    } else if to == TCP_CLOSE {
        taken_unseen::<K>(sk);
        told::<K>(sk, STATE_CLOSED);
    }
    0
}

/// A traced process opens a connection.
#[inline(always)]
fn connecting<K: Known>(sk: *const c_void) {
    // SAFETY: the tracepoint gives a socket.
    let Some(socket) = (unsafe { connection::stream::<K::Mode>(sk) }) else {
        return;
    };
    let conn = K::Mode::remember(socket.sk);
    if conn.is_null() {
        return;
    }
    let id = K::Mode::name(socket.sk);
    // SAFETY: the map gave the pointer.
    unsafe {
        (*conn).id = id;
        (*conn).flags |= u32::from(CONN_OPENED_HERE);
        // The socket may have been another connection's.
        ((*conn).sent, (*conn).received) = (0, 0);
        ((*conn).said, (*conn).heard) = (0, 0);
    }
    let _lost = ring::send(&State {
        header: context::header(KIND_STATE),
        conn: id,
        state: STATE_CONNECTING,
        error: 0,
    });
}

/// Tells of bytes that a process took out of the socket in a way that passes no probe (splice, zero-copy receive) and that
/// no later operation has told of: where the stream ends.
#[inline(always)]
fn taken_unseen<K: Known>(sk: *const c_void) {
    let conn = K::find(sk);
    if conn.is_null() {
        return;
    }
    // SAFETY: the tracepoint gives a socket.
    let Some(socket) = (unsafe { connection::stream::<K::Mode>(sk) }) else {
        return;
    };
    // SAFETY: the socket is of the mode.
    if socket.tcp.is_null() || unsafe { socket.is_changed::<K::Mode>() } {
        return;
    }
    // SAFETY: the map gave the pointer, and the socket is TCP and of the mode.
    let (id, announced, seen, end) = unsafe {
        let end = socket.received::<K::Mode>().end;
        ((*conn).id, (*conn).announced, (*conn).received, end)
    };
    if announced != 0 && end > seen {
        let _lost = ring::send(&Data {
            header: context::header(KIND_DATA),
            conn: id,
            offset: end,
            direction: INGRESS,
            flags: DATA_END,
            ..Data::default()
        });
    }
}

/// A connection Clew knows changed.
#[inline(always)]
fn told<K: Known>(sk: *const c_void, state: u32) {
    if sk.is_null() {
        return;
    }
    let conn = K::find(sk);
    if conn.is_null() {
        return;
    }
    // SAFETY: the map gave the pointer, the tracepoint the socket.
    let (id, error) = unsafe { ((*conn).id, <K::Mode as Reader>::read::<u32>(sk, offset::sk_err())) };
    if id == 0 {
        return;
    }
    let _lost = ring::send(&State {
        header: context::header(KIND_STATE),
        conn: id,
        state,
        error,
    });
}
