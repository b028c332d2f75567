//! What resources say of the host.
use std::path::Path;

/// Facts of the host, by their OpenTelemetry names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// `host.name`.
    pub name: Option<String>,
    /// `host.id`: the machine id, machine-id(5).
    pub id: Option<String>,
    /// `host.arch`.
    pub arch: &'static str,
    /// `os.description`: the distribution's name for itself, os-release(5).
    pub description: Option<String>,
}

impl Host {
    /// Reads them from the file system below `root`, `/` on a real host. What is not there is left out.
    pub fn read(root: &Path) -> Self {
        let line = |path: &str| {
            let text = std::fs::read_to_string(root.join(path)).ok()?;
            let text = text.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        let release = line("etc/os-release").or_else(|| line("usr/lib/os-release"));
        Self {
            name: line("proc/sys/kernel/hostname"),
            id: line("etc/machine-id").or_else(|| line("var/lib/dbus/machine-id")),
            arch: arch(),
            description: release.as_deref().and_then(pretty_name),
        }
    }
}

/// The architecture as the semantic conventions name it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "x86",
        other => other,
    }
}

/// `PRETTY_NAME` of an os-release file.
fn pretty_name(release: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_distributions() {
        let cases = [
            (
                "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n",
                Some("Debian GNU/Linux 13 (trixie)"),
            ),
            ("PRETTY_NAME=Alpine\n", Some("Alpine")),
            ("PRETTY_NAME=\"\"\n", None),
            ("NAME=x\n", None),
        ];
        for (text, name) in cases {
            assert_eq!(pretty_name(text).as_deref(), name, "{text:?}");
        }
    }

    #[test]
    fn reads_what_is_there() {
        let root = tempfile::tempdir().expect("a directory");
        assert_eq!(
            Host::read(root.path()),
            Host {
                arch: arch(),
                ..Host::default()
            }
        );
        std::fs::create_dir_all(root.path().join("etc")).expect("a directory");
        std::fs::write(root.path().join("etc/machine-id"), "0123\n").expect("a file");
        assert_eq!(Host::read(root.path()).id.as_deref(), Some("0123"));
    }
}
