//! What is read off a socket: its kind, its place in the stream, its addresses, and what Clew remembers of it.
use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_sk_storage_get, bpf_skc_to_tcp_sock, bpf_skc_to_unix_sock,
};
use clew_common::budget::VERDICT_EVERY;
use clew_common::counter;
use clew_common::event::{CONN_DATAGRAM, CONN_OPENED_HERE, CONN_SEQUENCED, Connection, EGRESS, KIND_CONNECTION};

use crate::kernel::{Direct, Probe, Reader};
use crate::maps::{CONNECTIONS, CONNECTIONS_BY_INODE, Conn, INODE_OF_SOCK, WALK, remember};
use crate::{context, ring, settings as offset};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_VSOCK: u16 = 40;
const AF_SMC: u16 = 43;
const SOCK_STREAM: u16 = 1;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;
const IPPROTO_SCTP: u16 = 132;
const IPPROTO_MPTCP: u16 = 262;
const RCV_SHUTDOWN: u8 = 1;
/// The bit of `sk_flags` that says the other end's FIN has arrived (`tcp_fin`); bit 1 since `enum sock_flags` exists.
const SOCK_DONE: u64 = 1 << 1;

/// The port of name servers, as a socket has it for its other end.
const NAMES_PORT: u16 = 53_u16.to_be();
/// [`Socket::local`] of a socket whose messages are of their own.
const DATAGRAM: u64 = 2;

/// A socket Clew follows.
#[derive(Clone, Copy)]
pub struct Socket {
    /// `struct sock`.
    pub sk: *const c_void,
    /// The same as `struct tcp_sock`; null for a Unix socket.
    pub tcp: *const c_void,
    /// The same as `struct unix_sock`; null for TCP.
    unix: *const c_void,
    /// 0 for TCP, 1 for a Unix socket, [`DATAGRAM`] for UDP. A flag of its own: the verifier does not conclude it from the
    /// pointers.
    local: u64,
}

/// How programs of one capture mode reach a socket's fields and what is remembered of it.
pub trait Mode: Reader {
    /// `sk` seen as what its family says. Both pointers are null if it is not that.
    fn narrow(sk: *const c_void, family: u16) -> Socket;
    /// What identifies the connection of the socket.
    fn name(sk: *const c_void) -> u64;
    /// What is remembered of the connection; made if it is new.
    fn remember(sk: *const c_void) -> *mut Conn;
    /// [`Socket::count`].
    ///
    /// # Safety
    /// As there.
    unsafe fn count(socket: Socket, conn: *mut Conn, direction: u8, moved: u64) -> u64;
}

/// `sock_send_length` and `sock_recv_length`: the verifier knows the socket.
impl Mode for Direct {
    #[inline(always)]
    fn narrow(sk: *const c_void, family: u16) -> Socket {
        let null = core::ptr::null();
        if family == AF_UNIX {
            // SAFETY: the helper checks the socket's kind.
            let unix = unsafe { bpf_skc_to_unix_sock(sk.cast_mut()) } as *const c_void;
            Socket {
                sk,
                tcp: null,
                unix,
                local: 1,
            }
        } else {
            // SAFETY: the helper checks the socket's kind.
            let tcp = unsafe { bpf_skc_to_tcp_sock(sk.cast_mut()) } as *const c_void;
            Socket {
                sk,
                tcp,
                unix: null,
                local: 0,
            }
        }
    }

    #[inline(always)]
    fn name(sk: *const c_void) -> u64 {
        // SAFETY: the verifier knows the pointer as a socket.
        unsafe { bpf_get_socket_cookie(sk.cast_mut()) }
    }

    #[inline(always)]
    fn remember(sk: *const c_void) -> *mut Conn {
        const CREATE: u64 = 1;
        let map = (&raw const CONNECTIONS).cast_mut().cast();
        // SAFETY: the map is socket storage and the verifier knows the pointer as a socket.
        unsafe { bpf_sk_storage_get(map, sk.cast_mut(), core::ptr::null_mut(), CREATE) }.cast()
    }

