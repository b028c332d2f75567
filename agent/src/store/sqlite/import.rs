//! Traces that come from a file, and go into one.
use std::collections::{HashMap, HashSet};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use rusqlite::OptionalExtension as _;
use rusqlite::params;

use super::part;
use super::read::SqliteReader;
use super::search::id_range;
use super::write::SqliteStore;
use crate::span::Policy;
use crate::store::otlp::{self, Received};
use crate::store::{Backend as _, Imported, Incoming, StoreError};

/// Spans in one transaction.
const CHUNK: usize = 2_048;
/// What a store may hold after an import, unless it held more before: whoever writes it all the time knows its real bound.
const BYTES: u64 = 1 << 30;

type SpanId = [u8; 8];

impl SqliteStore {
    /// Adds traces as a run of this name. Spans that are here already stay as they are.
    ///
    /// # Errors
    /// The store refuses; what was added until then is a part of the run.
    pub fn import(&mut self, received: &mut Received, name: &str, now_ns: u64) -> Result<Imported, StoreError> {
        // Who made the file may not have hidden what is hidden here.
        received.conceal(&Policy::default());
        let refused = received.refused();
        let spans = received.spans();
        let mut here: HashMap<[u8; 16], HashSet<SpanId>> = HashMap::new();
        let mut new: Vec<Incoming<'_>> = Vec::with_capacity(spans.len());
        let mut known = 0;
        for incoming in spans {
            let ids = match here.entry(incoming.trace_id) {
                std::collections::hash_map::Entry::Occupied(ids) => ids.into_mut(),
                std::collections::hash_map::Entry::Vacant(place) => place.insert(self.span_ids(incoming.trace_id)?),
            };
            match SpanId::try_from(incoming.span.span_id.as_slice()) {
                Ok(id) if ids.insert(id) => new.push(incoming),
                _ => known += 1,
            }
        }
        self.bounds.bytes = self.used()?.max(BYTES);
        self.bounds.age = std::time::Duration::MAX;
        if !new.is_empty() {
            self.begin(name, now_ns)?;
            for chunk in new.chunks(CHUNK) {
                self.write(chunk, now_ns)?;
                self.trim(now_ns)?;
            }
            self.end(now_ns)?;
        }
        Ok(Imported {
            spans: new.len() as u64,
            known,
            refused,
        })
    }

    fn span_ids(&self, trace_id: [u8; 16]) -> Result<HashSet<SpanId>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT data FROM part WHERE trace = (SELECT id FROM trace WHERE trace_id = ?1)")?;
        let mut rows = statement.query([&trace_id[..]])?;
        let mut ids = HashSet::new();
        while let Some(row) = rows.next()? {
            let spans = part::unpack(row.get_ref(0)?.as_blob().unwrap_or_default())?;
            ids.extend(
                spans
                    .iter()
                    .filter_map(|(_, span)| SpanId::try_from(span.span_id.as_slice()).ok()),
            );
        }
        Ok(ids)
    }
}

impl SqliteReader {
    pub(super) fn request(&self, id: &str) -> Result<Option<ExportTraceServiceRequest>, StoreError> {
        let transaction = self.connection.unchecked_transaction()?;
        let (from, to) = id_range(id);
        let row: Option<(i64, Vec<u8>)> = self
            .connection
            .query_row(
                "SELECT id, trace_id FROM trace WHERE trace_id BETWEEN ?1 AND ?2 LIMIT 1",
                params![from, to],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let Some((trace, trace_id)) = row else {
            return Ok(None);
        };
        let mut statement = self
            .connection
            .prepare_cached("SELECT data FROM part WHERE trace = ?1 ORDER BY id")?;
        let mut parts = statement.query([trace])?;
        let mut spans = Vec::new();
        while let Some(row) = parts.next()? {
            spans.extend(part::unpack(row.get_ref(0)?.as_blob().unwrap_or_default())?);
        }
        drop(parts);
        let mut resource = self
            .connection
            .prepare_cached("SELECT data FROM resource WHERE id = ?1")?;
        let mut resources: HashMap<i64, Resource> = HashMap::new();
        for (id, _) in &spans {
            if !resources.contains_key(id) {
                let data: Option<Vec<u8>> = resource.query_row([id], |row| row.get(0)).optional()?;
                let decoded = Resource::decode(data.unwrap_or_default().as_slice());
                resources.insert(*id, decoded.map_err(|_| StoreError::Malformed)?);
            }
        }
        drop((statement, resource));
        transaction.finish()?;
        Ok(Some(otlp::request(&trace_id, spans, &mut resources)))
    }
}
