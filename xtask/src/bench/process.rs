//! What processes cost, from /proc.
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use super::row::{self, Row};
use crate::shell;

/// CPU time of a process and all its descendants so far.
pub(super) fn cpu(pid: u32) -> Duration {
    shell::tree(pid).into_iter().filter_map(cpu_of_one).sum()
}

/// proc_pid_stat(5): user and system time, fields 14 and 15, in clock ticks.
fn cpu_of_one(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    // USER_HZ is 100 on every Linux architecture Clew knows.
    Some(Duration::from_millis((user + system) * 10))
}

/// Memory a process has resident, bytes. Not what it has mapped of BPF maps: [`bpf`] counts that, and a ring buffer is
/// mapped twice over.
pub(super) fn rss_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    rss_in(&text)
}

/// proc_pid_smaps(5): a line for each mapping, ending with its name, then its figures.
fn rss_in(smaps: &str) -> u64 {
    let (mut is_map, mut kib) = (false, 0);
    for line in smaps.lines() {
        if let Some(size) = line.strip_prefix("Rss:") {
            let size = size.split_whitespace().next().and_then(|size| size.parse::<u64>().ok());
            kib += if is_map { 0 } else { size.unwrap_or(0) };
        } else if line
            .as_bytes()
            .first()
            .is_some_and(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
        {
            is_map = line.ends_with("anon_inode:bpf-map");
        }
    }
    kib * 1024
}

/// A kernel program a process holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) runs: u64,
    pub(super) run_time_ns: u64,
}

impl Program {
    pub(super) fn ns_per_event(&self) -> f64 {
        row::float(self.run_time_ns) / row::float(self.runs)
    }

    /// The metric's name.
    pub(super) fn metric(&self) -> String {
        format!("ns_per_event:{}", self.name)
    }
}

/// What a run of each program takes, of those that ran.
pub(super) fn per_event(workload: &str, programs: &[Program]) -> Vec<Row> {
    let ran = programs.iter().filter(|program| program.runs > 0);
    ran.map(|program| Row::agent(workload, &program.metric(), program.ns_per_event()))
        .collect()
}

/// Bytes the process's BPF maps take, and its BPF programs, as its descriptors tell.
pub(super) fn bpf(pid: u32) -> (u64, Vec<Program>) {
    let folder = PathBuf::from(format!("/proc/{pid}/fdinfo"));
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let texts: Vec<String> = files
        .filter_map(|file| std::fs::read_to_string(file.path()).ok())
        .collect();
    let names = names();
    let (mut maps, mut programs) = (BTreeMap::new(), BTreeMap::new());
    for text in &texts {
        let fields: HashMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name, value.trim()))
            .collect();
        let number = |name: &str| fields.get(name).and_then(|text| text.parse::<u64>().ok());
        // A link's descriptor names its program too, without what it has cost.
        if let Some(id) = number("map_id") {
            maps.insert(id, number("memlock").unwrap_or(0));
        } else if let (Some(id), Some(run_time_ns)) = (number("prog_id"), number("run_time_ns")) {
            let tag = fields.get("prog_tag").copied().unwrap_or_default();
            let program = Program {
                name: names.get(tag).cloned().unwrap_or_else(|| tag.to_owned()),
                runs: number("run_cnt").unwrap_or(0),
                run_time_ns,
            };
            programs.insert(id, program);
        }
    }
    (maps.into_values().sum(), programs.into_values().collect())
}

/// Names of loaded programs by their tag: the kernel lists their code as `bpf_prog_TAG_NAME`.
fn names() -> HashMap<String, String> {
    let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let names = symbols.lines().filter_map(|line| {
        let symbol = line.split_whitespace().nth(2)?.strip_prefix("bpf_prog_")?;
        let (tag, name) = symbol.split_once('_')?;
        Some((tag.to_owned(), name.to_owned()))
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_costs() {
        let mut sum = 0_u64;
        // Spends more than one clock tick.
        while cpu(std::process::id()) < Duration::from_millis(20) {
            sum = (0..1_000_000_u64).fold(sum, |sum, n| sum.wrapping_mul(31).wrapping_add(n));
        }
        assert!(rss_bytes(std::process::id()) > 100_000, "{sum}");
    }

    #[test]
    fn mapped_maps_are_not_counted_twice() {
        let smaps = "55a0-55b0 r-xp 00000000 fe:00 12 /usr/bin/clew\nSize: 64 kB\nRss: 40 kB\nFilePmdMapped: 0 kB\n\
                     7f00-7f20 r--s 00000000 00:0e 9 anon_inode:bpf-map\nRss: 128 kB\n7f30-7f40 rw-p 00000000 00:00 0\nRss: 8 kB\n";
        assert_eq!(rss_in(smaps), 48 * 1024);
    }
}
