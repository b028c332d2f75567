//! Messages.
//!
//! ```text
//! +-------+----------------------------------------+--------+--------+--------+------
//! | da bb | asks (1 bit) answered (1) event (1)     | status | number | length | body
//! |       | how the body is written (5)             |   1    |   8    |   4    |
//! +-------+----------------------------------------+--------+--------+--------+------
//! a call:     version of Dubbo | service | its version | procedure | types | arguments | attachments
//! an answer:  what it is (0 to 5) | value or exception | attachments
//! no answer:  what is wrong
//! ```
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::protocol::Recognized;
use crate::protocol::frames::{Format, Shape};
use crate::protocol::procedure::Fault;

const MAGIC: [u8; 2] = [0xda, 0xbb];
const ASKS: u8 = 0x80;
const ANSWERED: u8 = 0x40;
const EVENT: u8 = 0x20;
const HESSIAN: u8 = 2;
/// The status of what was done.
const OK: u8 = 20;
/// Longest body. Dubbo takes 8 MiB unless set otherwise.
const MAX_LENGTH: u32 = 256 << 20;
/// Bytes of a body that are kept.
const KEPT: usize = 1024;
/// Longest text that is told.
const MAX_TEXT: usize = 255;

/// What a head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    flags: u8,
    status: u8,
    pub(super) number: u64,
    length: u32,
}

impl Head {
    /// What the first bytes say, if they are a head.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<2>()?;
        let ([flags, status], rest) = rest.split_first_chunk::<2>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let head = Self {
            flags: *flags,
            status: *status,
            number: u64::from_be_bytes(*number),
            length: u32::from_be_bytes(*rest.first_chunk()?),
        };
        (*magic == MAGIC && head.length <= MAX_LENGTH && head.flags & 0x1f != 0).then_some(head)
    }

    pub(super) const fn asks(self) -> bool {
        self.flags & ASKS != 0
    }

    pub(super) const fn is_answered(self) -> bool {
        self.flags & ANSWERED != 0
    }

    pub(super) const fn is_event(self) -> bool {
        self.flags & EVENT != 0
    }

    /// How the body is written, as Dubbo's configuration has it.
    pub(super) const fn variant(self) -> &'static str {
        match self.flags & 0x1f {
            HESSIAN => "hessian2",
            3 => "java",
            4 => "compactedjava",
            6 => "fastjson",
            7 => "nativejava",
            8 => "kryo",
            9 => "fst",
            10 => "native-hessian",
            11 => "avro",
            12 => "protostuff",
            16 => "gson",
            21 => "protobuf-json",
            22 => "protobuf",
            23 => "fastjson2",
            25 => "kryo2",
            _ => "_OTHER",
        }
    }

    const fn is_hessian(self) -> bool {
        self.flags & 0x1f == HESSIAN
    }
}

/// Messages, one behind the other.
#[derive(Debug)]
pub(super) struct Messages;

impl Format for Messages {
    const HEAD: usize = 16;

    fn shape(head: &[u8]) -> Option<Shape> {
        Some(Shape {
            length: Head::of(head)?.length.into(),
            keep: KEPT,
        })
    }
}

/// Whether bytes begin with a call.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    let fits = |place: usize, fits: fn(u8) -> bool| bytes.get(place).is_none_or(|byte| fits(*byte));
    let may_be = fits(0, |byte| byte == 0xda)
        && fits(1, |byte| byte == 0xbb)
        && fits(2, |flags| flags & ASKS != 0 && flags & EVENT == 0 && flags & 0x1f != 0)
        && fits(3, |status| status == 0);
    if !may_be {
        return Recognized::No;
    }
    match bytes.get(..Messages::HEAD) {
        None => Recognized::More,
        Some(head) if Head::of(head).is_some_and(|head| head.length > 0) => Recognized::Yes,
        Some(_) => Recognized::No,
    }
}

/// What is called: the service and the procedure. Empty where that is not known.
pub(super) fn name(head: Head, body: &[u8]) -> SmolStr {
    let mut cursor = Cursor(body);
    let mut read = || {
        let _dubbo = cursor.text()?;
        let service = cursor.text()?;
        let _version = cursor.text()?;
        let procedure = cursor.text()?;
        Some(format_smolstr!("{service}/{procedure}"))
    };
    if head.is_hessian() {
        read().unwrap_or_default()
    } else {
        SmolStr::default()
    }
}

/// How a call failed, if it did.
pub(super) fn fault(head: Head, body: &[u8]) -> Option<Fault> {
    let body = if head.is_hessian() { body } else { &[] };
    if head.status != OK {
        return Some(Fault {
            code: Some(status(head.status)),
            message: Cursor(body).text().unwrap_or_default(),
        });
    }
    /// That an exception follows, and that with attachments, as Hessian 2 writes 0 and 3.
    const EXCEPTIONS: [u8; 2] = [0x90, 0x93];
    let (kind, rest) = body.split_first()?;
    EXCEPTIONS.contains(kind).then(|| Fault {
        code: Some(Cursor(rest).class().unwrap_or(SmolStr::new_static("_OTHER"))),
        message: SmolStr::default(),
    })
}

/// What Dubbo calls a status (`org.apache.dubbo.remoting.exchange.Response`).
fn status(number: u8) -> SmolStr {
    SmolStr::new_static(match number {
        25 => "SERIALIZATION_ERROR",
        30 => "CLIENT_TIMEOUT",
        31 => "SERVER_TIMEOUT",
        35 => "CHANNEL_INACTIVE",
        40 => "BAD_REQUEST",
        50 => "BAD_RESPONSE",
        60 => "SERVICE_NOT_FOUND",
        70 => "SERVICE_ERROR",
        80 => "SERVER_ERROR",
        90 => "CLIENT_ERROR",
        100 => "SERVER_THREADPOOL_EXHAUSTED_ERROR",
        other => return other.to_smolstr(),
    })
}

/// Reads what Hessian 2 wrote (its specification, 4).
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// A text, or nothing as an empty one. Its length counts characters of UTF-16, and each has 1 to 3 bytes.
    fn text(&mut self) -> Option<SmolStr> {
        let length = match self.byte()? {
            b'N' => 0,
            length @ 0..=0x1f => usize::from(length),
            high @ 0x30..=0x33 => usize::from(high & 3) << 8 | usize::from(self.byte()?),
            b'S' => usize::from(u16::from_be_bytes(*self.take(2)?.first_chunk()?)),
            _ => return None,
        };
        let mut end = 0_usize;
        for _ in 0..length {
            end = end.saturating_add(match self.0.get(end)? {
                0..=0x7f => 1,
                0x80..=0xdf => 2,
                0xe0.. => 3,
            });
        }
        let text = self.take(end)?;
        let text = text.get(..MAX_TEXT).unwrap_or(text);
        Some(SmolStr::from(String::from_utf8_lossy(text)))
    }

    /// The name of the class of an object, which stands before the first one.
    fn class(&mut self) -> Option<SmolStr> {
        (self.byte()? == b'C').then(|| self.text())?
    }
}
