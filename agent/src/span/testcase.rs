//! The test case that a request was made by, as its baggage says (W3C Baggage; OpenTelemetry semantic conventions, "Test").
use smol_str::SmolStr;

use super::rpc::decoded;
use super::{Span, Value};
use crate::protocol::http1::Fields;

/// Entries that become attributes of the same name.
const ENTRIES: [&str; 2] = ["test.case.name", "test.suite.name"];
/// Most of a name that is kept.
const NAME_BYTES: usize = 256;

/// Adds what the fields of a request say of its test.
pub(super) fn describe(span: &mut Span, fields: &Fields) {
    for entry in fields.all("baggage").flat_map(|list| list.split(|byte| *byte == b',')) {
        // Properties behind a semicolon say nothing of the value.
        let entry = entry.split(|byte| *byte == b';').next().unwrap_or_default();
        let Some(at) = entry.iter().position(|byte| *byte == b'=') else {
            continue;
        };
        let (key, value) = entry.split_at_checked(at).unwrap_or_default();
        let Some(name) = ENTRIES.iter().find(|name| name.as_bytes() == key.trim_ascii()) else {
            continue;
        };
        let value = decoded(value.get(1..).unwrap_or_default().trim_ascii());
        let value = value.get(..value.floor_char_boundary(NAME_BYTES)).unwrap_or_default();
        if !value.is_empty() && span.attributes.iter().all(|(key, _)| key != name) {
            span.attributes.push((name, Value::Text(SmolStr::new(value))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::{SpanKind, Status};

    #[test]
    fn of_baggage() {
        let fields: Fields = [
            ("baggage", "user=ann, test.case.name = cart%20empties ;note=1"),
            ("baggage", "test.case.name=other,test.suite.name=,broken"),
        ]
        .into_iter()
        .collect();
        let mut span = Span {
            kind: SpanKind::Server,
            name: "GET".into(),
            start_ns: 0,
            end_ns: 0,
            attributes: Vec::new(),
            named: Vec::new(),
            status: Status::Unset,
            events: Vec::new(),
        };
        describe(&mut span, &fields);
        assert_eq!(
            span.attributes,
            [("test.case.name", Value::Text("cart empties".into()))]
        );
    }
}
