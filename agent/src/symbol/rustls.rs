//! rustls: where plaintext is given to a session and taken from it, and where it reads from and writes to its connection
//! (`ebpf/src/rustls.rs`).
//!
//! Functions are found in the symbol table, so a program that was stripped has none. How far the parts of a session lie from each
//! other is read off the instructions of the functions that hand them on; a program in which it does not show is left alone.
use std::collections::{BTreeSet, HashMap, HashSet};

use clew_common::event::SOURCE_RUSTLS;
use clew_common::tls::{Cookie, RUSTLS_FLUSH, RUSTLS_GIVE, RUSTLS_GIVE_SLICE, RUSTLS_READ};
use iced_x86::Register;

use super::functions::{Function, Functions, Site, calls};
use super::image::Image;
use super::{Encryption, Point, flow};

const GIVE: &str = "rustls::common_state::CommonState::buffer_plaintext";
/// The same in versions before 0.23, which are given a slice.
const GIVE_SLICE: &str = "rustls::common_state::CommonState::send_some_plaintext";
const TAKE: &str = "rustls::common_state::CommonState::take_received_plaintext";
/// What takes plaintext before 0.23, of which [`TAKE`] is a part.
const HANDLE: [&str; 4] = [
    "rustls::client::tls12::ExpectTraffic::handle",
    "rustls::client::tls13::ExpectTraffic::handle",
    "rustls::server::tls12::ExpectTraffic::handle",
    "rustls::server::tls13::ExpectTraffic::handle",
];
const FLUSH: &str = "rustls::vecbuf::ChunkVecBuffer::write_to";
const READ: &str = "rustls::msgs::deframer::buffers::DeframerVecBuffer::read";
/// The same in versions before 0.23.13.
const READ_BEFORE: &str = "rustls::msgs::deframer::MessageDeframer::read";
const GROW: &str = "alloc::collections::vec_deque::VecDeque::grow";

/// Functions that hand on what passes a session, where they are not a part of others: each has to call the one that is watched, or
/// what it hands on would be missed.
const HANDED: &[(&str, &str)] = &[
    ("tokio_rustls::common::Stream::read_io", READ),
    (HANDLE[0], TAKE),
    (HANDLE[1], TAKE),
    (HANDLE[2], TAKE),
    (HANDLE[3], TAKE),
    ("rustls::conn::connection::send_plaintext", GIVE),
    ("rustls::conn::ConnectionCommon::send_plaintext", GIVE),
    ("rustls::conn::ConnectionCommon::write", GIVE_SLICE),
    ("rustls::conn::ConnectionCommon::write_vectored", GIVE_SLICE),
];

/// Most of a function that is looked at, bytes.
const FUNCTION_BYTES: usize = 32 << 10;
/// How far the parts of a session lie from each other at most, bytes.
const MOST_APART: i64 = 8192;
/// Functions that read from connections that are looked at.
const MOST_READERS: usize = 64;

/// The probes in a program with rustls; none if it has none, or if it is stripped.
pub(super) fn encryption(image: &Image) -> Option<Encryption> {
    let names = image.section(&[".strtab"])?;
    if !image.holds(names, b"ChunkVecBuffer") {
        return None;
    }
    let functions = Functions::read(image)?;
    let mut names = vec![GIVE, GIVE_SLICE, TAKE, FLUSH, READ, READ_BEFORE];
    names.extend(HANDED.iter().map(|(name, _)| *name));
    let named = functions.named(&["rustls"], &names, "rustls::vecbuf::")?;
    named.get(FLUSH)?;
    let grow = functions.named(&["vec_deque"], &[GROW], "rustls::vecbuf::")?;
    let program = Program {
        image,
        functions: &functions,
        named: &named,
    };
    let (points, limits) = match program.points(grow.get(GROW).map_or(&[], Vec::as_slice)) {
        Ok(points) => (points, Vec::new()),
        Err(why) => (Vec::new(), vec![format!("what rustls encrypts is not seen: {why}")]),
    };
    Some(Encryption {
        points,
        name: "rustls".into(),
        limits,
    })
}

/// Messages are told from each other by numbers that no room of a vector has.
const MESSAGE_TAGS: std::ops::Range<u64> = 1 << 63..(1 << 63) + 4;

/// What differs between versions of rustls.
struct Version<'a> {
    give: &'a Function,
    give_program: &'static str,
    /// A `RUSTLS_GIVE` number.
    how: u16,
    takes: Vec<&'a Function>,
    take_program: &'static str,
}