    #[inline(always)]
    unsafe fn count(socket: Socket, conn: *mut Conn, direction: u8, moved: u64) -> u64 {
        // SAFETY: the caller vouches for it.
        unsafe { socket.count::<Self>(conn, direction, moved) }
    }
}

/// System call tracepoints: a socket is a number.
impl Mode for Probe {
    #[inline(always)]
    fn narrow(sk: *const c_void, family: u16) -> Socket {
        let null = core::ptr::null();
        if family == AF_UNIX {
            Socket {
                sk,
                tcp: null,
                unix: sk,
                local: 1,
            }
        } else {
            Socket {
                sk,
                tcp: sk,
                unix: null,
                local: 0,
            }
        }
    }

    #[inline(always)]
    fn name(sk: *const c_void) -> u64 {
        inode(sk)
    }

    #[inline(always)]
    fn remember(sk: *const c_void) -> *mut Conn {
        let inode = inode(sk);
        if let Some(conn) = CONNECTIONS_BY_INODE.get_ptr_mut(&inode) {
            return conn;
        }
        let _full = CONNECTIONS_BY_INODE.insert(&inode, &NEW, 0);
        remember(&INODE_OF_SOCK, &(sk as u64), &inode);
        CONNECTIONS_BY_INODE
            .get_ptr_mut(&inode)
            .unwrap_or(core::ptr::null_mut())
    }

    #[inline(always)]
    unsafe fn count(socket: Socket, conn: *mut Conn, direction: u8, moved: u64) -> u64 {
        // SAFETY: the map gave the pointer.
        by_number(socket.sk, || unsafe { tcp_count((*conn).id, direction.into(), moved) })
    }
}

/// What is remembered of a connection at first. Not on the stack, where there is no room for it.
static NEW: Conn = Conn {
    sent: 0,
    received: 0,
    said: 0,
    heard: 0,
    id: 0,
    arrived_ns: 0,
    rtt_us: 0,
    retransmits: 0,
    budget: 0,
    announced: 0,
    flags: 0,
    last: 0,
    verdict: 0,
    spared: 0,
};

/// The socket as one Clew follows; none, and counted, where it is something else.
///
/// # Safety
/// `sk` is a `struct sock` pointer of the kind the mode reads, not null.
#[inline(always)]
pub unsafe fn stream<M: Mode>(sk: *const c_void) -> Option<Socket> {
    // SAFETY: the caller vouches for `sk`.
    let family: u16 = unsafe { M::read(sk, offset::sk_family()) };
    // SAFETY: as above.
    let kind: u16 = unsafe { M::read(sk, offset::sk_type()) };
    // SAFETY: as above.
    let protocol: u16 = unsafe { M::read(sk, offset::sk_protocol()) };
    match family {
        AF_INET | AF_INET6 if kind == SOCK_STREAM && protocol == IPPROTO_TCP => {
            let socket = M::narrow(sk, family);
            (!socket.tcp.is_null()).then_some(socket)
        }
        AF_UNIX if kind == SOCK_STREAM => {
            let socket = M::narrow(sk, family);
            (!socket.unix.is_null()).then_some(socket)
        }
        AF_UNIX => {
            ring::count(counter::UNIX_MESSAGES, 1);
            None
        }
        // Of UDP only what is connected to a name server: all else costs this look at the socket.
        AF_INET | AF_INET6 if protocol == IPPROTO_UDP => {
            // SAFETY: as above.
            let port: u16 = unsafe { M::read(sk, offset::sk_dport()) };
            (port == NAMES_PORT).then_some(Socket {
                sk,
                tcp: core::ptr::null(),
                unix: core::ptr::null(),
                local: DATAGRAM,
            })
        }
        AF_INET | AF_INET6 if protocol == IPPROTO_MPTCP || protocol == IPPROTO_SCTP => {
            ring::count(counter::FAMILY_UNSUPPORTED, 1);
            None
        }
        AF_VSOCK | AF_SMC => {
            ring::count(counter::FAMILY_UNSUPPORTED, 1);
            None
        }
        _ => None,
    }
}

