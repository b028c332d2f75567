//! An ELF file: its sections, and where an address lies in the file.
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Cursor, Read, Seek};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use object::elf::{PF_X, PT_LOAD, PT_TLS, SHF_COMPRESSED};
use object::read::ReadCache;
use object::read::elf::{ElfFile64, ProgramHeader as _};
use object::{Object as _, ObjectSection as _, SectionFlags};

use super::Point;
use crate::discover::Windows;

/// Most bytes read through the ELF reader: headers and names of sections.
const HEADER_BYTES: u64 = 32 << 20;
/// Longest name of a section; those that are looked for are shorter.
const LONGEST_NAME: usize = 64;

/// A file, however it is named: device, inode number, time of its last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileKey {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl FileKey {
    /// The code that the kernel puts into every process (vdso(7)): no file has device zero and no number.
    pub(super) const VDSO: Self = Self {
        device: 0,
        inode: 0,
        changed: (0, 0),
    };

    /// The file that a path leads to.
    pub(super) fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|meta| Self::from(&meta))
    }
}

impl From<&Metadata> for FileKey {
    fn from(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            changed: (meta.mtime(), meta.mtime_nsec()),
        }
    }
}

/// An executable or library.
#[derive(Debug)]
pub(super) struct Image {
    source: Source,
    /// Bytes it had when it was opened.
    length: u64,
    key: FileKey,
    segments: Vec<Segment>,
    sections: Vec<(String, Span)>,
    compressed: Vec<(String, Span)>,
    /// Size of the thread-local storage, bytes.
    pub(super) tls_bytes: u64,
}

#[derive(Debug)]
enum Source {
    File(File),
    Bytes(Vec<u8>),
}

/// Bytes of the file and the address they are loaded at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Address, as the file counts.
    pub(super) address: u64,
    /// Offset in the file.
    pub(super) offset: u64,
    /// Size, bytes.
    pub(super) size: u64,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    span: Span,
    code: bool,
}

impl Source {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read_at(into, offset),
            Self::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                bytes.get(start..).unwrap_or_default().read(into)
            }
        }
    }
}

impl Image {
    /// Opens a file; none if it cannot be read or is no 64-bit ELF file.
    pub(super) fn open(path: &Path) -> Option<Self> {
        // What a process says it has mapped may be a pipe by now, for whose writer nobody waits.
        let mut how = OpenOptions::new();
        let file = how.read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
        let meta = file.metadata().ok()?;
        let key = FileKey::from(&meta);
        let windows = Windows::new(file.try_clone().ok()?, HEADER_BYTES)?;
        Self::parse(windows, (Source::File(file), meta.len(), key))
    }

    /// One that lies in memory.
    pub(super) fn of(bytes: Vec<u8>, key: FileKey) -> Option<Self> {
        let length = bytes.len() as u64;
        let reader = Cursor::new(bytes.clone());
        Self::parse(reader, (Source::Bytes(bytes), length, key))
    }

    fn parse(reader: impl Read + Seek, (source, length, key): (Source, u64, FileKey)) -> Option<Self> {
        let cache = ReadCache::new(reader);
        let elf = ElfFile64::<object::Endianness, _>::parse(&cache).ok()?;
        let endian = elf.endian();
        let mut segments = Vec::new();
        let mut tls_bytes = 0;
        for header in elf.elf_program_headers() {
            let span = Span {
                address: header.p_vaddr(endian),
                offset: header.p_offset(endian),
                size: header.p_filesz(endian),
            };
            match header.p_type(endian) {
                PT_LOAD => segments.push(Segment {
                    span,
                    code: header.p_flags(endian) & PF_X != 0,
                }),
                PT_TLS => tls_bytes = header.p_memsz(endian),
                _ => {}
            }
        }
        let (mut sections, mut compressed) = (Vec::new(), Vec::new());
        for section in elf.sections() {
            let Some((offset, size)) = section.file_range() else {
                continue;
            };
            let address = section.address();
            let name = section.name_bytes().ok().filter(|name| name.len() <= LONGEST_NAME);
            let Some(name) = name.and_then(|name| std::str::from_utf8(name).ok()) else {
                continue;
            };
            let named = (name.to_owned(), Span { address, offset, size });
            let is_compressed =
                matches!(section.flags(), SectionFlags::Elf { sh_flags } if sh_flags & u64::from(SHF_COMPRESSED) != 0);
            if is_compressed {
                compressed.push(named);
            } else {
                sections.push(named);
            }
        }
        Some(Self {
            source,
            length,
            key,
            segments,
            sections,
            compressed,
            tls_bytes,
        })
    }

    /// Which file it is.
    pub(super) const fn key(&self) -> FileKey {
        self.key
    }

