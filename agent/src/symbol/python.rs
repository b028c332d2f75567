//! CPython: `contextvars` contexts, and the transports of uvloop.
//!
//! Offsets are those of each release line, compared with the DWARF of interpreters of it and with what running ones hold; the
//! kernel side checks at each event that they lead to a context. A line that is not in the table is not followed.
mod interpreter;
mod pools;
mod uvloop;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clew_common::context::{
    PLAN_PYTHON, PY_POOLS, PY_SPECIFIC, PY_UVLOOP_CONTEXT, PY_UVLOOP_FD, PY_UVLOOP_HANDLE, Plan,
};

use super::image::Image;
use super::{FileKey, Found, Hooks, LIBRARIES, MOST_REMEMBERED, NoHooks, Point, code, dynamic};
use interpreter::Interpreter;
use pools::Unwatched;

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

/// What was read of files, whoever runs them.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// None is a file without an interpreter.
    interpreters: HashMap<FileKey, Option<Result<Arc<Interpreter>, NoHooks>>>,
    /// Where a C library's threads keep their own data.
    specifics: HashMap<FileKey, Option<u64>>,
    /// Points in modules, or why there are none.
    modules: HashMap<FileKey, Result<Vec<Point>, String>>,
}

impl Known {
    /// How the contexts of an interpreter are followed.
    pub(super) fn hooks(&mut self, place: &Place<'_>) -> Result<Found, NoHooks> {
        let sizes = [self.interpreters.len(), self.specifics.len(), self.modules.len()];
        if sizes.into_iter().any(|size| size >= MOST_REMEMBERED) {
            *self = Self::default();
        }
        let (key, path, interpreter) = self.interpreter(place)?;
        let mut words = Plan::default().words;
        for (at, value) in interpreter.words {
            words[at] = value;
        }
        words[PY_SPECIFIC] = self
            .thread_specific(place)
            .ok_or_else(|| unknown("where a thread keeps its own data is not known of this C library"))?;
        let mut points = interpreter.points.clone();
        let mut paths = vec![(key, path.clone())];
        let mut limits = Vec::new();
        if let Some(module) = uvloop_path(place, interpreter.version) {
            match self.module(&module, |image| uvloop::points(image, &module)) {
                Ok((key, found)) => {
                    words[PY_UVLOOP_HANDLE] = uvloop::HANDLE;
                    words[PY_UVLOOP_CONTEXT] = uvloop::CONTEXT;
                    words[PY_UVLOOP_FD] = uvloop::FD;
                    points.extend(found);
                    paths.push((key, module));
                }
                Err(limit) => limits.push(limit),
            }
        }
        let queues = match &interpreter.queues {
            Ok(found) => Ok(found.clone()),
            Err(Unwatched::Absent) => queue_path(place, &path, interpreter.version)
                .ok_or(Unwatched::Absent)
                .map_err(|why| why.words().to_owned())
                .and_then(|module| {
                    let read = |image: &Image| pools::points(image).map_err(|why| why.words().to_owned());
                    let (key, found) = self.module(&module, read)?;
                    paths.push((key, module));
                    Ok(found)
                }),
            Err(why) => Err(why.words().to_owned()),
        };
        match queues {
            Ok(found) => {
                words[PY_POOLS] = 1;
                points.extend(found);
            }
            Err(limit) => limits.push(limit),
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

    /// What `read` finds in the module at `path`.
    fn module(
        &mut self,
        path: &Path,
        read: impl Fn(&Image) -> Result<Vec<Point>, String>,
    ) -> Result<(FileKey, Vec<Point>), String> {
        let unreadable = || format!("{} cannot be read", path.display());
        let key = FileKey::of(path).ok_or_else(unreadable)?;
        let found = self.modules.entry(key).or_insert_with(|| {
            let image = Image::open(path).ok_or_else(unreadable)?;
            read(&image)
        });
        found.clone().map(|points| (key, points))
    }

    /// The interpreter in a file; none where there is none.
    fn interpreter_in(&mut self, path: &Path) -> Option<(FileKey, Result<Arc<Interpreter>, NoHooks>)> {
        let key = FileKey::of(path)?;
        let found = self.interpreters.entry(key).or_insert_with(|| {
            let image = Image::open(path)?;
            interpreter::is_in(&image).then(|| interpreter::read(&image).map(Arc::new))
        });
        found.clone().map(|found| (key, found))
    }

    /// The interpreter, in the executable or the library it needs.
    fn interpreter(&mut self, place: &Place<'_>) -> Result<(FileKey, PathBuf, Arc<Interpreter>), NoHooks> {
        if let Some((key, found)) = self.interpreter_in(&place.exe) {
            return Ok((key, place.exe.clone(), found?));
        }
        let path = library(place)?;
        let (key, found) = self
            .interpreter_in(&path)
            .ok_or_else(|| unknown("no interpreter in the library the executable needs"))?;
        Ok((key, path, found?))
    }

    /// Offset of `specific` in glibc's `struct pthread`, which it tells debuggers: size in bits, number, offset.
    fn thread_specific(&mut self, place: &Place<'_>) -> Option<u64> {
        let loaded = mapped(&place.maps, |name| name.ends_with("/libc.so.6")).map(PathBuf::from);
        let usual = LIBRARIES.iter().map(|folder| Path::new(folder).join("libc.so.6"));
        let (path, key) = loaded.into_iter().chain(usual).find_map(|path| {
            let path = within(&place.root, &path);
            let key = FileKey::of(&path)?;
            Some((path, key))
        })?;
        *self
            .specifics
            .entry(key)
            .or_insert_with(|| specific(&Image::open(&path)?))
    }
}

fn specific(image: &Image) -> Option<u64> {
    const NAME: &str = "_thread_db_pthread_specific";
    let at = *dynamic::symbols(image, ".dynsym", ".dynstr", &[NAME]).get(NAME)?;
    let entry = image.data(at, 12)?;
    let offset = entry
        .get(8..12)?
        .first_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes))?;
    (64..1 << 16).contains(&offset).then_some(u64::from(offset))
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

/// The library with the interpreter.
fn library(place: &Place<'_>) -> Result<PathBuf, NoHooks> {
    let image = Image::open(&place.exe).ok_or(NoHooks::Unreadable)?;
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
    loaded
        .into_iter()
        .chain(asked.chain(usual).map(|folder| folder.join(library)))
        .map(|path| within(&place.root, &path))
        .find(|path| path.exists())
        .ok_or_else(|| unknown(&format!("{library} is not where it should be")))
}

/// A path of the process, as this process can open it.
fn within(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
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

/// The module with the queues, which is loaded when a program first needs it.
fn queue_path(place: &Place<'_>, interpreter: &Path, (major, minor): (u8, u8)) -> Option<PathBuf> {
    let file = format!(
        "lib-dynload/_queue.cpython-{major}{minor}-{}-linux-gnu.so",
        std::env::consts::ARCH
    );
    if let Some(path) = mapped(&place.maps, |name| name.ends_with(&file)) {
        return Some(within(&place.root, Path::new(path)));
    }
    let beside = |program: &Path| Some(program.parent()?.parent()?.join("lib"));
    // A library lies where the modules do.
    let own = interpreter.strip_prefix(&place.root).unwrap_or(interpreter);
    let folders = [
        beside(Path::new(place.exe_path)),
        Path::new("/").join(own).parent().map(Path::to_path_buf),
        Some(PathBuf::from("/usr/lib")),
        Some(PathBuf::from("/usr/local/lib")),
    ];
    folders
        .into_iter()
        .flatten()
        .map(|lib| within(&place.root, &lib.join(format!("python{major}.{minor}")).join(&file)))
        .find(|path| path.exists())
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
