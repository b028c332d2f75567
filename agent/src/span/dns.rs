//! Spans of names that are looked up (OpenTelemetry semantic conventions, attributes "DNS"). No convention names such spans; this is
//! formed as names are: what is done, and to what kind of thing.
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use super::{Span, SpanKind, Status, Value};
use crate::protocol::dns::{Answer, Question, Told};

/// `NXDOMAIN`: that there is no such name is an answer. Clients that complete names get it for most of their questions.
const NO_SUCH_NAME: u8 = 3;

/// Names a span and describes what was asked and answered.
pub(super) fn describe(span: &mut Span, question: &Question, answer: Option<&Answer>) {
    let kind = question.kind_name().map(SmolStr::new_static);
    let kind = kind.unwrap_or_else(|| format_smolstr!("TYPE{}", question.kind));
    span.name = format_smolstr!("DNS {kind}");
    let attributes = &mut span.attributes;
    attributes.push(("dns.question.name", Value::Text(question.name.clone())));
    attributes.push(("clew.dns.question.type", Value::Text(kind)));
    attributes.push(("network.protocol.name", Value::fixed("dns")));
    let Some(answer) = answer else { return };
    if !answer.answers.is_empty() {
        let answers = answer.answers.iter().map(Told::text).collect();
        attributes.push(("dns.answers", Value::Texts(answers)));
    }
    let code = answer.code_name().map(SmolStr::new_static);
    let code = code.unwrap_or_else(|| answer.code.to_smolstr());
    attributes.push(("clew.dns.response.code", Value::Text(code.clone())));
    if answer.truncated {
        attributes.push(("clew.dns.response.truncated", Value::Bool(true)));
    }
    if answer.repeated > 0 {
        attributes.push(("clew.dns.repeated", Value::Int(i64::from(answer.repeated))));
    }
    // A question that is refused is no error of the server.
    if answer.code != 0 && answer.code != NO_SUCH_NAME && span.kind == SpanKind::Client {
        attributes.push(("error.type", Value::Text(code)));
        span.status = Status::Error(String::new());
    }
}
