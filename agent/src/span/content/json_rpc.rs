//! JSON-RPC 2.0, and what speaks it: the Model Context Protocol.
use smol_str::{SmolStr, format_smolstr};

use super::{Answer, MAX_NAME, count, failed, name};
use crate::protocol::http1::{RequestHead, field};
use crate::span::json::{elements, integer, member, string, whole_elements};
use crate::span::{Span, SpanKind, Value};

/// Calls that are made at once and looked at.
const MAX_SEVERAL: usize = 64;
/// What the caller did wrong (JSON-RPC 2.0 section 5.1).
const CALLERS: [i64; 4] = [-32700, -32600, -32601, -32602];

fn text(of: &[u8], key: &str) -> Option<SmolStr> {
    member(of, key).and_then(string).and_then(|text| name(&text))
}

/// What a call asks for.
struct Call<'a> {
    version: SmolStr,
    method: SmolStr,
    /// None if no answer is wanted.
    id: Option<&'a [u8]>,
}

impl<'a> Call<'a> {
    fn of(asked: &'a [u8]) -> Option<Self> {
        Some(Self {
            version: text(asked, "jsonrpc")?,
            method: text(asked, "method")?,
            id: member(asked, "id").filter(|id| *id != b"null" && id.len() <= MAX_NAME),
        })
    }

    /// Whether an answer is of this call. What could not be read has no number.
    fn is_answered_by(&self, answer: &[u8]) -> bool {
        let id = member(answer, "id").filter(|id| *id != b"null");
        // A server may ask within the same stream.
        member(answer, "method").is_none() && (id.is_none() || id == self.id)
    }
}

/// One call.
pub(super) fn one(span: &mut Span, request: &RequestHead, asked: &[u8], answer: Answer<'_>) {
    let Some(call) = Call::of(asked) else { return };
    span.name = call.method.clone();
    span.attributes.push(("rpc.system.name", Value::fixed("jsonrpc")));
    span.attributes.push(("rpc.method", Value::Text(call.method.clone())));
    span.attributes
        .push(("jsonrpc.protocol.version", Value::Text(call.version.clone())));
    if let Some(id) = call.id {
        let id = string(id).unwrap_or_else(|| String::from_utf8_lossy(id));
        span.attributes.push(("jsonrpc.request.id", Value::Text(id.into())));
    }
    let is_tool = tool(span, request, &call, asked);
    let Some(answer) = answer.documents().find(|answer| call.is_answered_by(answer)) else {
        return;
    };
    if let Some(error) = member(answer, "error").filter(|error| *error != b"null") {
        refused(span, error);
    } else if is_tool && member(answer, "result").and_then(|result| member(result, "isError")) == Some(b"true") {
        failed(span, SmolStr::new_static("tool_error"), String::new());
    }
}

/// Calls that are made at once. Whether they are some.
pub(super) fn several(span: &mut Span, asked: &[u8], answer: Answer<'_>) -> bool {
    let all = whole_elements(asked).filter(|all| (1..=MAX_SEVERAL).contains(&all.len()));
    let calls: Option<Vec<Call<'_>>> = all.and_then(|all| all.into_iter().map(Call::of).collect());
    let Some(calls) = calls else { return false };
    let Some(first) = calls.first() else { return false };
    let method = calls
        .iter()
        .all(|call| call.method == first.method)
        .then_some(&first.method);
    span.name = method.cloned().unwrap_or(SmolStr::new_static("jsonrpc"));
    span.attributes.push(("rpc.system.name", Value::fixed("jsonrpc")));
    let method = method.map(|method| ("rpc.method", Value::Text(method.clone())));
    span.attributes.extend(method);
    span.attributes
        .push(("jsonrpc.protocol.version", Value::Text(first.version.clone())));
    span.attributes.push(("clew.jsonrpc.calls", count(calls.len())));
    let errors = answer.documents().flat_map(elements);
    let errors: Vec<&[u8]> = errors
        .filter_map(|answer| member(answer, "error").filter(|error| *error != b"null"))
        .collect();
    if let Some(first) = errors.first() {
        span.attributes.push(("clew.jsonrpc.errors", count(errors.len())));
        refused(span, first);
    }
    true
}

/// A call was answered with an error.
fn refused(span: &mut Span, error: &[u8]) {
    let Some(code) = member(error, "code").and_then(integer) else {
        return;
    };
    let code_text = format_smolstr!("{code}");
    span.attributes
        .push(("rpc.response.status_code", Value::Text(code_text.clone())));
    if span.kind == SpanKind::Client || !CALLERS.contains(&code) {
        let message = member(error, "message").and_then(string);
        failed(span, code_text, message.unwrap_or_default().into_owned());
    }
}

/// Says which tool or prompt is called, if the request is of the Model Context Protocol; whether a tool is.
fn tool(span: &mut Span, request: &RequestHead, call: &Call<'_>, asked: &[u8]) -> bool {
    let params = member(asked, "params").unwrap_or_default();
    let said = field(&request.fields, "mcp-protocol-version").and_then(|value| std::str::from_utf8(value).ok());
    // The first call says it in its parameters alone.
    let offered = || text(params, "protocolVersion").filter(|_| call.method == "initialize");
    let version = said.and_then(name).or_else(offered);
    if version.is_none() && field(&request.fields, "mcp-session-id").is_none() {
        return false;
    }
    let version = version.map(|version| ("mcp.protocol.version", Value::Text(version)));
    let method = ("mcp.method.name", Value::Text(call.method.clone()));
    span.attributes.extend(std::iter::once(method).chain(version));
    let key = match call.method.as_str() {
        "tools/call" => "gen_ai.tool.name",
        "prompts/get" => "gen_ai.prompt.name",
        _ => return false,
    };
    if let Some(target) = text(params, "name") {
        span.name = format_smolstr!("{} {target}", call.method);
        span.attributes.push((key, Value::Text(target)));
    }
    let is_tool = call.method == "tools/call";
    let operation = is_tool.then(|| ("gen_ai.operation.name", Value::fixed("execute_tool")));
    span.attributes.extend(operation);
    is_tool
}
