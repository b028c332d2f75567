//! Plans of execution contexts, and the probes in executables that go with them.
//!
//! A plan is shared by all processes that need the same; a probe by all that run the same file. What nobody uses any more is let
//! go, the files used last a little later: programs are often started again.
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use aya::maps::{Array, MapData};
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope};
use aya::{Ebpf, Pod};
use clew_common::context::{PLANS, Plan};

use super::multi::Multi;
use super::{AttachError, Links, map_error, patiently, take};
use crate::capture::Pid;
use crate::symbol::{FileKey, Point};

/// Files without users whose probes stay, and for how long.
const IDLE_FILES: usize = 16;
const IDLE: Duration = Duration::from_secs(5);

/// A plan as the map takes it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Slot(Plan);

// SAFETY: a plan is integers without padding, as zerocopy's `IntoBytes` on it proves.
unsafe impl Pod for Slot {}

/// Where a probe goes: the file's path, the offset in it, and the number given to the probe.
type Place<'a> = (&'a Path, u64, Option<u64>);

/// All plans and probes.
pub(super) struct Contexts {
    plans: Array<MapData, Slot>,
    places: HashMap<Plan, (u32, HashSet<Pid>)>,
    free: Vec<u32>,
    files: HashMap<FileKey, Attached>,
    /// Files without users, and since when; the longest first.
    idle: VecDeque<(FileKey, Instant)>,
    loaded: HashSet<&'static str>,
    /// Attaches many probes by one link, where the kernel does.
    multi: Option<Multi>,
    /// Programs that nobody needs.
    spare: &'static [&'static str],
}

#[derive(Default)]
struct Attached {
    points: HashSet<(&'static str, u64)>,
    links: Links,
    users: HashSet<(Pid, Use)>,
}

/// What probes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Use {
    /// Execution contexts.
    Contexts,
    /// What is encrypted.
    Plaintext,
}

