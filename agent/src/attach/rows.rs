//! How the kernel side walks stacks of compiled programs.
use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData};
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
pub struct Rows {
    rows: HashMap<MapData, Plain<Place>, Plain<Row>>,
    /// How often some were removed: what the kernel side has walked by them before, it walks anew.
    age: Array<MapData, u64>,
    n_removed: u64,
}

impl Rows {
    pub(super) fn new(rows: Map, age: Map) -> Result<Self, AttachError> {
        Ok(Self {
            rows: HashMap::try_from(rows).map_err(map_error("ROWS"))?,
            age: Array::try_from(age).map_err(map_error("ROWS_AGE"))?,
            n_removed: 0,
        })
    }

    /// Has stacks walked by `row` from `place` on.
    pub fn set(&mut self, place: Place, row: Row) {
        // One for which there is no memory is asked for again.
        let _full = self.rows.insert(Plain(place), Plain(row), 0);
    }

    /// Forgets how.
    pub fn remove(&mut self, place: Place) {
        let _absent = self.rows.remove(&Plain(place));
        self.n_removed += 1;
        // SANITY: the one slot of an array can always be written.
        let _set = self.age.set(0, self.n_removed, 0);
    }
}
