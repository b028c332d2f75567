use serde_json::{Value as Json, json};

use super::{TOOLS, answer};
use crate::export::otlp::{resource, span};
use crate::export::sample::{Sample, service};
use crate::export::{Clock, Host};
use crate::span::Value;
use crate::store::sqlite::{Bounds, SqliteReader, SqliteStore};
use crate::store::{Backend as _, Incoming, Reader};

/// A store with a request that asks a database, in each of two runs.
fn filled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let shop = service("shop");
    for run in 1..=2_u64 {
        let mut store = SqliteStore::open(folder.path(), Bounds::default()).expect("a store");
        store.begin("npm start", run).expect("a run");
        let spans = [
            Sample::server(run * 10, &shop)
                .trace(run)
                .ms(0, 9)
                .http("GET", "/cart", 500)
                .error("it broke")
                .done(),
            Sample::client(run * 10 + 1, &shop)
                .trace(run)
                .parent(run * 10)
                .ms(1, 2 * run)
                .with(
                    "db.query.text",
                    Value::Text(format!("SELECT {}", "x".repeat(3000)).into()),
                )
                .done(),
        ];
        let clock = Clock::at(1_700_000_000_000_000_000);
        let resource = resource(&shop, &Host::default());
        let incoming: Vec<Incoming<'_>> = spans
            .iter()
            .map(|placed| Incoming {
                resource: &resource,
                trace_id: placed.trace_id,
                span: span(placed, &clock),
            })
            .collect();
        store.write(&incoming, 0).expect("written");
    }
    folder
}

fn asked(folder: &std::path::Path, message: &Json) -> Option<Json> {
    let open = || Ok(Box::new(SqliteReader::open(folder)?) as Box<dyn Reader>);
    answer(open, message.to_string().as_bytes(), 0)
}

fn call(folder: &std::path::Path, tool: &str, arguments: &Json) -> Json {
    let message = json!({"jsonrpc": "2.0", "id": "a", "method": "tools/call",
        "params": {"name": tool, "arguments": arguments}});
    let answer = asked(folder, &message).expect("an answer");
    assert_eq!(answer["id"], "a");
    answer
}

#[test]
fn a_conversation() {
    let folder = filled();
    let hello = asked(
        folder.path(),
        &json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-03-26"}}),
    );
    let hello = hello.expect("an answer");
    assert_eq!(hello["result"]["protocolVersion"], "2025-03-26");
    assert!(hello["result"]["capabilities"]["tools"].is_object());
    assert_eq!(
        asked(
            folder.path(),
            &json!({"jsonrpc": "2.0", "method": "notifications/initialized"})
        ),
        None
    );
    let list = asked(
        folder.path(),
        &json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}),
    )
    .expect("an answer");
    let tools = list["result"]["tools"].as_array().expect("tools");
    assert_eq!(tools.len(), TOOLS.len());
    // Each answers what it needs no more for.
    for tool in TOOLS {
        let arguments = match tool.name {
            "trace" | "spans" => json!({"id": "00010203040506070000000000000001"}),
            _ => json!({}),
        };
        let answer = call(folder.path(), tool.name, &arguments);
        let result = &answer["result"];
        assert_ne!(result["isError"], true, "{}: {answer}", tool.name);
        let text = result["content"][0]["text"].as_str().expect("text");
        let said: Json = serde_json::from_str(text).expect("JSON");
        assert_eq!(said, result["structuredContent"], "{}", tool.name);
    }
}

#[test]
fn what_tools_answer() {
    let folder = filled();
    let told =
        |tool: &str, arguments: Json| call(folder.path(), tool, &arguments)["result"]["structuredContent"].clone();
    let traces = told("traces", json!({"query": "error:true", "limit": 1}));
    assert_eq!(
        (traces["traces"].as_array().map(Vec::len), &traces["traces"][0]["title"]),
        (Some(1), &"GET /cart".into())
    );
    let trace = told("trace", json!({"id": "00010203040506070000000000000002"}));
    assert_eq!(
        (&trace["spans"][1]["parent_id"], &trace["spans"][0]["error"]),
        (&trace["spans"][0]["span_id"], &"it broke".into())
    );
    let spans = told(
        "spans",
        json!({"id": "00010203040506070000000000000002", "find": "SELECT"}),
    );
    let query = spans["spans"][0]["attributes"]["db.query.text"]
        .as_str()
        .expect("a query");
    assert!(query.ends_with("... (3007 bytes)") && query.len() < 2_100, "{query}");
    assert_eq!(told("errors", json!({}))["errors"][0]["count"], 2);
    let services = told("services", json!({"run": 1}));
    assert_eq!(
        (
            &services["services"][0]["name"],
            services["calls"].as_array().map(Vec::len)
        ),
        (&"shop".into(), Some(2))
    );
    let compared = told("compare", json!({}));
    assert_eq!(
        (&compared["base"]["id"], &compared["rows"][0]["kind"]),
        (&1.into(), &"client".into())
    );
}

#[test]
fn what_is_wrong_is_said() {
    let folder = filled();
    let code = |message: Json| asked(folder.path(), &message).map(|answer| answer["error"]["code"].clone());
    for (message, want) in [
        (json!([]), -32600),
        (json!({"id": 1}), -32600),
        (json!({"id": 1, "method": "resources/list"}), -32601),
        (json!({"id": 1, "method": "tools/call"}), -32602),
        (
            json!({"id": 1, "method": "tools/call", "params": {"name": "drop"}}),
            -32602,
        ),
        (
            json!({"id": 1, "method": "tools/call", "params": {"name": "traces", "arguments": 7}}),
            -32602,
        ),
        (
            json!({"id": 1, "method": "tools/call", "params": {"name": "traces", "arguments": {"sql": "x"}}}),
            -32602,
        ),
    ] {
        assert_eq!(code(message.clone()), Some(want.into()), "{message}");
    }
    assert_eq!(code(json!({"id": 1, "result": {}})), None);
    for (tool, arguments, word) in [
        ("traces", json!({"query": "duration:long"}), "100ms"),
        ("traces", json!({"limit": 1000}), "200"),
        ("traces", json!({"query": 7}), "text"),
        ("trace", json!({"id": "ffffffffff"}), "8 or more"),
        ("compare", json!({"run": 77}), "no two"),
    ] {
        let answer = call(folder.path(), tool, &arguments);
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        assert!(
            answer["result"]["content"][0]["text"].to_string().contains(word),
            "{answer}"
        );
    }
    let absent = folder.path().join("nothing");
    let answer = call(&absent, "errors", &json!({}));
    assert!(answer.to_string().contains("no store"), "{answer}");
}
