//! Java: threads, virtual or not, since Java 21.
//!
//! HotSpot describes its structures in a table, `gHotSpotVMStructs`, for debuggers. It is filled when `libjvm.so` is loaded, so it
//! is read from the process's memory, once a process.
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use clew_common::context::{
    JAVA_MOUNTED, JAVA_NUMBER, JAVA_STACK_BASE, JAVA_STACK_SIZE, JAVA_TID, JAVA_TID_UNKNOWN, JAVA_TLS, PLAN_JAVA, Plan,
};

use super::dynamic;
use super::image::{FileKey, Image};
use crate::capture::Pid;
use crate::discover::Proc;

/// The variable in which a thread keeps its `Thread`.
const CURRENT: &str = "_ZN6Thread12_thr_currentE";
const TABLE: &str = "gHotSpotVMStructs";
const STRIDE: &str = "gHotSpotVMStructEntryArrayStride";
const TYPE_NAME: &str = "gHotSpotVMStructEntryTypeNameOffset";
const FIELD_NAME: &str = "gHotSpotVMStructEntryFieldNameOffset";
const OFFSET: &str = "gHotSpotVMStructEntryOffsetOffset";
const ADDRESS: &str = "gHotSpotVMStructEntryAddressOffset";
const NAMES: &[&str] = &[TABLE, STRIDE, TYPE_NAME, FIELD_NAME, OFFSET, ADDRESS];

/// Releases whose threads do not tell their number themselves (before 24), with the offset of `java.lang.Thread.tid`. It is the
/// same with compressed pointers and without, and with every collector.
const TID: &[(u32, u64)] = &[(21, 24)];

/// The thread that every HotSpot starts when it has been loaded. Until it is there the library may be half mapped or half relocated, and
/// the table half filled, which reads as a machine of another kind.
const STARTED: &str = "VM Thread";

/// Entries the table may have, and bytes of a name.
const MOST_ENTRIES: u64 = 4096;
const NAME_BYTES: usize = 64;

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// The virtual machine is not loaded yet.
    #[error("the virtual machine is not loaded")]
    NotYet,
    /// It is not one that Clew knows.
    #[error("{0}")]
    Unknown(String),
}

/// Looks into virtual machines, and remembers where each build of one keeps its table.
#[derive(Debug, Default)]
pub struct Machines {
    symbols: HashMap<FileKey, HashMap<&'static str, u64>>,
}

impl Machines {
    /// How the threads of a process are told apart.
    ///
    /// # Errors
    /// [`NoPlan`] says why they are not, or not yet.
    pub fn plan(&mut self, proc: &Proc, pid: Pid) -> Result<Plan, NoPlan> {
        let unknown = |what: &str| NoPlan::Unknown(what.to_owned());
        if !cfg!(target_arch = "x86_64") {
            return Err(unknown("virtual threads are followed on x86-64 only"));
        }
        let maps = proc.maps(pid);
        let (base, path) = library(&maps).ok_or(NoPlan::NotYet)?;
        if !proc.threads(pid).iter().any(|(_, name)| name == STARTED) {
            return Err(NoPlan::NotYet);
        }
        let path = proc.of(pid, "root").join(path.trim_start_matches('/'));
        let symbols = self.symbols(path).ok_or_else(|| unknown("libjvm.so cannot be read"))?;
        let memory = Memory {
            file: File::open(proc.of(pid, "mem")).map_err(|_| unknown("the process's memory cannot be read"))?,
            base,
            symbols,
        };
        let current = *symbols
            .get(CURRENT)
            .ok_or_else(|| unknown("libjvm.so has no symbol for the current thread"))?;
        let fields = memory.fields()?;
        if fields.is_empty() {
            return Err(NoPlan::NotYet);
        }
        let field = |name: &'static str| {
            let found = fields.get(name).copied();
            found.ok_or_else(|| NoPlan::Unknown(format!("HotSpot's table has no {name}")))
        };
        let (mounted, number, tid) = match (fields.get("_cont_entry"), fields.get("_monitor_owner_id")) {
            (Some(&entry), Some(&owner)) => (entry, owner, 0),
            _ => {
                let version = field("_vm_major_version")?;
                let known = TID.iter().find(|(major, _)| u64::from(*major) == version);
                let tid = known.map_or(JAVA_TID_UNKNOWN, |(_, tid)| *tid);
                (field("_vthread")?, field("_threadObj")?, tid)
            }
        };
        let mut plan = Plan {
            kind: PLAN_JAVA,
            ..Plan::default()
        };
        for (place, value) in [
            (JAVA_TLS, current),
            (JAVA_STACK_BASE, field("_stack_base")?),
            (JAVA_STACK_SIZE, field("_stack_size")?),
            (JAVA_MOUNTED, mounted),
            (JAVA_NUMBER, number),
            (JAVA_TID, tid),
        ] {
            plan.words[place] = value;
        }
        Ok(plan)
    }

    fn symbols(&mut self, path: PathBuf) -> Option<&HashMap<&'static str, u64>> {
        const MOST_REMEMBERED: usize = 64;
        let image = Image::open(&path)?;
        let key = image.key();
        if self.symbols.len() >= MOST_REMEMBERED && !self.symbols.contains_key(&key) {
            self.symbols.clear();
        }
        Some(match self.symbols.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                // The table is for debuggers, who ask the linker; the variable is the machine's own.
                let mut symbols = dynamic::symbols(&image, ".dynsym", ".dynstr", NAMES);
                for (table, strings) in [(".symtab", ".strtab"), (".dynsym", ".dynstr")] {
                    symbols.extend(dynamic::symbols(&image, table, strings, &[CURRENT]));
                }
                free.insert(symbols)
            }
        })
    }
}

