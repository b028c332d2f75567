//! OTLP: what a span looks like to a collector, and how it gets there.
//!
//! In: [`Finished`] spans. Out: `ExportTraceServiceRequest`s, over gRPC or HTTP ([`Exporter`]) or for a file. Settings
//! follow the OpenTelemetry specification, "OpenTelemetry Protocol Exporter" ([`Settings`]).
mod convert;
mod exporter;
mod grpc;
mod http;
mod line;
mod logs;
mod queue;
mod reply;
mod settings;
mod signal;

pub use convert::request;
pub(crate) use convert::{kind, resource, span};
pub use exporter::Exporter;
pub use line::{Traces, write_logs_request, write_request};
pub(crate) use logs::attributes;
pub use settings::{Protocol, Settings, SettingsError};
pub use signal::{LogRecords, Signal, Spans};

use super::{Finished, Logged};