impl Socket {
    /// Its messages are of their own.
    #[inline(always)]
    pub const fn is_datagram(self) -> bool {
        self.local == DATAGRAM
    }

    /// The other end will send nothing more (`sk_shutdown`).
    ///
    /// # Safety
    /// The socket was made in mode `M`.
    #[inline(always)]
    pub unsafe fn at_end<M: Mode>(self) -> bool {
        // SAFETY: the pointer is of the mode's kind.
        unsafe { M::read::<u8>(self.sk, offset::sk_shutdown()) & RCV_SHUTDOWN != 0 }
    }

    /// Something between TCP and the program changes the bytes (`icsk_ulp_ops`), such as the kernel's TLS: what the transport counts is not
    /// what the program says.
    ///
    /// # Safety
    /// The socket was made in mode `M`.
    #[inline(always)]
    pub unsafe fn is_changed<M: Mode>(self) -> bool {
        // SAFETY: the pointer is of the mode's kind.
        self.local == 0 && unsafe { M::read::<u64>(self.tcp, offset::tcp_upper()) } != 0
    }

    /// Offsets just past the last byte of a direction, after an operation that moved `moved` bytes.
    ///
    /// # Safety
    /// The socket was made in mode `M`; `conn` is what is remembered of it.
    #[inline(always)]
    pub unsafe fn advance<M: Mode>(self, conn: *mut Conn, direction: u8, moved: u64) -> End {
        // SAFETY: the map gave the pointer, and the socket is of the mode.
        unsafe {
            let reached = reached(conn, direction);
            if self.local != 0 {
                *reached = (*reached).wrapping_add(moved);
                return End {
                    said: *reached,
                    wire: *reached,
                    is_changed: false,
                };
            }
            let wire = M::count(self, conn, direction, moved);
            End {
                said: *reached,
                wire: wire & !CHANGED,
                is_changed: wire & CHANGED != 0,
            }
        }
    }

    /// How far the transport counts a direction of TCP after an operation that moved `moved` bytes, with [`CHANGED`]. What programs say
    /// up to there is remembered.
    ///
    /// TCP counts itself: received = bytes_received - (rcv_nxt - copied_seq); sent = bytes_acked + (write_seq - snd_una),
    /// less the SYN, which `bytes_acked` counts for the end that opened the connection (`tcp_snd_una_update`), and less the
    /// FIN, which `bytes_received` counts (`tcp_rcv_nxt_update`) and a read takes with the data before it. Where the bytes are changed on
    /// their way (see [`is_changed`](Self::is_changed)) they are summed from where that began.
    ///
    /// # Safety
    /// The socket is TCP and was made in mode `M`; `conn` is what is remembered of it.
    #[inline(always)]
    unsafe fn count<M: Mode>(self, conn: *mut Conn, direction: u8, moved: u64) -> u64 {
        // SAFETY: the pointer is of the mode's kind, and the map gave the other.
        unsafe {
            let reached = reached(conn, direction);
            let summed = (*reached).wrapping_add(moved);
            let wire = if direction == EGRESS {
                let flags = (*conn).flags;
                settle(&raw mut (*conn).said, summed, || self.sent::<M>(flags))
            } else {
                settle(&raw mut (*conn).heard, summed, || self.received::<M>())
            };
            if !self.is_changed::<M>() {
                *reached = wire;
                return wire & !CHANGED;
            }
            *reached = if summed != moved || begins(moved, wire) {
                summed
            } else {
                // Where the other end is in its sum is not known: no offset may be the same at both.
                moved | if direction == EGRESS { 1 << 61 } else { 1 << 62 }
            };
            wire | CHANGED
        }
    }

    /// Whether what moves now may begin a request: it turns round, or is sent where many are at once, and goes from the end that opened
    /// the connection to the other, as far as that is known.
    ///
    /// # Safety
    /// `conn` is what is remembered of the socket.
    #[inline(always)]
    pub unsafe fn begins(self, conn: *const Conn, direction: u8) -> bool {
        // SAFETY: the map gave the pointer.
        unsafe {
            let opened = (*conn).flags & u32::from(CONN_OPENED_HERE) != 0;
            let turns = (*conn).last != u16::from(direction) + 1;
            if direction == EGRESS {
                (opened || self.local == 1) && (turns || (*conn).verdict >= u16::from(VERDICT_EVERY))
            } else {
                !opened && self.local == 0 && turns
            }
        }
    }

