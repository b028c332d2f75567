//! How requests begin.
use smol_str::SmolStr;

use super::wire::{Cursor, Got, Short};
use crate::protocol::Recognized;

pub(super) const PRODUCE: i16 = 0;
pub(super) const FETCH: i16 = 1;
pub(super) const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;

/// Largest frame. A broker takes requests of 100 MiB unless set otherwise, and what it sends is bounded by what was asked for.
pub(super) const MAX_FRAME: u32 = 512 << 20;
/// Largest request that is taken for evidence.
const MAX_EVIDENT: u32 = 128 << 20;
/// Highest key and version that are taken for evidence: those there are, and room for more.
const MAX_KEY: i16 = 120;
const MAX_VERSION: i16 = 24;
/// Longest client's name that is, so that it fits what recognition looks at.
const MAX_NAME: usize = 200;
/// Highest number of a request that is where the client has no name.
const MAX_NUMBER: i32 = 1 << 24;

/// What the header of a request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) key: i16,
    pub(super) version: i16,
    pub(super) correlation: i32,
    pub(super) client: SmolStr,
}

impl Head {
    /// Reads a header, without the size before it.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Got<Self> {
        let (key, version, correlation) = (cursor.i16()?, cursor.i16()?, cursor.i32()?);
        if key < 0 || version < 0 {
            return Err(Short::Wrong);
        }
        // The name has the older form in all versions.
        let length = match cursor.i16()? {
            -1 => 0,
            length => usize::try_from(length).map_err(|_| Short::Wrong)?,
        };
        let name = std::str::from_utf8(cursor.bytes(length)?).map_err(|_| Short::Wrong)?;
        Ok(Self {
            key,
            version,
            correlation,
            client: SmolStr::new(name),
        })
    }
}

/// Whether messages of this version, and their headers, are of the newer form, of those that are read.
pub(super) const fn is_flexible(key: i16, version: i16) -> bool {
    match key {
        FETCH => version >= 12,
        PRODUCE | METADATA => version >= 9,
        _ => false,
    }
}

/// Whether bytes begin with a request: its size, a key and a version there may be, and a name that is text.
pub(super) fn evidence(bytes: &[u8]) -> Recognized {
    let Some((size, rest)) = bytes.split_first_chunk::<4>() else {
        return if bytes.first().is_none_or(|first| *first <= 0x08) {
            Recognized::More
        } else {
            Recognized::No
        };
    };
    let size = u32::from_be_bytes(*size);
    if !(10..=MAX_EVIDENT).contains(&size) {
        return Recognized::No;
    }
    let number = |place: usize| Some(i16::from_be_bytes(*rest.get(place..)?.first_chunk::<2>()?));
    let Some(key) = number(0) else {
        return if rest.first().is_none_or(|first| *first == 0) {
            Recognized::More
        } else {
            Recognized::No
        };
    };
    if !(0..=MAX_KEY).contains(&key) {
        return Recognized::No;
    }
    let Some(version) = number(2) else {
        return Recognized::More;
    };
    // Frames of HTTP/2 look like the first versions, which brokers take no more.
    let least = match key {
        PRODUCE => 3,
        FETCH => 4,
        _ => 0,
    };
    if !(least..=MAX_VERSION).contains(&version) {
        return Recognized::No;
    }
    let Some(length) = number(8) else {
        return Recognized::More;
    };
    let correlation = rest.get(4..).and_then(|rest| rest.first_chunk::<4>());
    let correlation = correlation.map_or(-1, |correlation| i32::from_be_bytes(*correlation));
    match usize::try_from(length) {
        // An answer, and what ZooKeeper's clients say, look like requests of a client without a name.
        Ok(0) => is(key == API_VERSIONS && (0..MAX_NUMBER).contains(&correlation)),
        Err(_) => is(length == -1 && key == API_VERSIONS && (0..MAX_NUMBER).contains(&correlation)),
        Ok(length) if length > MAX_NAME || size < u32::try_from(length).unwrap_or(u32::MAX).saturating_add(10) => {
            Recognized::No
        }
        Ok(length) => {
            let name = rest.get(10..).unwrap_or_default();
            let name = name.get(..length).unwrap_or(name);
            if !name.iter().all(|byte| matches!(byte, 0x20..=0x7e)) {
                Recognized::No
            } else if name.len() < length {
                Recognized::More
            } else {
                Recognized::Yes
            }
        }
    }
}

const fn is(it: bool) -> Recognized {
    if it { Recognized::Yes } else { Recognized::No }
}
