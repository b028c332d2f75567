//! An ELF file in which each reader finds what it looks for. Every byte is loaded at the address that is its offset, so a
//! process's memory is the file itself.

/// A section, and what its header says where that is not the truth.
pub(crate) struct Section {
    name: &'static str,
    address: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) size: Option<u64>,
    pub(crate) offset: Option<u64>,
}

/// A file before it is put together.
pub(crate) struct Elf {
    pub(crate) sections: Vec<Section>,
}

/// Size of the headers in front: the file's own and two of segments.
const HEAD: usize = 64 + 2 * 56;
/// Room of each section, so that all lie where they are said to, whatever is in them.
const ROOM: u64 = 0x2000;

impl Elf {
    pub(crate) const fn new() -> Self {
        Self { sections: Vec::new() }
    }

    /// Where the next section will lie.
    pub(crate) fn next(&self) -> u64 {
        (self.sections.len() as u64 + 1) * ROOM
    }

    pub(crate) fn section(&mut self, name: &'static str, bytes: Vec<u8>) {
        self.sections.push(Section {
            name,
            address: self.next(),
            bytes,
            size: None,
            offset: None,
        });
    }

    /// The section of this name.
    pub(crate) fn named(&mut self, name: &str) -> &mut Section {
        let found = self.sections.iter_mut().find(|section| section.name == name);
        found.expect("the file has the section")
    }

    /// The file: headers, sections, their names, their headers.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (mut names, mut headers) = (vec![0], vec![0; 64]);
        let mut file = vec![0; HEAD];
        for section in &self.sections {
            // What outgrows its room pushes the others back, and lies elsewhere than it is loaded.
            let place = usize::try_from(section.address).unwrap_or(0).max(file.len());
            file.resize(place, 0);
            file.extend(&section.bytes);
            let name = names.len() as u32;
            names.extend(section.name.bytes().chain([0]));
            let size = section.size.unwrap_or(section.bytes.len() as u64);
            let offset = section.offset.unwrap_or(place as u64);
            headers.extend(header(name, kind(section.name), section.address, offset, size));
        }
        let name = names.len() as u32;
        names.extend(b".shstrtab\0");
        headers.extend(header(name, 3, 0, file.len() as u64, names.len() as u64));
        file.extend(names);
        let headers_at = file.len() as u64;
        file.extend(&headers);
        let n_sections = (headers.len() / 64) as u16;
        let loaded = segment(1, 5, file.len() as u64, file.len() as u64);
        let head = [ident(headers_at, n_sections), loaded, segment(7, 4, 0, 8)].concat();
        file[..HEAD].copy_from_slice(&head);
        file
    }
}

/// `Elf64_Ehdr`.
fn ident(sections_at: u64, n_sections: u16) -> Vec<u8> {
    let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    head.extend([3, 0, 62, 0, 1, 0, 0, 0]);
    for word in [0, 64, sections_at] {
        head.extend(u64::to_le_bytes(word));
    }
    head.extend([0; 4]);
    for half in [64, 56, 2, 64, n_sections, n_sections - 1] {
        head.extend(u16::to_le_bytes(half));
    }
    head
}

/// `Elf64_Phdr`.
fn segment(kind: u32, flags: u32, file_size: u64, size: u64) -> Vec<u8> {
    let mut bytes = [kind.to_le_bytes(), flags.to_le_bytes()].concat();
    for word in [0, 0, 0, file_size, size, 1] {
        bytes.extend(u64::to_le_bytes(word));
    }
    bytes
}

