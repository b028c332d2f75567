//! CPython: `contextvars` contexts, and the transports of uvloop.
//!
//! Offsets are those of each release line, compared with the DWARF of interpreters of it and with what running ones hold; the
//! kernel side checks at each event that they lead to a context. A line that is not in the table is not followed.
use std::path::{Path, PathBuf};

use clew_common::context::{
    PLAN_PYTHON, PY_CONTEXT, PY_KEY, PY_SPECIFIC, PY_TYPE, PY_UVLOOP_CONTEXT, PY_UVLOOP_FD, PY_UVLOOP_HANDLE, Plan,
};

use super::image::Image;
use super::{FileKey, Found, Hooks, LIBRARIES, NoHooks, Point, code, dynamic};

/// A release line, the offset of `gilstate.autoTSSkey._key` (3.12: `autoTSSkey._key`) in `_PyRuntime`, and that of `context`
/// in `PyThreadState`.
const LINES: &[((u8, u8), u64, u64)] = &[((3, 11), 596, 224), ((3, 12), 1548, 208), ((3, 13), 2164, 208)];

/// `tp_dealloc` and `tp_new` in `PyTypeObject`.
const TP_DEALLOC: u64 = 48;
const TP_NEW: u64 = 312;

/// The releases of uvloop whose structures these are, and offsets in them: `_handle` and `context` of `UVHandle`,
/// `io_watcher.fd` of `uv_stream_t`.
const UVLOOP: &[&str] = &["0.17.", "0.18.", "0.19.", "0.20.", "0.21.", "0.22.", "0.23."];
const UVLOOP_HANDLE: u64 = 24;
const UVLOOP_CONTEXT: u64 = 56;
const UVLOOP_FD: u64 = 184;

/// Functions of uvloop and what watches them.
const UVLOOP_POINTS: &[(&str, &str)] = &[
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

const RUNTIME: &str = "_PyRuntime";
const TYPE: &str = "PyContext_Type";
const COPY: &str = "PyContext_CopyCurrent";
const VERSION: &str = "Py_Version";

/// Where things of a process lie, as this process can open them.
pub(super) struct Place<'a> {
    /// The executable.
    pub(super) exe: PathBuf,
    /// Its path as the process sees it.
    pub(super) exe_path: &'a str,
    /// The first word of its command line.
    pub(super) argv0: &'a str,
    /// The process's root folder.
    pub(super) root: PathBuf,
    /// Its memory map.
    pub(super) maps: String,
}

/// How the contexts of an interpreter are followed.
pub(super) fn hooks(place: &Place<'_>) -> Result<Found, NoHooks> {
    let (image, path) = interpreter(place)?;
    let symbols = dynamic::symbols(&image, ".dynsym", ".dynstr", &[RUNTIME, TYPE, COPY, VERSION]);
    let symbol = |name: &str| {
        let missing = || unknown(&format!("the interpreter does not export {name}"));
        symbols.get(name).copied().ok_or_else(missing)
    };
    let (runtime, kind, copy) = (symbol(RUNTIME)?, symbol(TYPE)?, symbol(COPY)?);
    let version = symbol(VERSION).ok().and_then(|at| image.data(at, 4));
    let Some(&[_, _, minor, major]) = version.as_deref() else {
        return Err(unknown("the version of Python cannot be read"));
    };
    let (_, key, context) = LINES
        .iter()
        .find(|(line, ..)| *line == (major, minor))
        .ok_or_else(|| unknown(&format!("Python {major}.{minor} is not a version Clew knows")))?;
    if free_threaded(&image, runtime) {
        return Err(unknown("Python without a global lock is not followed"));
    }
    let specific = thread_specific(place)
        .ok_or_else(|| unknown("where a thread keeps its own data is not known of this C library"))?;
    let [freed, new] = dynamic::pointers(&image, &[kind + TP_DEALLOC, kind + TP_NEW])
        .and_then(|found| <[u64; 2]>::try_from(found).ok())
        .ok_or_else(|| unknown("the functions of PyContext_Type cannot be found"))?;
    let mut words = Plan::default().words;
    for (at, value) in [
        (PY_KEY, runtime + key),
        (PY_TYPE, kind),
        (PY_SPECIFIC, specific),
        (PY_CONTEXT, *context),
    ] {
        words[at] = value;
    }
    let mut points = Vec::new();
    let mut paths = vec![(image.key(), path.clone())];
    // What is freed comes first: a context that outlives its number would be taken for another.
    for (program, address) in [
        ("python_freed", freed),
        ("python_created", copy),
        ("python_created", new),
    ] {
        let point =
            point(&image, program, address).ok_or_else(|| unknown("the functions of contexts look otherwise"))?;
        points.push(point);
    }
    let mut limits = Vec::new();
    match uvloop(place, (major, minor)) {
        Some(Ok(found)) => {
            words[PY_UVLOOP_HANDLE] = UVLOOP_HANDLE;
            words[PY_UVLOOP_CONTEXT] = UVLOOP_CONTEXT;
            words[PY_UVLOOP_FD] = UVLOOP_FD;
            points.extend(found.1);
            paths.push(found.0);
        }
        Some(Err(limit)) => limits.push(limit),
        None => {}
    }
    let plan = Plan {
        kind: PLAN_PYTHON,
        words,
    };
    Ok(Found {
        hooks: Hooks { plan, points, limits }.into(),
        paths,
        base: base(place, &path),
    })
}

