//! What is sent: spans, or records of logs.
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};

use super::convert::request;
use super::logs::logs_request;
use super::{Finished, Logged};
use crate::export::Weighs;
use crate::export::{Clock, Host};

/// One of OTLP's signals.
pub trait Signal: Send + Sync + 'static {
    /// What waits to be sent.
    type Item: Weighs + Send + Sync + 'static;
    /// What is sent.
    type Request: prost::Message + Default + Clone + Send + Sync + 'static;
    /// What comes back.
    type Response: prost::Message + Default + Send + 'static;
    /// Its one method.
    const METHOD: &'static str;
    /// What users call it.
    const NAME: &'static str;
    /// Counters.
    const COUNTERS: Counters;

    /// How many of them an item is.
    fn count(item: &Self::Item) -> u64;

    /// One request with all of `items`.
    fn request(items: &[Self::Item], host: &Host, clock: &Clock) -> Self::Request;

    /// How many a collector refused of a request it took, and what it said.
    fn partial(response: Self::Response) -> (i64, String);
}

/// Names of the counters of a signal.
#[derive(Debug)]
pub struct Counters {
    pub(super) sent: &'static str,
    pub(super) failed: &'static str,
    pub(super) rejected: &'static str,
    pub(super) partial: &'static str,
    pub(super) queue_full: &'static str,
}

/// Spans.
#[derive(Debug)]
pub struct Spans;

impl Signal for Spans {
    type Item = Finished;
    type Request = ExportTraceServiceRequest;
    type Response = ExportTraceServiceResponse;
    // opentelemetry/proto/collector/trace/v1/trace_service.proto
    const METHOD: &'static str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    const NAME: &'static str = "spans";
    const COUNTERS: Counters = Counters {
        sent: "export.spans",
        failed: "export.failed",
        rejected: "export.rejected",
        partial: "export.partial_success.rejected_spans",
        queue_full: "export.queue_full",
    };

    fn count(_span: &Finished) -> u64 {
        1
    }

    fn request(items: &[Finished], host: &Host, clock: &Clock) -> ExportTraceServiceRequest {
        request(items, host, clock)
    }

    fn partial(response: ExportTraceServiceResponse) -> (i64, String) {
        let partial = response.partial_success.unwrap_or_default();
        (partial.rejected_spans, partial.error_message)
    }
}

/// Records of logs.
#[derive(Debug)]
pub struct LogRecords;

impl Signal for LogRecords {
    type Item = Logged;
    type Request = ExportLogsServiceRequest;
    type Response = ExportLogsServiceResponse;
    // opentelemetry/proto/collector/logs/v1/logs_service.proto
    const METHOD: &'static str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    const NAME: &'static str = "log records";
    const COUNTERS: Counters = Counters {
        sent: "export.logs",
        failed: "export.logs_failed",
        rejected: "export.logs_failed",
        partial: "export.logs_failed",
        queue_full: "export.logs_dropped",
    };

    fn count(logged: &Logged) -> u64 {
        logged.records().len() as u64
    }

    fn request(items: &[Logged], host: &Host, clock: &Clock) -> ExportLogsServiceRequest {
        logs_request(items, host, clock)
    }

    fn partial(response: ExportLogsServiceResponse) -> (i64, String) {
        let partial = response.partial_success.unwrap_or_default();
        (partial.rejected_log_records, partial.error_message)
    }
}
