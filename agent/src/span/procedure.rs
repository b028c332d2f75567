//! Spans of procedures that are called otherwise than over HTTP (OpenTelemetry semantic conventions, "RPC spans").
use smol_str::SmolStr;

use super::{Span, SpanKind, Status, Value};
use crate::protocol::procedure::{Procedure, Returned};

/// Names a span and describes what was called and what came back.
pub(super) fn describe(span: &mut Span, procedure: &Procedure, returned: Option<&Returned>) {
    // Where several services share a connection, the name of one stands before the procedure's.
    let method = match procedure.name.split_once(':') {
        Some((service, method)) => SmolStr::from_iter([service, "/", method]),
        None => procedure.name.clone(),
    };
    span.name = method.clone();
    let attributes = &mut span.attributes;
    attributes.push(("rpc.system.name", Value::fixed(procedure.system)));
    attributes.push(("rpc.method", Value::Text(method)));
    attributes.push(("clew.rpc.variant", Value::fixed(procedure.variant)));
    if procedure.oneway {
        attributes.push(("clew.rpc.oneway", Value::Bool(true)));
    }
    let Some(fault) = returned.and_then(|returned| returned.fault.as_ref()) else {
        return;
    };
    if let Some(code) = &fault.code {
        attributes.push(("rpc.response.status_code", Value::Text(code.clone())));
    } else {
        attributes.push(("clew.rpc.exception.declared", Value::Bool(true)));
        // Its server has done what it says that it may do.
        if span.kind == SpanKind::Server {
            return;
        }
    }
    let kind = fault.code.clone().unwrap_or(SmolStr::new_static("_OTHER"));
    attributes.push(("error.type", Value::Text(kind)));
    span.status = Status::Error(fault.message.to_string());
}
