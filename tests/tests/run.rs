//! `clew run` leaves the command as it is: exit code, standard streams, signals, user.
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use clew_tests::{Clew, Lab, Outcome, until};
use nix::sys::signal::Signal;

fn shell(lab: &Lab, script: &str) -> Outcome {
    Clew::run(lab).start(&["/bin/sh", "-c", script]).wait()
}

#[test]
fn exit_codes() {
    let Some(lab) = Lab::new("exit_codes") else { return };
    let rows = [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 200", 200),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
    ];
    for (script, code) in rows {
        let out = shell(&lab, script);
        out.check_eq(out.code, code, script);
    }
}

#[test]
fn commands_that_cannot_start() {
    let Some(lab) = Lab::new("commands_that_cannot_start") else {
        return;
    };
    let plain = lab.file("plain.txt", "no program\n").display().to_string();
    for (command, code) in [
        ("/nonexistent/program", 127),
        ("no-such-program-anywhere", 127),
        (&plain, 126),
    ] {
        let out = Clew::run(&lab).start(&[command]).wait();
        out.check_eq(out.code, code, command);
        out.check(out.stderr.contains(command), "the message names the command");
    }
}

#[test]
fn standard_streams_are_the_commands() {
    let Some(_lab) = Lab::new("standard_streams_are_the_commands") else {
        return;
    };
    // Every byte value, more than a pipe holds.
    let input: Vec<u8> = (0..300_000_u32).map(|n| (n * 7 % 256) as u8).collect();
    let mut child = Command::new(Lab::clew())
        .args([
            "run",
            "--format",
            "none",
            "--",
            "/bin/sh",
            "-c",
            "cat; printf 'to stderr\\n' >&2",
        ])
        .env("CLEW_NO_STORE", "true")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start clew");
    let mut stdin = child.stdin.take().expect("a pipe");
    let writer = {
        let input = input.clone();
        std::thread::spawn(move || stdin.write_all(&input))
    };
    let output = child.wait_with_output().expect("clew ends");
    writer.join().expect("no panic").expect("all input is taken");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stdout == input,
        "stdout differs: {} bytes of {}",
        output.stdout.len(),
        input.len()
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.lines().any(|line| line == "to stderr"), "{stderr}");
}

/// Counts the signals of one kind it gets; another kind ends it.
const COUNTER: &str = r"
import signal, sys
count = 0
def counted(*_):
    global count
    count += 1
    print('caught', flush=True)
def last(*_):
    print('count', count, flush=True)
    sys.exit(0)
signal.signal(getattr(signal, sys.argv[1]), counted)
signal.signal(getattr(signal, sys.argv[2]), last)
print('ready', flush=True)
while True:
    signal.pause()
";

#[test]
fn signals_are_passed_on_once() {
    let Some(lab) = Lab::new("signals_are_passed_on_once") else {
        return;
    };
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2] {
        let last = if signal == Signal::SIGUSR2 {
            Signal::SIGUSR1
        } else {
            Signal::SIGUSR2
        };
        let run = Clew::run(&lab).start(&["/usr/bin/python3", "-c", COUNTER, signal.as_str(), last.as_str()]);
        let until_said = |word: &str| until(word, || run.proc.stdout().contains(word).then_some(()));
        until_said("ready");
        run.proc.signal(signal);
        until_said("caught");
        // Passed on after whatever clew made of the first.
        run.proc.signal(last);
        let out = run.wait();
        out.check(out.stdout.contains("count 1"), &format!("{signal}: {}", out.stdout));
        out.check_eq(out.code, 0, "the command's code");
    }
}

