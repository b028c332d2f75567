//! Where fields lie in this kernel's structures, read from its BTF.
//!
//! aya's BTF type offers no members, and aya-ebpf has no CO-RE relocations, so offsets are looked up here and handed to
//! the programs as read-only globals.
//!
//! ```text
//! header: magic u16 | version u8 | flags u8 | hdr_len u32 | type_off u32 | type_len u32 | str_off u32 | str_len u32
//! type:   name_off u32 | info u32 (vlen 0..16, kind 24..29, kind_flag 31) | size or type u32 | per kind
//! member: name_off u32 | type u32 | offset u32 in bits (kind_flag: the low 24 bits)
//! ```
//! Source: Documentation/bpf/btf.rst of Linux 6.18.
use std::collections::HashMap;

/// The type information of a kernel.
pub(super) struct Btf {
    strings: Vec<u8>,
    types: Vec<Type>,
    by_name: HashMap<(u8, String), u32>,
}

struct Type {
    kind: u8,
    kind_flag: bool,
    target: u32,
    members: Vec<Member>,
}

struct Member {
    name: u32,
    target: u32,
    offset: u32,
}

const KIND_STRUCT: u8 = 4;
const KIND_UNION: u8 = 5;
const KIND_TYPEDEF: u8 = 8;

/// Why BTF could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The bytes are not BTF.
    #[error("malformed BTF: {0}")]
    Malformed(&'static str),
    /// A structure or a field is not there.
    #[error("this kernel has no field {0}")]
    NoField(String),
}

impl Btf {
    /// Parses the contents of `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// [`BtfError::Malformed`] if the bytes do not follow the format.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        const MAGIC: u16 = 0xeb9f;
        let mut header = Words(bytes);
        if header.half()? != MAGIC {
            return Err(BtfError::Malformed("no BTF magic"));
        }
        header.half()?;
        let header_len = header.word()?;
        let (type_off, type_len) = (header.word()?, header.word()?);
        let (str_off, str_len) = (header.word()?, header.word()?);
        let section = |offset: u32, length: u32| {
            let start = header_len.checked_add(offset)? as usize;
            bytes.get(start..start.checked_add(length as usize)?)
        };
        let strings = section(str_off, str_len)
            .ok_or(BtfError::Malformed("strings lie outside"))?
            .to_vec();
        let types = section(type_off, type_len).ok_or(BtfError::Malformed("types lie outside"))?;
        let mut btf = Self {
            strings,
            types: vec![Type::void()],
            by_name: HashMap::new(),
        };
        btf.read_types(Words(types))?;
        Ok(btf)
    }

    fn read_types(&mut self, mut words: Words<'_>) -> Result<(), BtfError> {
        while !words.0.is_empty() {
            let (name, info, target) = (words.word()?, words.word()?, words.word()?);
            let (count, kind, kind_flag) = (info & 0xffff, (info >> 24 & 0x1f) as u8, info >> 31 == 1);
            let mut members = Vec::new();
            match kind {
                KIND_STRUCT | KIND_UNION => {
                    for _ in 0..count {
                        members.push(Member {
                            name: words.word()?,
                            target: words.word()?,
                            offset: words.word()?,
                        });
                    }
                }
                // INT, VAR, DECL_TAG: one word. ARRAY, ENUM64 and DATASEC: three. ENUM and FUNC_PROTO: two.
                1 | 14 | 17 => words.skip(1)?,
                3 => words.skip(3)?,
                6 | 13 => words.skip(2 * count)?,
                15 | 19 => words.skip(3 * count)?,
                _ => {}
            }
            let id = self.types.len() as u32;
            let text = self.string(name);
            if !text.is_empty() {
                self.by_name.entry((kind, text.to_owned())).or_insert(id);
            }
            self.types.push(Type {
                kind,
                kind_flag,
                target,
                members,
            });
        }
        Ok(())
    }

    fn string(&self, offset: u32) -> &str {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        let text = rest.split(|byte| *byte == 0).next().unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// Whether a typedef of this name is there. The kernel has one, `btf_trace_NAME`, for each tracepoint.
    pub(super) fn has_tracepoint(&self, name: &str) -> bool {
        self.by_name.contains_key(&(KIND_TYPEDEF, format!("btf_trace_{name}")))
    }

    /// Whether the kernel offers this helper to programs. Its number has a name in `enum bpf_func_id`.
    pub(super) fn has_helper(&self, name: &str) -> bool {
        self.has_enumerator(&format!("\0BPF_FUNC_{name}\0"))
    }

    /// Whether programs can be attached in this way, which has a name in `enum bpf_attach_type`.
    pub(super) fn has_attach_type(&self, name: &str) -> bool {
        self.has_enumerator(&format!("\0BPF_{name}\0"))
    }

    fn has_enumerator(&self, name: &str) -> bool {
        memchr::memmem::find(&self.strings, name.as_bytes()).is_some()
    }

    /// Offset in bytes of `path`, a chain of members that may run through anonymous structures and unions.
    ///
    /// # Errors
    /// [`BtfError::NoField`] if the structure or a member is not there or does not begin on a byte.
    pub(super) fn offset(&self, structure: &str, path: &[&str]) -> Result<u32, BtfError> {
        let missing = || BtfError::NoField(format!("{structure}.{}", path.join(".")));
        let mut id = *self
            .by_name
            .get(&(KIND_STRUCT, structure.to_owned()))
            .ok_or_else(missing)?;
        let mut bits = 0_u32;
        for name in path {
            let (offset, target) = self.member(id, name, 0).ok_or_else(missing)?;
            bits = bits.checked_add(offset).ok_or_else(missing)?;
            id = self.strip(target);
        }
        if bits.is_multiple_of(8) {
            Ok(bits / 8)
        } else {
            Err(missing())
        }
    }

    fn member(&self, id: u32, name: &str, depth: u32) -> Option<(u32, u32)> {
        const MAX_DEPTH: u32 = 8;
        let kind = self.types.get(id as usize)?;
        if depth > MAX_DEPTH {
            return None;
        }
        for member in &kind.members {
            let offset = if kind.kind_flag {
                member.offset & 0x00ff_ffff
            } else {
                member.offset
            };
            if self.string(member.name) == name {
                return Some((offset, member.target));
            }
            let inner = self.strip(member.target);
            let anonymous = self.string(member.name).is_empty();
            if anonymous && let Some((within, target)) = self.member(inner, name, depth + 1) {
                return Some((offset.checked_add(within)?, target));
            }
        }
        None
    }

    /// What a chain of typedefs and qualifiers stands for.
    fn strip(&self, mut id: u32) -> u32 {
        const MAX_CHAIN: u32 = 16;
        for _ in 0..MAX_CHAIN {
            match self.types.get(id as usize) {
                // TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG.
                Some(kind) if matches!(kind.kind, KIND_TYPEDEF | 9 | 10 | 11 | 18) => id = kind.target,
                _ => break,
            }
        }
        id
    }
}

