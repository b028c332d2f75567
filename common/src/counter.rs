//! The counters of the kernel side: an index into a per-CPU array, and a name a user can look up.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident = $index:literal, $text:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: u32 = $index;)+
        /// Every counter: index, name as printed, and what it means.
        pub const ALL: &[(u32, &str, &str)] = &[$(($index, $text, concat!($($doc),+))),+];
    };
}

counters! {
    /// Events written into the ring buffer.
    EVENTS = 0, "capture.events";
    /// Events lost because the ring buffer was full.
    RING_FULL = 1, "capture.ring_full";
    /// Operations of io_uring, seen with their length and without payload (`--capture syscall`: calls of io_uring, whose
    /// operations are not seen).
    NO_PAYLOAD_IO_URING = 2, "capture.no_payload.io_uring";
    /// Operations of Linux AIO, seen with their length and without payload (`--capture syscall`: calls of it, whose
    /// operations are not seen).
    NO_PAYLOAD_AIO = 3, "capture.no_payload.aio";
    /// Operations that moved a file or pipe into a socket, seen with their length and without payload.
    NO_PAYLOAD_SPLICE = 4, "capture.no_payload.splice";
    /// Operations of 32-bit or x32 calls, seen with their length and without payload.
    NO_PAYLOAD_COMPAT = 5, "capture.no_payload.compat";
    /// Operations the kernel did on its own behalf, seen with their length and without payload.
    NO_PAYLOAD_KERNEL_SOCKET = 6, "capture.no_payload.kernel_socket";
    /// Operations whose call names another descriptor than the socket, seen without payload.
    NO_PAYLOAD_FD_MISMATCH = 7, "capture.no_payload.fd_mismatch";
    /// Operations whose buffer was not resident in memory, seen without payload.
    USER_FAULT = 8, "capture.user_fault";
    /// Messages of sendmmsg or recvmmsg whose place in the batch was not known, seen without payload.
    MMSG_INDEX_UNKNOWN = 9, "capture.mmsg_index_unknown";
    /// Operations on sockets of a family Clew does not follow.
    FAMILY_UNSUPPORTED = 10, "capture.family_unsupported";
    /// Connections for which the kernel had no memory left.
    CONN_STATE_FULL = 11, "capture.conn_state_full";
    /// Operations that gave a buffer in more pieces than Clew reads; the rest is without payload.
    IOVEC_LIMIT = 12, "capture.iovec_limit";
    /// Bytes that passed beyond a message's budget and were not copied.
    BUDGET_BYTES = 13, "capture.budget_bytes";
    /// Descriptors that could not be resolved to a socket (`--capture syscall`).
    FD_UNRESOLVED = 14, "capture.fd_unresolved";
    /// Calls whose entry was not seen (`--capture syscall`).
    ENTRY_UNKNOWN = 15, "capture.entry_unknown";
    /// Operations on Unix datagram and seqpacket sockets, which are not one stream.
    UNIX_MESSAGES = 16, "capture.unix_messages";
    /// Payload bytes copied from the memory of traced processes.
    PAYLOAD_BYTES = 17, "capture.payload_bytes";
    /// Targets that did not fit into the map of targets.
    TARGETS_FULL = 18, "capture.targets_full";
    /// Operations and links whose execution context could not be read: their parent is unknown.
    CONTEXT_UNREAD = 19, "context.unread";
    /// Sessions of TLS whose calls used another connection than before; what follows is taken as a new session. Or than their
    /// ClientHello, which tells the right one.
    TLS_TIE_CONFLICT = 24, "tls.tie_conflict";
    /// Calls of TLS libraries whose entry was not seen, or in which another one ran.
    TLS_CALL_UNKNOWN = 25, "tls.call_unknown";
    /// Sessions of TLS for which the kernel had no memory left.
    TLS_SESSIONS_FULL = 26, "tls.sessions_full";
    /// Sessions of rustls that were given plaintext nobody saw go: before all probes stood, or by another session that was in the same
    /// place. It is not told of, and what follows is taken as a new session.
    TLS_GIVEN_UNSEEN = 29, "tls.given_unseen";
    /// Bytes of log lines that were not copied: of calls that wrote more than is copied of one.
    LOG_CUT = 40, "logs.bytes_cut";
    /// Bytes of log lines that were not copied: more were written within a second than are copied.
    LOG_RATE = 41, "logs.bytes_over_rate";
    /// Bytes of log lines that were not copied: the memory was not resident.
    LOG_FAULT = 42, "logs.bytes_fault";
    /// Bytes read from pipes that were not copied: more were read at once than is copied of one call.
    PIPE_CUT = 43, "pipes.bytes_cut";
    /// Bytes read from pipes that were not copied: more were read within a second than are copied.
    PIPE_RATE = 44, "pipes.bytes_over_rate";
    /// Bytes read from pipes that were not copied: the memory was not resident.
    PIPE_FAULT = 45, "pipes.bytes_fault";
    /// Stacks that were told for the first time.
    STACKS = 27, "stack.told";
    /// Stacks that were not told: too many wait for how to walk on from the same instruction.
    STACKS_UNWALKED = 28, "stack.unwalked";
}

/// Slots of the array.
pub const SLOTS: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_slots_are_unique() {
        for (place, (index, name, _)) in ALL.iter().enumerate() {
            assert!(*index < SLOTS);
            assert!(
                ALL.iter()
                    .skip(place + 1)
                    .all(|(other, text, _)| other != index && text != name)
            );
        }
    }
}
