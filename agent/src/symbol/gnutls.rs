//! GnuTLS: where plaintext is given and taken, and where a session has the random number of its ClientHello.
use std::path::Path;

use clew_common::event::SOURCE_GNUTLS;
use clew_common::tls::Cookie;
use iced_x86::{Code, Register};

use super::code::instructions;
use super::image::Image;
use super::{Encryption, alike};

const FUNCTIONS: alike::Functions = alike::Functions {
    read: "gnutls_record_recv",
    write: "gnutls_record_send",
    files: &["gnutls_record_send_file"],
    calls: &["gnutls_handshake", "gnutls_bye", "gnutls_record_uncork"],
    made_at: Some("gnutls_init"),
    cleared: &[],
    freed: "gnutls_deinit",
};
const RANDOM: &str = "gnutls_session_get_random";

/// The probes in the library at `path`; none if it has none of these functions.
pub(super) fn encryption(image: &Image, path: &Path) -> Option<Encryption> {
    let found = alike::find(image, &FUNCTIONS, &[RANDOM])?;
    let random = found
        .get(RANDOM)
        .and_then(|address| client_random(&image.code(*address, RANDOM_BYTES)?, *address));
    let cookie = Cookie {
        source: SOURCE_GNUTLS,
        first: random.unwrap_or(0),
        second: 0,
    };
    let mut encryption = FUNCTIONS.watched(image, path, &found, cookie);
    if random.is_none() {
        encryption
            .limits
            .push("connections whose bytes the program moves itself cannot be told apart".to_owned());
    }
    Some(encryption)
}

/// Bytes of the function that tells the random numbers that are looked at.
const RANDOM_BYTES: usize = 64;

/// Where a session has the random number of the ClientHello, from the function that tells of both: the server's lies behind it.
fn client_random(code: &[u8], address: u64) -> Option<u16> {
    const BYTES: u64 = 32;
    /// Instructions of the function that are looked at.
    const MOST: usize = 16;
    let mut places = instructions(code, address).take(MOST).filter_map(|instruction| {
        let (to, base) = (instruction.op0_register(), instruction.memory_base());
        match instruction.code() {
            Code::Lea_r64_m if base == Register::RDI && instruction.memory_index() == Register::None => {
                Some(instruction.memory_displacement64())
            }
            Code::Add_rm64_imm32 | Code::Add_rm64_imm8 if to == Register::RDI => Some(instruction.immediate(1)),
            _ => None,
        }
    });
    let (client, server) = (places.next()?, places.next()?);
    let apart = client.checked_add(BYTES) == Some(server);
    (apart && client != 0).then(|| u16::try_from(client).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_of_this_machine() {
        let Some(path) = [
            "/usr/lib/x86_64-linux-gnu/libgnutls.so.30",
            "/usr/lib64/libgnutls.so.30",
        ]
        .into_iter()
        .map(Path::new)
        .find(|path| path.exists()) else {
            eprintln!("SKIP the_library_of_this_machine: there is no libgnutls.so.30");
            return;
        };
        let found = encryption(&Image::open(path).expect("a library"), path).expect("probes");
        let programs: Vec<&str> = found.points.iter().map(|(point, _)| point.program).collect();
        for (program, number) in [
            ("tls_done", 6),
            ("tls_read_counted", 1),
            ("tls_write_counted", 1),
            ("tls_write_file", 1),
            ("tls_call", 4),
            ("tls_made_at", 1),
            ("tls_freed", 1),
        ] {
            let there = programs.iter().filter(|other| **other == program).count();
            assert_eq!(there, number, "{program} in {programs:?}");
        }
        let cookie = Cookie::unpack(found.points.first().expect("a point").1);
        assert_ne!(cookie.first, 0, "{:?}", found.limits);
        let own = Path::new("/proc/self/exe");
        assert!(encryption(&Image::open(own).expect("this program"), own).is_none());
    }

    #[test]
    fn random_numbers() {
        // test %rsi,%rsi; je; lea 0x50(%rdi),%rax; movl $32,8(%rsi); mov %rax,(%rsi); test %rdx,%rdx; je; add $0x70,%rdi
        let code = [
            0x48, 0x85, 0xf6, 0x74, 0x0e, 0x48, 0x8d, 0x47, 0x50, 0xc7, 0x46, 8, 0x20, 0, 0, 0, 0x48, 0x89, 6, 0x48,
            0x85, 0xd2, 0x74, 0x0e, 0x48, 0x83, 0xc7, 0x70,
        ];
        assert_eq!(client_random(&code, 0x1000), Some(0x50));
        let mut other = code;
        other[27] = 0x78;
        assert_eq!(client_random(&other, 0x1000), None, "they are not side by side");
        assert_eq!(client_random(&code[..20], 0x1000), None);
        assert_eq!(client_random(&[], 0), None);
    }
}
