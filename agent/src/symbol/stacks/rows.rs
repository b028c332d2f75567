//! Rows by which the kernel side walks the stacks of compiled programs, from the table that C++ needs for its exceptions and that compilers
//! write for every other language, too (`.eh_frame`; Linux Standard Base Core, section 10.6.1, DWARF 5, section 6.4).
use std::rc::Rc;

use clew_common::unwind::{
    CFA_AT_FP, CFA_AT_SP, CFA_FP, CFA_SP, Row, SAVED_AT_CFA, SAVED_AT_FP, SAVED_AT_SP, SAVED_NOWHERE,
};
use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, Encoding, FrameDescriptionEntry, Operation, ParsedEhFrameHdr,
    Reader as _, Register, RegisterRule, Section as _, UnwindContext, UnwindExpression, UnwindSection as _,
};

use super::section::{Held, Section};
use crate::symbol::image::Image;

/// Numbers of registers: the psABI of x86-64, figure 3.36; DWARF for the Arm 64-bit architecture, section 4.1.
#[cfg(target_arch = "aarch64")]
mod register {
    pub(super) const SP: u16 = 31;
    pub(super) const FP: u16 = 29;
    /// Where a function returns to.
    pub(super) const BACK: u16 = 30;
}
#[cfg(not(target_arch = "aarch64"))]
mod register {
    pub(super) const SP: u16 = 7;
    pub(super) const FP: u16 = 6;
    /// Where a function returns to; in expressions, the instruction.
    pub(super) const BACK: u16 = 16;
}

/// Functions that are looked at where the table has no index.
const MOST_FUNCTIONS: usize = 1 << 20;

/// A file's table.
pub(super) struct Table {
    frame: EhFrame<Section>,
    index: Option<ParsedEhFrameHdr<Section>>,
    bases: BaseAddresses,
}

impl Table {
    /// That of a file; none if it has none.
    pub(super) fn open(image: &Rc<Image>, held: &Held) -> Option<Self> {
        let mut bases = BaseAddresses::default();
        let span = image.section(&[EhFrame::<Section>::section_name()])?;
        bases = bases.set_eh_frame(span.address);
        if let Some(text) = image.section(&[".text"]) {
            bases = bases.set_text(text.address);
        }
        if let Some(got) = image.section(&[".got"]) {
            bases = bases.set_got(got.address);
        }
        let frame = EhFrame::from(Section::open(image, EhFrame::<Section>::section_name(), held));
        let index = image
            .section(&[EhFrameHdr::<Section>::section_name()])
            .and_then(|span| {
                bases = bases.clone().set_eh_frame_hdr(span.address);
                let index = EhFrameHdr::from(Section::open(image, EhFrameHdr::<Section>::section_name(), held));
                index.parse(&bases, 8).ok()
            });
        Some(Self { frame, index, bases })
    }

    /// How the caller of the function at `address` is found; none where the table does not say, or so that it cannot be written.
    pub(super) fn row(&self, address: u64) -> Option<Row> {
        let function = self.function(address)?;
        let mut context = UnwindContext::new();
        let found = function
            .unwind_info_for_address(&self.frame, &self.bases, &mut context, address)
            .ok()?;
        let encoding = function.cie().encoding();
        let place = |expression: &UnwindExpression<usize>| {
            let expression = expression.get(&self.frame).ok()?;
            evaluate(expression.0, encoding, address)
        };
        let mut row = Row {
            interrupted: function.is_signal_trampoline().into(),
            ..Row::default()
        };
        (row.cfa, row.cfa_offset, row.cfa_add) = match found.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                let cfa = match register.0 {
                    register::SP => CFA_SP,
                    register::FP => CFA_FP,
                    _ => return None,
                };
                (cfa, i32::try_from(*offset).ok()?, 0)
            }
            CfaRule::Expression(expression) => match place(expression)? {
                Value::Place(Base::Sp, offset) => (CFA_SP, offset, 0),
                Value::Place(Base::Fp, offset) => (CFA_FP, offset, 0),
                Value::Loaded(Base::Sp, offset, add) => (CFA_AT_SP, offset, add),
                Value::Loaded(Base::Fp, offset, add) => (CFA_AT_FP, offset, add),
                Value::Number(_) => return None,
            },
        };
        let saved = |register: u16| match found.register(Register(register)) {
            RegisterRule::Undefined => Some(None),
            RegisterRule::SameValue => Some(Some((SAVED_NOWHERE, 0))),
            RegisterRule::Offset(offset) => Some(Some((SAVED_AT_CFA, i32::try_from(offset).ok()?))),
            RegisterRule::Expression(expression) => match place(&expression)? {
                Value::Place(Base::Sp, offset) => Some(Some((SAVED_AT_SP, offset))),
                Value::Place(Base::Fp, offset) => Some(Some((SAVED_AT_FP, offset))),
                _ => None,
            },
            _ => None,
        };
        // What is not said of a register that functions keep is that it has its value.
        (row.frame, row.frame_offset) = saved(register::FP)?.unwrap_or((SAVED_NOWHERE, 0));
        (row.back, row.back_offset) = match saved(register::BACK)? {
            Some(back) => back,
            None if cfg!(target_arch = "aarch64") => (SAVED_NOWHERE, 0),
            None => return Some(Row::END),
        };
        Some(row)
    }

    fn function(&self, address: u64) -> Option<FrameDescriptionEntry<Section>> {
        if let Some(table) = self.index.as_ref().and_then(|index| index.table()) {
            let found = table.fde_for_address(&self.frame, &self.bases, address, EhFrame::cie_from_offset);
            return found.ok();
        }
        let mut entries = self.frame.entries(&self.bases);
        for _ in 0..MOST_FUNCTIONS {
            if let gimli::CieOrFde::Fde(entry) = entries.next().ok()?? {
                let function = entry.parse(EhFrame::cie_from_offset).ok()?;
                if function.contains(address) {
                    return Some(function);
                }
            }
        }
        None
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Sp,
    Fp,
}

