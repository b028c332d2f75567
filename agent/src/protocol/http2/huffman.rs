//! The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length ascend with the symbol, so the lengths alone define it. It is read four bits at
//! a time: a node of the tree and a nibble give the next node and, since no code is shorter than five bits, at most one
//! symbol.
use std::sync::LazyLock;

/// The bits of each symbol's code; the last is the end of string, which never stands in one.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The end of string.
const EOS: u16 = 256;
/// Longest code, which is also that of the end of string.
const MAX_LENGTH: u8 = 30;
/// Longest padding: a string ends with less than a byte of the end of string's code.
const MAX_PADDING: u8 = 7;

/// Where a nibble leads from a node.
#[derive(Clone, Copy, Default)]
struct Way {
    next: u8,
    symbol: u8,
    flags: u8,
}

/// The nibble completes a symbol.
const EMITS: u8 = 1;
/// No string has this: the end of string.
const FAILS: u8 = 2;

struct Table {
    ways: Vec<[Way; 16]>,
    /// Nodes at which a string may end: those that only padding leads to.
    ends: Vec<bool>,
}

static TABLE: LazyLock<Table> = LazyLock::new(Table::build);

impl Table {
    /// Grows the tree from the lengths, then walks every nibble from every node.
    fn build() -> Self {
        /// A child: a node, a symbol, or nothing yet.
        #[derive(Clone, Copy)]
        enum Child {
            None,
            Node(usize),
            Symbol(u16),
        }
        let mut nodes = vec![[Child::None; 2]];
        let mut code = 0_u32;
        for length in 1..=MAX_LENGTH {
            code = code.wrapping_shl(1);
            for (symbol, _) in (0_u16..).zip(LENGTHS).filter(|(_, bits)| *bits == length) {
                let mut node = 0_usize;
                for bit in (0..length).rev() {
                    let side = usize::from(code.wrapping_shr(u32::from(bit)) & 1 == 1);
                    let fresh = nodes.len();
                    let Some(child) = nodes.get_mut(node).and_then(|node| node.get_mut(side)) else {
                        break;
                    };
                    if bit == 0 {
                        *child = Child::Symbol(symbol);
                    } else if let Child::Node(next) = child {
                        node = *next;
                    } else {
                        *child = Child::Node(fresh);
                        nodes.push([Child::None; 2]);
                        node = fresh;
                    }
                }
                code = code.wrapping_add(1);
            }
        }
        let step = |node: usize, bit: bool| -> Child {
            let children = nodes.get(node).copied().unwrap_or([Child::None; 2]);
            children.get(usize::from(bit)).copied().unwrap_or(Child::None)
        };
        let ways = (0..nodes.len())
            .map(|node| {
                let mut ways = [Way::default(); 16];
                for (nibble, way) in (0_u8..).zip(&mut ways) {
                    let mut at = node;
                    for bit in (0..4).rev() {
                        match step(at, nibble.wrapping_shr(bit) & 1 == 1) {
                            Child::Node(next) => at = next,
                            Child::Symbol(symbol) if symbol != EOS => {
                                at = 0;
                                way.symbol = u8::try_from(symbol).unwrap_or(0);
                                way.flags |= EMITS;
                            }
                            Child::Symbol(_) | Child::None => way.flags |= FAILS,
                        }
                    }
                    way.next = u8::try_from(at).unwrap_or(0);
                }
                ways
            })
            .collect();
        let mut ends = vec![false; nodes.len()];
        let mut at = 0_usize;
        for _ in 0..=MAX_PADDING {
            if let Some(end) = ends.get_mut(at) {
                *end = true;
            }
            match step(at, true) {
                Child::Node(next) => at = next,
                _ => break,
            }
        }
        Self { ways, ends }
    }
}

/// Appends what `coded` stands for. Whether it is a string of the code.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> bool {
    let table = &*TABLE;
    let mut node = 0_u8;
    for byte in coded {
        for nibble in [byte >> 4, byte & 15] {
            let Some(way) = table
                .ways
                .get(usize::from(node))
                .and_then(|ways| ways.get(usize::from(nibble)))
            else {
                return false;
            };
            if way.flags & FAILS != 0 {
                return false;
            }
            if way.flags & EMITS != 0 {
                out.push(way.symbol);
            }
            node = way.next;
        }
    }
    table.ends.get(usize::from(node)).copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(coded: &[u8], text: Option<&str>) {
        let mut out = Vec::new();
        let good = decode(coded, &mut out);
        assert_eq!(good.then(|| String::from_utf8(out).unwrap()).as_deref(), text);
    }

    #[test]
    fn strings_of_the_specification() {
        // RFC 7541 appendix C.4 and C.6.
        check(
            b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
            Some("www.example.com"),
        );
        check(b"\xa8\xeb\x10\x64\x9c\xbf", Some("no-cache"));
        check(b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", Some("custom-value"));
        check(
            b"\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff",
            Some("Mon, 21 Oct 2013 20:13:21 GMT"),
        );
        check(b"", Some(""));
    }

    #[test]
    fn what_is_no_string() {
        // Padding of zeros, of a whole byte, and the end of string itself.
        check(b"\x07", Some("0"));
        check(b"\x00", None);
        check(b"\xa8\xeb\x10\x64\x9c\xbf\xff", None);
        check(b"\xff\xff\xff\xff", None);
    }

    #[test]
    fn the_tree_is_full() {
        // A prefix code leaves nothing over: the shares of all symbols make up the whole.
        let shares: u64 = LENGTHS.iter().map(|length| 1_u64 << (MAX_LENGTH - length)).sum();
        assert_eq!(shares, 1 << MAX_LENGTH);
        assert_eq!(TABLE.ways.len(), 256);
    }
}
