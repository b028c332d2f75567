//! Answers about a process and the host.
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

use super::parents;
use crate::capture::Pid;
use crate::discover::{Discovery, Found, NoProcess, Proc};
use crate::symbol::Libraries;

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
    /// How the parent of a call is known.
    parents: String,
}

/// Reads a process.
pub(super) fn process(pid: Pid) -> Result<Known, NoProcess> {
    let mut discovery = Discovery::default();
    let found = discovery.examine(pid).map_err(|gone| NoProcess::Gone(gone.0))?;
    let parents = parents::mechanism(discovery.proc(), &found.process);
    Ok(Known { found, parents })
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
            "parents": self.parents,
            "encryption": self.encryption(),
            "container": process.container,
            "resource": attributes,
        }))
    }

    /// The libraries that encrypt for it and whose plaintext is seen.
    fn encryption(&self) -> String {
        let (proc, pid) = (Proc::default(), self.found.process.pid);
        let found = Libraries::default().of(&proc.of(pid, "exe"), &proc.of(pid, "root"), &proc.maps(pid));
        let mut words: Vec<String> = found
            .iter()
            .map(|(library, _)| {
                // What there are no probes in says why.
                let seen = (!library.points.is_empty()).then(|| format!("{} is seen through", library.name));
                let words: Vec<String> = seen.into_iter().chain(library.limits.iter().cloned()).collect();
                words.join("; ")
            })
            .collect();
        if words.is_empty() {
            words.push("no library that Clew sees through is loaded".to_owned());
        }
        words.join(", ")
    }

    pub(super) fn text(&self) -> String {
        let process = &self.found.process;
        let service = format!("{} (from {})", process.service, self.found.service_source.words());
        let rows = [
            ("service", Some(service)),
            ("namespace", process.service_namespace.clone()),
            ("runtime", Some(process.runtime.word().to_owned())),
            ("parents", Some(self.parents.clone())),
            ("encryption", Some(self.encryption())),
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

/// Text another process wrote, without what a terminal would obey.
pub(super) fn printable(text: &str) -> String {
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