impl Type {
    const fn void() -> Self {
        Self {
            kind: 0,
            kind_flag: false,
            target: 0,
            members: Vec::new(),
        }
    }
}

/// Little-endian numbers from the front of a slice.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn half(&mut self) -> Result<u16, BtfError> {
        let (first, rest) = self
            .0
            .split_first_chunk::<2>()
            .ok_or(BtfError::Malformed("cut short"))?;
        self.0 = rest;
        Ok(u16::from_le_bytes(*first))
    }

    fn word(&mut self) -> Result<u32, BtfError> {
        let (first, rest) = self
            .0
            .split_first_chunk::<4>()
            .ok_or(BtfError::Malformed("cut short"))?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*first))
    }

    fn skip(&mut self, words: u32) -> Result<(), BtfError> {
        let bytes = words.checked_mul(4).ok_or(BtfError::Malformed("cut short"))? as usize;
        self.0 = self.0.get(bytes..).ok_or(BtfError::Malformed("cut short"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Strings "\0s\0a\0b\0" and `struct s { int a; union { int b; }; }`, the union at bit 64.
    fn small() -> Vec<u8> {
        let strings = b"\0s\0a\0b\0";
        let int = [0, 1 << 24, 4, 32];
        let union = [0, (5 << 24) | 1, 4, 5, 1, 0];
        let structure = [1, (4 << 24) | 2, 12, 3, 1, 0, 0, 2, 64];
        let types: Vec<u8> = int
            .iter()
            .chain(&union)
            .chain(&structure)
            .flat_map(|word: &u32| word.to_le_bytes())
            .collect();
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            bytes.extend(u32::to_le_bytes(word));
        }
        bytes.extend(&types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn finds_members_also_in_anonymous_unions() {
        let btf = Btf::parse(&small()).unwrap();
        assert_eq!(btf.offset("s", &["a"]).unwrap(), 0);
        assert_eq!(btf.offset("s", &["b"]).unwrap(), 8);
        assert_eq!(
            btf.offset("s", &["c"]).unwrap_err().to_string(),
            "this kernel has no field s.c"
        );
        assert_eq!(
            btf.offset("t", &["c"]).unwrap_err().to_string(),
            "this kernel has no field t.c"
        );
    }

    #[test]
    fn malformed_bytes_are_refused_at_every_length() {
        let whole = small();
        for length in 0..whole.len() {
            assert!(Btf::parse(&whole[..length]).is_err(), "{length} bytes were accepted");
        }
        assert!(!Btf::parse(&whole).unwrap().has_tracepoint("sock_send_length"));
    }
}
