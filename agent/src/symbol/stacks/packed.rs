//! A table of symbols that is packed into its file: an ELF file of its own within the section `.gnu_debugdata`, compressed by xz.
use std::io::{Cursor, Read as _};
use std::num::NonZeroUsize;

use xz4rust::{XzDecoder, XzReader};

use super::section::Held;
use crate::symbol::image::Image;

/// Most bytes of it, packed and not; distributions' largest have a few megabytes.
const MOST_PACKED: u64 = 16 << 20;
const MOST_BYTES: u64 = 64 << 20;
/// Most bytes that unpacking looks back over: the program says how many it takes, and xz's highest level takes so many.
const MOST_WINDOW: usize = 64 << 20;
/// Bytes that are read at once.
const PIECE: NonZeroUsize = NonZeroUsize::new(16 << 10).expect("it is not zero");

/// The file within.
pub(super) struct Packed {
    image: Image,
    bytes: u64,
    held: Held,
}

impl Packed {
    /// That of a file; none if it has none, or one that is larger than is worth it.
    pub(super) fn open(image: &Image, held: &Held) -> Option<Self> {
        let span = image
            .section(&[".gnu_debugdata"])
            .filter(|span| span.size <= MOST_PACKED)?;
        let packed = image.bytes(span.offset, usize::try_from(span.size).ok()?)?;
        let bytes = unpacked(packed)?;
        let size = bytes.len() as u64;
        let image = Image::of(bytes, image.key())?;
        held.set(held.get().saturating_add(size));
        Some(Self {
            image,
            bytes: size,
            held: Held::clone(held),
        })
    }

    pub(super) const fn image(&self) -> &Image {
        &self.image
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        self.held.set(self.held.get().saturating_sub(self.bytes));
    }
}

fn unpacked(packed: Vec<u8>) -> Option<Vec<u8>> {
    let decoder = XzDecoder::in_heap_with_alloc_dict_size(1 << 16, MOST_WINDOW);
    let reader = XzReader::new_with_buffer_size_and_decoder(Cursor::new(packed), PIECE, decoder);
    let mut bytes = Vec::new();
    let read = reader.take(MOST_BYTES + 1).read_to_end(&mut bytes).ok()?;
    (read as u64 <= MOST_BYTES).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'a function' | xz`.
    const PACKED: &[u8] = &[
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46, 0x02, 0x00, 0x21, 0x01, 0x16, 0x00,
        0x00, 0x00, 0x74, 0x2f, 0xe5, 0xa3, 0x01, 0x00, 0x09, 0x61, 0x20, 0x66, 0x75, 0x6e, 0x63, 0x74, 0x69, 0x6f,
        0x6e, 0x00, 0x00, 0x00, 0x90, 0x4d, 0x9e, 0x52, 0x2f, 0x83, 0xd1, 0x91, 0x00, 0x01, 0x22, 0x0a, 0x15, 0x1a,
        0xe1, 0x67, 0x1f, 0xb6, 0xf3, 0x7d, 0x01, 0x00, 0x00, 0x00, 0x00, 0x04, 0x59, 0x5a,
    ];

    #[test]
    fn unpacking() {
        assert_eq!(unpacked(PACKED.to_vec()).as_deref(), Some(&b"a function"[..]));
        for cut in 0..PACKED.len() {
            assert_eq!(unpacked(PACKED[..cut].to_vec()), None, "{cut} bytes of it");
        }
        for place in 0..PACKED.len() {
            let mut changed = PACKED.to_vec();
            changed[place] ^= 0x11;
            assert_eq!(unpacked(changed), None, "byte {place}");
        }
    }
}
