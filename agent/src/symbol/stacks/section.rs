//! A section of a file as it is read: a page at a time, when something in it is asked for. A program's tables may be hundreds of
//! megabytes, of which a stack needs little.
use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::fmt;
use std::io::Read as _;
use std::rc::Rc;

use gimli::{Error, LittleEndian, Reader, ReaderOffsetId, Result};

use crate::symbol::image::Image;

/// Bytes that are read at once.
const PAGE: usize = 16 << 10;
/// Most bytes that are held of all sections; beyond, nothing more is read.
const MOST_BYTES: u64 = 256 << 20;
/// Longest text.
const LONGEST: usize = 64 << 10;
/// Longest section.
const MOST_LENGTH: u64 = 8 << 30;

/// Bytes that are held of sections.
pub(super) type Held = Rc<Cell<u64>>;

/// A part of a section.
#[derive(Clone)]
pub(super) struct Section {
    pages: Rc<Pages>,
    start: usize,
    length: usize,
}

struct Pages {
    image: Rc<Image>,
    /// Offset of the section in the file.
    offset: u64,
    pages: Vec<OnceCell<Vec<u8>>>,
    held: Held,
}

impl Drop for Pages {
    fn drop(&mut self) {
        let own: usize = self.pages.iter().filter_map(OnceCell::get).map(Vec::len).sum();
        self.held.set(self.held.get().saturating_sub(own as u64));
    }
}

impl Pages {
    fn page(&self, index: usize) -> Result<&[u8]> {
        let page = self.pages.get(index).ok_or(Error::Io)?;
        if let Some(bytes) = page.get() {
            return Ok(bytes);
        }
        let held = self.held.get().saturating_add(PAGE as u64);
        if held > MOST_BYTES {
            return Err(Error::Io);
        }
        let offset = self.offset.checked_add(index as u64 * PAGE as u64).ok_or(Error::Io)?;
        let bytes = self.image.bytes(offset, PAGE).ok_or(Error::Io)?;
        self.held.set(self.held.get().saturating_add(bytes.len() as u64));
        Ok(page.get_or_init(|| bytes))
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {}", self.length, self.start)
    }
}

impl Section {
    /// The section of that name; an empty one where the file has none.
    pub(super) fn open(image: &Rc<Image>, name: &str, held: &Held) -> Self {
        if let Some(bytes) = inflated(image, name, held) {
            return Self::held(image, &bytes, held);
        }
        let span = image.section(&[name]).filter(|span| span.size <= MOST_LENGTH);
        let (offset, length) = span.map_or((0, 0), |span| (span.offset, span.size));
        let length = usize::try_from(length).unwrap_or(0);
        let pages = Pages {
            image: Rc::clone(image),
            offset,
            pages: vec![OnceCell::new(); length.div_ceil(PAGE)],
            held: Rc::clone(held),
        };
        Self {
            pages: Rc::new(pages),
            start: 0,
            length,
        }
    }

    /// One whose bytes are there.
    fn held(image: &Rc<Image>, bytes: &[u8], held: &Held) -> Self {
        held.set(held.get().saturating_add(bytes.len() as u64));
        let pages = bytes.chunks(PAGE).map(|page| OnceCell::from(page.to_vec()));
        let pages = Pages {
            image: Rc::clone(image),
            offset: 0,
            pages: pages.collect(),
            held: Rc::clone(held),
        };
        Self {
            pages: Rc::new(pages),
            start: 0,
            length: bytes.len(),
        }
    }

    /// As much as lies in one page from `at` on, which is within.
    fn piece(&self, at: usize) -> Result<&[u8]> {
        let place = self.start + at;
        let page = self.pages.page(place / PAGE)?;
        let left = page.get(place % PAGE..).filter(|left| !left.is_empty());
        let left = left.ok_or(Error::UnexpectedEof(self.id(at)))?;
        Ok(left.get(..self.length - at).unwrap_or(left))
    }

    fn id(&self, at: usize) -> ReaderOffsetId {
        ReaderOffsetId((self.start + at) as u64)
    }
}

/// What a compressed section says; none if it is not one, or larger than is worth it.
///
/// ```text
/// 0 kind, 1 for zlib | 8 size | 16 alignment | 24 the bytes
/// ```
///
/// ELF-64 Object File Format, `Elf64_Chdr`.
fn inflated(image: &Image, name: &str, held: &Held) -> Option<Vec<u8>> {
    const ZLIB: u32 = 1;
    const MOST: u64 = 128 << 20;
    let span = image.compressed(name)?;
    let bytes = image.bytes(span.offset, usize::try_from(span.size.min(MOST)).ok()?)?;
    let (head, bytes) = bytes.split_at_checked(24)?;
    let size = u64::from_le_bytes(*head.get(8..)?.first_chunk()?);
    let fits = size <= MOST && held.get().saturating_add(size) <= MOST_BYTES;
    if !fits || u32::from_le_bytes(*head.first_chunk()?) != ZLIB {
        return None;
    }
    let mut inflated = Vec::new();
    let mut decoder = flate2::read::ZlibDecoder::new(bytes).take(size);
    decoder.read_to_end(&mut inflated).ok()?;
    Some(inflated)
}

