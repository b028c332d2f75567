//! What a proxy says before all else of whom it speaks for (the PROXY protocol, HAProxy's proxy-protocol.txt, versions 1 and 2).
//!
//! ```text
//! 1: PROXY TCP4|TCP6 source destination port port CRLF, or PROXY UNKNOWN ... CRLF; at most 107 bytes
//! 2: 0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a | 2 and a command (4 bits each) | family and kind (4 bits each) | length (2) | so many bytes
//! ```
//!
//! The connection speaks its protocol behind it, as if nothing had been said.
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::capture::Direction;
use crate::stream::{Content, Piece};

/// Longest line of version 1, its end included.
const MAX_LINE: usize = 107;
const LINE: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before what it says how long it is.
const HEAD: usize = 16;

/// What a proxy said on a connection before all else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preface {
    /// The direction it was said in; none if nothing was said.
    direction: Option<Direction>,
    bytes: u64,
    /// The client it speaks for. None where it speaks for itself, or does not say.
    pub client: Option<SocketAddr>,
}

impl Preface {
    /// Whether a direction's protocol begins at this offset.
    pub(crate) fn ends_at(self, direction: Direction, offset: u64) -> bool {
        let bytes = if self.direction == Some(direction) {
            self.bytes
        } else {
            0
        };
        offset == bytes
    }
}

/// Looks for a preface where a connection begins.
#[derive(Debug, Default)]
pub(super) struct Prefaces {
    ingress: Side,
    egress: Side,
    found: Preface,
    /// What was found is whole, and nobody has asked for it.
    news: bool,
}

/// One direction.
#[derive(Debug, Default)]
enum Side {
    #[default]
    Begins,
    /// What has come may begin a preface: it, and the pieces it came in.
    Held(Box<(Vec<u8>, Vec<Piece>)>),
    /// So many bytes of a preface are to come, behind these; none where some were not seen.
    Within(u64, Option<Vec<u8>>),
    /// What follows is no preface.
    Over,
}

/// What the first bytes of a direction are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    More,
    /// A preface of so many bytes.
    Is(u64),
    No,
}

impl Prefaces {
    /// What was found.
    pub(super) const fn found(&self) -> Preface {
        self.found
    }

    /// The same when it is whole, once.
    pub(super) fn news(&mut self) -> Option<Preface> {
        std::mem::take(&mut self.news).then_some(self.found)
    }

    /// Whether a piece is no preface without more being known: most connections begin with something else.
    pub(super) fn passes(&mut self, piece: &Piece) -> bool {
        let side = match piece.direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        };
        if let (Side::Begins, Content::Bytes(bytes)) = (&*side, &piece.content)
            && !matches!(bytes.first(), None | Some(b'P' | b'\r'))
        {
            *side = Side::Over;
        }
        matches!(side, Side::Over)
    }

    /// Takes a piece of a connection that is followed from its beginning, and gives back what of it is no preface; where others were
    /// held before it, all go to `queue`.
    pub(super) fn take(&mut self, mut piece: Piece, queue: &mut VecDeque<Piece>) -> Option<Piece> {
        let direction = piece.direction;
        let side = match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        };
        let bytes = match &piece.content {
            Content::Bytes(bytes) if !matches!(side, Side::Over) => bytes.clone(),
            Content::Unseen(length) if let Side::Within(left, said) = side => {
                *said = None;
                let passed = (*left).min(*length);
                let rest = length.saturating_sub(passed);
                *left = left.saturating_sub(passed);
                piece.offset = piece.offset.saturating_add(passed);
                piece.content = Content::Unseen(rest);
                if *left == 0 {
                    *side = Side::Over;
                    self.news = true;
                }
                return (rest > 0).then_some(piece);
            }
            _ => return side.over(piece, queue),
        };
        let (before, judged) = match side {
            Side::Within(left, _) => (0, Judged::Is(*left)),
            Side::Held(held) => {
                let seen = &mut held.0;
                let before = seen.len();
                let room = MAX_LINE.saturating_sub(before);
                seen.extend_from_slice(bytes.get(..room).unwrap_or(&bytes));
                (before, judge(seen))
            }
            _ if piece.offset == 0 => (0, judge(&bytes)),
            _ => (0, Judged::No),
        };
        match judged {
            Judged::More => {
                match side {
                    Side::Held(held) => held.1.push(piece),
                    _ => *side = Side::Held(Box::new((bytes.to_vec(), vec![piece]))),
                }
                None
            }
            Judged::No => side.over(piece, queue),
            Judged::Is(length) => {
                let left = length.saturating_sub(before as u64);
                let rest = usize::try_from(left).ok().filter(|left| *left < bytes.len());
                let here = bytes.get(..rest.unwrap_or(bytes.len())).unwrap_or_default();
                let said = match std::mem::replace(side, Side::Over) {
                    Side::Within(_, said) => said,
                    begins => {
                        self.found = Preface {
                            direction: Some(direction),
                            bytes: length,
                            client: None,
                        };
                        Some(begins.said(before))
                    }
                };
                let said = said.map(|mut said| {
                    let room = MAX_LINE.saturating_sub(said.len());
                    said.extend_from_slice(here.get(..room).unwrap_or(here));
                    said
                });
                match left.checked_sub(bytes.len() as u64) {
                    None | Some(0) => {
                        self.found.client = said.as_deref().and_then(client);
                        self.news = true;
                    }
                    Some(left) => *side = Side::Within(left, said),
                }
                piece.offset = piece.offset.saturating_add(left);
                piece.content = Content::Bytes(bytes.slice(rest?..));
                Some(piece)
            }
        }
    }
}

