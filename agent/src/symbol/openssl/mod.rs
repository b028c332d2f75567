//! OpenSSL and libraries with its functions: where plaintext is given and taken, and where a session object has the random number
//! of its ClientHello.
//!
//! The functions are those a program links against, so a library that was stripped has them too, and so has a program that
//! exports OpenSSL's functions itself, such as Node.js.
mod hidden;
mod place;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clew_common::event::SOURCE_OPENSSL;
use clew_common::tls::Cookie;

use super::image::Image;
use super::{FileKey, Point, dynamic, file_name, gnutls, go_tls, mbedtls, rustls};
pub(super) use place::Place;

/// A library that encrypts, and the probes in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// The probes, in the order in which they have to be attached, with the number each is given.
    pub points: Vec<(Point, u64)>,
    /// Which library it is, for people.
    pub name: Arc<str>,
    /// What of it cannot be seen, for people.
    pub limits: Vec<String>,
}

/// A function and the programs that watch it: one at its start, and whether one waits for its return.
struct Watched {
    name: &'static str,
    how: How,
}

enum How {
    /// `int f(session, buffer, size, ...)` moves plaintext. The number of bytes is returned, or told by the function it calls; or this
    /// argument of `f`, counted from 0, says where it is written.
    Moves(What, Option<usize>),
    /// `ssize_t f(session, int file, off_t start, size_t size, flags)`: the number of bytes is returned.
    File,
    /// It uses the connection and moves no plaintext.
    Call,
}

/// What becomes of plaintext.
#[derive(Clone, Copy)]
enum What {
    /// It is taken from the library.
    Taken,
    /// It is given to the library.
    Given,
    /// It is looked at and stays, but may have come from the connection.
    Seen,
}

/// What has to be watched before a session is known to have been seen from its beginning, in this order.
const WATCHED: &[Watched] = &[
    watched("SSL_read", How::Moves(What::Taken, None)),
    watched("SSL_read_ex", How::Moves(What::Taken, Some(3))),
    watched("SSL_read_early_data", How::Moves(What::Taken, Some(3))),
    watched("SSL_write", How::Moves(What::Given, None)),
    watched("SSL_write_ex", How::Moves(What::Given, Some(3))),
    watched("SSL_write_ex2", How::Moves(What::Given, Some(4))),
    watched("SSL_write_early_data", How::Moves(What::Given, Some(3))),
    watched("SSL_sendfile", How::File),
    watched("SSL_peek", How::Moves(What::Seen, None)),
    watched("SSL_peek_ex", How::Moves(What::Seen, Some(3))),
    watched("SSL_do_handshake", How::Call),
    watched("SSL_shutdown", How::Call),
];
const FREED: &str = "SSL_free";
const CLEARED: &str = "SSL_clear";
const MADE: &str = "SSL_new";
const CLIENT_RANDOM: &str = "SSL_get_client_random";
const SERVER_RANDOM: &str = "SSL_get_server_random";

const fn watched(name: &'static str, how: How) -> Watched {
    Watched { name, how }
}

/// Whether a file that is mapped under this path may be a library of OpenSSL's, GnuTLS or mbedTLS: packages that bring their own give
/// it a name of their own.
fn may_encrypt(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let known = ["libssl", "libgnutls", "libmbedtls"];
    known.iter().any(|known| name.starts_with(known)) && name.contains(".so")
}

/// Whether a file that is mapped under this path may be a library with one of these within. The system's own use the system's.
fn may_have_within(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    name.contains(".so") && !super::LIBRARIES.contains(&folder)
}

/// Behind the path of a file that has no name any more (`d_path` in `fs/d_path.c`).
const DELETED: &str = " (deleted)";

/// A range of addresses as the names in `/proc/PID/map_files` have it, from a line of `/proc/PID/maps`, which fills up with zeros
/// (`fs/proc/base.c`, `fs/proc/task_mmu.c`).
fn without_zeros(range: &str) -> String {
    let numbers: Vec<&str> = range.split('-').map(|number| number.trim_start_matches('0')).collect();
    numbers.join("-")
}

/// No library that has OpenSSL or BoringSSL within is smaller, bytes.
const LEAST_WITHIN: u64 = 1 << 20;

/// Files that are remembered.
const MOST_REMEMBERED: usize = 4096;

/// Where a system has the libraries, in its own folders.
const USUAL: &[&str] = &[
    "libssl.so.3",
    "libssl.so.1.1",
    "libgnutls.so.30",
    "libmbedtls.so.14",
    "libmbedtls.so.21",
];

/// Looks into files and remembers what it found.
#[derive(Debug, Default)]
pub struct Libraries(HashMap<FileKey, Option<Arc<Encryption>>>);

impl Libraries {
    /// The probes in the file at `path`; none if it encrypts with nothing that is known.
    pub fn at(&mut self, path: &Path) -> Option<Arc<Encryption>> {
        self.remembered(path, encryption)
    }

