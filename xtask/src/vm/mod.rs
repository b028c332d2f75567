//! `cargo xtask vm`: the end-to-end tests that need no more than Clew and a C program, on other kernels.
//!
//! Each kernel boots in qemu, without hardware virtualization, with a file system in memory: busybox, Clew, the tests'
//! binaries and the programs they trace, each where it lies on this machine.
mod image;
mod kernel;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use clew_tests::Lab;

use self::image::Image;
use self::kernel::{Boot, EXACT, KERNELS, Kernel};
use crate::test::Tally;
use crate::{build, setup, shell, workspace};

/// What to boot and to run.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Options {
    /// Only this kernel, such as 6.1
    #[arg(long)]
    kernel: Option<String>,
    /// Only tests whose name holds this
    filter: Option<String>,
    /// Also the tests that need a start of Clew each, on every kernel
    #[arg(long)]
    all: bool,
    /// Further words on the kernel's command line
    #[arg(long)]
    append: Option<String>,
    /// Run this line of shell instead of the tests; $CLEW_BIN is Clew
    #[arg(long)]
    shell: Option<String>,
}

/// Tests that run on other kernels, by the name of their file.
const TESTS: &[&str] = &["hosts", "pipes", "syscalls"];
/// What the tests call by name; busybox has the rest.
const PROGRAMS: &[&str] = &["curl", "openssl", "setpriv"];
/// A boot takes seconds; the tests decide.
const LIMIT: Duration = Duration::from_secs(600);

/// `cargo xtask vm`.
///
/// # Errors
/// When a kernel cannot be had or a test fails on it.
pub(crate) fn report(options: &Options) -> Result<()> {
    setup::quiet()?;
    let mut tally = Tally::default();
    let result = run(options, &mut tally);
    println!("{tally}");
    result
}

/// Boots each kernel and counts its tests. One that cannot be had is skipped.
///
/// # Errors
/// When the file system cannot be made or a test fails.
pub(crate) fn run(options: &Options, tally: &mut Tally) -> Result<()> {
    if workspace::program("qemu-system-x86_64").is_none() {
        tally.skip("virtual machines: no qemu-system-x86_64");
        return Ok(());
    }
    let programs = Programs::build()?;
    let files = programs.image()?;
    let chosen = |kernel: &&Kernel| options.kernel.as_deref().is_none_or(|wanted| wanted == kernel.version);
    let mut failed = Vec::new();
    for kernel in KERNELS.iter().filter(chosen) {
        let image = match kernel.image() {
            Ok(image) => image,
            Err(error) => {
                let error = format!("{error:#}");
                tally.skip(&format!("Linux {}: {}", kernel.version, shell::first_line(&error)));
                continue;
            }
        };
        for boot in kernel.boots {
            let before = tally.failed;
            let append = options.append.as_deref().unwrap_or(boot.append);
            let result = run_on(&image, &files, &programs.script(boot, options), append, tally);
            if let Err(error) = &result {
                println!("   Linux {}: {error:#}", kernel.version);
            }
            if result.is_err() || tally.failed > before {
                failed.push(kernel.version);
            }
            if options.shell.is_some() {
                break;
            }
        }
    }
    ensure!(failed.is_empty(), "failed on Linux {}", failed.join(", "));
    Ok(())
}

