//! bpf-linker, built against the compiler's own LLVM: the bitcode it links then always fits.
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Step;
use crate::{shell, workspace};

const VERSION: &str = "0.13.0";
/// The feature that says which LLVM the crate is built against.
const LLVM: &str = "llvm-22";

pub(super) fn provide() -> Result<Step> {
    let wanted = format!("bpf-linker {VERSION}");
    let version = || shell::output("bpf-linker", &["--version"]);
    // It must also start: after a change of the toolchain the library it wants may be gone.
    if version().is_ok_and(|found| found == wanted) {
        return Ok(Step::Ready(wanted));
    }
    println!("  bpf-linker: building {VERSION}, about a minute");
    let sysroot = PathBuf::from(shell::output("rustc", &["--print", "sysroot"])?);
    let toolchain = sysroot.join("lib");
    let prefix = workspace::cache().join(LLVM);
    link_llvm(&toolchain, &prefix)?;
    let mut install = shell::command(
        "cargo",
        &["install", "bpf-linker", "--version", VERSION, "--locked", "--force"],
    );
    install
        .args(["--no-default-features", "--features", LLVM])
        .env("LLVM_PREFIX", &prefix)
        .env("RUSTFLAGS", format!("-Clink-arg=-Wl,-rpath,{}", toolchain.display()))
        .env_remove("CARGO_TARGET_DIR");
    shell::quiet(install, Duration::from_secs(900))?;
    let found = version().context("bpf-linker was installed but does not start")?;
    Ok(Step::Done(found))
}

/// A folder that looks like an LLVM installation, whose library is the toolchain's.
fn link_llvm(toolchain: &Path, prefix: &Path) -> Result<()> {
    let library = std::fs::read_dir(toolchain)
        .with_context(|| format!("failed to open {}", toolchain.display()))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| name(path).starts_with("libLLVM.so."))
        .with_context(|| format!("no libLLVM in {}", toolchain.display()))?;
    let folder = prefix.join("lib");
    std::fs::create_dir_all(&folder)?;
    for link in ["libLLVM.so", &name(&library)] {
        let link = folder.join(link);
        if link.is_symlink() {
            std::fs::remove_file(&link)?;
        }
        std::os::unix::fs::symlink(&library, &link)?;
    }
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