    /// The probes in a library that may have OpenSSL or BoringSSL within, which its name does not tell.
    fn within(&mut self, path: &Path) -> Option<Arc<Encryption>> {
        let large = std::fs::metadata(path).is_ok_and(|meta| meta.len() >= LEAST_WITHIN);
        large
            .then(|| self.remembered(path, |path| openssl(&Image::open(path)?, path)))
            .flatten()
    }

    fn remembered(&mut self, path: &Path, look: fn(&Path) -> Option<Encryption>) -> Option<Arc<Encryption>> {
        let key = FileKey::of(path)?;
        if self.0.len() >= MOST_REMEMBERED {
            self.0.clear();
        }
        let found = self.0.entry(key).or_insert_with(|| look(path).map(Arc::new));
        found.clone()
    }

    /// Those that a process uses, with paths by which they can be opened: its executable, and files it has mapped.
    pub fn of(&mut self, exe: &Path, root: &Path, maps: &str) -> Vec<(Arc<Encryption>, PathBuf)> {
        let mapped = maps
            .lines()
            .filter_map(|line| Some((line.split(' ').next()?, line.get(line.find('/')?..)?)));
        let mut paths: Vec<PathBuf> = vec![exe.to_path_buf()];
        let mut others: Vec<PathBuf> = Vec::new();
        let mut seen = HashSet::new();
        for (range, path) in mapped.filter(|(_, path)| seen.insert(*path)) {
            let name = path.strip_suffix(DELETED).unwrap_or(path);
            let which = if may_encrypt(name) {
                &mut paths
            } else if may_have_within(name) {
                &mut others
            } else {
                continue;
            };
            which.push(if name == path {
                root.join(path.trim_start_matches('/'))
            } else {
                // Another may have taken its name since: a library is replaced under programs that run.
                exe.with_file_name("map_files").join(without_zeros(range))
            });
        }
        // The program may be mapped under its own name.
        others.retain(|path| FileKey::of(path) != FileKey::of(exe));
        let mut found: Vec<(Arc<Encryption>, PathBuf)> = paths
            .into_iter()
            .filter_map(|path| Some((self.at(&path)?, path)))
            .collect();
        found.extend(others.into_iter().filter_map(|path| Some((self.within(&path)?, path))));
        found
    }

    /// Those that lie where programs under `root` find them.
    pub fn usual(&mut self, root: &Path) -> Vec<(Arc<Encryption>, PathBuf)> {
        let mut found: Vec<(Arc<Encryption>, PathBuf)> = Vec::new();
        for folder in super::LIBRARIES {
            for name in USUAL {
                let path = root.join(folder.trim_start_matches('/')).join(name);
                if let Some(library) = self.at(&path)
                    && !found.iter().any(|(other, _)| *other == library)
                {
                    found.push((library, path));
                }
            }
        }
        found
    }
}

/// The probes in the file at `path`.
fn encryption(path: &Path) -> Option<Encryption> {
    let image = Image::open(path)?;
    // A program may have several within.
    let found = [
        openssl(&image, path),
        gnutls::encryption(&image, path),
        mbedtls::encryption(&image, path),
        go_tls::encryption(&image),
        rustls::encryption(&image),
    ];
    found.into_iter().flatten().reduce(|one, other| Encryption {
        points: [one.points, other.points].concat(),
        name: format!("{}, {}", one.name, other.name).into(),
        limits: [one.limits, other.limits].concat(),
    })
}

/// OpenSSL's functions in a file, and how they are watched.
struct Known {
    functions: HashMap<&'static str, u64>,
    /// More of them that move no plaintext.
    calls: Vec<u64>,
    /// What reads and writes is watched where it hands on to: functions that are not known hand on to the same.
    inner: bool,
    random: Option<(u16, u16)>,
    name: Arc<str>,
}

impl Known {
    /// As the file names them.
    fn named(image: &Image, path: &Path) -> Option<Self> {
        let mut names: Vec<&'static str> = WATCHED.iter().map(|watched| watched.name).collect();
        names.extend([FREED, CLEARED, MADE, CLIENT_RANDOM, SERVER_RANDOM]);
        // Both directions have to be there, or what is seen makes no sense.
        let functions = dynamic::named(image, &names, ["SSL_read", "SSL_write"])?;
        let random = place::random(image, functions.get(CLIENT_RANDOM), functions.get(SERVER_RANDOM));
        Some(Self {
            functions,
            calls: Vec::new(),
            inner: false,
            random,
            name: file_name(path),
        })
    }

    /// As they show where nothing names them; why they are not known, if they are there.
    fn hidden(image: &Image, path: &Path) -> Option<Result<Self, &'static str>> {
        let found = hidden::find(image)?;
        Some(found.map(|hidden| Self {
            inner: hidden.hands_on,
            functions: hidden.functions,
            calls: hidden.calls,
            random: hidden.random,
            name: format!("{} in {}", hidden.name, file_name(path)).into(),
        }))
    }
}

