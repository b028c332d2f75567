//! Where things lie.
use std::path::{Path, PathBuf};

/// The repository.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The Python environment of the tests.
pub(crate) fn venv() -> PathBuf {
    target().join("venv")
}

/// Where schemathesis is, which holds the API against its description.
pub(crate) fn api_venv() -> PathBuf {
    target().join("venv-api")
}

/// Where services of the tests and their clients are, whose packages are many.
pub(crate) fn services_venv() -> PathBuf {
    target().join("venv-services")
}

/// The same with the newest interpreter, where that is another.
pub(crate) fn newest_venv() -> PathBuf {
    target().join("venv-newest")
}

/// What setup downloads and keeps between checkouts.
pub(crate) fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    let base = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home().join(".cache"), PathBuf::from);
    base.join("clew")
}

/// The file a program's name stands for in PATH.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Debian keeps servers out of a user's PATH.
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/go/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
