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

/// Exec and fork events of every process are wanted, not only of targets: a rule may match them.
pub const WATCH_ALL: u32 = 1;
