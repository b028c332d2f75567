use std::sync::Arc;

use super::*;
use crate::protocol::Body;
use crate::protocol::call::{Failure, Text};
use crate::span::SpanKind;

fn sql(text: Option<&str>) -> Query {
    Query::Sql(Statement {
        text: text.map(|text| Text {
            text: Arc::from(text),
            cut: false,
        }),
        prepared: text.is_none(),
        parameters: vec![Some("secret".into()), None],
        ..Statement::default()
    })
}

fn command(name: &str, arguments: &[&str]) -> Query {
    Query::Command(Command {
        name: name.into(),
        collection: None,
        arguments: arguments.iter().map(|&text| text.into()).collect(),
        argument_count: arguments.len(),
    })
}

/// The name, the status and the attributes of a call.
#[track_caller]
fn check(query: Query, outcome: &Outcome, values: bool, name: &str, expected: &[(&str, &str)]) {
    let mut span = Span {
        kind: SpanKind::Client,
        name: SmolStr::default(),
        start_ns: 0,
        end_ns: 1,
        attributes: Vec::new(),
        named: Vec::new(),
        status: Status::Unset,
        events: Vec::new(),
    };
    let call = Call {
        system: "postgresql",
        query,
        namespace: Some("shop".into()),
    };
    let body = Body::default();
    let exchanged = Exchanged {
        secured: false,
        kind: SpanKind::Client,
        request_body: &body,
        response_body: &body,
        server: None,
    };
    let mut policy = Policy::default();
    policy.values = values;
    describe(&mut span, &call, Some(outcome), ConnId(10), &exchanged, &policy);
    assert_eq!(span.name, name);
    let named = span.named.iter().map(|(key, value)| (key.as_str(), value));
    let all: Vec<(&str, String)> = span
        .attributes
        .iter()
        .map(|(key, value)| (*key, value))
        .chain(named)
        .map(|(key, value)| match value {
            Value::Text(text) => (key, text.to_string()),
            other => (key, format!("{other:?}")),
        })
        .chain([("status", format!("{:?}", span.status))])
        .collect();
    for (key, value) in expected {
        let found = all
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str());
        assert_eq!(found, Some(*value).filter(|value| *value != "-"), "{key}");
    }
}

#[test]
fn statements() {
    let outcome = Outcome {
        returned_rows: Some(2),
        transaction: Some(0x20),
        ..Outcome::default()
    };
    let text = "SELECT a FROM t WHERE b = 'secret'";
    check(
        sql(Some(text)),
        &outcome,
        false,
        "SELECT t",
        &[
            ("db.system.name", "postgresql"),
            ("db.namespace", "shop"),
            ("db.query.text", "SELECT a FROM t WHERE b = ?"),
            ("db.query.summary", "SELECT t"),
            ("db.query.parameter.0", "-"),
            ("db.response.returned_rows", "Int(2)"),
            ("clew.db.transaction.id", "a-20"),
            ("status", "Unset"),
        ],
    );
    check(
        sql(Some(text)),
        &outcome,
        true,
        "SELECT t",
        &[
            ("db.query.text", text),
            ("clew.db.query.normalized", "SELECT a FROM t WHERE b = ?"),
            ("db.query.parameter.0", "secret"),
            ("db.query.parameter.1", "-"),
        ],
    );
}

#[test]
fn a_statement_that_is_not_known_is_named_by_what_was_done() {
    let outcome = Outcome {
        operation: Some("INSERT".into()),
        affected_rows: Some(1),
        ..Outcome::default()
    };
    check(
        sql(None),
        &outcome,
        false,
        "INSERT shop",
        &[
            ("db.query.text", "-"),
            ("db.operation.name", "INSERT"),
            ("clew.db.prepared", "Bool(true)"),
            ("clew.db.response.affected_rows", "Int(1)"),
        ],
    );
}

#[test]
fn failures_and_commands() {
    let outcome = Outcome {
        error: Some(Box::new(Failure {
            code: "23505".into(),
            sqlstate: Some("23000".into()),
            message: "secret".into(),
            severity: None,
            expected: false,
        })),
        ..Outcome::default()
    };
    let failed = |status| {
        [
            ("error.type", "23505"),
            ("db.response.status_code", "23505"),
            ("clew.db.response.sqlstate", "23000"),
            ("status", status),
        ]
    };
    check(
        command("CONNECT", &[]),
        &outcome,
        false,
        "CONNECT shop",
        &failed("Error(\"\")"),
    );
    check(
        command("CONNECT", &[]),
        &outcome,
        true,
        "CONNECT shop",
        &failed("Error(\"secret\")"),
    );
    let skipped = Outcome {
        skipped: true,
        ..Outcome::default()
    };
    let set = command("SET", &["key", "secret"]);
    check(
        set,
        &skipped,
        false,
        "SET shop",
        &[("db.query.text", "SET ? ?"), ("error.type", "pipeline_aborted")],
    );
}