impl Side {
    /// What was held is no preface, and nor is `piece`.
    fn over(&mut self, piece: Piece, queue: &mut VecDeque<Piece>) -> Option<Piece> {
        match std::mem::replace(self, Self::Over) {
            Self::Held(held) => {
                queue.extend(held.1);
                queue.push_back(piece);
                None
            }
            _ => Some(piece),
        }
    }

    /// The first bytes of what was held.
    fn said(self, length: usize) -> Vec<u8> {
        match self {
            Self::Held(held) => {
                let mut said = held.0;
                said.truncate(length);
                said
            }
            _ => Vec::new(),
        }
    }
}

/// The client that a preface speaks for, by its first bytes, at most [`MAX_LINE`]: whatever follows the addresses of version 2 is
/// longer. None where a proxy speaks for itself, as it does to see whether a server is there, and for sockets without addresses.
///
/// ```text
/// | head 16 | source 4 or 16 | destination 4 or 16 | port of the source 2 | of the destination 2 | ...
/// ```
fn client(said: &[u8]) -> Option<SocketAddr> {
    if let Some(line) = said.strip_prefix(LINE) {
        let mut words = std::str::from_utf8(line).ok()?.trim_ascii_end().split(' ');
        let is_known = words.next()? != "UNKNOWN";
        let source: IpAddr = words.next().filter(|_| is_known)?.parse().ok()?;
        let port = words.nth(1)?.parse().ok()?;
        return Some(SocketAddr::new(source.to_canonical(), port));
    }
    let (head, addresses) = said.split_first_chunk::<HEAD>()?;
    let [.., command, kind, _, _] = head;
    let (source, port): (IpAddr, [u8; 2]) = match (command & 0x0f, kind >> 4) {
        (1, 1) => {
            let (source, rest) = addresses.split_first_chunk::<4>()?;
            ((*source).into(), *rest.get(4..)?.first_chunk()?)
        }
        (1, 2) => {
            let (source, rest) = addresses.split_first_chunk::<16>()?;
            ((*source).into(), *rest.get(16..)?.first_chunk()?)
        }
        _ => return None,
    };
    Some(SocketAddr::new(source.to_canonical(), u16::from_be_bytes(port)))
}

