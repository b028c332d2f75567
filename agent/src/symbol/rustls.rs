//! rustls: where plaintext is given to a session and taken from it, and where it reads from and writes to its connection
//! (`ebpf/src/rustls.rs`).
//!
//! Functions are found in the symbol table, so a program that was stripped has none. How far the parts of a session lie from each
//! other is read off the instructions of the functions that hand them on; a program in which it does not show is left alone.
use std::collections::{BTreeSet, HashMap, HashSet};

use clew_common::event::SOURCE_RUSTLS;
use clew_common::tls::{Cookie, RUSTLS_FLUSH, RUSTLS_GIVE, RUSTLS_READ};
use iced_x86::Register;

use super::functions::{Function, Functions, Site, calls};
use super::image::Image;
use super::{Encryption, Point, flow};

const GIVE: &str = "rustls::common_state::CommonState::buffer_plaintext";
const TAKE: &str = "rustls::common_state::CommonState::take_received_plaintext";
const FLUSH: &str = "rustls::vecbuf::ChunkVecBuffer::write_to";
const READ: &str = "rustls::msgs::deframer::buffers::DeframerVecBuffer::read";
/// The same in versions before 0.23.13.
const READ_BEFORE: &str = "rustls::msgs::deframer::MessageDeframer::read";
const GROW: &str = "alloc::collections::vec_deque::VecDeque::grow";

/// Functions that hand on what passes a session, where they are not a part of others: each has to call the one that is watched, or
/// what it hands on would be missed.
const HANDED: &[(&str, &str)] = &[
    ("tokio_rustls::common::Stream::read_io", READ),
    ("rustls::client::tls12::ExpectTraffic::handle", TAKE),
    ("rustls::client::tls13::ExpectTraffic::handle", TAKE),
    ("rustls::server::tls12::ExpectTraffic::handle", TAKE),
    ("rustls::server::tls13::ExpectTraffic::handle", TAKE),
    ("rustls::conn::connection::send_plaintext", GIVE),
    ("rustls::conn::ConnectionCommon::send_plaintext", GIVE),
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
    let mut names = vec![GIVE, TAKE, FLUSH, READ, READ_BEFORE];
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

struct Program<'a> {
    image: &'a Image,
    functions: &'a Functions,
    named: &'a HashMap<&'static str, Vec<Function>>,
}

impl Program<'_> {
    /// The probes and their numbers: those that show a session's beginning come last, when all else of it is seen.
    fn points(&self, grow: &[Function]) -> Result<Vec<(Point, u64)>, &'static str> {
        let (give, flush) = (self.only(GIVE)?, self.only(FLUSH)?);
        let take = self.only(TAKE)?;
        let read = self.only(READ).or_else(|_| self.only(READ_BEFORE))?;
        let watched = [read, flush, give, take];
        let targets = grow.iter().chain(watched).map(|function| function.address);
        let sites = calls(self.image, &targets.collect()).ok_or("it is too large")?;
        for (name, target) in HANDED {
            let target = if *target == READ { read } else { self.only(target)? };
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
        // A piece of plaintext is handed over as it is read in the kernel (`ebpf/src/rustls.rs`).
        let looks = |function, argument, wanted: &[u32]| {
            let found = flow::looks_at(&self.code(function).unwrap_or_default(), function.address, argument);
            wanted.iter().all(|at| found.contains(at))
        };
        if !looks(give, Register::RSI, &[0, 0x10, 0x18]) || !looks(take, Register::RSI, &[0, 8, 0x10]) {
            return Err("it hands plaintext over in another way than Clew knows");
        }
        let [first, second] = buffers;
        let calls = [
            ("rustls_moves", flush, RUSTLS_FLUSH, queue),
            ("rustls_moves", read, RUSTLS_READ, 0),
        ];
        let mut all = vec![
            ("rustls_done", give, RUSTLS_GIVE, 0),
            ("rustls_done", flush, RUSTLS_FLUSH, queue),
            ("rustls_done", read, RUSTLS_READ, 0),
            ("rustls_takes", take, first.cast_unsigned(), second),
            ("rustls_gives", give, RUSTLS_GIVE, 0),
        ];
        all.extend(calls);
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

    /// A probe at the very start of a function, where its arguments are and its return address is on top of the stack.
    fn start(&self, program: &'static str, function: &Function) -> Result<Point, &'static str> {
        const COSTLY: &str = "its functions have no cheap place for a probe";
        let code = self.code(function).ok_or(COSTLY)?;
        let at = flow::first_emulated(&code, function.address).filter(|at| *at == function.address);
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
