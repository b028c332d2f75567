//! The demo, from its first trace to Ctrl-C.
use std::path::Path;

use clew_tests::{Clew, ClewRun, Lab, until};
use nix::sys::signal::Signal;

/// Starts what `cargo xtask demo` starts; None where its parts are missing, which is then said.
fn demo(lab: &Lab, clew: Clew<'_>) -> Option<ClewRun> {
    let gunicorn = Lab::python("gunicorn");
    for program in ["/usr/sbin/nginx", "/usr/bin/curl", &gunicorn] {
        if !Path::new(program).exists() {
            lab.skip(&format!("there is no {program}"));
            return None;
        }
    }
    let launcher = Lab::workload("demo/launcher.py");
    let stock = Lab::go("demo/stock");
    let argv = [
        "/usr/bin/python3",
        &launcher,
        "--stock",
        &stock,
        "--gunicorn",
        &gunicorn,
    ];
    Some(clew.format("tree").start(&argv))
}

/// A process and all its descendants, by their numbers.
fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .expect("read /proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, number(pid, "PPid:")?)))
        .collect();
    let mut tree = vec![root];
    let mut at = 0;
    while let Some(parent) = tree.get(at).copied() {
        tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    tree
}

/// The first number of a line of /proc/PID/status.
fn number(pid: u32, key: &str) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Waits for a trace, looks at the programs, presses Ctrl-C: nothing is left, and Clew has summed up.
fn check(mut run: ClewRun, uid: u32) {
    until("a visit is drawn", || {
        if let Some(code) = run.proc.ended() {
            panic!("clew ended with {code}:\n{}", run.proc.stderr());
        }
        run.proc.stderr().contains("GET /checkout/").then_some(())
    });
    let pids = tree(run.proc.pid());
    // Clew, the launcher, gunicorn and its worker, nginx and its worker, three more.
    assert!(pids.len() >= 9, "{pids:?}");
    for pid in pids.iter().skip(1) {
        // A curl may be over by now.
        let found = number(*pid, "Uid:").unwrap_or(uid);
        assert_eq!(found, uid, "the user of process {pid}");
    }
    run.proc.signal_group(Signal::SIGINT);
    let out = run.wait();
    out.check_eq(out.code, 0, "the exit code");
    for pid in pids {
        out.check(
            !Path::new("/proc").join(pid.to_string()).exists(),
            &format!("process {pid} is left over"),
        );
    }
    out.check(out.stdout.contains(" visits"), "the launcher ended in order");
    out.check(
        out.stderr.contains("clew itself:") && out.stderr.contains(" traces, "),
        "the summary is shown",
    );
    out.check(out.stdout.lines().count() < 20, "Clew wrote to the command's output");
}

#[test]
fn ctrl_c_ends_the_demo() {
    let Some(lab) = Lab::new("ctrl_c_ends_the_demo") else {
        return;
    };
    if let Some(run) = demo(&lab, Clew::run(&lab)) {
        check(run, 0);
    }
}

#[test]
fn the_demo_under_sudo_runs_as_the_caller() {
    let Some(lab) = Lab::new("the_demo_under_sudo_runs_as_the_caller") else {
        return;
    };
    let nobody = 65534;
    let can_read = std::process::Command::new("/usr/bin/setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(["/usr/bin/python3", "-c", "import sys; open(sys.argv[1])"])
        .arg(Lab::workload("demo/launcher.py"))
        .status();
    if !can_read.is_ok_and(|status| status.success()) {
        lab.skip("the user nobody cannot read the repository");
        return;
    }
    let clew = Clew::run(&lab)
        .env("SUDO_UID", "65534")
        .env("SUDO_GID", "65534")
        .env("SUDO_USER", "nobody");
    if let Some(run) = demo(&lab, clew) {
        check(run, nobody);
    }
}
