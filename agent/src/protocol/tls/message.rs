//! The handshake messages of one direction, as long as they are not encrypted.

/// Most bytes of a hello that are kept.
const MAX_HELLO: usize = 16 * 1024;

/// What a message is (RFC 8446 section 4, RFC 5246 section 7.4).
pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_HELLO: u8 = 2;
pub(super) const CERTIFICATE: u8 = 11;
pub(super) const SERVER_KEY_EXCHANGE: u8 = 12;
pub(super) const SERVER_HELLO_DONE: u8 = 14;

/// The messages of one direction.
///
/// ```text
/// | type 1 | length 3 | body |
/// ```
#[derive(Debug, Default)]
pub(super) struct Messages {
    head: [u8; 4],
    have: usize,
    /// Bytes of the body that have not come.
    left: usize,
    body: Vec<u8>,
    /// A hole lies in the body, or hid where a message begins.
    holed: bool,
    lost: bool,
}

/// A message, with its body if it is a hello: as far as it was seen from its beginning.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) body: Vec<u8>,
}

impl Messages {
    const fn in_body(&self) -> bool {
        self.have == self.head.len()
    }

    /// A record of messages begins. Where messages begin is not known any more, this is where one does.
    pub(super) const fn record(&mut self) {
        if self.lost {
            self.lost = false;
            self.have = 0;
        }
    }

    /// Takes the next message, none when all of `bytes` was taken.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Message> {
        if self.lost {
            *bytes = &[];
            return None;
        }
        while !self.in_body() {
            let (byte, rest) = bytes.split_first()?;
            *bytes = rest;
            if let Some(place) = self.head.get_mut(self.have) {
                *place = *byte;
            }
            self.have = self.have.saturating_add(1);
            if self.in_body() {
                let [_, high, middle, low] = self.head;
                self.left = u32::from_be_bytes([0, high, middle, low]) as usize;
                self.body.clear();
                self.holed = false;
            }
        }
        let (seen, rest) = bytes.split_at_checked(self.left).unwrap_or((bytes, &[]));
        *bytes = rest;
        self.left = self.left.saturating_sub(seen.len());
        if self.keeps() {
            let room = MAX_HELLO.saturating_sub(self.body.len());
            self.body.extend_from_slice(seen.get(..room).unwrap_or(seen));
        }
        self.finished()
    }

    /// So many bytes of messages passed unseen. The message that ended with them, if one did.
    pub(super) fn skip(&mut self, bytes: usize) -> Option<Message> {
        if self.lost {
            return None;
        }
        if !self.in_body() || bytes > self.left {
            let cut = self.in_body();
            self.lost = true;
            // The message that began is over, whatever came behind it.
            return cut.then(|| self.message());
        }
        self.left = self.left.saturating_sub(bytes);
        self.holed = true;
        self.finished()
    }

    const fn keeps(&self) -> bool {
        let [kind, ..] = self.head;
        !self.holed && matches!(kind, CLIENT_HELLO | SERVER_HELLO)
    }

    fn finished(&mut self) -> Option<Message> {
        (self.in_body() && self.left == 0).then(|| self.message())
    }

    fn message(&mut self) -> Message {
        self.have = 0;
        let [kind, ..] = self.head;
        Message {
            kind,
            body: std::mem::take(&mut self.body),
        }
    }
}
