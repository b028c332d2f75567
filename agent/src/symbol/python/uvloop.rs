//! uvloop: which transport it reads for, and who asked for what it writes.
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::point;
use crate::symbol::image::Image;
use crate::symbol::{Point, dynamic};

/// The releases of uvloop whose structures these are, and offsets in them: `_handle` and `context` of `UVHandle`,
/// `io_watcher.fd` of `uv_stream_t`.
const RELEASES: &[&str] = &["0.17.", "0.18.", "0.19.", "0.20.", "0.21.", "0.22.", "0.23."];
pub(super) const HANDLE: u64 = 24;
pub(super) const CONTEXT: u64 = 56;
pub(super) const FD: u64 = 184;

/// Functions of uvloop and what watches them.
const POINTS: &[(&str, &str)] = &[
    ("__pyx_f_6uvloop_4loop_6Handle__run", "uvloop_runs"),
    ("__pyx_f_6uvloop_4loop_11TimerHandle__run", "uvloop_runs"),
    ("__pyx_f_6uvloop_4loop___uv_stream_on_read", "uvloop_read"),
    ("__pyx_f_6uvloop_4loop___uv_stream_buffered_on_read", "uvloop_read"),
    (
        "__pyx_f_6uvloop_4loop_15UVBaseTransport__call_connection_made",
        "uvloop_connected",
    ),
    ("__pyx_f_6uvloop_4loop_8UVStream__initiate_write", "uvloop_write"),
];

/// The probes in uvloop's library, which is at `path`; why there are none.
pub(super) fn points(image: &Image, path: &Path) -> Result<Vec<Point>, String> {
    let text = version_text(&path.with_file_name("_version.py")).unwrap_or_default();
    let release = text.split('\'').nth(1).unwrap_or_default();
    if !RELEASES.iter().any(|known| release.starts_with(known)) {
        return Err(format!("uvloop {release} is not a version Clew knows"));
    }
    let names: Vec<&str> = POINTS.iter().map(|(name, _)| *name).collect();
    let symbols = dynamic::symbols(image, ".symtab", ".strtab", &names);
    let points = POINTS
        .iter()
        .map(|(name, program)| point(image, program, *symbols.get(name)?));
    let points: Option<Vec<Point>> = points.collect();
    points.ok_or_else(|| "uvloop has no symbols".to_owned())
}

/// The file's beginning. It may be no file at all, which nobody waits for.
fn version_text(path: &Path) -> Option<String> {
    const MOST: u64 = 4096;
    let mut how = OpenOptions::new();
    let file = how.read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}
