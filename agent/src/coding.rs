//! What a coding has compressed, up to a bound.
//!
//! What was cut, or is wrong from some place on, gives what stands before that. None asks for more memory than its window, which is at most
//! 16 MiB.
#![forbid(unsafe_code)]
use std::io::Read;

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Largest window of Zstandard, bytes: what a decoder has to take of a body (RFC 9659 section 3).
const MAX_WINDOW: u64 = 8 << 20;
/// Bytes that Brotli's decoder reads at once.
const BUFFER: usize = 4096;

/// At most the first `most` bytes of what gzip (RFC 1952) made `bytes` of.
pub fn gzip(bytes: &[u8], most: usize) -> Vec<u8> {
    read(MultiGzDecoder::new(bytes), most)
}

/// The same of zlib's format (RFC 1950), which HTTP calls `deflate`.
pub fn zlib(bytes: &[u8], most: usize) -> Vec<u8> {
    read(ZlibDecoder::new(bytes), most)
}

/// The same of Brotli (RFC 7932).
pub fn brotli(bytes: &[u8], most: usize) -> Vec<u8> {
    read(brotli_decompressor::Decompressor::new(bytes, BUFFER), most)
}

fn read(decoder: impl Read, most: usize) -> Vec<u8> {
    let mut plain = Vec::new();
    let _cut = decoder.take(most as u64).read_to_end(&mut plain);
    plain
}

/// The same of Zstandard (RFC 8878), without dictionaries.
pub fn zstandard(mut bytes: &[u8], most: usize) -> Vec<u8> {
    /// A block that is the last one and empty, and a checksum, which nobody looks at.
    const END: &[u8] = &[1, 0, 0, 0, 0, 0, 0];
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(MAX_WINDOW);
    let mut plain = Vec::new();
    while plain.len() < most && decoder.reset(&mut bytes).is_ok() {
        let some = BlockDecodingStrategy::UptoBytes(most.saturating_sub(plain.len()));
        let is_whole = matches!(decoder.decode_blocks(&mut bytes, some), Ok(true));
        if !is_whole {
            // The decoder keeps a window's worth to itself until a frame ends.
            let _ended = decoder.decode_blocks(END, BlockDecodingStrategy::All);
        }
        plain.extend(decoder.collect().unwrap_or_default());
        if !is_whole {
            break;
        }
    }
    plain.truncate(most);
    plain
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    /// Lines that are alike but for their number.
    fn text(bytes: usize) -> Vec<u8> {
        let lines = (0..).flat_map(|n: u64| format!("{{\"lantern\":{n},\"hue\":{}}}\n", n * n % 97).into_bytes());
        lines.take(bytes).collect()
    }

    /// `coded` gives `plain`; a part of it what that begins with, and no more than is asked for.
    #[track_caller]
    fn check(decode: fn(&[u8], usize) -> Vec<u8>, coded: &[u8], plain: &[u8]) {
        assert!(decode(coded, usize::MAX / 2) == plain);
        assert!(decode(coded, 100) == plain[..100]);
        for end in (0..coded.len()).step_by(coded.len() / 23 + 1) {
            let part = decode(&coded[..end], plain.len());
            assert!(plain.starts_with(&part), "the first {end} bytes");
        }
        let half = decode(&coded[..coded.len() - 1], plain.len());
        assert!(half.len() > plain.len() / 2, "{} of {} bytes", half.len(), plain.len());
        assert_eq!(decode(b"{\"no\":1}", 100), b"");
    }

    #[test]
    fn codings() {
        /// The first 900 bytes of it, coded by Node.js 20.
        const BROTLI: &str = "G4MDIBwHdnPOhxlInq2yFbLZSmlO7LyA1k3BOZb6cjMIhmM4fynoUEQ3oMFX+OxWIUwhzAqYgo0xJBzX1c8/Rj1v+T7y5vsLsAN30378RpXJ6F\
            TN9NlZu7m48PJApx90wvBQDPlu8iGgUZq42JDcnLf4AoSIMK4UNsdBwtI4m8izD4t7Nyy94EDsYsQUJMeeRKGhmAUA";
        let plain = text(700_000);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&plain).expect("memory");
        check(gzip, &gz.finish().expect("memory"), &plain);
        let mut z = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        z.write_all(&plain).expect("memory");
        check(zlib, &z.finish().expect("memory"), &plain);
        let br = STANDARD.decode(BROTLI).expect("base64");
        check(brotli, &br, &plain[..900]);
        check(zstandard, &compress_to_vec(&*plain, CompressionLevel::Fastest), &plain);
    }

    /// One frame behind another is one body.
    #[test]
    fn frames_of_zstandard() {
        let coded = [&b"one "[..], b"two"].map(|part| compress_to_vec(part, CompressionLevel::Fastest));
        assert_eq!(zstandard(&coded.concat(), 100), b"one two");
    }

    /// A block that repeats one byte (RFC 8878 section 3.1.1.2.2), again and again: nothing is made that is not asked for.
    #[test]
    fn bombs() {
        const BLOCK: usize = 128 << 10;
        let frame = |window: u8| {
            [
                &[0x28, 0xb5, 0x2f, 0xfd, 0x00, window][..],
                &[0x02, 0x00, 0x10, b'a'].repeat(100_000),
            ]
            .concat()
        };
        // A window of 8 MiB, and of 16.
        assert_eq!(zstandard(&frame(13 << 3), 3 * BLOCK + 1), b"a".repeat(3 * BLOCK + 1));
        assert_eq!(zstandard(&frame(14 << 3), BLOCK), b"");
    }
}
