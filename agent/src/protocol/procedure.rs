//! Procedures that are called, and what comes back; but for those over HTTP, which are told as HTTP.
use smol_str::SmolStr;

/// A procedure that is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Procedure {
    /// The system, as `rpc.system.name` has it.
    pub system: &'static str,
    /// How it writes what it says, where there are several ways.
    pub variant: &'static str,
    /// Its name, lossily decoded.
    pub name: SmolStr,
    /// Nothing comes back.
    pub oneway: bool,
}

/// What comes back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Returned {
    /// That it failed, and how.
    pub fault: Option<Fault>,
}

/// How a procedure failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// What the system calls it; none where the procedure says that it may fail so, which only its callers have a name for.
    pub code: Option<SmolStr>,
    /// What it says; it may hold values.
    pub message: SmolStr,
}
