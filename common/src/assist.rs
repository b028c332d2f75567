//! What a runtime that Clew started tells of its context, through the hook that `clew run` handed to it.
//!
//! The hook keeps 32 bytes for each thread, in memory of its own that does not move, and sends them once to itself in a
//! datagram, by which the kernel side learns where they lie.
//!
//! ```text
//! MAGIC 16 | id of the context in which the thread is writing, 0 for none 8 | Node.js: how many streams it asked for so far 8
//!                                                                         | Java: JAVA and the id with which it goes on
//! ```
//!
//! Behind Node's words, and not in the datagram, lie the streams of HTTP/2 that were asked for last, the one with number n at n modulo
//! [`ASKED`]: many leave in one write, which happens later.
//!
//! ```text
//! id of the connection 8 | stream 8 | id of the context that asks 8
//! ```
//!
//! Java's words hold ids only while the thread reads or writes. What it reads may be a request: the id with which it goes on then
//! stands for that.

/// The first half of what tells the bytes from any others. They are looked at anew each time: the memory may be gone.
pub const MAGIC: [u64; 2] = [0x6564_6f6e_7765_6c63, 0x51c7_e08b_9d3a_c15e];

/// The whole of it.
pub const BYTES: u64 = 32;

/// How many streams that were asked for are kept. A multiple of [`ASKS`](crate::event::ASKS), so that a record's lie side by side.
pub const ASKED: u64 = 2048;
/// What is kept of each: an [`Asked`](crate::event::Asked).
pub const ASKED_BYTES: u64 = 24;

/// The bit of the last word that tells Java's words.
pub const JAVA: u64 = 1 << 63;
/// Java's id of what nobody asked for.
pub const JAVA_NOBODY: u64 = 1;
/// Java's id of what is asked for by somebody who is not known.
pub const JAVA_UNKNOWN: u64 = 2;

/// The context in which Node.js handles the request whose head was complete with the read that took the connection to
/// `offset`: `remote` and `local` are ports, `address` is [`fold`]ed. The hook makes the same number.
#[must_use]
pub const fn id(remote: u16, local: u16, address: u32, offset: u64) -> u64 {
    ((remote as u64) << 48) | ((local as u64) << 32) | (address.wrapping_add(offset as u32) as u64)
}

/// The context in which Node.js handles a stream of HTTP/2, or of the connection itself, which is stream 0. Other than those by offsets, which
/// reach it in no connection of less than 2 GiB. IPv4 within IPv6 counts as IPv4 here.
#[must_use]
pub const fn stream_id(remote: u16, local: u16, address: u32, stream: u32) -> u64 {
    id(remote, local, address, (1 << 31) + stream as u64)
}

/// An IPv6 address as one word.
#[must_use]
pub const fn fold(words: [u32; 4]) -> u32 {
    words[0] ^ words[1] ^ words[2] ^ words[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let loopback = u32::from_ne_bytes([127, 0, 0, 1]);
        assert_eq!(id(0x8001, 0x1f90, loopback, 100), 0x8001_1f90_0100_00e3);
        // The offset wraps, and does not reach the ports.
        assert_eq!(id(1, 2, u32::MAX, 1 << 33), 0x0001_0002_ffff_ffff);
        assert_eq!(id(1, 2, u32::MAX, 1), 0x0001_0002_0000_0000);
        assert_eq!(fold([1, 2, 4, 8]), 15);
        assert_eq!(stream_id(1, 2, 3, 5), 0x0001_0002_8000_0008);
        assert_eq!(stream_id(1, 2, u32::MAX, 1), 0x0001_0002_8000_0000);
    }
}
