//! How the kernel side walks stacks of compiled programs.
use aya::Pod;
use aya::maps::{HashMap, Map, MapData};
use clew_common::unwind::{Place, Row};

use super::{AttachError, map_error};

/// A key or a value as the map takes it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Plain<T>(T);

// SAFETY: places are integers without padding, as zerocopy's `IntoBytes` on them proves.
unsafe impl Pod for Plain<Place> {}
// SAFETY: the same of rows.
unsafe impl Pod for Plain<Row> {}

/// The rows, by the instruction they are for.
pub struct Rows(HashMap<MapData, Plain<Place>, Plain<Row>>);

impl Rows {
    pub(super) fn new(map: Map) -> Result<Self, AttachError> {
        HashMap::try_from(map).map(Self).map_err(map_error("ROWS"))
    }

    /// Has stacks walked by `row` from `place` on.
    pub fn set(&mut self, place: Place, row: Row) {
        // One for which there is no memory is asked for again.
        let _full = self.0.insert(Plain(place), Plain(row), 0);
    }

    /// Forgets how.
    pub fn remove(&mut self, place: Place) {
        let _absent = self.0.remove(&Plain(place));
    }
}
