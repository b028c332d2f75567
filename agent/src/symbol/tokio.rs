//! Tokio: tasks, and hyper's client connections.
//!
//! Everything is found in the symbol table and in what the instructions of Tokio's functions do, so no version is known by
//! name: one whose functions are of another shape is not followed. A stripped program has no names, and is not followed. What the
//! optimizer makes parts of other functions is found there by what its instructions do; what it has not seen is looked at as it is.
mod local;
mod streams;
mod timed;
mod wakes;

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use clew_common::context::{PLAN_TOKIO, Plan, TOKIO_HEADER, TOKIO_SENDS, TOKIO_TASK, TOKIO_WAITS, TOKIO_WAKES};

use iced_x86::Register;

use self::local::Local;
pub(super) use self::timed::{CALLED, ENTERS, LEAVES, POLLS, WOKEN};
use super::functions::{Function, Functions, Site, calls};
use super::image::Image;
use super::{Hooks, NoHooks, flow};

const SET_TASK: &str = "tokio::runtime::context::set_current_task_id";
const ENTER: &str = "tokio::runtime::task::core::TaskIdGuard::enter";
const BIND: &str = "tokio::runtime::task::list::OwnedTasks::bind_inner";
const BLOCKING: &str = "tokio::runtime::blocking::pool::Spawner::spawn_task";
const WAKE: &str = "tokio::sync::task::atomic_waker::AtomicWaker::wake";
const REGISTER: &str = "tokio::sync::task::atomic_waker::AtomicWaker::register_by_ref";
/// Puts a message into a channel; whoever waits is woken behind it.
const PUSH: &str = "tokio::sync::mpsc::list::Tx::push";
/// What its parts are reached by where nothing is optimized: it gives its argument back.
const PART: &str = "tokio::util::cacheline::CachePadded::deref";
/// Makes a task of a `LocalSet` runnable: a new one, or one that is woken.
const SCHEDULE: &str = "tokio::task::local::Shared::schedule";
/// Runs the tasks of a `LocalSet`; whoever does waits for them before.
const TICK: &str = "tokio::task::local::LocalSet::tick";
const RECEIVE: &str = "tokio::sync::mpsc::chan::Rx::recv";
const POP: &str = "tokio::sync::mpsc::list::Rx::pop";
/// Puts back the number that [`ENTER`] replaced.
const LEAVE: &str = "tokio::runtime::task::core::TaskIdGuard::drop";
const LEAVE_GLUE: &str = "core::ptr::drop_in_place<tokio::runtime::task::core::TaskIdGuard>";
/// These are functions by themselves only where nothing is optimized.
const SET_WITHIN: &str = "tokio::runtime::context::set_current_task_id::{{closure}}";
const CONTEXT: &str = "tokio::runtime::context::CONTEXT::{{constant}}::{{closure}}";
const STORAGE: &str = "std::sys::thread_local::native::eager::Storage::get";
const ID: &str = "tokio::runtime::task::core::Header::get_id_ptr";
const POLL_FN: &str = "core::future::poll_fn::PollFn::poll";
/// Before hyper 1 a connection's task looks for a request by this.
const NOW: &str = "futures_util::future::future::FutureExt::now_or_never";
const NAMES: &[&str] = &[
    SET_TASK,
    ENTER,
    BIND,
    BLOCKING,
    WAKE,
    REGISTER,
    PUSH,
    PART,
    SCHEDULE,
    TICK,
    RECEIVE,
    POP,
    LEAVE,
    LEAVE_GLUE,
    SET_WITHIN,
    CONTEXT,
    STORAGE,
    ID,
    POLL_FN,
    NOW,
    streams::TAKES_UP,
    streams::SPAWN[0],
    streams::SPAWN[1],
    streams::SPAWN[2],
    streams::OPENS[0],
    streams::OPENS[1],
    streams::WRITES,
    timed::WAKE_BY_VALUE,
    timed::WAKE_BY_REFERENCE,
    timed::WAKE_ALL,
    timed::NETWORK[0],
    timed::NETWORK[1],
    timed::CLOCK[0],
    timed::CLOCK[1],
    timed::CLOCK[2],
    timed::CLOCK[3],
];
/// The names of all these have one of these words in them.
const ROOTS: &[&str] = &[
    "tokio",
    "thread_local",
    "poll_fn",
    "now_or_never",
    "OpaqueStreamRef",
    "send_request",
    "push_front",
];
/// Every program of Rust may have these.
const COMMON: &[&str] = &[
    STORAGE,
    POLL_FN,
    NOW,
    streams::TAKES_UP,
    streams::OPENS[0],
    streams::OPENS[1],
    streams::WRITES,
];

