//! mbedTLS: where plaintext is given and taken.
//!
//! The random number of the ClientHello lies in what the handshake alone needs, which is gone behind it.
use std::path::Path;

use clew_common::event::SOURCE_MBEDTLS;
use clew_common::tls::Cookie;

use super::image::Image;
use super::{Encryption, alike};

const FUNCTIONS: alike::Functions = alike::Functions {
    read: "mbedtls_ssl_read",
    write: "mbedtls_ssl_write",
    files: &[],
    calls: &["mbedtls_ssl_handshake", "mbedtls_ssl_close_notify"],
    made_at: None,
    // The object is the program's own, which is told what it is for anew for each session.
    cleared: &["mbedtls_ssl_setup", "mbedtls_ssl_session_reset"],
    freed: "mbedtls_ssl_free",
};

/// The probes in the library or program at `path`; none if it has none of these functions.
pub(super) fn encryption(image: &Image, path: &Path) -> Option<Encryption> {
    let found = alike::find(image, &FUNCTIONS, &[])?;
    let cookie = Cookie {
        source: SOURCE_MBEDTLS,
        first: 0,
        second: 0,
    };
    Some(FUNCTIONS.watched(image, path, &found, cookie))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_of_this_machine() {
        let folder = Path::new("/usr/lib/x86_64-linux-gnu");
        let mut paths = ["libmbedtls.so.14", "libmbedtls.so.21"]
            .map(|name| folder.join(name))
            .into_iter();
        let Some(path) = paths.find(|path| path.exists()) else {
            eprintln!("SKIP the_library_of_this_machine: there is no libmbedtls");
            return;
        };
        let found = encryption(&Image::open(&path).expect("a library"), &path).expect("probes");
        let programs: Vec<&str> = found.points.iter().map(|(point, _)| point.program).collect();
        for (program, number) in [
            ("tls_done", 4),
            ("tls_read_counted", 1),
            ("tls_write_counted", 1),
            ("tls_call", 2),
            ("tls_cleared", 2),
            ("tls_freed", 1),
        ] {
            let there = programs.iter().filter(|other| **other == program).count();
            assert_eq!(there, number, "{program} in {programs:?}");
        }
        assert!(found.limits.is_empty(), "{:?}", found.limits);
        let own = Path::new("/proc/self/exe");
        assert!(encryption(&Image::open(own).expect("this program"), own).is_none());
    }
}
