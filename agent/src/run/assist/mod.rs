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
        let hook = assist.folder.join(NODE_FILE);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&hook)?;
        file.write_all(NODE.as_bytes())?;
        open_to_all(&hook, 0o644)?;
        Ok(assist)
    }

    /// The environment of a command that shall load the hooks, with what it has there kept.
    pub(super) fn environ(&self, mut environ: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
        let mut option = OsString::from("--require ");
        option.push(quoted(self.folder.join(NODE_FILE).as_os_str()));
        match environ.iter_mut().find(|(name, _)| name == NODE_VARIABLE) {
            Some((_, options)) if !options.is_empty() => {
                options.push(" ");
                options.push(option);
            }
            Some((_, options)) => *options = option,
            None => environ.push((NODE_VARIABLE.into(), option)),
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

/// Whether the environment of a process, as `/proc` gives it, has a hook for Node.js in it.
pub fn has_node_hook(environ: &[u8]) -> bool {
    environ
        .split(|byte| *byte == 0)
        .filter_map(|variable| variable.strip_prefix(NODE_VARIABLE.as_bytes())?.strip_prefix(b"="))
        .any(|options| memmem::find(options, b"/clew-assist-").is_some())
}

fn open_to_all(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

/// A path as one word of the variable: in double quotes, within which a backslash takes a character as it is.
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

    fn variable(environ: &[(OsString, OsString)]) -> &str {
        let found = environ.iter().filter(|(name, _)| name == NODE_VARIABLE);
        let values: Vec<&OsString> = found.map(|(_, value)| value).collect();
        let [value] = values.as_slice() else {
            panic!("{environ:?}")
        };
        value.to_str().expect("text")
    }

    #[test]
    fn the_environment() {
        let root = tempfile::tempdir().expect("a folder");
        let assist = Assist::install_in(root.path()).expect("hooks");
        let hook = assist.folder.join(NODE_FILE);
        assert_eq!(fs::read_to_string(&hook).expect("a file"), NODE);
        let option = format!("--require {}", hook.display());
        let text = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        for (options, want) in [
            (None, option.clone()),
            (Some(""), option.clone()),
            (Some("--trace-warnings"), format!("--trace-warnings {option}")),
        ] {
            let own = options.map(|options| text(NODE_VARIABLE, options));
            let environ = assist.environ([text("LANG", "C")].into_iter().chain(own).collect());
            assert!(environ.contains(&text("LANG", "C")));
            assert_eq!(variable(&environ), want);
            let variables: Vec<String> = environ
                .iter()
                .map(|(name, value)| format!("{}={}\0", name.display(), value.display()))
                .collect();
            assert!(has_node_hook(variables.concat().as_bytes()));
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
    fn the_hook_and_the_kernel_side_agree() {
        let words = clew_common::assist::MAGIC.map(|half| [half as u32, (half >> 32) as u32]);
        let words: Vec<String> = words.concat().iter().map(|word| format!("{word:#010x}")).collect();
        let magic = format!("const MAGIC = [{}];", words.join(", "));
        assert!(NODE.contains(&magic), "{magic}");
        assert!(NODE.contains(&format!("const BYTES = {};", clew_common::assist::BYTES)));
    }
}
