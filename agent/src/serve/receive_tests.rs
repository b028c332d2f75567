//! Clew's own exporter as the SDK, over gRPC and HTTP, against the receiver and a store.
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::export::Clock;
use crate::export::otlp::{Exporter, Settings};
use crate::export::sample::{Sample, host, service};
use crate::serve::lab::Lab;
use crate::store::sqlite::SqliteReader;
use crate::store::{Reader as _, TraceView};
use crate::telemetry::Counters;

fn lab() -> Lab {
    Lab::new(|listening, _, writer| Receiver::start(listening, writer.inbox()).expect("a receiver"))
}

/// Waits until the store has so many spans; their trace.
fn until(lab: &Lab, spans: u64) -> TraceView {
    for _ in 0..2000 {
        if lab.counters.value("store.spans") >= spans {
            let reader = SqliteReader::open(lab.folder.path()).expect("a reader");
            let id = "00010203040506070000000000000007";
            return reader.trace(id).expect("an answer").expect("a trace");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("only {} spans", lab.counters.value("store.spans"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_of_sdks_lie_in_the_trace_they_belong_to() {
    let lab = lab();
    // What was captured: a request whose context an SDK made.
    lab.writer.push(
        Sample::server(7, &service("shop"))
            .trace(7)
            .parent(70)
            .remote()
            .ms(2, 8)
            .http("GET", "/", 200)
            .done(),
    );
    for (number, scheme) in ["grpc", "http"].into_iter().enumerate() {
        let number = number as u64;
        let url = format!("{scheme}://{}", lab.address);
        // gRPC compresses here, as SDKs may.
        let variable = |name: &str| (name == "OTEL_EXPORTER_OTLP_COMPRESSION").then(|| "gzip".to_owned());
        let settings = Settings::resolve(Some(&url), variable)
            .expect("settings")
            .expect("a target");
        let counters = Counters::new();
        let warn = Arc::new(|line: &str| panic!("{line}"));
        let exporter: Exporter = Exporter::start(&settings, host(), Clock::now(), counters, warn).expect("an exporter");
        let sdk = Sample::client(70 + number, &service("sdk"))
            .trace(7)
            .ms(1, 9)
            .with("user.password", crate::span::Value::Text("hush".into()))
            .with(
                "url.full",
                crate::span::Value::Text("http://u:hush@host/?token=hush".into()),
            )
            .done();
        exporter.push(sdk);
        let left = exporter.shutdown(Duration::from_secs(30), std::future::pending()).await;
        assert_eq!(left, 0, "{scheme}");
    }
    let trace = tokio::task::block_in_place(|| until(&lab, 3));
    assert_eq!(trace.span_list.len(), 3);
    let of = |id: &str| {
        trace
            .span_list
            .iter()
            .find(|span| span.span_id.ends_with(id))
            .expect(id)
    };
    let (sdk, captured) = (of("46"), of("07"));
    assert_eq!(
        (sdk.service.as_str(), captured.parent_id.as_deref()),
        ("sdk", Some(sdk.span_id.as_str()))
    );
    // Secrets are hidden in what others send too.
    let text = format!("{:?}", trace.span_list);
    assert!(!text.contains("hush") && text.contains("token=REDACTED"), "{text}");
    assert_eq!(lab.counters.value("otlp.received"), 2);
}

#[test]
fn what_is_sent_otherwise() {
    let lab = lab();
    // What began long ago would not be kept.
    let now = crate::serve::api::unix_ns();
    let id = "00010203040506070000000000000007";
    let span = format!(r#"{{"traceId":"{id}","spanId":"0000000000000001","name":"a","startTimeUnixNano":"{now}"}}"#);
    let json = |spans: &str| format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
    let nameless = format!(r#"{span},{{"traceId":"00","spanId":"","name":"b"}}"#);
    let kind = "Content-Type: application/json\r\n";
    let (code, text) = lab.post_as("/v1/traces", kind, json(&nameless).as_bytes());
    assert!(code == 200 && text.contains("\"rejectedSpans\":\"1\""), "{text}");
    assert_eq!(until(&lab, 1).span_list.len(), 1);
    for (path, more, body, want) in [
        ("/v1/traces", kind, "{", 400),
        (
            "/v1/traces",
            "Content-Type: application/x-protobuf\r\n",
            "\u{7f}\u{7f}",
            400,
        ),
        (
            "/v1/traces",
            "Content-Type: application/x-protobuf\r\nContent-Encoding: gzip\r\n",
            "xx",
            400,
        ),
        (
            "/v1/traces",
            "Content-Type: application/x-protobuf\r\nContent-Encoding: br\r\n",
            "xx",
            415,
        ),
        ("/v1/traces", "Content-Type: text/plain\r\n", "", 415),
        ("/v1/metrics", kind, "{}", 404),
        ("/v1/traces/../../etc/passwd", kind, "{}", 404),
        (
            "/v1/traces",
            "Content-Type: application/json\r\nOrigin: http://evil.example\r\n",
            "{}",
            403,
        ),
        (
            "/v1/traces",
            "Content-Type: application/json\r\nHost: evil.example\r\n",
            "{}",
            403,
        ),
    ] {
        let (code, text) = lab.post_as(path, more, body.as_bytes());
        assert_eq!(code, want, "{path} {more}: {text}");
    }
    let large = lab.post_as("/v1/traces", kind, &vec![b' '; REQUEST_BYTES + 1]);
    assert!(matches!(large.0, 413 | 0), "{large:?}");
    // A small message that becomes a large one.
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![0; REQUEST_BYTES + 1]).expect("memory");
    let bomb = bomb.finish().expect("memory");
    let more = "Content-Type: application/x-protobuf\r\nContent-Encoding: gzip\r\n";
    assert_eq!(lab.post_as("/v1/traces", more, &bomb).0, 413);
}

#[test]
fn grpc_messages() {
    let headers = HeaderMap::new();
    for bytes in [
        &b""[..],
        b"\0\0\0\0",
        b"\0\0\0\0\x05ab",
        b"\0\0\0\0\x01abc",
        b"\0\0\0\0\x02\x7f\x7f",
    ] {
        assert!(read(Form::Rpc, &headers, bytes).is_err(), "{bytes:?}");
    }
    assert!(read(Form::Rpc, &headers, b"\0\0\0\0\0").is_ok_and(|it| it.resource_spans.is_empty()));
    let refused = failed(Form::Rpc, &Problem(StatusCode::SERVICE_UNAVAILABLE, "slow".to_owned()));
    assert_eq!(
        (refused.status().as_u16(), refused.headers()["grpc-status"].as_bytes()),
        (200, &b"14"[..])
    );
}
