//! Which files are logs, by what they are called.

/// The file is no log.
pub const NO_LOG: u32 = 0;
/// It is one if it is appended to: databases call files so, too, but write them as they like.
pub const LOG_IF_APPENDED: u32 = 1;
/// It is one however it is written: who rotates logs within a program need not append to the next one.
pub const ANY_LOG: u32 = 2;

/// What a file is called, or the end of it, as far as it was read. One that was rotated has numbers behind what it is called; the segments
/// of write-ahead logs are called `.log` with nothing but a number before.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The last four letters.
    last: u32,
    /// How many letters are no digits.
    others: u32,
    /// `log` stands anywhere in it.
    holds: u32,
    /// What it is by how it ends.
    ends: u32,
}

impl Name {
    /// Nothing was read.
    pub const EMPTY: Self = Self {
        last: 0,
        others: 0,
        holds: 0,
        ends: NO_LOG,
    };

    /// The next letter.
    #[inline(always)]
    pub const fn read(&mut self, letter: u8) {
        const LOG: u32 = u32::from_be_bytes(*b"\0log");
        const DOT_LOG: u32 = u32::from_be_bytes(*b".log");
        const DOT_OUT: u32 = u32::from_be_bytes(*b".out");
        const DOT_ERR: u32 = u32::from_be_bytes(*b".err");
        const DOT_TXT: u32 = u32::from_be_bytes(*b".txt");
        let last = self.last << 8 | letter.to_ascii_lowercase() as u32;
        let is_digit = letter.is_ascii_digit();
        self.last = last;
        if !is_digit {
            self.others += 1;
        }
        if last & 0xff_ffff == LOG {
            self.holds = 1;
        }
        if last == DOT_LOG && self.others > 4 {
            self.ends = ANY_LOG;
        } else if last == DOT_OUT || last == DOT_ERR || last == DOT_TXT {
            self.ends = LOG_IF_APPENDED;
        } else if !is_digit && letter != b'.' && letter != b'-' {
            self.ends = NO_LOG;
        }
    }

    /// What the file is whose name this is.
    #[inline(always)]
    pub const fn is(&self) -> u32 {
        if self.ends == NO_LOG { self.holds } else { self.ends }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, want) in [
            ("shop.log", ANY_LOG),
            ("SHOP.LOG", ANY_LOG),
            ("shop.log.1", ANY_LOG),
            ("shop-2026-11-30T10-00-00.000.log", ANY_LOG),
            ("2026-11-30.log", ANY_LOG),
            ("shop.log-20261130", ANY_LOG),
            ("shop.log.old", LOG_IF_APPENDED),
            ("Access_Log.1", LOG_IF_APPENDED),
            ("catalina.out", LOG_IF_APPENDED),
            ("catalina.out.1", LOG_IF_APPENDED),
            ("shop.err-20261130", LOG_IF_APPENDED),
            ("notes.txt", LOG_IF_APPENDED),
            // Segments of RocksDB and of Kafka.
            ("000012.log", LOG_IF_APPENDED),
            ("00000000000000000000.log", LOG_IF_APPENDED),
            ("ib_logfile0", LOG_IF_APPENDED),
            (".log", LOG_IF_APPENDED),
            ("appendonly.aof", NO_LOG),
            ("data-out.db", NO_LOG),
            ("data.out.db", NO_LOG),
            ("out", NO_LOG),
            ("wal.000012", NO_LOG),
            ("", NO_LOG),
        ] {
            let mut name = Name::EMPTY;
            text.bytes().for_each(|letter| name.read(letter));
            assert_eq!(name.is(), want, "{text}");
        }
    }
}
