//! Finds out which processes to trace and what is known of each.
use std::sync::Arc;

use crate::capture::Pid;

/// What is known of a process, fixed when it began its program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number in the initial PID namespace.
    pub pid: Pid,
    /// The executable's path as the process sees it.
    pub exe: String,
    /// The command line.
    pub args: Vec<String>,
    /// `service.name` and where it came from.
    pub service: String,
    /// `service.namespace`, where the target's own variables give one.
    pub service_namespace: Option<String>,
    /// What runs the program's code.
    pub runtime: Runtime,
    /// Container id, from the cgroup path.
    pub container: Option<String>,
    /// Further resource attributes: OTEL_RESOURCE_ATTRIBUTES of the target, owner and the like.
    pub resource: Vec<(String, String)>,
}

/// What runs a program's code, as far as it matters to causality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// Compiled code without a scheduler of its own that Clew could name.
    Native,
    /// Go.
    Go,
    /// CPython.
    Python,
    /// Node.
    Node,
    /// A Java virtual machine.
    Java,
    /// Rust.
    Rust,
    /// Ruby.
    Ruby,
    /// PHP.
    Php,
    /// nginx.
    Nginx,
    /// Envoy.
    Envoy,
    /// It could not be told.
    Unknown,
}

/// A process handed down the pipeline.
pub type ProcessRef = Arc<Process>;