/// What the first bytes of a direction are; whatever stands behind the longest line makes no difference.
fn judge(bytes: &[u8]) -> Judged {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, with)| byte == with);
    if bytes.is_empty() {
        return Judged::More;
    }
    if begins(SIGNATURE) {
        let Some([.., command, kind, high, low]) = bytes.first_chunk::<HEAD>() else {
            return Judged::More;
        };
        let is_known = command >> 4 == 2 && command & 0x0f <= 1 && kind >> 4 <= 3 && kind & 0x0f <= 2;
        let length = u16::from_be_bytes([*high, *low]);
        return if is_known {
            Judged::Is((HEAD as u64).saturating_add(length.into()))
        } else {
            Judged::No
        };
    }
    if !begins(LINE) {
        return Judged::No;
    }
    let line = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let end = memchr::memchr(b'\n', line);
    let said = line.get(LINE.len()..).unwrap_or_default();
    let families: [&[u8]; 3] = [b"TCP4 ", b"TCP6 ", b"UNKNOWN"];
    let is_known = families
        .iter()
        .any(|family| said.iter().zip(*family).all(|(byte, with)| byte == with));
    match end.and_then(|end| end.checked_add(1)) {
        _ if !is_known => Judged::No,
        Some(end) if line.get(..end).is_some_and(|line| line.ends_with(b"\r\n")) => Judged::Is(end as u64),
        None if line.len() < MAX_LINE => Judged::More,
        _ => Judged::No,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::capture::{Actor, Moment, Pid};

    const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x02\x30\x39\0\x50";

    #[track_caller]
    fn check(bytes: &[u8], expected: Judged) {
        assert_eq!(judge(bytes), expected, "{bytes:?}");
    }

    #[test]
    fn prefaces() {
        for line in [
            &b"PROXY TCP4 127.0.0.1 127.0.0.2 12345 80\r\n"[..],
            b"PROXY TCP6 ::1 ::1 12345 80\r\n",
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN whatever follows\r\n",
        ] {
            for length in 0..line.len() {
                check(&line[..length], Judged::More);
            }
            check(line, Judged::Is(line.len() as u64));
            check(
                &[line, b"GET / HTTP/1.1\r\n\r\n"].concat(),
                Judged::Is(line.len() as u64),
            );
        }
        for length in 0..HEAD {
            check(&VERSION_2[..length], Judged::More);
        }
        check(VERSION_2, Judged::Is(28));
        check(b"POST / HTTP/1.1\r\n", Judged::No);
        check(b"PROXY TCP5 ", Judged::No);
        check(b"PROXY TCP4 127.0.0.1\n", Judged::No);
        check(&[b"PROXY TCP4 ", [b'1'; 100].as_slice()].concat(), Judged::No);
        check(b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c", Judged::No);
        check(b"\r\nGET / HTTP/1.1\r\n", Judged::No);
    }

    /// What is left of pieces of so many bytes, and where it begins.
    fn left(bytes: &[u8], cut: usize) -> (Vec<u8>, Option<u64>, Preface) {
        let (mut prefaces, mut queue) = (Prefaces::default(), VecDeque::new());
        for (place, part) in bytes.chunks(cut).enumerate() {
            let piece = Piece {
                direction: Direction::Ingress,
                offset: (place * cut) as u64,
                content: Content::Bytes(Bytes::copy_from_slice(part)),
                moment: Moment::new(0, Actor::thread(Pid(1), 1)),
            };
            if let Some(piece) = prefaces.take(piece, &mut queue) {
                queue.push_back(piece);
            }
        }
        let begin = queue.front().map(|piece| piece.offset);
        let bytes = queue.iter().flat_map(|piece| match &piece.content {
            Content::Bytes(bytes) => bytes.to_vec(),
            other => panic!("{other:?}"),
        });
        (bytes.collect(), begin, prefaces.found())
    }

    #[test]
    fn what_follows_is_handed_on() {
        let line = b"PROXY TCP4 127.0.0.1 127.0.0.2 12345 80\r\n";
        for (preface, rest) in [
            (&line[..], &b"GET / HTTP/1.1\r\n\r\n"[..]),
            (VERSION_2, b"GET / HTTP/1.1\r\n\r\n"),
            (b"", b"POST / HTTP/1.1\r\n\r\n"),
            (b"", b"PROXY is what I say\r\n"),
            (b"", b"PROXY"),
        ] {
            let all = [preface, rest].concat();
            for cut in 1..=all.len() {
                let (bytes, begin, found) = left(&all, cut);
                let whole = rest.len() > LINE.len();
                assert_eq!(bytes, if whole { rest } else { b"" }, "{all:?} in {cut}");
                assert_eq!(begin, whole.then_some(preface.len() as u64), "{all:?} in {cut}");
                assert!(found.ends_at(Direction::Ingress, preface.len() as u64));
                assert!(found.ends_at(Direction::Egress, 0));
                let client = found.client.map(|client| client.to_string());
                let expected = (!preface.is_empty()).then_some("127.0.0.1:12345");
                assert_eq!(client.as_deref(), expected, "{all:?} in {cut}");
            }
        }
    }

    #[test]
    fn a_hole_may_lie_within() {
        let long = [&VERSION_2[..14], &[1, 0], &[0; 256], b"GET"].concat();
        let (mut prefaces, mut queue) = (Prefaces::default(), VecDeque::new());
        let parts = [
            (0, Content::Bytes(Bytes::copy_from_slice(&long[..100]))),
            (100, Content::Unseen(100)),
            (200, Content::Bytes(Bytes::copy_from_slice(&long[200..]))),
        ];
        for (offset, content) in parts {
            let piece = Piece {
                direction: Direction::Egress,
                offset,
                content,
                moment: Moment::new(0, Actor::thread(Pid(1), 1)),
            };
            if let Some(piece) = prefaces.take(piece, &mut queue) {
                queue.push_back(piece);
            }
        }
        let told: Vec<_> = queue.into_iter().map(|piece| (piece.offset, piece.content)).collect();
        assert_eq!(told, [(272, Content::Bytes(Bytes::from_static(b"GET")))]);
        assert_eq!(prefaces.news().map(|found| found.client), Some(None));
        assert_eq!(prefaces.news(), None, "told once");
    }

    #[test]
    fn clients() {
        let head = |command: u8, kind: u8| [SIGNATURE, &[command, kind, 0, 0]].concat();
        let six = "2001:db8::7"
            .parse::<std::net::Ipv6Addr>()
            .expect("an address")
            .octets();
        let mapped = std::net::Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().octets();
        for (said, expected) in [
            (
                b"PROXY TCP4 192.0.2.7 192.0.2.8 40000 80\r\n".to_vec(),
                Some("192.0.2.7:40000"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 40000 80\r\n".to_vec(),
                Some("[2001:db8::7]:40000"),
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.7 ::1 40000 80\r\n".to_vec(),
                Some("192.0.2.7:40000"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN 192.0.2.7 192.0.2.8 40000 80\r\n".to_vec(), None),
            (
                b"PROXY TCP4 192.0.2.7 192.0.2.8 40000\r\n".to_vec(),
                Some("192.0.2.7:40000"),
            ),
            (b"PROXY TCP4 192.0.2.7 192.0.2.8 400000 80\r\n".to_vec(), None),
            (b"PROXY TCP4 192.0.2 192.0.2.8 40000 80\r\n".to_vec(), None),
            (VERSION_2.to_vec(), Some("127.0.0.1:12345")),
            (VERSION_2[..25].to_vec(), None),
            (
                [head(0x21, 0x21), six.to_vec(), vec![0; 16], vec![0x9c, 0x40, 0, 80]].concat(),
                Some("[2001:db8::7]:40000"),
            ),
            (
                [head(0x21, 0x22), mapped.to_vec(), vec![0; 16], vec![0x9c, 0x40, 0, 80]].concat(),
                Some("192.0.2.7:40000"),
            ),
            ([head(0x21, 0x21), six.to_vec(), vec![0; 17]].concat(), None),
            // It speaks for itself, or for sockets that are none of IP's.
            ([head(0x20, 0x11), vec![1; 12]].concat(), None),
            ([head(0x21, 0x31), vec![1; 216]].concat(), None),
            (head(0x20, 0), None),
        ] {
            let client = client(&said).map(|client| client.to_string());
            assert_eq!(client.as_deref(), expected, "{said:?}");
        }
    }
}
