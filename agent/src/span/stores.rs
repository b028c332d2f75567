//! Databases that are asked over HTTP: ClickHouse, Elasticsearch and OpenSearch (OpenTelemetry semantic conventions, "Database client
//! spans" and "Elasticsearch").
//!
//! They are known by what they and their clients say of themselves in header fields, never by a port or a path.
use smol_str::{SmolStr, format_smolstr};

use super::aws::parameter;
use super::build::Exchanged;
use super::database;
use super::json::{member, string};
use super::policy::{Policy, REDACTED};
use super::{Span, SpanKind, Status, Value};
use crate::capture::ConnId;
use crate::protocol::call::{Call, Failure, Outcome, Query, Statement, Text};
use crate::protocol::http1::{Fields, RequestHead, ResponseHead, field};

const CLICKHOUSE: &str = "clickhouse";
const ELASTICSEARCH: &str = "elasticsearch";
const OPENSEARCH: &str = "opensearch";
/// Longest name of an index, or of several.
const MAX_INDEX: usize = 255;

/// What endpoints are called, by the part of the path that begins with `_`, whatever the method (Elasticsearch's API specification).
const ENDPOINTS: &[(&str, &str)] = &[
    ("_alias", "indices.get_alias"),
    ("_aliases", "indices.update_aliases"),
    ("_analyze", "indices.analyze"),
    ("_bulk", "bulk"),
    ("_count", "count"),
    ("_create", "create"),
    ("_delete_by_query", "delete_by_query"),
    ("_explain", "explain"),
    ("_field_caps", "field_caps"),
    ("_flush", "indices.flush"),
    ("_forcemerge", "indices.forcemerge"),
    ("_mget", "mget"),
    ("_msearch", "msearch"),
    ("_pit", "open_point_in_time"),
    ("_refresh", "indices.refresh"),
    ("_reindex", "reindex"),
    ("_search", "search"),
    ("_source", "get_source"),
    ("_sql", "sql.query"),
    ("_stats", "indices.stats"),
    ("_update", "update"),
    ("_update_by_query", "update_by_query"),
];

/// Which database a request is for, if it is for one.
fn system(request: &RequestHead, response: Option<&ResponseHead>) -> Option<&'static str> {
    let answered = response.map(|response| &response.fields);
    let says = |name| answered.is_some_and(|fields| field(fields, name).is_some());
    let begins = |fields: &Fields| fields.iter().any(|(name, _)| name.starts_with("x-clickhouse-"));
    let agent = field(&request.fields, "user-agent").unwrap_or_default();
    if begins(&request.fields) || answered.is_some_and(begins) {
        Some(CLICKHOUSE)
    } else if says("x-opensearch-version") || agent.starts_with(b"opensearch-") {
        Some(OPENSEARCH)
    } else if says("x-elastic-product") || field(&request.fields, "x-elastic-client-meta").is_some() {
        Some(ELASTICSEARCH)
    } else {
        None
    }
}

/// Describes the call that a request is; whether it is one.
pub(super) fn describe(
    span: &mut Span,
    request: &RequestHead,
    response: Option<&ResponseHead>,
    exchanged: &Exchanged<'_>,
    conn: ConnId,
    policy: &Policy,
) -> bool {
    match system(request, response) {
        Some(CLICKHOUSE) => clickhouse(span, request, response, exchanged, conn, policy),
        Some(system) => search(span, system, request, response, exchanged),
        None => return false,
    }
    true
}

