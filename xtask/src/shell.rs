//! Programs that tasks start: run to an end within a time, with their output passed on, read or kept for the failure.
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A command line in the repository's root, without standard input.
pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(program: &str, args: &[S]) -> Command {
    let found = crate::workspace::program(program).unwrap_or_else(|| PathBuf::from(program));
    let mut command = Command::new(found);
    command
        .args(args)
        .current_dir(crate::workspace::root())
        .stdin(Stdio::null());
    // What cargo says to the program it runs is not for the cargo that it starts: dependencies that look at it would be built
    // again and again.
    for (name, _) in std::env::vars_os() {
        let own = name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
        if own {
            command.env_remove(name);
        }
    }
    command
}

/// Like [`command`], as root: through sudo where this process is not.
pub(crate) fn command_as_root(program: &str, args: &[&str]) -> Result<Command> {
    if crate::workspace::is_root() {
        return Ok(command(program, args));
    }
    if crate::workspace::program("sudo").is_none() {
        bail!("{program} needs root, and there is no sudo");
    }
    let mut sudo = vec!["--", program];
    sudo.extend(args);
    let mut command = command("sudo", &sudo);
    command.stdin(Stdio::inherit());
    Ok(command)
}

/// Runs a command whose output matters only when it fails.
///
/// # Errors
/// When it cannot start, fails or takes longer than `limit`; the message ends with what it printed last.
pub(crate) fn quiet(command: Command, limit: Duration) -> Result<String> {
    let mut stdout = String::new();
    heard(command, limit, |line, is_stdout| {
        if is_stdout {
            stdout.push_str(line);
            stdout.push('\n');
        }
    })?;
    Ok(stdout)
}

/// Runs a command; `hear` gets each line it prints, and whether that came on its standard output.
///
/// # Errors
/// As [`quiet`].
pub(crate) fn heard(mut command: Command, limit: Duration, mut hear: impl FnMut(&str, bool)) -> Result<()> {
    let name = name(&command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("failed to start {name}"))?;
    let (sender, lines) = channel();
    if let Some(stdout) = child.stdout.take() {
        pass_on(stdout, sender.clone(), true);
    }
    if let Some(stderr) = child.stderr.take() {
        pass_on(stderr, sender, false);
    }
    let mut tail = Vec::new();
    let status = watch(&mut child, &lines, limit, |is_stdout, line| {
        hear(line, is_stdout);
        tail.push(line.to_owned());
    })
    .with_context(|| name.clone())?;
    if status.success() {
        return Ok(());
    }
    let tail = tail
        .get(tail.len().saturating_sub(12)..)
        .unwrap_or_default()
        .join("\n    ");
    bail!("{name}: {status}\n    {tail}");
}

/// Runs a command and passes its output on as it comes; `see` gets each line of its standard output.
///
/// # Errors
/// When it cannot start or takes longer than `limit`. A failure is the status.
pub(crate) fn loud(mut command: Command, limit: Duration, mut see: impl FnMut(&str)) -> Result<ExitStatus> {
    let name = name(&command);
    command.stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("failed to start {name}"))?;
    let (sender, lines) = channel();
    if let Some(stdout) = child.stdout.take() {
        pass_on(stdout, sender, true);
    }
    watch(&mut child, &lines, limit, |_, line| {
        let mut out = std::io::stdout().lock();
        // A closed terminal must not stop the tests.
        let _ = writeln!(out, "{line}");
        see(line);
    })
    .with_context(|| name.clone())
}

/// What a command prints, in one line.
pub(crate) fn output(program: &str, args: &[&str]) -> Result<String> {
    let text = quiet(command(program, args), Duration::from_secs(60))?;
    Ok(text.trim().to_owned())
}

/// Runs `attempt` up to three times: what comes over a network may fail once.
pub(crate) fn retried<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let mut left = 2;
    loop {
        match attempt() {
            Err(error) if left > 0 => println!("    once more after: {}", first_line(&format!("{error:#}"))),
            result => return result,
        }
        left -= 1;
    }
}

/// The first line of a message.
pub(crate) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn name(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let mut words = vec![program.file_name().unwrap_or_default().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

fn pass_on(from: impl Read + Send + 'static, to: Sender<(bool, String)>, is_stdout: bool) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
            if to.send((is_stdout, text)).is_err() {
                break;
            }
            line.clear();
        }
    });
}

/// Waits for the child's end, handing its lines on. At the limit the child and all it started are killed.
fn watch(
    child: &mut Child,
    lines: &std::sync::mpsc::Receiver<(bool, String)>,
    limit: Duration,
    mut see: impl FnMut(bool, &str),
) -> Result<ExitStatus> {
    let deadline = Instant::now() + limit;
    let mut ended = None;
    loop {
        // A grandchild may hold the pipe open after the child's end: then the end counts, once the pipe is silent.
        let wait = if ended.is_some() {
            Duration::from_millis(300)
        } else {
            Duration::from_millis(200)
        };
        match lines.recv_timeout(wait) {
            Ok((is_stdout, line)) => see(is_stdout, &line),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if ended.is_some() => break,
            Err(RecvTimeoutError::Timeout) => ended = child.try_wait()?,
        }
        if ended.is_none() && Instant::now() > deadline {
            kill_tree(child.id());
            child.wait()?;
            bail!("not done after {} s, stopped", limit.as_secs());
        }
    }
    Ok(match ended {
        Some(status) => status,
        None => wait_until(child, deadline, limit)?,
    })
}

fn wait_until(child: &mut Child, deadline: Instant, limit: Duration) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            kill_tree(child.id());
            child.wait()?;
            bail!("not done after {} s, stopped", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Kills a process and all its descendants, parents first, so that none can start another.
fn kill_tree(pid: u32) {
    for pid in tree(pid) {
        if let Ok(pid) = i32::try_from(pid) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// A process and all its descendants, parents first.
pub(crate) fn tree(pid: u32) -> Vec<u32> {
    // Not /proc/PID/task/TID/children: kernels without CONFIG_PROC_CHILDREN have none.
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| Some((pid, parent(pid)?)))
        .collect();
    let mut pids = vec![pid];
    let mut at = 0;
    while let Some(&parent) = pids.get(at) {
        pids.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    pids
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything: what follows its end counts.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_last_lines() {
        let failing = command("sh", &["-c", "echo out; echo err >&2; exit 3"]);
        let message = format!("{:#}", quiet(failing, Duration::from_secs(30)).unwrap_err());
        for part in ["exit status: 3", "out", "err"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn at_the_limit_the_whole_tree_is_killed() {
        let hanging = command("sh", &["-c", "sleep 1000 & wait"]);
        let message = format!("{:#}", quiet(hanging, Duration::from_millis(500)).unwrap_err());
        assert!(message.contains("not done after"), "{message}");
    }
}
