use bytes::Bytes;

use super::*;
use crate::protocol::http1::Version;
use crate::protocol::{Body, Known};

/// What is told of a question and an answer, whose second line is their content type.
#[track_caller]
fn check(kind: SpanKind, path: &str, asked: &str, answered: &str, expected: &[&str]) {
    let fields = |lines: &[(&str, &str)]| {
        lines
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Bytes::copy_from_slice(value.as_bytes())))
            .collect()
    };
    let is_claude = if path.ends_with("/messages") {
        "anthropic-version"
    } else {
        "accept"
    };
    let request = RequestHead {
        method: "POST".into(),
        target: path.into(),
        version: Version::Http11,
        scheme: None,
        authority: None,
        fields: fields(&[("content-type", "application/json"), (is_claude, "2023-06-01")]),
        unknown: 0,
        gateway: None,
    };
    let is_stream = answered.contains("data:");
    let response = ResponseHead {
        status: 200,
        version: Version::Http11,
        fields: fields(&[(
            "content-type",
            if is_stream {
                "text/event-stream; charset=utf-8"
            } else {
                "application/json"
            },
        )]),
        unknown: 0,
    };
    let response_body = Body::from(Known {
        first_ns: Some(1500),
        ..Known::default()
    });
    let exchanged = Exchanged {
        kind,
        request_body: &Body::default(),
        response_body: &response_body,
        server: None,
        secured: false,
    };
    let mut span = Span {
        kind,
        name: "POST".into(),
        start_ns: 1000,
        end_ns: 2000,
        attributes: Vec::new(),
        named: Vec::new(),
        status: Status::Unset,
        events: Vec::new(),
    };
    describe(
        &mut span,
        &request,
        Some(&response),
        asked.as_bytes(),
        answered.as_bytes(),
        &exchanged,
    );
    let mut told = vec![span.name.to_string()];
    told.extend(span.attributes.iter().map(|(key, value)| match value {
        Value::Text(text) => format!("{key}={text}"),
        Value::Int(number) => format!("{key}={number}"),
        Value::Double(number) => format!("{key}={number}"),
        Value::Texts(texts) => format!("{key}={}", texts.join(",")),
        Value::Bool(is) => format!("{key}={is}"),
    }));
    if let Status::Error(message) = &span.status {
        told.push(format!("failed {message}").trim_end().to_owned());
    }
    assert_eq!(told, expected, "{asked}");
}

#[test]
fn operations_of_graphql() {
    let ask = |document: &str| format!(r#"{{"query":{}}}"#, serde_json::to_string(document).expect("a text"));
    for (document, kind, name) in [
        ("query Find($id: ID) { a }", "query", Some("Find")),
        ("mutation{ a }", "mutation", None),
        ("# about\n  { a }", "query", None),
        ("subscription Sees @live { a }", "subscription", Some("Sees")),
    ] {
        let kind_told = format!("graphql.operation.type={kind}");
        let name_told = name.map(|name| format!("graphql.operation.name={name}"));
        let mut expected = vec![kind, &kind_told];
        expected.extend(name_told.as_deref());
        check(
            SpanKind::Server,
            "/graphql",
            &ask(document),
            r#"{"data":{}}"#,
            &expected,
        );
    }
    for other in ["select 1", "queryx", "query of mine", ""] {
        check(SpanKind::Server, "/search", &ask(other), "{}", &["POST"]);
    }
    check(
        SpanKind::Client,
        "/graphql",
        r#"{"operationName":"Second","query":"query First { a } query Second { b }"}"#,
        r#"{"errors":[{"message":"no"},{"message":"nor"}],"data":null}"#,
        &[
            "query",
            "graphql.operation.type=query",
            "graphql.operation.name=Second",
            "clew.graphql.errors=2",
            "error.type=graphql",
            "failed",
        ],
    );
}

#[test]
fn calls_of_json_rpc() {
    let asked = r#"{"jsonrpc":"2.0","method":"sum","params":[1,2],"id":"a7"}"#;
    let usual = [
        "sum",
        "rpc.system.name=jsonrpc",
        "rpc.method=sum",
        "jsonrpc.protocol.version=2.0",
        "jsonrpc.request.id=a7",
    ];
    check(
        SpanKind::Server,
        "/",
        asked,
        r#"{"jsonrpc":"2.0","result":3,"id":"a7"}"#,
        &usual,
    );
    let answered = r#"{"jsonrpc":"2.0","error":{"code":-32601,"message":"no such method"},"id":"a7"}"#;
    let error = ["rpc.response.status_code=-32601"];
    check(SpanKind::Server, "/", asked, answered, &[&usual[..], &error].concat());
    check(
        SpanKind::Client,
        "/",
        asked,
        answered,
        &[&usual[..], &error, &["error.type=-32601", "failed no such method"]].concat(),
    );
    check(
        SpanKind::Server,
        "/",
        r#"{"jsonrpc":"2.0","method":"a b"}"#,
        "",
        &["POST"],
    );
}

#[test]
fn calls_to_models() {
    let asked =
        r#"{"model":"gpt-4o","temperature":0.5,"max_tokens":64,"messages":[{"role":"user","content":"a long te"#;
    let usual = [
        "chat gpt-4o",
        "gen_ai.operation.name=chat",
        "gen_ai.provider.name=openai",
        "gen_ai.request.model=gpt-4o",
        "gen_ai.request.max_tokens=64",
        "gen_ai.request.temperature=0.5",
        "gen_ai.response.id=chatcmpl-1",
        "gen_ai.response.model=gpt-4o-2024",
        "gen_ai.usage.input_tokens=9",
        "gen_ai.usage.output_tokens=12",
        "gen_ai.response.finish_reasons=stop",
    ];
    check(
        SpanKind::Client,
        "/v1/chat/completions",
        asked,
        r#"{"id":"chatcmpl-1","model":"gpt-4o-2024","choices":[{"finish_reason":"stop","message":{}}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#,
        &usual,
    );
    let streamed = concat!(
        "data: {\"id\":\"chatcmpl-1\",\"model\":\"gpt-4o-2024\",\"choices\":[{\"delta\":{\"content\":\"Hi\"},\"finish_reason\":null}],\"usage\":null}\n\n",
        "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"id\":\"chatcmpl-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":12}}\n\ndata: [DONE]\n\n",
    );
    let first = ["clew.gen_ai.time_to_first_token_ns=500"];
    check(
        SpanKind::Client,
        "/v1/chat/completions",
        asked,
        streamed,
        &[&usual[..], &first].concat(),
    );
    check(
        SpanKind::Client,
        "/v1/messages",
        r#"{"model":"claude-x","max_tokens":10,"messages":[]}"#,
        concat!(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude-x-1\",\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n",
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\n\n",
        ),
        &[
            "chat claude-x",
            "gen_ai.operation.name=chat",
            "gen_ai.provider.name=anthropic",
            "gen_ai.request.model=claude-x",
            "gen_ai.request.max_tokens=10",
            "gen_ai.response.id=msg_1",
            "gen_ai.response.model=claude-x-1",
            "gen_ai.usage.input_tokens=25",
            "gen_ai.usage.output_tokens=15",
            "gen_ai.response.finish_reasons=end_turn",
            "clew.gen_ai.time_to_first_token_ns=500",
        ],
    );
    // A program's own messages.
    check(
        SpanKind::Client,
        "/api/completions",
        r#"{"model":"car","colour":"red"}"#,
        "{}",
        &["POST"],
    );
}
