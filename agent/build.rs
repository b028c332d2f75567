//! Builds the kernel programs for the BPF target and leaves the object where the agent includes it, with the hook for Java where
//! `cargo xtask setup` has built one and the dashboard's page where `cargo xtask build` has.
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let root = manifest
        .parent()
        .expect("the agent lies in the workspace")
        .to_path_buf();
    for watched in ["ebpf/src", "ebpf/Cargo.toml", "ebpf/Cargo.lock", "common/src"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    println!("cargo::rerun-if-env-changed=PATH");
    java_hook(&root.join("target/assist/java.jar"), &out.join("java.jar"));
    page(&manifest.join("ui/dist"), &out.join("page.rs"));
    need(library_source(), "the standard library's source is missing");
    need(in_path("bpf-linker"), "bpf-linker is missing");

    let target = out.join("ebpf");
    // The machine the programs are for: registers and numbers of system calls differ.
    let machine = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    let machine = format!("--cfg=bpf_target_arch=\"{machine}\"");
    let flags = ["-Clinker=bpf-linker", "-Cdebuginfo=2", "-Clink-arg=--btf", &machine];
    let status = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"))
        .current_dir(root.join("ebpf"))
        .args(["build", "--release", "--locked", "--target", "bpfel-unknown-none", "-Z", "build-std=core"])
        .arg("--target-dir")
        .arg(&target)
        // The nightly switch is for this child alone; the workspace itself is stable Rust.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET")
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(_) => fail("the kernel programs did not compile"),
        Err(error) => fail(&format!("cargo could not be started: {error}")),
    }
    let object = target.join("bpfel-unknown-none/release/clew-ebpf");
    // Other folders of builds may have been made by links to this one: a file that is written over changes in all.
    let _absent = std::fs::remove_file(out.join("clew-ebpf"));
    if let Err(error) = std::fs::copy(&object, out.join("clew-ebpf")) {
        fail(&format!("failed to copy {}: {error}", object.display()));
    }
}

/// Without a hook the file is empty, and Clew says so where it would hand it over.
fn java_hook(built: &Path, out: &Path) {
    println!("cargo::rerun-if-changed={}", built.display());
    let jar = std::fs::read(built).unwrap_or_default();
    if let Err(error) = std::fs::write(out, jar) {
        fail(&format!("failed to write {}: {error}", out.display()));
    }
}

/// A list of the page's files, each with its path and content. It is empty where they were not built.
fn page(built: &Path, list: &Path) {
    // A folder that is not there could not be watched.
    if let Err(error) = std::fs::create_dir_all(built) {
        fail(&format!("failed to make {}: {error}", built.display()));
    }
    println!("cargo::rerun-if-changed={}", built.display());
    let (mut files, mut folders) = (Vec::new(), vec![built.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut text = String::from("&[\n");
    for path in files {
        let name = path.strip_prefix(built).unwrap_or(&path).display().to_string();
        text.push_str(&format!("    ({:?}, include_bytes!({path:?})),\n", format!("/{name}")));
    }
    text.push_str("]\n");
    if let Err(error) = std::fs::write(list, text) {
        fail(&format!("failed to write {}: {error}", list.display()));
    }
}

fn library_source() -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let Ok(output) = Command::new(rustc).args(["--print", "sysroot"]).output() else {
        return false;
    };
    let sysroot = String::from_utf8_lossy(&output.stdout);
    Path::new(sysroot.trim())
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .exists()
}

fn in_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

fn need(there: bool, what: &str) {
    if !there {
        fail(&format!("{what}: run `cargo xtask setup`"));
    }
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1)
}
