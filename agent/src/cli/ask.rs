//! Answers about a process and the host.
use std::fmt::Write as _;

use clew_common::context::{JAVA_TID, JAVA_TID_UNKNOWN};
use serde::Serialize;
use serde_json::json;

use crate::capture::Pid;
use crate::discover::{Discovery, Found, NoProcess, Proc, Process, Runtime};
use crate::run::{has_java_hook, has_node_hook};
use crate::symbol::{Machines, Symbols};

/// A value as JSON, with a line end.
pub(super) fn json(value: &impl Serialize) -> String {
    // Maps with other keys than text are what can fail; there are none.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// What is known of a process.
pub(super) struct Known {
    found: Found,
    /// It was started with the hook that tells of Node's contexts.
    hook: bool,
}

/// Reads a process.
pub(super) fn process(pid: Pid) -> Result<Known, NoProcess> {
    let mut discovery = Discovery::default();
    let found = discovery.examine(pid).map_err(|gone| NoProcess::Gone(gone.0))?;
    let environ = discovery.proc().strings(pid, "environ").unwrap_or_default();
    Ok(Known {
        hook: environ.iter().any(|variable| match found.process.runtime {
            Runtime::Java | Runtime::JavaVirtual => has_java_hook(variable.as_bytes()),
            _ => has_node_hook(variable.as_bytes()),
        }),
        found,
    })
}

impl Known {
    pub(super) fn json(&self) -> String {
        let process = &self.found.process;
        let attributes: serde_json::Map<_, _> = process
            .resource
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect();
        json(&json!({
            "pid": process.pid.0,
            "executable": process.exe,
            "arguments": process.args,
            "service": process.service,
            "service_source": self.found.service_source.words(),
            "service_namespace": process.service_namespace,
            "runtime": process.runtime.word(),
            "parents": self.parents(),
            "container": process.container,
            "resource": attributes,
        }))
    }

    /// How the parent of a call is known.
    fn parents(&self) -> String {
        match (self.found.process.runtime, self.hook) {
            (Runtime::Node, true) => "told by the hook that clew run handed over (NODE_OPTIONS)".to_owned(),
            (Runtime::Node, false) => {
                "none: Node.js tells them where clew run starts it, without --assist off".to_owned()
            }
            (Runtime::Java | Runtime::JavaVirtual, true) => {
                "told by the hook that clew run handed over (JAVA_TOOL_OPTIONS); else threads".to_owned()
            }
            _ => contexts(&self.found.process),
        }
    }

    pub(super) fn text(&self) -> String {
        let process = &self.found.process;
        let service = format!("{} (from {})", process.service, self.found.service_source.words());
        let rows = [
            ("service", Some(service)),
            ("namespace", process.service_namespace.clone()),
            ("runtime", Some(process.runtime.word().to_owned())),
            ("parents", Some(self.parents())),
            ("executable", Some(process.exe.clone())),
            ("command", Some(process.args.join(" "))),
            (
                "container",
                Some(process.container.clone().unwrap_or_else(|| "none".to_owned())),
            ),
        ];
        let mut text = format!("process {}\n", process.pid.0);
        for (name, value) in rows {
            if let Some(value) = value {
                let _infallible = writeln!(text, "  {name:<12}{}", printable(&value));
            }
        }
        for (name, value) in &process.resource {
            let _infallible = writeln!(text, "  {:<12}{}={}", "resource", printable(name), printable(value));
        }
        text
    }
}

/// How it is told which request each call of the process is made for.
fn contexts(process: &Process) -> String {
    let proc = Proc::default();
    match process.runtime {
        Runtime::Go => match Symbols::default().hooks(&proc, process) {
            Some(Ok(found)) if found.hooks.limits.is_empty() => "goroutines".to_owned(),
            Some(Ok(found)) => format!("goroutines; {}", found.hooks.limits.join("; ")),
            Some(Err(why)) => format!("none: {why}"),
            None => "none".to_owned(),
        },
        Runtime::JavaVirtual => match Machines::default().plan(&proc, process.pid) {
            Ok(plan) if plan.words[JAVA_TID] == JAVA_TID_UNKNOWN => {
                "threads; not virtual ones, nor through pools".to_owned()
            }
            Ok(_) => "threads, virtual ones too; not through pools".to_owned(),
            Err(why) => format!("none: {why}"),
        },
        Runtime::Java => "threads; not through pools".to_owned(),
        Runtime::Native | Runtime::Python | Runtime::Ruby | Runtime::Php => {
            "threads that serve one request at a time".to_owned()
        }
        Runtime::Nginx | Runtime::Envoy => "an event loop that forwards".to_owned(),
        Runtime::Node | Runtime::Rust | Runtime::Unknown => "none".to_owned(),
    }
}

/// Text another process wrote, without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars()
        .map(|char| {
            if char.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                char
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process() {
        let known = process(Pid(std::process::id())).expect("this process");
        let json: serde_json::Value = serde_json::from_str(&known.json()).expect("JSON");
        assert_eq!(json["pid"], std::process::id());
        assert_eq!(json["runtime"], "rust");
        assert!(
            known.text().contains("(from the executable's name)"),
            "{}",
            known.text()
        );
        // Larger than any pid_max.
        assert_eq!(process(Pid(4_194_305)).err(), Some(NoProcess::Gone(Pid(4_194_305))));
        assert_eq!(printable("a\u{1b}[31m\n"), "a\u{fffd}[31m\u{fffd}");
    }
}