    /// Remembers how the transport does.
    ///
    /// # Safety
    /// The socket was made in mode `M`; `conn` is what is remembered of it.
    #[inline(always)]
    pub unsafe fn measure<M: Mode>(self, conn: *mut Conn) {
        if self.local != 0 {
            return;
        }
        // SAFETY: the caller vouches for the mode, the map gave the pointer.
        unsafe {
            (*conn).rtt_us = M::read::<u32>(self.tcp, offset::tcp_srtt()) >> 3;
            (*conn).retransmits = M::read(self.tcp, offset::tcp_total_retrans());
        }
    }

    /// Ports of the other end and of this one, and the words of the other end's address; none for what is not TCP.
    ///
    /// # Safety
    /// The socket was made in mode `M`.
    #[inline(always)]
    pub unsafe fn remote<M: Mode>(self) -> Option<(u16, u16, [u32; 4])> {
        if self.local != 0 {
            return None;
        }
        // SAFETY: the caller vouches for the mode.
        unsafe {
            let family: u16 = M::read(self.sk, offset::sk_family());
            let local: u16 = M::read(self.sk, offset::sk_num());
            let remote = u16::from_be(M::read(self.sk, offset::sk_dport()));
            let address = if family == AF_INET6 {
                let first: u64 = M::read(self.sk, offset::sk_v6_daddr());
                let second: u64 = M::read(self.sk, offset::sk_v6_daddr() + 8);
                [first as u32, (first >> 32) as u32, second as u32, (second >> 32) as u32]
            } else {
                [M::read(self.sk, offset::sk_daddr()), 0, 0, 0]
            };
            Some((remote, local, address))
        }
    }

    /// How far the process has taken bytes out of a TCP socket, whatever way it took them.
    ///
    /// # Safety
    /// The socket is TCP and was made in mode `M`.
    #[inline(always)]
    pub unsafe fn received<M: Mode>(self) -> Place {
        // SAFETY: the caller vouches for the mode.
        unsafe {
            // A FIN that arrives behind this was not taken yet.
            let flags: u64 = M::read(self.sk, offset::sk_flags());
            let near: u64 = M::read(self.tcp, offset::tcp_bytes_received());
            let next: u32 = M::read(self.tcp, offset::tcp_rcv_nxt());
            let copied: u32 = M::read(self.tcp, offset::tcp_copied_seq());
            let fin = u32::from(flags & SOCK_DONE != 0 && copied == next);
            Place {
                end: near
                    .wrapping_sub(u64::from(next.wrapping_sub(copied)))
                    .wrapping_sub(fin.into()),
                at: copied.wrapping_sub(fin),
                near,
            }
        }
    }

    /// How far bytes were given to a TCP socket.
    #[inline(always)]
    unsafe fn sent<M: Mode>(self, flags: u32) -> Place {
        // SAFETY: the caller vouches for the mode.
        unsafe {
            let near: u64 = M::read(self.tcp, offset::tcp_bytes_acked());
            let first: u32 = M::read(self.tcp, offset::tcp_snd_una());
            let at: u32 = M::read(self.tcp, offset::tcp_write_seq());
            let end = near.wrapping_add(u64::from(at.wrapping_sub(first)));
            Place {
                end: end.wrapping_sub(self.counts_syn::<M>(flags, end)),
                at,
                near,
            }
        }
    }

