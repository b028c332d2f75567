//! The `clew` command.
use std::process::ExitCode;

fn main() -> ExitCode {
    clew::cli::main()
}
