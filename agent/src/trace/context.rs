//! Trace contexts in header fields: W3C Trace Context, B3, Jaeger, AWS X-Ray, Datadog.
use bytes::Bytes;

use crate::span::RemoteContext;

/// Header fields as the protocol stage gives them: lowercase names.
type Fields = [(String, Bytes)];
/// A format's name and how it is read.
type Format = (&'static str, fn(&Fields) -> Option<Read>);

/// What every format says.
struct Read {
    trace_id: u128,
    span_id: u64,
    sampled: Option<bool>,
    state: String,
}

/// The formats in order of preference: the standard first, then by how much they carry.
const FORMATS: &[Format] = &[
    ("w3c", w3c),
    ("b3", b3_single),
    ("b3multi", b3_multi),
    ("jaeger", jaeger),
    ("xray", xray),
    ("datadog", datadog),
];

/// Longest `tracestate` that is carried on (W3C Trace Context section 3.3.1.5 asks for at least 512 characters).
const MAX_STATE: usize = 4096;

/// The trace context in header fields; malformed ones count as absent (W3C Trace Context section 4.3).
pub fn extract(fields: &Fields) -> Option<RemoteContext> {
    FORMATS.iter().find_map(|(format, read)| {
        let read = read(fields)?;
        (read.trace_id != 0 && read.span_id != 0).then(|| RemoteContext {
            trace_id: read.trace_id.to_be_bytes(),
            span_id: read.span_id.to_be_bytes(),
            sampled: read.sampled,
            trace_state: read.state,
            format,
        })
    })
}

fn value<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let (_, value) = fields.iter().find(|(key, _)| key == name)?;
    std::str::from_utf8(value).ok().map(str::trim)
}

/// Hexadecimal digits, between `least` and `most` of them.
fn hex(text: &str, least: usize, most: usize) -> Option<u128> {
    let digits = (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|_| digits)
}

fn hex64(text: &str, least: usize) -> Option<u64> {
    u64::try_from(hex(text, least, 16)?).ok()
}

/// ```text
/// traceparent = version(2) "-" trace-id(32) "-" parent-id(16) "-" flags(2)    W3C Trace Context section 3.2
/// ```
/// Hexadecimal digits are lowercase; a version above 00 may have more behind another dash; version ff is forbidden.
fn w3c(fields: &Fields) -> Option<Read> {
    let text = value(fields, "traceparent")?;
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut parts = text.splitn(5, '-');
    let version = hex(parts.next()?, 2, 2)?;
    let trace_id = hex(parts.next()?, 32, 32)?;
    let span_id = u64::try_from(hex(parts.next()?, 16, 16)?).ok()?;
    let flags = hex(parts.next()?, 2, 2)?;
    if version == 0xff || (version == 0 && parts.next().is_some()) {
        return None;
    }
    // Several tracestate fields are one list (section 3.3.1.1).
    let states: Vec<&str> = fields
        .iter()
        .filter(|(name, _)| name == "tracestate")
        .filter_map(|(_, value)| std::str::from_utf8(value).ok())
        .map(str::trim)
        .filter(|state| !state.is_empty())
        .collect();
    let state = states.join(",");
    let printable = state.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let state = if state.len() <= MAX_STATE && printable {
        state
    } else {
        String::new()
    };
    Some(Read {
        trace_id,
        span_id,
        sampled: Some(flags & 1 == 1),
        state,
    })
}

/// `b3: TraceId-SpanId[-SamplingState[-ParentSpanId]]` (openzipkin/b3-propagation).
fn b3_single(fields: &Fields) -> Option<Read> {
    let mut parts = value(fields, "b3")?.split('-');
    let trace_id = b3_trace(parts.next()?)?;
    let span_id = u64::try_from(hex(parts.next()?, 16, 16)?).ok()?;
    let sampled = match parts.next() {
        None => None,
        Some(state) => Some(b3_sampled(state)?),
    };
    Some(Read {
        trace_id,
        span_id,
        sampled,
        state: String::new(),
    })
}

/// `X-B3-TraceId`, `X-B3-SpanId`, `X-B3-Sampled`, `X-B3-Flags`.
fn b3_multi(fields: &Fields) -> Option<Read> {
    let trace_id = b3_trace(value(fields, "x-b3-traceid")?)?;
    let span_id = u64::try_from(hex(value(fields, "x-b3-spanid")?, 16, 16)?).ok()?;
    let debug = value(fields, "x-b3-flags") == Some("1");
    let sampled = if debug {
        Some(true)
    } else {
        value(fields, "x-b3-sampled").and_then(b3_sampled)
    };
    Some(Read {
        trace_id,
        span_id,
        sampled,
        state: String::new(),
    })
}

fn b3_trace(text: &str) -> Option<u128> {
    hex(text, 32, 32).or_else(|| hex(text, 16, 16))
}