/// A statement is a parameter of the URL or the body (ClickHouse, "HTTP Interface"); behind one in the URL the body has rows.
fn clickhouse(
    span: &mut Span,
    request: &RequestHead,
    response: Option<&ResponseHead>,
    exchanged: &Exchanged<'_>,
    conn: ConnId,
    policy: &Policy,
) {
    let (_, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let said = |fields: &Fields, name| field(fields, name).map(|value| SmolStr::from(String::from_utf8_lossy(value)));
    let sent = &exchanged.request_body;
    let body = || {
        let is_plain = field(&request.fields, "content-encoding").is_none() && !sent.captured.is_empty();
        is_plain.then(|| Text::new(&sent.captured, sent.bytes != Some(sent.captured.len() as u64)))
    };
    let named = parameter(query, "query").filter(|text| !text.is_empty());
    let call = Call {
        system: CLICKHOUSE,
        query: Query::Sql(Statement {
            text: named.map(|text| Text::new(text.as_bytes(), false)).or_else(body),
            ..Statement::default()
        }),
        namespace: parameter(query, "database")
            .map(SmolStr::from)
            .or_else(|| said(&request.fields, "x-clickhouse-database")),
    };
    let outcome = response.map(|response| {
        let rows = || {
            let summary = field(&response.fields, "x-clickhouse-summary")?;
            string(member(summary, "result_rows")?)?.parse().ok()
        };
        let code = said(&response.fields, "x-clickhouse-exception-code");
        Outcome {
            returned_rows: rows(),
            error: code.map(|code| Box::new(failure(code))),
            ..Outcome::default()
        }
    });
    if outcome.as_ref().is_some_and(|outcome| outcome.error.is_some()) {
        span.attributes.retain(|(key, _)| *key != "error.type");
    }
    if !policy.values {
        hide(span, "query");
    }
    database::describe(span, &call, outcome.as_ref(), conn, exchanged, policy);
}

fn failure(code: SmolStr) -> Failure {
    Failure {
        code,
        sqlstate: None,
        message: SmolStr::default(),
        severity: None,
        expected: false,
    }
}

/// Hides the value of a parameter in the URLs of a span: it is a statement, which is told without its literals.
fn hide(span: &mut Span, parameter: &str) {
    let urls = span.attributes.iter_mut();
    let urls = urls.filter(|(key, _)| matches!(*key, "url.full" | "url.query"));
    for (key, value) in urls {
        let Value::Text(text) = value else { continue };
        let (before, query) = match text.split_once('?') {
            Some((before, query)) if *key == "url.full" => (before, query),
            _ if *key == "url.query" => ("", text.as_str()),
            _ => continue,
        };
        let hidden = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) if name == parameter => format!("{name}={REDACTED}"),
            _ => pair.to_owned(),
        });
        let query = hidden.collect::<Vec<_>>().join("&");
        let mark = if *key == "url.full" { "?" } else { "" };
        *value = Value::Text(format_smolstr!("{before}{mark}{query}"));
    }
}

/// An operation is named by its endpoint (conventions, "Elasticsearch").
fn search(
    span: &mut Span,
    system: &'static str,
    request: &RequestHead,
    response: Option<&ResponseHead>,
    exchanged: &Exchanged<'_>,
) {
    let (path, _) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let (endpoint, index) = endpoint(&request.method, path);
    span.attributes.push(("db.system.name", Value::fixed(system)));
    let name = match (&endpoint, &index) {
        (Some(endpoint), Some(index)) => format_smolstr!("{endpoint} {index}"),
        (Some(endpoint), None) => endpoint.clone(),
        (None, _) => SmolStr::new_static(system),
    };
    span.name = name;
    let told = |name| {
        let value = field(&response?.fields, name)?;
        Some(SmolStr::from(String::from_utf8_lossy(value)))
    };
    for (key, value) in [
        ("db.operation.name", endpoint),
        ("db.collection.name", index),
        ("db.namespace", told("x-found-handling-cluster")),
        ("elasticsearch.node.name", told("x-found-handling-instance")),
    ] {
        span.attributes.extend(value.map(|value| (key, Value::Text(value))));
    }
    let Some(response) = response.filter(|response| response.status >= 400) else {
        return;
    };
    let answered = exchanged.response_body.captured.as_ref();
    let kind = || string(member(member(answered, "error")?, "type")?).map(SmolStr::from);
    let Some(kind) = kind() else { return };
    span.attributes
        .push(("db.response.status_code", Value::Text(kind.clone())));
    if span.kind == SpanKind::Client || response.status >= 500 {
        span.attributes.retain(|(key, _)| *key != "error.type");
        span.attributes.push(("error.type", Value::Text(kind)));
        span.status = Status::Error(String::new());
    }
}