/// Functions in which an HTTP/1 client gives its connection a request. The connection takes the next when it is done.
const GIVERS: &[&str] = &[
    "hyper::client::dispatch::Sender::",
    "hyper::client::conn::http1::SendRequest::",
    // Before hyper 1.
    "hyper::client::conn::SendRequest::",
];
/// Functions in which the connection's task waits for one.
const TAKERS: &[&str] = &[
    "hyper::client::dispatch::Receiver::",
    "hyper::proto::h1::dispatch::",
    "hyper::client::conn::http1::",
    "hyper::common::task::now_or_never",
];
const CHANNELS: &str = "tokio::sync::mpsc::";
/// They wait for the time, not for messages.
const TIMERS: &[&str] = &["tokio::runtime::time::", "tokio::time::"];

/// Most of a function that is looked at, bytes.
const FUNCTION_BYTES: usize = 1024;
/// Names of callers that are looked at.
const MOST_NAMES: usize = 200_000;
/// How deep one function of channels may call another.
const DEPTH: usize = 6;
/// Most probes in one program.
const MOST_POINTS: usize = 64;

/// How tasks of the program `image` are followed; none if it has no Tokio.
pub(super) fn hooks(image: &Image) -> Option<Result<Hooks, NoHooks>> {
    let Some(functions) = Functions::read(image) else {
        // Paths of its sources stand in its messages.
        let rodata = image.section(&[".rodata"])?;
        return image
            .holds(rodata, b"/tokio-1.")
            .then(|| Err(NoHooks::Unknown("the program is stripped of its symbols".to_owned())));
    };
    let Some(named) = functions.named(ROOTS, NAMES, CHANNELS) else {
        return Some(Err(NoHooks::Unknown("the program has too many symbols".to_owned())));
    };
    let has_tokio = named.keys().any(|name| !COMMON.contains(name));
    has_tokio.then(|| {
        let called = [WAKE, REGISTER, CHANNELS, POLL_FN, NOW, PART, SCHEDULE, TICK];
        let called = called
            .iter()
            .chain(&streams::SPAWN)
            .chain(&streams::OPENS)
            .chain([&streams::TAKES_UP])
            .filter_map(|name| named.get(name))
            .flatten();
        let sites = calls(image, &called.map(|function| function.address).collect());
        followed(&Program {
            image,
            functions: &functions,
            named: &named,
            sites: &sites.unwrap_or_default(),
            left: Cell::new(MOST_NAMES),
        })
    })
}

fn followed(program: &Program<'_>) -> Result<Hooks, NoHooks> {
    let unknown = |what: &str| NoHooks::Unknown(what.to_owned());
    let image = program.image;
    let task = program
        .task()
        .ok_or_else(|| unknown("Tokio keeps its running task elsewhere than Clew knows"))?;
    let mut plan = Plan {
        kind: PLAN_TOKIO,
        ..Plan::default()
    };
    plan.words[TOKIO_TASK] = task.cast_unsigned();
    let mut limits = Vec::new();
    let mut points = Vec::new();
    let mut places = Vec::new();
    match program.client() {
        Ok(client) => {
            pack(&mut plan.words[TOKIO_SENDS], &client.sends);
            pack(&mut plan.words[TOKIO_WAITS], &client.waits);
            places = client.wakes;
            points.extend(client.points);
            limits.extend(client.limits);
        }
        Err(why) => limits.push(format!("requests of hyper's clients are linked to nothing: {why}")),
    }
    // A task that takes messages from others must be known before it could pass for one that works for its creator.
    match program
        .receivers()
        .and_then(|receivers| Ok((receivers, program.creations()?)))
    {
        Ok((receivers, creations)) => {
            plan.words[TOKIO_HEADER] = creations.offsets;
            points.extend(receivers);
            points.extend(creations.points);
            limits.extend(creations.limits);
            if let Some(local) = creations.local {
                match local.filter(|local| local.fits(&places)) {
                    Some(local) => {
                        points.extend(local.points);
                        places.extend(local.word);
                    }
                    None => limits.push("tasks of a LocalSet are linked to nothing".to_owned()),
                }
            }
        }
        Err(why) => limits.push(format!("requests are linked within one task only: {why}")),
    }
    // Who made a task has to be known.
    if plan.words[TOKIO_HEADER] != 0 {
        match program.streams() {
            Some(Ok(streams)) => {
                for (place, word) in streams.words {
                    plan.words[place] = word;
                }
                points.extend(streams.points);
                limits.extend(streams.limits);
            }
            Some(Err(why)) => limits.push(format!("requests over HTTP/2 are linked to nothing: {why}")),
            None => {}
        }
    }
    for (word, place) in plan.words[TOKIO_WAKES].iter_mut().zip(places) {
        *word = place;
    }
    if points.len() > MOST_POINTS {
        points.clear();
        limits.push("requests are linked within one task only: there are too many functions to watch".to_owned());
    }
    match program.timed(plan.words[TOKIO_HEADER] != 0) {
        Ok(timed) => {
            for (place, word) in timed.words {
                plan.words[place] = word;
            }
            points.extend(timed.points);
        }
        Err(why) => limits.push(format!("where the time of tasks goes is not told: {why}")),
    }
    let points = image.points(points);
    Ok(Hooks { plan, points, limits })
}

