//! How many payload bytes of a message the kernel side copies.
//!
//! The kernel cannot know where a message begins, but a connection that turns round has begun one: the first bytes after
//! the direction flips are a head. Each turn therefore refills the budget. The agent may lower it for a connection it
//! has understood, never raise it.

/// Copy nothing: the connection speaks nothing Clew decodes.
pub const VERDICT_DROP: u8 = 1;
/// Copy the head of each message.
pub const VERDICT_HEADS: u8 = 2;
/// Copy as much as the settings allow. The default.
pub const VERDICT_FULL: u8 = 3;
/// As [`VERDICT_FULL`], and every operation has a budget of its own: for protocols whose messages share a direction.
pub const VERDICT_EVERY: u8 = 4;

/// The budget of a message on a connection with this verdict, in bytes. An unknown verdict is the default.
#[inline(always)]
pub const fn of(verdict: u8, head_bytes: u32, body_bytes: u32) -> u32 {
    match verdict {
        VERDICT_DROP => 0,
        VERDICT_HEADS => head_bytes,
        _ => head_bytes.saturating_add(body_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_only_lowers() {
        for verdict in 0..=u8::MAX {
            assert!(of(verdict, 4096, 65536) <= of(VERDICT_FULL, 4096, 65536));
        }
        assert_eq!(of(VERDICT_DROP, 4096, 65536), 0);
        assert_eq!(of(VERDICT_HEADS, 4096, 65536), 4096);
        assert_eq!(of(0, u32::MAX, 1), u32::MAX);
    }
}
