use super::*;

const T128: &str = "0af7651916cd43dd8448eb211c80319c";
const T64: &str = "00000000000000008448eb211c80319c";
const S: &str = "b7ad6b7169203331";

/// Lines of `name: value`; the context as `format trace span sampled state`, `-` for none, then the counters raised.
fn check(fields: &str, expected: &str) {
    let parsed: Fields = fields
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .map(|(name, value)| (name.to_owned(), bytes::Bytes::from(value.to_owned())))
        .collect();
    let mut counted = Vec::new();
    let found = extract(&parsed, |name| counted.push(name));
    let mut shown = found.map_or("-".to_owned(), |context| {
        format!(
            "{} {:032x} {:016x} {} {}",
            context.format,
            u128::from_be_bytes(context.trace_id),
            u64::from_be_bytes(context.span_id),
            context.sampled.map_or("?", |sampled| if sampled { "1" } else { "0" }),
            context.trace_state,
        )
    });
    for name in counted {
        shown.push(' ');
        shown.push_str(name.strip_prefix("context.").unwrap_or(name));
    }
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(shown, expected, "of\n{fields}");
}

#[test]
fn w3c() {
    let bad = "- invalid.w3c";
    for (field, expected) in [
        (format!("00-{T128}-{S}-01"), format!("w3c {T128} {S} 1")),
        (format!("00-{T128}-{S}-00"), format!("w3c {T128} {S} 0")),
        (format!("00-{T128}-{S}-03"), format!("w3c {T128} {S} 1")),
        (format!("cc-{T128}-{S}-01"), format!("w3c {T128} {S} 1")),
        (format!("cc-{T128}-{S}-01-what-ever"), format!("w3c {T128} {S} 1")),
        (format!("cc-{T128}-{S}-01.what"), bad.into()),
        (format!("00-{T128}-{S}-01-x"), bad.into()),
        (format!("ff-{T128}-{S}-01"), bad.into()),
        (format!("00-{}-{S}-01", T128.to_uppercase()), bad.into()),
        (format!("00-{}-{S}-01", "0".repeat(32)), bad.into()),
        (format!("00-{T128}-{}-01", "0".repeat(16)), bad.into()),
        (format!("00-{T128}-{S}"), bad.into()),
        (format!("00-{T128}-{S}-1"), bad.into()),
        (format!("00-{T128}é-{S}-01"), bad.into()),
        (format!("00-{T128}-{S}-+1"), bad.into()),
        ("-".into(), bad.into()),
    ] {
        check(&format!("traceparent: {field}"), &expected);
    }
    check(
        &format!("traceparent: 00-{T128}-{S}-01\ntraceparent: 00-{T128}-{S}-01"),
        bad,
    );
}

#[test]
fn tracestate() {
    let many = |n: usize| (0..n).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join(",");
    for (fields, expected) in [
        ("tracestate: a=1, b=2".to_owned(), "a=1,b=2".to_owned()),
        (
            "tracestate: a=1\ntracestate: ,\ntracestate: 0t@b=x y".into(),
            "a=1,0t@b=x y".into(),
        ),
        (format!("tracestate: {}", many(32)), many(32)),
        (format!("tracestate: {}", many(33)), "invalid.tracestate".into()),
        ("tracestate: a=1,a=2".into(), "invalid.tracestate".into()),
        ("tracestate: A=1".into(), "invalid.tracestate".into()),
        ("tracestate: a".into(), "invalid.tracestate".into()),
        ("tracestate: a=b=c".into(), "invalid.tracestate".into()),
        ("tracestate: a=".into(), "invalid.tracestate".into()),
        (
            format!("tracestate: a={}", "x".repeat(257)),
            "invalid.tracestate".into(),
        ),
        (
            format!("tracestate: {}=x", "a".repeat(257)),
            "invalid.tracestate".into(),
        ),
    ] {
        check(
            &format!("traceparent: 00-{T128}-{S}-01\n{fields}"),
            &format!("w3c {T128} {S} 1 {expected}"),
        );
    }
    check("tracestate: a=1", "-");
}