/// What is known of a value before the registers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Number(u64),
    /// A register plus so many bytes.
    Place(Base, i32),
    /// What stands there, plus so many bytes.
    Loaded(Base, i32, i32),
}

/// The value of an expression at `address`; none where it needs more than a register. Three kinds are written: of the entries of the
/// PLT, which depends on the instruction; of signal frames; and of functions that align their stack.
fn evaluate(mut code: Section, encoding: Encoding, address: u64) -> Option<Value> {
    const MOST: usize = 32;
    let mut stack: Vec<Value> = Vec::new();
    let numbers = |stack: &mut Vec<Value>| match (stack.pop()?, stack.pop()?) {
        (Value::Number(second), Value::Number(first)) => Some((first, second)),
        _ => None,
    };
    for _ in 0..MOST {
        if code.is_empty() {
            return stack.pop();
        }
        let value = match Operation::parse(&mut code, encoding).ok()? {
            Operation::RegisterOffset { register, offset, .. } => {
                let offset = i32::try_from(offset).ok()?;
                match register.0 {
                    register::SP => Value::Place(Base::Sp, offset),
                    register::FP => Value::Place(Base::Fp, offset),
                    register::BACK => Value::Number(address.wrapping_add_signed(offset.into())),
                    _ => return None,
                }
            }
            Operation::UnsignedConstant { value } => Value::Number(value),
            Operation::SignedConstant { value } => Value::Number(value.cast_unsigned()),
            Operation::Deref {
                size: 8, space: false, ..
            } => match stack.pop()? {
                Value::Place(base, offset) => Value::Loaded(base, offset, 0),
                _ => return None,
            },
            Operation::PlusConstant { value } => plus(stack.pop()?, value)?,
            Operation::Plus => match (stack.pop()?, stack.pop()?) {
                (Value::Number(number), other) | (other, Value::Number(number)) => plus(other, number)?,
                _ => return None,
            },
            Operation::And => {
                let (first, second) = numbers(&mut stack)?;
                Value::Number(first & second)
            }
            Operation::Shl => {
                let (first, second) = numbers(&mut stack)?;
                Value::Number(first.checked_shl(u32::try_from(second).ok()?)?)
            }
            Operation::Ge => {
                let (first, second) = numbers(&mut stack)?;
                Value::Number((first.cast_signed() >= second.cast_signed()).into())
            }
            _ => return None,
        };
        stack.push(value);
    }
    None
}

fn plus(value: Value, number: u64) -> Option<Value> {
    let by = i32::try_from(number.cast_signed()).ok();
    Some(match value {
        Value::Number(other) => Value::Number(other.wrapping_add(number)),
        Value::Place(base, offset) => Value::Place(base, offset.checked_add(by?)?),
        Value::Loaded(base, offset, add) => Value::Loaded(base, offset, add.checked_add(by?)?),
    })
}
