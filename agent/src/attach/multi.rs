//! Links that hold many user probes at once (`BPF_TRACE_UPROBE_MULTI`, Linux 6.6).
//!
//! aya 0.14 makes a perf event of each probe, which the kernel lets go one after the other, each for a grace period of some 70 ms: a
//! second and more for those of one library. A link of many goes in one. Its programs are loaded here: the kernel has to be told at
//! loading what they are for, and aya does not tell it.
use std::collections::HashMap;
use std::ffi::{CString, c_char};
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya::maps::{Map, MapData};
use aya::{Ebpf, EbpfError};
use aya_obj::generated::{BPF_F_UPROBE_MULTI_RETURN, bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type};
use aya_obj::{Object, ProgramSection};

use super::patiently;

const FOR_MANY: u32 = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;

/// Programs for probes in user code, loaded when first needed.
pub(super) struct Multi {
    /// The object's type information, by which the verifier knows global functions.
    btf: OwnedFd,
    programs: HashMap<String, Program>,
}

struct Program {
    license: CString,
    instructions: Vec<bpf_insn>,
    /// `struct bpf_func_info`s, and the size of one.
    functions: Vec<u8>,
    function_bytes: usize,
    /// It runs where a function returns to.
    at_return: bool,
    loaded: Option<OwnedFd>,
}

impl Multi {
    /// Prepares the programs of `object`, the bytes that `ebpf` was loaded from, to use the maps of `ebpf`. None of those may have been
    /// taken out of it.
    ///
    /// # Errors
    /// What the object lacks, or why the kernel does not take its type information.
    pub(super) fn new(object: &[u8], ebpf: &Ebpf) -> Result<Self, EbpfError> {
        let mut object = Object::parse(object)?;
        let btf = match aya::features().btf() {
            Some(features) => object
                .fixup_and_sanitize_btf(features)?
                .map(|btf| load_btf(&btf.to_bytes())),
            None => None,
        };
        let btf = btf
            .unwrap_or_else(|| Err(io::ErrorKind::Unsupported.into()))
            .map_err(|error| EbpfError::FileError {
                path: "BTF of the kernel object".into(),
                error,
            })?;
        let text = object.functions.keys().map(|(section, _)| *section).collect();
        let maps = std::mem::take(&mut object.maps);
        let places = ebpf.maps().filter_map(|(name, map)| {
            let (name, map_object) = maps.get_key_value(name)?;
            Some((name.as_str(), descriptor(map)?, map_object))
        });
        object.relocate_maps(places, &text)?;
        object.relocate_calls(&text)?;
        object.sanitize_functions(aya::features());
        let programs = object.programs.iter().filter_map(|(name, program)| {
            let at_return = match program.section {
                ProgramSection::UProbe { .. } => false,
                ProgramSection::URetProbe { .. } => true,
                _ => return None,
            };
            let function = object.functions.get(&program.function_key())?;
            let prepared = Program {
                license: program.license.clone(),
                instructions: function.instructions.clone(),
                functions: function.func_info.func_info_bytes(),
                function_bytes: function.func_info_rec_size,
                at_return,
                loaded: None,
            };
            Some((name.clone(), prepared))
        });
        Ok(Self {
            btf,
            programs: programs.collect(),
        })
    }

    /// Has the kernel verify `program`, unless it has.
    ///
    /// # Errors
    /// What bpf(2) says.
    pub(super) fn load(&mut self, program: &str) -> io::Result<()> {
        let entry = self.programs.get_mut(program).ok_or(io::ErrorKind::NotFound)?;
        entry.load(program, self.btf.as_fd()).map(drop)
    }

