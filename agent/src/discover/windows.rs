//! Reading executables that others may change meanwhile.
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;

/// A file read in windows with pread(2): one that shrinks meanwhile gives an error, where a memory map would kill the
/// agent. What a malformed file can make it hold is bounded.
#[derive(Debug)]
pub(crate) struct Windows {
    file: File,
    length: u64,
    at: u64,
    left: u64,
}

impl Windows {
    /// Reads `file`, at most `most_bytes` of it altogether; none if it is no regular file.
    pub(crate) fn new(file: File, most_bytes: u64) -> Option<Self> {
        let meta = file.metadata().ok()?;
        meta.is_file().then(|| Self {
            length: meta.len(),
            file,
            at: 0,
            left: most_bytes,
        })
    }
}

impl Read for Windows {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len() as u64;
        if wanted > self.left {
            return Err(io::Error::other("more of the file is wanted than is worth it"));
        }
        let read = self.file.read_at(buffer, self.at)?;
        self.at = self.at.saturating_add(read as u64);
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}

impl Seek for Windows {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
