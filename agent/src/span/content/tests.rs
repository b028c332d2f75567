use bytes::Bytes;

use super::*;
use crate::protocol::http1::Version;
use crate::protocol::{Body, Known};
use crate::span::SpanKind;

/// What is told of a question in JSON and its answer.
#[track_caller]
fn check(kind: SpanKind, path: &str, asked: &str, answered: &str, expected: &[&str]) {
    let is_claude = if path.ends_with("/messages") {
        "anthropic-version"
    } else {
        "accept"
    };
    let fields = [("content-type", "application/json"), (is_claude, "2023-06-01")];
    check_all(kind, ("POST", path, &fields), asked, answered, expected);
}

/// What is told of a request, its method, target and fields, and its answer.
#[track_caller]
fn check_all(
    kind: SpanKind,
    (method, path, said): (&str, &str, &[(&str, &str)]),
    asked: &str,
    answered: &str,
    expected: &[&str],
) {
    let fields = |lines: &[(&str, &str)]| {
        lines
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Bytes::copy_from_slice(value.as_bytes())))
            .collect()
    };
    let request = RequestHead {
        method: method.into(),
        target: path.into(),
        version: Version::Http11,
        scheme: None,
        authority: None,
        protocol: None,
        first: false,
        fields: fields(said),
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
        name: method.into(),
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
    assert_eq!(told, expected, "{path} {asked}");
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
fn ways_to_ask_for_graphql() {
    let accepts = [("accept", "application/graphql-response+json")];
    let find = ["query", "graphql.operation.type=query", "graphql.operation.name=Find"];
    let failed = ["clew.graphql.errors=1", "error.type=graphql", "failed"];
    let error = r#"{"errors":[{"message":"no"}]}"#;
    // In a URL.
    let link = "/api?query=query%20Find%7Ba%7D&variables=%7B%7D";
    check_all(
        SpanKind::Client,
        ("GET", link, &accepts),
        "",
        error,
        &[&find[..], &failed].concat(),
    );
    check_all(
        SpanKind::Client,
        ("GET", "/graphql?query=query%20Find%7Ba%7D", &[]),
        "",
        "",
        &find,
    );
    for search in ["/search?query=query%20Find%7Ba%7D", "/graphql?query=words", "/graphql"] {
        check_all(SpanKind::Client, ("GET", search, &[]), "", "", &["GET"]);
    }
    // A document alone.
    let plain = [("content-type", "application/graphql")];
    check_all(SpanKind::Server, ("POST", "/", &plain), "query Find { a }", "", &find);
    // A document that both ends know.
    let hash = r#"{"operationName":"Find","extensions":{"persistedQuery":{"version":1,"sha256Hash":"ab"}}}"#;
    check(
        SpanKind::Server,
        "/",
        hash,
        "{}",
        &["GraphQL Operation", "graphql.operation.name=Find"],
    );
    check(SpanKind::Server, "/", r#"{"operationName":"Find"}"#, "{}", &["POST"]);
    // Several at once.
    let several = r#"[{"query":"query Find { a }"},{"query":"{ b }"}]"#;
    check(
        SpanKind::Client,
        "/",
        several,
        &format!(r#"[{{"data":{{}}}},{error}]"#),
        &[
            &["query", "graphql.operation.type=query", "clew.graphql.operations=2"],
            &failed[..],
        ]
        .concat(),
    );
    let mixed = r#"[{"query":"mutation { a }"},{"query":"{ b }"}]"#;
    check(
        SpanKind::Client,
        "/",
        mixed,
        "[]",
        &["GraphQL Operation", "clew.graphql.operations=2"],
    );
    for other in [
        r#"[{"query":"{ a }"},{"query":"select 1"}]"#,
        r#"[{"query":"{ a }"}"#,
        "[1]",
        "[]",
    ] {
        check(SpanKind::Client, "/", other, "[]", &["POST"]);
    }
}

#[test]
fn several_calls_of_json_rpc_at_once() {
    let call = |method: &str, id: u32| format!(r#"{{"jsonrpc":"2.0","method":"{method}","id":{id}}}"#);
    let both = |first, second| format!("[{},{}]", call(first, 1), call(second, 2));
    let told = [
        "rpc.system.name=jsonrpc",
        "rpc.method=sum",
        "jsonrpc.protocol.version=2.0",
        "clew.jsonrpc.calls=2",
    ];
    check(
        SpanKind::Client,
        "/",
        &both("sum", "sum"),
        "[]",
        &[&["sum"], &told[..]].concat(),
    );
    check(
        SpanKind::Client,
        "/",
        &both("sum", "find"),
        r#"[{"jsonrpc":"2.0","result":1,"id":1},{"jsonrpc":"2.0","error":{"code":-32601,"message":"no such method"},"id":2}]"#,
        &[
            "jsonrpc",
            "rpc.system.name=jsonrpc",
            "jsonrpc.protocol.version=2.0",
            "clew.jsonrpc.calls=2",
            "clew.jsonrpc.errors=1",
            "rpc.response.status_code=-32601",
            "error.type=-32601",
            "failed no such method",
        ],
    );
    check(SpanKind::Client, "/", r#"[{"jsonrpc":"2.0"}]"#, "[]", &["POST"]);
}

#[test]
fn calls_of_the_model_context_protocol() {
    let said = [
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2025-06-18"),
    ];
    let call =
        r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"weather","arguments":{"city":"Oslo"}}}"#;
    let told = [
        "tools/call weather",
        "rpc.system.name=jsonrpc",
        "rpc.method=tools/call",
        "jsonrpc.protocol.version=2.0",
        "jsonrpc.request.id=3",
        "mcp.method.name=tools/call",
        "mcp.protocol.version=2025-06-18",
        "gen_ai.tool.name=weather",
        "gen_ai.operation.name=execute_tool",
    ];
    // What the server says and asks meanwhile is no answer.
    let streamed = |answer: &str| {
        let before = [
            r#"{"jsonrpc":"2.0","method":"roots/list","id":3}"#,
            r#"{"jsonrpc":"2.0","id":4,"error":{"code":1}}"#,
        ];
        let all = before.into_iter().chain([answer]);
        all.map(|one| format!("event: message\r\ndata: {one}\r\n\r\n"))
            .collect::<String>()
    };
    let client = |answer: &str, more: &[&str]| {
        let expected = [&told[..], more].concat();
        check_all(
            SpanKind::Client,
            ("POST", "/mcp", &said),
            call,
            &streamed(answer),
            &expected,
        );
    };
    client(
        r#"{"jsonrpc":"2.0","id":3,"result":{"content":[],"isError":false}}"#,
        &[],
    );
    client(
        r#"{"jsonrpc":"2.0","id":3,"result":{"content":[],"isError":true}}"#,
        &["error.type=tool_error", "failed"],
    );
    client(
        r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32602,"message":"unknown tool"}}"#,
        &[
            "rpc.response.status_code=-32602",
            "error.type=-32602",
            "failed unknown tool",
        ],
    );
    check(
        SpanKind::Client,
        "/mcp",
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{}}}"#,
        "",
        &[
            "initialize",
            "rpc.system.name=jsonrpc",
            "rpc.method=initialize",
            "jsonrpc.protocol.version=2.0",
            "jsonrpc.request.id=0",
            "mcp.method.name=initialize",
            "mcp.protocol.version=2025-06-18",
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
    let (before, after) = usual.split_at(6);
    let stream = ["gen_ai.request.stream=true"];
    let first = ["gen_ai.response.time_to_first_chunk=0.0000005"];
    // A line may end with a line feed, a carriage return, or both.
    for end in ["\n", "\r", "\r\n"] {
        check(
            SpanKind::Client,
            "/v1/chat/completions",
            asked,
            &streamed.replace('\n', end),
            &[before, &stream, after, &first].concat(),
        );
    }
    check(
        SpanKind::Client,
        "/v1/messages",
        r#"{"model":"claude-x","max_tokens":10,"messages":[]}"#,
        concat!(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude-x-1\",\"usage\":{\"input_tokens\":25,\"cache_creation_input_tokens\":7,\"cache_read_input_tokens\":100,\"output_tokens\":1}}}\n\n",
            "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"weather\",\"input\":{}}}\n\n",
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":15}}\n\n",
        ),
        &[
            "chat claude-x",
            "gen_ai.operation.name=chat",
            "gen_ai.provider.name=anthropic",
            "gen_ai.request.model=claude-x",
            "gen_ai.request.max_tokens=10",
            "gen_ai.request.stream=true",
            "gen_ai.response.id=msg_1",
            "gen_ai.response.model=claude-x-1",
            "gen_ai.usage.input_tokens=132",
            "gen_ai.usage.output_tokens=15",
            "gen_ai.usage.cache_read.input_tokens=100",
            "gen_ai.usage.cache_creation.input_tokens=7",
            "gen_ai.response.finish_reasons=tool_use",
            "gen_ai.response.time_to_first_chunk=0.0000005",
        ],
    );
    // OpenAI counts what it has cached among the input.
    let (created, completed) = (
        r#"{"type":"response.created","response":{"id":"resp_1","model":"gpt-5-1","usage":null}}"#,
        r#"{"type":"response.completed","response":{"id":"resp_1","usage":{"input_tokens":30,"input_tokens_details":{"cached_tokens":20},"output_tokens":9,"output_tokens_details":{"reasoning_tokens":4}}}}"#,
    );
    check(
        SpanKind::Client,
        "/v1/responses",
        r#"{"model":"gpt-5","max_output_tokens":50,"stream":true,"input":"a text"}"#,
        &format!("event: response.created\ndata: {created}\n\nevent: response.completed\ndata: {completed}\n\n"),
        &[
            "chat gpt-5",
            "gen_ai.operation.name=chat",
            "gen_ai.provider.name=openai",
            "gen_ai.request.model=gpt-5",
            "gen_ai.request.max_tokens=50",
            "gen_ai.request.stream=true",
            "gen_ai.response.id=resp_1",
            "gen_ai.response.model=gpt-5-1",
            "gen_ai.usage.input_tokens=30",
            "gen_ai.usage.output_tokens=9",
            "gen_ai.usage.cache_read.input_tokens=20",
            "gen_ai.usage.reasoning.output_tokens=4",
            "gen_ai.response.time_to_first_chunk=0.0000005",
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