#[test]
fn b3() {
    let low = &T128[16..];
    for (field, expected) in [
        (format!("{T128}-{S}-1"), format!("b3 {T128} {S} 1")),
        (format!("{low}-{S}-0"), format!("b3 {T64} {S} 0")),
        (format!("{low}-{S}-d-{S}"), format!("b3 {T64} {S} 1")),
        (format!("{low}-{S}"), format!("b3 {T64} {S} ?")),
        ("0".into(), "-".into()),
        ("d".into(), "-".into()),
        (format!("{low}-{S}-2"), "- invalid.b3".into()),
        (format!("{low}-{S}-1-zz"), "- invalid.b3".into()),
        (format!("{low}-{S}-1-{S}-1"), "- invalid.b3".into()),
        (format!("{low}0-{S}-1"), "- invalid.b3".into()),
        (low.to_owned(), "- invalid.b3".into()),
        (format!("{}-{S}-1", "0".repeat(16)), "- invalid.b3".into()),
    ] {
        check(&format!("b3: {field}"), &expected);
    }
    for (fields, expected) in [
        (
            format!("x-b3-traceid: {T128}\nx-b3-spanid: {S}\nx-b3-sampled: 1"),
            format!("b3multi {T128} {S} 1"),
        ),
        (
            format!("x-b3-traceid: {low}\nx-b3-spanid: {S}\nx-b3-flags: 1"),
            format!("b3multi {T64} {S} 1"),
        ),
        (
            format!("x-b3-traceid: {low}\nx-b3-spanid: {S}"),
            format!("b3multi {T64} {S} ?"),
        ),
        (
            format!("x-b3-traceid: {low}\nx-b3-spanid: {S}\nx-b3-sampled: 7"),
            "- invalid.b3multi".into(),
        ),
        (format!("x-b3-traceid: {low}"), "- invalid.b3multi".into()),
        ("x-b3-sampled: 0".into(), "-".into()),
    ] {
        check(&fields, &expected);
    }
}

#[test]
fn jaeger() {
    for (field, expected) in [
        (format!("{T128}:{S}:0:1"), format!("jaeger {T128} {S} 1")),
        (format!("{T128}%3A{S}%3a0%3A0"), format!("jaeger {T128} {S} 0")),
        ("abc:1:0:3".to_owned(), format!("jaeger {:032x} {:016x} 1", 0xabc, 1)),
        (format!("{T128}:{S}:0"), "- invalid.jaeger".into()),
        (format!("{T128}:{S}:0:1:2"), "- invalid.jaeger".into()),
        (format!("{T128}0:{S}:0:1"), "- invalid.jaeger".into()),
        ("0:1:0:1".into(), "- invalid.jaeger".into()),
        ("1:0:0:1".into(), "- invalid.jaeger".into()),
        ("1:1:0:x".into(), "- invalid.jaeger".into()),
    ] {
        check(&format!("uber-trace-id: {field}"), &expected);
    }
}

#[test]
fn xray() {
    for (field, expected) in [
        (
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
            "xray 5759e988bd862e3fe1be46a994272793 53995c3f42cd8ad8 1",
        ),
        (
            "Self=1-a-b; Sampled=?; Parent=53995c3f42cd8ad8; Root=1-5759e988-bd862e3fe1be46a994272793",
            "xray 5759e988bd862e3fe1be46a994272793 53995c3f42cd8ad8 ?",
        ),
        ("Root=1-5759e988-bd862e3fe1be46a994272793", "-"),
        (
            "Root=2-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
            "- invalid.xray",
        ),
        (
            "Root=1-5759e98-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
            "- invalid.xray",
        ),
        (
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad",
            "- invalid.xray",
        ),
        (";", "- invalid.xray"),
    ] {
        check(&format!("x-amzn-trace-id: {field}"), expected);
    }
}

#[test]
fn datadog() {
    let full = "x-datadog-trace-id: 1\nx-datadog-parent-id: 2\nx-datadog-sampling-priority: 2\nx-datadog-tags: _dd.p.dm=-1,_dd.p.tid=640cfd8d00000000";
    check(full, "datadog 640cfd8d000000000000000000000001 0000000000000002 1");
    for (fields, expected) in [
        (
            "x-datadog-trace-id: 18446744073709551615\nx-datadog-parent-id: 2\nx-datadog-sampling-priority: -1\nx-datadog-tags: _dd.p.tid=6",
            "datadog 0000000000000000ffffffffffffffff 0000000000000002 0",
        ),
        (
            "x-datadog-trace-id: 18446744073709551616\nx-datadog-parent-id: 2",
            "- invalid.datadog",
        ),
        ("x-datadog-trace-id: +1\nx-datadog-parent-id: 2", "- invalid.datadog"),
        ("x-datadog-trace-id: 1\nx-datadog-parent-id: 0", "- invalid.datadog"),
        ("x-datadog-trace-id: 1", "- invalid.datadog"),
        ("x-datadog-sampling-priority: 1", "-"),
    ] {
        check(fields, expected);
    }
}

#[test]
fn the_first_valid_format_wins() {
    let datadog = "x-datadog-trace-id: 1\nx-datadog-parent-id: 2";
    check(
        &format!("{datadog}\nb3: {T128}-{S}-1\ntraceparent: 00-{T128}-{S}-00"),
        &format!("w3c {T128} {S} 0"),
    );
    check(
        &format!("{datadog}\nb3: {T128}-{S}-1\ntraceparent: nonsense"),
        &format!("b3 {T128} {S} 1 invalid.w3c"),
    );
}