/// Two distances a word.
fn pack(words: &mut [u64], distances: &[i32]) {
    for (word, two) in words.iter_mut().zip(distances.chunks(2)) {
        for (half, distance) in two.iter().enumerate() {
            *word |= u64::from(distance.cast_unsigned()) << (32 * half);
        }
    }
}

/// A kernel program and the address it watches.
type Watch = (&'static str, u64);

/// How requests given to client connections are seen.
struct Client {
    sends: Vec<i32>,
    waits: Vec<i32>,
    /// Places that wake it, as the plan has them.
    wakes: Vec<u64>,
    points: Vec<Watch>,
    limits: Vec<String>,
}

/// How new tasks are seen.
struct Creations {
    offsets: u64,
    /// How those of a `LocalSet` are seen, if at all, where the program has one.
    local: Option<Option<Local>>,
    points: Vec<Watch>,
    limits: Vec<String>,
}

struct Program<'a> {
    image: &'a Image,
    functions: &'a Functions,
    named: &'a HashMap<&'static str, Vec<Function>>,
    /// Where wakers and channels are called.
    sites: &'a HashMap<u64, Vec<Site>>,
    /// Names that may still be looked at: callers of callers of a function are many.
    left: Cell<usize>,
}

impl Program<'_> {
    fn all(&self, name: &str) -> &[Function] {
        self.named.get(name).map_or(&[], Vec::as_slice)
    }

    /// The only function of that name: two would be two versions of Tokio in one program.
    fn only(&self, name: &str) -> Option<&Function> {
        match self.all(name) {
            [one] => Some(one),
            _ => None,
        }
    }

    fn code(&self, function: &Function) -> Option<Vec<u8>> {
        let most = usize::try_from(function.size).ok()?.min(FUNCTION_BYTES);
        self.image.code(function.address, most)
    }

    /// Where a thread keeps the number of the task it runs.
    fn task(&self) -> Option<i64> {
        let stores = |name| {
            let found: HashSet<i64> = self
                .all(name)
                .iter()
                .filter_map(|function| flow::stores_in_thread(&self.code(function)?, function.address))
                .collect();
            (found.len() == 1).then(|| found.into_iter().next())?
        };
        let all = [SET_TASK, ENTER, LEAVE, LEAVE_GLUE];
        all.into_iter().find_map(stores).or_else(|| self.task_by_parts())
    }

    /// The same where nothing is optimized: the parts that find the thread's context, and the number in it, are functions.
    fn task_by_parts(&self) -> Option<i64> {
        let of = |name, what: fn(&[u8], u64) -> Option<i64>| {
            let function = self.only(name)?;
            what(&self.code(function)?, function.address)
        };
        let context = of(CONTEXT, flow::hands_of_thread)?;
        let number = of(SET_WITHIN, flow::hands_behind_second)?;
        // The context is the beginning of a variable if whether it was made stands at the end.
        let size = self.functions.local(CONTEXT)?;
        let is_first = self.all(STORAGE).iter().any(|function| {
            let code = self.code(function).unwrap_or_default();
            let made = flow::looks_at(&code, function.address, Register::RDI);
            made.first().is_some_and(|made| u64::from(*made) + 8 == size)
        });
        is_first.then(|| context.checked_add(number))?
    }

    /// The program was built without optimization.
    fn is_plain(&self) -> bool {
        !self.all(ID).is_empty()
    }

    fn sites(&self, function: &Function) -> &[Site] {
        self.sites.get(&function.address).map_or(&[], Vec::as_slice)
    }

    /// A probe at the beginning of a function.
    fn watch(&self, program: &'static str, function: &Function) -> Option<Watch> {
        let code = self.code(function)?;
        let address = function.address;
        let plain = || self.is_plain().then(|| flow::unoptimized(&code, address))?;
        Some((program, flow::first_emulated(&code, address).or_else(plain)?))
    }

    fn client(&self) -> Result<Client, &'static str> {
        const TWO: &str = "Tokio's wakers are not where they should be";
        let register = self.only(REGISTER).ok_or(TWO)?;
        let waits = self.watch("tokio_waits", register).ok_or(TWO)?;
        let distances = |target: &Function, watch: Watch, roles: &[&str], most: usize| {
            let found: Option<Vec<i32>> = self
                .returns(self.sites(target), roles)
                .iter()
                .map(|back| i32::try_from(back.wrapping_sub(watch.1).cast_signed()).ok())
                .collect();
            found.filter(|found| !found.is_empty() && found.len() <= most)
        };
        let takes = distances(register, waits, TAKERS, 2 * TOKIO_WAITS.len()).ok_or("nothing in it takes a request")?;
        let mut client = Client {
            sends: Vec::new(),
            waits: takes,
            wakes: Vec::new(),
            points: vec![waits],
            limits: Vec::new(),
        };
        let called = self.only(WAKE).and_then(|wake| {
            let wakes = self.watch("tokio_wakes", wake)?;
            let sends = distances(wake, wakes, GIVERS, 2 * TOKIO_SENDS.len())?;
            Some((wakes, sends, self.pushes(wake)))
        });
        let marked = match called {
            Some((wakes, sends, None)) => {
                client.sends = sends;
                client.points.push(wakes);
                return Ok(client);
            }
            Some((.., Some(pushes))) => pushes,
            None => self.wakes(register).ok_or("nothing in it gives a request")?,
        };
        client.wakes = marked.words;
        client.points.extend(marked.points);
        client.limits.extend(marked.limit);
        Ok(client)
    }

    /// Whether a function by this name only does what its caller wants.
    fn passes_on(name: &str) -> bool {
        name.starts_with(CHANNELS) || [POLL_FN, NOW].contains(&name) || streams::OPENS.contains(&name)
    }

    /// Where a function that is called at `sites` returns to, if they are in functions of `roles` or in a channel's that only
    /// such functions call.
    fn returns(&self, sites: &[Site], roles: &[&str]) -> Vec<u64> {
        let backs = sites.iter().filter_map(|site| self.backs(*site, roles, DEPTH));
        let mut all: Vec<u64> = backs.flatten().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// None if the site belongs to other functions as well. Empty if it is a jump, behind which it cannot be told where the
    /// function returns to.
    fn backs(&self, site: Site, roles: &[&str], depth: usize) -> Option<Vec<u64>> {
        let around = self.functions.around(site.address);
        self.look(around)?;
        let names: Vec<String> = around.iter().map(|function| self.functions.name(function)).collect();
        let has_role = |name: &String| roles.iter().any(|role| name.starts_with(role)) && !name.ends_with("::drop");
        let own: Vec<u64> = site.back.into_iter().collect();
        if !names.is_empty() && names.iter().all(has_role) {
            return Some(own);
        }
        if names.is_empty() || depth == 0 || !names.iter().all(|name| Self::passes_on(name)) {
            return None;
        }
        let callers: Option<Vec<Vec<u64>>> = self
            .sites(around.first()?)
            .iter()
            .map(|caller| self.backs(*caller, roles, depth - 1))
            .collect();
        let callers: Vec<u64> = callers.filter(|callers| !callers.is_empty())?.concat();
        // What is jumped to returns to where the jumping function was called from.
        Some(if site.back.is_some() { own } else { callers })
    }

    /// Counts functions whose names are about to be looked at; none if it has been enough.
    fn look(&self, around: &[Function]) -> Option<()> {
        self.left.set(self.left.get().checked_sub(around.len().max(1))?);
        Some(())
    }

    /// Where tasks receive messages of others.
    fn receivers(&self) -> Result<Vec<Watch>, &'static str> {
        const HIDDEN: &str = "where tasks receive messages cannot be watched";
        let is_one_of = |names: &'static [&'static str]| {
            let named = self.named;
            move |function: &Function| {
                let all = names.iter().filter_map(|name| named.get(name)).flatten();
                all.into_iter().any(|one| one.address == function.address)
            }
        };
        let is_received = is_one_of(&[RECEIVE]);
        // Where nothing is optimized its closure is a function.
        let receives = |function: &Function| {
            is_received(function) || self.functions.name(function).strip_prefix(RECEIVE) == Some("::{{closure}}")
        };
        // Messages are also taken without waiting.
        let mut takers = HashSet::new();
        let mut watched: Vec<&Function> = self.all(RECEIVE).iter().collect();
        for pop in self.all(POP) {
            let sites = || self.sites(pop).iter().map(|site| self.functions.around(site.address));
            // Whatever calls it there may be such a taker too.
            let mut elsewhere = sites().any(<[Function]>::is_empty);
            for around in sites() {
                self.look(around).ok_or(HIDDEN)?;
            }
            for function in sites().flatten() {
                takers.insert(function.address);
                let name = self.functions.name(function);
                // What is left in a channel is dropped.
                elsewhere |= !receives(function) && !name.contains("drop") && !name.contains("drain");
            }
            if elsewhere {
                watched.push(pop);
            }
        }
        for register in self.all(REGISTER) {
            for site in self.sites(register) {
                let around = self.functions.around(site.address);
                self.look(around).ok_or(HIDDEN)?;
                let seen = around.iter().any(|function| {
                    let name = self.functions.name(function);
                    receives(function)
                        || takers.contains(&function.address)
                        || TIMERS.iter().any(|timer| name.starts_with(timer))
                });
                let is_set = || {
                    around
                        .first()
                        .is_some_and(|function| self.drives_set(function, register))
                };
                if !seen && !is_set() {
                    return Err(HIDDEN);
                }
            }
        }
        watched
            .into_iter()
            .map(|function| self.watch("tokio_receives", function).ok_or(HIDDEN))
            .collect()
    }

    fn creations(&self) -> Result<Creations, &'static str> {
        const ELSEWHERE: &str = "new tasks are not made where they should be";
        let mut offsets = HashSet::new();
        let mut points = Vec::new();
        for function in self.all(BIND) {
            let code = self.code(function).ok_or(ELSEWHERE)?;
            let table = flow::reads_by_table(&code, function.address).or_else(|| {
                let id = self.only(ID)?;
                flow::reads_in_table(&self.code(id)?, id.address)
            });
            offsets.insert(table.ok_or(ELSEWHERE)?);
            points.push(self.watch("tokio_created", function).ok_or(ELSEWHERE)?);
        }
        let mut found = offsets.into_iter();
        let (Some((table, place)), None) = (found.next(), found.next()) else {
            return Err(ELSEWHERE);
        };
        let mut limits = Vec::new();
        let blocking = self.only(BLOCKING).and_then(|function| {
            let code = self.code(function)?;
            let is_task = flow::reads_second(&code, function.address, table)
                || self.is_plain() && flow::keeps_pair(&code, function.address);
            is_task.then(|| self.watch("tokio_created", function))?
        });
        match blocking {
            Some(blocking) => points.push(blocking),
            None => limits.push("what is spawned as blocking is linked to nothing".to_owned()),
        }
        Ok(Creations {
            local: self.only(SCHEDULE).map(|schedule| self.local(schedule)),
            offsets: u64::from(table) | u64::from(place) << 32,
            points,
            limits,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn packs() {
        let mut words = [0; 2];
        pack(&mut words, &[1, -1, 2]);
        assert_eq!(words, [0xffff_ffff_0000_0001, 2]);
        let mut words = [0; 1];
        pack(&mut words, &[1, 2, 3]);
        assert_eq!(words, [0x2_0000_0001]);
    }

    #[test]
    fn others() {
        // A program without Tokio, and one that is no program.
        for path in ["/bin/sh", "/proc/self/exe"] {
            let Some(image) = Image::open(Path::new(path)) else {
                continue;
            };
            let _any = hooks(&image);
        }
    }
}