    /// The sequence numbers of the first bytes that this end and the other one send. As no more is known yet (see [`settle`]), what comes
    /// out twice is taken.
    ///
    /// # Safety
    /// The socket is TCP and was made in mode [`Probe`].
    #[inline(always)]
    unsafe fn beginnings(self, flags: u32) -> (u32, u32) {
        const READS: usize = 3;
        let mut found = (0, 0);
        let mut reads = 0;
        while reads < READS {
            // SAFETY: the helper checks every address.
            let again = unsafe {
                let sent = self.sent::<Probe>(flags);
                let next: u32 = Probe::read(self.tcp, offset::tcp_rcv_nxt());
                let total: u64 = Probe::read(self.tcp, offset::tcp_bytes_received());
                (sent.beginning(), next.wrapping_sub(total as u32))
            };
            if reads != 0 && again == found {
                break;
            }
            found = again;
            reads += 1;
        }
        found
    }

    /// This end of a TCP connection opened it, as its counts tell.
    ///
    /// # Safety
    /// The socket is TCP and was made in mode [`Probe`].
    #[inline(always)]
    pub unsafe fn opened_here(self) -> bool {
        // SAFETY: the caller vouches for the mode.
        unsafe {
            // The count itself, from which one was taken for the SYN.
            let end = self.sent::<Probe>(CONN_OPENED_HERE.into()).end.wrapping_add(1);
            self.syn::<Probe>(end) == 1
        }
    }

    /// 1 where `end` counts the SYN. A socket older than the agent was not seen opening; then the bytes given to the
    /// network tell: they never count the SYN.
    #[inline(always)]
    unsafe fn counts_syn<M: Mode>(self, flags: u32, end: u64) -> u64 {
        if flags & u32::from(CONN_OPENED_HERE) != 0 {
            return 1;
        }
        // SAFETY: the caller vouches for the mode.
        unsafe { self.syn::<M>(end) }
    }

    #[inline(always)]
    unsafe fn syn<M: Mode>(self, end: u64) -> u64 {
        // SAFETY: the caller vouches for the mode.
        unsafe {
            let sent: u64 = M::read(self.tcp, offset::tcp_bytes_sent());
            let again: u64 = M::read(self.tcp, offset::tcp_bytes_retrans());
            let written: u32 = M::read(self.tcp, offset::tcp_write_seq());
            let next: u32 = M::read(self.tcp, offset::tcp_snd_nxt());
            let plain = sent
                .wrapping_sub(again)
                .wrapping_add(u64::from(written.wrapping_sub(next)));
            u64::from(end == plain.wrapping_add(1))
        }
    }

    /// Writes the connection's first record.
    ///
    /// # Safety
    /// The socket was made in mode `M`; `conn` is what is remembered of it.
    #[inline(always)]
    pub unsafe fn announce<M: Mode>(self, conn: *mut Conn) {
        // SAFETY: the map gave the pointer.
        unsafe {
            (*conn).id = M::name(self.sk);
            // One that is lost is told again with the next operation.
            (*conn).announced = by_number(self.sk, || announce((*conn).id, (*conn).flags.into())) as u16;
        }
    }
}

/// How far a direction of a TCP connection has come.
pub struct Place {
    /// Offset just past its last byte, as the transport's counts tell.
    pub end: u64,
    /// The sequence number there.
    at: u32,
    /// A count that is less than 2 GiB from the offset.
    near: u64,
}

impl Place {
    /// The sequence number of the first byte.
    #[inline(always)]
    const fn beginning(&self) -> u32 {
        self.at.wrapping_sub(self.end as u32)
    }

    /// The offset, where the sequence number of the first byte is `beginning`.
    #[inline(always)]
    fn from(&self, beginning: u32) -> u64 {
        let low = self.at.wrapping_sub(beginning);
        let more = low.wrapping_sub(self.near as u32).cast_signed();
        self.near.wrapping_add_signed(more.into())
    }
}

/// Whether the first operation of a direction that was seen, which moved `moved` bytes through the kernel's TLS and ended at `wire`, was
/// the first there was: what is between the two is what one record adds. Another record before it would add as much again and what it
/// holds.
#[inline(always)]
const fn begins(moved: u64, wire: u64) -> bool {
    /// Most bytes of a record's content (`TLS_MAX_PAYLOAD_SIZE`).
    const CONTENT: u64 = 1 << 14;
    /// What a record adds at most, and less than two add: header, explicit nonce and tag of AES-GCM in TLS 1.2.
    const ADDED: u64 = 5 + 8 + 16;
    moved <= CONTENT && wire.wrapping_sub(moved) <= ADDED
}

