//! Whether instructions of a program are watched: the kernel changes them in the memory of who runs it.
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::wait::until;

/// Waits until code of `program` is another in the memory of a process that runs it than in the file.
pub(crate) fn wait(program: &Path) -> io::Result<()> {
    let program = program.canonicalize()?;
    let pid = running(&program).ok_or_else(|| io::Error::other(format!("nobody runs {}", program.display())))?;
    until("probes in the program", || {
        is_changed(&pid, &program).unwrap_or(false).then_some(())
    });
    Ok(())
}

fn running(program: &Path) -> Option<String> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let exe = std::fs::read_link(entry.path().join("exe")).ok()?;
        (exe == program).then(|| entry.file_name().to_string_lossy().into_owned())
    })
}

fn is_changed(pid: &str, program: &Path) -> io::Result<bool> {
    let (file, memory) = (File::open(program)?, File::open(format!("/proc/{pid}/mem"))?);
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let name = program.display().to_string();
    for line in maps
        .lines()
        .filter(|line| line.ends_with(&name) && line.contains("r-xp"))
    {
        let mut words = line.split_ascii_whitespace();
        let number = |word: Option<&str>| u64::from_str_radix(word?, 16).ok();
        let (Some((start, end)), offset) = (words.next().and_then(|word| word.split_once('-')), words.nth(1)) else {
            continue;
        };
        let (Some(start), Some(end), Some(offset)) = (number(Some(start)), number(Some(end)), number(offset)) else {
            continue;
        };
        let length = usize::try_from(end - start).map_err(io::Error::other)?;
        let (mut there, mut here) = (vec![0; length], vec![0; length]);
        memory.read_exact_at(&mut there, start)?;
        // The last page goes on behind the end of the file.
        let read = file.read_at(&mut here, offset)?;
        if there.get(..read) != here.get(..read) {
            return Ok(true);
        }
    }
    Ok(false)
}
