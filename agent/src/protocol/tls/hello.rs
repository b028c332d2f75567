//! The two hellos (RFC 8446 sections 4.1.2 and 4.1.3), read as far as they were seen.
use smol_str::SmolStr;

use super::names::TLS_1_3;

/// Protocols of an ALPN list that are kept.
const MAX_PROTOCOLS: usize = 8;

/// What a client proposes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// Its random number, if it was seen.
    pub random: Option<[u8; 32]>,
    /// The server it means (SNI).
    pub server_name: Option<SmolStr>,
    /// The protocols it would speak (ALPN), the first ones.
    pub protocols: Vec<SmolStr>,
    /// It sends data before the handshake is over.
    pub early_data: bool,
    /// Which of the keys that it names are no earlier connection's, the first as the lowest bit; none if it names none or that was
    /// not seen.
    pub outside_keys: Option<u32>,
}

/// What a server chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerHello {
    /// The version by `supported_versions`, else by the legacy field.
    pub(super) version: u16,
    pub(super) cipher: u16,
    /// ALPN; since TLS 1.3 it is encrypted.
    pub(super) protocol: Option<SmolStr>,
    /// Keys are agreed on by one that the client named: its place.
    pub(super) pre_shared: Option<u16>,
    pub(super) group: Option<u16>,
    /// The client is to say hello again.
    pub(super) retry: bool,
}

/// Extensions that are read (registry "TLS ExtensionType Values").
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

/// SHA-256 of "HelloRetryRequest", which stands for the random bytes of one (RFC 8446 section 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Bytes that are taken from the front.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        let taken = self.take(bytes)?;
        Some(taken.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn short(&mut self) -> Option<u16> {
        u16::try_from(self.number(2)?).ok()
    }

    /// A vector with a length of so many bytes before it.
    fn vector(&mut self, bytes: usize) -> Option<Cursor<'a>> {
        let length = self.number(bytes)?;
        self.take(length).map(Cursor)
    }

    /// A vector of which the end may not have been seen.
    fn vector_seen(&mut self, bytes: usize) -> Option<Cursor<'a>> {
        let length = self.number(bytes)?;
        let seen = length.min(self.0.len());
        self.take(seen).map(Cursor)
    }

    /// The next extension that was seen whole.
    fn extension(&mut self) -> Option<(u16, Cursor<'a>)> {
        Some((self.short()?, self.vector(2)?))
    }
}

/// Reads the body of a ClientHello.
///
/// ```text
/// | version 2 | random 32 | session 1+n | ciphers 2+n | compressions 1+n | extensions 2+n |
/// ```
pub(super) fn client(body: &[u8]) -> ClientHello {
    let mut hello = ClientHello::default();
    let mut read = || {
        let mut body = Cursor(body);
        body.take(2)?;
        hello.random = body.take(32)?.try_into().ok();
        body.vector(1)?;
        body.vector(2)?;
        body.vector(1)?;
        let mut extensions = body.vector_seen(2)?;
        while let Some((kind, mut content)) = extensions.extension() {
            match kind {
                SERVER_NAME => hello.server_name = server_name(&mut content),
                ALPN => hello.protocols = protocols(&mut content),
                EARLY_DATA => hello.early_data = true,
                PRE_SHARED_KEY => hello.outside_keys = outside_keys(&mut content),
                _ => {}
            }
        }
        Some(())
    };
    // What is there has been taken.
    let _cut: Option<()> = read();
    hello
}

/// Reads the body of a ServerHello. None where its choice was not seen.
///
/// ```text
/// | version 2 | random 32 | session 1+n | cipher 2 | compression 1 | extensions 2+n |
/// ```
pub(super) fn server(body: &[u8]) -> Option<ServerHello> {
    let mut body = Cursor(body);
    let legacy = body.short()?;
    let retry = body.take(RETRY.len())? == RETRY;
    body.vector(1)?;
    let cipher = body.short()?;
    body.take(1)?;
    let mut hello = ServerHello {
        version: legacy,
        cipher,
        retry,
        ..ServerHello::default()
    };
    let Some(mut extensions) = body.vector_seen(2) else {
        return Some(hello);
    };
    while let Some((kind, mut content)) = extensions.extension() {
        match kind {
            SUPPORTED_VERSIONS => hello.version = content.short().unwrap_or(legacy),
            ALPN => hello.protocol = protocols(&mut content).into_iter().next(),
            PRE_SHARED_KEY => hello.pre_shared = content.short(),
            KEY_SHARE => hello.group = content.short(),
            _ => {}
        }
    }
    Some(hello)
}

impl ServerHello {
    pub(super) const fn is_1_3(&self) -> bool {
        self.version >= TLS_1_3
    }
}

impl ClientHello {
    /// Whether the key at this place is an earlier connection's, where that is known.
    pub(super) fn resumes(&self, place: u16) -> Option<bool> {
        let outside = self.outside_keys?.checked_shr(place.into())?;
        Some(outside & 1 == 0)
    }
}

/// Keys that no server gave have an age of 0 (RFC 8446 section 4.2.11); to others a random number is added.
///
/// ```text
/// | identities 2+n: | identity 2+n | age 4 | ... | binders 2+n |
/// ```
fn outside_keys(content: &mut Cursor<'_>) -> Option<u32> {
    let mut identities = content.vector(2)?;
    let mut outside = 0;
    for place in 0..u32::BITS {
        if identities.0.is_empty() {
            break;
        }
        identities.vector(2)?;
        outside |= u32::from(identities.number(4)? == 0) << place;
    }
    Some(outside)
}

/// The host name of a list of names (RFC 6066 section 3).
fn server_name(list: &mut Cursor<'_>) -> Option<SmolStr> {
    let mut names = list.vector(2)?;
    loop {
        let kind = names.number(1)?;
        let name = names.vector(2)?;
        if kind == 0 {
            return text(name.0);
        }
    }
}

/// The names of an ALPN list (RFC 7301 section 3.1).
fn protocols(list: &mut Cursor<'_>) -> Vec<SmolStr> {
    let mut names = list.vector(2).unwrap_or(Cursor(&[]));
    std::iter::from_fn(|| names.vector(1))
        .filter_map(|name| text(name.0))
        .take(MAX_PROTOCOLS)
        .collect()
}

/// Printable ASCII. What is none (GREASE, RFC 8701, among others) names nothing.
fn text(bytes: &[u8]) -> Option<SmolStr> {
    let printable = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
    printable.then(|| SmolStr::from(String::from_utf8_lossy(bytes)))
}
