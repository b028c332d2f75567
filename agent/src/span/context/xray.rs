//! AWS X-Ray's `X-Amzn-Trace-Id`.
//!
//! ```text
//! X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1
//!                       version, 4 bytes of time, 12 bytes
//! ```
use super::{Found, id, value};
use crate::protocol::http1::Fields;
use crate::span::RemoteContext;

pub(super) fn read(fields: &Fields) -> Found {
    let Some(text) = value(fields, "x-amzn-trace-id") else {
        return Found::Absent;
    };
    let (mut root, mut parent, mut sampled) = (None, None, None);
    for part in text.split(';') {
        match part.trim().split_once('=') {
            Some(("Root", value)) => root = Some(value),
            Some(("Parent", value)) => parent = Some(value),
            Some(("Sampled", value)) => sampled = Some(value),
            _ => {}
        }
    }
    // A load balancer names the trace and no span of its own: there is nothing to be a child of.
    if root.is_some() && parent.is_none() {
        return Found::Absent;
    }
    context(root, parent, sampled).map_or(Found::Invalid, Found::Context)
}

fn context(root: Option<&str>, parent: Option<&str>, sampled: Option<&str>) -> Option<RemoteContext> {
    let (time, rest) = root?.strip_prefix("1-")?.split_once('-')?;
    let parent = parent?;
    if time.len() != 8 || rest.len() != 24 || parent.len() != 16 {
        return None;
    }
    Some(RemoteContext {
        trace_id: id(&format!("{time}{rest}"))?,
        span_id: id(parent)?,
        sampled: match sampled {
            Some("1") => Some(true),
            Some("0") => Some(false),
            _ => None,
        },
        trace_state: String::new(),
        format: "xray",
    })
}