fn b3_sampled(text: &str) -> Option<bool> {
    match text {
        "1" | "d" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// `uber-trace-id: trace:span:parent:flags`, percent-encoded by some clients (Jaeger client libraries). Leading zeros may be
/// left out.
fn jaeger(fields: &Fields) -> Option<Read> {
    let text = value(fields, "uber-trace-id")?.replace("%3A", ":").replace("%3a", ":");
    let mut parts = text.split(':');
    let trace_id = hex(parts.next()?, 1, 32)?;
    let span_id = hex64(parts.next()?, 1)?;
    parts.next()?;
    let flags = hex(parts.next()?, 1, 2)?;
    parts.next().is_none().then_some(Read {
        trace_id,
        span_id,
        sampled: Some(flags & 1 == 1),
        state: String::new(),
    })
}

/// `X-Amzn-Trace-Id: Root=1-8hex-24hex;Parent=16hex;Sampled=1`.
fn xray(fields: &Fields) -> Option<Read> {
    let text = value(fields, "x-amzn-trace-id")?;
    let part = |name: &str| {
        text.split(';').find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    };
    let root = part("Root")?.strip_prefix("1-")?;
    let (time, unique) = root.split_once('-')?;
    let trace_id = (hex(time, 8, 8)? << 96) | hex(unique, 24, 24)?;
    let span_id = u64::try_from(hex(part("Parent")?, 16, 16)?).ok()?;
    let sampled = match part("Sampled") {
        Some("1") => Some(true),
        Some("0") => Some(false),
        _ => None,
    };
    Some(Read {
        trace_id,
        span_id,
        sampled,
        state: String::new(),
    })
}

/// `x-datadog-trace-id`, `x-datadog-parent-id` in decimal; the upper half of the trace id is `_dd.p.tid` in
/// `x-datadog-tags`.
fn datadog(fields: &Fields) -> Option<Read> {
    let low: u64 = value(fields, "x-datadog-trace-id")?.parse().ok()?;
    let span_id: u64 = value(fields, "x-datadog-parent-id")?.parse().ok()?;
    let high = value(fields, "x-datadog-tags")
        .and_then(|tags| tags.split(',').find_map(|tag| tag.trim().strip_prefix("_dd.p.tid=")))
        .and_then(|text| hex(text, 16, 16))
        .unwrap_or(0);
    let sampled = value(fields, "x-datadog-sampling-priority").and_then(|priority| {
        let priority: i32 = priority.parse().ok()?;
        Some(priority > 0)
    });
    Some(Read {
        trace_id: (high << 64) | u128::from(low),
        span_id,
        sampled,
        state: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    /// Header lines, and the context as `format trace span sampled state`, or nothing.
    fn check(lines: &str, expected: &str) {
        let fields: Vec<(String, Bytes)> = lines
            .replace("TRACE", TRACE)
            .replace("SPAN", SPAN)
            .lines()
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), Bytes::copy_from_slice(value.as_bytes())))
            .collect();
        let found = extract(&fields).map_or(String::new(), |context| {
            let sampled = context.sampled.map_or("-", |sampled| if sampled { "1" } else { "0" });
            let trace = u128::from_be_bytes(context.trace_id);
            let span = u64::from_be_bytes(context.span_id);
            format!(
                "{} {trace:x} {span:x} {sampled} {}",
                context.format, context.trace_state
            )
            .trim()
            .to_owned()
        });
        let short = TRACE.trim_start_matches('0');
        assert_eq!(found, expected.replace("TRACE", short).replace("SPAN", SPAN), "{lines}");
    }

    #[test]
    fn every_format() {
        check(
            "traceparent: 00-TRACE-SPAN-01\ntracestate: a=1\ntracestate: b=2",
            "w3c TRACE SPAN 1 a=1,b=2",
        );
        check("traceparent: 01-TRACE-SPAN-02-more", "w3c TRACE SPAN 0");
        check("b3: TRACE-SPAN-d", "b3 TRACE SPAN 1");
        check("b3: 00000000000000ab-SPAN", "b3 ab SPAN -");
        check(
            "x-b3-traceid: TRACE\nx-b3-spanid: SPAN\nx-b3-sampled: 0",
            "b3multi TRACE SPAN 0",
        );
        check(
            "x-b3-traceid: TRACE\nx-b3-spanid: SPAN\nx-b3-flags: 1",
            "b3multi TRACE SPAN 1",
        );
        check("uber-trace-id: ab%3A12%3A0%3A1", "jaeger ab 12 1");
        check(
            "x-amzn-trace-id: Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=SPAN;Sampled=1",
            "xray TRACE SPAN 1",
        );
        check(
            "x-datadog-trace-id: 255\nx-datadog-parent-id: 17\nx-datadog-sampling-priority: -1\nx-datadog-tags: _dd.p.tid=00000000000000ab",
            "datadog ab00000000000000ff 11 0",
        );
    }

    #[test]
    fn the_standard_comes_first() {
        check(
            "b3: 00000000000000ab-SPAN\ntraceparent: 00-TRACE-SPAN-00",
            "w3c TRACE SPAN 0",
        );
        check("b3: 00000000000000ab-SPAN\ntraceparent: 00-bad", "b3 ab SPAN -");
    }

    #[test]
    fn malformed_contexts_are_absent() {
        for lines in [
            "traceparent: ff-TRACE-SPAN-01",
            "traceparent: 00-TRACE-SPAN-01-more",
            "traceparent: 00-TRACE-SPAN",
            "traceparent: 00-00000000000000000000000000000000-SPAN-01",
            "traceparent: 00-TRACE-0000000000000000-01",
            "traceparent: 00-0AF7651916CD43DD8448EB211C80319C-SPAN-01",
            "traceparent: 00-+af7651916cd43dd8448eb211c80319c-SPAN-01",
            "b3: 0",
            "b3: TRACE-SPAN-x",
            "b3: TRACE-+7ad6b7169203331",
            "x-b3-traceid: TRACE",
            "uber-trace-id: a:b",
            "uber-trace-id: a:b:0:1:2",
            "x-amzn-trace-id: Root=1-0af76519-16cd43dd8448eb211c80319c",
            "x-datadog-trace-id: 0\nx-datadog-parent-id: 17",
            "x-datadog-trace-id: x\nx-datadog-parent-id: 17",
        ] {
            check(lines, "");
        }
    }
}