fn unknown(what: &str) -> NoHooks {
    NoHooks::Unknown(what.to_owned())
}

/// A probe at the start of a function, if the kernel emulates its first instruction.
fn point(image: &Image, program: &'static str, address: u64) -> Option<Point> {
    let start = image.code(address, 16)?;
    code::starts_cheaply(&start, address).then_some(())?;
    Some(Point {
        program,
        file: image.key(),
        offset: image.code_offset(address)?,
    })
}

/// The file with the interpreter: the executable, or the library it needs.
fn interpreter(place: &Place<'_>) -> Result<(Image, PathBuf), NoHooks> {
    let image = Image::open(&place.exe).ok_or(NoHooks::Unreadable)?;
    if !dynamic::symbols(&image, ".dynsym", ".dynstr", &[TYPE]).is_empty() {
        return Ok((image, place.exe.clone()));
    }
    let needs = dynamic::needs(&image);
    let library = needs
        .libraries
        .iter()
        .find(|name| name.starts_with("libpython3"))
        .ok_or_else(|| unknown("no interpreter in the executable or the libraries it needs"))?;
    let origin = Path::new(place.exe_path).parent().unwrap_or(Path::new("/"));
    let asked = needs.folders.iter().map(|folder| match folder.strip_prefix("$ORIGIN") {
        Some(rest) => origin.join(rest.trim_start_matches('/')),
        None => PathBuf::from(folder),
    });
    let loaded = mapped(&place.maps, |name| name.ends_with(library.as_str())).map(PathBuf::from);
    let usual = [origin.join("../lib")]
        .into_iter()
        .chain(LIBRARIES.iter().map(PathBuf::from));
    let path = loaded
        .into_iter()
        .chain(asked.chain(usual).map(|folder| folder.join(library)))
        .map(|path| within(&place.root, &path))
        .find(|path| path.exists())
        .ok_or_else(|| unknown(&format!("{library} is not where it should be")))?;
    let image = Image::open(&path).ok_or(NoHooks::Unreadable)?;
    Ok((image, path))
}

/// A path of the process, as this process can open it.
fn within(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Whether the interpreter was built without its global lock, from the table it holds for debuggers (since 3.13).
///
/// ```text
/// 0          8         16
/// +----------+---------+---------------+
/// | xdebugpy | version | free-threaded |
/// +----------+---------+---------------+
/// ```
fn free_threaded(image: &Image, runtime: u64) -> bool {
    image
        .data(runtime, 24)
        .is_some_and(|head| head.starts_with(b"xdebugpy") && head.get(16..24) != Some(&[0; 8]))
}

/// Offset of `specific` in glibc's `struct pthread`, which it tells debuggers: size in bits, number, offset.
fn thread_specific(place: &Place<'_>) -> Option<u64> {
    const NAME: &str = "_thread_db_pthread_specific";
    let loaded = mapped(&place.maps, |name| name.ends_with("/libc.so.6")).map(PathBuf::from);
    let usual = LIBRARIES.iter().map(|folder| Path::new(folder).join("libc.so.6"));
    let image = loaded
        .into_iter()
        .chain(usual)
        .find_map(|path| Image::open(&within(&place.root, &path)))?;
    let at = *dynamic::symbols(&image, ".dynsym", ".dynstr", &[NAME]).get(NAME)?;
    let entry = image.data(at, 12)?;
    let offset = entry
        .get(8..12)?
        .first_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes))?;
    (64..1 << 16).contains(&offset).then_some(u64::from(offset))
}

