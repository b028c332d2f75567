//! Hooks that runtimes load by themselves when a variable names them, so that they tell of their contexts.
//!
//! Only a command that Clew starts is given one. The hooks lie in a folder that everyone may read and only Clew's user may
//! write; it goes when Clew ends, unless a process is left that would look for a hook in it.
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use memchr::memmem;

/// The hook for Node.js.
const NODE: &str = include_str!("node.js");
const NODE_FILE: &str = "node.js";
/// The variable by which Node.js takes options, as its documentation describes it.
const NODE_VARIABLE: &str = "NODE_OPTIONS";

/// The hook for Java, which `cargo xtask setup` builds from the sources in `java/`; empty in a Clew that was built without.
const JAVA: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/java.jar"));
const JAVA_FILE: &str = "java.jar";
/// The variable by which every Java virtual machine takes options, as the specification of the JVM Tool Interface describes it.
const JAVA_VARIABLE: &str = "JAVA_TOOL_OPTIONS";

/// What gives a Clew that was built without a hook for Java one.
const JAVA_MISSING: &str = "this clew was built without its hook for Java: cargo xtask setup, then build it anew";

/// Why Java processes of a command with this environment get no hook, and what mends it; none where they get one.
pub fn no_java_hook(environ: &[(OsString, OsString)]) -> Option<String> {
    if JAVA.is_empty() {
        return Some(JAVA_MISSING.to_owned());
    }
    let java = javas(environ).find(|java| !takes_agents(java))?;
    Some(format!(
        "Java gets none, because {} has no module java.instrument and would not start with one: a JAVA_HOME and PATH without it mend that",
        java.display()
    ))
}

/// Hooks, written to where a command's runtimes find them.
#[derive(Debug)]
pub struct Assist {
    folder: PathBuf,
}

impl Assist {
    /// Writes the hooks.
    ///
    /// # Errors
    /// If there is no place for them.
    pub fn install() -> io::Result<Self> {
        Self::install_in(&std::env::temp_dir())
    }

    fn install_in(parent: &Path) -> io::Result<Self> {
        // Runtimes look for it from folders of their own.
        let parent = parent.canonicalize()?;
        let folder = parent.join(format!("clew-assist-{:016x}", rand::random::<u64>()));
        // A folder that is there is not taken: it may be someone else's.
        DirBuilder::new().mode(0o755).create(&folder)?;
        let assist = Self { folder };
        // The mask of file modes may have taken from others what they need.
        open_to_all(&assist.folder, 0o755)?;
        assist.write(NODE_FILE, NODE.as_bytes())?;
        if !JAVA.is_empty() {
            assist.write(JAVA_FILE, JAVA)?;
        }
        Ok(assist)
    }

    fn write(&self, name: &str, hook: &[u8]) -> io::Result<()> {
        let path = self.folder.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&path)?;
        file.write_all(hook)?;
        open_to_all(&path, 0o644)
    }

    /// The environment of a command that shall load the hooks, with what it has there kept.
    pub(super) fn environ(&self, mut environ: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
        let mut node = OsString::from("--require ");
        node.push(quoted(self.folder.join(NODE_FILE).as_os_str()));
        append(&mut environ, NODE_VARIABLE, node);
        let usable = no_java_hook(&environ).is_none();
        if let Some(hook) = java_word(self.folder.join(JAVA_FILE).as_os_str()).filter(|_| usable) {
            let mut java = OsString::from("-javaagent:");
            java.push(hook);
            append(&mut environ, JAVA_VARIABLE, java);
        }
        environ
    }

    /// Whether a process below `proc` was started with a hook of this folder in its environment.
    fn is_wanted(&self, proc: &Path) -> bool {
        let processes = fs::read_dir(proc).into_iter().flatten().flatten();
        processes
            .filter(|entry| entry.file_name().as_bytes().iter().all(u8::is_ascii_digit))
            .filter_map(|entry| fs::read(entry.path().join("environ")).ok())
            .any(|environ| memmem::find(&environ, self.folder.as_os_str().as_bytes()).is_some())
    }
}

impl Drop for Assist {
    /// A process that outlives the command may start others, which fail if what their environment names is gone.
    fn drop(&mut self) {
        if !self.is_wanted(Path::new("/proc")) {
            let _left = fs::remove_dir_all(&self.folder);
        }
    }
}