/// What is done, and to which index or indices.
fn endpoint(method: &str, path: &str) -> (Option<SmolStr>, Option<SmolStr>) {
    let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
    let index = parts
        .next_if(|part| !part.starts_with('_'))
        .filter(|index| index.len() <= MAX_INDEX)
        .map(SmolStr::from);
    let Some(api) = parts.next() else {
        let whole = match (method, &index) {
            ("GET", None) => "info",
            ("HEAD", None) => "ping",
            ("GET", Some(_)) => "indices.get",
            ("HEAD", Some(_)) => "indices.exists",
            ("PUT", Some(_)) => "indices.create",
            ("DELETE", Some(_)) => "indices.delete",
            _ => return (None, index),
        };
        return (Some(SmolStr::new_static(whole)), index);
    };
    let further = parts.next();
    let by_method = |get, head, put, delete| match method {
        "GET" => Some(get),
        "HEAD" => Some(head),
        "PUT" | "POST" => Some(put),
        "DELETE" => Some(delete),
        _ => None,
    };
    let told = match (api, further) {
        ("_doc", _) => by_method("get", "exists", "index", "delete"),
        ("_mapping" | "_mappings", _) => {
            by_method("indices.get_mapping", "indices.get_mapping", "indices.put_mapping", "")
        }
        ("_settings", _) => by_method(
            "indices.get_settings",
            "indices.get_settings",
            "indices.put_settings",
            "",
        ),
        ("_search", Some("scroll")) => by_method("scroll", "scroll", "scroll", "clear_scroll"),
        ("_search", Some("template")) => Some("search_template"),
        ("_cluster" | "_cat" | "_nodes" | "_ingest" | "_snapshot" | "_tasks" | "_security", _) => {
            let group = api.trim_start_matches('_');
            let is_name = |name: &&str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let told = match further.filter(is_name) {
                Some(further) => format_smolstr!("{group}.{further}"),
                None => SmolStr::new(group),
            };
            return (Some(told), index);
        }
        _ => {
            let known = ENDPOINTS.iter().find(|(part, _)| *part == api);
            known.map(|(_, name)| *name)
        }
    };
    (told.filter(|told| !told.is_empty()).map(SmolStr::new_static), index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::asked::Asked;

    #[test]
    fn endpoints() {
        for (method, path, operation, index) in [
            ("GET", "/", "info", ""),
            ("HEAD", "/", "ping", ""),
            ("POST", "/orders/_search", "search", "orders"),
            ("GET", "/orders,items/_search", "search", "orders,items"),
            ("POST", "/_search", "search", ""),
            ("POST", "/_search/scroll", "scroll", ""),
            ("DELETE", "/_search/scroll", "clear_scroll", ""),
            ("PUT", "/orders/_doc/7", "index", "orders"),
            ("POST", "/orders/_doc", "index", "orders"),
            ("GET", "/orders/_doc/7", "get", "orders"),
            ("DELETE", "/orders/_doc/7", "delete", "orders"),
            ("PUT", "/orders/_create/7", "create", "orders"),
            ("POST", "/_bulk", "bulk", ""),
            ("PUT", "/orders", "indices.create", "orders"),
            ("HEAD", "/orders", "indices.exists", "orders"),
            ("PUT", "/orders/_mapping", "indices.put_mapping", "orders"),
            ("GET", "/_cluster/health", "cluster.health", ""),
            ("GET", "/_cat/indices", "cat.indices", ""),
            ("GET", "/_nodes/a-Node_17", "nodes", ""),
            ("POST", "/orders/_some_plugin", "", "orders"),
        ] {
            let told = endpoint(method, path);
            let text = |told: Option<SmolStr>| told.unwrap_or_default();
            assert_eq!(
                (text(told.0).as_str(), text(told.1).as_str()),
                (operation, index),
                "{method} {path}"
            );
        }
    }

    /// What is told of a request and its answer: the span's name and attributes.
    #[track_caller]
    fn check(
        (method, target, asked): (&str, &str, &[(&str, &str)]),
        (status, answered): (u16, &[(&str, &str)]),
        [body, answer]: [&str; 2],
        expected: Option<&[&str]>,
    ) {
        let asked = Asked {
            method,
            target,
            fields: asked,
            body,
            status,
            answered,
            answer,
        };
        let url = format!("http://a{target}");
        let told = asked.told(("url.full", &url), |span, request, response, exchanged| {
            describe(span, request, response, exchanged, ConnId(1), &Policy::default())
        });
        assert_eq!(told.is_some(), expected.is_some(), "{told:?}");
        let told = told.unwrap_or_default();
        for part in expected.into_iter().flatten() {
            assert!(told.iter().any(|told| told == part), "{part} in {told:#?}");
        }
        assert!(!told.iter().any(|told| told.contains("secret")), "{told:#?}");
    }

    #[test]
    fn statements_of_clickhouse() {
        let summary = r#"{"read_rows":"9","result_rows":"2"}"#;
        let fields = [("x-clickhouse-query-id", "1"), ("x-clickhouse-summary", summary)];
        let told: &[&str] = &[
            "name=SELECT orders",
            "db.system.name=clickhouse",
            "db.namespace=shop",
            "db.query.text=SELECT a FROM orders WHERE b = ?",
            "db.operation.name=SELECT",
            "db.collection.name=orders",
            "db.response.returned_rows=Int(2)",
        ];
        let statement = "SELECT a FROM orders WHERE b = 'secret'";
        check(
            ("POST", "/?database=shop", &[]),
            (200, &fields),
            [statement, ""],
            Some(told),
        );
        let encoded = "/?database=shop&query=SELECT%20a%20FROM%20orders%20WHERE%20b%20=%20'secret'";
        check(("GET", encoded, &[]), (200, &fields), ["", ""], Some(told));
        let hidden: &[&str] = &[
            "name=INSERT t",
            "url.full=http://a/?query=REDACTED&x=1",
            "db.response.status_code=60",
            "error.type=60",
        ];
        let failed = [("x-clickhouse-exception-code", "60")];
        let insert = "/?query=INSERT%20INTO%20t%20FORMAT%20CSV&x=1";
        check(("POST", insert, &[]), (404, &failed), ["secret,rows", ""], Some(hidden));
    }

    #[test]
    fn calls_of_search_engines() {
        let product = [
            ("x-elastic-product", "Elasticsearch"),
            ("x-found-handling-cluster", "c1"),
        ];
        let told: &[&str] = &[
            "name=search orders",
            "db.system.name=elasticsearch",
            "db.operation.name=search",
            "db.collection.name=orders",
            "db.namespace=c1",
        ];
        check(
            ("POST", "/orders/_search?size=1", &[]),
            (200, &product),
            ["", ""],
            Some(told),
        );
        let agent = [("user-agent", "opensearch-py/2.4.2 (Python 3.11)")];
        check(
            ("POST", "/_bulk", &agent),
            (200, &[]),
            ["", ""],
            Some(&["name=bulk", "db.system.name=opensearch"]),
        );
        let missing = r#"{"error":{"root_cause":[],"type":"index_not_found_exception"},"status":404}"#;
        let failed: &[&str] = &["error.type=index_not_found_exception"];
        check(
            ("GET", "/none/_search", &[]),
            (404, &product),
            ["", missing],
            Some(failed),
        );
        check(
            ("POST", "/orders/_search", &[]),
            (200, &[("server", "nginx")]),
            ["", ""],
            None,
        );
    }
}