/// [`Socket::count`] for the connection `id` on the socket that is [`numbered`], which is TCP.
///
/// A global function, as [`announce`]: what the count needs is more than there is room for on its callers' stack.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tcp_count(id: u64, direction: u64, moved: u64) -> u64 {
    let Some(conn) = CONNECTIONS_BY_INODE.get_ptr_mut(&id) else {
        return 0;
    };
    let socket = Probe::narrow(numbered(), AF_INET);
    // SAFETY: the map gave the pointer, and the socket was made in this mode.
    unsafe { socket.count::<Probe>(conn, direction as u8, moved) }
}

/// What is remembered of how far a direction has come, in what programs say.
///
/// # Safety
/// The map gave `conn`.
#[inline(always)]
unsafe fn reached(conn: *mut Conn, direction: u8) -> *mut u64 {
    // SAFETY: the caller vouches for it.
    unsafe {
        if direction == EGRESS {
            &raw mut (*conn).sent
        } else {
            &raw mut (*conn).received
        }
    }
}

/// Set beside how far the transport counts where something changes the bytes on their way.
const CHANGED: u64 = 1 << 63;

/// Where an operation ended in its direction.
#[derive(Clone, Copy)]
pub struct End {
    /// The offset, in what programs say.
    pub said: u64,
    /// The same as the transport counts.
    pub wire: u64,
    /// Something on the way changes the bytes.
    pub is_changed: bool,
}

/// Set where a direction's first sequence number, below, is known.
const SETTLED: u64 = 1 << 32;

/// The offset that `read` finds a direction at, which is `expected` if every operation was seen.
///
/// Nothing holds the socket, and the kernel changes one count after the other (`tcp_rcv_nxt_update`, `tcp_snd_una_update`): on another CPU
/// the second may be seen to change 100 ns later and more. What the counts tell and what was expected agreed once, and from there on
/// the sequence number alone tells, which only who reads or writes changes.
///
/// # Safety
/// The map gave `beginning`.
#[inline(always)]
unsafe fn settle(beginning: *mut u64, expected: u64, read: impl Fn() -> Place) -> u64 {
    // SAFETY: the caller vouches for it.
    let settled = unsafe { *beginning };
    let place = read();
    if settled & SETTLED != 0 {
        return place.from(settled as u32);
    }
    let place = if place.end == expected { place } else { read() };
    if place.end == expected {
        // SAFETY: as above.
        unsafe { *beginning = SETTLED | u64::from(place.beginning()) };
    }
    place.end
}

/// Calls a function that the verifier looks at by itself, with [`numbered`] giving it `sk`: a pointer whose type the verifier knows is
/// no number that it would take as an argument. 0 where it could not be called.
#[inline(always)]
pub fn by_number(sk: *const c_void, function: impl FnOnce() -> u64) -> u64 {
    let Some(walk) = WALK.get_ptr_mut(0) else { return 0 };
    // SAFETY: the map gave the pointer, and nothing interrupts a program on its CPU that uses it.
    unsafe { (*walk).sk = sk as u64 };
    function()
}

/// The socket that [`by_number`] was given.
#[inline(always)]
pub fn numbered() -> *const c_void {
    match WALK.get_ptr(0) {
        // SAFETY: the map gave the pointer, and nothing interrupts a program on its CPU that uses it.
        Some(walk) => unsafe { (*walk).sk as *const c_void },
        None => core::ptr::null(),
    }
}

