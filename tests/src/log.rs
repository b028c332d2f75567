//! Records of logs as a backend would see them: read from OTLP JSON lines.
use std::collections::BTreeMap;

use serde_json::Value;

/// A record.
#[derive(Clone, Debug)]
pub struct Log {
    /// Trace id, 32 hex digits, or empty.
    pub trace: String,
    /// Span id, 16 hex digits, or empty.
    pub span: String,
    /// `service.name` of the process.
    pub service: String,
    /// OTLP's number of its severity.
    pub severity: i64,
    /// What it says.
    pub body: String,
    /// Attributes that are texts.
    pub attributes: BTreeMap<String, String>,
}

impl Log {
    /// An attribute that is a text; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// The records in lines of OTLP JSON.
pub(crate) fn parse(lines: &str) -> Vec<Log> {
    let requests = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut logs = Vec::new();
    for request in requests {
        for group in list(&request["resourceLogs"]) {
            let resource = texts(&group["resource"]["attributes"]);
            let service = resource.get("service.name").cloned().unwrap_or_default();
            for scope in list(&group["scopeLogs"]) {
                logs.extend(list(&scope["logRecords"]).iter().map(|record| log(record, &service)));
            }
        }
    }
    logs
}

fn log(record: &Value, service: &str) -> Log {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Log {
        trace: text(&record["traceId"]),
        span: text(&record["spanId"]),
        service: service.to_owned(),
        severity: record["severityNumber"].as_i64().unwrap_or(0),
        body: text(&record["body"]["stringValue"]),
        attributes: texts(&record["attributes"]),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(attributes: &Value) -> BTreeMap<String, String> {
    let text = |pair: &Value| {
        Some((
            pair["key"].as_str()?.to_owned(),
            pair["value"]["stringValue"].as_str()?.to_owned(),
        ))
    };
    list(attributes).iter().filter_map(text).collect()
}
