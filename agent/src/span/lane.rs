//! On which thread, and in which task of its runtime's, a request was read or sent.
use clew_common::event::JAVA_VIRTUAL;
use smol_str::{SmolStr, format_smolstr};

use super::{Span, Value};
use crate::capture::{Actor, Context};

/// The attribute that names a task: what its runtime calls it, and its number.
const TASK: &str = "clew.task";

/// Says who it was.
pub(super) fn describe(span: &mut Span, actor: &Actor) {
    span.attributes.push(("thread.id", Value::Int(i64::from(actor.tid))));
    if let Some(task) = task(actor.context) {
        span.attributes.push((TASK, Value::Text(task)));
    }
}

/// None where the thread is all there is.
fn task(context: Context) -> Option<SmolStr> {
    Some(match context {
        Context::Goroutine(number) => format_smolstr!("goroutine {number}"),
        // An address tells one from another, and nothing else.
        Context::Python(address) => format_smolstr!("context {address:x}"),
        Context::Tokio(number) => format_smolstr!("task {number}"),
        Context::Node(number) => format_smolstr!("async {number}"),
        Context::Java(number) if number & JAVA_VIRTUAL != 0 => {
            format_smolstr!("virtual thread {}", number & !JAVA_VIRTUAL)
        }
        Context::Java(_) | Context::Handed(_) | Context::Thread | Context::Unknown => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_by_what_their_runtime_calls_them() {
        for (context, want) in [
            (Context::Thread, None),
            (Context::Unknown, None),
            (Context::Handed(7), None),
            (Context::Java(0), None),
            (Context::Java(JAVA_VIRTUAL | 31), Some("virtual thread 31")),
            (Context::Goroutine(18), Some("goroutine 18")),
            (Context::Tokio(4), Some("task 4")),
            (Context::Node(12), Some("async 12")),
            (Context::Python(0x7f00), Some("context 7f00")),
        ] {
            assert_eq!(task(context).as_deref(), want, "{context:?}");
        }
    }
}