/// Where libjvm is loaded, and its path, as the process's memory maps say.
fn library(maps: &str) -> Option<(u64, &str)> {
    maps.lines().find_map(|line| {
        // ADDRESS-ADDRESS PERMISSIONS OFFSET DEVICE INODE PATH
        let mut fields = line.split_ascii_whitespace();
        let (range, offset) = (fields.next()?, fields.nth(1)?);
        let path = line.get(line.find('/')?..)?;
        let first = path.ends_with("/libjvm.so") && offset.bytes().all(|digit| digit == b'0');
        let (start, _) = range.split_once('-').filter(|_| first)?;
        Some((u64::from_str_radix(start, 16).ok()?, path))
    })
}

/// The memory of a process, with the library's names.
struct Memory<'a> {
    file: File,
    base: u64,
    symbols: &'a HashMap<&'static str, u64>,
}

impl Memory<'_> {
    /// The offsets of `JavaThread`'s fields, and the version, by name; nothing where the table is not filled yet.
    fn fields(&self) -> Result<HashMap<&'static str, u64>, NoPlan> {
        const FIELDS: &[(&str, &str)] = &[
            ("JavaThread", "_stack_base"),
            ("JavaThread", "_stack_size"),
            ("JavaThread", "_cont_entry"),
            ("JavaThread", "_monitor_owner_id"),
            ("JavaThread", "_vthread"),
            ("JavaThread", "_threadObj"),
            ("Abstract_VM_Version", "_vm_major_version"),
        ];
        let unknown = || NoPlan::Unknown("HotSpot's table of structures cannot be read".to_owned());
        let variable = |name| self.long(self.base.checked_add(*self.symbols.get(name)?)?);
        let table = variable(TABLE).ok_or_else(unknown)?;
        let stride = variable(STRIDE).filter(|stride| (32..=256).contains(stride));
        let (Some(stride), Some(type_name), Some(field_name), Some(offset), Some(address)) = (
            stride,
            variable(TYPE_NAME),
            variable(FIELD_NAME),
            variable(OFFSET),
            variable(ADDRESS),
        ) else {
            // The library is mapped, and its data not in place yet.
            return if table == 0 { Ok(HashMap::new()) } else { Err(unknown()) };
        };
        let mut found = HashMap::new();
        for index in 0..MOST_ENTRIES {
            let entry = table.wrapping_add(index * stride);
            let at = |offset: u64| self.long(entry.wrapping_add(offset));
            let Some(owner) = at(type_name).filter(|owner| *owner != 0) else {
                break;
            };
            let (Some(owner), Some(name)) = (self.name(owner), at(field_name).and_then(|name| self.name(name))) else {
                continue;
            };
            let Some(&(_, wanted)) = FIELDS.iter().find(|(of, field)| *of == owner && *field == name) else {
                continue;
            };
            let value = if wanted == "_vm_major_version" {
                at(address)
                    .and_then(|address| self.long(address))
                    .map(|value| value & 0xffff_ffff)
            } else {
                // A structure has no more than so many bytes.
                at(offset).filter(|offset| *offset < 1 << 20)
            };
            found.extend(value.map(|value| (wanted, value)));
        }
        Ok(found)
    }

    fn long(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, address).ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    fn name(&self, address: u64) -> Option<String> {
        let mut bytes = [0; NAME_BYTES];
        let read = self.file.read_at(&mut bytes, address).ok()?;
        let end = bytes.iter().take(read).position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
        Some(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries() {
        let check = |maps: &str, want: Option<(u64, &str)>| assert_eq!(library(maps), want, "{maps}");
        check(
            "7f00a000-7f00b000 r--p 00000000 fe:01 77 /usr/lib/jvm/my jdk/lib/server/libjvm.so\n\
             7f00b000-7f00c000 r-xp 00001000 fe:01 77 /usr/lib/jvm/my jdk/lib/server/libjvm.so\n",
            Some((0x7f00_a000, "/usr/lib/jvm/my jdk/lib/server/libjvm.so")),
        );
        check("7f00b000-7f00c000 r-xp 00001000 fe:01 77 /a/libjvm.so", None);
        check("7f00b000-7f00c000 r-xp 00000000 fe:01 77 /a/notlibjvm.so", None);
        check("7f00b000-7f00c000 rw-p 00000000 00:00 0 \n\n-\n/libjvm.so", None);
        check("", None);
    }

    #[test]
    fn a_process_without_a_virtual_machine() {
        let got = Machines::default().plan(&Proc::default(), Pid(std::process::id()));
        assert_eq!(got, Err(NoPlan::NotYet));
    }
}
