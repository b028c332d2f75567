//! `cargo xtask proof`: the long forms of what no single test can show.
pub(crate) mod crash;

use anyhow::Result;
use clap::Subcommand;

/// What is proven.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Proof {
    /// Programs of every runtime come to no harm while Clew is attached to them and detached again and again
    Crash(crash::Options),
}

/// Runs a proof.
///
/// # Errors
/// When it fails.
pub(crate) fn run(proof: &Proof) -> Result<()> {
    match proof {
        Proof::Crash(options) => crash::run(options),
    }
}