/// Runs a virtual machine to its end.
fn run_on(kernel: &Path, files: &[u8], script: &str, append: &str, tally: &mut Tally) -> Result<()> {
    let begun = Instant::now();
    // The kernel unpacks archives one after the other.
    let mut own = Image::default();
    own.text("/run.sh", script, 0o755);
    for (at, content) in kernel::modules(kernel)? {
        own.bytes(&at, &content);
    }
    let initrd = tempfile::NamedTempFile::new()?;
    std::fs::write(initrd.path(), [files, &own.finish()].concat())?;
    // On a loaded machine the kernel would find the emulated timer too slow to be one, and panic.
    let line = format!("console=ttyS0 quiet panic=-1 no_timer_check {append}");
    // One processor: emulated ones run code that another is changing, as the kernel does where a tracepoint comes and goes.
    let mut qemu = shell::command(
        "qemu-system-x86_64",
        &[
            "-accel",
            "tcg",
            "-smp",
            "1",
            "-m",
            "1536",
            "-no-reboot",
            "-nodefaults",
            "-display",
            "none",
        ],
    );
    qemu.args(["-serial", "stdio", "-net", "none"]);
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd.path());
    qemu.arg("-append").arg(line.trim());
    let mut over = false;
    let status = shell::loud(qemu, LIMIT, |line| {
        let line = line.trim_end();
        over |= line.starts_with("vm: over");
        tally.read(line);
    })?;
    ensure!(status.success() && over, "the virtual machine died: {status}");
    println!("   {} s", begun.elapsed().as_secs());
    Ok(())
}

/// What runs in the machines.
struct Programs {
    clew: PathBuf,
    drive: PathBuf,
    tests: Vec<PathBuf>,
}

impl Programs {
    fn build() -> Result<Self> {
        // As the tests do on this machine.
        let clew = match std::env::var_os("CLEW_BIN") {
            Some(clew) => PathBuf::from(clew).canonicalize()?,
            None => build::release()?,
        };
        Ok(Self {
            clew,
            tests: build::tests(TESTS)?,
            // Cargo builds the programs of a package with its tests.
            drive: workspace::target().join("debug/clew-drive"),
        })
    }

    /// What the first process runs.
    fn script(&self, boot: &Boot, options: &Options) -> String {
        let mut script = format!("export CLEW_BIN={}\n", self.clew.display());
        if let Some(line) = &options.shell {
            script.push_str(line);
            return script;
        }
        let filter = options.filter.as_deref().unwrap_or_default();
        for (name, args) in boot.tests {
            let place = TESTS.iter().position(|test| test == name);
            if let Some(test) = place.and_then(|place| self.tests.get(place)) {
                let args = args.iter().filter(|args| !options.all || **args != EXACT);
                let (test, args) = (test.display(), args.copied().collect::<Vec<_>>().join(" "));
                script.push_str(&format!("{test} {args} {filter} --test-threads=1 --format=pretty\n"));
            }
        }
        script
    }

    /// The file system of a machine, but for the script.
    fn image(&self) -> Result<Vec<u8>> {
        let mut image = Image::default();
        for folder in ["/proc", "/sys", "/dev", "/tmp", "/root", "/bin"] {
            image.folder(Path::new(folder));
        }
        image.device("/dev/console", 5, 1);
        image.text("/init", include_str!("init.sh"), 0o755);
        image.text("/etc/passwd", "root:x:0:0::/root:/bin/sh\n", 0o644);
        let busybox = program("busybox")?;
        image.program(&busybox)?;
        for name in ["/bin/busybox", "/bin/sh"] {
            image.link(name, &busybox.display().to_string());
        }
        for name in PROGRAMS {
            image.program(&program(name)?)?;
        }
        for path in self.tests.iter().chain([&self.clew, &self.drive]) {
            image.program(path)?;
        }
        // The tests compile them where they are older than their sources.
        for (source, program) in [
            ("c/hands.c", Lab::c("hands")),
            ("c/sock.c", Lab::c("sock")),
            ("go/h2.go", Lab::go_by("local", "h2", true)),
            ("go/grpc/main.go", Lab::go_module("grpc", true)),
        ] {
            image.program(Path::new(&program))?;
            image.file(Path::new(&Lab::workload(source)))?;
        }
        for (manifest, program) in [
            ("rust/Cargo.toml", Lab::rust("times-server")),
            ("tonic/Cargo.toml", Lab::tonic()),
        ] {
            image.program(Path::new(&program))?;
            image.file(Path::new(&Lab::workload(manifest)))?;
        }
        Ok(image.finish())
    }
}

fn program(name: &str) -> Result<PathBuf> {
    workspace::program(name).with_context(|| format!("no {name}: run `cargo xtask setup`"))
}
