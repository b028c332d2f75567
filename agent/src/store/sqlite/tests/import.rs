//! Traces out of one store and into another.
use super::*;
use crate::store::{Imported, Received, perfetto};

#[test]
fn a_trace_goes_from_store_to_store() {
    let (from, to) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let reader = filled(from.path());
    let id = "00010203040506070000000000000003";
    let request = reader.otlp("0001020304050607").expect("an answer").expect("a trace");
    assert_eq!(request.resource_spans.len(), 2, "a group for each service");
    assert!(
        reader.otlp("00").expect("an answer").is_none() && reader.otlp(&"f".repeat(32)).expect("an answer").is_none()
    );
    let request = reader.otlp(id).expect("an answer").expect("a trace");
    let text = serde_json::to_string(&request).expect("JSON");
    assert!(text.contains(&format!("\"traceId\":\"{id}\"")), "{text}");

    let mut store = open(to.path());
    let mut bring = |text: &str| {
        let mut received = Received::read(text.as_bytes()).expect("OTLP JSON");
        store
            .import(&mut received, "import a.json", EPOCH as u64)
            .expect("taken")
    };
    let (spans, known, refused) = (2, 0, 0);
    assert_eq!(bring(&text), Imported { spans, known, refused });
    // A second time there is nothing new in it.
    let (spans, known) = (0, 2);
    assert_eq!(bring(&text), Imported { spans, known, refused });
    let other = SqliteReader::open(to.path()).expect("a reader");
    let (one, two) = (
        reader.trace(id).expect("an answer"),
        other.trace(id).expect("an answer"),
    );
    let (one, two) = (one.expect("a trace"), two.expect("a trace"));
    assert_eq!(one.span_list, two.span_list);
    assert_eq!(
        (&one.row.title, one.row.errors, one.row.start_unix_ns),
        (&two.row.title, two.row.errors, two.row.start_unix_ns)
    );
    let runs = other.runs().expect("runs");
    assert_eq!(
        (runs.len(), runs[0].command.as_str(), runs[0].traces),
        (2, "import a.json", 1)
    );
    assert!(runs[0].end_unix_ns.is_some());

    let timeline = perfetto(&one);
    let events = timeline["traceEvents"].as_array().expect("events");
    let of = |ph: &str| events.iter().filter(|event| event["ph"] == ph).count();
    // Two services, two spans, and an arrow from one to the other.
    assert_eq!((of("M"), of("X"), of("s"), of("f")), (2, 2, 1, 1));
    let root = events.iter().find(|event| event["ph"] == "X").expect("a span");
    assert_eq!(
        (&root["ts"], &root["dur"], &root["cat"]),
        (&0.0.into(), &3000.0.into(), &"server".into())
    );
}

/// What one writer remembers of the file another may have deleted.
#[test]
fn two_writers_of_one_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let (shop, stock) = (service("shop"), service("stock"));
    let mut one = open(folder.path());
    write(&mut one, &shop_trace(1, &shop, &stock, 200)).expect("written");
    let mut other = SqliteStore::open(
        folder.path(),
        Bounds {
            age: Duration::from_secs(1),
            ..Bounds::default()
        },
    )
    .expect("a store");
    other.begin("other", EPOCH as u64).expect("a run");
    assert_eq!(other.trim(EPOCH as u64 + 3600 * SECOND).expect("trimmed"), 1);
    write(&mut one, &shop_trace(2, &shop, &stock, 200)).expect("written");
    let reader = SqliteReader::open(folder.path()).expect("a reader");
    assert_eq!(found(&reader, "service:shop name:GET", &page(10)), [2]);
    assert_eq!(reader.services().expect("services").len(), 2);
}