impl Contexts {
    pub(super) fn new(
        ebpf: &mut Ebpf,
        multi: Option<Multi>,
        spare: &'static [&'static str],
    ) -> Result<Self, AttachError> {
        Ok(Self {
            multi,
            spare,
            plans: Array::try_from(take(ebpf, "PLANS")?).map_err(map_error("PLANS"))?,
            places: HashMap::new(),
            free: (1..PLANS).rev().collect(),
            files: HashMap::new(),
            idle: VecDeque::new(),
            loaded: HashSet::new(),
        })
    }

    /// The place of a plan, which `pid` uses from now on.
    pub(super) fn plan(&mut self, pid: Pid, plan: &Plan) -> Result<u32, AttachError> {
        if let Some((place, users)) = self.places.get_mut(plan) {
            users.insert(pid);
            return Ok(*place);
        }
        let place = self.free.pop().ok_or(AttachError::PlansFull)?;
        if let Err(source) = self.plans.set(place, Slot(*plan), 0) {
            self.free.push(place);
            return Err(map_error("PLANS")(source));
        }
        self.places.insert(*plan, (place, HashSet::from([pid])));
        Ok(place)
    }

    /// Attaches the probes `points`, each with the number given to it, unless they are, in the files that lie at `paths`. The `user`
    /// needs them from now on.
    pub(super) fn attach<'a>(
        &mut self,
        ebpf: &mut Ebpf,
        user: (Pid, Use),
        points: impl Iterator<Item = (&'a Point, Option<u64>, &'a Path)>,
    ) -> Result<(), AttachError> {
        // One link for all that run one program in one file; in the order of the points, which knows what has to be there first.
        let mut wanted: Vec<((FileKey, &'static str), Vec<Place<'_>>)> = Vec::new();
        for (point, cookie, path) in points.filter(|(point, ..)| !self.spare.contains(&point.program)) {
            let attached = self.files.entry(point.file).or_default();
            attached.users.insert(user);
            self.idle.retain(|(file, _)| *file != point.file);
            if attached.points.insert((point.program, point.offset)) {
                let key = (point.file, point.program);
                let place = (path, point.offset, cookie);
                match wanted.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, places)) => places.push(place),
                    None => wanted.push((key, vec![place])),
                }
            }
        }
        let mut result = Ok(());
        for ((file, program), places) in wanted {
            let links = if result.is_ok() {
                self.link(ebpf, program, &places)
            } else {
                Ok(Vec::new())
            };
            let attached = self.files.entry(file).or_default();
            match links {
                Ok(links) if result.is_ok() => attached.links.0.extend(links),
                links => {
                    for (_, offset, _) in places {
                        attached.points.remove(&(program, offset));
                    }
                    result = result.and(links.map(drop));
                }
            }
        }
        result
    }

    /// Has the kernel verify `program`, unless it has.
    pub(super) fn load(&mut self, ebpf: &mut Ebpf, program: &'static str) -> Result<(), AttachError> {
        let failed = |source| AttachError::Program { program, source };
        if let Some(multi) = &mut self.multi {
            return multi.load(program).map_err(|error| failed(error.into()));
        }
        if !self.loaded.contains(program) {
            let loaded = ebpf.program_mut(program).ok_or(AttachError::Object(program))?;
            let loaded: &mut UProbe = loaded.try_into().map_err(failed)?;
            patiently(|| loaded.load()).map_err(failed)?;
            self.loaded.insert(program);
        }
        Ok(())
    }

    /// Attaches `program` at places of one file.
    fn link(
        &mut self,
        ebpf: &mut Ebpf,
        program: &'static str,
        places: &[Place<'_>],
    ) -> Result<Vec<Box<dyn Send>>, AttachError> {
        let failed = |source| AttachError::Program { program, source };
        if let (Some(multi), Some((path, ..))) = (&mut self.multi, places.first()) {
            let numbered: Vec<_> = places
                .iter()
                .map(|(_, offset, cookie)| (*offset, cookie.unwrap_or(0)))
                .collect();
            let link = multi.attach(program, path, &numbered);
            return Ok(vec![Box::new(link.map_err(|error| failed(error.into()))?)]);
        }
        self.load(ebpf, program)?;
        let loaded = ebpf.program_mut(program).ok_or(AttachError::Object(program))?;
        let loaded: &mut UProbe = loaded.try_into().map_err(failed)?;
        let each = places.iter().map(|(path, offset, cookie)| {
            let at = UProbeAttachPoint {
                location: UProbeAttachLocation::AbsoluteOffset(*offset),
                cookie: *cookie,
            };
            let id = loaded.attach(at, path, UProbeScope::AllProcesses)?;
            Ok(Box::new(loaded.take_link(id)?) as Box<dyn Send>)
        });
        each.collect::<Result<_, _>>().map_err(failed)
    }

    /// Whether `pid` uses a plan.
    pub(super) fn has_plan(&self, pid: Pid) -> bool {
        self.places.values().any(|(_, users)| users.contains(&pid))
    }

    /// A child runs its creator's program, and has its plan and its libraries.
    pub(super) fn forked(&mut self, parent: Pid, child: Pid) {
        for (_, users) in self.places.values_mut() {
            if users.contains(&parent) {
                users.insert(child);
            }
        }
        for attached in self.files.values_mut() {
            for of in [Use::Contexts, Use::Plaintext] {
                if attached.users.contains(&(parent, of)) {
                    attached.users.insert((child, of));
                }
            }
        }
    }

    /// `pid` uses nothing any more.
    pub(super) fn release(&mut self, pid: Pid) {
        self.release_of(pid, Use::Plaintext);
        self.unfollow(pid);
    }

    /// The execution contexts of `pid` are not followed any more.
    pub(super) fn unfollow(&mut self, pid: Pid) {
        let free = &mut self.free;
        self.places.retain(|_, (place, users)| {
            let gone = users.remove(&pid) && users.is_empty();
            if gone {
                free.push(*place);
            }
            !gone
        });
        self.release_of(pid, Use::Contexts);
    }

    fn release_of(&mut self, pid: Pid, of: Use) {
        for (file, attached) in &mut self.files {
            if attached.users.remove(&(pid, of)) && attached.users.is_empty() {
                self.idle.push_back((*file, Instant::now()));
            }
        }
        self.let_go();
    }

    /// Lets go of the probes in files that nobody has used for a while.
    pub(super) fn let_go(&mut self) {
        let (n_files, now) = (self.idle.len(), Instant::now());
        let stay = |(_, since): &(FileKey, Instant)| now.duration_since(*since) < IDLE;
        let n_over = self.idle.partition_point(|idle| !stay(idle));
        for (file, _) in self.idle.drain(..n_over.max(n_files.saturating_sub(IDLE_FILES))) {
            // The kernel takes its time; nobody waits for it.
            if let Some(attached) = self.files.remove(&file) {
                let _detached = std::thread::Builder::new().spawn(move || drop(attached));
            }
        }
    }
}
