//! Changes of a file, each twelve bytes of the input: what, which section, where in it, and a number.
use crate::elf::Elf;

/// Changes in one input.
const MOST: usize = 64;
/// How large a section may be made.
const LARGEST: u64 = 1 << 18;

pub(crate) fn apply(mut elf: Elf, input: &[u8]) -> Vec<u8> {
    // What is done to the file as a whole, when its sections have their places.
    let (mut cut, mut words) = (None, Vec::new());
    for change in input.chunks_exact(12).take(MOST) {
        let &[what, section, low, high, ref number @ ..] = change else {
            continue;
        };
        let at = usize::from(u16::from_le_bytes([low, high]));
        let number = number.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let n_sections = elf.sections.len();
        let section = &mut elf.sections[usize::from(section) % n_sections];
        let write = |bytes: &mut Vec<u8>, size: usize| {
            let place = at.checked_rem(bytes.len()).unwrap_or(0);
            for (byte, new) in bytes.iter_mut().skip(place).zip(&number.to_le_bytes()[..size]) {
                *byte = *new;
            }
        };
        match what % 9 {
            0 => write(&mut section.bytes, 8),
            1 => write(&mut section.bytes, 4),
            2 => write(&mut section.bytes, 1),
            3 => section.size = Some(number),
            4 => section.offset = Some(number),
            5 => {
                let size = usize::try_from(number % LARGEST).unwrap_or(0);
                let repeated = section.bytes.iter().copied().cycle().take(size).collect();
                section.bytes = repeated;
            }
            6 => section.bytes.truncate(at),
            7 => cut = Some(number),
            _ => words.push((at, number)),
        }
    }
    let mut file = elf.bytes();
    for (at, number) in words {
        // Headers are where the file begins and ends.
        let place = at % 512;
        let place = if at & 0x8000 == 0 {
            place
        } else {
            file.len().saturating_sub(place)
        };
        for (byte, new) in file.iter_mut().skip(place).zip(number.to_le_bytes()) {
            *byte = new;
        }
    }
    if let Some(cut) = cut {
        let length = usize::try_from(cut).unwrap_or(0).checked_rem(file.len()).unwrap_or(0);
        file.truncate(length);
    }
    file
}
