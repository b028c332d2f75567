//! How many payload bytes of a message the kernel side copies.
//!
//! The kernel cannot know where a message begins, but a connection that turns round has begun one: the first bytes after
//! the direction flips are a head. Each turn therefore refills the budget. The agent may lower it for a connection it
//! has understood, or have every operation copied where its messages would be lost otherwise.

/// Copy nothing: the connection speaks nothing Clew decodes.
pub const VERDICT_DROP: u8 = 1;
/// Copy the head of each message.
pub const VERDICT_HEADS: u8 = 2;
/// Copy as much as the settings allow. The default.
pub const VERDICT_FULL: u8 = 3;
/// As [`VERDICT_FULL`], and every operation has a budget of its own: for protocols whose messages share a direction.
pub const VERDICT_EVERY: u8 = 4;
/// As [`VERDICT_EVERY`], and at least [`WHOLE_BYTES`] of each: for protocols whose messages follow one another in one operation.
pub const VERDICT_WHOLE: u8 = 5;

/// What is copied of an operation under [`VERDICT_WHOLE`], whatever the settings allow of a message. The buffers of servers and
/// clients are no larger, as a rule.
pub const WHOLE_BYTES: u32 = 32 << 10;

/// How a client begins a connection of HTTP/2 (RFC 9113, section 3.4). The kernel side knows it, because what passes before the
/// agent has given its verdict holds header fields that later messages refer to.
const HTTP2_PREFACE: u64 = u64::from_ne_bytes(*b"PRI * HT");

/// The verdict that the first eight bytes of a direction of a connection settle by themselves, as they lie in memory.
#[inline(always)]
pub const fn begun_with(first: u64) -> Option<u8> {
    if first == HTTP2_PREFACE {
        Some(VERDICT_WHOLE)
    } else {
        None
    }
}

/// The budget of a message on a connection with this verdict, in bytes. An unknown verdict is the default.
#[inline(always)]
pub const fn of(verdict: u8, head_bytes: u32, body_bytes: u32) -> u32 {
    match verdict {
        VERDICT_DROP => 0,
        VERDICT_HEADS => head_bytes,
        VERDICT_WHOLE if head_bytes.saturating_add(body_bytes) < WHOLE_BYTES => WHOLE_BYTES,
        _ => head_bytes.saturating_add(body_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_preface_settles_a_verdict() {
        let first = |bytes: &[u8; 8]| begun_with(u64::from_ne_bytes(*bytes));
        assert_eq!(first(b"PRI * HT"), Some(VERDICT_WHOLE));
        assert_eq!(first(b"PRI / HT"), None);
        assert_eq!(first(b"GET / HT"), None);
    }

    #[test]
    fn all_but_one_verdict_only_lower() {
        for verdict in (0..=u8::MAX).filter(|verdict| *verdict != VERDICT_WHOLE) {
            assert!(of(verdict, 4096, 65536) <= of(VERDICT_FULL, 4096, 65536));
        }
        assert_eq!(of(VERDICT_DROP, 4096, 65536), 0);
        assert_eq!(of(VERDICT_HEADS, 4096, 65536), 4096);
        assert_eq!(of(0, u32::MAX, 1), u32::MAX);
        assert_eq!(of(VERDICT_WHOLE, 4096, 0), WHOLE_BYTES);
        assert_eq!(of(VERDICT_WHOLE, 4096, 65536), 69632);
    }
}