/// `Elf64_Shdr`. The tables of symbols name their strings, which follow them, and have no local symbols.
fn header(name: u32, kind: u32, address: u64, offset: u64, size: u64) -> Vec<u8> {
    let mut bytes = [name.to_le_bytes(), kind.to_le_bytes()].concat();
    for word in [2, address, offset, size] {
        bytes.extend(u64::to_le_bytes(word));
    }
    let link = match kind {
        2 => SYMTAB + 1,
        11 => DYNSYM + 1,
        _ => 0,
    };
    bytes.extend(link.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(u64::to_le_bytes(16));
    bytes.extend(u64::to_le_bytes(24));
    bytes
}

fn kind(name: &str) -> u32 {
    match name {
        ".symtab" => 2,
        ".dynsym" => 11,
        ".strtab" | ".dynstr" => 3,
        ".rela.dyn" => 4,
        ".dynamic" => 6,
        _ => 1,
    }
}

/// Places of the tables of symbols among all sections; the first is none.
const SYMTAB: u32 = 1;
const DYNSYM: u32 = 3;

/// `Elf64_Sym`s and their names.
#[derive(Default)]
pub(crate) struct Symbols {
    pub(crate) table: Vec<u8>,
    pub(crate) names: Vec<u8>,
}

impl Symbols {
    /// A table with its first entry, which means nothing.
    pub(crate) fn new() -> Self {
        Self {
            table: vec![0; 24],
            names: vec![0],
        }
    }

    pub(crate) fn name(&mut self, name: &str) -> u32 {
        let at = self.names.len() as u32;
        self.names.extend(name.bytes().chain([0]));
        at
    }

    pub(crate) fn add(&mut self, name: u32, info: u8, address: u64, size: u64) {
        self.table.extend(name.to_le_bytes());
        self.table.extend([info, 0, 1, 0]);
        self.table.extend(address.to_le_bytes());
        self.table.extend(size.to_le_bytes());
    }
}

pub(crate) const FUNCTION: u8 = 0x12;
const VARIABLE: u8 = 0x11;

/// How Rust names a function, before version 0 of its names.
pub(crate) fn mangled(path: &str) -> String {
    let words: String = path.split("::").map(|word| format!("{}{word}", word.len())).collect();
    format!("_ZN{words}17h0123456789abcdefE")
}

/// Bytes of each function.
const FUNCTION_BYTES: usize = 64;

/// Code, a function after the other.
struct Code {
    at: u64,
    bytes: Vec<u8>,
}

impl Code {
    const fn next(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    /// A function of these bytes that calls what lies at these addresses.
    fn function(&mut self, start: &[u8], calls: &[u64]) -> u64 {
        let at = self.next();
        self.bytes.extend(start);
        for target in calls {
            let next = self.next() + 5;
            self.bytes.push(0xe8);
            self.bytes.extend((target.wrapping_sub(next) as u32).to_le_bytes());
        }
        self.bytes.push(0xc3);
        let used = (self.next() - at) as usize;
        self.bytes.extend(vec![0x90; FUNCTION_BYTES - used]);
        at
    }
}

/// `push %rbp; mov %rsp,%rbp`.
const PUSH: &[u8] = &[0x55, 0x48, 0x89, 0xe5];

/// The file.
pub(crate) fn everything() -> Elf {
    let mut elf = Elf::new();
    // The tables refer to sections by their places.
    let places: Vec<u64> = (1..16).map(|n| n * ROOM).collect();
    let [_, _, _, _, text, table, runtime, _, _, _, strings, ..] = places[..] else {
        return elf;
    };
    let mut code = Code {
        at: text,
        bytes: Vec::new(),
    };
    let (go, functions) = go(&mut code, table);
    let (mut symbols, mut dynamic) = (Symbols::new(), Symbols::new());
    tokio(&mut code, &mut symbols);
    let moved = python(&mut code, &mut symbols, &mut dynamic, runtime);
    let java = java(&mut dynamic, runtime + 0x1000);
    let mut variables = vec![0; 0x1000];
    variables[0x800..0x804].copy_from_slice(&[0, 0, 11, 3]);
    // 8 bytes at 0x310 of a thread, as C libraries tell debuggers.
    variables[0x810..0x81c].copy_from_slice(&[64, 0, 0, 0, 1, 0, 0, 0, 0x10, 3, 0, 0]);
    variables.extend(java);
    variables.resize(variables.len().next_multiple_of(8), 0);
    let (methods, texts) = queues(&mut code, strings);
    variables.extend(methods);
    for (name, bytes) in [
        (".symtab", symbols.table),
        (".strtab", symbols.names),
        (".dynsym", dynamic.table),
        (".dynstr", dynamic.names),
        (".text", code.bytes),
        (".gopclntab", go),
        (".data", variables),
        (
            ".go.buildinfo",
            b"\xff Go buildinf:\x08\x02"
                .iter()
                .copied()
                .chain([0; 16])
                .chain(*b"\x08go1.24.3")
                .collect(),
        ),
        (".rela.dyn", moved),
        (".dynamic", vec![0; 16]),
        (".rodata", texts),
        (".got", vec![0; 16]),
    ] {
        elf.section(name, bytes);
    }
    debug_assert_eq!(functions, GO.len());
    elf
}

/// Functions of Go's, each with its first bytes and those it calls, which come before.
const GO: &[(&str, &[u8], &[usize])] = &[
    ("runtime.runqput", PUSH, &[]),
    ("runtime.newproc.func1", PUSH, &[0]),
    ("gogo", &[0x64, 0x48, 0x89, 0x14, 0x25, 0xf8, 0xff, 0xff, 0xff], &[]),
    ("net/http.(*persistConn).roundTrip", PUSH, &[]),
    ("net/http.(*persistConn).writeLoop", PUSH, &[]),
    ("net/http.(*persistConn).readLoop", PUSH, &[]),
    ("net/http.(*Transport).dialConnFor", PUSH, &[]),
    ("runtime.send", PUSH, &[]),
    ("runtime.recv", PUSH, &[]),
    ("runtime.typedmemmove", PUSH, &[]),
    ("runtime.typedmemclr", PUSH, &[]),
    ("runtime.chansend", PUSH, &[7, 9]),
    ("runtime.chanrecv", PUSH, &[8, 10]),
    ("runtime.selectgo", PUSH, &[7, 8, 9, 10]),
    ("runtime.memmove", PUSH, &[]),
    ("crypto/tls.(*Conn).Read", PUSH, &[14]),
    ("crypto/tls.(*Conn).Write", PUSH, &[]),
    ("crypto/tls.(*Conn).clientHandshake", PUSH, &[]),
    ("runtime.gopark", PUSH, &[]),
    ("runtime.casgstatus", PUSH, &[]),
    ("runtime.execute", PUSH, &[19]),
];

/// The table of functions, which will lie at `table`: see `agent/src/symbol/pclntab.rs`.
fn go(code: &mut Code, table: u64) -> (Vec<u8>, usize) {
    let _ = table;
    let start = code.next();
    let mut addresses = Vec::new();
    let (mut names, mut offsets) = (vec![0], Vec::new());
    for (name, bytes, calls) in GO {
        let targets: Vec<u64> = calls.iter().map(|&call| addresses[call]).collect();
        addresses.push(code.function(bytes, &targets));
        offsets.push(names.len() as u32);
        names.extend(name.bytes().chain([0]));
    }
    let functions_at = 72 + names.len() as u64;
    let mut pclntab = vec![0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];
    for word in [GO.len() as u64, 0, start, 72, functions_at, 0, 0, functions_at] {
        pclntab.extend(word.to_le_bytes());
    }
    pclntab.extend(names);
    let relative = |address: u64| ((address - start) as u32).to_le_bytes();
    // Pairs, the end of the last function, then the functions themselves.
    let first = 8 * GO.len() as u32 + 4;
    for (n, address) in addresses.iter().enumerate() {
        pclntab.extend(relative(*address));
        pclntab.extend((first + 8 * n as u32).to_le_bytes());
    }
    pclntab.extend(relative(code.next()));
    for (address, name) in addresses.iter().zip(offsets) {
        pclntab.extend(relative(*address));
        pclntab.extend(name.to_le_bytes());
    }
    (pclntab, addresses.len())
}

/// Functions of Tokio's and hyper's.
fn tokio(code: &mut Code, symbols: &mut Symbols) {
    // mov %rdi,%fs:-8
    let store: &[u8] = &[0x64, 0x48, 0x89, 0x3c, 0x25, 0xf8, 0xff, 0xff, 0xff];
    // push %rbx; mov 0x10(%rsi),%rax; mov 0x48(%rax),%rax; mov (%rsi,%rax,1),%r14
    let reads: &[u8] = &[
        0x53, 0x48, 0x8b, 0x46, 0x10, 0x48, 0x8b, 0x40, 0x48, 0x4c, 0x8b, 0x34, 0x06,
    ];
    let mut function = |path: &str, start: &[u8], calls: &[u64]| {
        let address = code.function(start, calls);
        let name = symbols.name(&mangled(path));
        symbols.add(name, FUNCTION, address, FUNCTION_BYTES as u64);
        address
    };
    function("tokio::runtime::context::set_current_task_id", store, &[]);
    function("tokio::runtime::task::core::TaskIdGuard::enter", PUSH, &[]);
    function("tokio::runtime::task::core::TaskIdGuard::drop", PUSH, &[]);
    function("tokio::runtime::task::waker::wake_by_val", PUSH, &[]);
    function("tokio::runtime::task::waker::wake_by_ref", PUSH, &[]);
    function("tokio::runtime::io::scheduled_io::ScheduledIo::wake", PUSH, &[]);
    function("tokio::runtime::time::handle::Handle::process_at_time", PUSH, &[]);
    function("tokio::runtime::task::list::OwnedTasks::bind_inner", reads, &[]);
    function("tokio::runtime::blocking::pool::Spawner::spawn_task", reads, &[]);
    let wake = function("tokio::sync::task::atomic_waker::AtomicWaker::wake", PUSH, &[]);
    let register = function(
        "tokio::sync::task::atomic_waker::AtomicWaker::register_by_ref",
        PUSH,
        &[],
    );
    // push %rbx; mov 0x10(%rsi),%rax; and $-32,%rax; cmp %rax,0x2100(%rsi)
    let takes: &[u8] = &[
        0x53, 0x48, 0x8b, 0x46, 0x10, 0x48, 0x83, 0xe0, 0xe0, 0x48, 0x39, 0x86, 0, 0x21, 0, 0,
    ];
    // push %rbx; mov $1,%ebx; lock xadd %rbx,8(%rdi); mov %rbx,%rax; and $-32,%rax; sub 0x2100(%rsi),%rax; jne
    let claims: &[u8] = &[
        0x53, 0xbb, 1, 0, 0, 0, 0xf0, 0x48, 0x0f, 0xc1, 0x5f, 8, 0x48, 0x89, 0xd8, 0x48, 0x83, 0xe0, 0xe0, 0x48, 0x2b,
        0x86, 0, 0x21, 0, 0, 0x75, 0,
    ];
    let pop = function("tokio::sync::mpsc::list::Rx::pop", takes, &[]);
    let push = function("tokio::sync::mpsc::list::Tx::push", claims, &[]);
    let receive = function("tokio::sync::mpsc::chan::Rx::recv", PUSH, &[pop, register]);
    function("hyper::client::dispatch::Sender::try_send", PUSH, &[push, wake]);
    let next = function("hyper::client::dispatch::Receiver::poll_recv", PUSH, &[receive]);
    // push %rbx; mov (%rdx),%rsi; mov 0xc(%rdx),%eax; cmp %rcx,0x10(%rsi); cmp %eax,0x12c(%rdx)
    let takes_up: &[u8] = &[
        0x53, 0x48, 0x8b, 0x32, 0x8b, 0x42, 0x0c, 0x48, 0x39, 0x4e, 0x10, 0x39, 0x82, 0x2c, 1, 0, 0,
    ];
    let takes_up = function("h2::proto::streams::streams::OpaqueStreamRef::new", takes_up, &[]);
    let opens = function("h2::proto::streams::streams::Streams::send_request", PUSH, &[takes_up]);
    function("hyper::proto::h2::client::ClientTask::poll", PUSH, &[next, opens]);
    function("h2::proto::streams::store::Queue::push_front", PUSH, &[]);
    let spawn = function("tokio::task::spawn::spawn", PUSH, &[]);
    function("hyper::proto::h2::server::Server::poll", PUSH, &[takes_up, spawn]);
}

/// What CPython and uvloop export, with the variables at `runtime`; the pointers in the type of contexts.
fn python(code: &mut Code, symbols: &mut Symbols, dynamic: &mut Symbols, runtime: u64) -> Vec<u8> {
    let copy = code.function(PUSH, &[]);
    for (name, address) in [
        ("_PyRuntime", runtime),
        ("PyContext_Type", runtime + 0x400),
        ("PyContext_CopyCurrent", copy),
        ("Py_Version", runtime + 0x800),
        ("_thread_db_pthread_specific", runtime + 0x810),
    ] {
        let name = dynamic.name(name);
        dynamic.add(name, VARIABLE, address, 8);
    }
    for name in [
        "__pyx_f_6uvloop_4loop_6Handle__run",
        "__pyx_f_6uvloop_4loop_11TimerHandle__run",
        "__pyx_f_6uvloop_4loop___uv_stream_on_read",
        "__pyx_f_6uvloop_4loop___uv_stream_buffered_on_read",
        "__pyx_f_6uvloop_4loop_15UVBaseTransport__call_connection_made",
        "__pyx_f_6uvloop_4loop_8UVStream__initiate_write",
    ] {
        let name = symbols.name(name);
        symbols.add(name, FUNCTION, copy, 16);
    }
    let mut moved = Vec::new();
    for at in [48, 312] {
        for word in [runtime + 0x400 + at, 8, copy] {
            moved.extend(word.to_le_bytes());
        }
    }
    moved
}

/// The methods of CPython's queues, with their texts, which will lie at `strings`.
fn queues(code: &mut Code, strings: u64) -> (Vec<u8>, Vec<u8>) {
    let function = code.function(PUSH, &[]);
    let (mut table, mut texts) = (Vec::new(), b"/tokio-1.0/\0".to_vec());
    for (name, flags, doc) in [
        ("put\0", 0x82, "put($self, /, item, block=True, timeout=None)\n--\n\0"),
        ("put_nowait\0", 0x82, "put_nowait($self, /, item)\n--\n\0"),
        ("get\0", 0x282, "get($self, /, block=True, timeout=None)\n--\n\0"),
        ("get_nowait\0", 0x282, "get_nowait($self, /)\n--\n\0"),
    ] {
        let mut text = |text: &str| {
            let at = strings + texts.len() as u64;
            texts.extend(text.bytes());
            at
        };
        for word in [text(name), function, flags, text(doc)] {
            table.extend(word.to_le_bytes());
        }
    }
    (table, texts)
}

/// HotSpot's table of structures, which will lie at `at`, with the variables that describe it.
fn java(dynamic: &mut Symbols, at: u64) -> Vec<u8> {
    const STRIDE: u64 = 48;
    let fields: [(&[u8], &[u8], u64); 4] = [
        (b"JavaThread\0", b"_stack_base\0", 0x100),
        (b"JavaThread\0", b"_stack_size\0", 0x108),
        (b"JavaThread\0", b"_cont_entry\0", 0x110),
        (b"JavaThread\0", b"_monitor_owner_id\0", 0x118),
    ];
    // Six variables, the table and its end, the names.
    let table = at + 48;
    let names_at = table + (fields.len() as u64 + 1) * STRIDE;
    let (mut entries, mut names) = (Vec::new(), Vec::<u8>::new());
    for (owner, field, offset) in fields {
        let mut name = |text: &[u8]| {
            let place = names_at + names.len() as u64;
            names.extend(text);
            place
        };
        for word in [name(owner), name(field), 0, 0, offset, 0] {
            entries.extend(word.to_le_bytes());
        }
    }
    entries.extend(vec![0; STRIDE as usize]);
    let mut bytes = Vec::new();
    let variables = [
        ("gHotSpotVMStructs", table),
        ("gHotSpotVMStructEntryArrayStride", STRIDE),
        ("gHotSpotVMStructEntryTypeNameOffset", 0),
        ("gHotSpotVMStructEntryFieldNameOffset", 8),
        ("gHotSpotVMStructEntryOffsetOffset", 32),
        ("gHotSpotVMStructEntryAddressOffset", 40),
    ];
    for (n, (name, value)) in variables.into_iter().enumerate() {
        let name = dynamic.name(name);
        dynamic.add(name, VARIABLE, at + 8 * n as u64, 8);
        bytes.extend(value.to_le_bytes());
    }
    let current = dynamic.name("_ZN6Thread12_thr_currentE");
    dynamic.add(current, 0x16, 0x20, 8);
    bytes.extend(entries);
    bytes.extend(names);
    bytes
}
