//! Go's crypto/tls: where plaintext is given to it and taken from it (`ebpf/src/go_tls.rs`).
//!
//! Functions are found in the pclntab, so a program that was stripped has them too. Arguments are in the registers of Go's
//! internal calling convention, which is the same in every release line Clew knows.
use super::go::{NEWPROC, RUNQPUT, Text, table};
use super::image::Image;
use super::{Encryption, pclntab};

const READ: &str = "crypto/tls.(*Conn).Read";
const WRITE: &str = "crypto/tls.(*Conn).Write";
/// A program that only asks has no server's, and the other way round.
const HANDSHAKES: [&str; 2] = [
    "crypto/tls.(*Conn).clientHandshake",
    "crypto/tls.(*Conn).serverHandshake",
];
const MOVE: &str = "runtime.memmove";

/// The probes in a program of Go's; none if it has no crypto/tls.
pub(super) fn encryption(image: &Image) -> Option<Encryption> {
    let [client, server] = HANDSHAKES;
    let names = [NEWPROC, RUNQPUT, READ, WRITE, client, server, MOVE];
    let functions = pclntab::find(image, table(image)?, &names)?;
    functions.starts.get(READ).and(functions.starts.get(WRITE))?;
    let mut limits = Vec::new();
    let points = Text::find(image, &functions)
        .and_then(|text| points(image, &text))
        .unwrap_or_else(|| {
            limits.push("crypto/tls has another shape than Clew knows: what it encrypts is not seen".to_owned());
            Vec::new()
        });
    Some(Encryption {
        points,
        name: "crypto/tls".into(),
        limits,
    })
}

/// The probes and their numbers: those that tell that a session is new come last, when all else of it is seen.
fn points(image: &Image, text: &Text<'_>) -> Option<Vec<(super::Point, u64)>> {
    // The plaintext is copied to the program in one place.
    let [gives] = text.calls(READ, MOVE)?[..] else {
        return None;
    };
    let mut watched = vec![("go_tls_gives", gives, 0)];
    let shakes = HANDSHAKES.iter().filter(|name| text.function(name).is_some());
    let entries = [("go_tls_reads", READ), ("go_tls_writes", WRITE)]
        .into_iter()
        .chain(shakes.map(|name| ("go_tls_begins", *name)));
    for (program, name) in entries {
        let (start, size) = text.function(name)?;
        let at = text.frame_push(name)?;
        watched.push((program, at, number(at.checked_sub(start)?, size)?));
    }
    let mut all = Vec::new();
    for (program, at, number) in watched {
        let point = image.points(vec![(program, at)]).pop()?;
        all.push((point, number));
    }
    Some(all)
}

/// What a probe is told: how far behind the function's start it stands, and the function's size in the upper half.
fn number(behind: u64, size: u64) -> Option<u64> {
    let size = u32::try_from(size).ok()?;
    Some(u64::from(size) << 32 | u64::from(u32::try_from(behind).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(10, 0x200), Some(0x200_0000_000a));
        assert_eq!(number(10, 1 << 32), None);
        assert_eq!(number(1 << 32, 10), None);
    }
}