/// The Java runtimes that a command with this environment finds first: by `JAVA_HOME`, and in each folder of `PATH`.
fn javas(environ: &[(OsString, OsString)]) -> impl Iterator<Item = PathBuf> {
    let value = |of: &str| environ.iter().find(|(name, _)| name == of).map(|(_, value)| value);
    let home = value("JAVA_HOME").map(|home| Path::new(home).join("bin/java"));
    let path = value("PATH").map(|path| std::env::split_paths(path).map(|folder| folder.join("java")));
    let found: Vec<PathBuf> = home.into_iter().chain(path.into_iter().flatten()).collect();
    found.into_iter().filter_map(|java| java.canonicalize().ok())
}

/// Whether the Java runtime of this `bin/java` takes agents. One without the module `java.instrument` does not start with one; the
/// `release` file of a runtime names its modules since Java 9. Where it says nothing the runtime is whole.
fn takes_agents(java: &Path) -> bool {
    let release = java.parent().and_then(Path::parent).map(|home| home.join("release"));
    let Some(release) = release.and_then(|release| fs::read_to_string(release).ok()) else {
        return true;
    };
    let modules = release.lines().find_map(|line| line.strip_prefix("MODULES="));
    modules.is_none_or(|modules| modules.split([' ', '"']).any(|module| module == "java.instrument"))
}

/// Adds `option` to those that a variable names.
fn append(environ: &mut Vec<(OsString, OsString)>, variable: &str, option: OsString) {
    match environ.iter_mut().find(|(name, _)| name == variable) {
        Some((_, options)) if !options.is_empty() => {
            options.push(" ");
            options.push(option);
        }
        Some((_, options)) => *options = option,
        None => environ.push((variable.into(), option)),
    }
}

/// Whether the environment of a process, as `/proc` gives it, has a hook for Node.js in it.
pub fn has_node_hook(environ: &[u8]) -> bool {
    has_hook(environ, NODE_VARIABLE)
}

/// Whether the environment of a process, as `/proc` gives it, has a hook for Java in it.
pub fn has_java_hook(environ: &[u8]) -> bool {
    has_hook(environ, JAVA_VARIABLE)
}

fn has_hook(environ: &[u8], of: &str) -> bool {
    environ
        .split(|byte| *byte == 0)
        .filter_map(|variable| variable.strip_prefix(of.as_bytes())?.strip_prefix(b"="))
        .any(|options| memmem::find(options, b"/clew-assist-").is_some())
}

