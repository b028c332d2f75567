//! Runs of Clew's programs that the kernel left out, since one of them was under way on the same CPU.
use std::collections::BTreeMap;

/// The counter of them.
pub(super) const SKIPPED: &str = "capture.recursion_misses";

/// How many there were of all programs that this process holds; 0 where the kernel does not tell (before Linux 5.12).
pub(super) fn skipped() -> u64 {
    let descriptors = std::fs::read_dir("/proc/self/fdinfo").into_iter().flatten().flatten();
    let texts = descriptors.filter_map(|file| std::fs::read_to_string(file.path()).ok());
    // Several descriptors may be of one program.
    let programs: BTreeMap<u64, u64> = texts.filter_map(|text| misses(&text)).collect();
    programs.into_values().fold(0, u64::saturating_add)
}

/// A program's number and how often it was left out, as its descriptor tells (`bpf_prog_show_fdinfo`, `kernel/bpf/syscall.c`).
fn misses(text: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(key, _)| *key == name)?;
        value.trim().parse().ok()
    };
    Some((field("prog_id")?, field("recursion_misses")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors() {
        let program = "pos:\t0\nflags:\t02000002\nprog_type:\t26\nprog_id:\t40\nrun_cnt:\t0\nrecursion_misses:\t7\n";
        assert_eq!(misses(program), Some((40, 7)));
        // A link's, and a file's.
        assert_eq!(
            misses("link_type:\traw_tracepoint\nprog_tag:\tab\nprog_id:\t40\n"),
            None
        );
        assert_eq!(misses("pos:\t0\nrecursion_misses"), None);
        assert_eq!(misses("prog_id:\t40\nrecursion_misses:\t-1\n"), None);
    }
}