    /// The first section of one of these names.
    pub(super) fn section(&self, names: &[&str]) -> Option<Span> {
        names.iter().find_map(|name| {
            self.sections
                .iter()
                .find(|(other, _)| other == name)
                .map(|(_, span)| *span)
        })
    }

    /// The section of that name, if it is compressed; [`section`](Self::section) gives none then.
    pub(super) fn compressed(&self, name: &str) -> Option<Span> {
        let found = self.compressed.iter().find(|(other, _)| other == name);
        found.map(|(_, span)| *span)
    }

    /// Up to `most` bytes at `offset` of the file.
    pub(super) fn bytes(&self, offset: u64, most: usize) -> Option<Vec<u8>> {
        // A size that a file claims says nothing of the file's.
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; most.min(left)];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.source.read_at(rest, offset.checked_add(filled as u64)?) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        bytes.truncate(filled);
        Some(bytes)
    }

    /// The text stands somewhere in `span`.
    pub(super) fn holds(&self, span: Span, text: &[u8]) -> bool {
        const WINDOW: usize = 1 << 20;
        let mut start = 0;
        while start < span.size {
            let window = span.offset.checked_add(start).and_then(|at| self.bytes(at, WINDOW));
            let Some(bytes) = window else { return false };
            if memchr::memmem::find(&bytes, text).is_some() {
                return true;
            }
            if bytes.len() < WINDOW {
                return false;
            }
            // Windows overlap, so that the text is not cut.
            start += (WINDOW - text.len().min(WINDOW / 2)) as u64;
        }
        false
    }

    /// Where the text stands in `span`, by address, at most `most` places.
    pub(super) fn places(&self, span: Span, text: &[u8], most: usize) -> Vec<u64> {
        const WINDOW: usize = 1 << 20;
        let finder = memchr::memmem::Finder::new(text);
        let mut found = Vec::new();
        let mut start = 0;
        while start < span.size && found.len() < most {
            let Some(mut bytes) = span.offset.checked_add(start).and_then(|at| self.bytes(at, WINDOW)) else {
                break;
            };
            bytes.truncate(usize::try_from(span.size - start).unwrap_or(usize::MAX));
            let base = span.address.wrapping_add(start);
            found.extend(finder.find_iter(&bytes).map(|place| base.wrapping_add(place as u64)));
            if bytes.len() < WINDOW {
                break;
            }
            // Windows overlap, so that the text is not cut; none is found twice.
            start += (WINDOW - (text.len() - 1).min(WINDOW / 2)) as u64;
        }
        found.truncate(most);
        found
    }

    /// It is loaded at the addresses it names itself.
    pub(super) fn is_fixed(&self) -> bool {
        self.segments.iter().all(|segment| segment.span.address != 0)
    }

    /// Up to `most` bytes of code at `address`.
    pub(super) fn code(&self, address: u64, most: usize) -> Option<Vec<u8>> {
        self.bytes(self.code_offset(address)?, most)
    }

    /// What is loaded at `address` begins with `text`.
    pub(super) fn begins(&self, address: u64, text: &[u8]) -> bool {
        self.data(address, text.len()).is_some_and(|bytes| bytes == text)
    }

    /// Up to `most` bytes of the file that are loaded at `address`.
    pub(super) fn data(&self, address: u64, most: usize) -> Option<Vec<u8>> {
        let offset = self.segments.iter().find_map(|segment| {
            let within = address.checked_sub(segment.span.address)?;
            (within < segment.span.size).then(|| segment.span.offset.checked_add(within))?
        })?;
        self.bytes(offset, most).filter(|bytes| bytes.len() == most)
    }

    /// The address at which the file's byte at `offset` is loaded.
    pub(super) fn address_of(&self, offset: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            // Segments begin within a page that is loaded whole.
            let start = segment.span.offset & !0xfff;
            let within = offset.checked_sub(start)?;
            let size = segment.span.size.checked_add(segment.span.offset - start)?;
            (within < size).then(|| (segment.span.address & !0xfff).checked_add(within))?
        })
    }

    /// Programs and the addresses they watch, as points of this file; an address without code is left out.
    pub(super) fn points(&self, watched: Vec<(&'static str, u64)>) -> Vec<Point> {
        let points = watched.into_iter().filter_map(|(program, address)| {
            Some(Point {
                program,
                file: self.key,
                offset: self.code_offset(address)?,
            })
        });
        points.collect()
    }

    /// Where the instruction at `address` lies in the file.
    pub(super) fn code_offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().filter(|segment| segment.code).find_map(|segment| {
            let within = address.checked_sub(segment.span.address)?;
            (within < segment.span.size).then(|| segment.span.offset.checked_add(within))?
        })
    }
}