/// The first file in a memory map whose name is `wanted`.
fn mapped(maps: &str, wanted: impl Fn(&str) -> bool) -> Option<&str> {
    maps.lines()
        .filter_map(|line| {
            line.split_once('/')
                .map(|(_, rest)| &line[line.len() - rest.len() - 1..])
        })
        .find(|path| wanted(path))
}

/// Where the interpreter is loaded, if it is: by how much its addresses are moved.
fn base(place: &Place<'_>, path: &Path) -> Option<u64> {
    let image = Image::open(path)?;
    let seen = Path::new("/").join(path.strip_prefix(&place.root).unwrap_or(Path::new(place.exe_path)));
    let seen = seen.to_str()?;
    let line = place.maps.lines().find(|line| line.ends_with(seen))?;
    let start = u64::from_str_radix(line.split('-').next()?, 16).ok()?;
    let offset = line.split_whitespace().nth(2)?;
    let offset = u64::from_str_radix(offset, 16).ok()?;
    start.checked_sub(image.address_of(offset)?)
}

/// A file and the points in it.
type Points = ((FileKey, PathBuf), Vec<Point>);

/// The probes in uvloop; why there are none; nothing where it is not installed.
fn uvloop(place: &Place<'_>, version: (u8, u8)) -> Option<Result<Points, String>> {
    let path = uvloop_path(place, version)?;
    let text = std::fs::read_to_string(path.with_file_name("_version.py")).unwrap_or_default();
    let release = text.split('\'').nth(1).unwrap_or_default();
    if !UVLOOP.iter().any(|known| release.starts_with(known)) {
        return Some(Err(format!("uvloop {release} is not a version Clew knows")));
    }
    let Some(image) = Image::open(&path) else {
        return Some(Err("uvloop cannot be read".to_owned()));
    };
    let names: Vec<&str> = UVLOOP_POINTS.iter().map(|(name, _)| *name).collect();
    let symbols = dynamic::symbols(&image, ".symtab", ".strtab", &names);
    let points = UVLOOP_POINTS
        .iter()
        .map(|(name, program)| point(&image, program, *symbols.get(name)?));
    let points: Option<Vec<Point>> = points.collect();
    let key = image.key();
    Some(
        points
            .map(|points| ((key, path), points))
            .ok_or_else(|| "uvloop has no symbols".to_owned()),
    )
}

fn uvloop_path(place: &Place<'_>, (major, minor): (u8, u8)) -> Option<PathBuf> {
    let file = format!("uvloop/loop.cpython-{major}{minor}-x86_64-linux-gnu.so");
    if let Some(path) = mapped(&place.maps, |name| name.ends_with(&file)) {
        return Some(within(&place.root, Path::new(path)));
    }
    // Not loaded yet: where the interpreter will look.
    let prefixes = [place.argv0, place.exe_path].map(|program| Path::new(program).parent()?.parent());
    let folders = prefixes
        .into_iter()
        .flatten()
        .flat_map(|prefix| {
            let lib = prefix.join(format!("lib/python{major}.{minor}"));
            [lib.join("site-packages"), lib.join("dist-packages")]
        })
        .chain(["/usr/lib/python3/dist-packages", "/usr/local/lib/python3/dist-packages"].map(PathBuf::from))
        .chain([PathBuf::from(format!(
            "/usr/local/lib/python{major}.{minor}/dist-packages"
        ))]);
    folders
        .map(|folder| within(&place.root, &folder.join(&file)))
        .find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps() {
        let text = "7f00-7f01 r-xp 00000000 08:01 1 /usr/lib/libpython3.11.so.1.0\n\
                    7f02-7f03 r-xp 00000000 08:01 2 /srv/my app/libc.so.6\n7f04-7f05 rw-p 00000000 00:00 0 [heap]\n";
        let check = |end: &str, want: Option<&str>| assert_eq!(mapped(text, |name| name.ends_with(end)), want, "{end}");
        check("libpython3.11.so.1.0", Some("/usr/lib/libpython3.11.so.1.0"));
        check("/libc.so.6", Some("/srv/my app/libc.so.6"));
        check("heap]", None);
    }
}
