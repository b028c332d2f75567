//! Spans of a trace that came together, as bytes.
//!
//! ```text
//! +--------+---------------------- (deflated if how is 1) ----------------------+
//! | how: 1 | resource: varint | length: varint | opentelemetry.proto Span | ... |
//! +--------+--------------------------------------------------------------------+
//! ```
//! Spans are without their trace id, which is the trace's.
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use prost::encoding::{decode_varint, encode_varint};

use crate::store::StoreError;

const PLAIN: u8 = 0;
const DEFLATED: u8 = 1;
/// Less is not worth compressing.
const WORTH_BYTES: usize = 256;
/// A part that claims to be larger is not ours.
const MOST_BYTES: usize = 256 << 20;

/// Makes parts; kept for its memory.
pub(super) struct Packer {
    deflate: Compress,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl Default for Packer {
    fn default() -> Self {
        Self {
            deflate: Compress::new(Compression::fast(), false),
            plain: Vec::new(),
            packed: Vec::new(),
        }
    }
}

impl Packer {
    pub(super) fn clear(&mut self) {
        /// A buffer that once held a large trace is given back.
        const KEPT_BYTES: usize = 256 << 10;
        for buffer in [&mut self.plain, &mut self.packed] {
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
        }
        self.plain.push(PLAIN);
    }

    pub(super) fn add(&mut self, resource: i64, span: &Span) {
        encode_varint(resource.unsigned_abs(), &mut self.plain);
        encode_varint(span.encoded_len() as u64, &mut self.plain);
        span.encode_raw(&mut self.plain);
    }

    /// The part.
    pub(super) fn finish(&mut self) -> &[u8] {
        let Some(body) = self.plain.get(1..).filter(|body| body.len() >= WORTH_BYTES) else {
            return &self.plain;
        };
        self.deflate.reset();
        self.packed.push(DEFLATED);
        self.packed.reserve(body.len());
        let done = self.deflate.compress_vec(body, &mut self.packed, FlushCompress::Finish);
        // What does not become smaller does not fit.
        if matches!(done, Ok(Status::StreamEnd)) {
            &self.packed
        } else {
            &self.plain
        }
    }
}

/// The spans of a part with their resources.
pub(super) fn unpack(part: &[u8]) -> Result<Vec<(i64, Span)>, StoreError> {
    let body = match part.split_first() {
        Some((&PLAIN, body)) => std::borrow::Cow::Borrowed(body),
        Some((&DEFLATED, body)) => std::borrow::Cow::Owned(inflate(body)?),
        _ => return Err(StoreError::Malformed),
    };
    let malformed = |_| StoreError::Malformed;
    let mut rest = &*body;
    let mut spans = Vec::new();
    while !rest.is_empty() {
        let resource = decode_varint(&mut rest).map_err(malformed)?;
        let length = decode_varint(&mut rest).map_err(malformed)?;
        let length = usize::try_from(length).map_err(|_| StoreError::Malformed)?;
        let (span, more) = rest.split_at_checked(length).ok_or(StoreError::Malformed)?;
        spans.push((resource.cast_signed(), Span::decode(span).map_err(malformed)?));
        rest = more;
    }
    Ok(spans)
}

fn inflate(body: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut inflate = Decompress::new(false);
    let mut out = Vec::with_capacity(body.len().saturating_mul(4).min(MOST_BYTES));
    loop {
        let read = usize::try_from(inflate.total_in()).unwrap_or(usize::MAX);
        let rest = body.get(read..).unwrap_or_default();
        let before = (read, out.len());
        let status = inflate
            .decompress_vec(rest, &mut out, FlushDecompress::None)
            .map_err(|_| StoreError::Malformed)?;
        if status == Status::StreamEnd {
            return Ok(out);
        }
        let after = usize::try_from(inflate.total_in()).unwrap_or(usize::MAX);
        if out.len() >= MOST_BYTES || (before == (after, out.len()) && out.len() < out.capacity()) {
            return Err(StoreError::Malformed);
        }
        out.reserve(out.len().max(4096).min(MOST_BYTES - out.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(name: &str) -> Span {
        Span {
            name: name.to_owned(),
            ..Span::default()
        }
    }

    #[test]
    fn parts_come_back() {
        let mut packer = Packer::default();
        // Compressed, too small for it, and what no compression makes smaller.
        let noise: String = (0..4000_u32)
            .map(|n| char::from_u32(33 + n.wrapping_mul(2_654_435_761) % 90).unwrap_or('x'))
            .collect();
        for names in [vec!["a".repeat(5000); 30], vec!["b".to_owned()], vec![noise], vec![]] {
            packer.clear();
            for (number, name) in names.iter().enumerate() {
                packer.add(number as i64 + 1, &span(name));
            }
            let part = packer.finish().to_vec();
            let found = unpack(&part).expect("a part");
            let want: Vec<_> = names
                .iter()
                .enumerate()
                .map(|(n, name)| (n as i64 + 1, span(name)))
                .collect();
            assert_eq!(found, want);
            for end in 1..part.len().min(300) {
                let _no_panic = unpack(&part[..end]);
            }
        }
    }

    #[test]
    fn what_is_no_part() {
        for bytes in [
            &[][..],
            &[7, 1, 2],
            &[PLAIN, 1],
            &[PLAIN, 1, 200, 1],
            &[DEFLATED],
            &[DEFLATED, 255, 255, 255],
        ] {
            assert!(unpack(bytes).is_err(), "{bytes:?}");
        }
    }
}