/// Writes the first record of the connection `id` on the socket that is [`numbered`], whose [`Conn`] has `flags`. 1 if it was written.
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers. So the socket is a number to
/// it, whose fields are read by helper: once for each connection.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn announce(id: u64, flags: u64) -> u64 {
    let sk = numbered();
    // SAFETY: the helper checks every address.
    let family: u16 = unsafe { Probe::read(sk, offset::sk_family()) };
    // SAFETY: as above.
    let protocol: u16 = unsafe { Probe::read(sk, offset::sk_protocol()) };
    let flags = if protocol == IPPROTO_UDP {
        flags | u64::from(CONN_DATAGRAM)
    } else {
        flags
    };
    let socket = Probe::narrow(sk, family);
    let (local, remote) = if socket.local == 0 && flags & u64::from(CONN_DATAGRAM) == 0 {
        // SAFETY: the socket was made in this mode.
        unsafe { socket.beginnings(flags as u32) }
    } else {
        (0, 0)
    };
    u64::from(ring::fill(|event: *mut Connection| {
        // SAFETY: the record was reserved for the event; the helper checks every address.
        unsafe {
            describe(sk, id, flags as u16, event);
            (*event).local_isn = local;
            (*event).remote_isn = remote;
        }
    }))
}

/// What a connection's first record says of the socket.
#[inline(always)]
unsafe fn describe(sk: *const c_void, id: u64, flags: u16, event: *mut Connection) {
    // SAFETY: the caller vouches for the event, and the helper checks every address.
    unsafe {
        event.write(Connection {
            header: context::header(KIND_CONNECTION),
            conn: id,
            inode: inode(sk),
            ..Connection::default()
        });
        (*event).flags = flags;
        // Read here, see `ring::fill`.
        let family: u16 = Probe::read(sk, offset::sk_family());
        (*event).family = family;
        let net = Probe::pointer(sk, offset::sk_net());
        (*event).netns = u64::from(Probe::read::<u32>(net, offset::net_inum()));
        if family == AF_UNIX {
            (*event).address = sk as u64;
            (*event).peer = Probe::read::<u64>(sk, offset::unix_peer());
            return;
        }
        if flags & CONN_DATAGRAM == 0 {
            (*event).flags |= CONN_SEQUENCED;
        }
        (*event).local_port = Probe::read(sk, offset::sk_num());
        (*event).remote_port = u16::from_be(Probe::read(sk, offset::sk_dport()));
        if family == AF_INET6 {
            (*event).local = addresses(
                Probe::read(sk, offset::sk_v6_rcv_saddr()),
                Probe::read(sk, offset::sk_v6_rcv_saddr() + 8),
            );
            (*event).remote = addresses(
                Probe::read(sk, offset::sk_v6_daddr()),
                Probe::read(sk, offset::sk_v6_daddr() + 8),
            );
        } else {
            (*event).local = addresses(u64::from(Probe::read::<u32>(sk, offset::sk_rcv_saddr())), 0);
            (*event).remote = addresses(u64::from(Probe::read::<u32>(sk, offset::sk_daddr())), 0);
        }
    }
}

/// Whether the socket at `sk` is of TCP.
///
/// # Safety
/// `sk` is a kernel address.
#[inline(always)]
pub unsafe fn is_tcp(sk: *const c_void) -> bool {
    // SAFETY: the helper checks every address.
    unsafe {
        let family: u16 = Probe::read(sk, offset::sk_family());
        let protocol: u16 = Probe::read(sk, offset::sk_protocol());
        (family == AF_INET || family == AF_INET6) && protocol == IPPROTO_TCP
    }
}

/// The inode number of the socket at `sk`.
#[inline(always)]
pub fn inode(sk: *const c_void) -> u64 {
    // SAFETY: the helper checks every address.
    unsafe {
        let inode = Probe::pointer(file(sk) as *const c_void, offset::file_inode());
        Probe::read(inode, offset::inode_ino())
    }
}

/// The file that the socket at `sk` is.
#[inline(always)]
pub fn file(sk: *const c_void) -> u64 {
    // SAFETY: the helper checks every address.
    unsafe { Probe::read(Probe::pointer(sk, offset::sk_socket()), offset::socket_file()) }
}

/// Sixteen bytes of address from two words in memory order.
#[inline(always)]
fn addresses(first: u64, second: u64) -> [u8; 16] {
    ((u128::from(second) << 64) | u128::from(first)).to_le_bytes()
}
