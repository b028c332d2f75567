//! Spans of calls to databases (OpenTelemetry semantic conventions, "Database client spans", stable).
//!
//! The conventions know clients only; a server's span says the same of the same call.
use smol_str::{SmolStr, SmolStrBuilder, ToSmolStr, format_smolstr};

use super::build::Exchanged;
use super::policy::Policy;
use super::sql::{self, Digest, Flavor};
use super::{Span, Status, Value};
use crate::capture::ConnId;
use crate::protocol::call::{Call, Command, MAX_ARGUMENTS, Operation, Outcome, Query, Statement};

/// What stands in place of a value that is not shown (conventions, `db.query.text`).
const HIDDEN: &str = "?";
/// Longest summary of a query, as the conventions have it.
pub(super) const MAX_SUMMARY: usize = 255;

/// What is known of a call's text.
#[derive(Default)]
struct Told {
    operation: Option<SmolStr>,
    collection: Option<SmolStr>,
    procedure: Option<SmolStr>,
    summary: Option<SmolStr>,
}

/// Names a span and describes its call and what came of it.
pub(super) fn describe(
    span: &mut Span,
    call: &Call,
    outcome: Option<&Outcome>,
    conn: ConnId,
    exchanged: &Exchanged<'_>,
    policy: &Policy,
) {
    span.attributes.push(("db.system.name", Value::fixed(call.system)));
    if let Some(namespace) = &call.namespace {
        span.attributes.push(("db.namespace", Value::Text(namespace.clone())));
    }
    let mut told = match &call.query {
        Query::Sql(statement) => self::statement(span, call.system, statement, policy),
        Query::Command(command) => self::command(span, command, policy),
        Query::Operation(operation) => self::operation(span, operation, policy),
    };
    // A statement that was prepared before the connection was followed is known by what the server says it did.
    if told.operation.is_none() {
        told.operation = outcome.and_then(|outcome| outcome.operation.clone());
    }
    span.name = name(call, &told, exchanged);
    for (key, value) in [
        ("db.operation.name", told.operation),
        ("db.collection.name", told.collection),
        ("db.stored_procedure.name", told.procedure),
        ("db.query.summary", told.summary),
    ] {
        span.attributes.extend(value.map(|value| (key, Value::Text(value))));
    }
    if let Some(outcome) = outcome {
        self::outcome(span, outcome, conn, policy);
    }
}

/// `{db.query.summary}`, else `{db.operation.name} {target}`, else `{target}`, else `{db.system.name}` (conventions, "Name").
fn name(call: &Call, told: &Told, exchanged: &Exchanged<'_>) -> SmolStr {
    if let Some(summary) = &told.summary {
        return summary.clone();
    }
    let server = || exchanged.server.map(|server| server.to_smolstr());
    let target = told
        .collection
        .clone()
        .or_else(|| told.procedure.clone())
        .or_else(|| call.namespace.clone())
        .or_else(server);
    match (&told.operation, target) {
        (Some(operation), Some(target)) => format_smolstr!("{operation} {target}"),
        (Some(operation), None) => operation.clone(),
        (None, Some(target)) => target,
        (None, None) => SmolStr::new_static(call.system),
    }
}

fn statement(span: &mut Span, system: &str, statement: &Statement, policy: &Policy) -> Told {
    if statement.prepared {
        span.attributes.push(("clew.db.prepared", Value::Bool(true)));
    }
    for (key, detail) in &statement.details {
        span.attributes.push((key, detail.into()));
    }
    let Some(text) = &statement.text else {
        return Told::default();
    };
    let Digest {
        text: normalized,
        summary,
        operation,
        collection,
    } = sql::digest(&text.text, Flavor::of(system));
    if policy.values {
        span.attributes
            .push(("db.query.text", Value::Text(SmolStr::new(&*text.text))));
        span.attributes
            .push(("clew.db.query.normalized", Value::Text(normalized.into())));
        parameters(span, &statement.parameters);
    } else {
        span.attributes.push(("db.query.text", Value::Text(normalized.into())));
    }
    if text.cut {
        span.attributes.push(("clew.db.query.cut", Value::Bool(true)));
    }
    Told {
        operation,
        collection,
        procedure: None,
        summary: Some(summary).filter(|summary| !summary.is_empty()),
    }
}

/// Values of parameters, where they are shown.
fn parameters(span: &mut Span, values: &[Option<SmolStr>]) {
    for (place, value) in values.iter().enumerate() {
        if let Some(value) = value {
            let key = format_smolstr!("db.query.parameter.{place}");
            span.named.push((key, Value::Text(value.clone())));
        }
    }
}

fn operation(span: &mut Span, operation: &Operation, policy: &Policy) -> Told {
    for (key, detail) in &operation.details {
        span.attributes.push((key, detail.into()));
    }
    if policy.values {
        parameters(span, &operation.parameters);
    }
    Told {
        operation: Some(SmolStr::new_static(operation.name)),
        procedure: operation.procedure.clone(),
        ..Told::default()
    }
}

fn command(span: &mut Span, command: &Command, policy: &Policy) -> Told {
    if command.argument_count > 0 {
        let mut text = SmolStrBuilder::new();
        text.push_str(&command.name);
        for argument in command.first_arguments() {
            text.push(' ');
            text.push_str(argument.filter(|_| policy.values).map_or(HIDDEN, SmolStr::as_str));
        }
        if command.argument_count > MAX_ARGUMENTS {
            text.push_str(" ...");
        }
        span.attributes.push(("db.query.text", Value::Text(text.finish())));
    }
    Told {
        operation: Some(command.name.clone()),
        collection: command.collection.clone(),
        ..Told::default()
    }
}

fn outcome(span: &mut Span, outcome: &Outcome, conn: ConnId, policy: &Policy) {
    let count = |rows: u64| Value::Int(i64::try_from(rows).unwrap_or(i64::MAX));
    if let Some(rows) = outcome.returned_rows {
        span.attributes.push(("db.response.returned_rows", count(rows)));
    }
    if let Some(rows) = outcome.affected_rows {
        span.attributes.push(("clew.db.response.affected_rows", count(rows)));
    }
    if let Some(offset) = outcome.transaction {
        let id = format_smolstr!("{:x}-{offset:x}", conn.0);
        span.attributes.push(("clew.db.transaction.id", Value::Text(id)));
    }
    if let Some(failure) = &outcome.error {
        if !failure.code.is_empty() {
            span.attributes
                .push(("db.response.status_code", Value::Text(failure.code.clone())));
        }
        if let Some(sqlstate) = &failure.sqlstate {
            span.attributes
                .push(("clew.db.response.sqlstate", Value::Text(sqlstate.clone())));
        }
        if let Some(severity) = failure.severity {
            span.attributes
                .push(("clew.db.response.severity", Value::Int(severity.into())));
        }
        if failure.expected {
            return;
        }
        let kind = if failure.code.is_empty() {
            SmolStr::new_static("_OTHER")
        } else {
            failure.code.clone()
        };
        span.attributes.push(("error.type", Value::Text(kind)));
        let message = if policy.values { failure.message.as_str() } else { "" };
        span.status = Status::Error(message.to_owned());
    } else if outcome.skipped {
        span.attributes.push(("error.type", Value::fixed("pipeline_aborted")));
        span.status = Status::Error("pipeline aborted".to_owned());
    }
}

#[cfg(test)]
mod tests;
