//! What the agent tells the kernel side. Settings are read-only globals, fixed at load; the rest are map values.

/// Value of the map of targets: the process is traced.
pub const TARGET_TRACED: u32 = 1;
/// The process's children are traced too.
pub const TARGET_CHILDREN: u32 = 2;
/// Clew started the process, and runtimes in it may have been given a hook that tells of their contexts.
pub const TARGET_ASSISTED: u32 = 4;
/// The process has called a TLS library that is watched. Set by the kernel side.
pub const TARGET_TLS: u32 = 8;

/// What the process writes to its logs is wanted.
pub const TARGET_LOGS: u32 = 16;
/// The process may hand work to processes that it creates: those are told to read it from pipes ([`TARGET_TAKES`]).
pub const TARGET_HANDS: u32 = 32;
/// The process may take work out of pipes: what it reads from them is told.
pub const TARGET_TAKES: u32 = 64;

/// What a process that is created inherits of its creator's value.
pub const fn inherited(target: u32) -> u32 {
    if target & TARGET_HANDS == 0 {
        target
    } else {
        target & !TARGET_HANDS | TARGET_TAKES
    }
}

/// Exec and fork events of every process are wanted, not only of targets: a rule may match them.
pub const WATCH_ALL: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_created_by_one_that_hands_work_takes_it() {
        let check = |creator, child| assert_eq!(inherited(creator), child, "{creator:#x}");
        check(TARGET_TRACED | TARGET_CHILDREN, TARGET_TRACED | TARGET_CHILDREN);
        check(TARGET_TRACED | TARGET_HANDS, TARGET_TRACED | TARGET_TAKES);
        check(TARGET_TRACED | TARGET_TAKES, TARGET_TRACED | TARGET_TAKES);
        check(TARGET_HANDS | TARGET_TAKES | 7 << 16, TARGET_TAKES | 7 << 16);
    }
}