impl Reader for Section {
    type Endian = LittleEndian;
    type Offset = usize;

    fn endian(&self) -> LittleEndian {
        LittleEndian
    }

    fn len(&self) -> usize {
        self.length
    }

    fn empty(&mut self) {
        self.length = 0;
    }

    fn truncate(&mut self, length: usize) -> Result<()> {
        if length > self.length {
            return Err(Error::UnexpectedEof(self.id(0)));
        }
        self.length = length;
        Ok(())
    }

    fn offset_from(&self, base: &Self) -> usize {
        self.start.saturating_sub(base.start)
    }

    fn offset_id(&self) -> ReaderOffsetId {
        self.id(0)
    }

    fn lookup_offset_id(&self, id: ReaderOffsetId) -> Option<usize> {
        let offset = usize::try_from(id.0).ok()?.checked_sub(self.start)?;
        (offset <= self.length).then_some(offset)
    }

    fn find(&self, byte: u8) -> Result<usize> {
        let mut at = 0;
        while at < self.length.min(LONGEST) {
            let piece = self.piece(at)?;
            if let Some(found) = memchr::memchr(byte, piece) {
                return Ok(at + found);
            }
            at += piece.len();
        }
        Err(Error::UnexpectedEof(self.id(0)))
    }

    fn skip(&mut self, length: usize) -> Result<()> {
        if length > self.length {
            return Err(Error::UnexpectedEof(self.id(0)));
        }
        self.start += length;
        self.length -= length;
        Ok(())
    }

    fn split(&mut self, length: usize) -> Result<Self> {
        let mut first = self.clone();
        first.truncate(length)?;
        self.skip(length)?;
        Ok(first)
    }

    fn to_slice(&self) -> Result<Cow<'_, [u8]>> {
        if self.length > LONGEST {
            return Err(Error::UnexpectedEof(self.id(0)));
        }
        if self.length == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        let first = self.piece(0)?;
        if first.len() == self.length {
            return Ok(Cow::Borrowed(first));
        }
        let mut bytes = vec![0; self.length];
        self.clone().read_slice(&mut bytes)?;
        Ok(Cow::Owned(bytes))
    }

    fn to_string(&self) -> Result<Cow<'_, str>> {
        match self.to_slice()? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed),
            Cow::Owned(bytes) => {
                return String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Error::BadUtf8);
            }
        }
        .map_err(|_| Error::BadUtf8)
    }

    fn to_string_lossy(&self) -> Result<Cow<'_, str>> {
        Ok(match self.to_slice()? {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        })
    }

    fn read_slice(&mut self, bytes: &mut [u8]) -> Result<()> {
        if bytes.len() > self.length {
            return Err(Error::UnexpectedEof(self.id(0)));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = self.piece(0)?;
            let size = piece.len().min(rest.len());
            let (now, later) = rest.split_at_mut(size);
            now.copy_from_slice(piece.get(..size).unwrap_or_default());
            rest = later;
            self.skip(size)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn sections_are_read_across_pages() {
        let image = Rc::new(Image::open(Path::new("/proc/self/exe")).expect("this test"));
        let span = image.section(&[".eh_frame"]).expect("a table");
        let whole = image
            .bytes(span.offset, usize::try_from(span.size).expect("a size"))
            .expect("its bytes");
        assert!(whole.len() > 3 * PAGE);
        let held = Held::default();
        let section = Section::open(&image, ".eh_frame", &held);
        assert_eq!((section.len(), held.get()), (whole.len(), 0));
        for (start, size) in [(0, 8), (PAGE - 3, 9), (PAGE - 1, 2 * PAGE + 2), (whole.len() - 4, 4)] {
            let mut part = section.clone();
            part.skip(start).expect("it is there");
            let mut bytes = vec![0; size];
            part.read_slice(&mut bytes).expect("so many");
            assert_eq!(bytes, &whole[start..start + size]);
            assert_eq!(part.offset_from(&section), start + size);
        }
        let mut end = section.clone();
        end.skip(whole.len() - 4).expect("it is there");
        assert!(end.read_u64().is_err() && end.read_u32().is_ok() && end.is_empty());
        assert_eq!(
            held.get(),
            5 * PAGE as u64,
            "the pages that were read, the last one whole"
        );
        drop((section, end));
        assert_eq!(held.get(), 0);
        assert_eq!(Section::open(&image, ".no such", &held).len(), 0);
    }
}