struct Program<'a> {
    image: &'a Image,
    functions: &'a Functions,
    named: &'a HashMap<&'static str, Vec<Function>>,
}

impl Program<'_> {
    /// The probes and their numbers: those that show a session's beginning come last, when all else of it is seen.
    fn points(&self, grow: &[Function]) -> Result<Vec<(Point, u64)>, &'static str> {
        let flush = self.only(FLUSH)?;
        let read = self.only(READ).or_else(|_| self.only(READ_BEFORE))?;
        let version = self.version()?;
        let (give, takes) = (version.give, version.takes);
        let watched = [read, flush, give].into_iter().chain(takes.iter().copied());
        let targets = grow.iter().chain(watched).map(|function| function.address);
        let sites = calls(self.image, &targets.collect()).ok_or("it is too large")?;
        for (name, target) in HANDED {
            let target = match *target {
                READ => read,
                // It has the other one.
                TAKE | GIVE | GIVE_SLICE if !self.named.contains_key(target) => continue,
                target => self.only(target)?,
            };
            let calls = sites.get(&target.address).map_or(&[][..], Vec::as_slice);
            let within = |function: &Function, site: &Site| {
                (function.address..function.address.saturating_add(function.size)).contains(&site.address)
            };
            let functions = self.named.get(name).map_or(&[][..], Vec::as_slice);
            if !functions
                .iter()
                .all(|function| calls.iter().any(|site| within(function, site)))
            {
                return Err("the compiler has made parts of it one with others");
            }
        }
        let grows: Vec<u64> = grow
            .iter()
            .filter_map(|function| sites.get(&function.address))
            .flatten()
            .map(|site| site.address)
            .collect();
        let queue = self
            .queue(give, flush, &grows)
            .ok_or("where a session keeps its records does not show")?;
        let buffers = self
            .buffers(&sites, read, flush, queue)
            .ok_or("where a session keeps what it has read does not show")?;
        let [first, second] = buffers;
        let mut all = vec![
            ("rustls_done", give, version.how, 0),
            ("rustls_done", flush, RUSTLS_FLUSH, queue),
            ("rustls_done", read, RUSTLS_READ, 0),
        ];
        let takes = takes.into_iter();
        all.extend(takes.map(|take| (version.take_program, take, first.cast_unsigned(), second)));
        all.extend([
            (version.give_program, give, version.how, 0),
            ("rustls_moves", flush, RUSTLS_FLUSH, queue),
            ("rustls_moves", read, RUSTLS_READ, 0),
        ]);
        all.into_iter()
            .map(|(program, function, first, second)| {
                let cookie = Cookie {
                    source: SOURCE_RUSTLS,
                    first,
                    second: second.cast_unsigned(),
                };
                Ok((self.start(program, function)?, cookie.pack()))
            })
            .collect()
    }

    /// Which functions are given plaintext and take it, and that they hand it over as it is read in the kernel (`ebpf/src/rustls.rs`).
    fn version(&self) -> Result<Version<'_>, &'static str> {
        let looks = |function: &Function, argument, wanted: &[u32]| {
            let found = flow::looks_at(&self.code(function).unwrap_or_default(), function.address, argument);
            wanted.iter().all(|at| found.contains(at))
        };
        let version = if self.named.contains_key(GIVE_SLICE) {
            let takes: Result<Vec<_>, _> = HANDLE
                .iter()
                .filter(|name| self.named.contains_key(**name))
                .map(|name| self.only(name))
                .collect();
            Version {
                give: self.only(GIVE_SLICE)?,
                give_program: "rustls_gives_slice",
                how: RUSTLS_GIVE_SLICE,
                takes: takes?,
                take_program: "rustls_takes_message",
            }
        } else {
            Version {
                give: self.only(GIVE)?,
                give_program: "rustls_gives",
                how: RUSTLS_GIVE,
                takes: vec![self.only(TAKE)?],
                take_program: "rustls_takes",
            }
        };
        // A slice is in registers, whoever compiles.
        let is_known = if version.how == RUSTLS_GIVE_SLICE {
            !version.takes.is_empty()
                && version.takes.iter().all(|take| {
                    looks(take, Register::RDX, &[0])
                        && looks(take, Register::RCX, &[0, 8, 0x10, 0x18])
                        && flow::knows(&self.code(take).unwrap_or_default(), take.address, MESSAGE_TAGS)
                })
        } else {
            looks(version.give, Register::RSI, &[0, 0x10, 0x18])
                && version
                    .takes
                    .iter()
                    .all(|take| looks(take, Register::RSI, &[0, 8, 0x10]))
        };
        if !is_known {
            return Err("it hands plaintext over in another way than Clew knows");
        }
        Ok(version)
    }

    /// The only function of that name: two would be two versions of rustls in one program.
    fn only(&self, name: &str) -> Result<&Function, &'static str> {
        match self.named.get(name).map(Vec::as_slice) {
            Some([one]) => Ok(one),
            None => Err("its functions are others than those of the versions Clew knows"),
            Some(_) => Err("the program has several versions of it"),
        }
    }

    fn code(&self, function: &Function) -> Option<Vec<u8>> {
        let most = usize::try_from(function.size).ok()?.min(FUNCTION_BYTES);
        self.image.code(function.address, most)
    }

    /// A probe where a function begins, while its first argument is where it was given and its return address on top of the stack. Of
    /// the others that is known at the very start alone.
    fn start(&self, program: &'static str, function: &Function) -> Result<Point, &'static str> {
        const COSTLY: &str = "its functions have no cheap place for a probe";
        let code = self.code(function).ok_or(COSTLY)?;
        let needs_one = matches!(program, "rustls_moves" | "rustls_done");
        let at = flow::first_emulated(&code, function.address).filter(|at| needs_one || *at == function.address);
        let points = self.image.points(vec![(program, at.ok_or(COSTLY)?)]);
        points.into_iter().next().ok_or(COSTLY)
    }

    /// How far behind a session's state the queue of its records lies: the function that plaintext is given to lets the queue
    /// grow, and the function that writes records looks at what the queue has.
    fn queue(&self, give: &Function, flush: &Function, grows: &[u64]) -> Option<i16> {
        let given = flow::given(&self.code(give)?, give.address, grows);
        // Another queue, for plaintext that comes too early, is given to it beside the state.
        let mut places = given.into_iter().filter_map(|(_, spot)| flow::behind_first(spot));
        let place = places.next()?;
        if !places.all(|other| other == place) {
            return None;
        }
        // A `VecDeque`: room, address, first, number. Whether there is any is asked first.
        let looks = flow::looks_at(&self.code(flush)?, flush.address, Register::RDI);
        let own = looks.first()?.checked_sub(0x18)?;
        let whole = [0, 8, 0x10, 0x18].iter().all(|at| looks.contains(&(own + at)));
        let queue = place.checked_sub(i64::from(own)).filter(|at| *at < MOST_APART)?;
        (whole && queue >= 0).then(|| i16::try_from(queue).ok())?
    }

    /// How far behind a session's state the buffer it reads into lies, in a client's and in a server's: functions that read and
    /// write for the same session tell.
    fn buffers(
        &self,
        sites: &HashMap<u64, Vec<Site>>,
        read: &Function,
        flush: &Function,
        queue: i16,
    ) -> Option<[i16; 2]> {
        let at = |function: &Function| -> &[Site] { sites.get(&function.address).map_or(&[], Vec::as_slice) };
        let reads: Vec<u64> = at(read).iter().map(|site| site.address).collect();
        let flushes: Vec<u64> = at(flush).iter().map(|site| site.address).collect();
        let mut readers: HashSet<(u64, u64)> = HashSet::new();
        for site in &reads {
            let around = self.functions.around(*site).first();
            readers.extend(around.map(|function| (function.address, function.size)));
        }
        if readers.len() > MOST_READERS {
            return None;
        }
        let mut apart = BTreeSet::new();
        for (address, size) in readers {
            let most = usize::try_from(size).ok()?.min(FUNCTION_BYTES);
            let code = self.image.code(address, most)?;
            let given = |calls: &[u64]| flow::given(&code, address, calls);
            for (_, buffer) in given(&reads) {
                for (_, records) in given(&flushes) {
                    let Some(distance) = buffer.from(records) else { continue };
                    apart.insert(i16::try_from(distance.checked_add(i64::from(queue))?).ok()?);
                }
            }
        }
        let mut all = apart.into_iter();
        let first = all.next()?;
        let second = all.next().unwrap_or(first);
        all.next().is_none().then_some([first, second])
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn others() {
        for path in ["/bin/sh", "/proc/self/exe"] {
            let Some(image) = Image::open(Path::new(path)) else {
                continue;
            };
            let _any = encryption(&image);
        }
    }
}