#[test]
fn ctrl_c_reaches_the_command_once() {
    let Some(lab) = Lab::new("ctrl_c_reaches_the_command_once") else {
        return;
    };
    // A terminal sends SIGINT to the whole foreground group; clew must not send a second.
    let clew = Lab::clew().display().to_string();
    let terminal = Lab::workload("python/terminal.py");
    let mut argv = vec![
        "/usr/bin/python3",
        &terminal,
        &clew,
        "run",
        "--format",
        "none",
        "--no-store",
        "--",
    ];
    argv.extend(["/usr/bin/python3", "-c", COUNTER, "SIGINT", "SIGUSR2"]);
    let mut proc = lab.start("terminal", &argv);
    assert_eq!(proc.wait(), 0, "{}{}", proc.stdout(), proc.stderr());
    assert!(proc.stdout().contains("count 1"), "{}", proc.stdout());
}

#[test]
fn the_command_is_not_root_under_sudo() {
    let Some(lab) = Lab::new("the_command_is_not_root_under_sudo") else {
        return;
    };
    let script = "id -u; id -g; id -G; echo $HOME; echo $USER; echo $LOGNAME";
    let sudo = |run: Clew<'_>, args: &[&str]| {
        run.args(args)
            .env("SUDO_UID", "65534")
            .env("SUDO_GID", "65534")
            .env("SUDO_USER", "nobody")
            .traced(&["/bin/sh", "-c", script])
    };
    let out = sudo(Clew::run(&lab), &[]);
    let lines: Vec<&str> = out.stdout.lines().collect();
    out.check_eq(lines.first(), Some(&"65534"), "uid");
    out.check_eq(lines.get(1), Some(&"65534"), "gid");
    out.check(
        lines
            .get(2)
            .is_some_and(|groups| groups.split(' ').all(|group| group != "0")),
        "supplementary groups",
    );
    out.check_eq(lines.get(3), Some(&"/nonexistent"), "HOME");
    out.check_eq(lines.get(4), Some(&"nobody"), "USER");
    out.check_eq(lines.get(5), Some(&"nobody"), "LOGNAME");
    let _ = std::fs::remove_file(lab.dir().join("spans.jsonl"));
    let out = sudo(Clew::run(&lab), &["--as-root"]);
    out.check_eq(out.stdout.lines().next(), Some("0"), "uid under --as-root");
}

#[test]
fn the_command_outlives_a_killed_clew() {
    let Some(lab) = Lab::new("the_command_outlives_a_killed_clew") else {
        return;
    };
    let script = "echo $$; while [ ! -e stop ]; do sleep 0.02; done; echo done > done";
    let mut run = Clew::run(&lab).start(&["/bin/sh", "-c", script]);
    until("the command runs", || run.proc.stdout().contains('\n').then_some(()));
    run.proc.stop(Signal::SIGKILL);
    lab.file("stop", "");
    until("the command ends on its own", || {
        lab.dir().join("done").exists().then_some(())
    });
}

#[test]
fn the_command_has_clean_signal_state() {
    let Some(lab) = Lab::new("the_command_has_clean_signal_state") else {
        return;
    };
    let script = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status";
    // What the command would see without clew, started the same way.
    let mut bare = Command::new("/bin/grep");
    bare.args(["-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"])
        .process_group(0);
    let bare = bare.output().expect("start grep").stdout;
    let out = Clew::run(&lab).traced(&["/bin/sh", "-c", &format!("exec {script}")]);
    let want: Vec<String> = String::from_utf8_lossy(&bare).lines().map(str::to_owned).collect();
    let got: Vec<String> = out.stdout.lines().map(str::to_owned).collect();
    out.check_eq(got, want, "signal state");
}

#[test]
fn the_command_has_no_descriptors_of_clew() {
    let Some(lab) = Lab::new("the_command_has_no_descriptors_of_clew") else {
        return;
    };
    let script = "ls -l /proc/$$/fd";
    // What the command would have open without clew: tests may themselves have inherited something.
    let open = |listing: &str| listing.lines().filter(|line| line.contains("->")).count();
    let bare = Command::new("/bin/sh").args(["-c", script]).output().expect("start sh");
    let out = Clew::run(&lab).traced(&["/bin/sh", "-c", script]);
    out.check(!out.stdout.contains("bpf"), &out.stdout);
    let bare = open(&String::from_utf8_lossy(&bare.stdout));
    out.check_eq(open(&out.stdout), bare, &out.stdout);
}
