//! Says how it is told which request each call of a process is made for: by the code that decides it when the process is traced.
use clew_common::context::{
    JAVA_TID, JAVA_TID_UNKNOWN, PLAN_GO, PLAN_PYTHON, PLAN_TOKIO, PY_POOLS, PY_UVLOOP_FD, Plan,
};

use crate::capture::Context;
use crate::discover::{Proc, Process, Runtime};
use crate::run::{has_java_hook, has_node_hook};
use crate::symbol::{Machines, Symbols};
use crate::trace::{forwards, serves_by_thread};

/// The mechanism, and what of it cannot be had.
pub(super) fn mechanism(proc: &Proc, process: &Process) -> String {
    let environ = proc.strings(process.pid, "environ").unwrap_or_default();
    let hooked = |known: fn(&[u8]) -> bool| environ.iter().any(|variable| known(variable.as_bytes()));
    match process.runtime {
        Runtime::Node if hooked(has_node_hook) => {
            "told by the hook that clew run handed over (NODE_OPTIONS)".to_owned()
        }
        Runtime::Node => "none: Node.js tells them where clew run starts it, without --assist off".to_owned(),
        Runtime::Java | Runtime::JavaVirtual if hooked(has_java_hook) => {
            "told by the hook that clew run handed over (JAVA_TOOL_OPTIONS); else threads".to_owned()
        }
        Runtime::JavaVirtual => machine(proc, process),
        runtime => match Symbols::default().hooks(proc, process) {
            Some(Ok(found)) => {
                let limits = found.hooks.limits.iter().map(String::as_str);
                std::iter::once(planned(&found.hooks.plan))
                    .chain(limits)
                    .collect::<Vec<_>>()
                    .join("; ")
            }
            Some(Err(why)) => match by_thread(runtime) {
                Some(threads) => format!("{threads}; not tasks: {why}"),
                None => format!("none: {why}"),
            },
            None => by_thread(runtime)
                .unwrap_or("none: nothing is known of its scheduler")
                .to_owned(),
        },
    }
}

/// Java since 21: whether its virtual threads can be told apart.
fn machine(proc: &Proc, process: &Process) -> String {
    match Machines::default().plan(proc, process.pid) {
        Ok(plan) if plan.words[JAVA_TID] == JAVA_TID_UNKNOWN => {
            "threads that serve one request at a time; not virtual ones, nor through pools".to_owned()
        }
        Ok(_) => "threads that serve one request at a time, virtual ones too; not through pools".to_owned(),
        Err(why) => format!("none: {why}"),
    }
}

/// What a plan follows.
fn planned(plan: &Plan) -> &'static str {
    match plan.kind {
        PLAN_GO => "goroutines",
        PLAN_TOKIO => "tasks of Tokio",
        PLAN_PYTHON => match (plan.words[PY_POOLS] != 0, plan.words[PY_UVLOOP_FD] != 0) {
            (true, true) => "contexts of tasks, on uvloop too; work on pools of threads; else threads",
            (true, false) => "contexts of tasks; work on pools of threads; else threads",
            (false, true) => "contexts of tasks, on uvloop too; else threads",
            (false, false) => "contexts of tasks; else threads",
        },
        _ => "none",
    }
}

/// How threads alone tell it, in runtimes whose threads do.
fn by_thread(runtime: Runtime) -> Option<&'static str> {
    if forwards(runtime) {
        return Some(match runtime {
            Runtime::Envoy => "an event loop that forwards, where only one request can be meant",
            _ => "an event loop that forwards",
        });
    }
    serves_by_thread(runtime, Context::Thread).then_some(match runtime {
        Runtime::Ruby => "threads that serve one request at a time, also one that puma's reactor read",
        Runtime::Java => "threads that serve one request at a time; not through pools",
        _ => "threads that serve one request at a time",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads() {
        for (runtime, want) in [
            (Runtime::Native, Some("threads that serve one request at a time")),
            (Runtime::Nginx, Some("an event loop that forwards")),
            (Runtime::Rust, None),
            (Runtime::Go, None),
            (Runtime::Unknown, None),
        ] {
            assert_eq!(by_thread(runtime), want, "{runtime:?}");
        }
    }

    #[test]
    fn plans() {
        for (plan, want) in [
            (Plan::of(PLAN_GO, &[]), "goroutines"),
            (
                Plan::of(PLAN_PYTHON, &[(PY_POOLS, 1)]),
                "contexts of tasks; work on pools of threads; else threads",
            ),
            (Plan::of(PLAN_PYTHON, &[]), "contexts of tasks; else threads"),
            (Plan::default(), "none"),
        ] {
            assert_eq!(planned(&plan), want);
        }
    }
}
