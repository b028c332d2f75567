//! Exchanges of connections that have many at once.
use std::collections::BTreeMap;

use clew::protocol::{RequestHead, ResponseHead, Step, http1};

use super::{Told, exchanges, own, recorded::Operation};

/// Whether these are.
pub(crate) fn are(steps: &[Step]) -> bool {
    steps
        .iter()
        .any(|step| matches!(step, Step::Request(request) if request.stream.is_some()))
}

/// What is told with a hole agrees with what is told without.
#[track_caller]
pub(crate) fn agree(connection: &[Operation], hole: usize, whole: &[Step], holed: &[Step], what: &str) {
    if are_calls(whole) {
        agree_by_call(connection, hole, whole, holed, what);
    } else {
        agree_by_stream(whole, holed, what);
    }
}

fn are_calls(steps: &[Step]) -> bool {
    steps
        .iter()
        .any(|step| matches!(step, Step::Request(request) if matches!(request.head, RequestHead::Database(_) | RequestHead::Procedure(_))))
}

/// With a hole, whatever is answered is answered as without it; and so is all that was asked after the operation behind the hole.
#[track_caller]
fn agree_by_call(connection: &[Operation], hole: usize, whole: &[Step], holed: &[Step], what: &str) {
    let (whole, holed) = (exchanges(whole), exchanges(holed));
    let of = |told: &Told| whole.values().find(|one| one.request_offset == told.request_offset);
    for told in holed.values() {
        let expected = of(told).unwrap_or_else(|| panic!("{what}: no request begins there: {}", told.line));
        if told.response_head.is_some() {
            assert_eq!(own(told), own(expected), "{what}");
            for recalled in &told.recalled {
                assert!(
                    expected.recalled.contains(recalled),
                    "{what}: {recalled} is wrong in {}",
                    told.line
                );
            }
        }
    }
    // An operation that begins within a message tells nothing; in each direction the way is found again by the next.
    let behind = connection.get(hole).map(|gone| gone.direction);
    let next = connection
        .iter()
        .skip(hole + 1)
        .filter(|operation| Some(operation.direction) == behind);
    let Some(found_us) = next.map(|operation| operation.time_us).nth(1) else {
        return;
    };
    for expected in whole.values().filter(|told| told.began_at > found_us * 1000) {
        let found = holed
            .values()
            .find(|told| told.request_offset == expected.request_offset);
        assert_eq!(found.map(own), Some(own(expected)), "{what}");
    }
}

/// With a hole, whatever is told of a request or a response was said of it: by its stream, with no field that is another's.
#[track_caller]
fn agree_by_stream(whole: &[Step], holed: &[Step], what: &str) {
    let heads = |steps: &[Step]| -> BTreeMap<Option<u32>, Heads> {
        let mut heads: BTreeMap<Option<u32>, Heads> = BTreeMap::new();
        let mut streams = BTreeMap::new();
        for step in steps {
            match step {
                Step::Request(request) => {
                    let RequestHead::Http(head) = &request.head else {
                        panic!("{what}: not HTTP");
                    };
                    streams.insert(request.exchange, request.stream);
                    let told = heads.entry(request.stream).or_default();
                    told.offset = request.offset;
                    told.fields.extend(owned(&head.fields));
                    told.fields.extend([
                        (":method".to_owned(), head.method.as_bytes().to_vec()),
                        (":path".to_owned(), head.target.as_bytes().to_vec()),
                    ]);
                }
                Step::Response(response) => {
                    let ResponseHead::Http(head) = &response.head else {
                        panic!("{what}: not HTTP");
                    };
                    let told = heads.entry(streams[&response.exchange]).or_default();
                    told.response_head = Some(response.head_end.offset);
                    told.status = head.status;
                    told.fields.extend(owned(&head.fields));
                }
                Step::RequestEnd { exchange, body, .. }
                | Step::ResponseEnd { exchange, body, .. }
                | Step::Broken { exchange, body, .. } => {
                    let told = heads.entry(streams[exchange]).or_default();
                    told.fields
                        .extend(body.trailers.as_deref().map(owned).unwrap_or_default());
                }
                _ => {}
            }
        }
        heads
    };
    let (whole, holed) = (heads(whole), heads(holed));
    for (stream, told) in &holed {
        let Some(expected) = whole.get(stream) else {
            panic!("{what}: there is no stream {stream:?}");
        };
        assert_eq!(told.offset, expected.offset, "{what}: stream {stream:?}");
        if told.response_head.is_some() {
            assert_eq!(told.response_head, expected.response_head, "{what}: stream {stream:?}");
        }
        assert!(
            told.status == 0 || told.status == expected.status,
            "{what}: stream {stream:?} was answered {}",
            told.status
        );
        for field in told.fields.iter().filter(|(_, value)| !value.is_empty()) {
            assert!(
                expected.fields.contains(field),
                "{what}: stream {stream:?} has no field {field:?}"
            );
        }
    }
    assert!(
        holed.len() + 1 >= whole.len() / 2,
        "{what}: {} of {} streams",
        holed.len(),
        whole.len()
    );
}

/// What is told of one stream.
#[derive(Default)]
struct Heads {
    offset: u64,
    response_head: Option<u64>,
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
}

fn owned(fields: &http1::Fields) -> Vec<(String, Vec<u8>)> {
    fields
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_vec()))
        .collect()
}