/// The probes in OpenSSL's functions.
fn openssl(image: &Image, path: &Path) -> Option<Encryption> {
    let known = match Known::named(image, path) {
        Some(known) => known,
        None => match Known::hidden(image, path)? {
            Ok(known) => known,
            Err(why) => {
                let name = file_name(path);
                return Some(Encryption {
                    points: Vec::new(),
                    limits: vec![format!(
                        "what the OpenSSL or BoringSSL within {name} encrypts is not seen: {why}"
                    )],
                    name,
                });
            }
        },
    };
    let mut limits = Vec::new();
    let (first, second) = known.random.unwrap_or_else(|| {
        limits.push("connections whose bytes the program moves itself cannot be told apart".to_owned());
        (0, 0)
    });
    let cookie = Cookie {
        source: SOURCE_OPENSSL,
        first,
        second,
    }
    .pack();
    let mut points: Vec<(Point, u64)> = Vec::new();
    let mut watch = |program: &'static str, address: u64| {
        let found = image.points(vec![(program, address)]);
        for point in found {
            if !points.iter().any(|(other, _)| *other == point) {
                points.push((point, cookie));
            }
        }
    };
    let calls = known
        .calls
        .iter()
        .map(|address| ("the handshake", &How::Call, *address));
    let watched = WATCHED
        .iter()
        .filter_map(|Watched { name, how }| Some((*name, how, *known.functions.get(name)?)));
    for (name, how, address) in watched.chain(calls) {
        let place = match how {
            How::Call => Place::entry(image, address).map(|at| (at, "tls_call")),
            How::File => Place::own(image, address, 4).map(|at| (at, "tls_write_file")),
            How::Moves(what, count) => {
                let place = if known.inner {
                    Place::handed(image, address, *count)
                } else {
                    Place::data(image, address, *count)
                };
                place.map(|place| (place.at, program(*what, place.count)))
            }
        };
        let (at, program) = place.unwrap_or_else(|| {
            limits.push(format!("{name} has no cheap place for a probe: each call costs more"));
            let plain = match how {
                How::Moves(what, count) => program(*what, *count),
                How::File => "tls_write_file",
                How::Call => "tls_call",
            };
            (address, plain)
        });
        // Returns first: a call whose return is not seen leaves an entry behind.
        watch("tls_done", at);
        watch(program, at);
    }
    for (name, program) in [(FREED, "tls_freed"), (CLEARED, "tls_cleared"), (MADE, "tls_made")] {
        if let Some(address) = known.functions.get(name).copied() {
            let at = if name == MADE {
                Place::entry(image, address)
            } else {
                Place::start(image, address)
            };
            watch(program, at.unwrap_or(address));
        }
    }
    let encryption = Encryption {
        points,
        name: known.name,
        limits,
    };
    Some(encryption)
}

/// The program at the start of a function that moves plaintext, whose argument `count` says where the number of bytes is written.
const fn program(what: What, count: Option<usize>) -> &'static str {
    match (what, count) {
        (What::Seen, _) => "tls_call",
        (What::Taken, Some(_)) => "tls_read",
        (What::Taken, None) => "tls_read_counted",
        (What::Given, Some(4)) => "tls_write_flags",
        (What::Given, Some(_)) => "tls_write",
        (What::Given, None) => "tls_write_counted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_libraries() {
        for (path, want) in [
            ("/usr/lib/x86_64-linux-gnu/libssl.so.3", true),
            ("/site-packages/psycopg_binary.libs/libssl-81ffa89e.so.3", true),
            ("/usr/lib/libssl3.so", true),
            ("/usr/lib/x86_64-linux-gnu/libgnutls.so.30", true),
            ("/site-packages/mbedtls.libs/libmbedtls-3fd50a6e.so.2.28.3", true),
            ("/usr/lib/libcrypto.so.3", false),
            ("/srv/libssl/app", false),
        ] {
            assert_eq!(may_encrypt(path), want, "{path}");
        }
    }

    #[test]
    fn ranges_of_mapped_files() {
        assert_eq!(without_zeros("00400000-0040b000"), "400000-40b000");
        assert_eq!(without_zeros("7f12a0000000-7f12a00b2000"), "7f12a0000000-7f12a00b2000");
        assert_eq!(without_zeros(""), "");
    }

    #[test]
    fn the_library_of_this_machine() {
        let Some(path) = ["/usr/lib/x86_64-linux-gnu/libssl.so.3", "/usr/lib64/libssl.so.3"]
            .into_iter()
            .map(Path::new)
            .find(|path| path.exists())
        else {
            eprintln!("SKIP the_library_of_this_machine: there is no libssl.so.3");
            return;
        };
        let found = encryption(path).expect("probes");
        let programs: Vec<&str> = found.points.iter().map(|(point, _)| point.program).collect();
        for wanted in [
            "tls_done",
            "tls_read",
            "tls_write",
            "tls_write_file",
            "tls_call",
            "tls_made",
            "tls_freed",
            "tls_cleared",
        ] {
            assert!(programs.contains(&wanted), "{wanted} in {programs:?}");
        }
        let cookie = Cookie::unpack(found.points.first().expect("a point").1);
        assert_ne!(cookie.first, 0, "{:?}", found.limits);
        assert!(found.limits.is_empty(), "{:?}", found.limits);
        // Another file has none of the functions.
        let own = Path::new("/proc/self/exe");
        assert!(openssl(&Image::open(own).expect("this program"), own).is_none());
    }
}
