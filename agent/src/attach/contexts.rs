//! Plans of execution contexts, and the probes in executables that go with them.
//!
//! A plan is shared by all processes that need the same; a probe by all that run the same file. What nobody uses any more is let
//! go, the files used last a little later: programs are often started again.
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;

use aya::maps::{Array, MapData};
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope};
use aya::{Ebpf, Pod};
use clew_common::context::{PLANS, Plan};

use super::{AttachError, Links, map_error, patiently, take};
use crate::capture::Pid;
use crate::symbol::{FileKey, Point};

/// Files without users whose probes stay.
const IDLE_FILES: usize = 16;

/// A plan as the map takes it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Slot(Plan);

// SAFETY: a plan is integers without padding, as zerocopy's `IntoBytes` on it proves.
unsafe impl Pod for Slot {}

/// All plans and probes.
pub(super) struct Contexts {
    plans: Array<MapData, Slot>,
    places: HashMap<Plan, (u32, HashSet<Pid>)>,
    free: Vec<u32>,
    files: HashMap<FileKey, Attached>,
    /// Files without users, the longest first.
    idle: VecDeque<FileKey>,
    loaded: HashSet<&'static str>,
}

#[derive(Default)]
struct Attached {
    points: HashSet<(&'static str, u64)>,
    links: Links,
    users: HashSet<Pid>,
}

impl Contexts {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, AttachError> {
        Ok(Self {
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

    /// Attaches the probe `point`, unless it is, in the file that `path` leads to, with the number `cookie` given to it. `pid` uses
    /// it from now on.
    pub(super) fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        pid: Pid,
        point: &Point,
        path: &Path,
        cookie: Option<u64>,
    ) -> Result<(), AttachError> {
        let attached = self.files.entry(point.file).or_default();
        attached.users.insert(pid);
        self.idle.retain(|file| *file != point.file);
        if attached.points.contains(&(point.program, point.offset)) {
            return Ok(());
        }
        let failed = |source| AttachError::Program {
            program: point.program,
            source,
        };
        let program = ebpf
            .program_mut(point.program)
            .ok_or(AttachError::Object(point.program))?;
        let program: &mut UProbe = program.try_into().map_err(failed)?;
        if !self.loaded.contains(point.program) {
            patiently(|| program.load()).map_err(failed)?;
            self.loaded.insert(point.program);
        }
        let at = UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(point.offset),
            cookie,
        };
        let id = program.attach(at, path, UProbeScope::AllProcesses).map_err(failed)?;
        attached.links.0.push(Box::new(program.take_link(id).map_err(failed)?));
        attached.points.insert((point.program, point.offset));
        Ok(())
    }

    /// Whether `pid` uses a plan.
    pub(super) fn has_plan(&self, pid: Pid) -> bool {
        self.places.values().any(|(_, users)| users.contains(&pid))
    }

    /// A child runs its creator's program, and has its plan.
    pub(super) fn forked(&mut self, parent: Pid, child: Pid) {
        let plans = self.places.values_mut().map(|(_, users)| users);
        let files = self.files.values_mut().map(|attached| &mut attached.users);
        for users in plans.chain(files) {
            if users.contains(&parent) {
                users.insert(child);
            }
        }
    }

    /// `pid` uses nothing any more.
    pub(super) fn release(&mut self, pid: Pid) {
        let free = &mut self.free;
        self.places.retain(|_, (place, users)| {
            let gone = users.remove(&pid) && users.is_empty();
            if gone {
                free.push(*place);
            }
            !gone
        });
        for (file, attached) in &mut self.files {
            if attached.users.remove(&pid) && attached.users.is_empty() {
                self.idle.push_back(*file);
            }
        }
        while self.idle.len() > IDLE_FILES
            && let Some(file) = self.idle.pop_front()
        {
            // The kernel takes its time; nobody waits for it.
            if let Some(attached) = self.files.remove(&file) {
                let _detached = std::thread::Builder::new().spawn(move || drop(attached));
            }
        }
    }
}