fn open_to_all(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

/// A path as a part of one word of Java's variable, in which a quote ends at the next of its kind and nothing else is special. The
/// path of an agent ends at `=`. None where it cannot be written.
fn java_word(path: &OsStr) -> Option<OsString> {
    if path.as_bytes().iter().any(|byte| matches!(byte, b'"' | b'\'' | b'=')) {
        return None;
    }
    if !path.as_bytes().iter().any(u8::is_ascii_whitespace) {
        return Some(path.to_owned());
    }
    Some(OsStr::from_bytes(&[b"\"", path.as_bytes(), b"\""].concat()).to_owned())
}

/// A path as one word of Node.js's variable: in double quotes, within which a backslash takes a character as it is.
fn quoted(path: &OsStr) -> OsString {
    let plain = |byte: &u8| !byte.is_ascii_whitespace() && !matches!(byte, b'"' | b'\\');
    if path.as_bytes().iter().all(plain) {
        return path.to_owned();
    }
    let mut word = vec![b'"'];
    for &byte in path.as_bytes() {
        if matches!(byte, b'"' | b'\\') {
            word.push(b'\\');
        }
        word.push(byte);
    }
    word.push(b'"');
    OsStr::from_bytes(&word).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable<'a>(environ: &'a [(OsString, OsString)], of: &str) -> &'a str {
        let found = environ.iter().filter(|(name, _)| name == of);
        let values: Vec<&OsString> = found.map(|(_, value)| value).collect();
        let [value] = values.as_slice() else {
            panic!("{environ:?}")
        };
        value.to_str().expect("text")
    }

    #[test]
    fn runtimes_without_agents() {
        let root = tempfile::tempdir().expect("a folder");
        let java = root.path().join("bin/java");
        fs::create_dir(root.path().join("bin")).expect("a folder");
        fs::write(&java, "").expect("a file");
        assert!(takes_agents(&java), "no release file");
        for (release, want) in [
            ("JAVA_VERSION=\"17\"\n", true),
            ("MODULES=\"java.base java.instrument java.logging\"\n", true),
            ("JAVA_VERSION=\"21\"\nMODULES=\"java.base java.logging\"\n", false),
            ("MODULES=\"java.base\"\n", false),
        ] {
            fs::write(root.path().join("release"), release).expect("a file");
            assert_eq!(takes_agents(&java), want, "{release}");
        }
        let assist = Assist::install_in(root.path()).expect("hooks");
        let bin = root.path().join("bin");
        for name in ["JAVA_HOME", "PATH"] {
            let place = if name == "PATH" {
                bin.clone()
            } else {
                root.path().to_owned()
            };
            let environ = assist.environ(vec![(name.into(), place.into_os_string())]);
            assert!(environ.iter().all(|(name, _)| name != JAVA_VARIABLE), "{name}");
            let why = no_java_hook(&environ).expect("a reason");
            assert!(JAVA.is_empty() || why.contains(&java.display().to_string()), "{why}");
        }
    }

    #[test]
    fn the_environment() {
        let root = tempfile::tempdir().expect("a folder");
        let assist = Assist::install_in(root.path()).expect("hooks");
        let text = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        for (name, file, hook, begin) in [
            (NODE_VARIABLE, NODE_FILE, NODE.as_bytes(), "--require "),
            (JAVA_VARIABLE, JAVA_FILE, JAVA, "-javaagent:"),
        ] {
            if hook.is_empty() {
                continue;
            }
            let path = assist.folder.join(file);
            assert_eq!(fs::read(&path).expect("a file"), hook);
            let option = format!("{begin}{}", path.display());
            for (options, want) in [
                (None, option.clone()),
                (Some(""), option.clone()),
                (Some("-own"), format!("-own {option}")),
            ] {
                let own = options.map(|options| text(name, options));
                let environ = assist.environ([text("LANG", "C")].into_iter().chain(own).collect());
                assert!(environ.contains(&text("LANG", "C")));
                assert_eq!(variable(&environ, name), want);
                let variables: Vec<String> = environ
                    .iter()
                    .map(|(name, value)| format!("{}={}\0", name.display(), value.display()))
                    .collect();
                assert!(has_hook(variables.concat().as_bytes(), name));
            }
        }
        assert!(!has_node_hook(b"NODE_OPTIONS=--trace-warnings\0A=/clew-assist-\0"));
    }

    #[test]
    fn the_folder_goes_when_nobody_looks_for_it() {
        let root = tempfile::tempdir().expect("a folder");
        let assist = Assist::install_in(root.path()).expect("hooks");
        let folder = assist.folder.clone();
        let process = root.path().join("proc/7");
        fs::create_dir_all(&process).expect("a folder");
        assert!(!assist.is_wanted(&root.path().join("proc")));
        let environ = format!("A=b\0NODE_OPTIONS=--require {}/node.js\0", folder.display());
        fs::write(process.join("environ"), environ).expect("a file");
        assert!(assist.is_wanted(&root.path().join("proc")));
        drop(assist);
        assert!(!folder.exists());
    }

    #[test]
    fn quotes() {
        for (path, want) in [
            ("/tmp/a", "/tmp/a"),
            ("/tmp/my files", "\"/tmp/my files\""),
            ("/tmp/\"\\", "\"/tmp/\\\"\\\\\""),
        ] {
            assert_eq!(quoted(OsStr::new(path)), OsString::from(want));
        }
    }

    #[test]
    fn words_of_java() {
        for (path, want) in [
            ("/tmp/a", Some("/tmp/a")),
            ("/tmp/my files", Some("\"/tmp/my files\"")),
            ("/tmp/a=b", None),
            ("/tmp/\"", None),
        ] {
            assert_eq!(java_word(OsStr::new(path)), want.map(OsString::from));
        }
    }

    #[test]
    fn the_hook_for_java_and_the_kernel_side_agree() {
        let source = include_str!("java/runtime/ClewHandOver.java");
        let [first, second] = clew_common::assist::MAGIC;
        for (name, value) in [
            ("long[] MAGIC", format!("{{{first:#x}L, {second:#x}L}}")),
            ("int BYTES", clew_common::assist::BYTES.to_string()),
            (
                "long JAVA",
                format!("1L << {}", clew_common::assist::JAVA.trailing_zeros()),
            ),
            ("long NOBODY", clew_common::assist::JAVA_NOBODY.to_string()),
            ("long UNKNOWN", clew_common::assist::JAVA_UNKNOWN.to_string()),
        ] {
            let line = format!("private static final {name} = {value};");
            assert!(source.contains(&line), "{line}");
        }
    }

    #[test]
    fn the_hook_and_the_kernel_side_agree() {
        let words = clew_common::assist::MAGIC.map(|half| [half as u32, (half >> 32) as u32]);
        let words: Vec<String> = words.concat().iter().map(|word| format!("{word:#010x}")).collect();
        let magic = format!("const MAGIC = [{}];", words.join(", "));
        assert!(NODE.contains(&magic), "{magic}");
        assert!(NODE.contains(&format!("const BYTES = {};", clew_common::assist::BYTES)));
    }
}
