//! The head of a request or response made of a header block (RFC 9113 section 8.3).
use smol_str::SmolStr;

use super::hpack::{Decoder, Field, Invalid};
use crate::protocol::http1::{Fields, RequestHead, ResponseHead, Version};

/// Most header fields that are kept.
const MAX_FIELDS: usize = 256;

/// A header block, decoded as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) method: Option<SmolStr>,
    pub(super) scheme: Option<SmolStr>,
    pub(super) authority: Option<SmolStr>,
    pub(super) path: Option<SmolStr>,
    /// What the stream is to carry (RFC 8441 section 4).
    pub(super) protocol: Option<SmolStr>,
    pub(super) status: Option<u16>,
    pub(super) fields: Fields,
    /// Fields of which name or value is not known.
    pub(super) unknown: usize,
}

impl Head {
    /// Decodes a block. A block that is `cut` is decoded up to there.
    pub(super) fn decode(decoder: &mut Decoder, block: &[u8], cut: bool) -> Result<Self, Invalid> {
        let mut head = Self::default();
        let result = decoder.block(block, &mut |field| head.take(field));
        if cut {
            // Whatever stands in the part that was not seen.
            decoder.missed();
            head.unknown = head.unknown.saturating_add(1);
        } else if result.is_err() {
            decoder.missed();
            return Err(Invalid);
        }
        Ok(head)
    }

    fn take(&mut self, field: Field<'_>) {
        let (Some(name), Some(value)) = (field.name, field.value) else {
            self.unknown = self.unknown.saturating_add(1);
            return;
        };
        let text = || Some(SmolStr::from(String::from_utf8_lossy(value)));
        match name {
            b":method" => self.method = text(),
            b":scheme" => self.scheme = text(),
            b":authority" => self.authority = text(),
            b":path" => self.path = text(),
            b":protocol" => self.protocol = text(),
            b":status" => {
                let status = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                self.status = status.filter(|status| (100..1000).contains(status));
            }
            [b':', ..] => {}
            name if self.fields.len() < MAX_FIELDS => self.fields.push(name, value),
            _ => {}
        }
    }

    /// It can only be of a request.
    pub(super) const fn asks(&self) -> bool {
        self.method.is_some() || self.scheme.is_some() || self.path.is_some() || self.authority.is_some()
    }

    /// The same as a request, which may be the `first` of its connection.
    pub(super) fn request(self, first: bool) -> RequestHead {
        RequestHead {
            method: self.method.unwrap_or_default(),
            target: self.path.unwrap_or_default(),
            version: Version::Http2,
            scheme: self.scheme,
            authority: self.authority,
            protocol: self.protocol,
            first,
            unknown: self.unknown,
            fields: self.fields,
            gateway: None,
        }
    }

    pub(super) fn response(self) -> ResponseHead {
        ResponseHead {
            status: self.status.unwrap_or_default(),
            version: Version::Http2,
            unknown: self.unknown,
            fields: self.fields,
        }
    }
}