    /// Attaches `program` at places of the file at `path`: offsets of instructions, each with its number. Dropping the link lets all go.
    ///
    /// # Errors
    /// What bpf(2) says.
    pub(super) fn attach(&mut self, program: &str, path: &Path, places: &[(u64, u64)]) -> io::Result<OwnedFd> {
        let entry = self.programs.get_mut(program).ok_or(io::ErrorKind::NotFound)?;
        let path = CString::new(path.as_os_str().as_bytes())?;
        let (offsets, cookies): (Vec<u64>, Vec<u64>) = places.iter().copied().unzip();
        let at_return = if entry.at_return { BPF_F_UPROBE_MULTI_RETURN } else { 0 };
        let loaded = entry.load(program, self.btf.as_fd())?;
        // SAFETY: zero is a value of all that the union holds.
        let mut attributes: bpf_attr = unsafe { zeroed() };
        // SAFETY: this is the member that BPF_LINK_CREATE reads.
        let link = unsafe { &mut attributes.link_create };
        link.__bindgen_anon_1.prog_fd = number(loaded);
        link.attach_type = FOR_MANY;
        // SAFETY: this is the member that it reads for this type.
        let many = unsafe { &mut link.__bindgen_anon_3.uprobe_multi };
        many.path = path.as_ptr() as u64;
        many.offsets = offsets.as_ptr() as u64;
        many.cookies = cookies.as_ptr() as u64;
        many.cnt = count(offsets.len())?;
        many.flags = at_return;
        // SAFETY: what the attributes point to lives until the call is over.
        unsafe { bpf(bpf_cmd::BPF_LINK_CREATE, &attributes) }
    }
}

impl Program {
    /// The loaded program.
    fn load(&mut self, name: &str, btf: BorrowedFd<'_>) -> io::Result<BorrowedFd<'_>> {
        let loaded = match self.loaded.take() {
            Some(loaded) => loaded,
            None => self.load_now(name, btf)?,
        };
        let loaded: &OwnedFd = self.loaded.insert(loaded);
        Ok(loaded.as_fd())
    }

    fn load_now(&self, name: &str, btf: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        // SAFETY: zero is a value of all that the union holds.
        let mut attributes: bpf_attr = unsafe { zeroed() };
        // SAFETY: this is the member that BPF_PROG_LOAD reads.
        let program = unsafe { &mut attributes.__bindgen_anon_3 };
        // The last byte stays zero.
        let room = program.prog_name.len() - 1;
        for (to, from) in program.prog_name.iter_mut().take(room).zip(name.bytes()) {
            *to = c_char::from_ne_bytes([from]);
        }
        program.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
        program.expected_attach_type = FOR_MANY;
        program.insns = self.instructions.as_ptr() as u64;
        program.insn_cnt = count(self.instructions.len())?;
        program.license = self.license.as_ptr() as u64;
        program.prog_btf_fd = number(btf);
        program.func_info = self.functions.as_ptr() as u64;
        program.func_info_rec_size = count(self.function_bytes)?;
        program.func_info_cnt = count(self.functions.len() / self.function_bytes.max(1))?;
        // SAFETY: what the attributes point to lives until the call is over.
        patiently(|| unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &attributes) })
    }
}

fn load_btf(bytes: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: zero is a value of all that the union holds.
    let mut attributes: bpf_attr = unsafe { zeroed() };
    // SAFETY: this is the member that BPF_BTF_LOAD reads.
    let btf = unsafe { &mut attributes.__bindgen_anon_7 };
    btf.btf = bytes.as_ptr() as u64;
    btf.btf_size = count(bytes.len())?;
    // SAFETY: what the attributes point to lives until the call is over.
    unsafe { bpf(bpf_cmd::BPF_BTF_LOAD, &attributes) }
}

/// bpf(2), for commands that make a descriptor.
///
/// # Safety
/// The addresses in `attributes` are those of readable memory as `command` wants it.
unsafe fn bpf(command: bpf_cmd, attributes: &bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the caller vouches for the addresses; the size is that of what is handed over.
    let made = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            std::ptr::from_ref(attributes),
            size_of::<bpf_attr>(),
        )
    };
    let made = RawFd::try_from(made).map_err(|_| io::ErrorKind::InvalidData)?;
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// The descriptor of a map of a kind that the kernel programs have.
fn descriptor(map: &Map) -> Option<RawFd> {
    let data: &MapData = match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data)
        | Map::SkStorage(data) => data,
        _ => return None,
    };
    Some(data.fd().as_fd().as_raw_fd())
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn count(length: usize) -> io::Result<u32> {
    u32::try_from(length).map_err(|_| io::ErrorKind::InvalidInput.into())
}
