//! Records of logs as OTLP's messages.
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};

use super::convert::{NAME, VERSION, pair, resource, value};
use crate::discover::Process;
use crate::export::{Clock, Host, Logged};
use crate::log::Record;
use crate::span::SCHEMA_URL;

/// One request with all records of `logged`, grouped by process.
pub(super) fn logs_request(logged: &[Logged], host: &Host, clock: &Clock) -> ExportLogsServiceRequest {
    let mut groups: Vec<(&Arc<Process>, Vec<LogRecord>)> = Vec::new();
    for logged in logged {
        let records = logged.records().iter().map(|of| record(of, logged, clock));
        match groups
            .iter_mut()
            .find(|(process, _)| Arc::ptr_eq(process, logged.process()))
        {
            Some((_, group)) => group.extend(records),
            None => groups.push((logged.process(), records.collect())),
        }
    }
    let resource_logs = groups.into_iter().map(|(process, log_records)| ResourceLogs {
        resource: Some(resource(process, host)),
        scope_logs: vec![ScopeLogs {
            scope: Some(InstrumentationScope {
                name: NAME.to_owned(),
                version: VERSION.to_owned(),
                ..InstrumentationScope::default()
            }),
            log_records,
            schema_url: SCHEMA_URL.to_owned(),
        }],
        schema_url: SCHEMA_URL.to_owned(),
    });
    ExportLogsServiceRequest {
        resource_logs: resource_logs.collect(),
    }
}

fn record(record: &Record, logged: &Logged, clock: &Clock) -> LogRecord {
    let time = clock.unix_ns(record.time_ns);
    let (trace_id, span_id) = match logged.place() {
        Some((trace_id, span_id)) => (trace_id.to_vec(), span_id.to_vec()),
        None => (Vec::new(), Vec::new()),
    };
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        severity_number: i32::from(record.severity.number()),
        severity_text: record.severity_text.to_string(),
        body: Some(AnyValue {
            value: Some(Any::StringValue(record.body.to_string())),
        }),
        attributes: attributes(record),
        flags: u32::from(logged.flags()),
        trace_id,
        span_id,
        ..LogRecord::default()
    }
}

/// What a record says beside its message.
pub(crate) fn attributes(record: &Record) -> Vec<KeyValue> {
    let own = record
        .attributes
        .iter()
        .map(|(key, of)| pair(key.to_string(), value(of)));
    let exception = exception(record).map(|(key, text)| pair(key.to_owned(), Any::StringValue(text.to_owned())));
    own.chain(exception).collect()
}

/// The attributes of the exception that a record tells of.
pub(super) fn exception(record: &Record) -> impl Iterator<Item = (&'static str, &str)> {
    let all = record.exception.iter().flat_map(|exception| {
        [
            ("exception.type", exception.kind.as_str()),
            ("exception.message", exception.message.as_str()),
            ("exception.stacktrace", exception.trace.as_str()),
        ]
    });
    all.filter(|(_, text)| !text.is_empty())
}
