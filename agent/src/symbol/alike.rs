//! Libraries whose calls are alike to OpenSSL's, so that the same programs watch them (`ebpf/src/tls.rs`).
use std::collections::HashMap;
use std::path::Path;

use clew_common::tls::Cookie;

use super::image::Image;
use super::openssl::Place;
use super::{Encryption, Point, dynamic, file_name};

/// The names of a library's functions.
pub(super) struct Functions {
    /// `int f(session, buffer, size)` that takes plaintext and returns how much.
    pub(super) read: &'static str,
    /// `int f(session, buffer, size)` that gives plaintext and returns how much was taken.
    pub(super) write: &'static str,
    /// `ssize_t f(session, int file, off_t *start, size_t size)` that send what is in a file and return how much.
    pub(super) files: &'static [&'static str],
    /// `f(session, ...)` that use the connection and move no plaintext, or what was given before.
    pub(super) calls: &'static [&'static str],
    /// `int f(session *, ...)` that makes a session object and says where.
    pub(super) made_at: Option<&'static str>,
    /// `f(session, ...)` that make a session object new in its place.
    pub(super) cleared: &'static [&'static str],
    /// `f(session)` that ends a session object.
    pub(super) freed: &'static str,
}

/// The functions that a file has, and `others`; none where it lacks those that move plaintext: both directions have to be there,
/// or what is seen makes no sense.
pub(super) fn find(
    image: &Image,
    functions: &Functions,
    others: &[&'static str],
) -> Option<HashMap<&'static str, u64>> {
    let mut names = vec![functions.read, functions.write, functions.freed];
    names.extend(functions.files);
    names.extend(functions.calls);
    names.extend(functions.made_at);
    names.extend(functions.cleared);
    names.extend(others);
    dynamic::named(image, &names, [functions.read, functions.write])
}

impl Functions {
    /// The probes in the functions that were found.
    pub(super) fn watched(
        &self,
        image: &Image,
        path: &Path,
        found: &HashMap<&'static str, u64>,
        cookie: Cookie,
    ) -> Encryption {
        let mut limits = Vec::new();
        let mut points: Vec<(Point, u64)> = Vec::new();
        let mut watch = |program: &'static str, address: u64| {
            let found = image.points(vec![(program, address)]);
            points.extend(found.into_iter().map(|point| (point, cookie.pack())));
        };
        let known = |name: &'static str| Some((name, *found.get(name)?));
        if let Some((_, address)) = known(self.freed) {
            watch("tls_freed", Place::start(image, address).unwrap_or(address));
        }
        let calls = self.calls.iter().map(|&name| (name, "tls_call", "tls_done"));
        let watched = [
            (self.read, "tls_read_counted", "tls_done"),
            (self.write, "tls_write_counted", "tls_done"),
        ]
        .into_iter()
        .chain(self.files.iter().map(|&name| (name, "tls_write_file", "tls_done")))
        .chain(calls)
        // A session that is seen being made has to be seen from then on.
        .chain(self.made_at.map(|name| (name, "tls_call", "tls_made_at")));
        for (name, begins, ends) in watched {
            let Some((_, address)) = known(name) else { continue };
            let place = match begins {
                "tls_call" => Place::entry(image, address),
                "tls_write_file" => Place::own(image, address, 4),
                _ => Place::own(image, address, 3),
            };
            let at = place.unwrap_or_else(|| {
                limits.push(format!("{name} has no cheap place for a probe: each call costs more"));
                address
            });
            // Returns first: a call whose return is not seen leaves an entry behind.
            watch(ends, at);
            watch(begins, at);
        }
        for (_, address) in self.cleared.iter().filter_map(|&name| known(name)) {
            watch("tls_cleared", Place::start(image, address).unwrap_or(address));
        }
        Encryption {
            points,
            name: file_name(path),
            limits,
        }
    }
}
