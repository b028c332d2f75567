//! The `clew` command.
use std::process::ExitCode;

use mimalloc::MiMalloc;

/// One thread makes of events what another writes out and frees: that costs the C library's allocator a sixth of the agent's
/// time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    clew::cli::main()
}
